# SPDX-License-Identifier: BSD-3-Clause
"""
An NVMe disk on a file, beside the same pattern straight through io_uring: blocks of 4 KiB at random, the
same depth, direct I/O where the file system has it. On the file system of the build folder, and in
memory (tmpfs). Processor time is that of whoever does the I/O: the server's, and the floor's.

A disk with a queue for each processor interrupts the one that I/O was begun on. One that always interrupts
the same has whoever does the I/O there, ours or the floor: clients that are interrupted would be measured
otherwise.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..machine import cpu_seconds, interrupted, processors, servers_on
from ..programs import Bench, Missing, column, nvme_io, program, serve
from ..results import Beside, Row, at_least, at_most

TITLE = "NVMe: disks in files"

SIZE = 256 << 20
DEPTHS = (1, 32, 128)
TMPFS = Path("/dev/shm")

# Ways to use io_uring that are asked for, at one depth, and the floor's. (The kernel's thread of sqpoll=on
# would need a processor of its own beside the server's and the client's.)
WAYS: dict[str, tuple[list[str], dict[str, int]]] = {
    "fixed-buffers": (["fixed-buffers=on"], {"fixed": 1})
}
WAYS_DEPTH = 32

# Of its aio backend on tmpfs.
SPDK = {1: 234e3, 32: 321e3}


def make_file(folder: Path) -> Path:
    """Written all over, with what no file system shortens, and no dirty pages left."""
    status = os.statvfs(folder)
    if status.f_bavail * status.f_frsize < 2 * SIZE:
        raise Missing(f"{folder} has no room for a file of {SIZE >> 20} MiB")
    fd, name = tempfile.mkstemp(prefix="outboard-bench.", dir=folder)
    try:
        for _ in range(SIZE >> 20):
            os.write(fd, os.urandom(1 << 20))
        os.fsync(fd)
    finally:
        os.close(fd)
    return Path(name)


def ours(
    bench: Bench, path: Path, depth: int, write: bool, words: list[str] | None = None
) -> dict[str, float]:
    options = [f"--depth={depth}", f"--time={bench.seconds(0.6)}", "--random"]
    with serve("nvme", str(path), *(words or [])) as (server, socket):
        # What is set up once is not part of the cost of an I/O.
        nvme_io(socket, "--count=100")
        before = cpu_seconds(server.pid)
        result = nvme_io(socket, *(["--write", "--destroy"] if write else ["--read"]), *options)
        used = cpu_seconds(server.pid) - before
    count = result["write" if write else "read"]["count"]
    return {"iops": result["iops"], "cpu_ns": used * 1e9 / count}


def floor(
    bench: Bench, path: Path, depth: int, write: bool = False, **options: int
) -> dict[str, float]:
    return program(
        "floor_uring", path, depth=depth, write=int(write), ms=bench.ms(0.6), **options
    )


def bring_in(path: Path) -> None:
    """Into the page cache."""
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 20):
            pass


def cached(measure_one: Callable[[], dict], path: Path) -> dict:
    bring_in(path)
    return measure_one()


def probes(bench: Bench, places: dict[str, Path]) -> dict:
    found = {}
    for place, path in places.items():
        for depth in DEPTHS:
            for write in (False, True):
                if write and (bench.quick or depth == 128):
                    continue
                name = f"{place}, {'write' if write else 'read'}, depth {depth}"
                found[f"floor {name}"] = lambda p=path, d=depth, w=write: floor(bench, p, d, w)
                found[f"ours {name}"] = lambda p=path, d=depth, w=write: ours(bench, p, d, w)
                if place == "disk" and not write:
                    found[f"busy {name}"] = lambda p=path, d=depth: floor(bench, p, d, busy=1)
    for depth in DEPTHS:
        if "disk" in places and not bench.quick:
            path, name = places["disk"], f"page cache, read, depth {depth}"
            found[f"floor {name}"] = lambda p=path, d=depth: cached(
                lambda: floor(bench, p, d, direct=0), p
            )
            found[f"ours {name}"] = lambda p=path, d=depth: cached(
                lambda: ours(bench, p, d, False, ["direct=off"]), p
            )
    for way, (words, options) in WAYS.items():
        if "disk" in places and not bench.quick:
            path, name = places["disk"], f"disk, read, depth {WAYS_DEPTH}, {way}"
            found[f"floor {name}"] = lambda p=path, o=options: floor(bench, p, WAYS_DEPTH, **o)
            found[f"ours {name}"] = lambda p=path, w=words: ours(bench, p, WAYS_DEPTH, False, w)
    return found


def measure(bench: Bench) -> list[Row]:
    places: dict[str, Path] = {}
    try:
        for place, folder in (("disk", bench.scratch), ("tmpfs", TMPFS)):
            try:
                places[place] = make_file(folder)
            except (Missing, OSError) as error:
                bench.note(f"{place}: not measured: {error}")
        all_probes = probes(bench, places)
        cpu = None
        if "disk" in places:
            cpu = interrupted(lambda: floor(bench, places["disk"], 32))
        with servers_on(cpu):
            if cpu is not None:
                bench.note(f"the disk interrupts processor {cpu}; servers on {processors()[0]}")
            found = bench.collect(all_probes)
    finally:
        for path in places.values():
            path.unlink(missing_ok=True)
    for place in places:
        results = found.get(f"floor {place}, read, depth 1")
        if results:
            how = "direct" if results[0]["direct"] else "through the page cache"
            bench.note(f"{place}: I/O is {how}")
    rows = []
    for what, unit in (("iops", "/s"), ("cpu_ns", "ns")):
        for name in all_probes:
            if name.startswith("ours ") and name in found:
                rows.append(row(found, name.removeprefix("ours "), what, unit))
    return rows


def row(found: dict, name: str, what: str, unit: str) -> Row:
    place, kind, deep, *_ = name.split(", ")
    depth = int(deep.split()[1])
    speed = what == "iops"
    beside = []
    floors = found.get(f"floor {name}")
    if floors:
        # From the page cache a read takes no longer than the way to the client and back.
        unwanted = place == "page cache" and depth == 1
        target = None if unwanted else at_least(0.95) if speed else at_most(1)
        beside.append(Beside("io_uring alone", column(floors, what), target))
    if f"busy {name}" in found:
        values = column(found[f"busy {name}"], what)
        beside.append(Beside("io_uring alone, never asleep", values))
    if speed and place == "tmpfs" and kind == "read" and depth in SPDK:
        beside.append(Beside("SPDK aio (published)", [SPDK[depth]], at_least(1.5)))
    title = name if speed else f"{name}: processor time of a command"
    return Row(title, unit, column(found[f"ours {name}"], what), beside)
