# SPDX-License-Identifier: BSD-3-Clause
"""REGION_WRITE: any part of a region, by message."""

from __future__ import annotations

import pytest
from peer import (
    BAR0,
    CONFIG,
    EDU_BAR_SIZE,
    EDU_COUNT,
    EDU_LIVENESS,
    NO_REPLY,
    REGION_WRITE,
    REGION_WRITEABLE,
    S_ACCESS,
    VGA,
    Peer,
    frame,
    region_write,
    u32,
    u64,
)


def writeable(peer: Peer) -> list[tuple[int, int]]:
    """Index and size of each region that can be written."""
    infos = [peer.region_info(index) for index in range(peer.num_regions())]
    return [(info[2], info[4]) for info in infos if info[1] & REGION_WRITEABLE]


def test_reply_echoes_the_request(device: Peer) -> None:
    """Offset, region and count of the request stand in the reply, and nothing else."""
    for region, size in writeable(device):
        at = size - 8
        for count in (1, 2, 4, 8):
            data = device.read(region, at, count)
            reply = device.ok(REGION_WRITE, region_write(region, at, data))
            assert reply.payload == S_ACCESS.pack(at, region, count)


@pytest.mark.parametrize("count", range(1, 9))
def test_any_size_and_alignment_of_a_bar(nvme: Peer, count: int) -> None:
    """A write of any bytes changes those bytes and no others."""
    table, at = nvme.msix_table()
    for offset in range(9 - count):
        before = bytes(range(0x11, 0x19))
        nvme.write(table, at + 4, before)
        data = bytes(0xA0 + i for i in range(count))
        nvme.write(table, at + 4 + offset, data)
        expected = before[:offset] + data + before[offset + count :]
        assert nvme.read(table, at + 4, 8) == expected


def test_any_size_and_alignment_of_registers(edu: Peer) -> None:
    """A write that covers part of a register changes that part."""
    for offset in range(4):
        for count in range(1, 5 - offset):
            edu.write(BAR0, EDU_COUNT, u32(0x44332211))
            edu.write(BAR0, EDU_COUNT + offset, b"\xee" * count)
            expected = bytearray(b"\x11\x22\x33\x44")
            expected[offset : offset + count] = b"\xee" * count
            assert edu.read(BAR0, EDU_COUNT, 4) == expected


@pytest.mark.parametrize("count", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("offset", range(4))
def test_any_size_and_alignment_of_configuration_space(
    device: Peer, offset: int, count: int
) -> None:
    """A write of any bytes changes the writeable ones of them; a BAR's address is all of those."""
    at = 0x10
    device.write(CONFIG, at, bytes(8))
    device.write(CONFIG, at + offset, b"\xff" * count)
    size = device.region_info(BAR0)[4]
    address = int.from_bytes(bytes(offset) + b"\xff" * count, "little") & ~(size - 1)
    found = device.read(CONFIG, at, 8)
    wide = found[0] & 6 == 4
    mask = (1 << 64) - 16 if wide else (1 << 32) - 16
    assert int.from_bytes(found, "little") & mask == address & mask & (2**64 - 1)


def test_read_only_bytes_stay(device: Peer) -> None:
    """Writing what is read-only in configuration space is no error and changes nothing."""
    before = device.read(CONFIG, 0, 4)
    device.write(CONFIG, 0, b"\xff" * 4)
    assert device.read(CONFIG, 0, 4) == before


def test_count_up_to_max_data_xfer_size(edu: Peer) -> None:
    """A write of max_data_xfer_size bytes works."""
    most = edu.version["capabilities"]["max_data_xfer_size"]
    data = bytearray(most)
    data[EDU_COUNT : EDU_COUNT + 8] = u64(0x1234)
    edu.write(BAR0, EDU_BAR_SIZE - most, bytes(data))
    assert edu.read(BAR0, EDU_BAR_SIZE - most + EDU_COUNT, 8) == u64(0x1234)


def test_count_beyond_max_data_xfer_size_ends_in_an_error(edu: Peer) -> None:
    """More data than max_data_xfer_size is refused; nothing of it is written."""
    most = edu.version["capabilities"]["max_data_xfer_size"]
    lie = S_ACCESS.pack(0, BAR0, most + 1) + bytes(64)
    edu.fails(REGION_WRITE, lie)


@pytest.mark.parametrize("have", [0, 1, 3, 5, 8, 100])
def test_count_is_the_size_of_the_data(edu: Peer, have: int) -> None:
    """The message holds exactly count bytes of data."""
    edu.write(BAR0, EDU_LIVENESS, u32(7))
    edu.fails(REGION_WRITE, S_ACCESS.pack(EDU_LIVENESS, BAR0, 4) + bytes(have))
    assert edu.read(BAR0, EDU_LIVENESS, 4) == u32(7 ^ 0xFFFFFFFF)


@pytest.mark.parametrize("length", [0, 8, 12, 15])
def test_request_has_16_bytes_at_least(device: Peer, length: int) -> None:
    """A request shorter than its structure is refused."""
    device.fails(REGION_WRITE, region_write(BAR0, 0, b"")[:length])


@pytest.mark.parametrize(("offset", "count"), [(-4, 8), (-1, 2), (0, 1), (8, 4), (2**63, 4)])
def test_past_the_end_fails(device: Peer, offset: int, count: int) -> None:
    """A write that is not wholly within the region is refused, and nothing of it is done."""
    for region, size in writeable(device):
        before = device.read(region, size - 8, 8)
        device.fails(REGION_WRITE, region_write(region, (size + offset) % 2**64, bytes(count)))
        assert device.read(region, size - 8, 8) == before


@pytest.mark.parametrize("region", [1000, 0x80000000, 0xFFFFFFFF])
def test_unknown_regions_fail(device: Peer, region: int) -> None:
    """There are as many regions as DEVICE_GET_INFO says."""
    device.fails(REGION_WRITE, region_write(region, 0, u32(0)))
    device.fails(REGION_WRITE, region_write(device.num_regions(), 0, u32(0)))


def test_absent_regions_fail(edu: Peer) -> None:
    """A region without a size has nothing to write."""
    for region in (1, 5, VGA):
        edu.fails(REGION_WRITE, region_write(region, 0, b"\0"))


def test_nothing_can_be_written(device: Peer) -> None:
    """A count of 0 within the region is no error."""
    for region, size in writeable(device):
        for offset in (0, size):
            reply = device.ok(REGION_WRITE, region_write(region, offset, b""))
            assert reply.payload == S_ACCESS.pack(offset, region, 0)


def test_writes_may_be_posted(edu: Peer) -> None:
    """Many writes with No_reply are done in order before a read behind them."""
    writes = (region_write(BAR0, EDU_LIVENESS, u32(i)) for i in range(1000))
    edu.send(b"".join(frame(REGION_WRITE, one, 1, NO_REPLY) for one in writes))
    assert edu.read(BAR0, EDU_LIVENESS, 4) == u32(999 ^ 0xFFFFFFFF)


def test_bars_need_no_address(edu: Peer) -> None:
    """The region's index says which BAR is meant, whether or not it was given an address or
    enabled."""
    assert edu.read(CONFIG, 4, 2) == b"\0\0"
    assert not int.from_bytes(edu.read(CONFIG, 0x10, 4), "little") & ~15
    edu.write(BAR0, EDU_LIVENESS, u32(3))
    assert edu.read(BAR0, EDU_LIVENESS, 4) == u32(3 ^ 0xFFFFFFFF)
