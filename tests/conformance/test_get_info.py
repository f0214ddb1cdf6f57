# SPDX-License-Identifier: BSD-3-Clause
"""DEVICE_GET_INFO: what kind of device it is, and how many regions and kinds of interrupts it
has."""

from __future__ import annotations

import pytest
from peer import (
    GET_INFO,
    GET_IRQ_INFO,
    GET_REGION_INFO,
    PCI_REGIONS,
    RESET,
    S_INFO,
    Peer,
    get_irq_info,
    get_region_info,
)

REQUEST = S_INFO.pack(16, 0, 0, 0)


def test_reply_has_16_bytes(device: Peer) -> None:
    """The reply is its structure, and argsz says its size."""
    reply = device.ok(GET_INFO, REQUEST)
    assert len(reply.payload) == S_INFO.size
    assert S_INFO.unpack(reply.payload)[0] == 16


@pytest.mark.parametrize("argsz", [17, 32, 4096, 0xFFFFFFFF])
def test_argsz_may_be_more_than_needed(device: Peer, argsz: int) -> None:
    """argsz is the most that the client takes; the reply's argsz is what is needed."""
    reply = device.ok(GET_INFO, S_INFO.pack(argsz, 0, 0, 0))
    assert (len(reply.payload), S_INFO.unpack(reply.payload)[0]) == (16, 16)


@pytest.mark.parametrize("argsz", [0, 4, 15])
def test_argsz_covers_the_structure(device: Peer, argsz: int) -> None:
    """A client has room for the fixed part, at least."""
    device.fails(GET_INFO, S_INFO.pack(argsz, 0, 0, 0))


@pytest.mark.parametrize("length", [0, 4, 8, 15])
def test_request_has_16_bytes(device: Peer, length: int) -> None:
    """A request shorter than its structure is refused."""
    device.fails(GET_INFO, REQUEST[:length])


def test_request_may_be_the_whole_reply_buffer(device: Peer) -> None:
    """Clients that send the buffer which they have for the reply are understood."""
    assert len(device.ok(GET_INFO, S_INFO.pack(256, 0, 0, 0).ljust(256, b"\0")).payload) == 16


def test_fields_that_the_server_fills_in_are_not_looked_at(device: Peer) -> None:
    """Fields that should be zero in the request have no influence."""
    expected = device.ok(GET_INFO, REQUEST).payload
    assert device.ok(GET_INFO, S_INFO.pack(16, 0xFFFF, 77, 78)).payload == expected


def test_flags_say_pci(device: Peer) -> None:
    """All devices of this version of the protocol are PCI devices."""
    assert S_INFO.unpack(device.ok(GET_INFO, REQUEST).payload)[1] & 2


def test_flags_say_reset(device: Peer) -> None:
    """The flag for reset promises that DEVICE_RESET is supported."""
    flags = S_INFO.unpack(device.ok(GET_INFO, REQUEST).payload)[1]
    assert flags & 1
    device.ok(RESET)


def test_flags_say_nothing_else(device: Peer) -> None:
    """No flag is set that the protocol does not have."""
    assert not S_INFO.unpack(device.ok(GET_INFO, REQUEST).payload)[1] & ~3


def test_num_regions_covers_the_pci_ones(device: Peer) -> None:
    """A PCI device has VFIO's nine regions, and perhaps more of its own."""
    regions = device.num_regions()
    assert regions >= PCI_REGIONS
    device.ok(GET_REGION_INFO, get_region_info(regions - 1))
    device.fails(GET_REGION_INFO, get_region_info(regions))


def test_num_irqs_is_the_kinds_of_interrupts(device: Peer) -> None:
    """num_irqs counts kinds: VFIO's five, each of which can be asked about."""
    irqs = S_INFO.unpack(device.ok(GET_INFO, REQUEST).payload)[3]
    assert irqs == 5
    device.ok(GET_IRQ_INFO, get_irq_info(irqs - 1))
    device.fails(GET_IRQ_INFO, get_irq_info(irqs))
