# SPDX-License-Identifier: BSD-3-Clause
"""Foreign descriptors: what a client gives is used only if nothing that is done with it can sleep.

Each test has two edus in one process: the client of one gives descriptors, the client of the other
has to be served all the while.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import resource
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from outboard import wait_until
from peer import (
    BAR0,
    DATA_EVENTFD,
    DMA_MAP,
    DMA_READ,
    EDU_BUFFER,
    EDU_ID,
    EDU_ID_VALUE,
    INTX,
    READABLE,
    SET_IRQS,
    TRIGGER,
    VERSION,
    WRITEABLE,
    Events,
    Hangup,
    Memory,
    Peer,
    dma_map,
    frame,
    set_irqs,
    u32,
    version,
)
from served import Process

AT = 0x100000
SIZE = 0x10000
DATA = bytes(range(1, 129))

Start = Callable[..., Process]


@pytest.fixture
def two(start: Start) -> Process:
    """A process with two edus."""
    process = start("edu", "socket=a", "--", "edu", "socket=b")
    process.warm_up("a")
    return process


@pytest.fixture
def victim(two: Process) -> Iterator[Peer]:
    with Peer(two.folder / "b") as peer:
        yield peer


@pytest.fixture
def giver(two: Process, victim: Peer) -> Iterator[Peer]:
    with Peer(two.folder / "a") as peer:
        yield peer


def is_served(victim: Peer) -> None:
    assert victim.read(BAR0, EDU_ID, 4) == u32(EDU_ID_VALUE)


def lingering() -> int:
    """A TCP socket whose last close sleeps for an hour: the other end does not read."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    ours.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            ours.send(bytes(1 << 16))
    lingering.others.append(theirs)  # type: ignore[attr-defined]
    return ours.detach()


lingering.others = []  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def lingering_ends() -> Iterator[None]:
    """What still sleeps in a close goes on."""
    yield
    while lingering.others:  # type: ignore[attr-defined]
        lingering.others.pop().close()  # type: ignore[attr-defined]


# What comes as memory


def assert_by_messages(edu: Peer, fd: int, flags: int = READABLE) -> None:
    edu.map(AT, SIZE, fd, flags)
    edu.edu_post(AT, EDU_BUFFER, 64, 0)
    edu.serve(edu.expect(DMA_READ, AT), lambda address, count: DATA[:count])
    edu.unmap(AT, SIZE)


def test_files_on_disks_are_reached_by_messages(
    giver: Peer, victim: Peer, two: Process, tmp_path: Path
) -> None:
    """Whoever serves a file decides how long an access takes: unless it is a file in memory, the
    client is asked instead."""
    path = tmp_path / "memory"
    path.write_bytes(bytes(SIZE))
    fd = os.open(path, os.O_RDWR)
    if fcntl_seals(fd):
        pytest.skip("the tests' folder is in memory")
    assert_by_messages(giver, fd)
    assert_by_messages(giver, fd)
    os.close(fd)
    assert two.errors().count("not a file in memory") == 1
    is_served(victim)


def fcntl_seals(fd: int) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        return False
    return True


def test_what_is_no_memory_is_not_touched(giver: Peer, tmp_path: Path, events: Events) -> None:
    """Pipes, sockets, folders and devices are not memory: the client is asked instead."""
    ours, theirs = socket.socketpair()
    fds = [*os.pipe(), ours.detach(), theirs.detach(), os.open(tmp_path, os.O_RDONLY)]
    fds += [os.open(path, os.O_RDONLY) for path in ("/dev/zero", "/dev/full", "/dev/null")]
    for fd in (*fds, events.new()):
        assert_by_messages(giver, fd)
    for fd in fds:
        os.close(fd)


def test_tap_is_not_read(giver: Peer, victim: Peer) -> None:
    """A tap descriptor, of which a read waits for a packet, holds up nobody."""
    try:
        tap = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH", b"obtest%d", 0x1002))
    except OSError as error:
        pytest.skip(f"no tap device: {error}")
    assert_by_messages(giver, tap)
    is_served(victim)
    os.close(tap)


