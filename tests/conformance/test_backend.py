# SPDX-License-Identifier: BSD-3-Clause
"""Conventions for programs that serve devices."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from outboard import BIN, LIMIT
from peer import Peer
from served import Process

Start = Callable[..., Process]


def test_does_not_daemonize(start: Start) -> None:
    """The process that was started is the one that serves."""
    process = start("edu", "socket=a")
    with Peer(process.folder / "a") as peer:
        credentials = peer.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        assert int.from_bytes(credentials[:4], "little") == process.pid
        assert process.process.poll() is None


@pytest.mark.parametrize("connected", [True, False])
def test_sigterm_ends_it(start: Start, connected: bool) -> None:
    """SIGTERM ends it in order, with or without a client."""
    process = start("edu", "socket=a")
    peer = Peer(process.folder / "a") if connected else None
    assert process.stop(signal.SIGTERM) == 0
    assert not (process.folder / "a").exists()
    if peer:
        peer.close()


def test_socket_path(start: Start) -> None:
    """--socket-path says where the socket is."""
    process = start("edu", "--socket-path=there")
    with Peer(process.folder / "there") as peer:
        peer.still_served()


def test_fd(tmp_path: Path) -> None:
    """--fd gives a socket that listens already."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "inherited"))
        listener.listen()
        number = listener.fileno()
        process = subprocess.Popen([BIN, "edu", f"--fd={number}"], pass_fds=[number])
        with Peer(tmp_path / "inherited") as peer:
            peer.still_served()
        process.terminate()
        assert process.wait(LIMIT) == 0


def test_fd_excludes_socket_path(tmp_path: Path) -> None:
    """--fd and --socket-path for the same device are a contradiction."""
    result = subprocess.run(
        [BIN, "edu", "--fd=5", f"--socket-path={tmp_path / 'a'}"],
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )
    assert result.returncode != 0
    assert result.stderr


def test_standard_descriptors_may_be_redirected(start: Start) -> None:
    """Descriptors 0, 1 and 2 are standard input, output and error, and may be anything."""
    process = start("edu", "socket=a")
    with Peer(process.folder / "a") as peer:
        peer.still_served()
    for number in range(3):
        assert os.path.exists(f"/proc/{process.pid}/fd/{number}")


def test_program_is_described_by_a_json_file() -> None:
    """A JSON file for the folder share/vfio-user says what the program is and where."""
    (described,) = BIN.parent.glob("packaging/*outboard.json")
    description = json.loads(described.read_text())
    assert set(description) == {"description", "type", "binary"}
    assert Path(description["binary"]).name == "outboard"
