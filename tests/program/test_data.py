# SPDX-License-Identifier: BSD-3-Clause
"""What is promised about data: a test for each cell of the tables in docs/data.md.

The disk of these tests says what it was asked to keep: see faulty_disk.py. What it has after its
power failed is what a crash of the host leaves.
"""

from __future__ import annotations

import errno
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from block_device import LoopDevice
from conftest import OpenDisk, Start
from faulty_disk import FaultyDisk
from nvme_driver import CommandError, Nvme
from outboard import Outboard
from qmp import Qmp

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
BLOCK = 4096
OLD, NEW = bytes(BLOCK), b"\xab" * BLOCK


@dataclass
class Storage:
    """What a disk is made of, and how to start and look at it. words: outboard's."""

    words: list[str]
    start: Start
    folder: Path
    connect: OpenDisk
    faulty: FaultyDisk | None
    server: Outboard | None = None

    def open(self) -> Nvme:
        self.server = self.start(*self.words)
        return self.connect(self.folder / "a")

    def kill(self) -> None:
        assert self.server
        self.server.stop(signal.SIGKILL)
        (self.folder / "a").unlink()

    @property
    def disk(self) -> FaultyDisk:
        assert self.faulty
        return self.faulty

    def after_crash_of_host(self, block: int = 0) -> bytes:
        """The host is gone with the process, and the disk's power as well."""
        data = self.disk.lose_power(self.folder / "left.img")
        return data[block * 512 : block * 512 + BLOCK]


KEPT = ["file,direct=on", "file,direct=off", "device,direct=on", "device,direct=off"]
CACHED = [kind for kind in KEPT if kind.endswith("off")]
DIRECT = [kind for kind in KEPT if kind.endswith("on")]


@pytest.fixture
def storage(
    request: pytest.FixtureRequest, outboard: Start, folder: Path, open_disk: OpenDisk, tmp_path: Path
) -> Iterator[Storage]:
    kind, *options = str(request.param).split(",")
    with ExitStack() as stack:
        faulty = None
        if kind in ("file", "device"):
            faulty = stack.enter_context(FaultyDisk(folder / "faulty", 1 << 20))
            path = faulty.path
            if kind == "device":
                path = stack.enter_context(LoopDevice(path, direct=True)).path
            words = ["nvme", str(path), *options, "socket=a"]
        elif kind == "tmpfs":
            path = Path("/dev/shm") / f"outboard-{tmp_path.name}.img"
            stack.callback(path.unlink)
            path.write_bytes(bytes(1 << 20))
            words = ["nvme", str(path), *options, "socket=a"]
        elif kind == "mem":
            words = ["nvme", "size=1M", "socket=a"]
        else:
            words = ["-blockdev", "driver=null,node-name=b0,size=1M"]
            words += ["-device", "nvme,id=d0,drive=b0,serial=null"]
            words += ["-object", "x-vfio-user-server,id=s0,type=unix,path=a,device=d0"]
        yield Storage(words, outboard, folder, open_disk, faulty)
        # Whoever still serves it goes first: it may be asked to flush.
        if faulty:
            faulty.heal("read", "write", "fsync")
            faulty.release()


