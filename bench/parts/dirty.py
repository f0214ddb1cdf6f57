# SPDX-License-Identifier: BSD-3-Clause
"""What a device pays for noting the pages that it writes, as it does while its machine is moved."""

from __future__ import annotations

from ..programs import Bench, column, program, serve
from ..results import Beside, Row

TITLE = "Noting written pages"

DEPTHS = (1, 32)


def one(bench: Bench, depth: int) -> dict[str, float]:
    with serve("nvme", "null=on") as (_, socket):
        return program("ours_dirty", socket, depth=depth, ms=bench.ms(0.8))


def measure(bench: Bench) -> list[Row]:
    found = bench.collect({f"depth {d}": lambda d=d: one(bench, d) for d in DEPTHS})
    rows = []
    for name, results in found.items():
        without = [Beside("without", column(results, "off_iops"))]
        rows.append(Row(f"reads of 4 KiB, {name}, noting", "/s", column(results, "on_iops"), without))
    for name, results in list(found.items())[:1]:
        rows.append(Row("a report about 1 GiB", "ns", column(results, "report_ns")))
    return rows
