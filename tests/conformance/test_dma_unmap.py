# SPDX-License-Identifier: BSD-3-Clause
"""DMA_UNMAP: memory that is not available any more once the reply is there."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from disk import Disk
from outboard import wait_until
from peer import (
    DMA_READ,
    DMA_UNMAP,
    DMA_WRITE,
    EDU_BUFFER,
    EDU_TO_GUEST,
    ERROR,
    REPLY,
    S_DMA,
    UNMAP_ALL,
    Memory,
    Peer,
    dma_unmap,
)
from served import Process

AT = 0x100000
SIZE = 0x10000


# The message


def test_reply_is_the_entry_of_the_request(edu: Peer) -> None:
    """The reply is the request's structure, and its size says how much is gone."""
    edu.map(AT, SIZE)
    for argsz in (24, 100):
        assert edu.ok(DMA_UNMAP, dma_unmap(AT, SIZE, argsz=argsz)).payload[4:] == (
            dma_unmap(AT, SIZE)[4:]
        )
        edu.map(AT, SIZE)


@pytest.mark.parametrize("length", [0, 16, 23, 25, 32])
def test_request_has_24_bytes(edu: Peer, length: int) -> None:
    """The payload has exactly the size of its structure."""
    edu.map(AT, SIZE)
    edu.fails(DMA_UNMAP, dma_unmap(AT, SIZE).ljust(length, b"\0")[:length])
    edu.unmap(AT, SIZE)


@pytest.mark.parametrize("argsz", [0, 8, 23])
def test_argsz_has_room_for_the_reply(edu: Peer, argsz: int) -> None:
    """argsz bounds the reply: a client with no room for it gets an error, and the region stays."""
    edu.map(AT, SIZE)
    edu.fails(DMA_UNMAP, dma_unmap(AT, SIZE, argsz=argsz))
    edu.unmap(AT, SIZE)


@pytest.mark.parametrize("bit", [b for b in range(32) if b != 1])
def test_unknown_flags_are_refused(edu: Peer, bit: int) -> None:
    """No flag but VFIO's for all regions has a meaning; with another one nothing is unmapped."""
    edu.map(AT, SIZE)
    edu.fails(DMA_UNMAP, dma_unmap(AT, SIZE, 1 << bit))
    edu.unmap(AT, SIZE)


def test_size_is_not_zero(edu: Peer) -> None:
    """A region has a size."""
    edu.map(AT, SIZE)
    edu.fails(DMA_UNMAP, dma_unmap(AT, 0))
    edu.unmap(AT, SIZE)


def test_descriptor_is_tolerated(edu: Peer, memory: Memory) -> None:
    """Some clients send the region's descriptor along: it is closed."""
    edu.map(AT, SIZE, memory.fd)
    assert edu.ok(DMA_UNMAP, dma_unmap(AT, SIZE), (memory.fd,)).payload == dma_unmap(AT, SIZE)


# Ranges


