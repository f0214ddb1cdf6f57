# SPDX-License-Identifier: BSD-3-Clause
"""The machine alone: what two processors, and what one, can do with memory."""

from __future__ import annotations

from ..programs import Bench, column, program
from ..results import Row

TITLE = "The machine: memory"


def measure(bench: Bench) -> list[Row]:
    found = bench.collect(
        {
            "ping-pong": lambda: program("floor_pingpong", count=bench.count(2000000)),
            "memcpy": lambda: program("floor_memcpy", depth=32, ms=bench.ms(0.2)),
        }
    )
    rows = []
    if "ping-pong" in found:
        times = column(found["ping-pong"], "round_trip_ns")
        rows.append(Row("a cache line to the other processor and back", "ns", times))
    if "memcpy" in found:
        times = column(found["memcpy"], "copy_ns")
        rows.append(Row("copying a block of 4 KiB at random", "ns", times))
    return rows
