# SPDX-License-Identifier: BSD-3-Clause
"""DMA_READ: the server asks for the contents of memory that was not shared."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from disk import Disk
from outboard import wait_until
from peer import (
    BAR0,
    DMA_READ,
    DMA_WRITE,
    EDU_BUFFER,
    EDU_ID,
    EDU_TO_GUEST,
    ERROR,
    REGION_READ,
    REPLY,
    S_DMA,
    Hangup,
    Memory,
    Message,
    Peer,
    frame,
    region_read,
)
from served import Connect

AT, SIZE = 0x100000, 0x10000
DATA = bytes(range(256)) * 16


def fetch(edu: Peer, count: int = 64, at: int = AT) -> Message:
    """Has edu read, and returns the request that comes of it."""
    edu.edu_post(at, EDU_BUFFER, count, 0)
    return edu.expect(DMA_READ, at)


def buffer_of(edu: Peer, count: int) -> bytes:
    """What is in edu's buffer, by DMA_WRITE."""
    edu.edu_post(EDU_BUFFER, AT, count, EDU_TO_GUEST)
    data = edu.serve(edu.expect(DMA_WRITE, AT), bytes)
    wait_until(lambda: not edu.edu_busy())
    return data


@pytest.fixture
def guest(edu: Peer) -> Peer:
    """edu with memory that is reached by messages."""
    edu.map(AT, SIZE)
    return edu


# The request


@pytest.mark.parametrize("count", [1, 3, 8, 100, 4096])
def test_request_is_a_command_for_the_range(guest: Peer, count: int) -> None:
    """The request is a command that wants a reply; address and count are those of the transfer."""
    request = fetch(guest, count)
    assert request.payload == S_DMA.pack(AT, count)
    guest.serve(request, lambda address, n: DATA[:n])
    assert buffer_of(guest, count) == DATA[:count]


def test_address_was_mapped(guest: Peer) -> None:
    """What is not wholly within the client's maps is not asked for."""
    for at, count in ((AT - 1, 64), (AT + SIZE - 1, 2), (0, 4096), (AT + SIZE, 1)):
        guest.edu_fetch(at, count)
    assert guest.is_quiet()


def test_not_before_the_map(edu: Peer) -> None:
    """Before its first DMA_MAP, a client is asked for nothing."""
    edu.edu_fetch(AT, 64)
    assert edu.is_quiet()


def test_not_for_shared_memory(edu: Peer, memory: Memory) -> None:
    """Memory that the server can access by itself is not asked for."""
    edu.map(AT, SIZE, memory.fd)
    edu.edu_fetch(AT, 4096)
    assert edu.is_quiet()


def test_transfer_over_two_maps_is_two_requests(edu: Peer) -> None:
    """A request is within one map."""
    edu.map(AT, 4096)
    edu.map(AT + 4096, 4096)
    edu.edu_post(AT + 4000, EDU_BUFFER, 200, 0)
    for address, count in ((AT + 4000, 96), (AT + 4096, 104)):
        request = edu.expect(DMA_READ, address)
        assert S_DMA.unpack(request.payload)[1] == count
        edu.serve(request, lambda a, n: DATA[a - AT - 4000 :][:n])
    assert buffer_of(edu, 96)[:96] == DATA[:96]


def test_count_is_within_the_client_s_max_data_xfer_size(connect: Connect) -> None:
    """A longer transfer is asked for in pieces, in order."""
    peer = connect("edu", {"max_data_xfer_size": 1000})
    peer.map(AT, SIZE)
    peer.edu_post(AT, EDU_BUFFER, 4096, 0)
    counts = []
    for address in range(AT, AT + 4096, 1000):
        request = peer.expect(DMA_READ, address)
        counts.append(S_DMA.unpack(request.payload)[1])
        peer.serve(request, lambda a, n: DATA[a - AT :][:n])
    assert counts == [1000, 1000, 1000, 1000, 96]


def test_ids_of_requests_are_the_server_s_own(guest: Peer) -> None:
    """A request's id may be one that the client uses at the same time."""
    request = fetch(guest)
    guest.send(frame(REGION_READ, region_read(BAR0, EDU_ID, 4), request.id))
    reply = guest.receive()
    assert (reply.id, reply.command, reply.flags) == (request.id, REGION_READ, REPLY)
    guest.serve(request, lambda a, n: DATA[:n])
    assert buffer_of(guest, 64) == DATA[:64]


