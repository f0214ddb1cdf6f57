# SPDX-License-Identifier: BSD-3-Clause
"""A small vfio-user client that speaks raw messages, for tests.

It knows the layouts of the specification and nothing of outboard. Every wait has a limit. What a
test wants to get wrong it can: send() takes any bytes.
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

TIME_SCALE = float(os.environ.get("OUTBOARD_TEST_TIME_SCALE", "1"))

VERSION = 1
DMA_MAP = 2
DMA_UNMAP = 3
GET_INFO = 4
GET_REGION_INFO = 5
GET_IRQ_INFO = 7
SET_IRQS = 8
REGION_READ = 9
REGION_WRITE = 10
DMA_READ = 11
DMA_WRITE = 12
RESET = 13

REPLY = 1
NO_REPLY = 0x10
ERROR = 0x20

HEADER = struct.Struct("<HHIII")

REGION_BAR0 = 0
REGION_CONFIG = 7

IRQ_INTX, IRQ_MSI, IRQ_MSIX = 0, 1, 2
IRQ_DATA_NONE, IRQ_DATA_EVENTFD = 1, 4
IRQ_ACTION_TRIGGER = 0x20

DMA_READABLE, DMA_WRITEABLE = 1, 2

CAPABILITIES = {"capabilities": {"max_msg_fds": 8, "max_data_xfer_size": 1048576}}


class Hangup(Exception):
    """The server closed the connection."""


class ErrorReply(Exception):
    """The server answered with an error."""

    def __init__(self, command: int, error: int) -> None:
        super().__init__(f"command {command}: {os.strerror(error)}")
        self.error = error


@dataclass
class Message:
    id: int
    command: int
    flags: int
    error: int
    payload: bytes
    fds: list[int] = field(default_factory=list)


class Client:
    """One connection. With negotiate=False it says nothing by itself."""

    def __init__(self, path: str | Path, negotiate: bool = True, timeout: float = 10) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(timeout * TIME_SCALE)
        self._connect(str(path), time.monotonic() + timeout * TIME_SCALE)
        self.next_id = 1
        self.version: dict[str, Any] = {}
        if negotiate:
            self.negotiate()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def _connect(self, path: str, end: float) -> None:
        while True:
            try:
                return self.sock.connect(path)
            except BlockingIOError:
                # The queue of those who wait is full, and a socket with a limit does not wait.
                if time.monotonic() > end:
                    raise
                time.sleep(0.001)

    def send(self, data: bytes, fds: tuple[int, ...] = ()) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            sent = self.sock.sendmsg([data], rights)
            if sent < len(data):
                self.sock.sendall(data[sent:])
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Hangup from error

    def _receive_exactly(self, size: int, fds: list[int]) -> bytes:
        data = b""
        while len(data) < size:
            try:
                chunk, rights, _, _ = self.sock.recvmsg(size - len(data), 4096)
            except ConnectionResetError as error:
                raise Hangup from error
            if not chunk:
                raise Hangup
            data += chunk
            for level, kind, content in rights:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    numbers = array.array("i")
                    numbers.frombytes(content[: len(content) // numbers.itemsize * 4])
                    fds += numbers
        return data

    def receive(self) -> Message:
        fds: list[int] = []
        header = self._receive_exactly(HEADER.size, fds)
        message_id, command, size, flags, error = HEADER.unpack(header)
        payload = self._receive_exactly(size - HEADER.size, fds)
        return Message(message_id, command, flags, error, payload, fds)

    def send_command(
        self, command: int, payload: bytes = b"", fds: tuple[int, ...] = (), flags: int = 0
    ) -> int:
        message_id = self.next_id
        self.next_id = (self.next_id + 1) & 0xFFFF
        header = HEADER.pack(message_id, command, HEADER.size + len(payload), flags, 0)
        self.send(header + payload, fds)
        return message_id

    def request(self, command: int, payload: bytes = b"", fds: tuple[int, ...] = ()) -> Message:
        message_id = self.send_command(command, payload, fds)
        reply = self.receive()
        assert (reply.id, reply.command) == (message_id, command)
        assert reply.flags & 0xF == REPLY
        if reply.flags & ERROR:
            raise ErrorReply(command, reply.error)
        return reply

    def negotiate(self) -> dict[str, Any]:
        text = json.dumps(CAPABILITIES).encode() + b"\0"
        reply = self.request(VERSION, struct.pack("<HH", 0, 0) + text)
        assert struct.unpack_from("<H", reply.payload) == (0,)
        self.version = json.loads(reply.payload[4:].rstrip(b"\0") or b"{}")
        return self.version

    def device_info(self) -> tuple[int, int, int]:
        """Flags, number of regions, number of kinds of interrupts."""
        reply = self.request(GET_INFO, struct.pack("<IIII", 16, 0, 0, 0))
        _, flags, regions, irqs = struct.unpack_from("<IIII", reply.payload)
        return flags, regions, irqs

    def region_size(self, index: int) -> int:
        reply = self.request(GET_REGION_INFO, struct.pack("<IIIIQQ", 32, 0, index, 0, 0, 0))
        for fd in reply.fds:
            os.close(fd)
        size: int = struct.unpack_from("<IIIIQQ", reply.payload)[4]
        return size

    def read(self, region: int, offset: int, size: int) -> bytes:
        reply = self.request(REGION_READ, struct.pack("<QII", offset, region, size))
        assert struct.unpack_from("<QII", reply.payload) == (offset, region, size)
        return reply.payload[16:]

    def write(self, region: int, offset: int, data: bytes) -> None:
        self.request(REGION_WRITE, struct.pack("<QII", offset, region, len(data)) + data)

    def read32(self, region: int, offset: int) -> int:
        return int.from_bytes(self.read(region, offset, 4), "little")

    def write32(self, region: int, offset: int, value: int) -> None:
        self.write(region, offset, struct.pack("<I", value))

    def read64(self, region: int, offset: int) -> int:
        return int.from_bytes(self.read(region, offset, 8), "little")

    def write64(self, region: int, offset: int, value: int) -> None:
        self.write(region, offset, struct.pack("<Q", value))

    def dma_map(self, address: int, size: int, fd: int, offset: int = 0) -> None:
        flags = DMA_READABLE | DMA_WRITEABLE
        payload = struct.pack("<IIQQQ", 32, flags, offset, address, size)
        self.request(DMA_MAP, payload, (fd,))

    def dma_unmap(self, address: int, size: int) -> None:
        self.request(DMA_UNMAP, struct.pack("<IIQQ", 24, 0, address, size))

    def set_irq_eventfd(self, kind: int, vector: int, fd: int) -> None:
        flags = IRQ_DATA_EVENTFD | IRQ_ACTION_TRIGGER
        self.request(SET_IRQS, struct.pack("<IIIII", 20, flags, kind, vector, 1), (fd,))

    def reset(self) -> None:
        self.request(RESET)


class Memory:
    """Guest memory that is shared by a descriptor."""

    def __init__(self, size: int) -> None:
        self.fd = os.memfd_create("guest", os.MFD_CLOEXEC)
        self.size = size
        os.ftruncate(self.fd, size)

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self.fd, size, offset)

    def write(self, offset: int, data: bytes) -> None:
        assert os.pwrite(self.fd, data, offset) == len(data)

    def close(self) -> None:
        os.close(self.fd)
