# SPDX-License-Identifier: BSD-3-Clause
"""obctl nvme-io --from and --to: a disk is written from a file and read into one."""

from __future__ import annotations

import json
import os
import random
import subprocess
import threading
from pathlib import Path

import pytest
from conftest import Start
from obctl import OBCTL, bad, good, good_json
from outboard import LIMIT, REPO

SIZE = 4 << 20
DATA = random.Random(1).randbytes(SIZE)
MEMORY = [[], ["--no-shared-memory"]]
PARALLEL = [[], ["--depth=32"], ["--depth=7", "--queues=2", "--interrupts=msix"]]


@pytest.fixture
def disk(outboard: Start, folder: Path) -> Path:
    (folder / "disk.img").write_bytes(bytes(SIZE))
    (folder / "data").write_bytes(DATA)
    outboard("nvme", "disk.img", "socket=a")
    return folder


def piped(folder: Path, data: bytes, *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [str(OBCTL), "nvme-io", "a", *words],
        cwd=folder,
        input=data,
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("parallel", PARALLEL)
def test_round_trip(disk: Path, memory: list[str], parallel: list[str]) -> None:
    text = good(disk, "nvme-io", "a", "--destroy", "--from=data", *parallel, *memory)
    assert f"copied {SIZE} bytes from data\n" in text
    assert (disk / "disk.img").read_bytes() == DATA
    (disk / "back").write_bytes(bytes(SIZE + 5))
    text = good(disk, "nvme-io", "a", "--to", "back", *parallel, *memory)
    assert f"copied {SIZE} bytes to back\n" in text
    assert (disk / "back").read_bytes() == DATA


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("parallel", PARALLEL)
def test_pipes(disk: Path, memory: list[str], parallel: list[str]) -> None:
    words = [*parallel, *memory, "--block-size=12K"]
    result = piped(disk, DATA, "--destroy", "--from", "-", *words)
    assert (result.returncode, result.stderr) == (0, b"")
    assert f"copied {SIZE} bytes from standard input\n".encode() in result.stdout
    result = piped(disk, b"", "--to=-", *words)
    assert result.returncode == 0
    assert result.stdout == DATA
    assert f"copied {SIZE} bytes to standard output\n".encode() in result.stderr


def test_report_in_json_beside_standard_output(disk: Path) -> None:
    result = piped(disk, b"", "--to=-", "--json", "--size=64K", "--depth=4")
    report = json.loads(result.stderr)
    assert (report["workload"], report["copied_bytes"]) == ("read", 65536)
    assert result.stdout == bytes(65536)


@pytest.mark.parametrize("length", [0, 1, 511, 513, 4096, 4097, 8191, 20000, 61441, 200001])
@pytest.mark.parametrize("block_size", ["512", "4K", "64K"])
def test_last_block_is_padded(disk: Path, length: int, block_size: str) -> None:
    (disk / "disk.img").write_bytes(b"\xee" * SIZE)
    (disk / "data").write_bytes(DATA[:length])
    padded = -length % 512
    words = [f"--block-size={block_size}", "--depth=8"]
    result = good_json(disk, "nvme-io", "a", "--destroy", "--from=data", *words)
    assert (result["copied_bytes"], result["padded_bytes"]) == (length, padded)
    expected = DATA[:length] + bytes(padded)
    assert (disk / "disk.img").read_bytes() == expected.ljust(SIZE, b"\xee")
    if length:
        good(disk, "nvme-io", "a", "--to=back", f"--size={length}", *words)
        assert (disk / "back").read_bytes() == DATA[:length]


def test_padding_is_said(disk: Path) -> None:
    result = piped(disk, DATA[:1000], "--destroy", "--from=-")
    assert b"copied 1000 bytes from standard input, and 24 zeroes to fill" in result.stdout
    assert (disk / "disk.img").read_bytes() == DATA[:1000].ljust(SIZE, b"\0")


def test_part_of_the_disk(disk: Path) -> None:
    (disk / "data").write_bytes(DATA[: 1 << 20])
    good(disk, "nvme-io", "a", "--destroy", "--from=data", "--offset=1M", "--size=1M", "--depth=32")
    image = (disk / "disk.img").read_bytes()
    assert image == bytes(1 << 20) + DATA[: 1 << 20] + bytes(2 << 20)
    good(disk, "nvme-io", "a", "--to=back", "--offset=1M", "--size=100000", "--queues=2")
    assert (disk / "back").read_bytes() == DATA[:100000]
    good(disk, "nvme-io", "a", "--to=back", "--offset=1028K", "--count=3", "--depth=9")
    assert (disk / "back").read_bytes() == DATA[4096 : 4 * 4096]
    good(disk, "nvme-io", "a", "--to=back", "--offset=4092K")
    assert (disk / "back").read_bytes() == bytes(4096)


def test_count_cuts_the_input(disk: Path) -> None:
    good(disk, "nvme-io", "a", "--destroy", "--from=data", "--count=5", "--size=64K", "--depth=32")
    assert (disk / "disk.img").read_bytes() == DATA[: 5 * 4096].ljust(SIZE, b"\0")


def test_commands_longer_than_what_is_left(disk: Path) -> None:
    words = ["--block-size=48K", "--depth=5", "--queues=2"]
    good(disk, "nvme-io", "a", "--destroy", "--from=data", *words)
    assert (disk / "disk.img").read_bytes() == DATA
    good(disk, "nvme-io", "a", "--to=back", *words)
    assert (disk / "back").read_bytes() == DATA


def test_output_that_others_share(disk: Path) -> None:
    (disk / "disk.img").write_bytes(DATA)
    (disk / "all").write_bytes(b"before")
    script = '"$0" nvme-io a --to=- --depth=32 --size=1M 2>report && printf after'
    with open(disk / "all", "ab") as output:
        subprocess.run(
            ["sh", "-c", script, str(OBCTL)], cwd=disk, stdout=output, timeout=LIMIT, check=True
        )
    assert (disk / "all").read_bytes() == b"before" + DATA[: 1 << 20] + b"after"


@pytest.mark.parametrize("memory", MEMORY)
def test_named_pipes(disk: Path, memory: list[str]) -> None:
    os.mkfifo(disk / "fifo")
    writer = threading.Thread(target=(disk / "fifo").write_bytes, args=(DATA,))
    writer.start()
    good(disk, "nvme-io", "a", "--destroy", "--from=fifo", "--depth=32", *memory)
    writer.join(LIMIT)
    assert (disk / "disk.img").read_bytes() == DATA


def test_input_that_is_too_long(disk: Path) -> None:
    said = bad(disk, "nvme-io", "a", "--from=data", "--size=64K")
    assert f"data: {SIZE} bytes are more than the 65536 that there is room for" in said
    said = bad(disk, "nvme-io", "a", "--from=data", "--offset=64K")
    assert f"more than the {SIZE - 65536} that" in said
    assert (disk / "disk.img").read_bytes() == bytes(SIZE)
    result = piped(disk, DATA, "--destroy", "--from=-", "--size=64K", "--depth=4")
    assert result.returncode == 1
    assert result.stderr.startswith(b"obctl: standard input: more than the 65536 bytes")
    assert result.stderr.count(b"\n") == 1


@pytest.mark.parametrize("depth", [1, 32])
def test_output_without_room(disk: Path, depth: int) -> None:
    said = bad(disk, "nvme-io", "a", "--to=/dev/full", f"--depth={depth}")
    assert said == "obctl: /dev/full: No space left on device\n"


@pytest.mark.parametrize(
    "words, said",
    [
        (["--from=data", "--to=back"], "one of --from and --to"),
        (["--from=data", "--read"], "--from writes the disk"),
        (["--to=back", "--write"], "--to reads the disk"),
        (["--from=data", "--verify"], "--from copies: it goes without"),
        (["--to=back", "--random"], "--to copies: it goes without"),
        (["--from=data", "--mix=50"], "--from copies: it goes without"),
        (["--to=back", "--time=1"], "--to copies: it goes without"),
        (["--from=data", "--size=5000000"], "within the disk's"),
        (["--from=data", "--size=1000"], "a multiple of the disk's blocks of 512"),
        (["--from=missing"], "missing: No such file"),
        (["--from=run"], "run: a file expected, not a folder"),
        (["--to=missing/back"], "missing/back: No such file"),
        (["--to=back", "--size=1G"], "within the disk's"),
    ],
)
def test_mistakes(disk: Path, words: list[str], said: str) -> None:
    (disk / "run").mkdir(exist_ok=True)
    assert said in bad(disk, "nvme-io", "a", *words)
    assert not (disk / "back").exists()
    assert (disk / "disk.img").read_bytes() == bytes(SIZE)


def test_disk_that_refuses(outboard: Start, folder: Path) -> None:
    (folder / "disk.img").write_bytes(bytes(SIZE))
    (folder / "data").write_bytes(DATA)
    outboard("nvme", "disk.img", "ro=on", "socket=a")
    result = subprocess.run(
        [str(OBCTL), "nvme-io", "a", "--destroy", "--from=data"],
        cwd=folder, capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert "write of block 0 fails with status 0x" in result.stderr
    assert "1 commands failed" in result.stderr


@pytest.mark.parametrize("line, expected", [("--fr", {"--from"}), ("--from|da", {"data"})])
def test_completion(disk: Path, line: str, expected: set[str]) -> None:
    script = (
        'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1));'
        '_obctl; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    completion = REPO / "packaging" / "completion" / "obctl.bash"
    result = subprocess.run(
        ["bash", "-c", script, "bash", str(completion), str(OBCTL), "nvme-io", "a", *line.split("|")],
        cwd=disk, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert set(result.stdout.split()) == expected
