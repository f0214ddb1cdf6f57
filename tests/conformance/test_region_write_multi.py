# SPDX-License-Identifier: BSD-3-Clause
"""REGION_WRITE_MULTI: small writes, many in one message."""

from __future__ import annotations

import errno
import struct

import pytest
from peer import (
    BAR0,
    CONFIG,
    EDU_BAR_SIZE,
    EDU_COUNT,
    EDU_LIVENESS,
    EDU_SOURCE,
    NO_REPLY,
    REGION_WRITE_MULTI,
    S_SMALL_WRITE,
    Peer,
    u32,
    u64,
    write_multi,
)
from served import Connect

LIVENESS = [(BAR0, EDU_LIVENESS, u32(i)) for i in range(200)]


def liveness(edu: Peer) -> int:
    return int.from_bytes(edu.read(BAR0, EDU_LIVENESS, 4), "little") ^ 0xFFFFFFFF


@pytest.mark.parametrize("count", [1, 2, 17, 200])
def test_reply_is_the_number_of_writes(edu: Peer, count: int) -> None:
    """The reply says, in 8 bytes, how many writes were done."""
    assert edu.ok(REGION_WRITE_MULTI, write_multi(LIVENESS[:count])).payload == u64(count)
    assert liveness(edu) == count - 1


def test_writes_are_done_in_order(edu: Peer) -> None:
    """Each write comes after the ones before it."""
    source, count = (BAR0, EDU_SOURCE, u64(1)), (BAR0, EDU_COUNT, u64(2))
    edu.ok(REGION_WRITE_MULTI, write_multi([source, count, (BAR0, EDU_SOURCE, u64(3))]))
    assert edu.read(BAR0, EDU_SOURCE, 8) + edu.read(BAR0, EDU_COUNT, 8) == u64(3) + u64(2)


@pytest.mark.parametrize("size", range(1, 9))
def test_writes_have_up_to_8_bytes(nvme: Peer, size: int) -> None:
    """Of each write's 8 bytes, the first count are data."""
    table, at = nvme.msix_table()
    nvme.write(table, at + 4, bytes(8))
    data = bytes(range(0x11, 0x11 + size))
    nvme.ok(REGION_WRITE_MULTI, write_multi([(table, at + 4, data)]))
    assert nvme.read(table, at + 4, 8) == data.ljust(8, b"\0")


def test_bytes_behind_count_are_ignored(edu: Peer) -> None:
    """What stands behind the data of a write has no meaning."""
    edu.write(BAR0, EDU_SOURCE, u64(0))
    one = S_SMALL_WRITE.pack(EDU_SOURCE, BAR0, 2, b"\1\2\3\4\5\6\7\x08")
    edu.ok(REGION_WRITE_MULTI, u64(1) + one)
    assert edu.read(BAR0, EDU_SOURCE, 8) == b"\1\2".ljust(8, b"\0")


@pytest.mark.parametrize("count", [9, 16, 0x80000000, 0xFFFFFFFF])
def test_more_than_8_bytes_are_refused(edu: Peer, count: int) -> None:
    """A write that claims more data than there is room for has the whole message refused."""
    edu.write(BAR0, EDU_LIVENESS, u32(77))
    good = S_SMALL_WRITE.pack(EDU_LIVENESS, BAR0, 4, u64(1))
    bad = S_SMALL_WRITE.pack(EDU_LIVENESS, BAR0, count, u64(2))
    edu.fails(REGION_WRITE_MULTI, u64(2) + good + bad)
    assert liveness(edu) == 77


@pytest.mark.parametrize(
    "number", [0, 1, 3, 4, 2**32, 2**63, 2**64 - 1, (2**64 + 48) // 24, 2**61]
)
def test_number_is_that_of_the_writes(edu: Peer, number: int) -> None:
    """wr_cnt and the size of the message agree."""
    edu.write(BAR0, EDU_LIVENESS, u32(77))
    edu.fails(REGION_WRITE_MULTI, u64(number) + write_multi(LIVENESS[:2])[8:])
    assert liveness(edu) == 77


@pytest.mark.parametrize("length", [0, 4, 7])
def test_request_has_8_bytes_at_least(edu: Peer, length: int) -> None:
    """The number of writes is not optional."""
    edu.fails(REGION_WRITE_MULTI, bytes(length))


def test_none_at_all(edu: Peer) -> None:
    """No writes are done successfully."""
    assert edu.ok(REGION_WRITE_MULTI, u64(0)).payload == u64(0)


def test_regions_may_differ(edu: Peer) -> None:
    """Each write names its region."""
    writes = [(BAR0, EDU_LIVENESS, u32(5)), (CONFIG, 0x3C, b"\x5a"), (BAR0, EDU_COUNT, u64(6))]
    assert edu.ok(REGION_WRITE_MULTI, write_multi(writes)).payload == u64(3)
    assert (liveness(edu), edu.read(CONFIG, 0x3C, 1)) == (5, b"\x5a")
    assert edu.read(BAR0, EDU_COUNT, 8) == u64(6)


BAD = {
    "region": (1000, 0, u32(0)),
    "absent region": (5, 0, u32(0)),
    "offset": (BAR0, EDU_BAR_SIZE - 2, u32(0)),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_number_of_the_reply_is_what_was_completed(edu: Peer, bad: tuple[int, int, bytes]) -> None:
    """A write that cannot be done ends the message: the reply says how many were done before it."""
    edu.write(BAR0, EDU_LIVENESS, u32(77))
    writes = [*LIVENESS[:3], bad, *LIVENESS[10:12]]
    assert edu.ok(REGION_WRITE_MULTI, write_multi(writes)).payload == u64(3)
    assert liveness(edu) == 2


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_first_write_that_fails_is_an_error(edu: Peer, bad: tuple[int, int, bytes]) -> None:
    """If nothing could be done, the command fails."""
    edu.write(BAR0, EDU_LIVENESS, u32(77))
    edu.fails(REGION_WRITE_MULTI, write_multi([bad, *LIVENESS[:2]]))
    assert liveness(edu) == 77


@pytest.mark.parametrize("caps", [{}, {"write_multiple": False}], ids=["missing", "false"])
def test_must_have_been_agreed_on(connect: Connect, caps: dict[str, bool]) -> None:
    """Without the capability write_multiple the command is not supported."""
    peer = connect("edu", caps)
    peer.fails(REGION_WRITE_MULTI, write_multi(LIVENESS[:1]), errno.ENOTSUP)


def test_may_be_posted(edu: Peer) -> None:
    """With No_reply, as clients send it, all writes are done before the next command."""
    for first in range(0, 200, 50):
        part = write_multi(LIVENESS[first : first + 50])
        edu.send_command(REGION_WRITE_MULTI, part, flags=NO_REPLY)
    assert liveness(edu) == 199


def test_layout_of_a_write(edu: Peer) -> None:
    """Each write takes 24 bytes: offset, region, count, and 8 bytes of data."""
    payload = struct.pack("<Q", 1) + struct.pack("<QII", EDU_LIVENESS, BAR0, 4)
    payload += b"\x2a\0\0\0" + bytes(4)
    assert len(payload) == 8 + 24
    assert edu.ok(REGION_WRITE_MULTI, payload).payload == u64(1)
    assert liveness(edu) == 42
