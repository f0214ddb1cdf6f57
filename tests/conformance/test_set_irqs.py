# SPDX-License-Identifier: BSD-3-Clause
"""DEVICE_SET_IRQS: eventfds, masks and triggers of each kind of interrupt."""

from __future__ import annotations

import errno
import itertools
import os
import socket

import pytest
from peer import (
    BAR0,
    CONFIG,
    DATA_BOOL,
    DATA_EVENTFD,
    DATA_NONE,
    EDU_IRQ_ACK,
    EDU_IRQ_RAISE,
    ERR,
    GET_IRQ_INFO,
    INTX,
    IRQ_MASKABLE,
    MASK,
    MSI,
    MSIX,
    PCI_CAP_MSI,
    REQ,
    SET_IRQS,
    S_IRQ,
    S_SET_IRQS,
    TRIGGER,
    UNMASK,
    Events,
    Memory,
    Peer,
    get_irq_info,
    set_irqs,
    signalled,
    u32,
    wait_signal,
)
from served import Connect, Process

KINDS = {"INTX": INTX, "MSI": MSI, "MSIX": MSIX, "ERR": ERR, "REQ": REQ}
DATA = {"NONE": DATA_NONE, "BOOL": DATA_BOOL, "EVENTFD": DATA_EVENTFD}
ACTIONS = {"MASK": MASK, "UNMASK": UNMASK, "TRIGGER": TRIGGER}

# Where edu or nvme has interrupts of the kind, and which of them say MASKABLE.
HAS = {("edu", INTX), ("edu", MSI), ("edu", ERR), ("edu", REQ)}
HAS |= {("nvme", INTX), ("nvme", MSIX), ("nvme", ERR), ("nvme", REQ)}


def wire(peer: Peer, kind: int, fd: int, vector: int = 0, action: int = TRIGGER) -> None:
    peer.ok(SET_IRQS, set_irqs(DATA_EVENTFD | action, kind, vector), (fd,))


def trigger(peer: Peer, kind: int, vector: int = 0) -> None:
    peer.ok(SET_IRQS, set_irqs(DATA_NONE | TRIGGER, kind, vector))


def act(peer: Peer, kind: int, action: int, vector: int = 0) -> None:
    peer.ok(SET_IRQS, set_irqs(DATA_NONE | action, kind, vector))


def raise_edu(edu: Peer) -> None:
    edu.write(BAR0, EDU_IRQ_RAISE, u32(1))


def acknowledge_edu(edu: Peer) -> None:
    edu.write(BAR0, EDU_IRQ_ACK, u32(0xFFFFFFFF))


# The message


def test_reply_has_no_payload(edu: Peer, events: Events) -> None:
    """The reply is a header, for every kind of data."""
    for data, fds in ((DATA_NONE, ()), (DATA_EVENTFD, events.many(1))):
        assert edu.ok(SET_IRQS, set_irqs(data | TRIGGER, MSI), fds).payload == b""
    assert edu.ok(SET_IRQS, set_irqs(DATA_BOOL | TRIGGER, MSI, data=b"\1")).payload == b""


@pytest.mark.parametrize("length", [0, 4, 16, 19])
def test_request_has_20_bytes(edu: Peer, length: int) -> None:
    """A request shorter than its structure is refused."""
    edu.fails(SET_IRQS, set_irqs(DATA_NONE | TRIGGER, MSI)[:length])


@pytest.mark.parametrize("argsz", [0, 16, 19])
def test_argsz_covers_the_structure(edu: Peer, argsz: int) -> None:
    """argsz is the size of the request's payload: at least the fixed part."""
    edu.fails(SET_IRQS, S_SET_IRQS.pack(argsz, DATA_NONE | TRIGGER, MSI, 0, 1))


def test_argsz_covers_the_data(nvme: Peer) -> None:
    """argsz includes the booleans."""
    for argsz in (20, 21, 23):
        fixed = S_SET_IRQS.pack(argsz, DATA_BOOL | TRIGGER, MSIX, 0, 4)
        nvme.fails(SET_IRQS, fixed + bytes(4))
    nvme.ok(SET_IRQS, S_SET_IRQS.pack(24, DATA_BOOL | TRIGGER, MSIX, 0, 4) + bytes(4))


