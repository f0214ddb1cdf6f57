# SPDX-License-Identifier: BSD-3-Clause
"""Sleeps on an eventfd for each completion, while another thread is in the way of interrupts."""

from __future__ import annotations

import os
import random
import select
import struct
import threading
from pathlib import Path

from conftest import Start
from nvme_driver import FLUSH, MEMORY, QUEUE_ENTRIES, Nvme
from vfio_user import IRQ_MSIX, REGION_BAR0, REGION_CONFIG, SET_IRQS, Client

ROUNDS = int(os.environ.get("OUTBOARD_IRQ_ROUNDS", "300"))
LIMIT_MS = 20000
MASK, UNMASK = 0x09, 0x11
VECTOR = 1


def interfere(client: Client, lock: threading.Lock, eventfd: int, over: threading.Event) -> None:
    """Each of these leaves interrupts as they were, and may be in the way of one meanwhile."""
    chance = random.Random(1)

    def irqs(flags: int, *fds: int, count: int = 1) -> None:
        with lock:
            client.request(SET_IRQS, struct.pack("<IIIII", 20, flags, IRQ_MSIX, VECTOR, count), fds)

    while not over.is_set():
        kind = chance.randrange(3)
        if kind == 0:
            irqs(MASK)
            irqs(UNMASK)
        elif kind == 1:
            irqs(0x24)  # takes the eventfd away, and gives it back
            irqs(0x24, eventfd)
        else:
            for command in (b"\x02\x00", b"\x06\x00"):  # Bus Master Enable off and on
                with lock:
                    client.write(REGION_CONFIG, 4, command)


def test_every_completion_is_told_of(outboard: Start, folder: Path) -> None:
    outboard("nvme", "size=16M", "socket=a.sock")
    over, lock, eventfd = threading.Event(), threading.Lock(), os.eventfd(0, os.EFD_CLOEXEC)
    with Client(folder / "a.sock") as client:
        guest = Nvme(client)
        guest.enable()
        guest.create_io_queues(VECTOR)
        client.set_irq_eventfd(IRQ_MSIX, VECTOR, eventfd)
        other = threading.Thread(target=interfere, args=(client, lock, eventfd, over))
        other.start()
        try:
            for _ in range(ROUNDS):
                flush(guest, lock, eventfd)
        finally:
            over.set()
            other.join()
        guest.close()
    os.close(eventfd)


def flush(guest: Nvme, lock: threading.Lock, eventfd: int) -> None:
    queue, poll = guest.io, select.poll()
    poll.register(eventfd, select.POLLIN)
    command = struct.pack("<IIQQQQ", FLUSH | 0x55 << 16, 1, 0, 0, MEMORY, 0)
    guest.memory.write(queue.sq + queue.tail * 64, command.ljust(64, b"\0"))
    queue.tail = (queue.tail + 1) % QUEUE_ENTRIES
    with lock:
        guest.client.write32(REGION_BAR0, 0x1008, queue.tail)
    # Nothing is looked at before it was told of.
    while True:
        assert poll.poll(LIMIT_MS), "a completion that nobody was told of"
        os.eventfd_read(eventfd)
        if guest.memory.read(queue.cq + queue.head * 16 + 14, 1)[0] & 1 == queue.phase:
            break
    queue.head = (queue.head + 1) % QUEUE_ENTRIES
    queue.phase ^= queue.head == 0
    with lock:
        guest.client.write32(REGION_BAR0, 0x100C, queue.head)
