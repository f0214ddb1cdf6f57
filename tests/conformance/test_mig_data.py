# SPDX-License-Identifier: BSD-3-Clause
"""MIG_DATA_READ and MIG_DATA_WRITE: the stream of a device's state."""

from __future__ import annotations

import pytest
from peer import MIG_DATA_READ, MIG_DATA_WRITE, S_MIG_DATA, Peer, mig_data_read


@pytest.mark.parametrize("length", [0, 4, 7])
def test_read_request_has_8_bytes(device: Peer, length: int) -> None:
    """A request to read that is shorter than its structure is refused."""
    device.fails(MIG_DATA_READ, mig_data_read(64)[:length], None)


@pytest.mark.parametrize("argsz", [0, 4, 7])
def test_read_argsz_covers_the_structure(device: Peer, argsz: int) -> None:
    """A client has room for the fixed part, at least."""
    device.fails(MIG_DATA_READ, mig_data_read(64, argsz), None)


@pytest.mark.parametrize("size", [0, 1, 64, 4096])
def test_read_fails_outside_of_saving(device: Peer, size: int) -> None:
    """Data can be read in the saving states only: a running device has none."""
    device.fails(MIG_DATA_READ, mig_data_read(size, 8 + size), None)


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0xFFFFFFFF])
def test_read_size_is_bounded(device: Peer, size: int) -> None:
    """However much is asked for, the session goes on."""
    device.fails(MIG_DATA_READ, mig_data_read(size, 0xFFFFFFFF), None)


@pytest.mark.parametrize("length", [0, 4, 7])
def test_write_request_has_8_bytes_at_least(device: Peer, length: int) -> None:
    """A request to write that is shorter than its structure is refused."""
    device.fails(MIG_DATA_WRITE, S_MIG_DATA.pack(8, 0)[:length], None)


@pytest.mark.parametrize("size", [63, 65, 0, 0xFFFFFFFF])
def test_write_size_is_that_of_the_data(device: Peer, size: int) -> None:
    """A size that is not that of the data is refused."""
    device.fails(MIG_DATA_WRITE, S_MIG_DATA.pack(72, size) + bytes(64), None)


@pytest.mark.parametrize("size", [0, 64, 65536])
def test_write_fails_outside_of_resuming(device: Peer, size: int) -> None:
    """Data can be written in the state RESUMING only: a running device takes none."""
    device.fails(MIG_DATA_WRITE, S_MIG_DATA.pack(8 + size, size) + bytes(size), None)