@pytest.mark.parametrize("bit", range(6, 32))
def test_unknown_flags_are_refused(edu: Peer, bit: int) -> None:
    """A flag without a meaning is an error."""
    edu.fails(SET_IRQS, set_irqs(DATA_NONE | TRIGGER | 1 << bit, MSI))


@pytest.mark.parametrize("data", [d for d in range(8) if d.bit_count() != 1])
def test_data_flags_exclude_each_other(edu: Peer, events: Events, data: int) -> None:
    """There is exactly one of NONE, BOOL and EVENTFD."""
    for action in (MASK, UNMASK, TRIGGER):
        payload = set_irqs(data | action, INTX, data=b"\1")
        edu.fails(SET_IRQS, payload)
        edu.fails(SET_IRQS, payload, errno.EINVAL, events.many(1))


@pytest.mark.parametrize("action", [a << 3 for a in range(8) if a.bit_count() != 1])
def test_action_flags_exclude_each_other(edu: Peer, events: Events, action: int) -> None:
    """There is exactly one of MASK, UNMASK and TRIGGER."""
    for data in (DATA_NONE, DATA_BOOL, DATA_EVENTFD):
        payload = set_irqs(data | action, INTX, data=b"\1")
        edu.fails(SET_IRQS, payload)
        edu.fails(SET_IRQS, payload, errno.EINVAL, events.many(1))


@pytest.mark.parametrize("index", [5, 6, 1000, 0xFFFFFFFF])
def test_unknown_kinds_fail(device: Peer, index: int) -> None:
    """There are as many kinds as DEVICE_GET_INFO says."""
    device.fails(SET_IRQS, set_irqs(DATA_NONE | TRIGGER, index))
    device.fails(SET_IRQS, set_irqs(DATA_NONE | TRIGGER, index, 0, 0))


@pytest.mark.parametrize(
    ("start", "count"),
    [(0, 17), (16, 1), (1, 16), (15, 2), (0xFFFFFFFF, 1), (1, 0xFFFFFFFF), (0, 0xFFFFFFFF)],
)
def test_range_is_within_the_kind(nvme: Peer, start: int, count: int) -> None:
    """start and count name interrupts that there are."""
    for data in (DATA_NONE, DATA_EVENTFD):
        nvme.fails(SET_IRQS, set_irqs(data | TRIGGER, MSIX, start, count))
    bools = bytes(min(count, 100))
    nvme.fails(SET_IRQS, set_irqs(DATA_BOOL | TRIGGER, MSIX, start, count, bools))


@pytest.mark.parametrize("have", [0, 1, 3])
def test_there_is_a_boolean_for_each_interrupt(nvme: Peer, have: int) -> None:
    """With BOOL there are count bytes of data."""
    fixed = S_SET_IRQS.pack(24, DATA_BOOL | TRIGGER, MSIX, 0, 4)
    nvme.fails(SET_IRQS, fixed + bytes(have))


# Every combination


@pytest.mark.parametrize("name", ["edu", "nvme"])
@pytest.mark.parametrize(
    ("kind", "data", "action"), itertools.product(KINDS, DATA, ACTIONS), ids=str
)
def test_combination(
    connect: Connect, events: Events, name: str, kind: str, data: str, action: str
) -> None:
    """Each combination of kind, data and action is taken where it makes sense, and refused
    elsewhere."""
    peer = connect(name)
    index, flags = KINDS[kind], DATA[data] | ACTIONS[action]
    maskable = S_IRQ.unpack(peer.ok(GET_IRQ_INFO, get_irq_info(index)).payload)[1] & IRQ_MASKABLE
    sensible = (name, index) in HAS and (action == "TRIGGER" or maskable)
    payload = set_irqs(flags, index, data=b"\1" if data == "BOOL" else b"")
    fds = events.many(1) if data == "EVENTFD" else ()
    if sensible:
        assert peer.ok(SET_IRQS, payload, fds).payload == b""
        peer.still_served()
    else:
        peer.fails(SET_IRQS, payload, errno.EINVAL, fds)


