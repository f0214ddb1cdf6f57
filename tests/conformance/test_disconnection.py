# SPDX-License-Identifier: BSD-3-Clause
"""Disconnection: a client may vanish at any byte, and leaves nothing behind but the device's
state."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable

import pytest
from disk import Disk
from outboard import LIMIT, wait_until
from peer import (
    BAR0,
    CONFIG,
    DATA_EVENTFD,
    DATA_NONE,
    DMA_MAP,
    DMA_READ,
    DMA_UNMAP,
    DMA_WRITE,
    EDU_BUFFER,
    EDU_COMMAND,
    EDU_COUNT,
    EDU_ID,
    EDU_ID_VALUE,
    EDU_IRQ,
    EDU_IRQ_RAISE,
    EDU_LIVENESS,
    EDU_SOURCE,
    EDU_START,
    EDU_TO_GUEST,
    ERR,
    GET_INFO,
    GET_IRQ_INFO,
    GET_REGION_INFO,
    GET_REGION_IO_FDS,
    HEADER,
    INTX,
    MASK,
    MSI,
    NO_REPLY,
    REGION_READ,
    REGION_WRITE,
    REGION_WRITE_MULTI,
    REPLY,
    REQ,
    RESET,
    SET_IRQS,
    S_DMA,
    S_INFO,
    TRIGGER,
    VERSION,
    WRITEABLE,
    Events,
    Hangup,
    Memory,
    Peer,
    dma_map,
    dma_unmap,
    frame,
    get_io_fds,
    get_irq_info,
    get_region_info,
    region_read,
    region_write,
    set_irqs,
    signalled,
    u32,
    u64,
    version,
    wait_signal,
    write_multi,
)
from served import Connect, Process

AT, SIZE = 0x100000, 0x10000

Part = tuple[bytes, tuple[int, ...]]


def recorded(memory: Memory, eventfd: int) -> list[Part]:
    """What a client says in its session: messages, and the descriptors that go with them."""
    with_fd = {DMA_MAP: (memory.fd,), SET_IRQS: (eventfd,)}
    session = [
        (VERSION, version({"write_multiple": True})),
        (DMA_MAP, dma_map(AT, SIZE)),
        (GET_INFO, S_INFO.pack(16, 0, 0, 0)),
        (GET_REGION_INFO, get_region_info(BAR0)),
        (GET_REGION_IO_FDS, get_io_fds(BAR0)),
        (GET_IRQ_INFO, get_irq_info(MSI)),
        (SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, MSI)),
        (REGION_WRITE, region_write(BAR0, EDU_SOURCE, u64(AT))),
        (REGION_WRITE_MULTI, write_multi([(BAR0, EDU_COUNT, u64(64))])),
        (REGION_WRITE, region_write(BAR0, EDU_COMMAND, u32(EDU_START | EDU_IRQ))),
        (REGION_READ, region_read(BAR0, EDU_COMMAND, 4)),
        (DMA_UNMAP, dma_unmap(AT, SIZE)),
        (RESET, b""),
    ]
    return [(frame(c, p, i), with_fd.get(c, ())) for i, (c, p) in enumerate(session)]


def play(peer: Peer, session: list[Part], length: int) -> None:
    """Sends the first so many bytes of a session."""
    for data, fds in session:
        data, length = data[:length], length - len(data)
        if data:
            peer.send(data, fds)
        if length <= 0:
            return


def length_of(session: list[Part]) -> int:
    return sum(len(data) for data, _ in session)


@pytest.fixture
def served_anew(connect: Connect, process: Process) -> Callable[[], None]:
    """The next client is served, and beside its socket the server holds what it held at first."""

    def check() -> None:
        peer = connect("edu")
        assert peer.read(BAR0, EDU_ID, 4) == u32(EDU_ID_VALUE)
        # Helper threads give back what clients gave.
        wait_until(lambda: process.fd_count() == process.idle_fds + 1)
        wait_until(lambda: "memfd:guest" not in process.maps())
        peer.close()

    return check


def test_recorded_session_is_one(raw: Peer, memory: Memory, events: Events) -> None:
    """The session that the tests below cut short succeeds as a whole."""
    session = recorded(memory, events.new())
    play(raw, session, length_of(session))
    for _ in session:
        assert raw.receive().flags == REPLY


def test_at_any_byte_of_any_command(
    connect: Connect, memory: Memory, events: Events, served_anew: Callable[[], None]
) -> None:
    """Whatever part of a session was sent, its end leaves no descriptor and no memory, and the next
    client is served at once."""
    session = recorded(memory, events.new())
    for cut in range(length_of(session) + 1):
        peer = connect("edu", False)
        play(peer, session, cut)
        peer.close()
        served_anew()


def test_at_any_byte_of_any_reply(
    connect: Connect, memory: Memory, events: Events, served_anew: Callable[[], None]
) -> None:
    """The same for whatever part of the replies was read."""
    # Without the eventfd, whose end takes the server some time; its reply is a header like others.
    whole_session = recorded(memory, events.new())
    session = [part for part in whole_session if HEADER.unpack_from(part[0])[1] != SET_IRQS]
    whole = 0
    with connect("edu", False) as peer:
        play(peer, session, length_of(session))
        whole = sum(16 + len(peer.receive().payload) for _ in session)
    for cut in range(whole + 1):
        peer = connect("edu", False)
        play(peer, session, length_of(session))
        if cut:
            peer.sock.recv(cut, socket.MSG_WAITALL)
        peer.close()
        served_anew()


def test_at_any_byte_of_a_reply_to_the_server(
    connect: Connect, served_anew: Callable[[], None]
) -> None:
    """A client may vanish in the midst of a reply to the server's request, or before it."""
    for command in (DMA_READ, DMA_WRITE):
        data = bytes(16) if command == DMA_READ else b""
        for cut in range(16 + 16 + len(data) + 1):
            peer = connect("edu")
            peer.map(AT, SIZE)
            if command == DMA_READ:
                peer.edu_post(AT, EDU_BUFFER, 16, 0)
            else:
                peer.edu_post(EDU_BUFFER, AT, 16, EDU_TO_GUEST)
            request = peer.expect(command, AT)
            reply = frame(command, S_DMA.pack(AT, 16) + data, request.id, REPLY)
            if cut:
                peer.send(reply[:cut])
            peer.close()
            served_anew()


