# SPDX-License-Identifier: BSD-3-Clause
"""The other end of a vfio-user connection, byte by byte: what the tests of conformance speak with.

Layouts and numbers are the specification's (QEMU's docs/interop/vfio-user.rst) and, where that
refers to them, those of linux/vfio.h. A Peer sends exactly what it is told and checks what holds
for every reply, so that each test is left with its own rule.
"""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "program"))

from outboard import LIMIT, wait_until
from vfio_user import (
    DMA_MAP,
    DMA_READ,
    DMA_UNMAP,
    DMA_WRITE,
    ERROR,
    GET_INFO,
    GET_IRQ_INFO,
    GET_REGION_INFO,
    HEADER,
    NO_REPLY,
    REGION_READ,
    REGION_WRITE,
    REPLY,
    RESET,
    SET_IRQS,
    VERSION,
    Client,
    ErrorReply,
    Hangup,
    Memory,
    Message,
)

GET_REGION_IO_FDS = 6
REGION_WRITE_MULTI = 15
DEVICE_FEATURE = 16
MIG_DATA_READ, MIG_DATA_WRITE = 17, 18

NAMES = {
    VERSION: "VERSION",
    DMA_MAP: "DMA_MAP",
    DMA_UNMAP: "DMA_UNMAP",
    GET_INFO: "GET_INFO",
    GET_REGION_INFO: "GET_REGION_INFO",
    GET_REGION_IO_FDS: "GET_REGION_IO_FDS",
    GET_IRQ_INFO: "GET_IRQ_INFO",
    SET_IRQS: "SET_IRQS",
    REGION_READ: "REGION_READ",
    REGION_WRITE: "REGION_WRITE",
    DMA_READ: "DMA_READ",
    DMA_WRITE: "DMA_WRITE",
    RESET: "RESET",
    REGION_WRITE_MULTI: "REGION_WRITE_MULTI",
    DEVICE_FEATURE: "DEVICE_FEATURE",
    MIG_DATA_READ: "MIG_DATA_READ",
    MIG_DATA_WRITE: "MIG_DATA_WRITE",
}

# Payloads.
S_VERSION = struct.Struct("<HH")
S_MAP = struct.Struct("<IIQQQ")  # argsz, flags, offset, address, size
S_UNMAP = struct.Struct("<IIQQ")  # argsz, flags, address, size
S_INFO = struct.Struct("<IIII")  # argsz, flags, num_regions, num_irqs
S_REGION = struct.Struct("<IIIIQQ")  # argsz, flags, index, cap_offset, size, offset
S_CAP = struct.Struct("<HHI")  # id, version, next
S_SPARSE = struct.Struct("<II")  # nr_areas, reserved
S_AREA = struct.Struct("<QQ")  # offset, size
S_IO_FDS = struct.Struct("<IIII")  # argsz, flags, index, count
S_IO_FD = struct.Struct("<QQIIIIQ")  # offset, size, fd_index, type, flags, padding, datamatch
S_IRQ = struct.Struct("<IIII")  # argsz, flags, index, count
S_SET_IRQS = struct.Struct("<IIIII")  # argsz, flags, index, start, count
S_ACCESS = struct.Struct("<QII")  # offset, region, count
S_SMALL_WRITE = struct.Struct("<QII8s")  # offset, region, count, data
S_DMA = struct.Struct("<QQ")  # address, count
S_FEATURE = struct.Struct("<II")  # argsz, flags
S_MIG_DATA = struct.Struct("<II")  # argsz, size

BAR0, ROM, CONFIG, VGA = 0, 6, 7, 8
PCI_REGIONS = 9
REGION_READABLE, REGION_WRITEABLE, REGION_MMAP, REGION_CAPS = 1, 2, 4, 8
CAP_SPARSE_MMAP, CAP_TYPE = 1, 2

PCI_CAP_MSI, PCI_CAP_MSIX = 0x05, 0x11

INTX, MSI, MSIX, ERR, REQ = range(5)
IRQ_EVENTFD, IRQ_MASKABLE, IRQ_AUTOMASKED, IRQ_NORESIZE = 1, 2, 4, 8
DATA_NONE, DATA_BOOL, DATA_EVENTFD = 1, 2, 4
MASK, UNMASK, TRIGGER = 8, 16, 32

