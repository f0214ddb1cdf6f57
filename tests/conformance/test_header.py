# SPDX-License-Identifier: BSD-3-Clause
"""Header: sixteen bytes in front of every message, and what replies to commands have in common."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable

import pytest
from peer import (
    BAR0,
    DATA_NONE,
    DEVICE_FEATURE,
    DMA_MAP,
    DMA_READ,
    DMA_UNMAP,
    DMA_WRITE,
    EDU_ID,
    EDU_IRQ_STATUS,
    EDU_LIVENESS,
    ERROR,
    GET_INFO,
    GET_IRQ_INFO,
    GET_REGION_INFO,
    GET_REGION_IO_FDS,
    HEADER,
    MIG_DATA_READ,
    MIG_DATA_WRITE,
    MSI,
    NAMES,
    NO_REPLY,
    REGION_READ,
    REGION_WRITE,
    REGION_WRITE_MULTI,
    REPLY,
    RESET,
    SET_IRQS,
    S_ACCESS,
    S_DMA,
    S_INFO,
    TRIGGER,
    VERSION,
    Events,
    Hangup,
    Memory,
    Peer,
    dma_map,
    dma_unmap,
    frame,
    get_io_fds,
    get_irq_info,
    get_region_info,
    region_read,
    region_write,
    set_irqs,
    u32,
    version,
    write_multi,
)

NEVER_COMMANDS = [0, 14, 19, 100, 0xFFFF]

MAP = 0x400000

# One request for each command that edu serves, in an order in which all of them succeed.
VALID = {
    GET_INFO: S_INFO.pack(16, 0, 0, 0),
    GET_REGION_INFO: get_region_info(BAR0),
    GET_REGION_IO_FDS: get_io_fds(BAR0),
    GET_IRQ_INFO: get_irq_info(MSI),
    SET_IRQS: set_irqs(DATA_NONE | TRIGGER, MSI),
    REGION_READ: region_read(BAR0, EDU_ID, 4),
    REGION_WRITE: region_write(BAR0, EDU_LIVENESS, u32(1)),
    REGION_WRITE_MULTI: write_multi([(BAR0, EDU_LIVENESS, u32(2))]),
    DMA_MAP: dma_map(MAP, 4096),
    DMA_UNMAP: dma_unmap(MAP, 4096),
    RESET: b"",
}

# One request for each command that is refused for what it says.
INVALID = {
    VERSION: version(),
    GET_INFO: b"",
    GET_REGION_INFO: get_region_info(1000),
    GET_REGION_IO_FDS: get_io_fds(1000),
    GET_IRQ_INFO: get_irq_info(1000),
    SET_IRQS: set_irqs(DATA_NONE | TRIGGER, 1000),
    REGION_READ: region_read(1000, 0, 4),
    REGION_WRITE: region_write(1000, 0, u32(1)),
    REGION_WRITE_MULTI: write_multi([(1000, 0, u32(2))]),
    DMA_MAP: dma_map(0, 0),
    DMA_UNMAP: dma_unmap(0x10000, 0),
    DEVICE_FEATURE: b"",
    MIG_DATA_READ: b"",
    MIG_DATA_WRITE: b"",
    DMA_READ: S_DMA.pack(0, 4),
    DMA_WRITE: S_DMA.pack(0, 4) + u32(0),
    RESET: bytes(1),
}

valid_commands = pytest.mark.parametrize("command", VALID, ids=lambda c: NAMES[c])
invalid_commands = pytest.mark.parametrize("command", INVALID, ids=lambda c: NAMES[c])


def prepare(edu: Peer, command: int) -> None:
    """DMA_UNMAP needs something to unmap."""
    if command == DMA_UNMAP:
        edu.map(MAP, 4096)


@pytest.mark.parametrize("message_id", [0, 1, 0x7FFF, 0x8000, 0xFFFF])
def test_message_id_is_echoed(edu: Peer, message_id: int) -> None:
    """A reply has the message id of its command, whatever that is."""
    edu.send(frame(GET_INFO, VALID[GET_INFO], message_id))
    assert edu.receive().id == message_id


@invalid_commands
def test_message_id_is_echoed_by_errors(edu: Peer, command: int) -> None:
    """An error reply has the message id of its command."""
    edu.send(frame(command, INVALID[command], 0xABCD))
    reply = edu.receive()
    assert (reply.id, reply.command, reply.flags) == (0xABCD, command, REPLY | ERROR)


def test_message_id_may_be_used_again_concurrently(edu: Peer) -> None:
    """Ids are the sender's own: commands under way at the same time may have the same."""
    offsets = [EDU_ID, EDU_LIVENESS, EDU_IRQ_STATUS]
    edu.write(BAR0, EDU_LIVENESS, u32(0xFFFF0000))
    edu.send(b"".join(frame(REGION_READ, region_read(BAR0, o, 4), 7) for o in offsets))
    replies = [edu.receive() for _ in offsets]
    assert [reply.id for reply in replies] == [7, 7, 7]
    assert [S_ACCESS.unpack_from(reply.payload)[0] for reply in replies] == offsets


