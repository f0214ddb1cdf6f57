# SPDX-License-Identifier: BSD-3-Clause
"""DEVICE_GET_REGION_INFO: size, permissions, mappable parts and capabilities of each region."""

from __future__ import annotations

import mmap
import os
import struct

import pytest
from peer import (
    BAR0,
    CAP_SPARSE_MMAP,
    CAP_TYPE,
    CONFIG,
    EDU_BAR_SIZE,
    GET_REGION_INFO,
    PCI_REGIONS,
    REGION_CAPS,
    REGION_MMAP,
    REGION_READ,
    REGION_READABLE,
    REGION_WRITE,
    REGION_WRITEABLE,
    ROM,
    S_AREA,
    S_CAP,
    S_REGION,
    S_SPARSE,
    VGA,
    Message,
    Peer,
    get_region_info,
    region_read,
    region_write,
    u32,
)
from served import Connect, Shared


def info_of(reply: Message) -> tuple[int, ...]:
    """argsz, flags, index, cap_offset, size, offset"""
    return S_REGION.unpack_from(reply.payload)


def capabilities(reply: Message) -> list[tuple[int, int, bytes]]:
    """Id, version and what follows them, of each capability in the list."""
    argsz, flags, _, offset, _, _ = info_of(reply)
    assert len(reply.payload) == argsz
    if not flags & REGION_CAPS:
        assert offset == 0 and argsz == S_REGION.size
        return []
    found, seen = [], set()
    while offset:
        assert S_REGION.size <= offset <= argsz - S_CAP.size and offset % 8 == 0
        assert offset not in seen
        seen.add(offset)
        number, version_, following = S_CAP.unpack_from(reply.payload, offset)
        found.append((number, version_, reply.payload[offset + S_CAP.size :]))
        offset = following
    assert found
    return found


def sparse_areas(reply: Message) -> list[tuple[int, int]] | None:
    """Offset and size of each area that can be mapped; None: there is no such capability."""
    for number, version_, data in capabilities(reply):
        if number == CAP_SPARSE_MMAP:
            assert version_ == 1
            count, reserved = S_SPARSE.unpack_from(data)
            assert count > 0 and reserved == 0
            assert len(data) >= S_SPARSE.size + count * S_AREA.size
            return [
                S_AREA.unpack_from(data, S_SPARSE.size + i * S_AREA.size) for i in range(count)
            ]
    return None


def regions(peer: Peer) -> list[Message]:
    return [peer.ok(GET_REGION_INFO, get_region_info(i)) for i in range(peer.num_regions())]


def mapped_areas(reply: Message) -> list[tuple[int, int]]:
    """All that a client may map of a region."""
    _, flags, _, _, size, _ = info_of(reply)
    if not flags & REGION_MMAP:
        return []
    areas = sparse_areas(reply)
    return [(0, size)] if areas is None else areas


# The message


@pytest.mark.parametrize("index", range(PCI_REGIONS))
def test_index_is_echoed(device: Peer, index: int) -> None:
    """The reply says which region it is about."""
    assert device.region_info(index)[2] == index


@pytest.mark.parametrize("length", [0, 4, 12, 16, 31])
def test_request_has_32_bytes(device: Peer, length: int) -> None:
    """A request shorter than its structure is refused."""
    device.fails(GET_REGION_INFO, get_region_info(0)[:length])


def test_request_may_be_the_whole_reply_buffer(device: Peer) -> None:
    """Clients that send the buffer which they have for the reply are understood."""
    expected = device.ok(GET_REGION_INFO, get_region_info(0)).payload
    longer = get_region_info(0).ljust(4096, b"\0")
    assert device.ok(GET_REGION_INFO, longer).payload == expected


def test_only_index_has_to_be_set(device: Peer) -> None:
    """Fields that the server fills in have no influence."""
    for index in range(PCI_REGIONS):
        expected = device.ok(GET_REGION_INFO, get_region_info(index)).payload
        filled = S_REGION.pack(4096, 0xFF, index, 64, 1 << 40, 1 << 41)
        assert device.ok(GET_REGION_INFO, filled).payload == expected


