# SPDX-License-Identifier: BSD-3-Clause
"""VERSION: the first message, a proposal of version and capabilities, and the server's reply."""

from __future__ import annotations

import errno
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from peer import (
    BAR0,
    DMA_READ,
    EDU_BAR_SIZE,
    EDU_BUFFER,
    EDU_LIVENESS,
    ERROR,
    GET_INFO,
    GET_REGION_INFO,
    GET_REGION_IO_FDS,
    NAMES,
    NO_REPLY,
    REGION_MMAP,
    REGION_READ,
    REGION_WRITE_MULTI,
    REPLY,
    S_DMA,
    S_INFO,
    S_REGION,
    S_VERSION,
    VERSION,
    Events,
    Hangup,
    Message,
    Peer,
    frame,
    get_io_fds,
    get_region_info,
    header,
    region_read,
    u32,
    version,
    write_multi,
)

KNOWN = {
    "max_msg_fds",
    "max_data_xfer_size",
    "max_dma_maps",
    "pgsizes",
    "twin_socket",
    "write_multiple",
    "migration",
}
LIMITS = {"max_msg_fds", "max_data_xfer_size", "max_dma_maps", "pgsizes"}


def propose(raw: Peer, data: bytes = b"", major: int = 0, minor: int = 1) -> Message:
    """Sends a proposal with this version data, byte for byte."""
    return raw.ok(VERSION, S_VERSION.pack(major, minor) + data)


def propose_caps(raw: Peer, caps: dict[str, Any]) -> dict[str, Any]:
    return capabilities_of(propose(raw, json.dumps({"capabilities": caps}).encode() + b"\0"))


def capabilities_of(reply: Message) -> dict[str, Any]:
    text = reply.payload[S_VERSION.size :]
    assert text.endswith(b"\0") and text.count(b"\0") == 1
    data = json.loads(text[:-1].decode("utf-8"))
    assert isinstance(data, dict)
    caps = data.get("capabilities", {})
    assert isinstance(caps, dict)
    return caps


def refused(raw: Peer, data: bytes, major: int = 0, minor: int = 1) -> None:
    """An error reply, and then the server hangs up."""
    raw.send(frame(VERSION, S_VERSION.pack(major, minor) + data))
    reply = raw.receive()
    assert (reply.command, reply.flags, reply.payload) == (VERSION, REPLY | ERROR, b"")
    assert reply.error == errno.EINVAL
    with pytest.raises(Hangup):
        raw.receive()


# Version numbers


def test_reply_has_the_major_that_was_proposed(raw: Peer) -> None:
    """The major version of the reply is the one that was proposed."""
    assert S_VERSION.unpack_from(propose(raw).payload)[0] == 0


@pytest.mark.parametrize("major", [1, 2, 77, 0xFFFF])
def test_other_majors_end_the_connection(raw: Peer, major: int) -> None:
    """A major version that the server does not speak has it close the connection."""
    refused(raw, b"", major)


@pytest.mark.parametrize("minor", [0, 1, 2, 3, 100, 0xFFFF])
def test_minor_of_the_reply_is_at_most_what_was_proposed(raw: Peer, minor: int) -> None:
    """The minor version of the reply is not above the one that was proposed."""
    assert S_VERSION.unpack_from(propose(raw, minor=minor).payload)[1] <= minor


def test_minor_of_the_reply_is_the_server_s_highest_below(connect: Callable[..., Peer]) -> None:
    """Of all minor versions that both speak, the highest is chosen; every lower one is spoken,
    too."""
    best = S_VERSION.unpack_from(propose(connect("edu", False), minor=0xFFFF).payload)[1]
    for minor in range(best + 1):
        peer = connect("nvme", False)
        assert S_VERSION.unpack_from(propose(peer, minor=minor).payload) == (0, minor)
        peer.still_served()
        peer.close()


# When


@pytest.mark.parametrize(
    "command", [c for c in NAMES if c != VERSION] + [0, 19], ids=lambda c: NAMES.get(c, str(c))
)
def test_must_be_first(raw: Peer, command: int) -> None:
    """Whoever begins with another command is not served."""
    raw.send(frame(command, S_INFO.pack(16, 0, 0, 0)))
    raw.hangs_up()


