# SPDX-License-Identifier: BSD-3-Clause
"""A VM that moves to another QEMU: docs/migration.md, "With which VMM".

QEMU 11.1 says that such a migration is complete, and leaves its vfio-user devices behind. So they are
unplugged before it, and plugged in after it; meanwhile the outboard process hands them over.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from guest import Guest, wait_until
from server import Server
from test_hotplug import USE, Monitor


def disk(work: Path, name: str) -> list[str]:
    """A disk in memory, so that what is read on the other side can only have come by the move."""
    words = ["nvme", "size=16M", "id=d0", "interrupts=msi", f"socket={work}/{name}"]
    return [*words, "-qmp", f"unix:{work}/{name}.qmp,server=on,wait=off"]


def plug(guest: Guest, path: Path) -> None:
    guest.qmp("device_add", driver="vfio-user-pci", id="d0", socket={"type": "unix", "path": str(path)})


def unplug(guest: Guest) -> None:
    before = guest._count_events("DEVICE_DELETED")
    guest.qmp("device_del", id="d0")
    wait_until("unplugged", lambda: guest._count_events("DEVICE_DELETED") > before, 30)


def completed(answer: dict[str, str]) -> bool:
    assert answer.get("status") not in ("failed", "cancelled"), answer
    return answer.get("status") == "completed"


def test_unplugged_before_and_plugged_in_after(
    serve: Callable[..., Server], boot: Callable[..., Guest], work: Path
) -> None:
    serve(disk(work, "here"))
    serve([*disk(work, "there"), "-incoming", f"unix:{work}/move"])
    here = boot(machine="pc")
    plug(here, work / "here")
    here.run(USE % 1)
    unplug(here)

    monitor = Monitor(work / "here.qmp")
    monitor("migrate", uri=f"unix:{work}/move")
    wait_until("moved", lambda: completed(monitor("query-migrate")), 30)
    monitor.close()
    there = boot(machine="pc", wait=False, qemu_args=["-incoming", f"unix:{work}/vm"])
    here.qmp("migrate", uri=f"unix:{work}/vm")
    wait_until("migrated", lambda: completed(here.qmp("query-migrate")), 120)
    here.kill()

    plug(there, work / "there")
    there.run(
        "for i in $(seq 400); do [ -b /dev/nvme0n1 ] && break; sleep 0.02; done;"
        "dd if=/dev/nvme0n1 bs=64k count=1 iflag=direct status=none | cmp - /run/pattern"
    )
    there.run(USE % 2)
