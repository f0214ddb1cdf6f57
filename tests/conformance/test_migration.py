# SPDX-License-Identifier: BSD-3-Clause
"""Migration: the states of a device, its stream, and the log of what it writes."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterator
from itertools import product

import pytest
from peer import (
    BAR0,
    DEVICE_FEATURE,
    ERROR,
    FEATURE_GET,
    FEATURE_LOGGING_REPORT,
    FEATURE_LOGGING_START,
    FEATURE_LOGGING_STOP,
    FEATURE_MIGRATION,
    FEATURE_MIG_DEVICE_STATE,
    FEATURE_SET,
    MIG_DATA_READ,
    MIG_DATA_WRITE,
    RESET,
    S_MIG_DATA,
    Memory,
    Peer,
    feature,
    mig_data_read,
    u32,
    wait_until,
)

STATE_ERROR, STOP, RUNNING, STOP_COPY, RESUMING, PRE_COPY = 0, 1, 2, 3, 4, 6
STATES = [STOP, RUNNING, STOP_COPY, RESUMING, PRE_COPY]
DATA_SIZE = 9
PAGE = 4096
AT = 0x100000
PAGES = 64


def state(peer: Peer) -> int:
    reply = peer.ok(DEVICE_FEATURE, feature(FEATURE_GET | FEATURE_MIG_DEVICE_STATE))
    argsz, flags, device_state, _ = struct.unpack("<IIII", reply.payload)
    assert (argsz, flags) == (16, FEATURE_GET | FEATURE_MIG_DEVICE_STATE)
    return int(device_state)


def set_state(new: int) -> bytes:
    return feature(FEATURE_SET | FEATURE_MIG_DEVICE_STATE, struct.pack("<II", new, 0), 16)


def go(peer: Peer, new: int) -> None:
    request = set_state(new)
    assert peer.ok(DEVICE_FEATURE, request).payload == request
    assert state(peer) == new


def read_all(peer: Peer, size: int = 4096) -> bytes:
    """Reads until less comes than was asked for."""
    stream = b""
    while True:
        reply = peer.ok(MIG_DATA_READ, mig_data_read(size, 8 + size))
        argsz, got = S_MIG_DATA.unpack_from(reply.payload)
        assert argsz == 8 + got == len(reply.payload)
        assert got <= size
        stream += reply.payload[8:]
        if got < size:
            return stream


def write_all(peer: Peer, stream: bytes, size: int = 4096) -> None:
    for at in range(0, len(stream), size):
        piece = stream[at : at + size]
        reply = peer.ok(MIG_DATA_WRITE, S_MIG_DATA.pack(8, len(piece)) + piece)
        assert not reply.payload


def saved(peer: Peer) -> bytes:
    go(peer, STOP_COPY)
    stream = read_all(peer)
    go(peer, RUNNING)
    return stream


def test_states_that_are_supported(edu: Peer) -> None:
    """MIGRATION tells which optional states there are: STOP_COPY and PRE_COPY."""
    reply = edu.ok(DEVICE_FEATURE, feature(FEATURE_GET | FEATURE_MIGRATION))
    assert struct.unpack_from("<Q", reply.payload, 8)[0] == 1 | 4


@pytest.mark.parametrize("ends", product(STATES, STATES))
def test_the_shortest_way(edu: Peer, ends: tuple[int, int]) -> None:
    """Each state can be reached from each other one, by the arcs that there are, but PRE_COPY from
    STOP_COPY, which fails and changes nothing."""
    stream = saved(edu)
    go(edu, ends[0])
    if ends[0] == RESUMING and ends[1] != RESUMING:
        write_all(edu, stream)
    if ends == (STOP_COPY, PRE_COPY):
        edu.fails(DEVICE_FEATURE, set_state(PRE_COPY))
        assert state(edu) == STOP_COPY
    else:
        go(edu, ends[1])
    edu.ok(RESET)
    assert state(edu) == RUNNING


@pytest.mark.parametrize("number", [0, 5, 7, 8, 0x10002, 0xFFFFFFFF])
@pytest.mark.parametrize("start", STATES)
def test_states_that_are_none(edu: Peer, start: int, number: int) -> None:
    """ERROR and what is not used in vfio-user cannot be gone to."""
    go(edu, start)
    edu.fails(DEVICE_FEATURE, set_state(number))
    assert state(edu) == start
    edu.ok(RESET)


@pytest.mark.parametrize("length", [0, 4, 7, 9, 16])
def test_a_state_is_8_bytes(edu: Peer, length: int) -> None:
    """SET of the state has a state and a descriptor's number, which is not used."""
    edu.fails(
        DEVICE_FEATURE, feature(FEATURE_SET | FEATURE_MIG_DEVICE_STATE, (u32(STOP) * 4)[:length])
    )
    assert state(edu) == RUNNING


