# SPDX-License-Identifier: BSD-3-Clause
"""A disk that does not answer is nobody's business but that of its own commands."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import MakeDevice, OpenDisk, Start
from faulty_disk import FaultyDisk
from nvme_driver import DATA, FLUSH, MEMORY, READ, WRITE
from obctl import OBCTL
from outboard import wait_until
from vfio_user import REGION_BAR0

FUA = 1 << 30


@pytest.mark.parametrize("options", ["direct=on", "direct=off", "aio=threads"])
@pytest.mark.parametrize("what", ["read", "write", "fua", "flush"])
def test_a_device_that_stalls(
    outboard: Start,
    folder: Path,
    open_disk: OpenDisk,
    loop_device: MakeDevice,
    faulty_disk: FaultyDisk,
    what: str,
    options: str,
) -> None:
    path = loop_device(faulty_disk.path, 4096, direct=True).path
    (folder / "other.img").write_bytes(bytes(1 << 20))
    outboard("nvme", path, options, "socket=a", "--", "nvme", "other.img", options, "socket=b")
    stuck, other = open_disk(folder / "a"), open_disk(folder / "b")
    if what == "flush":
        stuck.write(1, 0, bytes(4096))
    faulty_disk.hold("read", "write", "fsync")
    for number in range(8):
        if what == "flush":
            stuck.start(stuck.io, FLUSH, 1)
        elif what == "read":
            stuck.start(stuck.io, READ, 1, (8 * number, 0, 7), MEMORY + DATA)
        else:
            flags = 7 | (FUA if what == "fua" else 0)
            stuck.start(stuck.io, WRITE, 1, (8 * number, 0, flags), MEMORY + DATA)
    if what != "write" or options != "direct=off":
        wait_until(faulty_disk.held)
        assert not stuck.is_done(stuck.io)
    # Nothing of this could be, had the loop to wait.
    other.write(1, 0, b"x" * 4096, fua=True)
    other.flush(1)
    assert other.read(1, 0, 4096) == b"x" * 4096
    assert stuck.client.read64(REGION_BAR0, 0)
    faulty_disk.release()
    for _ in range(8):
        stuck.finish(stuck.io)


@pytest.mark.parametrize("options", ["direct=on", "direct=off", "aio=threads"])
@pytest.mark.parametrize("kind", ["file", "device"])
def test_a_disk_that_stalls_under_load(
    outboard: Start,
    folder: Path,
    open_disk: OpenDisk,
    loop_device: MakeDevice,
    faulty_disk: FaultyDisk,
    kind: str,
    options: str,
) -> None:
    """More commands than the device's queue has room for, or than there are threads."""
    path = faulty_disk.path
    if kind == "device":
        path = loop_device(path, 4096, direct=True).path
    (folder / "other.img").write_bytes(bytes(1 << 20))
    outboard("nvme", path, options, "socket=a", "--", "nvme", "other.img", options, "socket=b")
    other = open_disk(folder / "b")
    faulty_disk.hold("read", "write", "fsync")
    words = ["--read", "--random", "--depth", "512", "--time", "1"]
    load = subprocess.Popen(
        [str(OBCTL), "nvme-io", str(folder / "a"), *words], stdout=subprocess.DEVNULL
    )
    held = [faulty_disk.held()]

    def is_stuck() -> bool:
        """It has got what it can get: the same many times in a row."""
        held.append(faulty_disk.held())
        return bool(held[-1]) and len(held) > 20 and len(set(held[-20:])) == 1

    wait_until(is_stuck)
    for number in range(20):
        other.write(1, number, bytes([number]) * 512, fua=True)
        other.flush(1)
        assert other.read(1, number, 512) == bytes([number]) * 512
    faulty_disk.release()
    assert load.wait() == 0
