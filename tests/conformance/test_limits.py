# SPDX-License-Identifier: BSD-3-Clause
"""Limits: no client makes the server grow, or keeps it from others."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest
from disk import Disk
from outboard import is_sanitized
from peer import (
    BAR0,
    DATA_EVENTFD,
    DMA_MAP,
    DMA_UNMAP,
    DMA_WRITE,
    EDU_BAR_SIZE,
    EDU_BUFFER,
    EDU_TO_GUEST,
    ERR,
    GET_INFO,
    HEADER,
    INTX,
    MSI,
    NO_REPLY,
    REGION_READ,
    REGION_WRITE,
    REQ,
    SET_IRQS,
    S_DMA,
    S_INFO,
    TRIGGER,
    UNMAP_ALL,
    VERSION,
    WRITEABLE,
    Events,
    Hangup,
    Memory,
    Message,
    Peer,
    dma_map,
    dma_unmap,
    frame,
    region_read,
    region_write,
    set_irqs,
    version,
)
from served import Connect, Process

AT = 0x100000

Start = Callable[..., Process]


@pytest.fixture
def limited(start: Start) -> Callable[..., tuple[Process, Peer]]:
    """An edu with some limits, and a client."""

    def begin(*words: str) -> tuple[Process, Peer]:
        process = start("edu", "socket=a", *words)
        process.warm_up("a")
        return process, Peer(process.folder / "a")

    return begin


def test_transfer_size(limited: Callable[..., tuple[Process, Peer]]) -> None:
    """max-data-xfer-size is what VERSION offers, and what is enforced of reads and writes."""
    _, peer = limited("max-data-xfer-size=8192")
    with peer:
        assert peer.version["capabilities"]["max_data_xfer_size"] == 8192
        peer.read(BAR0, 0, 8192)
        peer.fails(REGION_READ, region_read(BAR0, 0, 8193))
        peer.write(BAR0, 0x1000, bytes(8192))
        peer.fails(REGION_WRITE, region_write(BAR0, 0x1000, bytes(8193)))


def test_transfer_size_may_be_larger(limited: Callable[..., tuple[Process, Peer]]) -> None:
    """max-data-xfer-size may be above the default."""
    _, peer = limited("max-data-xfer-size=2M")
    with peer:
        assert peer.version["capabilities"]["max_data_xfer_size"] == 2 << 20
        peer.read(BAR0, 0, EDU_BAR_SIZE)
        # Past the end of the region, but not past the limit.
        peer.fails(REGION_WRITE, region_write(BAR0, 0, bytes(2 << 20)))


def test_message_size(limited: Callable[..., tuple[Process, Peer]]) -> None:
    """A message longer than the limits allow for ends the session as soon as its size is known."""
    process, peer = limited("max-data-xfer-size=4096")
    with peer:
        before = process.rss()
        peer.send(HEADER.pack(1, REGION_WRITE, 1 << 30, 0, 0))
        with pytest.raises(Hangup):
            peer.receive()
        assert process.rss() < before + (1 << 20)


def test_dma_maps(limited: Callable[..., tuple[Process, Peer]]) -> None:
    """max-dma-maps is what VERSION offers, and what is enforced."""
    _, peer = limited("max-dma-maps=3")
    with peer:
        assert peer.version["capabilities"]["max_dma_maps"] == 3
        for i in range(3):
            peer.map(AT + i * 4096, 4096)
        peer.fails(DMA_MAP, dma_map(AT + 3 * 4096, 4096), errno.ENOSPC)
        peer.unmap(AT, 4096)
        peer.map(AT + 3 * 4096, 4096)


def test_descriptors_held(
    limited: Callable[..., tuple[Process, Peer]], events: Events, memory: Memory
) -> None:
    """max-fds bounds what is held of a client: eventfds, and memory that cannot be mapped."""
    process, peer = limited("max-fds=3")
    with peer:
        for kind in (INTX, MSI, ERR):
            peer.ok(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, kind), events.many(1))
        payload = set_irqs(DATA_EVENTFD | TRIGGER, REQ)
        peer.fails(SET_IRQS, payload, errno.EMFILE, events.many(1))
        # Memory that is mapped needs no descriptor.
        peer.map(AT, 4096, memory.fd)
        wronly = os.open(f"/proc/self/fd/{memory.fd}", os.O_WRONLY)
        peer.fails(DMA_MAP, dma_map(2 * AT, 4096, WRITEABLE), errno.EMFILE, (wronly,))
        # One takes another one's place.
        peer.ok(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, ERR), events.many(1))
        peer.ok(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, ERR))
        peer.ok(DMA_MAP, dma_map(2 * AT, 4096, WRITEABLE), (wronly,))
        os.close(wronly)
    process.wait_idle()


def test_descriptors_in_a_message(edu: Peer, events: Events) -> None:
    """More descriptors than were offered are refused; far more end the session."""
    edu.fails(GET_INFO, S_INFO.pack(16, 0, 0, 0), errno.EINVAL, events.many(17))
    edu.send(frame(GET_INFO, S_INFO.pack(16, 0, 0, 0)), events.many(200))
    edu.hangs_up()


def test_descriptors_without_a_message(raw: Peer, events: Events, process: Process) -> None:
    """Descriptors that come with single bytes of a message do not pile up."""
    message = frame(VERSION, version())
    try:
        for i in range(len(message)):
            raw.send(message[i : i + 1], events.many(4))
    except Hangup:
        pass
    assert process.fd_count() <= process.idle_fds + 70


def test_unread_replies(limited: Callable[..., tuple[Process, Peer]]) -> None:
    """max-unsent bounds the replies that are kept for a client that does not read them."""
    process, peer = limited("max-unsent=65536", "max-data-xfer-size=4096")
    with peer:
        before = process.rss()
        peer.sock.setblocking(False)
        command = frame(REGION_READ, region_read(BAR0, 0, 4096)) * 64
        sent = 0
        with pytest.raises(BlockingIOError):
            while sent < 1 << 24:
                sent += peer.sock.send(command)
        # The server has taken what it wanted once it answers another client.
        assert sent < 1 << 20
        assert process.rss() < before + (4 << 20)


def test_requests_under_way(start: Start) -> None:
    """A client that does not answer is not asked for more and more: what is asked for at a time is
    bounded."""
    process = start("nvme", "size=1M", "socket=a")
    with Peer(process.folder / "a") as peer:
        disk = Disk(peer, shared=False)
        held: list[Message] = []

        def hold_writes(request: Message) -> None:
            if request.command == DMA_WRITE:
                held.append(request)
            else:
                disk.serve(request)

        peer.on_request = hold_writes
        disk.post_large_reads(30)
        # Whatever the server has to do before it has nothing left to do.
        for _ in range(300):
            peer.still_served()
        assert len(held) <= 64
        assert sum(S_DMA.unpack_from(request.payload)[1] for request in held) <= 1 << 20
        assert held
        peer.on_request = disk.serve
        for request in held:
            disk.serve(request)
        assert disk.finish_reads() == [0] * 30
        disk.close()


def test_log_lines(limited: Callable[..., tuple[Process, Peer]]) -> None:
    """log-lines bounds what a client has the server write to its log, per second."""
    process, peer = limited("log-lines=5")
    with peer:
        peer.send(frame(REGION_READ, region_read(1000, 0, 4), 1, NO_REPLY) * 20000)
        peer.still_served()
        assert len(process.errors().splitlines()) < 200


def test_maps_cost_nothing_afterwards(edu: Peer, process: Process) -> None:
    """Memory that was spent on a client's maps is given back, or used again."""
    for _ in range(2):
        for i in range(2000):
            edu.send_command(DMA_MAP, dma_map(AT + i * 4096, 4096), flags=NO_REPLY)
        edu.ok(DMA_UNMAP, dma_unmap(0, 0, UNMAP_ALL))
    before = process.rss()
    for _ in range(10):
        for i in range(2000):
            edu.send_command(DMA_MAP, dma_map(AT + i * 4096, 4096), flags=NO_REPLY)
        edu.ok(DMA_UNMAP, dma_unmap(0, 0, UNMAP_ALL))
    if not is_sanitized():
        assert process.rss() < before + (1 << 20)


def test_memory_that_is_cut_ends_its_own_session(
    edu: Peer, connect: Connect, next_client: Callable[[], None]
) -> None:
    """A client that truncates the file it shared loses its session, when the device touches what
    is gone."""
    other = connect("nvme")
    for command in (0, EDU_TO_GUEST):
        peer = edu if command == 0 else connect("edu")
        memory = Memory(0x10000)
        peer.map(AT, 0x10000, memory.fd)
        os.ftruncate(memory.fd, 0)
        source, destination = (EDU_BUFFER, AT) if command else (AT, EDU_BUFFER)
        peer.edu_post(source, destination, 64, command)
        with pytest.raises(Hangup):
            peer.receive()
        memory.close()
        peer.close()
        other.still_served()
    next_client()
