# SPDX-License-Identifier: BSD-3-Clause
"""A driver in user space of the guest (vfio-pci behind an IOMMU), and what its sudden end leaves."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from guest import REPO, Guest, wait_until
from server import Server
from test_guest import MIB, address, check_at, kernel_complaints, run_fio, write_at

SOURCE = REPO / "tests" / "guest" / "vfio_driver.c"
PROGRAM, IMAGE_SIZE = "/tmp/vfio_driver", 4 * MIB
RESET = "d0: function level reset"


@pytest.fixture
def program(work: Path) -> Path:
    """The guest gets it as a disk: it has no file of ours, and not our libraries."""
    compiler = os.environ.get("CC", "cc").split()
    if not shutil.which(compiler[0]):
        pytest.skip(f"{compiler[0]} is not there")
    path = work / "program.img"
    subprocess.run([*compiler, "-O1", "-Wall", "-Werror", "-static", "-s", "-o", path, SOURCE], check=True)
    os.truncate(path, IMAGE_SIZE)
    return path


def by_serial(guest: Guest, serial: str) -> str:
    found = guest.run(f"grep -l {serial} /sys/class/nvme/*/serial")
    return found.split("/")[4]


def load_modules(guest: Guest) -> None:
    for module in ("vfio-pci", "vfio_iommu_type1"):
        status, said = guest.run_status(f"modprobe {module}")
        if status and os.environ.get("CI") != "true":
            pytest.skip(f"{said.strip()}: scripts/guest-root makes a guest that has it")
        assert not status, said


def rebind(guest: Guest, device: str, driver: str) -> None:
    folder = f"/sys/bus/pci/devices/{device}"
    guest.run(f"[ ! -e {folder}/driver ] || echo {device} >{folder}/driver/unbind")
    guest.run(f"echo {driver} >{folder}/driver_override; echo {device} >/sys/bus/pci/drivers_probe")
    assert guest.run(f"basename $(readlink {folder}/driver)").strip() == driver


def test_killed(
    serve: Callable[..., Server], boot: Callable[..., Guest], work: Path, logs: Path, program: Path
) -> None:
    """The kernel takes the bus from the device and resets it: nothing is left under way."""
    serve(
        ["nvme", "size=1G", f"socket={work}/a.sock", "id=d0", "serial=ob-disk"],
        ["nvme", f"file={program}", f"socket={work}/b.sock", "serial=ob-program", "read-only=on", "-trace", "d0"],
    )

    def log() -> str:
        return (logs / "outboard-0.log").read_text()

    guest = boot(work / "a.sock", work / "b.sock", iommu=True, append="intel_iommu=on")
    guest.run(f"dd if=/dev/{by_serial(guest, 'ob-program')}n1 of={PROGRAM} bs=1M status=none; chmod 755 {PROGRAM}")
    name = by_serial(guest, "ob-disk")
    device = address(guest, name)
    guest.run(write_at("before", 0, MIB, f"/dev/{name}n1"))
    load_modules(guest)
    rebind(guest, device, "vfio-pci")
    group = guest.run(f"basename $(readlink /sys/bus/pci/devices/{device}/iommu_group)").strip()
    for _ in range(3):
        guest.run(f"{PROGRAM} {group} {device} >/tmp/said 2>&1 & echo $! >/tmp/pid")
        _, said = guest.run_status("while [ ! -s /tmp/said ]; do sleep 0.05; done; cat /tmp/said")
        assert said == "running\n"
        begun = len(log())
        guest.run("kill -9 $(cat /tmp/pid); while [ -e /proc/$(cat /tmp/pid) ]; do sleep 0.05; done")
        wait_until("a reset", lambda at=begun: "d0: is reset" in log()[at:].partition(RESET)[2])
        # Nobody has touched the device since: what it does now it does by itself.
        assert "d0: SQ" in log()[begun:]
        assert "d0: SQ" not in log()[begun:].rpartition("d0: is reset")[2]
    rebind(guest, device, "nvme")
    name = by_serial(guest, "ob-disk")
    wait_until("the disk", lambda: guest.run_status(f"[ -e /dev/{name}n1 ]")[0] == 0, 60)
    check_at(guest, "before", 0, MIB, f"/dev/{name}n1")
    run_fio(guest, disk=f"/dev/{name}n1", size="1M")
    assert not re.search(r"DMA .*(fail|refused)|failed", log()), log()
    _, faults = guest.run_status("dmesg | grep -i 'DMAR.*fault'")
    assert not faults
    assert not kernel_complaints(guest)