def test_with_replies_unread(connect: Connect, served_anew: Callable[[], None]) -> None:
    """Replies that nobody read are dropped."""
    for _ in range(10):
        peer = connect("edu")
        peer.send(frame(REGION_READ, region_read(BAR0, 0, 65536)) * 100)
        peer.close()
        served_anew()


def test_with_a_reset_connection(connect: Connect, served_anew: Callable[[], None]) -> None:
    """A connection that ends by an error, not by an end of file, is an end like any other."""
    for _ in range(10):
        peer = connect("edu")
        peer.send_command(GET_INFO, S_INFO.pack(16, 0, 0, 0))
        select.select([peer.sock], [], [], LIMIT)
        peer.sock.shutdown(socket.SHUT_RDWR)
        peer.close()
        served_anew()


def test_memory_is_unmapped(connect: Connect, memory: Memory, process: Process) -> None:
    """All memory of the client is unmapped, and its descriptors are closed."""
    peer = connect("edu")
    wronly = os.open(f"/proc/self/fd/{memory.fd}", os.O_WRONLY)
    peer.map(AT, SIZE, memory.fd)
    peer.map(AT + SIZE, SIZE)
    peer.map(AT + 2 * SIZE, SIZE, wronly, WRITEABLE)
    os.close(wronly)
    assert "memfd:guest" in process.maps()
    peer.close()
    after = connect("edu")
    wait_until(lambda: "memfd:guest" not in process.maps())
    assert after.unmapped(AT, SIZE) == 0
    after.edu_store(AT, 64)
    assert after.is_quiet()
    after.map(AT, 3 * SIZE)