def test_comes_once(edu: Peer) -> None:
    """What was agreed on is not negotiated again: a second VERSION fails, the session goes on."""
    edu.fails(VERSION, version(), errno.EINVAL)


def test_may_have_no_reply(raw: Peer) -> None:
    """With No_reply the proposal is taken in silence."""
    raw.send_command(VERSION, version(), flags=NO_REPLY)
    raw.still_served()
    assert raw.is_quiet()


def test_server_says_nothing_first(raw: Peer) -> None:
    """The server waits for the client's proposal."""
    raw.send(header(VERSION, version()))
    assert raw.is_quiet()
    raw.send(version())
    assert raw.receive().flags == REPLY


# Version data


@pytest.mark.parametrize("length", range(4))
def test_both_numbers_are_required(raw: Peer, length: int) -> None:
    """A proposal has at least its two version numbers."""
    raw.send(frame(VERSION, bytes(length)))
    raw.hangs_up()


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"{}\0", b'{"capabilities":{}}\0'], ids=["none", "NUL", "{}", "empty"]
)
def test_version_data_is_optional(raw: Peer, data: bytes) -> None:
    """Without version data, or with empty one, every capability has its default."""
    capabilities_of(propose(raw, data))
    raw.still_served()
    raw.fails(REGION_WRITE_MULTI, write_multi([(BAR0, EDU_LIVENESS, u32(1))]), errno.ENOTSUP)


def test_terminating_nul_may_be_missing(raw: Peer) -> None:
    """The size of the message ends the JSON as well as its NUL does."""
    text = json.dumps({"capabilities": {"write_multiple": True}}).encode()
    assert capabilities_of(propose(raw, text))["write_multiple"] is True


def test_bytes_behind_the_nul_are_ignored(raw: Peer) -> None:
    """The NUL ends the version data."""
    text = json.dumps({"capabilities": {"write_multiple": True}}).encode()
    assert capabilities_of(propose(raw, text + b"\0{{{nonsense"))["write_multiple"] is True


def test_reply_s_version_data_is_json_with_a_nul(raw: Peer) -> None:
    """The reply has the format of the proposal: two numbers, then JSON that ends in one NUL."""
    assert set(capabilities_of(propose(raw, version()[4:]))) <= KNOWN


SPACES = {
    "compact": '{"capabilities":{"max_msg_fds":8,"write_multiple":true}}',
    "spaces": '  { "capabilities"  :  { "max_msg_fds" : 8 , "write_multiple" : true } }  ',
    "tabs": '\t{\t"capabilities"\t:\t{"max_msg_fds":\t8\t,"write_multiple":\ttrue}\t}\t',
    "lines": '\n{\n"capabilities"\n:\n{\r\n"max_msg_fds":8,\r\n"write_multiple"\n:\ntrue}}\n',
    "escapes": '{"\\u0063apabilities":{"max_msg_fds":8,"write\\u005fmultiple":true}}',
}


@pytest.mark.parametrize("text", SPACES.values(), ids=SPACES)
def test_any_spelling_of_json_is_understood(raw: Peer, text: str) -> None:
    """Whitespace and escapes mean what JSON says they mean."""
    assert capabilities_of(propose(raw, text.encode() + b"\0"))["write_multiple"] is True


ALL = {
    "max_msg_fds": 8,
    "max_data_xfer_size": 4096,
    "max_dma_maps": 100,
    "pgsizes": 4096,
    "twin_socket": {"supported": False},
    "write_multiple": True,
}


