# SPDX-License-Identifier: BSD-3-Clause
"""DEVICE_GET_REGION_IO_FDS: parts of a region at which a descriptor is as good as a write."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from disk import READ, Disk
from outboard import wait_until
from peer import (
    BAR0,
    GET_REGION_IO_FDS,
    PCI_REGIONS,
    RESET,
    S_IO_FD,
    S_IO_FDS,
    Message,
    Peer,
    get_io_fds,
    u32,
)
from served import Connect, Process, Shared

IOEVENTFD, IOREGIONFD = 0, 1
IOEVENTFD_DATAMATCH, IOEVENTFD_PIO = 1, 2


def head_of(reply: Message) -> tuple[int, ...]:
    """argsz, flags, index, count"""
    return S_IO_FDS.unpack_from(reply.payload)


def sub_regions(reply: Message) -> list[tuple[int, ...]]:
    """offset, size, fd_index, type, flags, padding, datamatch of each"""
    count = head_of(reply)[3]
    assert len(reply.payload) == S_IO_FDS.size + count * S_IO_FD.size
    return [
        S_IO_FD.unpack_from(reply.payload, S_IO_FDS.size + i * S_IO_FD.size) for i in range(count)
    ]


def ask_all(peer: Peer) -> list[Message]:
    return [peer.ok(GET_REGION_IO_FDS, get_io_fds(i)) for i in range(peer.num_regions())]


# The message


@pytest.mark.parametrize("index", range(PCI_REGIONS))
def test_index_is_echoed(device: Peer, index: int) -> None:
    """The reply says which region it is about, and its flags are zero."""
    assert head_of(device.ok(GET_REGION_IO_FDS, get_io_fds(index)))[1:3] == (0, index)


@pytest.mark.parametrize("index", [100, 0xFFFFFFFF])
def test_unknown_regions_fail(device: Peer, index: int) -> None:
    """There are as many regions as DEVICE_GET_INFO says."""
    device.fails(GET_REGION_IO_FDS, get_io_fds(index))
    device.fails(GET_REGION_IO_FDS, get_io_fds(device.num_regions()))


@pytest.mark.parametrize("length", [0, 4, 12, 15])
def test_request_has_16_bytes(device: Peer, length: int) -> None:
    """A request shorter than its structure is refused."""
    device.fails(GET_REGION_IO_FDS, get_io_fds(0)[:length])


@pytest.mark.parametrize("flags", [1, 2, 1 << 31])
def test_flags_of_the_request_are_zero(device: Peer, flags: int) -> None:
    """A flag that is set asks for something that does not exist."""
    device.fails(GET_REGION_IO_FDS, S_IO_FDS.pack(4096, flags, BAR0, 0))


@pytest.mark.parametrize("count", [1, 0xFFFFFFFF])
def test_count_of_the_request_is_zero(device: Peer, count: int) -> None:
    """The number of sub-regions is the server's to say."""
    device.fails(GET_REGION_IO_FDS, S_IO_FDS.pack(4096, 0, BAR0, count))


@pytest.mark.parametrize("argsz", [0, 8, 15])
def test_argsz_covers_the_structure(device: Peer, argsz: int) -> None:
    """A client has room for the fixed part, at least."""
    device.fails(GET_REGION_IO_FDS, get_io_fds(BAR0, argsz))


def test_argsz_of_the_reply_is_what_is_needed(device: Peer) -> None:
    """The reply's argsz is the size of structure and array."""
    for reply in ask_all(device):
        assert head_of(reply)[0] == len(reply.payload) == 16 + 40 * head_of(reply)[3]


def test_regions_without_any_have_an_empty_list(edu: Peer) -> None:
    """The command is optional for a region: none is an empty list, and no error."""
    for reply in ask_all(edu):
        assert head_of(reply)[0::3] == (16, 0)
        assert not reply.fds


# With ioeventfds


def test_too_little_room_gets_the_size_that_is_needed(sampler: Peer) -> None:
    """With less room than the array takes, argsz says how much to ask for, and no descriptor
    comes."""
    whole = sampler.ok(GET_REGION_IO_FDS, get_io_fds(BAR0))
    needed = head_of(whole)[0]
    assert needed > 16
    for room in (16, 17, needed - 40, needed - 1):
        short = sampler.ok(GET_REGION_IO_FDS, get_io_fds(BAR0, room))
        assert head_of(short)[0] == needed
        assert len(short.payload) <= room
        assert not short.fds


def test_reply_comes_with_descriptors(sampler: Peer) -> None:
    """At least one descriptor comes with sub-regions, and every index is that of one of them."""
    reply = sampler.ok(GET_REGION_IO_FDS, get_io_fds(BAR0))
    assert reply.fds
    assert {sub[2] for sub in sub_regions(reply)} <= set(range(len(reply.fds)))


def test_types_are_known_ones(sampler: Peer) -> None:
    """A sub-region's descriptor is an ioeventfd or an ioregionfd; padding is zero."""
    reply = sampler.ok(GET_REGION_IO_FDS, get_io_fds(BAR0))
    for _, _, fd_index, kind, _, padding, _ in sub_regions(reply):
        assert kind in (IOEVENTFD, IOREGIONFD)
        assert padding == 0
        if kind == IOEVENTFD:
            link = os.readlink(f"/proc/self/fd/{reply.fds[fd_index]}")
            assert "eventfd" in link