READABLE, WRITEABLE = 1, 2
UNMAP_ALL = 2

FEATURE_GET, FEATURE_SET, FEATURE_PROBE = 1 << 16, 1 << 17, 1 << 18
FEATURE_MIGRATION, FEATURE_MIG_DEVICE_STATE = 1, 2
FEATURE_LOGGING_START, FEATURE_LOGGING_STOP, FEATURE_LOGGING_REPORT = 6, 7, 8

# What every test that does not say otherwise negotiates.
OFFER = {"max_msg_fds": 16, "max_data_xfer_size": 1 << 20, "write_multiple": True}

# Registers of edu, see src/models/edu.c.
EDU_ID, EDU_ID_VALUE, EDU_LIVENESS = 0x00, 0x010000ED, 0x04
EDU_IRQ_STATUS, EDU_IRQ_RAISE, EDU_IRQ_ACK = 0x24, 0x60, 0x64
EDU_SOURCE, EDU_DESTINATION, EDU_COUNT, EDU_COMMAND = 0x80, 0x88, 0x90, 0x98
EDU_START, EDU_TO_GUEST, EDU_IRQ = 1, 2, 4
EDU_BUFFER, EDU_BUFFER_SIZE = 0x40000, 4096
EDU_BAR_SIZE = 1 << 20


def header(
    command: int, payload: bytes = b"", message_id: int = 1, flags: int = 0, error: int = 0
) -> bytes:
    return HEADER.pack(message_id, command, HEADER.size + len(payload), flags, error)


def frame(
    command: int, payload: bytes = b"", message_id: int = 1, flags: int = 0, error: int = 0
) -> bytes:
    """A whole message."""
    return header(command, payload, message_id, flags, error) + payload


def version(capabilities: dict[str, Any] | None = None, major: int = 0, minor: int = 1) -> bytes:
    """The payload of a proposal."""
    offered = OFFER if capabilities is None else capabilities
    return S_VERSION.pack(major, minor) + json.dumps({"capabilities": offered}).encode() + b"\0"


def dma_map(
    address: int, size: int, flags: int = READABLE | WRITEABLE, offset: int = 0, argsz: int = 32
) -> bytes:
    return S_MAP.pack(argsz, flags, offset, address, size)


def dma_unmap(address: int, size: int, flags: int = 0, argsz: int = 24) -> bytes:
    return S_UNMAP.pack(argsz, flags, address, size)


def get_region_info(index: int, argsz: int = 4096) -> bytes:
    return S_REGION.pack(argsz, 0, index, 0, 0, 0)


def get_io_fds(index: int, argsz: int = 65536) -> bytes:
    return S_IO_FDS.pack(argsz, 0, index, 0)


def get_irq_info(index: int, argsz: int = 16) -> bytes:
    return S_IRQ.pack(argsz, 0, index, 0)


def set_irqs(flags: int, index: int, start: int = 0, count: int = 1, data: bytes = b"") -> bytes:
    return S_SET_IRQS.pack(S_SET_IRQS.size + len(data), flags, index, start, count) + data


def region_read(region: int, offset: int, count: int) -> bytes:
    return S_ACCESS.pack(offset, region, count)


def region_write(region: int, offset: int, data: bytes) -> bytes:
    return S_ACCESS.pack(offset, region, len(data)) + data


def write_multi(writes: Sequence[tuple[int, int, bytes]]) -> bytes:
    """Each write is a region, an offset and up to 8 bytes."""
    array_ = b"".join(S_SMALL_WRITE.pack(o, r, len(d), d) for r, o, d in writes)
    return struct.pack("<Q", len(writes)) + array_


def feature(flags: int, data: bytes = b"", argsz: int = 4096) -> bytes:
    return S_FEATURE.pack(argsz, flags) + data


def mig_data_read(size: int, argsz: int = 4096) -> bytes:
    return S_MIG_DATA.pack(argsz, size)


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    return struct.pack("<Q", value)


