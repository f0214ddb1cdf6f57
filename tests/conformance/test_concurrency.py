# SPDX-License-Identifier: BSD-3-Clause
"""Command concurrency: pipelines, their order, and commands of both sides at the same time."""

from __future__ import annotations

import os
import threading

import pytest
from disk import Disk
from outboard import LIMIT, wait_until
from peer import (
    BAR0,
    DATA_NONE,
    DMA_MAP,
    DMA_READ,
    DMA_UNMAP,
    DMA_WRITE,
    EDU_BAR_SIZE,
    EDU_BUFFER,
    EDU_ID,
    EDU_LIVENESS,
    EDU_TO_GUEST,
    ERROR,
    GET_INFO,
    GET_IRQ_INFO,
    GET_REGION_INFO,
    GET_REGION_IO_FDS,
    MSI,
    NO_REPLY,
    REGION_READ,
    REGION_WRITE,
    REGION_WRITE_MULTI,
    REPLY,
    RESET,
    SET_IRQS,
    S_DMA,
    S_INFO,
    TRIGGER,
    UNMAP_ALL,
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
    u32,
    write_multi,
)
from served import Connect

AT, SIZE = 0x100000, 0x10000
INFO = S_INFO.pack(16, 0, 0, 0)

COMMANDS = {
    "GET_INFO": (GET_INFO, INFO),
    "GET_REGION_INFO": (GET_REGION_INFO, get_region_info(BAR0)),
    "GET_REGION_IO_FDS": (GET_REGION_IO_FDS, get_io_fds(BAR0)),
    "GET_IRQ_INFO": (GET_IRQ_INFO, get_irq_info(MSI)),
    "SET_IRQS": (SET_IRQS, set_irqs(DATA_NONE | TRIGGER, MSI)),
    "REGION_READ": (REGION_READ, region_read(BAR0, EDU_ID, 4)),
    "REGION_WRITE": (REGION_WRITE, region_write(BAR0, EDU_LIVENESS, u32(1))),
    "REGION_WRITE_MULTI": (REGION_WRITE_MULTI, write_multi([(BAR0, EDU_LIVENESS, u32(1))])),
    "DMA_MAP": (DMA_MAP, dma_map(AT + SIZE, SIZE)),
    "DMA_UNMAP of another": (DMA_UNMAP, dma_unmap(AT - SIZE, SIZE)),
    "DMA_UNMAP of the same": (DMA_UNMAP, dma_unmap(AT, SIZE)),
    "DMA_UNMAP of all": (DMA_UNMAP, dma_unmap(0, 0, UNMAP_ALL)),
    "RESET": (RESET, b""),
}


def test_pipelined_commands_are_replied_to_in_order(edu: Peer) -> None:
    """Commands may be sent without waiting; they are handled, and replied to, in their order."""
    edu.send(
        b"".join(
            frame(REGION_WRITE, region_write(BAR0, EDU_LIVENESS, u32(i)), 2 * i)
            + frame(REGION_READ, region_read(BAR0, EDU_LIVENESS, 4), 2 * i + 1)
            for i in range(500)
        )
    )
    for i in range(500):
        assert edu.receive().id == 2 * i
        reply = edu.receive()
        assert (reply.id, reply.payload[16:]) == (2 * i + 1, u32(i ^ 0xFFFFFFFF))


def test_command_without_reply_is_done_before_the_next_reply(edu: Peer) -> None:
    """When a reply is there, every command before its own has been handled."""
    for i in range(100):
        edu.send_command(
            REGION_WRITE, region_write(BAR0, EDU_LIVENESS, u32(i)), flags=NO_REPLY
        )
        assert edu.read(BAR0, EDU_LIVENESS, 4) == u32(i ^ 0xFFFFFFFF)


def test_errors_keep_their_place(edu: Peer) -> None:
    """A command that fails does not disturb the order of replies, nor the commands behind it."""
    for i in range(100):
        region = 1000 if i % 3 == 0 else BAR0
        edu.send(frame(REGION_READ, region_read(region, 0, 4), i))
    for i in range(100):
        reply = edu.receive()
        assert (reply.id, bool(reply.flags & ERROR)) == (i, i % 3 == 0)


def test_pipeline_may_be_longer_than_any_buffer(edu: Peer) -> None:
    """A client that reads while it writes can have any number of commands under way."""
    count = 20000
    commands = frame(REGION_READ, region_read(BAR0, 0, 64), 3) * count
    writer = threading.Thread(target=edu.send, args=(commands,))
    writer.start()
    for _ in range(count):
        assert edu.receive().id == 3
    writer.join()
    edu.still_served()


