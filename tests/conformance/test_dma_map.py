# SPDX-License-Identifier: BSD-3-Clause
"""DMA_MAP: which memory the server may access, and how."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator

import pytest
from disk import READ, WRITE, Disk
from outboard import wait_until
from peer import (
    DMA_MAP,
    DMA_READ,
    DMA_WRITE,
    EDU_BUFFER,
    EDU_TO_GUEST,
    NO_REPLY,
    READABLE,
    RESET,
    WRITEABLE,
    Events,
    Memory,
    Message,
    Peer,
    dma_map,
    frame,
)
from served import Process

AT = 0x100000
SIZE = 0x10000
DATA = bytes(range(1, 129))


@pytest.fixture
def somewhere(memory: Memory) -> Iterator[Callable[[int], int]]:
    """Opens the memory, which has DATA, with some mode."""
    fds = []
    memory.write(0, DATA)

    def open_with(flags: int) -> int:
        fds.append(os.open(f"/proc/self/fd/{memory.fd}", flags))
        return fds[-1]

    yield open_with
    for fd in fds:
        os.close(fd)


def fill_buffer(edu: Peer, data: bytes) -> None:
    """Puts data into edu's buffer, through a map of its own."""
    source = Memory(4096)
    source.write(0, data)
    edu.map(0xF000000, 4096, source.fd)
    edu.edu_fetch(0xF000000, len(data))
    edu.unmap(0xF000000, 4096)
    source.close()


def buffer_of(edu: Peer, count: int) -> bytes:
    """What is in edu's buffer."""
    target = Memory(4096)
    edu.map(0xF000000, 4096, target.fd)
    edu.edu_store(0xF000000, count)
    edu.unmap(0xF000000, 4096)
    data = target.read(0, count)
    target.close()
    return data


# The message


def test_reply_has_no_payload(edu: Peer) -> None:
    """The reply is a header."""
    assert edu.map(AT, SIZE).payload == b""


@pytest.mark.parametrize("length", [0, 8, 31, 33, 40, 64])
def test_request_has_32_bytes(edu: Peer, length: int) -> None:
    """The payload has exactly the size of its structure."""
    edu.fails(DMA_MAP, dma_map(AT, SIZE).ljust(length, b"\0")[:length])
    assert edu.unmapped(AT, SIZE) == 0


@pytest.mark.parametrize("argsz", [0, 16, 31])
def test_argsz_is_at_least_the_structure(edu: Peer, argsz: int) -> None:
    """argsz says the size of the structure: less than that is an error."""
    edu.fails(DMA_MAP, dma_map(AT, SIZE, argsz=argsz))


def test_argsz_may_be_more(edu: Peer) -> None:
    """A client may know a longer structure, of which this is the beginning."""
    edu.ok(DMA_MAP, dma_map(AT, SIZE, argsz=64))


@pytest.mark.parametrize("bit", range(2, 32))
def test_unknown_flags_are_refused(edu: Peer, bit: int) -> None:
    """There are two flags; a map is not made when more was asked of it."""
    edu.fails(DMA_MAP, dma_map(AT, SIZE, 3 | 1 << bit))
    assert edu.unmapped(AT, SIZE) == 0


def test_size_is_not_zero(edu: Peer) -> None:
    """A region has a size."""
    edu.fails(DMA_MAP, dma_map(AT, 0))


@pytest.mark.parametrize("address", [1, 4096, 2**63, 2**64 - 4096, 2**64 - 1])
def test_region_ends_within_64_bits(edu: Peer, address: int) -> None:
    """The end of a region is not beyond the address space."""
    if address > 1:
        edu.fails(DMA_MAP, dma_map(address, 2**64 - address + 1))
        edu.fails(DMA_MAP, dma_map(address, 2**64 - 1))
    edu.map(address, 2**64 - address)


def test_region_may_end_with_the_address_space(edu: Peer) -> None:
    """The last page of the address space can be mapped."""
    edu.map(2**64 - 4096, 4096)
    edu.unmap(2**64 - 4096, 4096)


# What may be accessed


def test_must_precede_access(edu: Peer) -> None:
    """Memory that was not mapped is not accessed, not by messages either."""
    edu.edu_fetch(AT, 64)
    edu.edu_store(AT, 64)
    assert edu.is_quiet()