@valid_commands
def test_reply_names_its_command(edu: Peer, command: int) -> None:
    """The command's number stands in the reply, too."""
    prepare(edu, command)
    edu.send(frame(command, VALID[command]))
    assert edu.receive().command == command


@valid_commands
def test_message_size_covers_header_and_payload(edu: Peer, command: int) -> None:
    """Message size counts the whole message: right behind it, the next one begins."""
    prepare(edu, command)
    edu.send(frame(command, VALID[command], 1) + frame(GET_INFO, VALID[GET_INFO], 2))
    assert edu.receive().id == 1
    last = edu.receive()
    assert (last.id, last.command, len(last.payload)) == (2, GET_INFO, 16)
    assert edu.is_quiet()


@valid_commands
def test_every_command_is_answered_by_one_reply(edu: Peer, command: int) -> None:
    """A command without No_reply gets one message of type reply, with neither No_reply nor
    Error."""
    prepare(edu, command)
    edu.send(frame(command, VALID[command]))
    reply = edu.receive()
    assert (reply.flags, reply.error) == (REPLY, 0)
    edu.still_served()


@valid_commands
def test_no_reply_has_none_sent(edu: Peer, command: int) -> None:
    """A command with No_reply is not replied to."""
    prepare(edu, command)
    edu.send(frame(command, VALID[command], 1, NO_REPLY))
    edu.send(frame(GET_INFO, VALID[GET_INFO], 2))
    assert (edu.receive().id, edu.is_quiet()) == (2, True)


@invalid_commands
def test_no_reply_has_no_error_sent(edu: Peer, command: int) -> None:
    """A command with No_reply is not replied to when it fails, either."""
    edu.send(frame(command, INVALID[command], 1, NO_REPLY))
    edu.send(frame(GET_INFO, VALID[GET_INFO], 2))
    assert (edu.receive().id, edu.is_quiet()) == (2, True)


def test_no_reply_commands_take_effect(edu: Peer, memory: Memory) -> None:
    """No_reply changes nothing about what a command does."""
    data = os.urandom(64)
    memory.write(0, data)
    edu.send_command(DMA_MAP, dma_map(MAP, 4096), (memory.fd,), NO_REPLY)
    edu.edu_fetch(MAP, 64)
    edu.edu_store(MAP + 1024, 64)
    assert memory.read(1024, 64) == data
    edu.send_command(DMA_UNMAP, dma_unmap(MAP, 4096), (), NO_REPLY)
    assert edu.unmapped(MAP, 4096) == 0


def test_no_reply_reset_takes_effect(edu: Peer) -> None:
    """A RESET with No_reply resets before the next command is handled."""
    edu.write(BAR0, EDU_LIVENESS, u32(1))
    edu.send_command(RESET, flags=NO_REPLY)
    assert edu.read(BAR0, EDU_LIVENESS, 4) == u32(0)


@invalid_commands
def test_error_replies_are_the_header_only(edu: Peer, command: int) -> None:
    """When a command fails, the reply is a header with the Error bit and no payload."""
    edu.send(frame(command, INVALID[command]))
    head = edu.sock.recv(65536)
    _, replied_to, size, flags, error = HEADER.unpack(head)
    assert (replied_to, size, flags) == (command, HEADER.size, REPLY | ERROR)
    assert error in errno.errorcode
    edu.still_served()


@pytest.mark.parametrize("command", NEVER_COMMANDS)
def test_unknown_commands_fail(edu: Peer, command: int) -> None:
    """A number that is no command gets an error reply, and the session goes on."""
    edu.fails(command, b"", errno.ENOTSUP)
    edu.fails(command, bytes(100), errno.ENOTSUP)