def test_large_transfers_may_be_pipelined(edu: Peer) -> None:
    """Reads of the largest size may be under way together."""
    most = edu.version["capabilities"]["max_data_xfer_size"]
    command = frame(REGION_READ, region_read(BAR0, EDU_BAR_SIZE - most, most), 4)
    writer = threading.Thread(target=edu.send, args=(command * 12,))
    writer.start()
    for _ in range(12):
        assert len(edu.receive().payload) == 16 + most
    writer.join()


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_are_handled_while_the_server_waits(edu: Peer, name: str) -> None:
    """A request of the server's that is not answered yet holds up none of the client's commands."""
    edu.map(AT, SIZE)
    edu.map(AT - SIZE, SIZE)
    edu.edu_post(AT, EDU_BUFFER, 64, 0)
    request = edu.expect(DMA_READ, AT)
    edu.ok(*COMMANDS[name])
    for other in ("GET_INFO", "REGION_READ", "REGION_WRITE"):
        edu.ok(*COMMANDS[other])
    edu.serve(request, lambda address, count: bytes(count))
    wait_until(lambda: not edu.edu_busy())


def test_reply_may_stand_behind_a_command(edu: Peer) -> None:
    """A client that was about to send a command when it was asked sends that first: no deadlock."""
    edu.map(AT, SIZE)
    for name, (command, payload) in COMMANDS.items():
        if command in (DMA_MAP, DMA_UNMAP):
            continue
        edu.edu_post(AT, EDU_BUFFER, 64, 0)
        request = edu.expect(DMA_READ, AT)
        answer = frame(DMA_READ, S_DMA.pack(AT, 64) + bytes(64), request.id, REPLY)
        edu.send(frame(command, payload, 9) + answer + frame(GET_INFO, INFO, 10))
        assert [edu.receive().id for _ in range(2)] == [9, 10], name
        wait_until(lambda: not edu.edu_busy())


def test_requests_come_between_commands_and_their_replies(edu: Peer) -> None:
    """The server's requests may come while replies are waited for, and the other way round."""
    edu.map(AT, SIZE)
    content = os.urandom(4096)
    edu.edu_post(AT, EDU_BUFFER, 4096, 0)
    for i in range(50):
        edu.send(frame(REGION_READ, region_read(BAR0, 0, 4), 1000 + i))
    replies, requests = [], []
    while len(replies) < 50 or not requests:
        message = edu.receive()
        if message.flags & 0xF == REPLY:
            replies.append(message.id)
        else:
            requests.append(message)
            edu.serve(message, lambda address, count: content[:count])
    assert replies == list(range(1000, 1050))
    assert len(requests) == 1
    edu.edu_post(EDU_BUFFER, AT, 4096, EDU_TO_GUEST)
    assert edu.serve(edu.expect(DMA_WRITE, AT), bytes) == content


def test_half_a_command_holds_no_request_up(edu: Peer) -> None:
    """While the client is in the midst of sending a command, the server may ask for something."""
    edu.map(AT, SIZE)
    edu.edu_post(AT, EDU_BUFFER, 64, 0)
    command = frame(GET_INFO, INFO, 11)
    edu.send(command[:20])
    request = edu.expect(DMA_READ, AT)
    edu.send(command[20:])
    edu.serve(request, lambda address, count: bytes(count))
    assert edu.receive().id == 11


def test_client_that_reads_no_replies_stops_only_itself(edu: Peer, connect: Connect) -> None:
    """A client whose replies pile up is not read from any more; other devices go on."""
    edu.sock.setblocking(False)
    command = frame(REGION_READ, region_read(BAR0, 0, 65536), 5)
    sent = 0
    try:
        while sent < 1 << 24:
            sent += edu.sock.send(command * 100)
    except BlockingIOError:
        pass
    assert sent < 1 << 24
    other = connect("nvme")
    for _ in range(100):
        other.still_served()
    # It goes on where it stopped when the client reads again.
    edu.sock.setblocking(True)
    edu.sock.settimeout(LIMIT)
    whole, rest = divmod(sent, len(command))
    for _ in range(whole):
        assert len(edu.receive().payload) == 16 + 65536
    edu.send(command[rest:] if rest else b"")
    if rest:
        assert edu.receive().id == 5
    edu.still_served()


def test_devices_do_not_wait_for_each_other(connect: Connect) -> None:
    """A request that one client does not answer holds up no other client."""
    edu, other = connect("edu"), connect("nvme")
    edu.map(AT, SIZE)
    edu.edu_post(AT, EDU_BUFFER, 64, 0)
    request = edu.expect(DMA_READ, AT)
    disk = Disk(other, shared=False)
    assert disk.transfer(0x02, 0, 8) == 0
    disk.close()
    edu.serve(request, lambda address, count: bytes(count))
    edu.still_served()