class Fuse:
    """A file system whose file can be opened, and that answers nothing else from then on."""

    INIT, LOOKUP, OPEN, GETATTR = 26, 1, 14, 3

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fd = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"obtest", bytes(folder), b"fuse", 6, options):
            os.close(self.fd)
            raise OSError(ctypes.get_errno(), "mount")
        self.libc = libc
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def reply(self, unique: int, payload: bytes, error: int = 0) -> None:
        os.write(self.fd, struct.pack("<IiQ", 16 + len(payload), error, unique) + payload)

    @staticmethod
    def attributes(inode: int, mode: int) -> bytes:
        return struct.pack("<6Q10I", inode, SIZE, SIZE // 512, 0, 0, 0, *[0] * 3, mode, *[1] + [0] * 5)

    def serve(self) -> None:
        opened = False
        while not opened:
            request = os.read(self.fd, 1 << 17)
            _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
            if opcode == self.INIT:
                self.reply(unique, struct.pack("<IIIIHHIIHH8I", 7, 31, 4096, 0, 1, 1, 4096, 1, 16, 0, *[0] * 8))
            elif opcode == self.LOOKUP:
                entry = struct.pack("<QQQQII", 2, 0, 3600, 3600, 0, 0)
                self.reply(unique, entry + self.attributes(2, 0o100666))
            elif opcode == self.GETATTR:
                mode = 0o40777 if node == 1 else 0o100666
                self.reply(unique, struct.pack("<QII", 3600, 0, 0) + self.attributes(node, mode))
            elif opcode == self.OPEN:
                self.reply(unique, struct.pack("<QII", 0, 0, 0))
                opened = True
            else:
                self.reply(unique, b"", -errno.ENOSYS)

    def open(self) -> int:
        return os.open(self.folder / "file", os.O_RDWR)

    def close(self) -> None:
        """Nothing waits any more."""
        os.close(self.fd)
        self.libc.umount2(bytes(self.folder), 2)


@pytest.fixture
def fuse(tmp_path: Path) -> Iterator[Fuse]:
    folder = tmp_path / "fuse"
    folder.mkdir()
    try:
        one = Fuse(folder)
    except OSError as error:
        pytest.skip(f"no FUSE: {error}")
    yield one
    one.close()


def close_anyhow(fd: int) -> None:
    with suppress(OSError):
        os.close(fd)


def test_file_of_a_clients_own_file_system_is_not_touched(
    giver: Peer, victim: Peer, fuse: Fuse, two: Process
) -> None:
    """A client that serves the file itself, and answers nothing, holds up nobody: not by accesses,
    not by closing."""
    with ExitStack() as stack:
        fd = fuse.open()
        assert_by_messages(giver, fd, READABLE | WRITEABLE)
        giver.fails(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, INTX), errno.EINVAL, (fd,))
        giver.fails(DMA_MAP, dma_map(AT, 0), errno.EINVAL, (fd,))
        # A close here sleeps as well.
        closing = threading.Thread(target=close_anyhow, args=(fd,), daemon=True)
        stack.callback(closing.join)
        closing.start()
        giver.still_served()
        giver.close()
        is_served(victim)
        with Peer(two.folder / "a") as again:
            again.still_served()
        is_served(victim)
        fuse.close()
        fuse.close = lambda: None  # type: ignore[method-assign]


# A table that is full


def fill_table(process: Process) -> tuple[int, int]:
    """From now on the process can have no descriptor more. Returns the limits that it had."""
    used = {int(name) for name in os.listdir(f"/proc/{process.pid}/fd")}
    free = min(set(range(len(used) + 1)) - used)
    before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (free, before[1]))
    return before


@pytest.mark.parametrize("count", [1, 16])
def test_descriptors_that_have_no_place_are_lost(
    two: Process, giver: Peer, victim: Peer, events: Events, count: int
) -> None:
    """Where the process can have no descriptor more, the kernel drops what a message brings: that
    command is refused with EMFILE, its client and all others go on, and nothing is left of it."""
    memory = Memory(SIZE)
    open_before = two.fd_count()
    limits = fill_table(two)
    for _ in range(3):
        fds = [events.new() for _ in range(count)]
        payload = set_irqs(DATA_EVENTFD | TRIGGER, INTX)
        giver.fails(SET_IRQS, payload, errno.EMFILE, fds)
        giver.fails(DMA_MAP, dma_map(AT, SIZE), errno.EMFILE, (memory.fd,))
        # What needs none is done as ever.
        giver.still_served()
        is_served(victim)
    assert two.fd_count() == open_before
    assert "its descriptors are lost: the process has no room for more" in two.errors()
    resource.prlimit(two.pid, resource.RLIMIT_NOFILE, limits)
    giver.map(AT, SIZE, memory.fd)
    giver.unmap(AT, SIZE)
    memory.close()


# Closing