@pytest.mark.parametrize("command", [DMA_READ, DMA_WRITE], ids=lambda c: NAMES[c])
def test_commands_of_the_other_direction_fail(edu: Peer, command: int) -> None:
    """DMA_READ and DMA_WRITE are the server's to send: from a client they are errors."""
    edu.fails(command, S_DMA.pack(0, 4) + u32(0), errno.ENOTSUP)


@pytest.mark.parametrize("size", range(16))
def test_message_size_below_the_header_ends_the_session(raw: Peer, size: int) -> None:
    """No message is shorter than its header: where the next one begins cannot be known."""
    raw.send(HEADER.pack(1, VERSION, size, 0, 0))
    raw.hangs_up()


@pytest.mark.parametrize("size", [0x200000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_message_size_beyond_the_limit_ends_the_session(
    edu: Peer, next_client: Callable[[], None], size: int
) -> None:
    """A message longer than any that was agreed on is not waited for."""
    edu.send(HEADER.pack(1, REGION_WRITE, size, 0, 0))
    edu.hangs_up()
    next_client()


def test_message_may_come_in_pieces(raw: Peer) -> None:
    """A stream has no boundaries: a message may come byte by byte."""
    for part in (frame(VERSION, version()), frame(GET_INFO, VALID[GET_INFO])):
        for i in range(len(part)):
            assert raw.is_quiet()
            raw.send(part[i : i + 1])
        assert raw.receive().flags == REPLY


def test_messages_may_come_together(raw: Peer) -> None:
    """Many messages may come in one piece, and an unfinished one with them."""
    whole = frame(VERSION, version()) + frame(GET_INFO, VALID[GET_INFO]) * 20
    raw.send(whole[:-5])
    assert [raw.receive().command for _ in range(20)] == [VERSION] + [GET_INFO] * 19
    raw.send(whole[-5:])
    assert raw.receive().command == GET_INFO


@pytest.mark.parametrize("bit", range(6, 32))
def test_reserved_flags_are_ignored(edu: Peer, bit: int) -> None:
    """Bits of the flags that have no meaning yet change nothing."""
    edu.send(frame(GET_INFO, VALID[GET_INFO], 1, 1 << bit))
    reply = edu.receive()
    assert (reply.flags, len(reply.payload)) == (REPLY, 16)


@pytest.mark.parametrize("error", [1, 22, 0xFFFFFFFF])
def test_error_field_of_a_command_is_ignored(edu: Peer, error: int) -> None:
    """The error field is reserved in commands, the Error bit says nothing there."""
    for flags in (0, ERROR):
        edu.send(frame(GET_INFO, VALID[GET_INFO], 1, flags, error))
        reply = edu.receive()
        assert (reply.flags, reply.error, len(reply.payload)) == (REPLY, 0, 16)


@pytest.mark.parametrize("kind", range(2, 16))
def test_unknown_types_end_the_session(
    edu: Peer, next_client: Callable[[], None], kind: int
) -> None:
    """A message is a command or a reply; what claims to be neither is not answered."""
    edu.send(frame(GET_INFO, VALID[GET_INFO], 1, kind))
    with pytest.raises(Hangup):
        edu.receive()
    next_client()


@pytest.mark.parametrize("command", [GET_INFO, DMA_READ, DMA_WRITE, 0], ids=str)
def test_replies_to_nothing_end_the_session(
    edu: Peer, next_client: Callable[[], None], command: int
) -> None:
    """A reply acknowledges a command: to one that was not sent, it is a violation."""
    edu.send(frame(command, S_DMA.pack(0, 0), 0, REPLY))
    with pytest.raises(Hangup):
        edu.receive()
    next_client()


def test_numbers_are_in_the_host_s_byte_order(edu: Peer) -> None:
    """All fields have the byte order of the host that both sides run on."""
    native = struct.pack("=HHIII", 0x1234, GET_INFO, 32, 0, 0) + struct.pack("=IIII", 16, 0, 0, 0)
    edu.send(native)
    reply = edu.sock.recv(65536)
    assert struct.unpack_from("=HHI", reply) == (0x1234, GET_INFO, 32)


@pytest.mark.parametrize(
    "command", [c for c in VALID if c not in (DMA_MAP, SET_IRQS)], ids=lambda c: NAMES[c]
)
def test_descriptors_that_a_command_has_no_use_for_are_closed(
    edu: Peer, events: Events, command: int
) -> None:
    """A command that came with descriptors which mean nothing to it leaves none of them open."""
    prepare(edu, command)
    edu.ok(command, VALID[command], events.many(3))
