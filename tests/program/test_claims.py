# SPDX-License-Identifier: BSD-3-Clause
"""A disk that another process has, or had until it was killed."""

from __future__ import annotations

import select
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import MakeDevice, OpenDisk, Run, Start
from faulty_disk import FaultyDisk
from outboard import wait_until
from qmp import Qmp, QmpError

MIB = 1 << 20


def image(folder: Path) -> Path:
    path = folder / "disk.img"
    path.write_bytes(bytes(MIB))
    return path


@pytest.mark.parametrize("kind", ["file", "device"])
def test_restart_at_once_after_a_crash(
    outboard: Start, folder: Path, open_disk: OpenDisk, loop_device: MakeDevice, kind: str
) -> None:
    path = image(folder)
    if kind == "device":
        path = loop_device(path).path
    for count in range(10):
        server = outboard("nvme", path, "socket=a")
        disk = open_disk(folder / "a")
        disk.write(1, 0, bytes([count + 1]) * 512)
        for block in range(8):
            disk.start_write(1, 8 + block, bytes(4096))
        server.stop(signal.SIGKILL)
    outboard("nvme", path, "socket=a")
    assert open_disk(folder / "a").read(1, 0, 512) == bytes([10]) * 512


def test_restart_waits_for_the_last_write(
    outboard: Start,
    folder: Path,
    open_disk: OpenDisk,
    loop_device: MakeDevice,
    faulty_disk: FaultyDisk,
) -> None:
    """What the dead one still writes comes before what the next one does."""
    path = loop_device(faulty_disk.path, direct=True).path
    first = outboard("nvme", path, "socket=a")
    disk = open_disk(folder / "a")
    faulty_disk.hold("write")
    disk.start_write(1, 0, b"old" + bytes(509))
    wait_until(faulty_disk.held)
    first.stop(signal.SIGKILL)
    second = outboard("nvme", path, "socket=a", wait=False)
    second.wait_log("waiting for up to")
    assert not select.select([second.ready], [], [], 0)[0]
    faulty_disk.release()
    second.wait_ready()
    disk = open_disk(folder / "a")
    assert disk.read(1, 0, 512) == b"old" + bytes(509)
    disk.write(1, 0, b"new" + bytes(509))
    assert disk.read(1, 0, 512) == b"new" + bytes(509)


def test_cont_waits_and_holds_nobody_up(
    outboard: Start,
    folder: Path,
    open_disk: OpenDisk,
    loop_device: MakeDevice,
    faulty_disk: FaultyDisk,
) -> None:
    path = loop_device(faulty_disk.path, direct=True).path
    first = outboard("nvme", path, "socket=a")
    monitors = [f"unix:{name},server=on,wait=off" for name in ("q1", "q2")]
    second = outboard(
        *("nvme", path, "socket=b", "-incoming", "unix:move.sock"),
        *("-qmp", monitors[0], "-qmp", monitors[1]),
    )
    disk = open_disk(folder / "a")
    faulty_disk.hold("write")
    disk.start_write(1, 0, b"old" + bytes(509))
    wait_until(faulty_disk.held)
    with Qmp(folder / "q1") as qmp, Qmp(folder / "q2") as other:
        with pytest.raises(QmpError, match=f"Held by process {first.pid}"):
            qmp.execute("cont")
        first.stop(signal.SIGKILL)
        qmp.send(b'{"execute": "cont", "id": 1}')
        second.wait_log("waiting for up to")
        assert other.execute("query-status")["status"] == "inmigrate"
        with pytest.raises(QmpError):
            other.execute("blockdev-del", node__name="nvme0-drive0")
        faulty_disk.release()
        assert qmp.receive_reply() == {"return": {}, "id": 1}
        assert other.execute("query-status")["status"] == "running"
    assert open_disk(folder / "b").read(1, 0, 3 * 512)[:3] == b"old"
    (folder / "a").unlink()


def test_an_end_does_not_wait_for_a_claim(
    outboard: Start,
    folder: Path,
    open_disk: OpenDisk,
    loop_device: MakeDevice,
    faulty_disk: FaultyDisk,
) -> None:
    """What is being taken when the process is to end is not taken any more."""
    path = loop_device(faulty_disk.path, direct=True).path
    first = outboard("nvme", path, "socket=a")
    words = ("-incoming", "unix:move.sock", "-qmp", "unix:q1,server=on,wait=off")
    second = outboard("nvme", path, "socket=b", *words)
    disk = open_disk(folder / "a")
    faulty_disk.hold("write")
    disk.start_write(1, 0, bytes(512))
    wait_until(faulty_disk.held)
    first.stop(signal.SIGKILL)
    with Qmp(folder / "q1") as qmp:
        qmp.send(b'{"execute": "cont", "id": 1}')
        second.wait_log("waiting for up to")
        assert second.stop() == 0
    faulty_disk.release()
    (folder / "a").unlink()


def test_the_holder_is_named(outboard: Start, run: Run, folder: Path) -> None:
    path = image(folder)
    server = outboard("nvme", path, "socket=a")
    for words in ([], ["ro=on"]):
        result = run("nvme", path, "socket=b", *words)
        assert result.returncode == 1
        assert len(result.stderr.splitlines()) == 1
        assert f"Held by process {server.pid} (outboard)" in result.stderr


def test_a_mounted_device_is_named(
    run: Run, folder: Path, loop_device: MakeDevice, outboard: Start
) -> None:
    path = folder / "disk.img"
    path.write_bytes(bytes(4 * MIB))
    subprocess.run(["/sbin/mkfs.ext2", "-q", path], check=True)
    device = loop_device(path).path
    (folder / "mounted").mkdir()
    subprocess.run(["mount", device, folder / "mounted"], check=True)
    try:
        result = run("nvme", device, "socket=a")
    finally:
        subprocess.run(["umount", folder / "mounted"], check=True)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert f"mounted at {folder}/mounted" in result.stderr
    outboard("nvme", device, "socket=a")