def test_incomplete_data_is_an_error(edu: Peer) -> None:
    """Data that is incomplete or wrong fails the change of state, and only a reset leads out of
    ERROR."""
    stream = saved(edu)
    for bad in (b"", stream[:-1], stream[: len(stream) // 2]):
        go(edu, RESUMING)
        write_all(edu, bad)
        edu.fails(DEVICE_FEATURE, set_state(STOP))
        assert state(edu) == STATE_ERROR
        for each in STATES:
            edu.fails(DEVICE_FEATURE, set_state(each))
        edu.ok(RESET)
        assert state(edu) == RUNNING


def test_altered_data_is_refused(edu: Peer) -> None:
    """What is not what was read is refused as soon as that is known."""
    stream = bytearray(saved(edu))
    go(edu, RESUMING)
    stream[40] ^= 1
    edu.fails(MIG_DATA_WRITE, S_MIG_DATA.pack(8, len(stream)) + stream)
    edu.fails(MIG_DATA_WRITE, S_MIG_DATA.pack(8, 1) + b"x")
    edu.fails(DEVICE_FEATURE, set_state(RUNNING))
    edu.ok(RESET)


@pytest.mark.parametrize("start", STATES)
def test_data_belongs_to_states(edu: Peer, start: int) -> None:
    """Data is read in the saving states, and written in RESUMING."""
    go(edu, start)
    if start in (STOP_COPY, PRE_COPY):
        assert edu.ok(MIG_DATA_READ, mig_data_read(8)).payload[8:] == b"outboard"
    else:
        edu.fails(MIG_DATA_READ, mig_data_read(8))
    if start == RESUMING:
        write_all(edu, b"outboard")
    else:
        edu.fails(MIG_DATA_WRITE, S_MIG_DATA.pack(8, 8) + b"outboard")
    edu.ok(RESET)


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
def test_data_is_a_stream(edu: Peer, size: int) -> None:
    """Data may be read and written in pieces of any size: together they are the same."""
    edu.write(BAR0, 4, u32(0x1234))
    go(edu, STOP_COPY)
    stream = read_all(edu, size)
    assert read_all(edu, size) == b""
    go(edu, RUNNING)
    assert saved(edu) == stream
    edu.ok(RESET)
    go(edu, RESUMING)
    write_all(edu, stream, size)
    go(edu, RUNNING)
    assert edu.read(BAR0, 4, 4) == u32(~0x1234 & 0xFFFFFFFF)


def test_pre_copy_goes_on_in_stop_copy(edu: Peer) -> None:
    """What is read in PRE_COPY is the beginning of what is read in STOP_COPY."""
    whole = saved(edu)
    go(edu, PRE_COPY)
    first = read_all(edu)
    go(edu, STOP_COPY)
    assert first + read_all(edu) == whole
    assert first
    edu.ok(RESET)


def test_a_stopped_device_does_nothing(edu: Peer) -> None:
    """A stopped device can be written to, and does what that means when it runs."""
    go(edu, STOP)
    edu.write(BAR0, 8, u32(5))
    for _ in range(10):
        edu.still_served()
    assert edu.read(BAR0, 0x20, 4) == u32(1)
    go(edu, RUNNING)
    wait_until(lambda: edu.read(BAR0, 0x20, 4) == u32(0))
    assert edu.read(BAR0, 8, 4) == u32(120)


def test_a_client_that_leaves_stops_nothing(connect: Callable[..., Peer]) -> None:
    """A device that its client had stopped runs when the client has gone; half loaded, it waits for
    a reset."""
    for left in (STOP, STOP_COPY, PRE_COPY, RESUMING):
        peer = connect("edu")
        go(peer, left)
        peer.close()
        peer = connect("edu")
        assert state(peer) == RUNNING
        peer.close()
    peer = connect("edu")
    go(peer, RESUMING)
    write_all(peer, b"outb")
    peer.close()
    peer = connect("edu")
    assert state(peer) == STATE_ERROR
    peer.ok(RESET)
    assert state(peer) == RUNNING


def test_data_size(edu: Peer) -> None:
    """MIG_DATA_SIZE tells about how much is still to come when the device is stopped."""

    def size() -> int:
        reply = edu.ok(DEVICE_FEATURE, feature(FEATURE_GET | DATA_SIZE))
        return int(struct.unpack_from("<Q", reply.payload, 8)[0])

    assert size() == 0
    go(edu, PRE_COPY)
    assert size() > 0
    go(edu, STOP_COPY)
    read_all(edu)
    assert size() == 0
    edu.ok(RESET)


# The log of pages


def start_logging(page_size: int, *ranges: tuple[int, int], count: int = -1) -> bytes:
    head = struct.pack("<QII", page_size, len(ranges) if count < 0 else count, 0)
    return feature(
        FEATURE_SET | FEATURE_LOGGING_START,
        head + b"".join(struct.pack("<QQ", *each) for each in ranges),
        1 << 16,
    )


def report_request(iova: int, length: int, page_size: int = PAGE, argsz: int = 1 << 20) -> bytes:
    return feature(
        FEATURE_GET | FEATURE_LOGGING_REPORT, struct.pack("<QQQ", iova, length, page_size), argsz
    )


def written(peer: Peer, iova: int, length: int, page_size: int = PAGE) -> set[int]:
    reply = peer.ok(DEVICE_FEATURE, report_request(iova, length, page_size))
    words = ((length + page_size - 1) // page_size + 63) // 64
    assert len(reply.payload) == 8 + 24 + 8 * words
    assert struct.unpack_from("<I", reply.payload)[0] == len(reply.payload)
    assert struct.unpack_from("<QQQ", reply.payload, 8) == (iova, length, page_size)
    bits = int.from_bytes(reply.payload[32:], "little")
    return {page for page in range(words * 64) if bits >> page & 1}


@pytest.fixture
def mapped(edu: Peer) -> Iterator[Peer]:
    guest = Memory(PAGES * PAGE)
    edu.map(AT, PAGES * PAGE, guest.fd)
    yield edu
    guest.close()


def test_writes_are_reported_once(mapped: Peer) -> None:
    """What the device writes is reported, once; what it reads is not."""
    mapped.ok(DEVICE_FEATURE, start_logging(PAGE, (AT, PAGES * PAGE)))
    assert written(mapped, AT, PAGES * PAGE) == set()
    mapped.edu_store(AT + 2 * PAGE, 8)
    mapped.edu_store(AT + 60 * PAGE - 4, 8)
    mapped.edu_fetch(AT + 7 * PAGE, 8)
    assert written(mapped, AT + 60 * PAGE, PAGE) == {0}
    assert written(mapped, AT, PAGES * PAGE) == {2, 59}
    assert written(mapped, AT, PAGES * PAGE) == set()


def test_messages_are_logged_too(edu: Peer) -> None:
    """Memory that is reached by messages is logged like other memory."""
    edu.map(AT, PAGES * PAGE)
    edu.ok(DEVICE_FEATURE, start_logging(PAGE, (AT, PAGES * PAGE)))
    edu.on_request = lambda request: edu.serve(request, lambda _, count: bytes(count)) and None
    edu.edu_store(AT + 5 * PAGE, 8)
    assert written(edu, AT, PAGES * PAGE) == {5}


def test_no_ranges_are_all_memory(mapped: Peer, memory: Memory) -> None:
    """Without ranges, all writes are logged, also those to memory that is mapped later."""
    mapped.ok(DEVICE_FEATURE, start_logging(PAGE))
    mapped.edu_store(AT + PAGE, 8)
    mapped.map(AT + PAGES * PAGE, PAGE, memory.fd)
    mapped.edu_store(AT + PAGES * PAGE, 8)
    assert written(mapped, AT, (PAGES + 1) * PAGE) == {1, PAGES}


@pytest.mark.parametrize("report", [64, 512, PAGE, 2 * PAGE, 16 * PAGE])
@pytest.mark.parametrize("log", [PAGE, 4 * PAGE])
def test_reports_may_have_other_pages(mapped: Peer, log: int, report: int) -> None:
    """The page size of a report need not be that of the log."""
    mapped.ok(DEVICE_FEATURE, start_logging(log, (AT, PAGES * PAGE)))
    mapped.edu_store(AT + 21 * PAGE, 8)
    first = 21 * PAGE // log * log
    expected = {at // report for at in range(first, first + log, min(PAGE, report))}
    assert written(mapped, AT, PAGES * PAGE, report) == expected
    assert written(mapped, AT, PAGES * PAGE, report) == set()


@pytest.mark.parametrize(
    ("asked", "chosen"), [(0, PAGE), (512, PAGE), (PAGE, PAGE), (5000, PAGE), (65536, 65536)]
)
def test_page_size_of_the_log(edu: Peer, asked: int, chosen: int) -> None:
    """The reply has the page size that is used: the one asked for where that can be."""
    request = start_logging(asked)
    reply = edu.ok(DEVICE_FEATURE, request).payload
    assert reply == request[:8] + struct.pack("<Q", chosen) + request[16:]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (start_logging(PAGE, (0, 0)), errno.EINVAL),
        (start_logging(PAGE, (1, PAGE)), errno.EINVAL),
        (start_logging(PAGE, (0, 100)), errno.EINVAL),
        (start_logging(PAGE, (0, 2 * PAGE), (PAGE, PAGE)), errno.EINVAL),
        (start_logging(PAGE, (2**64 - PAGE, 2 * PAGE)), errno.EOVERFLOW),
        (start_logging(PAGE, (0, 2**63)), errno.ENOSPC),
        (start_logging(PAGE, (0, PAGE), count=2), errno.EINVAL),
        (start_logging(PAGE, (0, PAGE), count=0), errno.EINVAL),
        (start_logging(PAGE, (0, PAGE), count=2**32 - 1), errno.EINVAL),
        (start_logging(PAGE, *((i * PAGE, PAGE) for i in range(257))), errno.E2BIG),
        (start_logging(PAGE)[:20], errno.EINVAL),
    ],
)
def test_ranges_that_are_refused(edu: Peer, request_: bytes, error: int) -> None:
    """Ranges are in whole pages, do not overlap, and can be remembered."""
    edu.fails(DEVICE_FEATURE, request_, error)
    edu.fails(DEVICE_FEATURE, report_request(0, PAGE))


def test_logging_is_on_or_off(mapped: Peer) -> None:
    """Reports need a log that is on; it is started once, and stopped as often as one likes."""
    mapped.fails(DEVICE_FEATURE, report_request(AT, PAGE))
    mapped.ok(DEVICE_FEATURE, start_logging(PAGE))
    mapped.fails(DEVICE_FEATURE, start_logging(PAGE), errno.EBUSY)
    mapped.edu_store(AT, 8)
    stop = feature(FEATURE_SET | FEATURE_LOGGING_STOP, argsz=8)
    assert mapped.ok(DEVICE_FEATURE, stop).payload == stop
    mapped.ok(DEVICE_FEATURE, stop)
    mapped.fails(DEVICE_FEATURE, report_request(AT, PAGE))
    mapped.ok(DEVICE_FEATURE, start_logging(PAGE))
    assert written(mapped, AT, PAGE) == set()


def test_reports_are_bounded(mapped: Peer) -> None:
    """A bitmap is at most max_bitmap_size long, and a report that argsz has no room for tells how
    much is needed, and forgets nothing."""
    mapped.ok(DEVICE_FEATURE, start_logging(PAGE))
    mapped.fails(DEVICE_FEATURE, report_request(0, 2**60), errno.E2BIG)
    mapped.fails(DEVICE_FEATURE, report_request(0, 0))
    mapped.fails(DEVICE_FEATURE, report_request(1, 2**64 - 1), errno.E2BIG)
    mapped.fails(DEVICE_FEATURE, report_request(2**64 - PAGE, 2 * PAGE), errno.EOVERFLOW)
    for page_size in (0, 3, 5000, 3 * PAGE):
        mapped.fails(DEVICE_FEATURE, report_request(AT, PAGE, page_size))
    mapped.edu_store(AT, 8)
    short = mapped.ok(DEVICE_FEATURE, report_request(AT, PAGE, argsz=39)).payload
    assert short == struct.pack("<II", 40, FEATURE_GET | FEATURE_LOGGING_REPORT)
    assert written(mapped, AT, PAGE) == {0}


def test_the_log_ends_with_its_client(connect: Callable[..., Peer]) -> None:
    """A client that leaves takes its log along."""
    peer = connect("edu")
    peer.ok(DEVICE_FEATURE, start_logging(PAGE))
    peer.close()
    peer = connect("edu")
    reply = peer.ask(DEVICE_FEATURE, report_request(0, PAGE))
    assert reply.flags & ERROR
    peer.ok(DEVICE_FEATURE, start_logging(PAGE))


def test_migration_is_agreed_on(connect: Callable[..., Peer]) -> None:
    """A server whose device migrates says so to a client that does, with the longest bitmap and the
    smallest page."""
    offered = {"migration": {"pgsize": 4096, "max_bitmap_size": 1000}}
    for device, caps in (("edu", offered), ("edu", {}), ("sampler", offered)):
        peer = connect(device, caps)
        agreed = peer.version["capabilities"].get("migration")
        if device == "edu" and caps:
            assert agreed == {"pgsize": 4096, "max_bitmap_size": 1000}
        else:
            assert agreed is None
        peer.close()