@pytest.mark.parametrize("index", [100, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_unknown_regions_fail(device: Peer, index: int) -> None:
    """There are as many regions as DEVICE_GET_INFO says."""
    device.fails(GET_REGION_INFO, get_region_info(index))
    device.fails(GET_REGION_INFO, get_region_info(device.num_regions()))


# argsz


@pytest.mark.parametrize("argsz", [0, 16, 31])
def test_argsz_covers_the_structure(device: Peer, argsz: int) -> None:
    """A client has room for the fixed part, at least."""
    device.fails(GET_REGION_INFO, get_region_info(0, argsz))


def test_argsz_of_the_reply_is_what_is_needed(device: Peer) -> None:
    """However much room the client has, the reply's argsz is the size of the whole payload."""
    for reply in regions(device):
        index, needed = info_of(reply)[2], info_of(reply)[0]
        assert needed == len(reply.payload)
        for argsz in (needed, needed + 1, 0x10000, 0xFFFFFFFF):
            again = device.ok(GET_REGION_INFO, get_region_info(index, argsz))
            assert again.payload == reply.payload


def test_too_little_room_gets_the_size_that_is_needed(device: Peer) -> None:
    """With room for the fixed part only, the reply has that part, and argsz says how much to ask
    for."""
    for reply in regions(device):
        argsz, flags, index, _, size, _ = info_of(reply)
        for room in {S_REGION.size, argsz - 1, argsz - 8}:
            if room < S_REGION.size:
                continue
            short = device.ok(GET_REGION_INFO, get_region_info(index, room))
            assert len(short.payload) <= room
            assert info_of(short)[0] == argsz
            assert info_of(short)[2:5:2] == (index, size)
            assert info_of(short)[1] & 3 == flags & 3


# What it says


def test_flags_are_known_ones(device: Peer) -> None:
    """No flag is set that the protocol does not have."""
    for reply in regions(device):
        assert not info_of(reply)[1] & ~0xF


def test_readable_regions_can_be_read(device: Peer) -> None:
    """The flag for reading is set for what REGION_READ can read, and for nothing else."""
    for reply in regions(device):
        _, flags, index, _, size, _ = info_of(reply)
        if flags & REGION_READABLE:
            assert size
            device.read(index, 0, 4)
            device.read(index, size - 4, 4)
        else:
            device.fails(REGION_READ, region_read(index, 0, 4))


def test_writeable_regions_can_be_written(device: Peer) -> None:
    """The flag for writing is set for what REGION_WRITE can write, and for nothing else."""
    for reply in regions(device):
        _, flags, index, _, size, _ = info_of(reply)
        last = size - 4
        if flags & REGION_WRITEABLE:
            assert size
            device.write(index, last, device.read(index, last, 4))
        else:
            device.fails(REGION_WRITE, region_write(index, 0, u32(0)))


def test_absent_regions_have_no_size(edu: Peer) -> None:
    """A region that a device does not have has size 0 and no flags, and is no error."""
    for index in (1, 2, 3, 4, 5, VGA):
        assert edu.region_info(index)[:5] == (32, 0, index, 0, 0)


def test_size_is_the_region_s(edu: Peer) -> None:
    """size is how much of a region can be accessed: not a byte more."""
    for index, size in ((BAR0, EDU_BAR_SIZE), (CONFIG, 256)):
        assert edu.region_info(index)[4] == size
        edu.read(index, size - 1, 1)
        edu.fails(REGION_READ, region_read(index, size, 1))


def test_pci_express_devices_have_extended_configuration_space(nvme: Peer) -> None:
    """The configuration space of a PCI Express function has 4096 bytes."""
    assert nvme.region_info(CONFIG)[4] == 4096


def test_sizes_of_bars_are_what_the_bars_say(device: Peer) -> None:
    """Configuration space and region info agree on the sizes of BARs."""
    bar = 0
    while bar < 6:
        at = 0x10 + 4 * bar
        old = device.read(CONFIG, at, 4)
        device.write(CONFIG, at, u32(0xFFFFFFFF))
        low = int.from_bytes(device.read(CONFIG, at, 4), "little")
        device.write(CONFIG, at, old)
        size = (~(low & ~(3 if low & 1 else 15)) + 1) & 0xFFFFFFFF if low else 0
        assert device.region_info(bar)[4] == size
        bar += 2 if low & 7 == 4 else 1


# Capabilities


def test_caps_flag_is_set_if_there_are_any(device: Peer) -> None:
    """Without the flag for capabilities there is no cap_offset and nothing behind the structure."""
    for reply in regions(device):
        assert bool(info_of(reply)[1] & REGION_CAPS) == bool(capabilities(reply))


def test_capabilities_are_a_list_within_the_payload(sampler: Peer) -> None:
    """cap_offset and next are offsets from the structure's beginning; the last next is 0."""
    some = [capability for reply in regions(sampler) for capability in capabilities(reply)]
    assert some


def test_capabilities_are_known_ones(sampler: Peer) -> None:
    """Capabilities are sparse mmap and type, both of version 1."""
    for reply in regions(sampler):
        for number, version_, _ in capabilities(reply):
            assert number in (CAP_SPARSE_MMAP, CAP_TYPE)
            assert version_ == 1


# Regions that can be mapped


def test_mmap_flag_comes_with_a_descriptor(sampler: Peer) -> None:
    """A descriptor comes with the reply if, and only if, the flag for mmap is set; one is
    enough."""
    replies = regions(sampler)
    for reply in replies:
        assert len(reply.fds) == (1 if info_of(reply)[1] & REGION_MMAP else 0)
    assert any(reply.fds for reply in replies)


def test_descriptors_are_the_client_s_own(sampler: Peer, shared_processes: Shared) -> None:
    """Every reply's descriptor is a new one; the server's count does not grow with the asking."""
    process = shared_processes.get("sampler")
    before = process.fd_count()
    for _ in range(50):
        regions(sampler)
    sampler.read(0, 0, 4)  # once this is answered, the copies that were sent are closed
    assert process.fd_count() == before


def test_sparse_areas_are_within_the_region(sampler: Peer) -> None:
    """The areas that can be mapped are whole pages of the region, and none overlap."""
    found = False
    for reply in regions(sampler):
        end = 0
        for offset, size in sorted(mapped_areas(reply)):
            assert offset % 4096 == 0 and size % 4096 == 0 and size
            assert offset >= end
            end = offset + size
            found = True
        assert end <= info_of(reply)[4]
    assert found


def test_mapped_memory_is_the_region(sampler: Peer) -> None:
    """mmap at the region's offset plus the area's gives what REGION_READ gives, and back."""
    for reply in regions(sampler):
        index, base = info_of(reply)[2], info_of(reply)[5]
        for offset, size in mapped_areas(reply):
            with mmap.mmap(reply.fds[0], size, offset=base + offset) as memory:
                memory[size - 8 : size] = b"by mmap."
                assert sampler.read(index, offset + size - 8, 8) == b"by mmap."
                sampler.write(index, offset + size - 8, b"message.")
                assert memory[size - 8 : size] == b"message."


def test_mapped_descriptor_cannot_be_resized(sampler: Peer) -> None:
    """A client cannot cut the memory that it shares with the server."""
    for reply in regions(sampler):
        for fd in reply.fds:
            before = os.fstat(fd).st_size
            for size in (0, before + 4096):
                with pytest.raises(OSError):
                    os.ftruncate(fd, size)
            assert os.fstat(fd).st_size == before


def test_mappable_regions_are_served_by_messages(sampler: Peer) -> None:
    """REGION_READ and REGION_WRITE are supported for what can be mapped, too."""
    for reply in regions(sampler):
        index = info_of(reply)[2]
        for offset, size in mapped_areas(reply):
            assert len(sampler.read(index, offset, min(size, 65536))) == min(size, 65536)


def test_device_specific_regions_say_their_type(device: Peer) -> None:
    """A region beyond the PCI ones has the type capability; a PCI one has not."""
    for reply in regions(device):
        types = [data for number, _, data in capabilities(reply) if number == CAP_TYPE]
        if info_of(reply)[2] >= PCI_REGIONS:
            assert len(types) == 1 and len(types[0]) >= 8
        else:
            assert not types


@pytest.mark.parametrize("name", ["edu", "nvme", "sampler"])
def test_regions_are_the_same_for_every_client(connect: Connect, name: str) -> None:
    """What a device looks like does not depend on which session asks."""
    first = connect(name)
    seen = [reply.payload for reply in regions(first)]
    first.close()
    assert [reply.payload for reply in regions(connect(name))] == seen


def test_whole_region_that_can_be_mapped_needs_no_areas(sampler: Peer) -> None:
    """The sparse capability is there when only a part can be mapped: not for a region as a
    whole."""
    replies = regions(sampler)
    assert info_of(replies[2])[1] & REGION_MMAP and sparse_areas(replies[2]) is None
    assert sparse_areas(replies[0]) == [(0x1000, 0x2000)]


def test_areas_leave_out_what_the_server_has_to_see(sampler: Peer) -> None:
    """Where the MSI-X structures lie, or registers, a region cannot be mapped: there are areas
    around."""
    assert sparse_areas(regions(sampler)[4]) == [(0, 0x2000), (0x3000, 0x2000), (0x6000, 0x2000)]


def test_type_capability_tells_regions_apart(sampler: Peer) -> None:
    """Type and subtype, 4 bytes each, say what a region beside the PCI ones is."""
    types = []
    for reply in regions(sampler)[PCI_REGIONS:]:
        data = next(data for number, _, data in capabilities(reply) if number == CAP_TYPE)
        types.append(struct.unpack_from("<II", data))
    assert types == [(7, 1), (7, 2)]


def test_device_specific_regions_are_accessed_like_others(sampler: Peer) -> None:
    """A region beside the PCI ones is read and written by its index."""
    sampler.write(PCI_REGIONS, 3, b"by index")
    assert sampler.read(PCI_REGIONS, 3, 8) == b"by index"
    assert sampler.read(PCI_REGIONS + 1, 3, 8) == b"by index"
    sampler.fails(REGION_WRITE, region_write(PCI_REGIONS + 1, 3, b"x"))


def test_rom_is_read_only(sampler: Peer) -> None:
    """The expansion ROM can be read and not written; its size is that of its BAR."""
    assert sampler.region_info(ROM)[1:5:3] == (REGION_READABLE, 4096)
    assert sampler.read(ROM, 0, 2) == b"\x55\xaa"
    assert sampler.read(ROM, 2998, 4) == b"\0\x77\xff\xff"
    sampler.fails(REGION_WRITE, region_write(ROM, 0, b"\0"))


def test_mapping_of_a_client_that_left_leads_nowhere(connect: Connect) -> None:
    """What a client still has mapped when it is gone is not the next one's."""
    first = connect("sampler")
    reply = first.ok(GET_REGION_INFO, get_region_info(2))
    with mmap.mmap(reply.fds[0], 4096) as memory:
        memory[0:4] = b"kept"
        first.close()
        second = connect("sampler")
        assert second.read(2, 0, 4) == b"kept"
        memory[0:4] = b"lost"
        assert second.read(2, 0, 4) == b"kept"


def test_clients_without_room_for_descriptors_get_none(connect: Connect) -> None:
    """With max_msg_fds 0, a region that could be mapped is one that cannot."""
    peer = connect("sampler", {"max_msg_fds": 0})
    for reply in regions(peer):
        assert not reply.fds and not info_of(reply)[1] & REGION_MMAP
    assert len(peer.read(2, 0, 4096)) == 4096
