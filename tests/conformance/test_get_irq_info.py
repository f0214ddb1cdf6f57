# SPDX-License-Identifier: BSD-3-Clause
"""DEVICE_GET_IRQ_INFO: how many interrupts of a kind there are, and what can be done with them."""

from __future__ import annotations

import pytest
from peer import (
    CONFIG,
    DATA_EVENTFD,
    DATA_NONE,
    ERR,
    GET_IRQ_INFO,
    INTX,
    IRQ_AUTOMASKED,
    IRQ_EVENTFD,
    IRQ_MASKABLE,
    IRQ_NORESIZE,
    MASK,
    MSI,
    MSIX,
    REQ,
    SET_IRQS,
    S_IRQ,
    TRIGGER,
    UNMASK,
    Events,
    Peer,
    get_irq_info,
    set_irqs,
    signalled,
)
from served import Connect

KINDS = range(5)
COUNTS = {"edu": [1, 1, 0, 1, 1], "nvme": [1, 0, 16, 1, 1]}


def info_of(peer: Peer, index: int) -> tuple[int, ...]:
    """argsz, flags, index, count"""
    reply = peer.ok(GET_IRQ_INFO, get_irq_info(index))
    assert len(reply.payload) == S_IRQ.size
    return S_IRQ.unpack(reply.payload)


@pytest.mark.parametrize("index", KINDS)
def test_reply_has_16_bytes_and_echoes_index(device: Peer, index: int) -> None:
    """The reply is its structure, argsz its size, index the request's."""
    assert info_of(device, index)[0::2] == (16, index)


@pytest.mark.parametrize("argsz", [17, 64, 0xFFFFFFFF])
def test_argsz_may_be_more_than_needed(device: Peer, argsz: int) -> None:
    """argsz is the most that the client takes; the reply's argsz is what is needed."""
    reply = device.ok(GET_IRQ_INFO, get_irq_info(MSI, argsz))
    assert (len(reply.payload), S_IRQ.unpack(reply.payload)[0]) == (16, 16)


@pytest.mark.parametrize("argsz", [0, 8, 15])
def test_argsz_covers_the_structure(device: Peer, argsz: int) -> None:
    """A client has room for the fixed part, at least."""
    device.fails(GET_IRQ_INFO, get_irq_info(MSI, argsz))


@pytest.mark.parametrize("length", [0, 8, 12, 15])
def test_request_has_16_bytes(device: Peer, length: int) -> None:
    """A request shorter than its structure is refused."""
    device.fails(GET_IRQ_INFO, get_irq_info(MSI)[:length])


def test_request_may_be_the_whole_reply_buffer(device: Peer) -> None:
    """Clients that send the buffer which they have for the reply are understood."""
    request = get_irq_info(MSI).ljust(100, b"\0")
    assert len(device.ok(GET_IRQ_INFO, request).payload) == 16


def test_fields_that_the_server_fills_in_are_not_looked_at(device: Peer) -> None:
    """Fields that should be zero in the request have no influence."""
    for index in KINDS:
        reply = device.ok(GET_IRQ_INFO, S_IRQ.pack(16, 0xFF, index, 99))
        assert S_IRQ.unpack(reply.payload) == info_of(device, index)


@pytest.mark.parametrize("index", [5, 6, 100, 0xFFFFFFFF])
def test_unknown_kinds_fail(device: Peer, index: int) -> None:
    """There are as many kinds as DEVICE_GET_INFO says."""
    device.fails(GET_IRQ_INFO, get_irq_info(index))


@pytest.mark.parametrize("name", COUNTS)
def test_count_is_the_interrupts_of_the_kind(connect: Connect, name: str) -> None:
    """count is how many there are: none, for a kind that the device does not have."""
    peer = connect(name)
    assert [info_of(peer, index)[3] for index in KINDS] == COUNTS[name]


def test_count_of_messages_is_what_the_capability_says(device: Peer) -> None:
    """The counts of MSI and MSI-X are those of the capabilities in configuration space."""
    counts = {MSI: 0, MSIX: 0}
    at = device.read(CONFIG, 0x34, 1)[0]
    while at:
        number, following = device.read(CONFIG, at, 2)
        control = int.from_bytes(device.read(CONFIG, at + 2, 2), "little")
        if number == 0x05:
            counts[MSI] = 1 << (control >> 1 & 7)
        elif number == 0x11:
            counts[MSIX] = (control & 0x7FF) + 1
        at = following
    assert {kind: info_of(device, kind)[3] for kind in counts} == counts


def test_flags_are_known_ones(device: Peer) -> None:
    """No flag is set that the protocol does not have."""
    for index in KINDS:
        assert not info_of(device, index)[1] & ~0xF


def test_all_kinds_can_be_signalled_by_eventfd(device: Peer, events: Events) -> None:
    """The flag for eventfds promises that SET_IRQS takes one for each interrupt of the kind."""
    for index in KINDS:
        _, flags, _, count = info_of(device, index)
        assert flags & IRQ_EVENTFD
        if count:
            payload = set_irqs(DATA_EVENTFD | TRIGGER, index, count - 1)
            device.ok(SET_IRQS, payload, (events.new(),))


def test_maskable_kinds_can_be_masked(device: Peer) -> None:
    """The flag for masking promises MASK and UNMASK; without it they are errors."""
    for index in KINDS:
        _, flags, _, count = info_of(device, index)
        for action in (MASK, UNMASK) if count else ():
            if flags & IRQ_MASKABLE:
                device.ok(SET_IRQS, set_irqs(DATA_NONE | action, index))
            else:
                device.fails(SET_IRQS, set_irqs(DATA_NONE | action, index))


def test_intx_masks_itself(device: Peer) -> None:
    """INTx is a level, so it is automasked, and maskable: only the client knows when it was
    handled."""
    assert info_of(device, INTX)[1] & (IRQ_MASKABLE | IRQ_AUTOMASKED) == 6


def test_automasked_is_said_of_intx_only(device: Peer) -> None:
    """Messages are edges, and stay open."""
    for index in (MSI, MSIX, ERR, REQ):
        assert not info_of(device, index)[1] & IRQ_AUTOMASKED


def test_interrupts_can_be_added_one_by_one(nvme: Peer, events: Events) -> None:
    """Without NORESIZE, a vector can be set up while others of its kind are in use."""
    _, flags, _, count = info_of(nvme, MSIX)
    assert not flags & IRQ_NORESIZE
    fds = events.many(count)
    for vector in range(count):
        nvme.ok(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, MSIX, vector), (fds[vector],))
    for vector in range(count):
        nvme.ok(SET_IRQS, set_irqs(DATA_NONE | TRIGGER, MSIX, vector))
        assert [signalled(fd) for fd in fds] == [int(v == vector) for v in range(count)]