# EVENTFD and TRIGGER


@pytest.mark.parametrize("kind", [INTX, MSI])
def test_eventfd_is_signalled_when_the_device_interrupts(
    edu: Peer, events: Events, kind: int
) -> None:
    """The server adds 1 to the eventfd when the device triggers the interrupt."""
    fd = events.new()
    wire(edu, kind, fd)
    assert not signalled(fd)
    raise_edu(edu)
    assert wait_signal(fd) == 1


def test_each_vector_has_its_eventfd(nvme: Peer, events: Events) -> None:
    """With several descriptors, each goes with one interrupt of the range, in their order."""
    fds = events.many(4)
    nvme.ok(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, MSIX, 3, 4), fds)
    for i in range(4):
        trigger(nvme, MSIX, 3 + i)
        assert [signalled(fd) for fd in fds] == [int(i == k) for k in range(4)]


def test_as_many_as_fit_one_message_may_be_set_at_once(nvme: Peer, events: Events) -> None:
    """A message may carry as many eventfds as the server takes descriptors."""
    most = min(nvme.version["capabilities"]["max_msg_fds"], 16)
    fds = events.many(most)
    nvme.ok(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, MSIX, 0, most), fds)
    for vector in range(most):
        trigger(nvme, MSIX, vector)
    assert [signalled(fd) for fd in fds] == [1] * most


@pytest.mark.parametrize("have", [1, 2, 4, 5])
def test_there_is_an_eventfd_for_each_interrupt(nvme: Peer, events: Events, have: int) -> None:
    """Fewer or more descriptors than count are refused, and none of them is used."""
    fds = events.many(have)
    nvme.fails(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, MSIX, 0, 3), errno.EINVAL, fds)
    for vector in range(3):
        trigger(nvme, MSIX, vector)
    assert not any(map(signalled, fds))


def test_other_descriptors_are_refused(edu: Peer, memory: Memory, events: Events) -> None:
    """What is not an eventfd cannot be signalled, and is refused."""
    ours, theirs = socket.socketpair()
    ends = os.pipe()
    for fd in (memory.fd, ours.fileno(), *ends):
        edu.fails(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, MSI), errno.EINVAL, (fd,))
    for fd in ends:
        os.close(fd)
    ours.close()
    theirs.close()


def test_all_or_nothing_is_assigned(nvme: Peer, memory: Memory, events: Events) -> None:
    """If one descriptor of a message is refused, the others are not used, either."""
    first = events.new()
    payload = set_irqs(DATA_EVENTFD | TRIGGER, MSIX, 0, 2)
    nvme.fails(SET_IRQS, payload, errno.EINVAL, (first, memory.fd))
    trigger(nvme, MSIX, 0)
    assert not signalled(first)


def test_eventfd_is_replaced(edu: Peer, events: Events) -> None:
    """An interrupt has one eventfd: another one takes its place."""
    old, new = events.many(2)
    wire(edu, MSI, old)
    wire(edu, MSI, new)
    raise_edu(edu)
    assert wait_signal(new) == 1
    assert not signalled(old)


def test_replaced_eventfds_are_closed(edu: Peer, events: Events, process: Process) -> None:
    """The server holds on to no descriptor that it does not use."""
    fd = events.new()
    wire(edu, MSI, fd)
    before = process.fd_count()
    for _ in range(50):
        wire(edu, MSI, fd)
    assert process.fd_count() == before


def test_eventfd_is_kept_when_the_client_closes_its_own(edu: Peer) -> None:
    """The server's descriptor is its own."""
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    other = os.dup(fd)
    wire(edu, MSI, fd)
    os.close(fd)
    raise_edu(edu)
    assert wait_signal(other) == 1
    os.close(other)


