# SPDX-License-Identifier: BSD-3-Clause
"""rerror and werror: what becomes of commands whose disk fails, and what monitors hear of it."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import OpenDisk, Run, Start
from faulty_disk import FaultyDisk
from nvme_driver import MEMORY, MEMORY_SIZE, CommandError, Nvme
from outboard import Outboard
from qmp import Qmp
from vfio_user import Client

BLOCK = 4096
OLD, NEW = bytes(BLOCK), b"\xab" * BLOCK


class Served:
    """A process with a monitor, and its first disk."""

    def __init__(self, process: Outboard, folder: Path, connect: OpenDisk) -> None:
        self.process, self.folder, self.connect = process, folder, connect
        self.qmp = Qmp(folder / "q")

    def disk(self, socket: str = "a") -> Nvme:
        return self.connect(self.folder / socket)

    def status(self) -> str:
        return str(self.qmp.execute("query-status")["status"])

    def io_status(self) -> str | None:
        status: str | None = self.qmp.execute("query-block")[0].get("io-status")
        return status


@pytest.fixture
def serve(outboard: Start, folder: Path, open_disk: OpenDisk) -> Iterator[Any]:
    served: list[Served] = []

    def start(*words: str | Path) -> Served:
        monitor = "unix:q,server=on,wait=off"
        served.append(Served(outboard(*words, "-qmp", monitor), folder, open_disk))
        return served[-1]

    yield start
    for one in served:
        one.qmp.close()


def is_an_error(event: dict[str, Any], operation: str, action: str, error: int) -> None:
    assert event["qom-path"] == "/machine/peripheral/d0"
    assert event["device"] == ""
    assert event["node-name"]
    assert (event["operation"], event["action"]) == (operation, action)
    assert event["reason"].startswith({errno.EIO: "Input/output", errno.ENOSPC: "No space left"}[error])


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_write_stops_the_machine(serve: Any, faulty_disk: FaultyDisk, error: int) -> None:
    served = serve("nvme", faulty_disk.path, *"direct=on id=d0 werror=stop socket=a".split())
    qmp, disk = served.qmp, served.disk()
    assert (served.status(), served.io_status()) == ("running", "ok")
    faulty_disk.fail("write", error=error)
    disk.start_write(1, 0, NEW)
    event = qmp.wait_event("BLOCK_IO_ERROR")
    is_an_error(event, "write", "stop", error)
    assert event["nospace"] == (error == errno.ENOSPC)
    qmp.wait_event("STOP")
    status = "nospace" if error == errno.ENOSPC else "failed"
    assert (served.status(), served.io_status()) == ("io-error", status)
    assert not disk.is_done(disk.io)
    assert "paused (io-error)" in qmp.hmp("info status")
    assert f"I/O status:       {status}" in qmp.hmp("info block")
    faulty_disk.heal("write")
    qmp.execute("cont")
    disk.finish(disk.io)
    assert (served.status(), served.io_status()) == ("running", "ok")
    assert disk.read(1, 0, BLOCK) == NEW


def test_it_stops_again(serve: Any, faulty_disk: FaultyDisk) -> None:
    served = serve("nvme", faulty_disk.path, *"direct=on id=d0 rerror=stop socket=a".split())
    disk = served.disk()
    faulty_disk.fail("read")
    disk.start(disk.io, 2, 1, (0, 0, 7))
    for _ in range(3):
        served.qmp.wait_event("STOP")
        assert served.status() == "io-error"
        served.qmp.execute("cont")
    served.qmp.wait_event("STOP")
    faulty_disk.heal("read")
    served.qmp.execute("cont")
    disk.finish(disk.io)


def test_errors_are_told_once_a_second(serve: Any, faulty_disk: FaultyDisk) -> None:
    served = serve("nvme", faulty_disk.path, *"direct=on id=d0 socket=a".split())
    disk, qmp, began = served.disk(), served.qmp, time.monotonic()
    faulty_disk.fail("write")
    for _ in range(20):
        with pytest.raises(CommandError):
            disk.write(1, 0, NEW)
    faulty_disk.fail("read")
    with pytest.raises(CommandError):
        disk.read(1, 0, BLOCK)
    served.qmp.execute("query-status")
    told = [event for event in qmp.events if event["event"] == "BLOCK_IO_ERROR"]
    assert len(told) <= 1 + (time.monotonic() - began)
    is_an_error(told[0]["data"], "write", "report", errno.EIO)
    assert "nospace" not in told[0]["data"]
    assert served.status() == "running"
    assert served.io_status() is None
    # The newest that was held comes when the second is over.
    while qmp.wait_event("BLOCK_IO_ERROR")["operation"] != "read":
        pass


def test_a_flush_is_not_repeated(serve: Any, faulty_disk: FaultyDisk) -> None:
    """The machine stops, and the guest hears of it all the same: what was lost is told."""
    served = serve("nvme", faulty_disk.path, *"direct=on id=d0 werror=stop socket=a".split())
    disk = served.disk()
    disk.write(1, 0, NEW)
    faulty_disk.fail("fsync", times=1)
    before = faulty_disk.seen("fsync")
    disk.start(disk.io, 0, 1)
    is_an_error(served.qmp.wait_event("BLOCK_IO_ERROR"), "write", "stop", errno.EIO)
    served.qmp.wait_event("STOP")
    served.qmp.execute("cont")
    with pytest.raises(CommandError):
        disk.finish(disk.io)
    assert faulty_disk.seen("fsync") == before + 1


def test_what_is_ignored(serve: Any, faulty_disk: FaultyDisk) -> None:
    served = serve("nvme", faulty_disk.path, *"direct=on id=d0 werror=ignore rerror=ignore socket=a".split())
    disk = served.disk()
    for operation in "write", "read", "fsync":
        faulty_disk.fail(operation)
    disk.write(1, 0, NEW)
    is_an_error(served.qmp.wait_event("BLOCK_IO_ERROR"), "write", "ignore", errno.EIO)
    disk.write(1, 0, NEW, fua=True)
    disk.flush(1)
    disk.read(1, 0, BLOCK)
    for operation in "write", "read", "fsync":
        faulty_disk.heal(operation)
    assert disk.read(1, 0, BLOCK) == OLD
    assert served.status() == "running"


def test_all_devices_of_the_process_stop(serve: Any, faulty_disk: FaultyDisk) -> None:
    one = ["nvme", faulty_disk.path, *"direct=on id=d0 werror=enospc socket=a".split()]
    served = serve(*one, "--", *"nvme size=1M id=d1 socket=b serial=other".split())
    first, second = served.disk("a"), served.disk("b")
    faulty_disk.fail("write", error=errno.ENOSPC)
    first.start_write(1, 0, NEW)
    served.qmp.wait_event("STOP")
    second.start_write(1, 0, NEW)
    served.process.wait_log("all devices stop for an error of drive")
    assert served.status() == "io-error"
    assert not second.is_done(second.io)
    faulty_disk.heal("write")
    served.qmp.execute("cont")
    first.finish(first.io)
    second.finish(second.io)


def test_a_reset_drops_what_failed(serve: Any, faulty_disk: FaultyDisk) -> None:
    served = serve("nvme", faulty_disk.path, *"direct=on id=d0 werror=stop socket=a".split())
    disk = served.disk()
    faulty_disk.fail("write")
    disk.start_write(1, 0, NEW)
    served.qmp.wait_event("STOP")
    served.qmp.execute("system_reset")
    faulty_disk.heal("write")
    served.qmp.execute("cont")
    disk.client.dma_unmap(MEMORY, MEMORY_SIZE)
    again = Nvme(disk.client)
    again.enable()
    again.create_io_queues()
    assert again.read(1, 0, BLOCK) == OLD
    again.close()


def test_what_failed_moves(serve: Any, outboard: Start, folder: Path, faulty_disk: FaultyDisk) -> None:
    """Stopped by an error here, and done there, where the disk works again."""
    words = ["nvme", str(faulty_disk.path), *"direct=on id=d0 serial=x werror=stop".split()]
    served = serve(*words, "socket=a")
    outboard(*words, "socket=b", "-qmp", "unix:p,server=on,wait=off", "-incoming", "unix:move")
    nvme = served.disk()
    with Qmp(folder / "p") as target, Client(folder / "b") as client:
        client.dma_map(MEMORY, MEMORY_SIZE, nvme.memory.fd)
        faulty_disk.fail("write")
        nvme.start_write(1, 0, NEW)
        served.qmp.wait_event("STOP")
        served.qmp.execute("migrate", uri="unix:move")
        for qmp in served.qmp, target:
            while qmp.wait_event("MIGRATION")["status"] != "completed":
                pass
        assert target.execute("query-status")["status"] == "paused"
        assert faulty_disk.lose_power(folder / "left.img")[:BLOCK] == OLD
        assert not nvme.is_done(nvme.io)
        faulty_disk.heal("write")
        target.execute("cont")
        nvme.client = client
        nvme.finish(nvme.io)
        assert nvme.read(1, 0, BLOCK) == NEW


def test_drives_say_it_for_devices(serve: Any, faulty_disk: FaultyDisk) -> None:
    served = serve(
        "-drive", f"if=none,id=b0,file={faulty_disk.path},format=raw,cache=none,werror=enospc,rerror=stop",
        "-device", "nvme,id=d0,drive=b0,rerror=report",
        "-object", "x-vfio-user-server,id=s0,type=unix,path=a,device=d0",
    )
    disk = served.disk()
    faulty_disk.fail("read", times=1)
    with pytest.raises(CommandError):
        disk.read(1, 0, BLOCK)
    is_an_error(served.qmp.wait_event("BLOCK_IO_ERROR"), "read", "report", errno.EIO)
    faulty_disk.fail("write", error=errno.ENOSPC, times=1)
    disk.start_write(1, 0, NEW)
    served.qmp.wait_event("STOP")
    assert served.io_status() == "nospace"
    served.qmp.execute("cont")
    disk.finish(disk.io)


def test_device_add_and_what_is_refused(serve: Any, run: Run, faulty_disk: FaultyDisk, folder: Path) -> None:
    served = serve("-blockdev", f"driver=file,node-name=b0,filename={faulty_disk.path}")
    served.qmp.execute("device_add", driver="nvme", id="d0", drive="b0", werror="stop", rerror="ignore")
    assert served.qmp.execute("qom-get", path="d0", property="werror") == "stop"
    assert "werror = stop" in served.qmp.hmp("info qtree")
    assert served.io_status() == "ok"
    assert "I/O status:       ok" in served.qmp.hmp("info block")
    (folder / "b.img").write_bytes(bytes(1 << 20))
    refused = run("nvme", "b.img", "rerror=enospc", "socket=c")
    assert refused.returncode == 1
    assert "rerror=enospc: expected one of auto, report, ignore, stop" in refused.stderr
