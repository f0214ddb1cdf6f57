# SPDX-License-Identifier: BSD-3-Clause
"""obctl migrate: a device moves between two processes while it is used, and either of them ends."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from obctl import OBCTL, bad, good, good_json, obctl
from outboard import LIMIT, REPO, Outboard, is_sanitized, wait_until

KILLS = int(os.environ.get("OUTBOARD_KILLS", "20"))
DISK = 64 << 20
LOAD = ("--load", "--destroy")


def make_disk(folder: Path, name: str = "disk.img") -> str:
    with open(folder / name, "wb") as disk:
        disk.truncate(DISK)
    return name


def pair(outboard: Start, *words: str) -> tuple[Outboard, Outboard]:
    here = outboard(*words, "socket=here.sock")
    return here, outboard(*words, "socket=there.sock", "-incoming", "defer")


def assert_sound(report: Any) -> None:
    assert report["load"]["wrong_blocks"] == 0
    assert report["load"]["failed_commands"] == 0
    assert report["load"]["verified_blocks"] > 0
    assert report["load"]["writes"] > 0


def test_edu(outboard: Start, folder: Path) -> None:
    pair(outboard, "edu")
    good(folder, "write", "here.sock", "bar0", "8", "5")
    report = good_json(folder, "migrate", "here.sock", "there.sock")
    assert report["moves"] == 1
    assert report["state_bytes"]["median"] > 0
    assert good(folder, "read", "there.sock", "bar0", "8") == "0x00000078\n"


LOADS = [
    ("file", ()),
    ("mem", ()),
    ("mem", ("--doorbells", "message")),
    ("mem", ("--doorbells", "shadow")),
    ("mem", ("--interrupts", "msix")),
    ("mem", ("--queues", "3", "--depth", "7", "--block-size", "16K")),
    ("mem", ("--no-shared-memory",)),
    ("mem", ("--no-shared-memory", "--twin-socket")),
]


@pytest.mark.parametrize("kind, options", LOADS)
def test_disk_under_load(outboard: Start, folder: Path, kind: str, options: tuple[str, ...]) -> None:
    pair(outboard, "nvme", make_disk(folder) if kind == "file" else "size=8M")
    words = (*LOAD, "--rounds", "6", "--interval", "5", "--memory", "1M", "--size", "4M", *options)
    report = good_json(folder, "migrate", "here.sock", "there.sock", *words)
    assert report["moves"] == 6
    assert_sound(report)


WAYS = [("eventfd", "ioeventfds=on"), ("mmap", "mmap-doorbells=on"), ("mmap-shadow", "mmap-doorbells=on")]


@pytest.mark.parametrize("way, prop", WAYS)
def test_doorbells_of_the_server(outboard: Start, folder: Path, way: str, prop: str) -> None:
    pair(outboard, "nvme", "size=8M", prop)
    words = (*LOAD, "--rounds", "4", "--interval", "5", "--doorbells", way)
    assert_sound(good_json(folder, "migrate", "here.sock", "there.sock", *words))


def test_a_disk_that_does_not_fit_stays(outboard: Start, folder: Path) -> None:
    outboard("nvme", "size=8M", "socket=here.sock")
    outboard("nvme", "size=4M", "socket=there.sock", "-incoming", "defer")
    result = obctl(folder, "migrate", "here.sock", "there.sock", *LOAD, "--json", "--size", "4M")
    assert result.returncode == 1
    assert "did not move, and goes on: there.sock" in result.stderr
    report = json.loads(result.stdout)
    assert report["moves"] == 0
    assert report["failure"].startswith("there.sock: ")
    assert_sound(report)


def test_files_of_state(outboard: Start, folder: Path) -> None:
    process = outboard("nvme", "size=1M", "socket=here.sock")
    good(folder, "nvme-io", "here.sock", "--destroy", "--write", "--verify", "--size", "1M", "--seed", "3")
    good(folder, "migrate", "save", "here.sock", "state")
    sections = {part["name"]: part for part in good_json(folder, "migrate", "dump", "state")["sections"]}
    assert sections["device"]["elements"][0]["model"] == "nvme"
    assert sections["drive0"]["bytes"] == 1 << 20
    assert "model nvme" in good(folder, "migrate", "dump", "state")
    assert process.stop() == 0
    outboard("nvme", "size=1M", "socket=there.sock", "-incoming", "defer")
    good(folder, "migrate", "load", "there.sock", "state")
    good(folder, "nvme-io", "there.sock", "--read", "--verify", "--size", "1M", "--seed", "3")


KEPT = sorted((REPO / "tests" / "data" / "migration").glob("v*.bin"))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: str(path.name))
def test_streams_of_all_versions(folder: Path, path: Path) -> None:
    sections = good_json(folder, "migrate", "dump", path)["sections"]
    assert sections[0]["name"] == "device"
    assert sections[0]["elements"][0]["model"] == path.stem.split("-")[1]
    assert good(folder, "migrate", "dump", path).startswith("device: version 1\n")


def test_files_that_are_none(outboard: Start, folder: Path) -> None:
    outboard("edu", "socket=here.sock")
    good(folder, "migrate", "save", "here.sock", "state")
    whole = (folder / "state").read_bytes()
    for damaged, text in [
        (b"", "header"),
        (b"nonsense" * 9, "begin"),
        (whole[:-1], "too soon"),
        (whole[:40], "too soon"),
        (whole + b"x", "behind the end"),
        (whole[:60] + bytes([whole[60] ^ 1]) + whole[61:], "checksum"),
    ]:
        (folder / "damaged").write_bytes(damaged)
        result = obctl(folder, "migrate", "dump", "damaged")
        assert result.returncode == 1
        assert text in result.stderr
    for words in ("dump", "nothing"), ("save", "here.sock"), ("dump", "a", "b"):
        assert obctl(folder, "migrate", *words).returncode == 1


# What disks hold stays


def test_a_move_alone_writes_nothing(outboard: Start, folder: Path) -> None:
    data = b"precious" * (1 << 17)
    (folder / "disk.img").write_bytes(data)
    pair(outboard, "nvme", "disk.img")
    report = good_json(folder, "migrate", "here.sock", "there.sock", "--rounds", "3", "--interval", "1")
    assert report["moves"] == 3
    assert "load" not in report
    assert (folder / "disk.img").read_bytes() == data


def test_a_load_asks_first(outboard: Start, folder: Path) -> None:
    data = b"precious" * (1 << 17)
    (folder / "disk.img").write_bytes(data)
    pair(outboard, "nvme", "disk.img")
    words = ("migrate", "here.sock", "there.sock", "--load", "--rounds", "2", "--interval", "1")
    assert "here.sock: the disk is not empty (block " in bad(folder, *words)
    assert (folder / "disk.img").read_bytes() == data
    report = good_json(folder, *words, "--mix", "100")
    assert (report["moves"], report["load"]["writes"], report["load"]["failed_commands"]) == (2, 0, 0)
    assert (folder / "disk.img").read_bytes() == data
    report = good_json(folder, *words, "--destroy")
    assert (report["moves"], report["load"]["wrong_blocks"]) == (2, 0)


def test_a_load_on_an_empty_disk(outboard: Start, folder: Path) -> None:
    pair(outboard, "nvme", "size=1M")
    assert_sound(good_json(folder, "migrate", "here.sock", "there.sock", "--load"))


def test_a_device_that_runs_is_no_destination(outboard: Start, folder: Path) -> None:
    """Its own state, and its disk in memory, would be lost."""
    outboard("nvme", "size=1M", "socket=here.sock")
    outboard("nvme", "size=1M", "socket=there.sock")
    good(folder, "nvme-io", "there.sock", "--destroy", "--write", "--verify")
    good(folder, "migrate", "save", "here.sock", "state")
    for words in ("migrate", "here.sock", "there.sock"), ("migrate", "load", "there.sock", "state"):
        said = bad(folder, *words)
        assert "there.sock: the device runs" in said
        assert "-incoming defer" in said
        good(folder, "nvme-io", "there.sock", "--read", "--verify")
    good(folder, "migrate", "load", "there.sock", "state", "--destroy")
    assert obctl(folder, "nvme-io", "there.sock", "--read", "--verify").returncode == 1


def test_a_load_needs_a_disk(outboard: Start, folder: Path) -> None:
    pair(outboard, "edu")
    assert "--load is for NVMe disks" in bad(folder, "migrate", "here.sock", "there.sock", "--load")


# Either side ends


def kill_one(outboard: Start, folder: Path, seed: int) -> str:
    """Kills one of the two at a random moment. What the other one is for then: "moved on" to it, or
    "stayed" there."""
    chance = random.Random(seed)
    # A new one, as the kernel may hold the disk of a process that has ended for a moment longer.
    sides = pair(outboard, "nvme", make_disk(folder, f"disk{seed}.img"))
    words = ["migrate", "here.sock", "there.sock", *LOAD, "--rounds", "1000", "--interval", "0", "--recover"]
    words += ["--memory", "256K", "--size", "2M", "--json", "--seed", str(seed)]
    client = subprocess.Popen([OBCTL, *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        wait_until(lambda: all("client connected" in side.errors() for side in sides))
        time.sleep(chance.uniform(0, 0.22 * (1 + seed % 100000 / KILLS)))
        victim = chance.choice(sides)
        victim.process.send_signal(signal.SIGKILL)
        output, errors = client.communicate(timeout=6 * LIMIT)
    finally:
        client.kill()
    victim.process.wait()
    (folder / ("here.sock" if victim is sides[0] else "there.sock")).unlink(missing_ok=True)
    (sides[0] if victim is sides[1] else sides[1]).stop()
    if not output:  # the driver was still coming up: there is a report as soon as the load has begun
        assert client.returncode == 1 and errors
        return kill_one(outboard, folder, seed + 100000)
    report = json.loads(output)
    assert_sound(report)
    assert ("recovered" in report) == (client.returncode == 0), errors.decode()
    assert ("failure" in report) == (client.returncode == 1), errors.decode()
    return "moved on" if "recovered" in report else "stayed"


def test_either_side_ends(outboard: Start, folder: Path) -> None:
    seen = [kill_one(outboard, folder, seed) for seed in range(KILLS)]
    # Both ends have to come about, on a slow machine after more and later kills.
    for seed in range(KILLS, 10 * KILLS):
        if KILLS < 20 or is_sanitized() or set(seen) == {"moved on", "stayed"}:
            break
        seen.append(kill_one(outboard, folder, seed))
    else:
        raise AssertionError(f"{len(seen)} times {seen[0]}")
