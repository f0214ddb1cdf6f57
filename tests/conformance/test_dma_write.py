# SPDX-License-Identifier: BSD-3-Clause
"""DMA_WRITE: the server has the client change memory that was not shared."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable

import pytest
from disk import Disk
from outboard import wait_until
from peer import (
    DMA_READ,
    DMA_WRITE,
    EDU_BUFFER,
    EDU_TO_GUEST,
    ERROR,
    REPLY,
    S_DMA,
    Hangup,
    Memory,
    Message,
    Peer,
    frame,
)
from served import Connect

AT, SIZE = 0x100000, 0x10000
DATA = bytes(range(256)) * 16


@pytest.fixture
def guest(edu: Peer) -> Peer:
    """edu with DATA in its buffer, and memory that is reached by messages."""
    edu.map(AT, SIZE)
    edu.edu_post(AT, EDU_BUFFER, 4096, 0)
    edu.serve(edu.expect(DMA_READ, AT), lambda address, count: DATA[:count])
    wait_until(lambda: not edu.edu_busy())
    return edu


def store(edu: Peer, count: int = 64, at: int = AT) -> Message:
    """Has edu write, and returns the request that comes of it."""
    edu.edu_post(EDU_BUFFER, at, count, EDU_TO_GUEST)
    return edu.expect(DMA_WRITE, at)


@pytest.mark.parametrize("count", [1, 3, 8, 100, 4096])
def test_request_is_a_command_with_the_data(guest: Peer, count: int) -> None:
    """The request is a command that wants a reply: address, count, and count bytes."""
    request = store(guest, count)
    assert request.payload == S_DMA.pack(AT, count) + DATA[:count]
    guest.serve(request, bytes)
    wait_until(lambda: not guest.edu_busy())


def test_address_was_mapped(guest: Peer) -> None:
    """What is not wholly within the client's maps is not written."""
    for at, count in ((AT - 1, 64), (AT + SIZE - 1, 2), (0, 4096), (AT + SIZE, 1)):
        guest.edu_store(at, count)
    assert guest.is_quiet()


def test_not_for_shared_memory(edu: Peer, memory: Memory) -> None:
    """Memory that the server can access by itself is not written by messages."""
    edu.map(AT, SIZE, memory.fd)
    edu.edu_store(AT, 4096)
    assert edu.is_quiet()


def test_count_is_within_the_client_s_max_data_xfer_size(connect: Connect) -> None:
    """A longer transfer comes in pieces, in order."""
    peer = connect("edu", {"max_data_xfer_size": 1000})
    peer.map(AT, SIZE)
    peer.edu_post(EDU_BUFFER, AT, 4096, EDU_TO_GUEST)
    counts = []
    for address in range(AT, AT + 4096, 1000):
        counts.append(len(peer.serve(peer.expect(DMA_WRITE, address), bytes)))
    assert counts == [1000, 1000, 1000, 1000, 96]


@pytest.mark.parametrize("layout", ["<QI", "<QQ"], ids=["12 bytes", "16 bytes"])
def test_reply_s_count_may_have_4_or_8_bytes(guest: Peer, layout: str) -> None:
    """The reply's count has 4 bytes by the specification and 8 in many clients: both are taken."""
    guest.answer(store(guest), struct.pack(layout, AT, 64))
    wait_until(lambda: not guest.edu_busy())
    guest.still_served()


@pytest.mark.parametrize("error", [0, errno.EFAULT, 0xFFFFFFFF])
def test_error_fails_the_transfer(guest: Peer, error: int) -> None:
    """An error reply, with or without a number, ends the device's transfer and nothing else."""
    guest.answer(store(guest), b"", REPLY | ERROR, error)
    wait_until(lambda: not guest.edu_busy())
    guest.serve(store(guest), bytes)
    guest.still_served()


@pytest.mark.parametrize("count", [0, 1, 63])
def test_less_than_was_sent_fails_the_transfer(guest: Peer, count: int) -> None:
    """count in the reply is what was transferred: less is a failure of the device's transfer."""
    guest.answer(store(guest), S_DMA.pack(AT, count))
    wait_until(lambda: not guest.edu_busy())
    guest.still_served()


WRONG = {
    "another address": S_DMA.pack(AT + 1, 64),
    "more than was sent": S_DMA.pack(AT, 65),
    "a huge count": S_DMA.pack(AT, 2**64 - 1),
    "no payload": b"",
    "half a structure": S_DMA.pack(AT, 64)[:8],
    "data": S_DMA.pack(AT, 64) + DATA[:64],
}


@pytest.mark.parametrize("payload", WRONG.values(), ids=WRONG)
def test_reply_that_is_none_ends_the_session(
    guest: Peer, next_client: Callable[[], None], payload: bytes
) -> None:
    """A reply that does not fit its request is a violation, and ends the session."""
    guest.answer(store(guest), payload)
    with pytest.raises(Hangup):
        guest.receive()
    next_client()


@pytest.mark.parametrize("what", ["id", "command", "twice"])
def test_reply_belongs_to_a_request(
    guest: Peer, next_client: Callable[[], None], what: str
) -> None:
    """A reply has id and command of a request that waits for one."""
    request = store(guest)
    message_id = request.id ^ 1 if what == "id" else request.id
    command = DMA_READ if what == "command" else DMA_WRITE
    wrong = frame(command, S_DMA.pack(AT, 64), message_id, REPLY)
    guest.send(wrong + wrong if what == "twice" else wrong)
    with pytest.raises(Hangup):
        guest.receive()
    next_client()


def test_device_that_shares_no_memory_works_as_a_whole(connect: Connect) -> None:
    """A disk whose queues, lists and data are all reached by messages reads and writes."""
    disk = Disk(connect("nvme"), shared=False)
    disk.store(disk.DATA, DATA + DATA[::-1])
    assert disk.transfer(0x01, 100, 16) == 0
    disk.store(disk.DATA, bytes(8192))
    assert disk.transfer(0x02, 100, 16) == 0
    assert disk.load(disk.DATA, 8192) == DATA + DATA[::-1]
    disk.close()