def test_without_descriptors_interrupts_are_deassigned(edu: Peer, events: Events) -> None:
    """EVENTFD without descriptors takes the eventfds of the range away."""
    fd = events.new()
    wire(edu, MSI, fd)
    edu.ok(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, MSI))
    raise_edu(edu)
    edu.still_served()
    assert not signalled(fd)


def test_deassigned_is_the_range_only(nvme: Peer, events: Events) -> None:
    """Interrupts outside of the range keep their eventfds."""
    fds = events.many(4)
    nvme.ok(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, MSIX, 0, 4), fds)
    nvme.ok(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, MSIX, 1, 2))
    for vector in range(4):
        trigger(nvme, MSIX, vector)
    assert [signalled(fd) for fd in fds] == [1, 0, 0, 1]


def test_interrupt_without_eventfd_comes_when_there_is_one(edu: Peer, events: Events) -> None:
    """A message that came up while nobody listened stays pending."""
    first, second = events.many(2)
    wire(edu, MSI, first)
    edu.ok(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, MSI))
    edu.write(CONFIG, edu.capability(PCI_CAP_MSI) + 2, b"\1\0")  # enabled
    raise_edu(edu)
    wire(edu, MSI, second)
    assert wait_signal(second) == 1
    assert not signalled(first)


def test_full_eventfd_holds_nothing_up(edu: Peer) -> None:
    """An eventfd whose counter is full, in blocking mode, does not stop the server."""
    fd = os.eventfd(0)
    os.eventfd_write(fd, 2**64 - 2)
    wire(edu, MSI, fd)
    for _ in range(3):
        trigger(edu, MSI)
    edu.still_served()
    os.close(fd)


# NONE and BOOL with TRIGGER


@pytest.mark.parametrize(
    ("name", "kind"), [(n, k) for n, k in sorted(HAS)], ids=lambda v: str(v)
)
def test_client_may_trigger(connect: Connect, events: Events, name: str, kind: int) -> None:
    """NONE with TRIGGER signals the interrupt, as if the device had: of every kind, ERR and REQ
    too."""
    peer = connect(name)
    fd = events.new()
    wire(peer, kind, fd)
    trigger(peer, kind)
    assert signalled(fd) == 1


def test_client_may_trigger_a_range(nvme: Peer, events: Events) -> None:
    """NONE with TRIGGER signals each interrupt of the range."""
    fds = events.many(5)
    nvme.ok(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, MSIX, 0, 5), fds)
    nvme.ok(SET_IRQS, set_irqs(DATA_NONE | TRIGGER, MSIX, 1, 3))
    assert [signalled(fd) for fd in fds] == [0, 1, 1, 1, 0]


@pytest.mark.parametrize("bools", [b"\1\0\1\0", b"\0\0\0\0", b"\xff\2\0\x80"])
def test_client_may_trigger_by_booleans(nvme: Peer, events: Events, bools: bytes) -> None:
    """BOOL with TRIGGER signals the interrupts whose byte is not 0."""
    fds = events.many(4)
    nvme.ok(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, MSIX, 2, 4), fds)
    nvme.ok(SET_IRQS, set_irqs(DATA_BOOL | TRIGGER, MSIX, 2, 4, bools))
    assert [signalled(fd) for fd in fds] == [int(b != 0) for b in bools]


def test_triggering_without_eventfd_does_nothing(device: Peer) -> None:
    """Without an eventfd there is nobody to signal, and no error."""
    trigger(device, ERR)
    trigger(device, REQ)
    trigger(device, INTX)


# Disabling


@pytest.mark.parametrize("kind", [INTX, MSI, ERR, REQ])
def test_count_of_zero_disables_the_kind(edu: Peer, events: Events, kind: int) -> None:
    """NONE with TRIGGER, start 0 and count 0, takes all eventfds of the kind away."""
    fd = events.new()
    wire(edu, kind, fd)
    edu.ok(SET_IRQS, set_irqs(DATA_NONE | TRIGGER, kind, 0, 0))
    trigger(edu, kind)
    raise_edu(edu)
    edu.still_served()
    assert not signalled(fd)