class Peer(Client):
    """A connection. With caps=None it negotiates what most clients would; with False, nothing."""

    def __init__(
        self,
        path: str | Path,
        caps: dict[str, Any] | bool | None = None,
        sock: socket.socket | None = None,
    ) -> None:
        self.path = str(path)
        self.received_fds: list[int] = []
        self.version_fds: list[int] = []
        # Takes requests of the server's that come while a reply is waited for.
        self.on_request: Callable[[Message], None] | None = None
        if sock:
            self.sock, self.next_id, self.version = sock, 1, {}
            sock.settimeout(LIMIT)
        else:
            super().__init__(path, negotiate=False)
        if caps is not False and not sock:
            reply = self.ok(VERSION, version(caps if isinstance(caps, dict) else None))
            self.version = json.loads(reply.payload[S_VERSION.size :].rstrip(b"\0"))
            self.version_fds = reply.fds

    def close(self) -> None:
        super().close()
        for fd in self.received_fds:
            os.close(fd)
        self.received_fds = []

    def forget_fd(self, fd: int) -> int:
        """The caller closes it."""
        self.received_fds.remove(fd)
        return fd

    # Messages

    def receive(self) -> Message:
        message = super().receive()
        self.received_fds += message.fds
        return message

    def is_quiet(self) -> bool:
        return not select.select([self.sock], [], [], 0)[0]

    def ask(self, command: int, payload: bytes = b"", fds: tuple[int, ...] = ()) -> Message:
        """Sends a command and returns its reply, whichever, after what holds for all of them."""
        message_id = self.send_command(command, payload, fds)
        reply = self.receive()
        while self.on_request and reply.flags & 0xF != REPLY:
            self.on_request(reply)
            reply = self.receive()
        assert (reply.id, reply.command) == (message_id, command)
        assert reply.flags in (REPLY, REPLY | ERROR)
        if reply.flags & ERROR:
            assert not reply.payload and not reply.fds
        else:
            assert reply.error == 0
        return reply

    def ok(self, command: int, payload: bytes = b"", fds: tuple[int, ...] = ()) -> Message:
        reply = self.ask(command, payload, fds)
        if reply.flags & ERROR:
            raise ErrorReply(command, reply.error)
        return reply

    def fails(
        self,
        command: int,
        payload: bytes = b"",
        error: int | None = errno.EINVAL,
        fds: tuple[int, ...] = (),
    ) -> None:
        """The command fails with this error (None: any), and the session goes on."""
        reply = self.ask(command, payload, fds)
        assert reply.flags == REPLY | ERROR
        if error is None:
            assert reply.error > 0
        else:
            assert errno.errorcode.get(reply.error) == errno.errorcode[error]
        self.still_served()

    def hangs_up(self) -> None:
        """The server closes the connection, perhaps after an error reply."""
        try:
            while True:
                reply = self.receive()
                assert reply.flags == REPLY | ERROR, reply
        except Hangup:
            pass

    def still_served(self) -> None:
        assert len(self.ok(GET_INFO, S_INFO.pack(16, 0, 0, 0)).payload) == S_INFO.size

    # Regions

    def read(self, region: int, offset: int, size: int) -> bytes:
        reply = self.ok(REGION_READ, region_read(region, offset, size))
        assert S_ACCESS.unpack_from(reply.payload) == (offset, region, size)
        assert len(reply.payload) == S_ACCESS.size + size
        return reply.payload[S_ACCESS.size :]

    def write(self, region: int, offset: int, data: bytes) -> None:
        reply = self.ok(REGION_WRITE, region_write(region, offset, data))
        assert reply.payload == S_ACCESS.pack(offset, region, len(data))

    def region_info(self, index: int) -> tuple[int, ...]:
        """argsz, flags, index, cap_offset, size, offset"""
        return S_REGION.unpack_from(self.ok(GET_REGION_INFO, get_region_info(index)).payload)

    def capability(self, number: int) -> int:
        """Offset of a capability in configuration space."""
        at = self.read(CONFIG, 0x34, 1)[0]
        while self.read(CONFIG, at, 1)[0] != number:
            at = self.read(CONFIG, at + 1, 1)[0]
            assert at
        return at

    def msix_table(self) -> tuple[int, int]:
        """The MSI-X table: region and offset. Of each entry, bytes 4 to 12 hold what is written."""
        table = int.from_bytes(self.read(CONFIG, self.capability(PCI_CAP_MSIX) + 4, 4), "little")
        return table & 7, table & ~7

    def num_regions(self) -> int:
        payload = self.ok(GET_INFO, S_INFO.pack(16, 0, 0, 0)).payload
        return int(S_INFO.unpack(payload)[2])

    # Memory

    def map(
        self, address: int, size: int, fd: int = -1, flags: int = 3, offset: int = 0
    ) -> Message:
        fds = (fd,) if fd >= 0 else ()
        return self.ok(DMA_MAP, dma_map(address, size, flags, offset), fds)

    def unmap(self, address: int, size: int) -> None:
        assert self.ok(DMA_UNMAP, dma_unmap(address, size)).payload == dma_unmap(address, size)

    def unmapped(self, address: int, size: int) -> int:
        """Unmaps what lies in a range: how many bytes that was."""
        argsz, flags, where, count = S_UNMAP.unpack(
            self.ok(DMA_UNMAP, dma_unmap(address, size)).payload
        )
        assert (argsz, flags, where) == (S_UNMAP.size, 0, address)
        return int(count)

    # edu

    def edu_post(self, source: int, destination: int, count: int, command: int) -> None:
        """Has edu begin a transfer, without waiting for anything."""
        for register, value in (
            (EDU_SOURCE, source),
            (EDU_DESTINATION, destination),
            (EDU_COUNT, count),
            (EDU_COMMAND, command | EDU_START),
        ):
            self.send_command(
                REGION_WRITE, region_write(BAR0, register, u64(value)), flags=NO_REPLY
            )

    def edu_busy(self) -> bool:
        return bool(self.read(BAR0, EDU_COMMAND, 1)[0] & EDU_START)

    def edu_fetch(self, address: int, count: int, at: int = 0) -> None:
        """Client's memory to edu's buffer, in memory that takes no messages."""
        self.edu_post(address, EDU_BUFFER + at, count, 0)
        wait_until(lambda: not self.edu_busy())

    def edu_store(self, address: int, count: int, at: int = 0) -> None:
        """edu's buffer to client's memory."""
        self.edu_post(EDU_BUFFER + at, address, count, EDU_TO_GUEST)
        wait_until(lambda: not self.edu_busy())

    # The server's requests

    def expect(self, command: int, address: int | None = None) -> Message:
        """The next message is this request of the server's."""
        request = self.receive()
        assert (request.command, request.flags, request.error) == (command, 0, 0)
        assert address is None or S_DMA.unpack_from(request.payload)[0] == address
        return request

    def answer(
        self, request: Message, payload: bytes = b"", flags: int = REPLY, error: int = 0
    ) -> None:
        self.send(frame(request.command, payload, request.id, flags, error))

    def serve(self, request: Message, memory: Callable[[int, int], bytes]) -> bytes:
        """Answers a DMA_READ from memory(address, count); of a DMA_WRITE, returns the data."""
        address, count = S_DMA.unpack_from(request.payload)
        if request.command == DMA_READ:
            assert len(request.payload) == S_DMA.size
            self.answer(request, S_DMA.pack(address, count) + memory(address, count))
            return b""
        assert request.command == DMA_WRITE
        assert len(request.payload) == S_DMA.size + count
        self.answer(request, S_DMA.pack(address, count))
        return request.payload[S_DMA.size :]


class Events:
    """Eventfds, as many as a test wants."""

    def __init__(self) -> None:
        self.fds: list[int] = []

    def new(self) -> int:
        self.fds.append(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
        return self.fds[-1]

    def many(self, count: int) -> tuple[int, ...]:
        return tuple(self.new() for _ in range(count))

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)


def signalled(fd: int) -> int:
    """What was added to an eventfd; 0 if nothing was."""
    return os.eventfd_read(fd) if select.select([fd], [], [], 0)[0] else 0


def wait_signal(fd: int) -> int:
    assert select.select([fd], [], [], LIMIT)[0], "no signal"
    return os.eventfd_read(fd)


__all__ = [name for name in dir() if not name.startswith("_")]
