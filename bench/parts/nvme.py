# SPDX-License-Identifier: BSD-3-Clause
"""
An NVMe disk in memory, and one that keeps nothing, with a polling driver on the other processor:
random blocks, by depth, size, kind and number of queues. Beside SPDK's vfio-user target, as its figures
were had with a driver of the same kind on a machine of the same kind.
"""

from __future__ import annotations

from pathlib import Path

from ..programs import (
    BUILD,
    Bench,
    Missing,
    Server,
    column,
    has_property,
    nvme_io,
    program,
    serve,
    system_calls,
)
from ..results import Beside, Row, Target, at_least, at_most

TITLE = "NVMe: disks in memory"

# As SPDK's null backend, ours leaves the memory of reads alone here; by default it fills in zeroes.
DISKS = {"null": ["null=on", "read-zeroes=off", "size=1G"], "mem": ["size=256M"]}
SIZE = 256 << 20
DEPTHS = (1, 8, 32, 128)
BLOCKS = {"4 KiB": 4096, "128 KiB": 131072}
KINDS = {"read": ["--read"], "write": ["--write", "--destroy"], "mix": ["--mix=50", "--destroy"]}
QUEUES = (1, 4)

# Millions of commands per second, 4 KiB, one queue.
SPDK = {"null": {1: 0.95e6, 32: 3.1e6, 128: 4.5e6}, "mem": {1: 0.56e6, 32: 0.86e6, 128: 0.92e6}}
WANTED_NULL_DEEP = 5e6


def key(disk: str, block: str, kind: str, queues: int, depth: int) -> str:
    return f"{disk} {block}: {kind}, {queues} queue{'s' if queues > 1 else ''}, depth {depth}"


def combinations(bench: Bench) -> list[tuple[str, str, str, int, int]]:
    found = []
    for disk in DISKS:
        for block in BLOCKS:
            for kind in KINDS:
                for queues in QUEUES:
                    for depth in DEPTHS:
                        usual = block == "4 KiB" and queues == 1 and depth != 8 and kind != "mix"
                        if usual or not bench.quick:
                            found.append((disk, block, kind, queues, depth))
    return found


def load(bench: Bench, socket: Path, block: str, kind: str, queues: int, depth: int) -> dict:
    options = [
        f"--block-size={BLOCKS[block]}",
        f"--depth={depth}",
        f"--queues={queues}",
        f"--time={bench.seconds(0.2)}",
        "--random",
    ]
    return nvme_io(socket, *KINDS[kind], *options)


def mapped(bench: Bench, depth: int) -> dict:
    """Doorbells in a page that the client maps, and a server that always looks, as SPDK's does."""
    if not has_property("nvme", "mmap-doorbells"):
        raise Missing("this outboard does not offer its doorbells' page")
    with serve("nvme", *DISKS["null"], "mmap-doorbells=on", "poll=on") as (_, socket):
        words = ["--doorbells=mmap", f"--depth={depth}", f"--time={bench.seconds(0.2)}", "--random"]
        return nvme_io(socket, *words)


def calls(server: Server, socket: Path, depth: int) -> dict[str, float]:
    """Of the server, for each command. The difference of two runs is what bringing it up takes."""
    counts = []
    for count in (100000, 1100000):
        words = ["--random", f"--depth={depth}", f"--count={count}"]
        counts.append(system_calls([BUILD / "obctl", "nvme-io", socket, *words], server.pid))
    return {"n": max(counts[1] - counts[0], 0) / 1e6}


def copies(bench: Bench, block: str, kind: str, depth: int) -> dict:
    return program(
        "floor_memcpy",
        block=BLOCKS[block],
        depth=depth,
        write=int(kind == "write"),
        size=SIZE,
        ms=bench.ms(0.2),
    )