def kinds(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("storage", names, indirect=True)


def fails(call: object, *args: object, **more: object) -> None:
    assert callable(call)
    with pytest.raises(CommandError):
        call(*args, **more)


# Write


@kinds(*KEPT, "tmpfs")
def test_write_crash_of_the_process(storage: Storage) -> None:
    storage.open().write(1, 0, NEW)
    storage.kill()
    assert storage.open().read(1, 0, BLOCK) == NEW


@kinds("mem")
def test_memory_goes_with_the_process(storage: Storage) -> None:
    disk = storage.open()
    disk.write(1, 0, NEW, fua=True)
    disk.flush(1)
    assert disk.read(1, 0, BLOCK) == NEW
    storage.kill()
    assert storage.open().read(1, 0, BLOCK) == OLD


@kinds("null")
def test_null_keeps_nothing(storage: Storage) -> None:
    disk = storage.open()
    disk.write(1, 0, NEW, fua=True)
    disk.flush(1)
    assert disk.read(1, 0, BLOCK) == OLD


@kinds(*KEPT)
def test_write_crash_of_the_host(storage: Storage) -> None:
    """Nothing is promised, and nothing was synced that nobody asked for."""
    storage.open().write(1, 0, NEW)
    storage.kill()
    assert storage.after_crash_of_host() == OLD


@kinds(*DIRECT)
def test_write_error_direct(storage: Storage) -> None:
    disk = storage.open()
    storage.disk.fail("write", times=1)
    fails(disk.write, 1, 0, NEW)
    disk.flush(1)
    disk.write(1, 0, NEW)
    disk.flush(1)
    assert storage.after_crash_of_host() == NEW


@kinds(*CACHED)
def test_write_error_cached(storage: Storage) -> None:
    """The write is done, and lost: from then on no flush succeeds, until the disk is opened anew."""
    disk = storage.open()
    storage.disk.fail("write")
    disk.write(1, 0, NEW)
    fails(disk.flush, 1)
    storage.disk.heal("write")
    disk.write(1, 8, NEW, fua=True)
    fails(disk.flush, 1)
    fails(disk.flush, 1)
    assert storage.server
    storage.server.wait_log("flushes fail from now on")
    assert storage.server.stop() == 0
    disk = storage.open()
    disk.flush(1)


# Write with FUA


@kinds(*KEPT)
def test_fua_crash_of_the_host(storage: Storage) -> None:
    disk = storage.open()
    disk.write(1, 8, NEW)
    disk.write(1, 0, NEW, fua=True)
    storage.kill()
    assert storage.after_crash_of_host() == NEW


@kinds(*KEPT, "tmpfs")
def test_fua_crash_of_the_process(storage: Storage) -> None:
    storage.open().write(1, 0, NEW, fua=True)
    storage.kill()
    assert storage.open().read(1, 0, BLOCK) == NEW


@pytest.mark.parametrize("operation", ["write", "fsync"])
@kinds(*DIRECT)
def test_fua_error_direct(storage: Storage, operation: str) -> None:
    """The next flush hears of it; the one after that asks the disk."""
    disk = storage.open()
    storage.disk.fail(operation, times=1)
    fails(disk.write, 1, 0, NEW, fua=True)
    # A file in FUSE is synced by a call of its own: one that was not made took no word.
    if operation == "fsync" or storage.words[1].startswith("/dev/"):
        fails(disk.flush, 1)
    disk.write(1, 0, NEW, fua=True)
    disk.flush(1)
    assert storage.after_crash_of_host() == NEW


@pytest.mark.parametrize("operation", ["write", "fsync"])
@kinds(*CACHED)
def test_fua_error_cached(storage: Storage, operation: str) -> None:
    """What went wrong may have been an earlier write's."""
    disk = storage.open()
    disk.write(1, 8, NEW)
    storage.disk.fail(operation)
    fails(disk.write, 1, 0, NEW, fua=True)
    storage.disk.heal(operation)
    fails(disk.flush, 1)
    fails(disk.flush, 1)


# Flush


@kinds(*KEPT)
def test_flush_crash_of_the_host(storage: Storage) -> None:
    disk = storage.open()
    disk.write(1, 0, NEW)
    disk.write(1, 16, NEW)
    disk.flush(1)
    disk.write(1, 8, NEW)
    storage.kill()
    assert storage.after_crash_of_host(0) == NEW
    assert storage.after_crash_of_host(16) == NEW
    assert storage.after_crash_of_host(8) == OLD


@kinds(*DIRECT)
def test_flush_error_direct(storage: Storage) -> None:
    disk = storage.open()
    disk.write(1, 0, NEW)
    storage.disk.fail("fsync", times=1)
    fails(disk.flush, 1)
    disk.flush(1)
    assert storage.after_crash_of_host() == NEW


@kinds(*CACHED)
def test_flush_error_cached(storage: Storage) -> None:
    disk = storage.open()
    disk.write(1, 0, NEW)
    storage.disk.fail("fsync", times=1)
    fails(disk.flush, 1)
    fails(disk.flush, 1)


@kinds("tmpfs", "mem", "null")
def test_nothing_to_sync(storage: Storage) -> None:
    disk = storage.open()
    disk.write(1, 0, NEW, fua=True)
    disk.flush(1)


# Room, an end in order, cache modes


@kinds(*DIRECT)
def test_no_room_direct(storage: Storage) -> None:
    """It is about that write, and no other."""
    disk = storage.open()
    storage.disk.fail("write", times=1, error=errno.ENOSPC)
    fails(disk.write, 1, 0, NEW)
    disk.flush(1)


@kinds(*(f"{kind},werror=stop" for kind in DIRECT))
def test_a_stopped_fua_write_keeps_the_error(storage: Storage) -> None:
    """It is done again; what its sync may have been told of others' writes, the next flush tells."""
    storage.words += ["-qmp", "unix:q,server=on,wait=off"]
    disk = storage.open()
    operation = "write" if storage.words[1].startswith("/dev/") else "fsync"
    storage.disk.fail(operation, times=1)
    with Qmp(storage.folder / "q") as qmp:
        disk.start_write(1, 0, NEW, fua=True)
        qmp.wait_event("STOP")
        qmp.execute("cont")
        disk.finish(disk.io)
        fails(disk.flush, 1)
        qmp.wait_event("STOP")
        qmp.execute("cont")
    disk.flush(1)
    assert storage.after_crash_of_host() == NEW


@kinds(*KEPT)
def test_an_end_in_order_flushes(storage: Storage) -> None:
    storage.open().write(1, 0, NEW)
    assert storage.server and storage.server.stop() == 0
    assert storage.after_crash_of_host() == NEW


@kinds("file,direct=on,cache.writeback=off", "device,direct=off,cache.writeback=off")
def test_without_writeback_a_write_is_fua(storage: Storage) -> None:
    storage.open().write(1, 0, NEW)
    storage.kill()
    assert storage.after_crash_of_host() == NEW


@kinds("file,direct=on,cache.no-flush=on", "device,direct=off,cache.no-flush=on")
def test_without_flushes_nothing_is_synced(storage: Storage) -> None:
    before = storage.disk.seen("fsync")
    disk = storage.open()
    disk.write(1, 0, NEW, fua=True)
    disk.flush(1)
    storage.kill()
    assert storage.after_crash_of_host() == OLD
    assert storage.disk.seen("fsync") == before


def test_the_page_names_these_tests() -> None:
    """Each test that docs/data.md names is here, and each one here is named there."""
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text()))
    here = {name for name in globals() if name.startswith("test_")}
    assert named == here - {"test_the_page_names_these_tests"}
