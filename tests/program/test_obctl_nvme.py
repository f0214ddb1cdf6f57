# SPDX-License-Identifier: BSD-3-Clause
"""obctl nvme-io and probe on an NVMe disk: every way to reach memory and doorbells, and bad data."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import Start
from obctl import OBCTL, Trace, bad, good, good_json, obctl
from outboard import LIMIT, wait_until

SIZE = 8 << 20


@pytest.fixture
def disk(outboard: Start, folder: Path) -> Path:
    outboard("nvme", f"size={SIZE}", "socket=a", "serial=obctl")
    return folder


def test_probe(disk: Path) -> None:
    report = good_json(disk, "probe", "a")
    caps = {cap["name"]: cap for cap in report["pci"]["capabilities"]}
    assert report["pci"]["class"] == 0x010802
    assert report["pci"]["class_name"] == "NVM Express controller"
    assert caps["Express"]["type"] == "Endpoint"
    regions = {region["name"]: region for region in report["regions"]}
    vectors = {irq["name"]: irq["count"] for irq in report["interrupts"]}["MSI-X"]
    assert caps["MSI-X"]["vectors"] == vectors
    assert caps["MSI-X"]["enabled"] is False
    assert f"bar{caps['MSI-X']['table_bar']}" in regions
    assert regions["bar0"]["kind"] == "memory, 64-bit, non-prefetchable"


@pytest.mark.parametrize("memory", [[], ["--no-shared-memory"], ["--no-shared-memory", "--twin-socket"]])
@pytest.mark.parametrize("depth, queues", [(1, 1), (32, 1), (7, 4), (128, 2)])
def test_mix_is_verified(disk: Path, memory: list[str], depth: int, queues: int) -> None:
    words = ["--destroy", "--mix=50", "--verify", "--random", "--size=2M", "--count=1000"]
    result = good_json(
        disk, "nvme-io", "a", *words, *memory, f"--depth={depth}", f"--queues={queues}"
    )
    assert result["failed_commands"] == result["wrong_blocks"] == 0
    assert result["read"]["count"] + result["write"]["count"] == 1000
    assert result["verified_blocks"] > 0
    assert result["shared_memory"] is not bool(memory)
    assert result["iops"] > 0


@pytest.mark.parametrize("interrupts", ["poll", "msix"])
@pytest.mark.parametrize("doorbells", ["message", "shadow", "auto"])
def test_doorbells_and_interrupts(disk: Path, interrupts: str, doorbells: str) -> None:
    words = ["--destroy", "--write", "--verify", "--size=2M", "--depth=8", "--queues=2"]
    result = good_json(
        disk, "nvme-io", "a", *words, f"--interrupts={interrupts}", f"--doorbells={doorbells}"
    )
    assert result["interrupts"] == interrupts
    assert doorbells in ("auto", result["doorbells"])
    assert (result["wrong_blocks"], result["write"]["count"]) == (0, 512)


@pytest.mark.parametrize("poll", ["off", "on", "adaptive", "adaptive poll-max-us=1"])
@pytest.mark.parametrize("memory", [[], ["--no-shared-memory"]])
def test_every_way_to_ring(
    outboard: Start, folder: Path, poll: str, memory: list[str]
) -> None:
    ways = ["mmap-doorbells=on", "ioeventfds=on", "idle-poll-us=100", *f"poll={poll}".split()]
    outboard("nvme", "size=8M", "socket=a", *ways)
    words = ["--destroy", "--mix=50", "--verify", "--random", "--size=1M", "--count=500", *memory]
    for doorbells in ("mmap", "mmap-shadow", "shadow", "eventfd", "message"):
        for more in (["--depth=1", "--interrupts=msix"], ["--depth=8", "--queues=3"]):
            result = good_json(folder, "nvme-io", "a", *words, *more, f"--doorbells={doorbells}")
            assert result["doorbells"] == doorbells
            assert result["failed_commands"] == result["wrong_blocks"] == 0


def test_no_wakeup_is_lost(outboard: Start, folder: Path) -> None:
    """A server that goes to sleep after each command, and a client that rings only if asked to."""
    outboard("nvme", "size=8M", "socket=a", "poll-max-us=1")
    for interrupts in ("poll", "msix"):
        words = ["--read", "--random", "--count=30000", f"--interrupts={interrupts}"]
        result = good_json(folder, "nvme-io", "a", *words, "--doorbells=shadow")
        assert result["read"]["count"] == 30000


def test_doorbells_by_eventfd(outboard: Start, folder: Path) -> None:
    outboard("nvme", "size=8M", "ioeventfds=on", "socket=a")
    words = ["--destroy", "--mix=50", "--verify", "--random", "--size=2M", "--count=2000", "--depth=4"]
    result = good_json(folder, "nvme-io", "a", *words, "--doorbells=eventfd", "--queues=2")
    assert result["doorbells"] == "eventfd"
    assert result["wrong_blocks"] == 0


@pytest.mark.parametrize("block_size", ["512", "4K", "8K", "12K", "64K", "512K"])
@pytest.mark.parametrize("memory", [[], ["--no-shared-memory"]])
def test_block_sizes(disk: Path, block_size: str, memory: list[str]) -> None:
    words = ["--destroy", "--write", "--verify", "--size=1536K", "--depth=4", *memory]
    good(disk, "nvme-io", "a", f"--block-size={block_size}", *words)


def test_what_was_written_is_there_later(disk: Path) -> None:
    where = ["--offset=1M", "--size=1M", "--verify"]
    good(disk, "nvme-io", "a", "--destroy", "--write", "--seed=7", *where, "--block-size=16K", "--depth=4")
    text = good(disk, "nvme-io", "a", "--read", "--seed=7", *where, "--depth=32")
    assert "verify 2048 blocks, 0 wrong" in text
    result = obctl(disk, "nvme-io", "a", "--read", "--seed=8", *where)
    assert result.returncode == 1
    assert "block 2048 was written with another --seed" in result.stderr
    assert "2048 blocks were wrong" in result.stderr


@pytest.fixture
def image(outboard: Start, folder: Path) -> Path:
    path = folder / "disk.img"
    path.write_bytes(bytes(SIZE))
    outboard("nvme", "disk.img", "socket=a")
    good(folder, "nvme-io", "a", "--destroy", "--write", "--verify", "--size=1M", "--depth=8")
    return path


@pytest.mark.parametrize(
    "what, said",
    [
        ("flip", "block 5 is corrupt"),
        ("zero", "block 5 is lost: all zeroes"),
        ("move", "block 5 is misplaced: block 9 is there"),
    ],
)
def test_bad_data_is_found(folder: Path, image: Path, what: str, said: str) -> None:
    fd = os.open(image, os.O_RDWR)
    block = bytearray(os.pread(fd, 512, 5 * 512))
    if what == "flip":
        block[100] ^= 1
    elif what == "zero":
        block = bytearray(512)
    else:
        block = bytearray(os.pread(fd, 512, 9 * 512))
    os.pwrite(fd, block, 5 * 512)
    os.close(fd)
    result = obctl(folder, "nvme-io", "a", "--verify", "--size=1M", "--depth=8")
    assert result.returncode == 1
    assert said in result.stderr
    assert "1 blocks were wrong" in result.stderr


def test_disk_that_keeps_nothing(outboard: Start, folder: Path) -> None:
    outboard("nvme", "null=on", "size=1M", "socket=a")
    result = obctl(folder, "nvme-io", "a", "--destroy", "--write", "--verify", "--depth=4")
    assert result.returncode == 1
    assert "block 0 is lost: all zeroes" in result.stderr
    assert "(further errors are only counted)" in result.stderr
    assert "2048 blocks were wrong" in result.stderr


def test_commands_that_fail(outboard: Start, folder: Path) -> None:
    (folder / "disk.img").write_bytes(bytes(SIZE))
    outboard("nvme", "disk.img", "ro=on", "socket=a")
    result = obctl(folder, "nvme-io", "a", "--destroy", "--write", "--count=3")
    assert result.returncode == 1
    assert "write of block 0 fails with status 0x" in result.stderr
    assert "3 commands failed" in result.stderr


def test_reads_for_a_time(disk: Path) -> None:
    result = good_json(disk, "nvme-io", "a", "--time=0.3", "--random", "--depth=16")
    assert 0.3 <= result["seconds"] < 10
    assert result["read"]["count"] > 16
    times = [result["read"][f"{name}_ns"] for name in ("min", "median", "p99", "max")]
    assert times == sorted(times)


def test_server_that_stops(outboard: Start, folder: Path) -> None:
    server = outboard("nvme", "size=1M", "socket=a")
    words = ["nvme-io", "a", "--time=60", "--depth=4", "--interrupts=msix", "--timeout=300"]
    client = subprocess.Popen(
        [str(OBCTL), *words], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    server.wait_log("client connected")
    # Wherever it is now, something stays without an answer.
    os.kill(server.pid, signal.SIGSTOP)
    _, said = client.communicate(timeout=LIMIT)
    os.kill(server.pid, signal.SIGCONT)
    assert client.returncode == 1
    texts = ("no command was completed", "no answer within", "does not end within")
    assert any(text in said for text in texts), said


@pytest.mark.parametrize("doorbells", ["message", "shadow"])
def test_client_that_is_killed(outboard: Start, folder: Path, doorbells: str) -> None:
    """Its queues go with it, which is no failure of the device's; the next client finds a disk."""
    server = outboard("nvme", f"size={SIZE}", "socket=a")
    for number in range(3):
        words = ["nvme-io", "a", "--time=60", "--depth=16", f"--doorbells={doorbells}"]
        client = subprocess.Popen([str(OBCTL), *words], cwd=folder, stdout=subprocess.DEVNULL)
        wait_until(lambda: server.errors().count("client connected") == 2 * number + 1)
        time.sleep(0.02 * number)
        client.kill()
        client.wait()
        good(folder, "nvme-io", "a", "--destroy", "--mix=50", "--verify", "--size=1M", "--count=500")
    assert "fail" not in server.errors()


