# SPDX-License-Identifier: BSD-3-Clause
"""DEVICE_FEATURE: get, set or probe a feature of the device. All of them are about migration."""

from __future__ import annotations

import errno
import struct

import pytest
from peer import (
    DEVICE_FEATURE,
    ERROR,
    FEATURE_GET,
    FEATURE_LOGGING_REPORT,
    FEATURE_LOGGING_START,
    FEATURE_LOGGING_STOP,
    FEATURE_MIGRATION,
    FEATURE_MIG_DEVICE_STATE,
    FEATURE_PROBE,
    FEATURE_SET,
    Peer,
    feature,
)

FEATURES = {
    "MIGRATION": FEATURE_MIGRATION,
    "MIG_DEVICE_STATE": FEATURE_MIG_DEVICE_STATE,
    "DMA_LOGGING_START": FEATURE_LOGGING_START,
    "DMA_LOGGING_STOP": FEATURE_LOGGING_STOP,
    "DMA_LOGGING_REPORT": FEATURE_LOGGING_REPORT,
}
METHODS = {"GET": FEATURE_GET, "SET": FEATURE_SET}

STOP_COPY = 1
RUNNING = 2


def supports(peer: Peer, flags: int) -> bool:
    """What a probe says."""
    reply = peer.ask(DEVICE_FEATURE, feature(flags | FEATURE_PROBE))
    return not reply.flags & ERROR


@pytest.mark.parametrize("length", [0, 4, 7])
def test_request_has_8_bytes_at_least(device: Peer, length: int) -> None:
    """A request shorter than its structure is refused."""
    device.fails(DEVICE_FEATURE, feature(FEATURE_GET | FEATURE_MIGRATION)[:length], None)


@pytest.mark.parametrize("argsz", [0, 4, 7])
def test_argsz_covers_the_structure(device: Peer, argsz: int) -> None:
    """A client has room for the fixed part, at least."""
    device.fails(DEVICE_FEATURE, feature(FEATURE_GET | FEATURE_MIGRATION, argsz=argsz), None)


def test_argsz_covers_what_is_set(device: Peer) -> None:
    """The reply to SET has the request's payload: argsz has room for it, or nothing is set."""
    if not supports(device, FEATURE_SET | FEATURE_MIG_DEVICE_STATE):
        return
    stop = struct.pack("<II", 1, 0)
    for argsz in (8, 12, 15):
        request = feature(FEATURE_SET | FEATURE_MIG_DEVICE_STATE, stop, argsz=argsz)
        device.fails(DEVICE_FEATURE, request)
    state = device.ok(DEVICE_FEATURE, feature(FEATURE_GET | FEATURE_MIG_DEVICE_STATE)).payload
    assert struct.unpack_from("<III", state)[2] == RUNNING
    request = feature(FEATURE_SET | FEATURE_MIG_DEVICE_STATE, stop, argsz=16)
    assert device.ok(DEVICE_FEATURE, request).payload == request


@pytest.mark.parametrize("name", FEATURES)
def test_get_and_set_exclude_each_other(device: Peer, name: str) -> None:
    """GET with SET is an error, unless it is a probe."""
    both = FEATURE_GET | FEATURE_SET | FEATURES[name]
    device.fails(DEVICE_FEATURE, feature(both, bytes(32)), None)


@pytest.mark.parametrize("name", FEATURES)
def test_there_is_a_method(device: Peer, name: str) -> None:
    """Without GET, SET and PROBE there is nothing to do."""
    device.fails(DEVICE_FEATURE, feature(FEATURES[name]), None)


@pytest.mark.parametrize("bit", range(19, 32))
def test_unknown_flags_are_refused(device: Peer, bit: int) -> None:
    """A method without a meaning is an error."""
    flags = FEATURE_PROBE | FEATURE_GET | FEATURE_MIGRATION | 1 << bit
    device.fails(DEVICE_FEATURE, feature(flags), None)


@pytest.mark.parametrize("number", [0, 3, 4, 5, 10, 100, 0xFFFF])
@pytest.mark.parametrize("method", METHODS)
def test_unknown_features_fail(device: Peer, number: int, method: str) -> None:
    """A feature that vfio-user does not have cannot be had, nor probed."""
    flags = METHODS[method] | number
    device.fails(DEVICE_FEATURE, feature(flags, bytes(32)), errno.ENOTTY)
    device.fails(DEVICE_FEATURE, feature(flags | FEATURE_PROBE), errno.ENOTTY)
    assert not supports(device, METHODS[method] | number)


@pytest.mark.parametrize("name", FEATURES)
def test_probe_of_both_is_of_each(device: Peer, name: str) -> None:
    """A probe of GET and SET succeeds if each of the two is supported."""
    number = FEATURES[name]
    each = [supports(device, method | number) for method in METHODS.values()]
    assert supports(device, FEATURE_GET | FEATURE_SET | number) == all(each)


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("method", METHODS)
def test_probe_is_replied_to_with_its_request(device: Peer, name: str, method: str) -> None:
    """The reply to a probe that succeeds has the request's payload."""
    request = feature(METHODS[method] | FEATURES[name] | FEATURE_PROBE, argsz=8)
    reply = device.ask(DEVICE_FEATURE, request)
    assert reply.payload == (b"" if reply.flags & ERROR else request)


def test_migration_is_probed_truly(device: Peer) -> None:
    """GET of MIGRATION succeeds if the probe said so; then STOP_COPY is among the states."""
    request = FEATURE_GET | FEATURE_MIGRATION
    reply = device.ask(DEVICE_FEATURE, feature(request))
    assert bool(reply.flags & ERROR) != supports(device, request)
    if not reply.flags & ERROR:
        argsz, flags, states = struct.unpack("<IIQ", reply.payload)
        assert (argsz, flags) == (16, request)
        assert states & STOP_COPY


def test_state_is_running_at_first(device: Peer) -> None:
    """GET of the state succeeds if migration is supported; a device that was reset is running."""
    request = FEATURE_GET | FEATURE_MIG_DEVICE_STATE
    reply = device.ask(DEVICE_FEATURE, feature(request))
    assert bool(reply.flags & ERROR) != supports(device, FEATURE_GET | FEATURE_MIGRATION)
    if not reply.flags & ERROR:
        assert struct.unpack_from("<III", reply.payload)[2] == RUNNING