def probes_for(bench: Bench, sockets: dict[str, Path]) -> dict:
    """Each floor directly before what it is the floor of: the machine's speed changes with time."""
    probes = {"ping-pong": lambda: program("floor_pingpong", count=bench.count(1000000))}
    for disk, block, kind, queues, depth in combinations(bench):
        if disk == "mem" and queues == 1 and kind != "mix" and depth != 8:
            probes[f"memcpy {block} {kind} {depth}"] = (
                lambda b=block, k=kind, n=depth: copies(bench, b, k, n)
            )
        probes[key(disk, block, kind, queues, depth)] = (
            lambda d=disk, b=block, k=kind, q=queues, n=depth: load(bench, sockets[d], b, k, q, n)
        )
        if (disk, block, kind, queues) == ("null", "4 KiB", "read", 1) and depth in (1, 128):
            probes[f"mapped, depth {depth}"] = lambda d=depth: mapped(bench, d)
    return probes


def measure(bench: Bench) -> list[Row]:
    with serve("nvme", *DISKS["null"]) as (server, null), serve("nvme", *DISKS["mem"]) as (_, mem):
        sockets = {"null": null, "mem": mem}
        # Each block there is; otherwise reads find nothing to copy.
        nvme_io(mem, "--write", "--destroy", "--block-size=128K", "--depth=32", f"--size={SIZE}")
        found = bench.collect(probes_for(bench, sockets))
        counted = bench.collect(
            {f"depth {d}": lambda d=d: calls(server, null, d) for d in (1, 32)}, runs=1
        )
    bench.note("SPDK: its published figures for a machine of the same kind, not measured here")
    rows = compared(found)
    for name, results in counted.items():
        title = f"null, {name}: system calls of the server, for each command"
        rows.append(Row(title, "calls", column(results, "n")))
    return [*rows, *matrix(bench, found)]


def compared(found: dict) -> list[Row]:
    rows = []
    for how, name in (
        ("", key("null", "4 KiB", "read", 1, 1)),
        (", mapped doorbells, polls", "mapped, depth 1"),
    ):
        if name in found and "ping-pong" in found:
            floor = column(found["ping-pong"], "round_trip_ns")
            beside = [
                Beside("memory ping-pong", floor, at_most(3)),
                Beside("SPDK (published)", [1e9 / SPDK["null"][1]]),
            ]
            times = [1e9 / result["iops"] for result in found[name]]
            rows.append(Row(f"null, time of a read, depth 1{how}", "ns", times, beside))
    if "mapped, depth 128" in found:
        values = column(found["mapped, depth 128"], "iops")
        name = "null, read of 4 KiB, depth 128, mapped doorbells, polls"
        rows.append(Row(name, "/s", values, beside_of(found, "null", "read", 128)))
    for disk in DISKS:
        for kind in ("read", "write"):
            for depth in (1, 32, 128):
                results = found.get(key(disk, "4 KiB", kind, 1, depth))
                if results:
                    values = column(results, "iops")
                    name = f"{disk}, {kind} of 4 KiB, depth {depth}"
                    rows.append(Row(name, "/s", values, beside_of(found, disk, kind, depth)))
    for kind in ("read", "write"):
        for depth in (32, 128):
            results = found.get(key("mem", "128 KiB", kind, 1, depth))
            copies = found.get(f"memcpy 128 KiB {kind} {depth}")
            if results and copies:
                beside = [Beside("memcpy alone", column(copies, "iops"))]
                name = f"mem, {kind} of 128 KiB, depth {depth}"
                rows.append(Row(name, "/s", column(results, "iops"), beside))
    return rows


def beside_of(found: dict, disk: str, kind: str, depth: int) -> list[Beside]:
    beside = []
    copies = found.get(f"memcpy 4 KiB {kind} {depth}")
    if disk == "mem" and copies:
        target: Target | None = at_least(0.8) if depth > 1 else None
        beside.append(Beside("memcpy alone", column(copies, "iops"), target))
    if kind == "read":
        if disk == "null" and depth == 128:
            beside.append(Beside("5 million", [WANTED_NULL_DEEP], at_least(1)))
        beside.append(Beside("SPDK (published)", [SPDK[disk][depth]]))
    return beside


def matrix(bench: Bench, found: dict) -> list[Row]:
    rows = []
    for disk, block, kind, queues, depth in combinations(bench):
        name = key(disk, block, kind, queues, depth)
        if name in found and not bench.quick:
            group = name.rpartition(", ")[0]
            values = column(found[name], "iops")
            rows.append(Row("", "/s", values, group=group, column=f"depth {depth}"))
    return rows