CUTS = {
    "smaller": (AT, SIZE - 1),
    "a page of it": (AT + 4096, 4096),
    "its second half": (AT + SIZE // 2, SIZE // 2),
    "its end and more": (AT + 4096, SIZE),
    "its begin and more": (AT - 4096, SIZE),
    "one byte": (AT + 1, 1),
    "beyond 64 bits": (AT, 2**64 - 1),
}


@pytest.mark.parametrize(("address", "size"), CUTS.values(), ids=CUTS)
def test_range_that_cuts_a_region_is_refused(
    edu: Peer, memory: Memory, address: int, size: int
) -> None:
    """A range that holds a part of a region, as VFIO has it, is EINVAL, and nothing is unmapped."""
    edu.map(AT - 0x100000, 4096)
    edu.map(AT, SIZE, memory.fd)
    edu.fails(DMA_UNMAP, dma_unmap(address, size), errno.EINVAL)
    edu.unmap(AT - 0x100000, 4096)
    edu.unmap(AT, SIZE)


AROUND = {
    "larger": (AT, SIZE + 1),
    "around it": (AT - 4096, SIZE + 8192),
    "of no size that a guest's IOMMU has": (AT - 7, SIZE + 100),
    "to its end": (0, AT + SIZE),
    "everything": (0, 2**64 - 1),
}


@pytest.mark.parametrize(("address", "size"), AROUND.values(), ids=AROUND)
def test_range_unmaps_the_regions_inside(
    edu: Peer, memory: Memory, address: int, size: int
) -> None:
    """A range of any shape unmaps all regions inside; the reply's size is the sum of theirs."""
    edu.map(AT, SIZE, memory.fd)
    assert edu.unmapped(address, size) == SIZE
    edu.map(AT, 4096)
    edu.map(AT + SIZE - 4096, 4096)
    assert edu.unmapped(address, size) == 8192
    edu.map(AT, SIZE)


def test_reset_of_a_guest_removes_a_range_with_its_memory(edu: Peer) -> None:
    """[0, 4 GiB and more), as a guest of s390x removes it, has no maps left that the next boot meets."""
    edu.map(4 << 30, 4096)
    edu.map((4 << 30) + 4096, 4096)
    assert edu.unmapped(4 << 30, 8192) == 8192
    edu.map(4 << 30, 4096)
    edu.map((4 << 30) + 4096, 4096)
    assert edu.unmapped(0, (4 << 30) + (640 << 20)) == 8192
    edu.map(4 << 30, 8192)


EMPTY = {
    "before": (AT - 4096, 4096),
    "behind": (AT + SIZE, SIZE),
    "large": (1 << 40, 1 << 40),
    "to the end": (AT + SIZE, 2**64 - AT - SIZE),
    "no page": (3, 5),
}


@pytest.mark.parametrize(("address", "size"), EMPTY.values(), ids=EMPTY)
def test_nothing_inside_is_success(edu: Peer, address: int, size: int) -> None:
    """A range with no region inside is unmapped already: success, with size 0."""
    assert edu.unmapped(address, size) == 0
    edu.map(AT, SIZE)
    assert edu.unmapped(address, size) == 0
    edu.unmap(AT, SIZE)


def test_only_once(edu: Peer) -> None:
    """A region that is gone is not there to be unmapped again: success, with size 0."""
    edu.map(AT, SIZE)
    edu.unmap(AT, SIZE)
    assert edu.unmapped(AT, SIZE) == 0


def test_others_stay(edu: Peer, memory: Memory) -> None:
    """Unmapping a region leaves its neighbours."""
    for i in range(3):
        edu.map(AT + i * 4096, 4096, memory.fd, offset=i * 4096)
    edu.unmap(AT + 4096, 4096)
    memory.write(8192, b"\xaa" * 64)
    edu.edu_fetch(AT + 8192, 64)
    edu.edu_store(AT, 64)
    assert memory.read(0, 64) == b"\xaa" * 64


# Gone


def test_mapping_is_released_soon(edu: Peer, memory: Memory, process: Process) -> None:
    """Soon after the reply, the server holds no reference to the memory."""
    edu.map(AT, SIZE, memory.fd)
    assert "memfd:guest" in process.maps()
    edu.unmap(AT, SIZE)
    wait_until(lambda: "memfd:guest" not in process.maps())


def test_memory_is_not_accessed_any_more(edu: Peer, memory: Memory) -> None:
    """What was unmapped is neither read nor written, nor asked for by messages."""
    for fd in (memory.fd, -1):
        edu.map(AT, SIZE, fd)
        edu.unmap(AT, SIZE)
        edu.edu_store(AT, 64)
        edu.edu_fetch(AT, 64)
        assert edu.is_quiet()


def test_region_may_be_mapped_again(edu: Peer, memory: Memory) -> None:
    """A range that is free again may have another region, of another kind."""
    for i in range(50):
        edu.map(AT, SIZE, memory.fd if i % 2 else -1)
        edu.unmap(AT, SIZE)
    edu.map(AT - 4096, SIZE + 8192)


@pytest.mark.parametrize("command", [0, EDU_TO_GUEST], ids=["reading", "writing"])
def test_does_not_wait_for_the_client_s_answer(edu: Peer, command: int) -> None:
    """A transfer under way does not hold the reply up until the client has answered a request."""
    edu.map(AT, SIZE)
    source, destination = (EDU_BUFFER, AT) if command else (AT, EDU_BUFFER)
    edu.edu_post(source, destination, 64, command)
    request = edu.expect(DMA_WRITE if command else DMA_READ, AT)
    edu.unmap(AT, SIZE)
    assert not edu.edu_busy()
    # The answer may have been on its way: it is taken, and means nothing.
    edu.answer(request, S_DMA.pack(AT, 64) + (b"" if command else bytes(64)))
    edu.still_served()


def test_answer_after_unmapping_may_be_an_error(edu: Peer) -> None:
    """The client may refuse what it was asked for before the region went away."""
    edu.map(AT, SIZE)
    edu.edu_post(AT, EDU_BUFFER, 64, 0)
    request = edu.expect(DMA_READ, AT)
    edu.unmap(AT, SIZE)
    edu.answer(request, b"", REPLY | ERROR, errno.EFAULT)
    edu.still_served()


# All


def test_all_unmaps_every_region(edu: Peer, memory: Memory, process: Process) -> None:
    """With VFIO's flag for all, address and size are 0 and every region goes; the reply has the sum."""
    for i in range(10):
        edu.map(AT + i * SIZE, SIZE, memory.fd if i % 2 else -1)
    reply = edu.ok(DMA_UNMAP, dma_unmap(0, 0, UNMAP_ALL)).payload
    assert reply == dma_unmap(0, 10 * SIZE, UNMAP_ALL)
    wait_until(lambda: "memfd:guest" not in process.maps())
    for i in range(10):
        assert edu.unmapped(AT + i * SIZE, SIZE) == 0
    edu.map(AT, 10 * SIZE)


def test_all_of_nothing_succeeds(edu: Peer) -> None:
    """Where nothing is mapped, there is nothing to fail."""
    edu.ok(DMA_UNMAP, dma_unmap(0, 0, UNMAP_ALL))


@pytest.mark.parametrize(("address", "size"), [(AT, 0), (0, SIZE), (AT, SIZE)])
def test_all_has_neither_address_nor_size(edu: Peer, address: int, size: int) -> None:
    """With the flag for all, a region beside it is a contradiction."""
    edu.map(AT, SIZE)
    edu.fails(DMA_UNMAP, dma_unmap(address, size, UNMAP_ALL))
    edu.unmap(AT, SIZE)


def test_all_does_not_wait_for_the_client_s_answer(edu: Peer) -> None:
    """A request under way does not hold up the flag for all, either."""
    edu.map(AT, SIZE)
    edu.edu_post(AT, EDU_BUFFER, 64, 0)
    request = edu.expect(DMA_READ, AT)
    edu.ok(DMA_UNMAP, dma_unmap(0, 0, UNMAP_ALL))
    edu.serve(request, lambda address, count: bytes(count))
    edu.still_served()


def test_disk_s_transfers_end_before_the_reply(
    connect: Callable[..., Peer], process: Process
) -> None:
    """Memory that a disk has commands in is free of references soon after the reply, which comes
    when they have ended."""
    disk = Disk(connect("nvme"), shared=True)
    for _ in range(20):
        disk.post_reads(8)
        disk.peer.unmap(disk.DATA, disk.DATA_SIZE)
        wait_until(lambda: "memfd:guest-data" not in process.maps())
        disk.finish_reads()
        disk.map_data()
    disk.close()
