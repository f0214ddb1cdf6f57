# SPDX-License-Identifier: BSD-3-Clause
"""
The parts of the benchmark, in the order in which they run. Each module has a TITLE and measure(),
which returns its rows.
"""

from __future__ import annotations

from types import ModuleType

from . import dirty, dma, doorbells, file, guest, idle, interrupts, isolation, memory, messages, nvme, scale, startup

PARTS: dict[str, ModuleType] = {
    "memory": memory,
    "messages": messages,
    "doorbells": doorbells,
    "nvme": nvme,
    "file": file,
    "dma": dma,
    "interrupts": interrupts,
    "dirty": dirty,
    "idle": idle,
    "startup": startup,
    "scale": scale,
    "isolation": isolation,
    "guest": guest,
}
