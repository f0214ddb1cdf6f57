# SPDX-License-Identifier: BSD-3-Clause
"""Many devices in a process: time to start, memory, and what a message to one of them takes."""

from __future__ import annotations

from pathlib import Path

from ..machine import resident
from ..programs import Bench, Server, column, folder_for_sockets, program
from ..results import Beside, Row

TITLE = "Devices in a process"

NUMBERS = (1, 10, 100, 1000)


def devices(bench: Bench, number: int) -> dict[str, float]:
    with folder_for_sockets() as name:
        folder = Path(name)
        words: list[str] = []
        for i in range(number):
            words += [*(["--"] if i else []), "nvme", "null=on", f"socket=s{i}"]
        server = Server(folder, words)
        try:
            size = resident(server.pid)
            # Each of them once, so that what a device makes for its first client is there too.
            places = [0, number // 2, number - 1]
            times = [
                program("ours_message", folder / f"s{i}", count=bench.count(4000), offset=8)["access_ns"]
                for i in places
            ]
            return {
                "start_ns": server.ready_seconds * 1e9,
                "resident": size,
                "access_ns": sum(times) / len(times),
            }
        finally:
            server.stop()


def measure(bench: Bench) -> list[Row]:
    probes = {f"{n}": lambda n=n: devices(bench, n) for n in NUMBERS}
    found = bench.collect(probes, runs=min(bench.runs, 3))
    one = found.get("1")
    rows = []
    for n in NUMBERS:
        if f"{n}" in found:
            rows.append(Row(f"{n}: start until all are there", "ns", column(found[f"{n}"], "start_ns")))
    for n in NUMBERS:
        if f"{n}" in found:
            beside = [Beside("with one device", column(one, "access_ns"))] if one and n > 1 else []
            rows.append(Row(f"{n}: a register read", "ns", column(found[f"{n}"], "access_ns"), beside))
    for n in NUMBERS:
        if f"{n}" in found:
            rows.append(Row(f"{n}: resident memory", "B", column(found[f"{n}"], "resident")))
    if one and "1000" in found:
        base = column(one, "resident")
        more = [(many - base[0]) / 999 for many in column(found["1000"], "resident")]
        rows.append(Row("each further device: resident memory", "B", more))
    return rows