@pytest.mark.parametrize("flags", [READABLE, READABLE | WRITEABLE])
def test_readable_memory_is_read(edu: Peer, memory: Memory, flags: int) -> None:
    """The device reads what is readable."""
    memory.write(0, DATA)
    edu.map(AT, SIZE, memory.fd, flags)
    edu.edu_fetch(AT, len(DATA))
    assert buffer_of(edu, len(DATA)) == DATA


@pytest.mark.parametrize("flags", [0, WRITEABLE])
@pytest.mark.parametrize("shared", [True, False], ids=["descriptor", "messages"])
def test_unreadable_memory_is_not_read(
    edu: Peer, memory: Memory, flags: int, shared: bool
) -> None:
    """Without the flag readable, the device does not read it."""
    memory.write(0, DATA)
    edu.map(AT, SIZE, memory.fd if shared else -1, flags)
    edu.edu_fetch(AT, len(DATA))
    assert edu.is_quiet()
    assert buffer_of(edu, len(DATA)) == bytes(len(DATA))


@pytest.mark.parametrize("flags", [WRITEABLE, READABLE | WRITEABLE])
def test_writeable_memory_is_written(edu: Peer, memory: Memory, flags: int) -> None:
    """The device writes what is writeable."""
    fill_buffer(edu, DATA)
    edu.map(AT, SIZE, memory.fd, flags)
    edu.edu_store(AT, len(DATA))
    assert memory.read(0, len(DATA)) == DATA


@pytest.mark.parametrize("flags", [0, READABLE])
@pytest.mark.parametrize("shared", [True, False], ids=["descriptor", "messages"])
def test_unwriteable_memory_is_not_written(
    edu: Peer, memory: Memory, flags: int, shared: bool
) -> None:
    """Without the flag writeable, the device does not write it."""
    fill_buffer(edu, DATA)
    edu.map(AT, SIZE, memory.fd if shared else -1, flags)
    edu.edu_store(AT, len(DATA))
    assert edu.is_quiet()
    assert memory.read(0, len(DATA)) == bytes(len(DATA))


@pytest.mark.parametrize("offset", [0x1000, 0x8000, 0x1234, 0xFF80])
def test_offset_is_into_the_file(edu: Peer, memory: Memory, offset: int) -> None:
    """The region begins at this offset of the file, and ends with its own size."""
    memory.write(offset, DATA)
    edu.map(AT, len(DATA), memory.fd, offset=offset)
    edu.edu_fetch(AT, len(DATA))
    assert buffer_of(edu, len(DATA)) == DATA
    edu.edu_fetch(AT + 1, len(DATA))  # one byte past the region: fails as a whole
    assert buffer_of(edu, len(DATA)) == DATA


def test_offset_means_nothing_without_a_descriptor(edu: Peer) -> None:
    """Where there is no file there is no offset: what stands there is ignored."""
    edu.map(AT, SIZE, offset=0x5000)
    edu.edu_post(AT + 4, EDU_BUFFER, 8, 0)
    edu.serve(edu.expect(DMA_READ, AT + 4), lambda address, count: DATA[:count])
    assert buffer_of(edu, 8) == DATA[:8]


def test_address_is_where_the_device_sees_it(edu: Peer, memory: Memory) -> None:
    """Each region is found at its own address, at any distance from others."""
    edu.map(AT, 4096, memory.fd)
    edu.map(AT + 0x2000, 4096, memory.fd, offset=4096)
    memory.write(0, DATA[:64])
    memory.write(4096, DATA[64:])
    edu.edu_fetch(AT, 64)
    edu.edu_fetch(AT + 0x2000, 64, 64)
    assert buffer_of(edu, 128) == DATA


def test_access_may_span_regions(edu: Peer, memory: Memory) -> None:
    """Regions that touch are one range for the device, whatever they are made of."""
    edu.map(AT, 4096, memory.fd)
    edu.map(AT + 4096, 4096)
    edu.map(AT + 8192, 4096, memory.fd, offset=0x8000)
    memory.write(4096 - 16, DATA[:16])
    edu.edu_post(AT + 4096 - 16, EDU_BUFFER, 32, 0)
    edu.serve(edu.expect(DMA_READ, AT + 4096), lambda address, count: DATA[16 : 16 + count])
    wait_until(lambda: not edu.edu_busy())
    edu.edu_post(EDU_BUFFER, AT + 8192 - 16, 32, EDU_TO_GUEST)
    assert edu.serve(edu.expect(DMA_WRITE, AT + 8192 - 16), bytes) == DATA[:16]
    wait_until(lambda: not edu.edu_busy())
    assert memory.read(0x8000, 16) == DATA[16:32]