def test_sub_regions_are_within_the_region(sampler: Peer) -> None:
    """Every sub-region lies in its region, and a size is one that an access can have."""
    size = sampler.region_info(BAR0)[4]
    for offset, length, *_ in sub_regions(sampler.ok(GET_REGION_IO_FDS, get_io_fds(BAR0))):
        assert offset + length <= size
        assert length in (0, 1, 2, 4, 8)


RUNG = {(0, 0x100): 0x00, (0, 0x104): 0x04, (0, 0x108): 0x08, (1, 0): 0x0C}


@pytest.mark.parametrize(("region", "offset"), RUNG)
def test_descriptor_stands_for_a_write(sampler: Peer, region: int, offset: int) -> None:
    """Signalling an ioeventfd does what a write to its sub-region does."""
    reply = sampler.ok(GET_REGION_IO_FDS, get_io_fds(region))
    sub = next(sub for sub in sub_regions(reply) if sub[0] == offset)
    counter = RUNG[region, offset]
    sampler.write(region, offset, (sub[6] or 3).to_bytes(sub[1] or 4, "little"))
    assert sampler.read(0, counter, 4) == u32(1)
    os.eventfd_write(reply.fds[sub[2]], 1)
    wait_until(lambda: sampler.read(0, counter, 4) == u32(2))


def test_disk_s_doorbells_ring_by_descriptor(start: Callable[..., Process]) -> None:
    """A disk with ioeventfds=on gives its queues' doorbells; their values are taken from memory."""
    process = start("nvme", "size=1M", "socket=a", "ioeventfds=on")
    with Peer(process.folder / "a") as peer:
        reply = peer.ok(GET_REGION_IO_FDS, get_io_fds(BAR0))
        kick = {sub[0]: reply.fds[sub[2]] for sub in sub_regions(reply)}
        disk = Disk(peer, shared=True)
        disk.use_shadow_doorbells()
        for block in range(40):
            disk.post(disk.io, READ, 1, disk.DATA, block, 0, 0)
            disk.announce(disk.io)
            os.eventfd_write(kick[0x1000 + 8 * disk.io.number], 1)
            assert disk.complete(disk.io) == 0
        disk.close()


def test_clients_that_do_not_ask_write_doorbells(start: Callable[..., Process]) -> None:
    """A device that offers ioeventfds takes writes by message as ever."""
    process = start("nvme", "size=1M", "socket=a", "ioeventfds=on")
    with Peer(process.folder / "a") as peer:
        disk = Disk(peer, shared=True)
        for block in range(40):
            assert disk.transfer(READ, block, 1) == 0
        disk.close()


def test_datamatch_is_said(sampler: Peer) -> None:
    """With DATAMATCH the descriptor stands for writes of one value; others come by message."""
    subs = {sub[0]: sub for sub in sub_regions(sampler.ok(GET_REGION_IO_FDS, get_io_fds(0)))}
    assert (subs[0x100][1], subs[0x100][4]) == (4, 0)
    assert (subs[0x104][1], subs[0x104][4], subs[0x104][6]) == (4, IOEVENTFD_DATAMATCH, 3)
    assert subs[0x108][1] == 0
    sampler.write(0, 0x104, u32(9))
    assert sampler.read(0, 0x180, 4) == u32(1)
    assert sampler.read(0, 0x04, 4) == u32(0)


def test_pio_is_said(sampler: Peer) -> None:
    """Sub-regions of an I/O BAR have the flag for port I/O."""
    (sub,) = sub_regions(sampler.ok(GET_REGION_IO_FDS, get_io_fds(1)))
    assert sub[4] == IOEVENTFD_PIO


def test_asking_again_gives_the_same(sampler: Peer, shared_processes: Shared) -> None:
    """A client may ask more than once: the same places, and no more descriptors held by the
    server."""
    first = sampler.ok(GET_REGION_IO_FDS, get_io_fds(0))
    sampler.read(0, 0, 4)  # once this is answered, the copies that were sent are closed
    before = shared_processes.get("sampler").fd_count()
    for _ in range(20):
        again = sampler.ok(GET_REGION_IO_FDS, get_io_fds(0))
        assert again.payload == first.payload
    sampler.read(0, 0, 4)
    assert shared_processes.get("sampler").fd_count() == before
    os.eventfd_write(again.fds[0], 1)
    wait_until(lambda: sampler.read(0, 0, 4) == u32(1))


def test_signals_while_the_device_is_reset_do_no_harm(sampler: Peer) -> None:
    """A descriptor may be signalled at any time."""
    reply = sampler.ok(GET_REGION_IO_FDS, get_io_fds(0))
    for _ in range(50):
        for fd in reply.fds:
            os.eventfd_write(fd, 1)
        sampler.ok(RESET)


def test_client_that_fills_the_counter_holds_nothing_up(sampler: Peer) -> None:
    """The counter of an eventfd may be at its end, or be read by the client: the server never
    waits."""
    fd = sampler.ok(GET_REGION_IO_FDS, get_io_fds(0)).fds[0]
    os.set_blocking(fd, True)
    os.eventfd_write(fd, 2**64 - 2)
    sampler.still_served()
    os.eventfd_read(fd)
    sampler.still_served()


def test_descriptors_end_with_the_session(connect: Connect) -> None:
    """A descriptor of a session that is over rings nothing."""
    first = connect("sampler")
    first.ok(RESET)
    reply = first.ok(GET_REGION_IO_FDS, get_io_fds(0))
    kept = os.dup(reply.fds[0])
    first.close()
    second = connect("sampler")
    os.eventfd_write(kept, 1)
    os.close(kept)
    for _ in range(10):
        assert second.read(0, 0, 4) == u32(0)