@pytest.mark.parametrize(
    "words, said",
    [
        (["--read", "--write"], "one of --read, --write and --mix"),
        (["--mix=0"], "mix=0"),
        (["--block-size=1000"], "a multiple of 512"),
        (["--size=1G"], "within the disk's 8388608 bytes"),
        (["--namespace=2"], "namespace 2"),
        (["--time=soon"], "a number of seconds"),
        (["--doorbells=bell"], "doorbells"),
        (["--doorbells=eventfd"], "ioeventfds=on"),
        (["--doorbells=mmap"], "mmap-doorbells=on"),
        (["--doorbells=mmap-shadow"], "mmap-doorbells=on"),
        (["--block-size=2M"], "more than the controller transfers at a time"),
    ],
)
def test_mistakes(disk: Path, words: list[str], said: str) -> None:
    assert said in bad(disk, "nvme-io", "a", *words)


def test_traced(disk: Path) -> None:
    trace = Trace(disk, "a")
    words = ["--destroy", "--mix=50", "--verify", "--random", "--size=256K", "--depth=8", "--queues=2"]
    good(disk, "nvme-io", "traced", *words, "--no-shared-memory", "--twin-socket")
    good(disk, "nvme-io", "traced", *words, "--interrupts=msix")
    lines = trace.stop()
    assert any("< twin" in line and "DMA_READ address=" in line for line in lines)
    assert any("> twin" in line and "DMA_READ reply" in line for line in lines)
    assert any("REGION_WRITE no_reply region=bar0 offset=0x10" in line for line in lines)
    assert any("DEVICE_SET_IRQS fds=1 index=2" in line for line in lines)