# Descriptors


def test_descriptor_is_mapped(edu: Peer, memory: Memory, process: Process) -> None:
    """With a descriptor the server accesses memory by itself, and asks the client for nothing."""
    edu.map(AT, SIZE, memory.fd)
    assert "memfd:guest" in process.maps()
    edu.edu_store(AT, 4096)
    edu.edu_fetch(AT, 4096)
    assert edu.is_quiet()


def test_descriptor_may_be_closed_by_the_client(edu: Peer) -> None:
    """The server's reference to the memory is its own."""
    gone = Memory(SIZE)
    gone.write(0, DATA)
    edu.map(AT, SIZE, gone.fd)
    gone.close()
    edu.edu_fetch(AT, len(DATA))
    assert buffer_of(edu, len(DATA)) == DATA


def test_without_descriptor_memory_is_reached_by_messages(edu: Peer) -> None:
    """Without a descriptor, the server asks the client."""
    edu.map(AT, SIZE)
    edu.edu_post(AT, EDU_BUFFER, 64, 0)
    edu.serve(edu.expect(DMA_READ, AT), lambda address, count: DATA[:count])
    edu.edu_post(EDU_BUFFER, AT + 64, 64, EDU_TO_GUEST)
    assert edu.serve(edu.expect(DMA_WRITE, AT + 64), bytes) == DATA[:64]


def test_memory_that_is_not_shared_is_found_out(start: Callable[..., Process]) -> None:
    """A descriptor of memory that is only a copy (share=off), where nothing that the guest writes
    appears: the client is asked once, and then for all of it."""
    process = start("nvme", "size=1M", "socket=a")
    with Peer(process.folder / "a") as peer:
        disk = Disk(peer, shared=False, copied=True)
        disk.store(disk.DATA, DATA.ljust(512, b"x"))
        assert disk.transfer(WRITE, 3, 1) == 0
        assert disk.transfer(READ, 3, 1, at=4096) == 0
        assert disk.load(disk.DATA + 4096, 512) == DATA.ljust(512, b"x")
        disk.close()
    assert process.errors().count("add share=on") == 1


def test_memory_that_is_shared_is_not_asked_about_twice(connect: Callable[..., Peer]) -> None:
    """A command that makes no sense is compared with what the client has, once; then it is what it
    is, and memory stays where it is."""
    with connect("nvme") as peer:
        peer.ok(RESET)
        disk = Disk(peer, shared=True)
        requests = 0

        def serve(request: Message) -> None:
            nonlocal requests
            requests += 1
            peer.serve(request, disk.load)

        peer.on_request = serve
        for _ in range(3):
            assert disk.command(disk.io, 0x7F, 1, disk.DATA) & 0x7FF == 1
        assert requests == 1
        disk.close()


def test_one_descriptor_at_most(edu: Peer, events: Events) -> None:
    """A region has one file: more descriptors are refused."""
    edu.fails(DMA_MAP, dma_map(AT, SIZE), errno.EINVAL, events.many(2))
    assert edu.unmapped(AT, SIZE) == 0


def test_file_covers_the_region(edu: Peer, memory: Memory) -> None:
    """A file that is shorter than offset and size say is refused: touching what is missing would
    fault."""
    for offset, size in ((0, SIZE + 1), (1, SIZE), (SIZE, 1), (2**63, 4096), (2**64 - 1, 1)):
        edu.fails(DMA_MAP, dma_map(AT, size, offset=offset), None, (memory.fd,))
    edu.map(AT, SIZE, memory.fd)


@pytest.mark.parametrize(
    ("mode", "flags"),
    [
        (os.O_RDONLY, WRITEABLE),
        (os.O_RDONLY, READABLE | WRITEABLE),
        (os.O_WRONLY, READABLE),
        (os.O_WRONLY, READABLE | WRITEABLE),
    ],
)
def test_descriptor_allows_what_the_flags_say(
    edu: Peer, somewhere: Callable[[int], int], mode: int, flags: int
) -> None:
    """A descriptor that is not open for what the flags promise is refused."""
    edu.fails(DMA_MAP, dma_map(AT, SIZE, flags), errno.EACCES, (somewhere(mode),))


def test_read_only_descriptor_serves_readable_memory(
    edu: Peer, somewhere: Callable[[int], int]
) -> None:
    """A file that is open for reading is enough for memory that is only read."""
    edu.map(AT, SIZE, somewhere(os.O_RDONLY), READABLE)
    edu.edu_fetch(AT, len(DATA))
    assert buffer_of(edu, len(DATA)) == DATA


