# SPDX-License-Identifier: BSD-3-Clause
"""Sleeps on eventfds for each completion, while another thread is in the way of interrupts."""

from __future__ import annotations

import contextlib
import os
import random
import select
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from conftest import Start
from nvme_driver import CREATE_CQ, CREATE_SQ, FLUSH, MEMORY, QUEUE_ENTRIES, Nvme
from vfio_user import IRQ_INTX, IRQ_MSIX, REGION_CONFIG, SET_IRQS, Client, Message

ROUNDS = int(os.environ.get("OUTBOARD_IRQ_ROUNDS", "300"))
SEED = int(os.environ.get("OUTBOARD_IRQ_SEED", "1"))
LIMIT_MS = 120000  # so long that a completion was forgotten, on whatever machine
DELETE_SQ, DELETE_CQ = 0x00, 0x04
MASK, UNMASK, UNWIRE, WIRE = 0x09, 0x11, 0x24, 0x24
DISABLE = 0x21
VECTORS = (1, 2)
CAP_MSIX = 0x11
MSIX_ENABLE = 0x8000
MEMORY_AND_BUS, MEMORY_ALONE = b"\x06\x00", b"\x02\x00"


class Shared(Client):
    """For two threads: one request at a time."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.Lock()
        super().__init__(path)

    def request(self, command: int, payload: bytes = b"", fds: tuple[int, ...] = ()) -> Message:
        with self.lock:
            return super().request(command, payload, fds)

    def irqs(self, flags: int, kind: int, vector: int, *fds: int, count: int = 1) -> None:
        self.request(SET_IRQS, struct.pack("<IIIII", 20, flags, kind, vector, count), fds)

    def find_capability(self, wanted: int) -> int:
        at = self.read(REGION_CONFIG, 0x34, 1)[0]
        while at:
            number, after = self.read(REGION_CONFIG, at, 2)
            if number == wanted:
                return at
            at = after
        raise AssertionError("no such capability")


class Guest:
    """Looks at its queue only when it was told to, whichever way it is told."""

    def __init__(self, client: Shared) -> None:
        self.client = client
        self.nvme = Nvme(client)
        self.chance = random.Random(SEED + 1)
        self.rounds = 0
        self.ended = threading.Condition()
        self.delivery = threading.Lock()  # held by a VMM that takes its time, and drops messages
        # Two for each vector, which take turns, as VMMs have them: both are read.
        self.events = {v: [eventfd(), eventfd()] for v in VECTORS}
        self.pin = eventfd()
        self.poll = select.poll()
        for fd in (self.pin, *self.events[1], *self.events[2]):
            self.poll.register(fd, select.POLLIN)

    def start(self) -> None:
        self.nvme.enable()
        self.nvme.create_io_queues(VECTORS[0])
        for vector in VECTORS:
            self.client.irqs(WIRE, IRQ_MSIX, vector, self.events[vector][0])

    def close(self) -> None:
        for fd in (self.pin, *self.events[1], *self.events[2]):
            os.close(fd)
        self.nvme.close()

    def make_queues_anew(self) -> None:
        """With another vector, maybe. The admin queue has no interrupts that are heard."""
        nvme, queue = self.nvme, self.nvme.io
        nvme.submit(nvme.admin, DELETE_SQ, 0, (queue.number,))
        nvme.submit(nvme.admin, DELETE_CQ, 0, (queue.number,))
        queue.tail, queue.head, queue.phase = 0, 0, 1
        nvme.memory.write(queue.cq, bytes(16 * QUEUE_ENTRIES))
        size = (QUEUE_ENTRIES - 1) << 16 | queue.number
        vector = self.chance.choice(VECTORS)
        words = (size, 3 | vector << 16)
        nvme.submit(nvme.admin, CREATE_CQ, 0, words, MEMORY + queue.cq)
        nvme.submit(nvme.admin, CREATE_SQ, 0, (size, queue.number << 16 | 1), MEMORY + queue.sq)

    def wait(self) -> None:
        """Until it was told of the completion: then takes it."""
        nvme, queue, done = self.nvme, self.nvme.io, False
        while not done:
            ready = [fd for fd, _ in self.poll.poll(LIMIT_MS)]
            assert ready, f"a completion that nobody was told of, in round {self.rounds}"
            with self.delivery:
                told = [fd for fd in ready if take(fd)]
            if not told:
                continue
            done = nvme.is_done(queue)
            if done:
                nvme.finish(queue)
            if self.pin in told:
                self.client.irqs(UNMASK, IRQ_INTX, 0)

    def run(self, may_end: Callable[[], bool]) -> None:
        while self.rounds < ROUNDS or not may_end():
            if not self.chance.randrange(8):
                self.make_queues_anew()
            self.nvme.start(self.nvme.io, FLUSH, 1)
            self.wait()
            with self.ended:
                self.rounds += 1
                self.ended.notify_all()


def eventfd() -> int:
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)


def take(fd: int) -> bool:
    """Whether it was signalled."""
    with contextlib.suppress(BlockingIOError):
        return os.eventfd_read(fd) > 0
    return False


class Interference:
    """Each of these leaves interrupts as they were, and may be in the way of one meanwhile."""

    def __init__(self, client: Shared, guest: Guest) -> None:
        self.client, self.guest = client, guest
        self.chance = random.Random(SEED)
        self.over = threading.Event()
        self.failure: BaseException | None = None
        self.wired = dict.fromkeys(VECTORS, 0)  # which of its two eventfds
        self.msix_control = client.find_capability(CAP_MSIX) + 2
        self.enabled = False
        self.deeds = (
            self.mask,
            self.function_mask,
            self.unwire,
            self.replace,
            self.toggle_bus,
            self.enable_or_disable,
            self.go_to_the_pin,
        )
        self.done = dict.fromkeys((deed.__name__ for deed in self.deeds), 0)

    def run(self) -> None:
        try:
            while not self.over.is_set():
                deed = self.chance.choice(self.deeds)
                deed()
                self.done[deed.__name__] += 1
                # What one deed lost, the next one may bring back.
                if self.chance.randrange(2):
                    self.wait_for_a_round()
        except BaseException as error:
            self.failure = error

    def has_done_all(self) -> bool:
        return all(self.done.values())

    def event(self, vector: int) -> int:
        return self.guest.events[vector][self.wired[vector]]

    def messages(self) -> list[int]:
        return [fd for vector in VECTORS for fd in self.guest.events[vector]]

    def control(self, value: int) -> None:
        self.client.write(REGION_CONFIG, self.msix_control, struct.pack("<H", value))

    def mask(self) -> None:
        vector = self.chance.choice(VECTORS)
        self.client.irqs(MASK, IRQ_MSIX, vector)
        self.client.irqs(UNMASK, IRQ_MSIX, vector)

    def function_mask(self) -> None:
        control = MSIX_ENABLE * self.enabled
        self.control(control | 0x4000)
        self.control(control)

    def drop(self, *fds: int) -> None:
        for fd in fds:
            take(fd)

    def unwire(self) -> None:
        """For a moment: the pin does not take its place, as the other vector is wired."""
        vector = self.chance.choice(VECTORS)
        with self.guest.delivery:
            self.dawdle()
            self.client.irqs(UNWIRE, IRQ_MSIX, vector)
            self.drop(*self.guest.events[vector])
        self.client.irqs(WIRE, IRQ_MSIX, vector, self.event(vector))

    def dawdle(self) -> None:
        for _ in range(self.chance.randrange(4)):
            self.client.read(REGION_CONFIG, 0, 4)

    def replace(self) -> None:
        vector = self.chance.choice(VECTORS)
        self.wired[vector] ^= 1
        self.client.irqs(WIRE, IRQ_MSIX, vector, self.event(vector))

    def toggle_bus(self) -> None:
        """Messages that are on their way meanwhile are dropped."""
        with self.guest.delivery:
            self.dawdle()
            self.client.write(REGION_CONFIG, 4, MEMORY_ALONE)
            self.drop(*self.messages())
        self.client.write(REGION_CONFIG, 4, MEMORY_AND_BUS)

    def enable_or_disable(self) -> None:
        """The enable bit, which says nothing new to a server whose client wires vectors."""
        self.enabled = not self.enabled
        self.control(MSIX_ENABLE * self.enabled)

    def go_to_the_pin(self) -> None:
        """MSI-X off, INTx for some completions, and back. In the order of one VMM or another."""
        self.enabled = False
        self.in_some_order(
            self.disable_messages,
            lambda: self.control(0),
            lambda: self.client.irqs(WIRE, IRQ_INTX, 0, self.guest.pin),
        )
        for _ in range(self.chance.randrange(4)):
            self.wait_for_a_round()
            self.chance.choice((self.toggle_bus, self.mask_pin))()
        self.enabled = True
        self.in_some_order(
            self.disable_pin,
            lambda: self.control(MSIX_ENABLE),
            *(lambda v=v: self.client.irqs(WIRE, IRQ_MSIX, v, self.event(v)) for v in VECTORS),
        )

    def disable_messages(self) -> None:
        with self.guest.delivery:
            self.dawdle()
            self.client.irqs(DISABLE, IRQ_MSIX, 0, count=0)
            self.drop(*self.messages())

    def disable_pin(self) -> None:
        with self.guest.delivery:
            self.dawdle()
            self.client.irqs(DISABLE, IRQ_INTX, 0, count=0)
            self.drop(self.guest.pin)

    def mask_pin(self) -> None:
        self.client.irqs(MASK, IRQ_INTX, 0)
        self.client.irqs(UNMASK, IRQ_INTX, 0)

    def in_some_order(self, *deeds: Callable[[], None]) -> None:
        for deed in self.chance.sample(deeds, len(deeds)):
            deed()

    def wait_for_a_round(self) -> None:
        with self.guest.ended:
            before = self.guest.rounds
            self.guest.ended.wait_for(lambda: self.guest.rounds > before or self.over.is_set())


def test_every_completion_is_told_of(outboard: Start, folder: Path) -> None:
    outboard("nvme", "size=16M", "socket=a.sock")
    with Shared(folder / "a.sock") as client:
        guest = Guest(client)
        guest.start()
        interference = Interference(client, guest)
        other = threading.Thread(target=interference.run)
        other.start()
        try:
            guest.run(lambda: interference.failure is not None or interference.has_done_all())
        finally:
            interference.over.set()
            with guest.ended:
                guest.ended.notify_all()
            other.join()
            guest.close()
    assert interference.failure is None