def test_disabling_concerns_one_kind(edu: Peer, events: Events) -> None:
    """Other kinds go on."""
    fd = events.new()
    wire(edu, ERR, fd)
    edu.ok(SET_IRQS, set_irqs(DATA_NONE | TRIGGER, MSI, 0, 0))
    trigger(edu, ERR)
    assert signalled(fd) == 1


def test_disabling_closes_descriptors(
    nvme: Peer, events: Events, process: Process
) -> None:
    """No descriptor of a kind that was disabled is left, whatever its action."""
    nvme.ok(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, REQ), events.many(1))
    before = process.fd_count()
    for action in (MASK, UNMASK, TRIGGER):
        nvme.ok(SET_IRQS, set_irqs(DATA_EVENTFD | action, MSIX, 0, 4), events.many(4))
    assert process.fd_count() == before + 12
    nvme.ok(SET_IRQS, set_irqs(DATA_NONE | TRIGGER, MSIX, 0, 0))
    assert process.fd_count() == before


def test_disabling_takes_masks_away(edu: Peer, events: Events) -> None:
    """A kind that was disabled begins anew: not masked."""
    act(edu, INTX, MASK)
    edu.ok(SET_IRQS, set_irqs(DATA_NONE | TRIGGER, INTX, 0, 0))
    fd = events.new()
    wire(edu, INTX, fd)
    raise_edu(edu)
    assert wait_signal(fd) == 1


def test_disabling_what_is_absent_succeeds(edu: Peer) -> None:
    """Of a kind that the device does not have, all interrupts are disabled already."""
    edu.ok(SET_IRQS, set_irqs(DATA_NONE | TRIGGER, MSIX, 0, 0))


@pytest.mark.parametrize(
    ("flags", "start"),
    [
        (DATA_NONE | TRIGGER, 1),
        (DATA_NONE | MASK, 0),
        (DATA_NONE | UNMASK, 0),
        (DATA_BOOL | TRIGGER, 0),
        (DATA_EVENTFD | TRIGGER, 0),
        (DATA_EVENTFD | MASK, 0),
    ],
)
def test_count_of_zero_means_nothing_else(edu: Peer, flags: int, start: int) -> None:
    """A count of 0 in any other combination is an error."""
    edu.fails(SET_IRQS, set_irqs(flags, INTX, start, 0))


# Masks


MASKABLE = [("edu", INTX), ("nvme", MSIX)]


@pytest.mark.parametrize(("name", "kind"), MASKABLE, ids=str)
@pytest.mark.parametrize("data", [DATA_NONE, DATA_BOOL], ids=["NONE", "BOOL"])
def test_masked_interrupts_are_not_signalled(
    connect: Connect, events: Events, name: str, kind: int, data: int
) -> None:
    """MASK holds an interrupt back; UNMASK lets it through again."""
    peer = connect(name)
    bools = b"\1" if data == DATA_BOOL else b""
    fd = events.new()
    wire(peer, kind, fd)
    peer.ok(SET_IRQS, set_irqs(data | MASK, kind, data=bools))
    trigger(peer, kind)
    assert not signalled(fd)
    peer.ok(SET_IRQS, set_irqs(data | UNMASK, kind, data=bools))
    signalled(fd)  # what was held back may come now
    trigger(peer, kind)
    assert signalled(fd) == 1


def test_masked_message_comes_when_unmasked(nvme: Peer, events: Events) -> None:
    """A message that came up while it was masked is signalled when it is unmasked, once."""
    fd = events.new()
    wire(nvme, MSIX, fd)
    act(nvme, MSIX, MASK)
    for _ in range(3):
        trigger(nvme, MSIX)
    assert not signalled(fd)
    act(nvme, MSIX, UNMASK)
    assert signalled(fd) == 1