def test_descriptor_that_cannot_be_mapped_is_written(
    edu: Peer, somewhere: Callable[[int], int], memory: Memory
) -> None:
    """A file that cannot be mapped (this one cannot be read) is written at its offset."""
    fill_buffer(edu, DATA[::-1])
    edu.map(AT, SIZE, somewhere(os.O_WRONLY), WRITEABLE)
    edu.edu_store(AT + 0x123, len(DATA))
    assert memory.read(0x123, len(DATA)) == DATA[::-1]


def test_file_that_fails_later_fails_that_access_only(edu: Peer) -> None:
    """When a file that is written at offsets takes no more, the device's transfer fails, and no
    more."""
    fd = os.memfd_create("guest", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, SIZE)
    wronly = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY)
    edu.map(AT, SIZE, wronly, WRITEABLE)
    os.ftruncate(fd, 0)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    edu.edu_store(AT, 64)
    edu.still_served()
    assert os.fstat(fd).st_size == 0
    os.close(wronly)
    os.close(fd)


# Other regions


OVERLAPS = {
    "the same": (AT, SIZE),
    "its first byte": (AT, 1),
    "its last byte": (AT + SIZE - 1, 1),
    "inside": (AT + 4096, 4096),
    "around": (AT - 4096, SIZE + 8192),
    "its beginning": (AT - 4096, 8192),
    "its end": (AT + SIZE - 4096, 8192),
    "everything": (0, 2**64 - 1),
}


@pytest.mark.parametrize("shared", [True, False], ids=["descriptor", "messages"])
@pytest.mark.parametrize(("address", "size"), OVERLAPS.values(), ids=OVERLAPS)
def test_mapping_over_a_region_is_eexist(
    edu: Peer, memory: Memory, address: int, size: int, shared: bool
) -> None:
    """A region that overlaps one that is mapped is refused with EEXIST, and that one stays as it
    is."""
    memory.write(0, DATA)
    edu.map(AT, SIZE, memory.fd)
    fds = (memory.fd,) if shared and size <= SIZE else ()
    edu.fails(DMA_MAP, dma_map(address, size), errno.EEXIST, fds)
    edu.edu_fetch(AT, len(DATA))
    assert buffer_of(edu, len(DATA)) == DATA
    edu.unmap(AT, SIZE)


def test_regions_may_touch(edu: Peer) -> None:
    """A region may begin where another one ends."""
    edu.map(AT, 4096)
    edu.map(AT + 4096, 4096)
    edu.map(AT - 4096, 4096)
    for address in (AT - 4096, AT, AT + 4096):
        edu.unmap(address, 4096)


@pytest.mark.parametrize("size", [4096, 8192, 1 << 16, 1 << 21, 1 << 30])
def test_every_page_size_that_was_agreed_on_can_be_mapped(
    connect: Callable[..., Peer], size: int
) -> None:
    """A region of one page, of any size that was offered, with and without a descriptor."""
    peer = connect("edu", {"pgsizes": 4096 | size})
    assert peer.version["capabilities"]["pgsizes"] & size or size in (8192, 1 << 16)
    page = Memory(size)
    peer.map(size, size, page.fd)
    peer.map(4 * size, size)
    page.write(size - len(DATA), DATA)
    # edu reaches 28 bits of address.
    if size < 1 << 27:
        peer.edu_fetch(2 * size - len(DATA), len(DATA))
        assert buffer_of(peer, len(DATA)) == DATA
    page.close()


def test_max_dma_maps_of_the_server_is_exact(connect: Callable[..., Peer]) -> None:
    """As many regions as the server offered can be mapped; one more is refused."""
    peer = connect("edu")
    limit = peer.version["capabilities"]["max_dma_maps"]
    step, base = 1 << 12, 1 << 40
    for first in range(0, limit, 4096):
        last = min(first + 4096, limit)
        maps = (dma_map(base + i * step, step) for i in range(first, last))
        peer.send(b"".join(frame(DMA_MAP, one, 1, NO_REPLY) for one in maps))
        peer.still_served()
    peer.fails(DMA_MAP, dma_map(0, step), errno.ENOSPC)
    peer.unmap(base, step)
    peer.map(0, step)
    peer.unmap(base + (limit - 1) * step, step)
