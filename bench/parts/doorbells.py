# SPDX-License-Identifier: BSD-3-Clause
"""
How a disk learns that there is a command: each way by itself, on a disk that keeps nothing. Without
polling each command rings; with it, a busy queue does not.
"""

from __future__ import annotations

from ..programs import Bench, column, has_property, nvme_io, program, serve
from ..results import Beside, Row

TITLE = "Doorbells"

WAYS = {
    "mmap": "mapped page",
    "mmap-shadow": "shadow, and mapped page",
    "shadow": "shadow, and messages",
    "eventfd": "shadow, and an eventfd",
    "message": "messages",
}
DEPTHS = (1, 32)


def words_for(way: str) -> list[str]:
    """What a disk has to be told to offer this way."""
    if way.startswith("mmap"):
        return ["mmap-doorbells=on"] if has_property("nvme", "mmap-doorbells") else []
    return ["ioeventfds=on"] if way == "eventfd" else []


def server_words(way: str, polls: bool) -> list[str]:
    if polls:
        return ["nvme", "null=on", "read-zeroes=off", "size=1G", *words_for(way)]
    # Neither the disk looks for commands nor the server for messages: both call that poll.
    device = ["nvme", "id=d", "drive=b", *words_for(way)]
    device.append("poll=off" if has_property("nvme", "poll") else "poll-max-us=0")
    server = ["x-vfio-user-server", "id=s", "type=unix", "path={socket}", "device=d"]
    server += ["poll=off"] if has_property("edu", "poll") else []
    block = "driver=null,node-name=b,size=1G,read-zeroes=off"
    return ["-blockdev", block, "-device", ",".join(device), "-object", ",".join(server)]


def one(bench: Bench, way: str, polls: bool, depth: int) -> dict[str, float]:
    with serve(*server_words(way, polls)) as (_, socket):
        options = [f"--doorbells={way}", f"--depth={depth}", f"--time={bench.seconds(0.3)}", "--random"]
        return nvme_io(socket, *options)


def measure(bench: Bench) -> list[Row]:
    count = bench.count(20000)
    probes = {
        "ping-pong": lambda: program("floor_pingpong", count=bench.count(1000000)),
        "eventfd": lambda: program("floor_wakeup", idle_ms=0, count=count),
        "socket": lambda: program("floor_wakeup", idle_ms=0, count=count, via="socket"),
    }
    for way in WAYS:
        for polls in (True, False):
            # A mapped page wakes nobody: who does not look does not see.
            if way.startswith("mmap") and not polls:
                continue
            for depth in DEPTHS:
                probes[f"{way}, polls {polls}, depth {depth}"] = (
                    lambda w=way, p=polls, d=depth: one(bench, w, p, d)
                )
    found = bench.collect(probes)
    floors = {
        name: Beside(title, column(found[name], key))
        for name, title, key in (
            ("ping-pong", "memory ping-pong", "round_trip_ns"),
            ("eventfd", "waking by eventfd", "mean_ns"),
            ("socket", "waking by socket", "mean_ns"),
        )
        if name in found
    }
    return rows_of(found, floors)


def rows_of(found: dict, floors: dict[str, Beside]) -> list[Row]:
    wakes = {"eventfd": "eventfd", "message": "socket", "shadow": "socket"}
    rows = []
    for depth in DEPTHS:
        for way, title in WAYS.items():
            for polls in (True, False):
                results = found.get(f"{way}, polls {polls}, depth {depth}")
                if not results:
                    continue
                name = f"{title}, {'polls' if polls else 'asleep'}, depth {depth}"
                if depth > 1:
                    rows.append(Row(name, "/s", column(results, "iops")))
                    continue
                beside = "ping-pong" if polls and way != "message" else wakes.get(way)
                times = [1e9 / result["iops"] for result in results]
                others = [floors[beside]] if beside in floors else []
                rows.append(Row(name, "ns", times, others))
    return rows
