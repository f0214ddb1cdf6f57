# SPDX-License-Identifier: BSD-3-Clause
"""The machine: what it is, which processors are used for what, and whether others used them too."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

roles = [0, 1]  # processors of servers, and of clients
TICKS = os.sysconf("SC_CLK_TCK")

# Fractions of one processor from which on a part is not believed.
OTHERS_BOUND, STEAL_BOUND = 0.10, 0.03


def processors() -> tuple[int, int]:
    """Where servers run, and where clients do."""
    allowed = sorted(os.sched_getaffinity(0))
    if all(cpu in allowed for cpu in roles):
        return roles[0], roles[1]
    return allowed[0], allowed[-1]


@contextlib.contextmanager
def servers_on(cpu: int | None) -> Iterator[None]:
    """With servers and clients the other way round, if that is the clients' processor."""
    swap = cpu == processors()[1]
    if swap:
        roles.reverse()
    try:
        yield
    finally:
        if swap:
            roles.reverse()


def _interrupts() -> dict[str, list[int]]:
    """Of devices, by number, for each processor."""
    found = {}
    for line in Path("/proc/interrupts").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        if name.strip().isdigit():
            counts = rest.split()[: os.cpu_count()]
            found[name.strip()] = [int(count) for count in counts if count.isdigit()]
    return found


def interrupted(work: Callable[[], object]) -> int | None:
    """Which processor the device interrupts that does this work, if one does."""
    before = _interrupts()
    work()
    after = _interrupts()
    _, cpu = max(
        (
            (count - before[name][cpu], cpu)
            for name, counts in after.items()
            for cpu, count in enumerate(counts)
            if name in before and cpu < len(before[name]) and count - before[name][cpu] > 100
        ),
        default=(0, None),
    )
    return cpu


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
