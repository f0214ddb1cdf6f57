# SPDX-License-Identifier: BSD-3-Clause
"""
An idle disk with its client attached: processor time that it takes, and how long the first command after
an idle second takes, beside waking a sleeping process.
"""

from __future__ import annotations

from ..programs import Bench, Missing, column, program, serve
from ..results import Beside, Row, at_most, median
from .doorbells import WAYS, words_for

TITLE = "Idle"


def one(bench: Bench, way: str) -> dict[str, float]:
    with serve("nvme", "null=on", *words_for(way)) as (server, socket):
        result = program(
            "ours_idle",
            socket,
            doorbells=way,
            server=server.pid,
            count=2 if bench.quick else 3,
            idle_ms=500 if bench.quick else 1000,
        )
    if result["doorbells"] != way:
        raise Missing(f"doorbells are by {result['doorbells']}")
    return {**result, "first": median(result["first_ns"])}


def wake_up(bench: Bench, via: str) -> dict[str, float]:
    result = program("floor_wakeup", via=via, count=2, idle_ms=500 if bench.quick else 1000)
    return {"first": median(result["wake_up_ns"])}


def measure(bench: Bench) -> list[Row]:
    probes = {f"floor {via}": lambda v=via: wake_up(bench, v) for via in ("eventfd", "socket")}
    for way in WAYS:
        probes[way] = lambda w=way: one(bench, w)
    found = bench.collect(probes, runs=min(bench.runs, 3))
    rows = []
    ways = [way for way in WAYS if way in found]
    for way in ways:
        via = "eventfd" if way == "eventfd" else "socket"
        beside = []
        # A page that wakes nobody is looked at now and then, which is no wake-up.
        if f"floor {via}" in found and not way.startswith("mmap"):
            floor = column(found[f"floor {via}"], "first")
            beside = [Beside(f"waking a process by {via}", floor)]
        values = column(found[way], "first")
        rows.append(Row(f"first command after a second, doorbell by {way}", "ns", values, beside))
    for way in ways:
        beside = [Beside("once", [1.0], at_most(1))] if not way.startswith("mmap") else []
        values = column(found[way], "sleeps_per_command")
        rows.append(Row(f"wake-ups for that command, doorbell by {way}", "", values, beside))
    for way in ways:
        # Of a second: 0.1 % is what a process that does nothing is allowed to cost.
        used = [value / 1e9 * 100 for value in column(found[way], "idle_cpu_ns_per_second")]
        beside = [Beside("0.1 %", [0.1], at_most(1))] if not way.startswith("mmap") else []
        rows.append(Row(f"processor time while idle, doorbell by {way}", "%", used, beside))
    return rows
