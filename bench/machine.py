# SPDX-License-Identifier: BSD-3-Clause
"""The machine: what it is, which processors are used for what, and whether others used them too."""

from __future__ import annotations

import os
import platform
import resource
import time
from pathlib import Path
from typing import Any

SERVER_CPU, CLIENT_CPU = 0, 1
TICKS = os.sysconf("SC_CLK_TCK")

# Fractions of one processor from which on a part is not believed.
OTHERS_BOUND, STEAL_BOUND = 0.10, 0.03


def processors() -> tuple[int, int]:
    """Where servers run, and where clients do."""
    allowed = sorted(os.sched_getaffinity(0))
    if SERVER_CPU in allowed and CLIENT_CPU in allowed:
        return SERVER_CPU, CLIENT_CPU
    return allowed[0], allowed[-1]


def describe() -> dict[str, Any]:
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "processor": model,
        "processors": os.cpu_count(),
        "memory_gib": round(memory / (1 << 30)),
        "kernel": platform.release().partition("-")[0],
        "load_at_start": os.getloadavg()[0],
        "pinned": dict(zip(("server", "client"), processors())),
    }


def _system_ticks() -> tuple[int, int]:
    """Of all processors since the machine started: busy (without interrupts), and stolen."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system = fields[:3]
    return user + nice + system, fields[7]


def _own_seconds() -> float:
    """Of this process and of its children that have ended, and theirs."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


class Watch:
    """Looks at what others did between its making and doubts(): all children have ended by both."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.busy, self.stolen = _system_ticks()
        self.own = _own_seconds()

    def doubts(self) -> list[str]:
        elapsed = max(time.monotonic() - self.began, 0.01)
        busy, stolen = _system_ticks()
        own = _own_seconds() - self.own
        others = ((busy - self.busy) / TICKS - own) / elapsed
        steal = (stolen - self.stolen) / TICKS / elapsed
        # Ticks are coarse: short parts are given the benefit of the doubt.
        grain = 0.05 / elapsed
        found = []
        if others > OTHERS_BOUND + grain:
            found.append(f"other processes took {others:.0%} of a processor meanwhile")
        if steal > STEAL_BOUND + grain:
            found.append(f"the hypervisor took {steal:.0%} of a processor away meanwhile")
        return found


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, all threads, as exactly as the kernel has it."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            continue
    return total / 1e9


def resident(pid: int) -> int:
    """Bytes of memory that a process has in use."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise LookupError("VmRSS")