def test_masked_level_comes_when_unmasked(edu: Peer, events: Events) -> None:
    """INTx that is asserted when it is unmasked is signalled then."""
    fd = events.new()
    wire(edu, INTX, fd)
    act(edu, INTX, MASK)
    raise_edu(edu)
    edu.still_served()
    assert not signalled(fd)
    act(edu, INTX, UNMASK)
    assert signalled(fd) == 1


def test_level_that_went_away_does_not_come(edu: Peer, events: Events) -> None:
    """INTx that is not asserted any more when it is unmasked is not signalled."""
    fd = events.new()
    wire(edu, INTX, fd)
    act(edu, INTX, MASK)
    raise_edu(edu)
    acknowledge_edu(edu)
    act(edu, INTX, UNMASK)
    assert not signalled(fd)


def test_automasked_level_is_signalled_once(edu: Peer, events: Events) -> None:
    """INTx masks itself when it is signalled: again only after UNMASK, and then if still
    asserted."""
    fd = events.new()
    wire(edu, INTX, fd)
    raise_edu(edu)
    assert wait_signal(fd) == 1
    raise_edu(edu)
    edu.still_served()
    assert not signalled(fd)
    act(edu, INTX, UNMASK)
    assert wait_signal(fd) == 1
    acknowledge_edu(edu)
    act(edu, INTX, UNMASK)
    assert not signalled(fd)


def test_mask_is_of_the_range_only(nvme: Peer, events: Events) -> None:
    """MASK with BOOL concerns the vectors whose byte is set."""
    fds = events.many(4)
    nvme.ok(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, MSIX, 0, 4), fds)
    nvme.ok(SET_IRQS, set_irqs(DATA_BOOL | MASK, MSIX, 0, 4, b"\0\1\0\1"))
    nvme.ok(SET_IRQS, set_irqs(DATA_NONE | TRIGGER, MSIX, 0, 4))
    assert [signalled(fd) for fd in fds] == [1, 0, 1, 0]
    nvme.ok(SET_IRQS, set_irqs(DATA_NONE | UNMASK, MSIX, 0, 4))
    assert [signalled(fd) for fd in fds] == [0, 1, 0, 1]


@pytest.mark.parametrize(("name", "kind"), MASKABLE, ids=str)
@pytest.mark.parametrize("action", [MASK, UNMASK], ids=["MASK", "UNMASK"])
def test_eventfd_tells_of_masking(
    connect: Connect, events: Events, name: str, kind: int, action: int
) -> None:
    """EVENTFD with MASK or UNMASK gives an eventfd that is signalled when that happens."""
    peer = connect(name)
    told = events.new()
    wire(peer, kind, told, action=action)
    assert not signalled(told)
    act(peer, kind, MASK)
    assert signalled(told) == int(action == MASK)
    act(peer, kind, UNMASK)
    assert signalled(told) == int(action == UNMASK)
    peer.ok(SET_IRQS, set_irqs(DATA_EVENTFD | action, kind))
    act(peer, kind, action)
    assert not signalled(told)


def test_eventfd_tells_of_automasking(edu: Peer, events: Events) -> None:
    """INTx masking itself is a masking, too."""
    fd, told = events.many(2)
    wire(edu, INTX, fd)
    wire(edu, INTX, told, action=MASK)
    raise_edu(edu)
    assert wait_signal(told) == 1


# Life


def test_error_and_request_interrupts_are_wired(device: Peer, events: Events) -> None:
    """ERR and REQ have one interrupt each, which can be assigned, triggered, and taken away."""
    for kind in (ERR, REQ):
        fd = events.new()
        wire(device, kind, fd)
        trigger(device, kind)
        assert signalled(fd) == 1
        device.ok(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, kind))
        trigger(device, kind)
        assert not signalled(fd)


def test_kinds_are_independent(edu: Peer, events: Events) -> None:
    """Eventfds of several kinds may be assigned at a time; the device uses messages where it
    can."""
    intx, msi = events.many(2)
    wire(edu, INTX, intx)
    wire(edu, MSI, msi)
    raise_edu(edu)
    assert wait_signal(msi) == 1
    assert not signalled(intx)