def give_away(process: Process, giver: Peer, fd: int, command: str) -> None:
    """Sends the last reference to what takes long to close."""
    payloads = {
        "map": (DMA_MAP, dma_map(AT, SIZE)),
        "irqs": (SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, INTX)),
        "neither": (VERSION, version()),
    }
    process.process.send_signal(signal.SIGSTOP)
    if command in payloads:
        giver.send(frame(*payloads[command]), (fd,))
    elif command == "partial":
        giver.send(frame(VERSION, version())[:20], (fd,))
    else:
        # Behind what ends the session.
        giver.send(frame(VERSION, version(), flags=7))
        giver.send(b"x" * 16, (fd,))
    os.close(fd)
    process.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("command", ["map", "irqs", "neither", "partial", "unread"])
def test_closing_sleeps_elsewhere(two: Process, victim: Peer, command: str) -> None:
    """A socket with SO_LINGER and unsent data, of which the last close waits: whichever way it
    comes, it holds up neither others nor the next client."""
    with Peer(two.folder / "a") as giver:
        give_away(two, giver, lingering(), command)
        is_served(victim)
    is_served(victim)
    with Peer(two.folder / "a") as again:
        again.still_served()
    is_served(victim)


def test_sleeping_closes_do_not_pile_up(two: Process, victim: Peer) -> None:
    """A client that gives more and more of what takes long to close is given up, and holds no more
    than its share; and threads do not pile up."""
    for _ in range(100):
        with suppress(OSError, Hangup), Peer(two.folder / "a") as giver:
            give_away(two, giver, lingering(), "neither")
            giver.receive()
    assert len(os.listdir(f"/proc/{two.pid}/task")) < 10
    is_served(victim)
    # More are taken for as long as it is not more than its share.
    fd = os.open("/dev/null", os.O_RDONLY)
    limit = int(Path(f"/proc/{two.pid}/limits").read_text().split("Max open files")[1].split()[0])
    while "take long to close" not in two.errors():
        with suppress(OSError, Hangup), Peer(two.folder / "a", False) as giver:
            for _ in range(64):
                giver.send(frame(VERSION, version()), (fd,) * 16)
        assert two.fd_count() < limit / 2
    is_served(victim)
    os.close(fd)


# With dma-fds=any


@pytest.fixture
def trusting(start: Start) -> Iterator[Peer]:
    process = start("edu", "socket=a", "dma-fds=any")
    process.warm_up("a")
    with Peer(process.folder / "a") as peer:
        yield peer
    process.wait_idle()


def buffer_of(edu: Peer, count: int) -> bytes:
    target = Memory(4096)
    edu.map(0xF000000, 4096, target.fd)
    edu.edu_store(0xF000000, count)
    edu.unmap(0xF000000, 4096)
    data = target.read(0, count)
    target.close()
    return data


def test_any_file_is_mapped_if_that_is_allowed(trusting: Peer, tmp_path: Path) -> None:
    """With dma-fds=any a file on a disk is memory."""
    path = tmp_path / "memory"
    path.write_bytes(DATA.ljust(SIZE, b"\0"))
    fd = os.open(path, os.O_RDWR)
    trusting.map(AT, SIZE, fd)
    os.close(fd)
    trusting.edu_fetch(AT, len(DATA))
    trusting.edu_store(AT + 0x1000, len(DATA))
    assert path.read_bytes()[0x1000 : 0x1000 + len(DATA)] == DATA


def test_any_device_is_read_if_that_is_allowed(trusting: Peer) -> None:
    """With dma-fds=any a device that cannot be mapped (/dev/full, all zeroes) is read at its
    offset."""
    fd = os.open("/dev/full", os.O_RDONLY)
    with pytest.raises(OSError):
        mmap.mmap(fd, 4096, prot=mmap.PROT_READ)
    trusting.map(AT, SIZE, fd, READABLE)
    os.close(fd)
    trusting.edu_fetch(AT + 8, 64)
    assert buffer_of(trusting, 64) == bytes(64)


def test_descriptor_without_offsets_is_refused(
    trusting: Peer, events: Events, tmp_path: Path
) -> None:
    """What can neither be mapped nor accessed at an offset is no memory, whatever is allowed."""
    ours, theirs = socket.socketpair()
    folder = os.open(tmp_path, os.O_RDONLY)
    ends = os.pipe()
    for fd in (*ends, ours.fileno(), events.new(), folder):
        for flags in (READABLE, WRITEABLE):
            trusting.fails(DMA_MAP, dma_map(AT, SIZE, flags), None, (fd,))
    for fd in (*ends, folder):
        os.close(fd)
    ours.close()
    theirs.close()
