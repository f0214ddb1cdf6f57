# SPDX-License-Identifier: BSD-3-Clause
"""fio in a Linux guest, beside the nvme device that is part of QEMU; see bench/guest.py."""

from __future__ import annotations

import json
import sys

from ..programs import BUILD, OUTBOARD, REPO, Bench, Missing, run
from ..results import Beside, Row

TITLE = "In a guest under TCG: random reads of 4 KiB"

SECONDS_LIMIT = 600


def measure(bench: Bench) -> list[Row]:
    if not (BUILD / "guest" / "guest.stamp").exists():
        raise Missing("there is no guest: scripts/guest-root makes it, and scripts/bench guest does so")
    runs = 1 if bench.quick else min(bench.runs, 3)
    words = [f"--runs={runs}", "--seconds=1", f"--outboard={OUTBOARD}", "--json=-"]
    text = run([sys.executable, REPO / "bench" / "guest.py", *words], limit=SECONDS_LIMIT)
    lines = json.loads(text)["rows"]
    rows = []
    for line in lines:
        if line["device"] != "outboard":
            continue
        same = [
            other
            for other in lines
            if other["device"] != "outboard"
            and (other["interrupts"], other["depth"]) == (line["interrupts"], line["depth"])
        ]
        beside = [Beside("nvme of QEMU", three(other)) for other in same]
        name = f"{line['interrupts']}, depth {line['depth']}"
        rows.append(Row(name, "/s", three(line), beside))
    return rows


def three(line: dict) -> list[float]:
    return [line["iops_min"], line["iops"], line["iops_max"]]