def test_names_may_come_in_any_order(connect: Callable[..., Peer]) -> None:
    """The order of names in an object means nothing."""
    answers = set()
    orders = list(itertools.permutations(ALL))
    for order in orders[:: len(orders) // 48]:
        peer = connect("edu", False)
        answers.add(json.dumps(propose_caps(peer, {name: ALL[name] for name in order})))
        peer.close()
    assert len(answers) == 1


UNKNOWN = {
    "a capability": '{"capabilities":{"telepathy":true,"write_multiple":true}}',
    "an object": '{"capabilities":{"x":{"y":[1,{"z":null}]},"write_multiple":true}}',
    "beside capabilities": '{"vendor":"x","capabilities":{"write_multiple":true},"n":[1]}',
    "an empty name": '{"":0,"capabilities":{"":"","write_multiple":true}}',
    "another case": '{"Capabilities":3,"capabilities":{"MAX_MSG_FDS":"a","write_multiple":true}}',
}


@pytest.mark.parametrize("text", UNKNOWN.values(), ids=UNKNOWN)
def test_unknown_names_are_ignored(raw: Peer, text: str) -> None:
    """A later version's names do no harm, and are not in the reply."""
    caps = capabilities_of(propose(raw, text.encode() + b"\0"))
    assert caps["write_multiple"] is True
    assert set(caps) <= KNOWN


MALFORMED = {
    "not JSON": b"hello\0",
    "unfinished": b'{"capabilities":{\0',
    "two values": b"{}{}\0",
    "an array": b"[]\0",
    "a number": b"1\0",
    "null": b"null\0",
    "a comment": b'{/**/"capabilities":{}}\0',
    "a trailing comma": b'{"capabilities":{},}\0',
    "no UTF-8": b'{"capabilities":{"\xff\xfe":1}}\0',
    "capabilities: array": b'{"capabilities":[]}\0',
    "capabilities: null": b'{"capabilities":null}\0',
    "capabilities: true": b'{"capabilities":true}\0',
    "too deep": b'{"capabilities":{"x":' + b"[" * 5000 + b"]" * 5000 + b"}}\0",
    "too long": b'{"capabilities":{"x":"' + b"x" * 20000 + b'"}}\0',
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_malformed_version_data_is_refused(raw: Peer, data: bytes) -> None:
    """What is not a JSON object with an object of capabilities ends the connection."""
    refused(raw, data)


WRONG: list[tuple[str, str]] = [
    *[
        (name, value)
        for name in sorted(LIMITS)
        for value in ('"8"', "true", "null", "{}", "[1]", "-1", "1.5")
    ],
    *[("write_multiple", value) for value in ("1", '"true"', "null", "{}")],
    *[("twin_socket", value) for value in ("true", "1", '"yes"', "null", "[]")],
    *[("twin_socket", '{"supported":%s}' % value) for value in ("1", '"true"', "null")],
    ("max_data_xfer_size", "0"),
    ("pgsizes", "0"),
    *[
        ("migration", '{"%s":%s}' % (name, value))
        for name in ("pgsize", "max_bitmap_size")
        for value in ('"8"', "true", "null", "{}", "[1]", "-1", "1.5")
    ],
    ("migration", '{"pgsize":0}'),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_capabilities_of_a_wrong_type_are_refused(raw: Peer, name: str, value: str) -> None:
    """A capability whose value is not of its type, or below any that makes sense, is refused."""
    refused(raw, f'{{"capabilities":{{"{name}":{value}}}}}'.encode() + b"\0")


@pytest.mark.parametrize("name", sorted(LIMITS))
@pytest.mark.parametrize("value", [2**31, 2**32, 2**63, 2**64, 10**30])
def test_numbers_of_any_size_are_understood(raw: Peer, name: str, value: int) -> None:
    """A limit beyond what the server can count to is as good as none."""
    propose_caps(raw, {name: value})
    raw.still_served()


# Capabilities


@pytest.mark.parametrize("name", [*ALL, "migration"])
def test_each_capability_may_come_alone(raw: Peer, name: str) -> None:
    """All capabilities are optional, each for itself."""
    propose_caps(raw, {name: {**ALL, "migration": {}}[name]})
    raw.still_served()


def test_reply_is_a_subset_of_what_was_proposed(raw: Peer) -> None:
    """The reply names no capability that was not proposed, apart from the limits, which always
    hold."""
    assert set(propose_caps(raw, {})) <= LIMITS


def test_write_multiple_is_offered_only_if_proposed(connect: Callable[..., Peer]) -> None:
    """write_multiple is agreed on when both say true."""
    for proposed, agreed in (({}, False), ({"write_multiple": False}, False), (ALL, True)):
        peer = connect("edu", False)
        assert bool(propose_caps(peer, proposed).get("write_multiple")) is agreed
        peer.close()


def test_limits_of_the_server_are_numbers(raw: Peer) -> None:
    """The server's own limits are numbers of which a client can make something."""
    caps = propose_caps(raw, ALL)
    for name in LIMITS & set(caps):
        assert type(caps[name]) is int and caps[name] > 0
    assert caps.get("max_data_xfer_size", 1 << 20) >= 4096


@pytest.mark.parametrize("pgsizes", [4096, 4096 | 1 << 21, 4096 | 1 << 21 | 1 << 30, 1 << 21])
def test_pgsizes_of_the_reply_were_proposed(raw: Peer, pgsizes: int) -> None:
    """The page sizes that are agreed on are among those that the client has."""
    agreed = propose_caps(raw, {"pgsizes": pgsizes})["pgsizes"]
    assert agreed and not agreed & ~pgsizes


def test_pgsizes_are_4k_by_default(raw: Peer) -> None:
    """A client that says nothing about page sizes has pages of 4 KiB."""
    assert propose_caps(raw, {}).get("pgsizes", 4096) == 4096


@pytest.mark.parametrize("count", [0, 1, 64, 4096])
def test_max_data_xfer_size_of_the_client_bounds_the_server_s_requests(
    raw: Peer, count: int
) -> None:
    """No request of the server's asks for more bytes at a time than the client takes."""
    limit = count or 1 << 20
    caps = {"max_data_xfer_size": count} if count else {}
    propose_caps(raw, caps)
    size = 128 if limit == 1 else 2048
    raw.map(0x10000, 4096)
    raw.edu_post(0x10000, EDU_BUFFER, size, 0)
    done = 0
    while done < size:
        request = raw.expect(DMA_READ, 0x10000 + done)
        asked = S_DMA.unpack(request.payload)[1]
        assert 0 < asked <= min(limit, size - done)
        raw.serve(request, lambda address, n: bytes(n))
        done += asked
    assert raw.is_quiet()


def test_max_data_xfer_size_of_the_server_bounds_regions(edu: Peer) -> None:
    """The count that the server offers can be used in full, and not exceeded."""
    limit = edu.version["capabilities"]["max_data_xfer_size"]
    edu.ok(REGION_READ, region_read(BAR0, 0, min(limit, EDU_BAR_SIZE)))
    edu.fails(REGION_READ, region_read(BAR0, 0, limit + 1))


def test_max_msg_fds_of_the_server_bounds_commands(edu: Peer, events: Events) -> None:
    """As many descriptors as the server offered may come with one message, and not more."""
    limit = edu.version["capabilities"]["max_msg_fds"]
    payload = S_INFO.pack(16, 0, 0, 0)
    edu.ok(GET_INFO, payload, events.many(limit))
    edu.fails(GET_INFO, payload, errno.EINVAL, events.many(limit + 1))


@pytest.mark.parametrize("caps", [{}, {"max_msg_fds": 1}, {"max_msg_fds": 3}], ids=str)
@pytest.mark.parametrize("name", ["nvme", "sampler"])
def test_max_msg_fds_of_the_client_bounds_replies(
    connect: Callable[..., Peer], name: str, caps: dict[str, int]
) -> None:
    """No reply comes with more descriptors than the client takes: one, if it said nothing."""
    peer = connect(name, caps)
    limit = caps.get("max_msg_fds", 1)
    for index in range(peer.num_regions()):
        assert len(peer.ok(GET_REGION_INFO, get_region_info(index)).fds) <= limit
        assert len(peer.ask(GET_REGION_IO_FDS, get_io_fds(index)).fds) <= limit


def test_replies_to_a_client_without_descriptors_have_none(connect: Callable[..., Peer]) -> None:
    """A client that takes no descriptors gets none, and can use every region by messages."""
    for name in ("edu", "nvme", "sampler"):
        peer = connect(name, {"max_msg_fds": 0})
        for index in range(peer.num_regions()):
            reply = peer.ok(GET_REGION_INFO, get_region_info(index))
            assert not reply.fds
            assert not S_REGION.unpack_from(reply.payload)[1] & REGION_MMAP