# What is on a disk stays there unless somebody says that it may go


DATA = bytes(range(256)) * 32


WRITES = [["--write", "--verify"], ["--mix=50"], ["--mix=50", "--random", "--count=1"], ["--from=data"]]


@pytest.mark.parametrize("words", WRITES, ids=lambda words: str(words[0]) + str(len(words)))
@pytest.mark.parametrize("more", [[], ["--depth=7", "--block-size=8K", "--interrupts=msix"]])
def test_data_is_not_overwritten(
    outboard: Start, folder: Path, words: list[str], more: list[str]
) -> None:
    """The one byte is behind all others, but within what would be written."""
    image = folder / "disk.img"
    image.write_bytes(bytes(len(DATA) - 1) + b"\1" + bytes(len(DATA)))
    (folder / "data").write_bytes(DATA)
    outboard("nvme", "disk.img", "socket=a")
    said = bad(folder, "nvme-io", "a", *words, "--size=8K", *more)
    assert "the disk is not empty (block 15)" in said
    assert "--destroy" in said
    assert image.read_bytes() == bytes(len(DATA) - 1) + b"\1" + bytes(len(DATA))
    good(folder, "nvme-io", "a", *words, "--size=8K", "--destroy", *more)


def test_an_empty_place_is_written_beside_data(outboard: Start, folder: Path) -> None:
    image = folder / "disk.img"
    image.write_bytes(b"\1" * 4096 + bytes(12288) + b"\1" * 4096)
    outboard("nvme", "disk.img", "socket=a")
    good(folder, "nvme-io", "a", "--write", "--verify", "--offset=4K", "--size=12K")
    left = image.read_bytes()
    assert left[:4096] == left[16384:] == b"\1" * 4096
    assert left[4096:16384].strip(b"\0")


def test_a_large_disk_is_not_read_to_see(outboard: Start, folder: Path) -> None:
    with open(folder / "disk.img", "wb") as image:
        image.truncate((1 << 30) + 4096)
    outboard("nvme", "disk.img", "socket=a")
    said = bad(folder, "nvme-io", "a", "--mix=50", "--count=5", "--random")
    assert f"a: {(1 << 30) + 4096} bytes of the disk would be overwritten" in said
    good(folder, "nvme-io", "a", "--write", "--count=5")
