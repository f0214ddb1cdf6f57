# SPDX-License-Identifier: BSD-3-Clause
"""DEVICE_RESET: the device as it was at its beginning."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from disk import Disk
from peer import (
    BAR0,
    CONFIG,
    DATA_EVENTFD,
    DATA_NONE,
    DMA_READ,
    DMA_WRITE,
    EDU_BUFFER,
    EDU_IRQ_RAISE,
    EDU_LIVENESS,
    EDU_TO_GUEST,
    INTX,
    MASK,
    MSI,
    RESET,
    SET_IRQS,
    S_DMA,
    TRIGGER,
    UNMASK,
    Events,
    Memory,
    Peer,
    frame,
    set_irqs,
    signalled,
    u32,
    wait_signal,
)
from served import Connect

AT, SIZE = 0x100000, 0x10000


def test_neither_request_nor_reply_has_a_payload(device: Peer) -> None:
    """Request and reply are headers."""
    assert device.ok(RESET).payload == b""


@pytest.mark.parametrize("length", [1, 4, 16])
def test_payload_is_refused(edu: Peer, length: int) -> None:
    """A payload is a mistake; the device is not reset."""
    edu.write(BAR0, EDU_LIVENESS, u32(1))
    edu.fails(RESET, bytes(length))
    assert edu.read(BAR0, EDU_LIVENESS, 4) == u32(0xFFFFFFFE)


def test_registers_are_reset(edu: Peer) -> None:
    """Registers and configuration space have their values of power-on when the reply is there."""
    edu.write(BAR0, EDU_LIVENESS, u32(1))
    edu.write(CONFIG, 4, b"\6\0")
    edu.write(CONFIG, 0x10, u32(0xFE000000))
    edu.ok(RESET)
    assert edu.read(BAR0, EDU_LIVENESS, 4) == u32(0)
    assert edu.read(CONFIG, 4, 2) == b"\0\0"
    assert edu.read(CONFIG, 0x10, 4) == u32(0)


def test_client_s_memory_stays_mapped(edu: Peer, memory: Memory) -> None:
    """A reset of the device is not one of the session: maps stay."""
    memory.write(0, b"\x55" * 64)
    edu.map(AT, SIZE, memory.fd)
    edu.ok(RESET)
    edu.edu_fetch(AT, 64)
    edu.edu_store(AT + 64, 64)
    assert memory.read(64, 64) == b"\x55" * 64
    edu.unmap(AT, SIZE)


def test_client_s_eventfds_stay(edu: Peer, events: Events) -> None:
    """Eventfds are the client's to take away."""
    fd = events.new()
    edu.ok(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, MSI), (fd,))
    edu.ok(RESET)
    edu.write(BAR0, EDU_IRQ_RAISE, u32(1))
    assert wait_signal(fd) == 1


def test_interrupts_are_lowered(edu: Peer, events: Events) -> None:
    """No interrupt of before the reset comes after it."""
    fd = events.new()
    edu.ok(SET_IRQS, set_irqs(DATA_NONE | MASK, INTX))
    edu.ok(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, INTX), (fd,))
    edu.write(BAR0, EDU_IRQ_RAISE, u32(1))
    edu.ok(RESET)
    edu.ok(SET_IRQS, set_irqs(DATA_NONE | UNMASK, INTX))
    assert not signalled(fd)


@pytest.mark.parametrize("command", [0, EDU_TO_GUEST], ids=["reading", "writing"])
def test_does_not_wait_for_the_client_s_answer(edu: Peer, command: int) -> None:
    """A transfer that waits for the client is dropped; its late answer means nothing."""
    edu.map(AT, SIZE)
    source, destination = (EDU_BUFFER, AT) if command else (AT, EDU_BUFFER)
    edu.edu_post(source, destination, 64, command)
    request = edu.expect(DMA_WRITE if command else DMA_READ, AT)
    edu.ok(RESET)
    assert not edu.edu_busy()
    edu.answer(request, S_DMA.pack(AT, 64) + (b"" if command else b"\xff" * 64))
    edu.edu_post(EDU_BUFFER, AT, 64, EDU_TO_GUEST)
    assert edu.serve(edu.expect(DMA_WRITE, AT), bytes) == bytes(64)


def test_many_in_a_row(edu: Peer) -> None:
    """Resets may be pipelined like any command."""
    edu.send(b"".join(frame(RESET, b"", i) for i in range(100)))
    assert [edu.receive().id for _ in range(100)] == list(range(100))


def test_disk_with_commands_under_way(connect: Connect, next_client: Callable[[], None]) -> None:
    """A reset of a disk that is at work ends that work before its reply; the disk can begin
    anew."""
    for shared in (True, False):
        disk = Disk(connect("nvme"), shared)
        disk.post_reads(16)
        disk.peer.ok(RESET)
        disk.peer.on_request = None
        before = disk.load(disk.QUEUES, disk.QUEUES_SIZE)
        disk.peer.on_request = disk.serve
        disk.peer.still_served()
        assert disk.load(disk.QUEUES, disk.QUEUES_SIZE) == before
        disk.close()
        disk.peer.close()
    next_client()