# The reply


def test_reply_may_come_in_pieces(guest: Peer) -> None:
    """A stream has no boundaries: the client's reply may come byte by byte."""
    request = fetch(guest)
    reply = frame(DMA_READ, S_DMA.pack(AT, 64) + DATA[:64], request.id, REPLY)
    for i in range(len(reply)):
        guest.send(reply[i : i + 1])
    assert buffer_of(guest, 64) == DATA[:64]


@pytest.mark.parametrize("error", [0, errno.EFAULT, errno.EIO, 0xFFFFFFFF])
def test_error_fails_the_transfer(guest: Peer, error: int) -> None:
    """An error reply, with or without a number, ends the device's transfer and nothing else."""
    guest.answer(fetch(guest), b"", REPLY | ERROR, error)
    wait_until(lambda: not guest.edu_busy())
    assert guest.is_quiet()
    guest.serve(fetch(guest), lambda a, n: DATA[:n])
    assert buffer_of(guest, 64) == DATA[:64]


@pytest.mark.parametrize("count", [0, 1, 63])
def test_less_than_was_asked_for_fails_the_transfer(guest: Peer, count: int) -> None:
    """count in the reply is what was transferred: less is a failure of the device's transfer."""
    guest.answer(fetch(guest), S_DMA.pack(AT, count) + DATA[:count])
    wait_until(lambda: not guest.edu_busy())
    guest.still_served()


WRONG = {
    "another address": S_DMA.pack(AT + 1, 64) + DATA[:64],
    "more than asked for": S_DMA.pack(AT, 65) + DATA[:65],
    "count above the data": S_DMA.pack(AT, 64) + DATA[:63],
    "count below the data": S_DMA.pack(AT, 64) + DATA[:65],
    "no data": S_DMA.pack(AT, 64),
    "no payload": b"",
    "half a structure": S_DMA.pack(AT, 64)[:8],
    "a huge count": S_DMA.pack(AT, 2**64 - 1) + DATA[:64],
    "a count of 2^32 more": S_DMA.pack(AT, 2**32 + 64) + DATA[:64],
}


@pytest.mark.parametrize("payload", WRONG.values(), ids=WRONG)
def test_reply_that_is_none_ends_the_session(
    guest: Peer, next_client: Callable[[], None], payload: bytes
) -> None:
    """A reply that does not fit its request is a violation, and ends the session."""
    guest.answer(fetch(guest), payload)
    with pytest.raises(Hangup):
        guest.receive()
    next_client()


@pytest.mark.parametrize("what", ["id", "command", "twice"])
def test_reply_belongs_to_a_request(
    guest: Peer, next_client: Callable[[], None], what: str
) -> None:
    """A reply has id and command of a request that waits for one."""
    request = fetch(guest)
    payload = S_DMA.pack(AT, 64) + DATA[:64]
    message_id = request.id ^ 1 if what == "id" else request.id
    command = DMA_WRITE if what == "command" else DMA_READ
    good = frame(DMA_READ, payload, request.id, REPLY)
    guest.send(good + good if what == "twice" else frame(command, payload, message_id, REPLY))
    with pytest.raises(Hangup):
        guest.receive()
    next_client()


def test_reserved_flags_of_the_reply_are_ignored(guest: Peer) -> None:
    """Bits of the flags that have no meaning yet change nothing in replies, either."""
    guest.answer(fetch(guest), S_DMA.pack(AT, 64) + DATA[:64], REPLY | 1 << 20, 5)
    assert buffer_of(guest, 64) == DATA[:64]


# The device's many


@pytest.mark.parametrize("order", ["as they come", "reversed"])
def test_replies_may_come_in_any_order(connect: Connect, order: str) -> None:
    """Of several requests under way, any may be answered first."""
    disk = Disk(connect("nvme"), shared=False)
    if order == "reversed":
        disk.order = lambda batch: batch[::-1]
    content = DATA * 2
    for i in range(8):
        disk.store(disk.DATA + i * 8192, content)
        assert disk.transfer(0x01, i * 16, 16, i * 8192) == 0
    disk.store(disk.DATA, bytes(8 * 8192))
    disk.post_reads(8, 8)
    assert disk.finish_reads() == [0] * 8
    for i in range(8):
        assert disk.load(disk.DATA + i * 4096, 4096) == DATA
    assert disk.requests
    disk.close()
