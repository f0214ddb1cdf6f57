# SPDX-License-Identifier: BSD-3-Clause
"""A small NVMe driver over a Peer, for tests that need a device with many transfers under way.

One I/O queue pair, many commands at a time; memory is shared, or kept by the client and reached by
messages. Registers and commands: NVM Express Base Specification 1.4, sections 3.1, 4.2 and 5, 6.
"""

from __future__ import annotations

import os
import select
import struct
from collections.abc import Callable

from outboard import LIMIT
from peer import BAR0, DMA_READ, DMA_WRITE, REGION_WRITE, S_DMA, Message, NO_REPLY, Peer
from peer import region_write, u32, u64

CC, CSTS, AQA, ASQ, ACQ = 0x14, 0x1C, 0x24, 0x28, 0x30
DOORBELLS = 0x1000
ENTRIES = 32
PAGE = 4096
BLOCK = 512
WRITE, READ = 0x01, 0x02


class Queue:
    def __init__(self, number: int, sq: int, cq: int) -> None:
        self.number, self.sq, self.cq = number, sq, cq
        self.tail = self.head = 0
        self.phase = 1


class Disk:
    QUEUES, QUEUES_SIZE = 0x1000000, 0x10000
    LIST = QUEUES + 0x8000
    DATA, DATA_SIZE = 0x2000000, 0x40000

    def __init__(
        self, peer: Peer, shared: bool, channel: Peer | None = None, copied: bool = False
    ) -> None:
        """channel is where the server's requests come in, if not where replies do. copied: memory
        that is not shared comes with descriptors all the same, of other memory."""
        self.peer, self.shared, self.copied = peer, shared, copied
        self.channel = channel or peer
        self.requests = 0
        self.order: Callable[[list[Message]], list[Message]] | None = None
        self.posted = 0
        self.shadow = 0
        self.queues = os.memfd_create("guest-queues", os.MFD_CLOEXEC)
        self.data = os.memfd_create("guest-data", os.MFD_CLOEXEC)
        os.ftruncate(self.queues, self.QUEUES_SIZE)
        os.ftruncate(self.data, self.DATA_SIZE)
        if not channel:
            peer.on_request = self.serve
        self._map(self.QUEUES, self.QUEUES_SIZE, self.queues)
        self.map_data()
        self.admin = Queue(0, self.QUEUES, self.QUEUES + 4096)
        self.io = Queue(1, self.QUEUES + 8192, self.QUEUES + 16384)
        self._enable()

    def close(self) -> None:
        self.peer.on_request = None
        os.close(self.queues)
        os.close(self.data)

    def map_data(self) -> None:
        self._map(self.DATA, self.DATA_SIZE, self.data)

    def _map(self, address: int, size: int, fd: int) -> None:
        if not self.copied:
            self.peer.map(address, size, fd if self.shared else -1)
            return
        copy = os.memfd_create("copy", os.MFD_CLOEXEC)
        os.ftruncate(copy, size)
        self.peer.map(address, size, copy)
        os.close(copy)

    # Memory

    def _at(self, address: int) -> tuple[int, int]:
        if address >= self.DATA:
            assert address < self.DATA + self.DATA_SIZE
            return self.data, address - self.DATA
        assert self.QUEUES <= address < self.QUEUES + self.QUEUES_SIZE
        return self.queues, address - self.QUEUES

    def load(self, address: int, count: int) -> bytes:
        fd, offset = self._at(address)
        return os.pread(fd, count, offset)

    def store(self, address: int, data: bytes) -> None:
        fd, offset = self._at(address)
        os.pwrite(fd, data, offset)

    def serve(self, request: Message) -> None:
        """Answers a request of the server's."""
        assert request.command in (DMA_READ, DMA_WRITE) and request.flags == 0
        self.requests += 1
        address = S_DMA.unpack_from(request.payload)[0]
        data = self.channel.serve(request, self.load)
        if request.command == DMA_WRITE:
            self.store(address, data)

    def _wait(self, done: Callable[[], bool]) -> None:
        """Answers requests until something is so."""
        while not done():
            if self.shared:
                self.peer.still_served()
                continue
            ready = select.select([self.channel.sock], [], [], LIMIT)[0]
            assert ready, "the server asks for nothing"
            batch = [self.channel.receive()]
            while self.order and not self.channel.is_quiet():
                batch.append(self.channel.receive())
            for request in self.order(batch) if self.order else batch:
                self.serve(request)

    # The controller

    def _write(self, register: int, value: bytes) -> None:
        self.peer.send_command(REGION_WRITE, region_write(BAR0, register, value), flags=NO_REPLY)

    def _status(self) -> int:
        return self.peer.read(BAR0, CSTS, 4)[0] & 1

    def _enable(self) -> None:
        self._write(CC, u32(0))
        while self._status():
            pass
        self._write(AQA, u32((ENTRIES - 1) << 16 | (ENTRIES - 1)))
        self._write(ASQ, u64(self.admin.sq))
        self._write(ACQ, u64(self.admin.cq))
        self._write(CC, u32(4 << 20 | 6 << 16 | 1))
        while not self._status():
            pass
        size = (ENTRIES - 1) << 16 | 1
        assert self.command(self.admin, 0x05, 0, self.io.cq, size, 1) == 0
        assert self.command(self.admin, 0x01, 0, self.io.sq, size, 1 << 16 | 1) == 0

    def post(
        self, queue: Queue, opcode: int, nsid: int, prp: int, *words: int, prp2: int = 0
    ) -> None:
        entry = struct.pack("<IIQQQQ", opcode, nsid, 0, 0, prp, prp2 or prp + PAGE)
        entry += b"".join(map(u32, words))
        self.store(queue.sq + queue.tail * 64, entry.ljust(64, b"\0"))
        queue.tail = (queue.tail + 1) % ENTRIES
        self.posted += 1

    def use_shadow_doorbells(self) -> None:
        """From now on doorbells' values stand in memory (Doorbell Buffer Config, section 5.7)."""
        shadow, event_indices = self.QUEUES + 0x9000, self.QUEUES + 0xA000
        self.post(self.admin, 0x7C, 0, shadow, prp2=event_indices)
        self.ring(self.admin)
        assert self.complete(self.admin) == 0
        self.shadow = shadow

    def announce(self, queue: Queue) -> None:
        """Says in the shadow doorbell what was posted, and rings nothing."""
        self.store(self.shadow + 8 * queue.number, u32(queue.tail))

    def ring(self, queue: Queue) -> None:
        if self.shadow:
            self.announce(queue)
        self._write(DOORBELLS + 8 * queue.number, u32(queue.tail))

    def _completed(self, queue: Queue) -> bool:
        status = struct.unpack("<H", self.load(queue.cq + queue.head * 16 + 14, 2))[0]
        return bool(status & 1 == queue.phase)

    def complete(self, queue: Queue) -> int:
        """Waits for the next completion and returns its status."""
        self._wait(lambda: self._completed(queue))
        status = struct.unpack("<H", self.load(queue.cq + queue.head * 16 + 14, 2))[0]
        queue.head = (queue.head + 1) % ENTRIES
        queue.phase ^= queue.head == 0
        if self.shadow:
            self.store(self.shadow + 8 * queue.number + 4, u32(queue.head))
        self._write(DOORBELLS + 8 * queue.number + 4, u32(queue.head))
        self.posted -= 1
        return int(status >> 1)

    def command(self, queue: Queue, opcode: int, nsid: int, prp: int, *words: int) -> int:
        self.post(queue, opcode, nsid, prp, *words)
        self.ring(queue)
        return self.complete(queue)

    # Blocks

    def transfer(self, opcode: int, block: int, count: int, at: int = 0) -> int:
        """Reads or writes up to two pages of blocks, at an offset in the data."""
        return self.command(self.io, opcode, 1, self.DATA + at, block, 0, count - 1)

    def post_reads(self, count: int, blocks: int = 8) -> None:
        for i in range(count):
            self.post(self.io, READ, 1, self.DATA + i * PAGE, i * blocks, 0, blocks - 1)
        self.ring(self.io)

    def post_large_reads(self, count: int) -> None:
        """Reads of 64 pages each, all to the same place, by a list of pages."""
        pages = range(self.DATA + PAGE, self.DATA + 64 * PAGE, PAGE)
        self.store(self.LIST, b"".join(map(u64, pages)))
        for _ in range(count):
            self.post(self.io, READ, 1, self.DATA, 0, 0, 511, prp2=self.LIST)
        self.ring(self.io)

    def finish_reads(self) -> list[int]:
        return [self.complete(self.io) for _ in range(self.posted)]