def test_memory_is_not_written_afterwards(connect: Connect, memory: Memory) -> None:
    """What a device had begun to write does not reach memory of a client that is gone."""
    for _ in range(20):
        disk = Disk(connect("nvme"), shared=True)
        disk.post_reads(8)
        disk.peer.close()
        connect("nvme").close()
        os.pwrite(disk.data, b"\x5a" * disk.DATA_SIZE, 0)
        peer = connect("nvme")
        peer.ok(RESET)
        peer.close()
        assert os.pread(disk.data, disk.DATA_SIZE, 0) == b"\x5a" * disk.DATA_SIZE
        disk.close()


def test_eventfds_are_closed(connect: Connect, events: Events, process: Process) -> None:
    """Eventfds of the client are closed: it is told of no interrupt any more."""
    fd = events.new()
    peer = connect("edu")
    for kind in (INTX, MSI, ERR, REQ):
        peer.ok(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, kind), (fd,))
    peer.close()
    after = connect("edu")
    after.write(BAR0, EDU_IRQ_RAISE, u32(1))
    after.ok(SET_IRQS, set_irqs(DATA_NONE | TRIGGER, MSI))
    wait_until(lambda: process.fd_count() == process.idle_fds + 1)
    assert not signalled(fd)


def test_device_s_state_is_kept(connect: Connect) -> None:
    """Registers and configuration space are as the last client left them."""
    peer = connect("edu")
    peer.ok(RESET)
    peer.write(BAR0, EDU_LIVENESS, u32(0x1234))
    peer.write(CONFIG, 0x10, u32(0xFE000000))
    peer.write(CONFIG, 4, b"\6\0")
    peer.close()
    after = connect("edu")
    assert after.read(BAR0, EDU_LIVENESS, 4) == u32(0x1234 ^ 0xFFFFFFFF)
    assert after.read(CONFIG, 0x10, 4) == u32(0xFE000000)
    assert after.read(CONFIG, 4, 2) == b"\6\0"


def test_raised_interrupt_is_kept(connect: Connect, events: Events) -> None:
    """An INTx that is asserted is state of the device: the next client is told once it listens."""
    peer = connect("edu")
    peer.ok(RESET)
    peer.write(BAR0, EDU_IRQ_RAISE, u32(1))
    peer.close()
    after = connect("edu")
    fd = events.new()
    after.ok(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, INTX), (fd,))
    assert signalled(fd) == 1


def test_masks_of_the_client_are_not_kept(connect: Connect, events: Events) -> None:
    """What SET_IRQS did is the session's: the next client begins without masks and eventfds."""
    peer = connect("edu")
    peer.ok(RESET)
    peer.ok(SET_IRQS, set_irqs(DATA_NONE | MASK, INTX))
    peer.close()
    after = connect("edu")
    fd = events.new()
    after.ok(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, INTX), (fd,))
    after.write(BAR0, EDU_IRQ_RAISE, u32(1))
    assert wait_signal(fd) == 1


def test_negotiation_is_not_kept(connect: Connect) -> None:
    """Capabilities are the session's."""
    connect("edu").close()
    peer = connect("edu", {})
    peer.fails(REGION_WRITE_MULTI, write_multi([(BAR0, EDU_LIVENESS, u32(1))]), None)


def test_commands_that_came_whole_are_done(connect: Connect) -> None:
    """What a client had said before it hung up takes effect."""
    for i in range(20):
        peer = connect("edu")
        peer.send(frame(REGION_WRITE, region_write(BAR0, EDU_LIVENESS, u32(i)), 1, NO_REPLY) * 10)
        peer.close()
        after = connect("edu")
        assert after.read(BAR0, EDU_LIVENESS, 4) == u32(i ^ 0xFFFFFFFF)
        after.close()


def test_reconnection_at_once(connect: Connect) -> None:
    """A client that comes right after another one left is not taken for a second one."""
    for _ in range(200):
        connect("edu").close()


def test_server_s_end_is_seen_by_the_client(start: Callable[..., Process]) -> None:
    """When the server ends, its clients see their connections end."""
    process = start("edu", "socket=a")
    with Peer(process.folder / "a") as peer:
        process.process.terminate()
        with pytest.raises(Hangup):
            peer.receive()
        assert process.wait() == 0
