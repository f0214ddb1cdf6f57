# SPDX-License-Identifier: BSD-3-Clause
"""Interrupts that arrive in the client's eventfd: one after the other, and a disk's, coalesced or not."""

from __future__ import annotations

from ..programs import Bench, column, program, serve
from ..results import Beside, Row

TITLE = "Interrupts"

# Completions that may share an interrupt, less one, and how long the first may wait, in 100 us.
COALESCED = {"threshold": 15, "time_100us": 1}
DEPTHS = (1, 32)


def of_edu(bench: Bench) -> dict[str, float]:
    with serve("edu") as (_, socket):
        return program("ours_interrupts", socket, device="edu", ms=bench.ms(0.4))


def of_nvme(bench: Bench, depth: int, coalescing: dict[str, int]) -> dict[str, float]:
    with serve("nvme", "null=on") as (_, socket):
        return program(
            "ours_interrupts", socket, device="nvme", depth=depth, ms=bench.ms(0.4), **coalescing
        )


def measure(bench: Bench) -> list[Row]:
    probes = {
        "floor": lambda: program(
            "floor_wakeup", idle_ms=0, count=bench.count(20000), via="socket"
        ),
        "edu": lambda: of_edu(bench),
    }
    for depth in DEPTHS:
        for name, coalescing in (("", {}), (", coalesced", COALESCED)):
            probes[f"nvme, depth {depth}{name}"] = lambda d=depth, c=coalescing: of_nvme(bench, d, c)
    found = bench.collect(probes)
    rows = []
    if "edu" in found:
        beside = []
        if "floor" in found:
            beside = [Beside("waking a process by socket", column(found["floor"], "mean_ns"))]
        times = column(found["edu"], "latency_ns")
        rows.append(Row("from a register write by message to the eventfd", "ns", times, beside))
    for key, title in (
        ("interrupts_per_second", "interrupts"),
        ("iops", "commands"),
    ):
        for name, results in found.items():
            if name.startswith("nvme"):
                rows.append(Row(f"{name}: {title}", "/s", column(results, key)))
    for name, results in found.items():
        if name.startswith("nvme"):
            values = column(results, "completions_per_interrupt")
            rows.append(Row(f"{name}: completions for each interrupt", "", values))
    return rows
