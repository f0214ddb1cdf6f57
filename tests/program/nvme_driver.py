# SPDX-License-Identifier: BSD-3-Clause
"""A minimal NVMe driver over a raw vfio-user client, for tests: one command at a time.

Register and command layouts: NVM Express Base Specification 1.4, sections 3.1 and 4.2.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from outboard import wait_until
from vfio_user import REGION_BAR0, REGION_CONFIG, Client, Memory

CAP, CC, CSTS, AQA, ASQ, ACQ = 0x00, 0x14, 0x1C, 0x24, 0x28, 0x30
DOORBELLS = 0x1000

# Admin commands, and commands of the NVM command set.
CREATE_SQ, CREATE_CQ, IDENTIFY = 0x01, 0x05, 0x06
FLUSH, WRITE, READ = 0x00, 0x01, 0x02
FUA = 1 << 30  # of dword 12

CNS_NAMESPACE, CNS_CONTROLLER, CNS_NAMESPACE_LIST = 0, 1, 2

MEMORY = 0x100000
MEMORY_SIZE = 0x100000
QUEUE_ENTRIES = 16
PAGE = 0x1000
DATA = 0x10000  # where commands have their data, as an offset in the memory
DATA_SIZE = 2 * PAGE


class CommandError(Exception):
    """A command ended with a status that is not 0."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status:#x}")
        self.status = status


@dataclass
class Queue:
    number: int
    sq: int  # offsets in the memory
    cq: int
    tail: int = 0
    head: int = 0
    phase: int = 1


class Nvme:
    def __init__(self, client: Client) -> None:
        self.client = client
        self.memory = Memory(MEMORY_SIZE)
        self.admin = Queue(0, 0, PAGE)
        self.io = Queue(1, 2 * PAGE, 3 * PAGE)
        client.dma_map(MEMORY, MEMORY_SIZE, self.memory.fd)
        client.write(REGION_CONFIG, 4, b"\x06\x00")  # memory decoding and bus mastering

    def close(self) -> None:
        self.memory.close()

    def enable(self) -> None:
        client = self.client
        client.write32(REGION_BAR0, CC, 0)
        wait_until(lambda: not client.read32(REGION_BAR0, CSTS) & 1)
        client.write32(REGION_BAR0, AQA, (QUEUE_ENTRIES - 1) << 16 | (QUEUE_ENTRIES - 1))
        client.write64(REGION_BAR0, ASQ, MEMORY + self.admin.sq)
        client.write64(REGION_BAR0, ACQ, MEMORY + self.admin.cq)
        client.write32(REGION_BAR0, CC, 4 << 20 | 6 << 16 | 1)
        wait_until(lambda: client.read32(REGION_BAR0, CSTS) & 1)

    def create_io_queues(self, interrupt_vector: int | None = None) -> None:
        size_and_id = (QUEUE_ENTRIES - 1) << 16 | self.io.number
        flags = 1 if interrupt_vector is None else 3 | interrupt_vector << 16
        self.submit(self.admin, CREATE_CQ, 0, (size_and_id, flags), MEMORY + self.io.cq)
        self.submit(
            self.admin, CREATE_SQ, 0, (size_and_id, self.io.number << 16 | 1), MEMORY + self.io.sq
        )

    def _doorbell(self, queue: Queue, completion: bool, value: int) -> None:
        stride = 4 << (self.client.read64(REGION_BAR0, CAP) >> 32 & 0xF)
        offset = DOORBELLS + (2 * queue.number + completion) * stride
        self.client.write32(REGION_BAR0, offset, value)

    def start(
        self,
        queue: Queue,
        opcode: int,
        namespace: int = 0,
        words: tuple[int, ...] = (),
        prp1: int = MEMORY + DATA,
    ) -> None:
        """Submits one command."""
        command = struct.pack("<IIQQQQ", opcode | 0x55 << 16, namespace, 0, 0, prp1, prp1 + PAGE)
        command += b"".join(struct.pack("<I", word) for word in words)
        self.memory.write(queue.sq + queue.tail * 64, command.ljust(64, b"\0"))
        queue.tail = (queue.tail + 1) % QUEUE_ENTRIES
        self._doorbell(queue, False, queue.tail)

    def is_done(self, queue: Queue) -> bool:
        entry = queue.cq + queue.head * 16
        return self.memory.read(entry + 14, 1)[0] & 1 == queue.phase

    def finish(self, queue: Queue) -> int:
        """Waits for the next completion and returns its dword 0."""
        wait_until(lambda: self.is_done(queue))
        entry = queue.cq + queue.head * 16
        result, _, _, _, cid, status = struct.unpack("<IIHHHH", self.memory.read(entry, 16))
        assert cid == 0x55
        queue.head = (queue.head + 1) % QUEUE_ENTRIES
        queue.phase ^= queue.head == 0
        self._doorbell(queue, True, queue.head)
        if status >> 1:
            raise CommandError(status >> 1 & 0x7FF)
        return int(result)

    def submit(
        self,
        queue: Queue,
        opcode: int,
        namespace: int = 0,
        words: tuple[int, ...] = (),
        prp1: int = MEMORY + DATA,
    ) -> int:
        """Does one command and returns dword 0 of its completion."""
        self.start(queue, opcode, namespace, words, prp1)
        return self.finish(queue)

    def identify(self, cns: int, namespace: int = 0) -> bytes:
        self.submit(self.admin, IDENTIFY, namespace, (cns,))
        return self.memory.read(DATA, 4096)

    def start_write(self, namespace: int, block: int, data: bytes, fua: bool = False) -> None:
        assert len(data) <= DATA_SIZE
        self.memory.write(DATA, data)
        control = len(data) // 512 - 1 | FUA * fua
        self.start(self.io, WRITE, namespace, (block, 0, control))

    def write(self, namespace: int, block: int, data: bytes, fua: bool = False) -> None:
        self.start_write(namespace, block, data, fua)
        self.finish(self.io)

    def read(self, namespace: int, block: int, size: int) -> bytes:
        assert size <= DATA_SIZE
        self.memory.write(DATA, b"\xee" * size)
        self.submit(self.io, READ, namespace, (block, 0, size // 512 - 1))
        return self.memory.read(DATA, size)

    def flush(self, namespace: int) -> None:
        self.submit(self.io, FLUSH, namespace)
