# SPDX-License-Identifier: BSD-3-Clause
"""REGION_READ: any part of a region, by message."""

from __future__ import annotations

import pytest
from peer import (
    BAR0,
    CONFIG,
    EDU_BAR_SIZE,
    EDU_IRQ_RAISE,
    EDU_LIVENESS,
    NO_REPLY,
    REGION_READ,
    REGION_READABLE,
    REGION_WRITE,
    S_ACCESS,
    VGA,
    Peer,
    frame,
    region_read,
    region_write,
    u32,
)
from served import Connect

def readable(peer: Peer) -> list[tuple[int, int]]:
    """Index and size of each region that can be read."""
    infos = [peer.region_info(index) for index in range(peer.num_regions())]
    return [(info[2], info[4]) for info in infos if info[1] & REGION_READABLE]


def test_reply_echoes_the_request(device: Peer) -> None:
    """Offset, region and count of the request stand in the reply, followed by count bytes."""
    for region, size in readable(device):
        for offset, count in ((0, 4), (8, 8), (size - 2, 2), (3, 1)):
            reply = device.ok(REGION_READ, region_read(region, offset, count))
            assert S_ACCESS.unpack_from(reply.payload) == (offset, region, count)
            assert len(reply.payload) == 16 + count


@pytest.mark.parametrize("count", range(1, 18))
@pytest.mark.parametrize("offset", [*range(9), 0x3D])
def test_any_size_and_alignment_of_configuration_space(
    device: Peer, offset: int, count: int
) -> None:
    """A read of any bytes of configuration space gives what a read of all of it has there."""
    whole = device.read(CONFIG, 0, 256)
    assert device.read(CONFIG, offset, count) == whole[offset : offset + count]


@pytest.mark.parametrize("count", range(1, 18))
def test_any_size_and_alignment_of_a_bar(edu: Peer, count: int) -> None:
    """A read of any bytes of a BAR gives what reads of its registers have there."""
    edu.write(BAR0, EDU_LIVENESS, u32(0x89ABCDEF))
    edu.write(BAR0, EDU_IRQ_RAISE, u32(0x01020304))
    whole = b"".join(edu.read(BAR0, offset, 4) for offset in range(0, 64, 4))
    for offset in range(64 - count):
        assert edu.read(BAR0, offset, count) == whole[offset : offset + count]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13, 16])
def test_any_size_and_alignment_of_registers(nvme: Peer, count: int) -> None:
    """The same of an nvme's registers, whose device takes 4 and 8 bytes only."""
    whole = nvme.read(BAR0, 0, 64)
    for offset in range(0, 64 - count):
        assert nvme.read(BAR0, offset, count) == whole[offset : offset + count]


def test_whole_regions_can_be_read(device: Peer) -> None:
    """Every byte of every region can be read, by reads as large as agreed on."""
    most = device.version["capabilities"]["max_data_xfer_size"]
    for region, size in readable(device):
        for offset in range(0, size, most):
            device.read(region, offset, min(most, size - offset))


def test_count_up_to_max_data_xfer_size(edu: Peer) -> None:
    """A read of max_data_xfer_size bytes works, and is the same as many small ones."""
    most = edu.version["capabilities"]["max_data_xfer_size"]
    assert most <= EDU_BAR_SIZE
    edu.write(BAR0, EDU_LIVENESS, u32(0xFFFFFFFE))
    data = edu.read(BAR0, EDU_BAR_SIZE - most, most)
    for offset in range(0, 64, 4):
        assert data[offset : offset + 4] == edu.read(BAR0, offset, 4)


@pytest.mark.parametrize("more", [1, 4096, 0x7FF00000, 0xFFEFFFFF])
def test_count_beyond_max_data_xfer_size_fails(edu: Peer, more: int) -> None:
    """A count above the server's max_data_xfer_size is refused."""
    most = edu.version["capabilities"]["max_data_xfer_size"]
    edu.fails(REGION_READ, region_read(BAR0, 0, most + more))


def test_server_s_limit_is_what_counts(connect: Connect) -> None:
    """The client's own max_data_xfer_size bounds what it is asked for, not what it asks for."""
    peer = connect("edu", {"max_data_xfer_size": 16})
    assert len(peer.read(BAR0, 0, 4096)) == 4096


@pytest.mark.parametrize(
    ("offset", "count"),
    [(-4, 5), (-1, 2), (0, 1), (1, 1), (4096, 4), (1 << 32, 4), (1 << 63, 4), (2**64, 1)],
)
def test_past_the_end_fails(device: Peer, offset: int, count: int) -> None:
    """A read that is not wholly within the region is refused; offset is relative to its end."""
    for region, size in readable(device):
        at = (size + offset) % 2**64 if offset < 2**63 else 2**64 - 1
        device.fails(REGION_READ, region_read(region, at, count))


@pytest.mark.parametrize("region", [1000, 0x80000000, 0xFFFFFFFF])
def test_unknown_regions_fail(device: Peer, region: int) -> None:
    """There are as many regions as DEVICE_GET_INFO says."""
    device.fails(REGION_READ, region_read(region, 0, 4))
    device.fails(REGION_READ, region_read(device.num_regions(), 0, 4))


def test_absent_regions_fail(edu: Peer) -> None:
    """A region without a size has nothing to read."""
    for region in (1, 5, VGA):
        edu.fails(REGION_READ, region_read(region, 0, 1))


def test_nothing_can_be_read(device: Peer) -> None:
    """A count of 0 within the region is no error."""
    for region, size in readable(device):
        for offset in (0, size):
            reply = device.ok(REGION_READ, region_read(region, offset, 0))
            assert reply.payload == S_ACCESS.pack(offset, region, 0)


@pytest.mark.parametrize("length", [0, 8, 15, 17, 20])
def test_request_has_16_bytes(device: Peer, length: int) -> None:
    """The payload has exactly the size of its structure."""
    device.fails(REGION_READ, region_read(BAR0, 0, 4).ljust(length, b"\0")[:length])


def test_reads_are_handled_before_the_next_command(edu: Peer) -> None:
    """A read sees what the write before it did, and not what the one behind it does."""
    for value in range(5):
        edu.send(
            frame(REGION_WRITE, region_write(BAR0, EDU_LIVENESS, u32(value)), 1, NO_REPLY)
            + frame(REGION_READ, region_read(BAR0, EDU_LIVENESS, 4), 2)
            + frame(REGION_WRITE, region_write(BAR0, EDU_LIVENESS, u32(99)), 3, NO_REPLY)
        )
        assert edu.receive().payload[16:] == u32(value ^ 0xFFFFFFFF)


def test_interrupt_tables_can_be_read(nvme: Peer) -> None:
    """The BAR of the MSI-X table can be read like any other: all vectors are masked at first."""
    table, at = nvme.msix_table()
    entries = nvme.read(table, at, 16 * 16)
    assert all(entries[i + 12] & 1 for i in range(0, len(entries), 16))
