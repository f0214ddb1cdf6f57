# SPDX-License-Identifier: BSD-3-Clause
"""Several clients: a socket and a session for each, one client for a device, and who may be one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from outboard import LIMIT
from peer import CONFIG, REPLY, VERSION, Hangup, Peer, frame, version
from served import Connect, Process

Start = Callable[..., Process]


def test_devices_have_sockets_of_their_own(connect: Connect) -> None:
    """Every device has its own socket: what is said on one concerns no other."""
    edu, nvme = connect("edu"), connect("nvme")
    assert edu.read(CONFIG, 0, 4) != nvme.read(CONFIG, 0, 4)
    edu.map(0x100000, 4096)
    assert nvme.unmapped(0x100000, 4096) == 0
    edu.close()
    nvme.still_served()


def test_second_client_is_refused(start: Start) -> None:
    """While a client is connected, another one is hung up on, and the log says why."""
    process = start("edu", "socket=a")
    with Peer(process.folder / "a") as first:
        for _ in range(3):
            with Peer(process.folder / "a", False) as second, pytest.raises(Hangup):
                second.send(frame(VERSION, version()))
                second.receive()
        process.wait_log("another client is connected")
        first.still_served()
    with Peer(process.folder / "a") as third:
        third.still_served()


def test_client_that_says_nothing_is_one(start: Start) -> None:
    """A connection counts from its beginning, whether or not anything was negotiated."""
    process = start("edu", "socket=a")
    with Peer(process.folder / "a", False):
        with Peer(process.folder / "a", False) as second, pytest.raises(Hangup):
            second.send(frame(VERSION, version()))
            second.receive()


def test_second_client_may_wait(start: Start) -> None:
    """With queue=on it is served when the first one leaves."""
    process = start("edu", "socket=a", "queue=on")
    first = Peer(process.folder / "a")
    second = Peer(process.folder / "a", False)
    second.send(frame(VERSION, version()))
    for _ in range(100):
        first.still_served()
    assert second.is_quiet()
    first.close()
    assert second.receive().flags == REPLY
    second.still_served()
    second.close()


def test_waiting_clients_are_served_in_order(start: Start) -> None:
    """Those who wait are served one after the other, as they came; who left is passed over."""
    process = start("edu", "socket=a", "queue=on")
    clients = [Peer(process.folder / "a")]
    for _ in range(6):
        clients.append(Peer(process.folder / "a", False))
        clients[-1].send(frame(VERSION, version()))
    clients.pop(3).close()
    while clients:
        assert all(client.is_quiet() for client in clients[1:])
        clients.pop(0).close()
        if clients:
            assert clients[0].receive().flags == REPLY
            clients[0].still_served()


def test_user_may_be_allowed(start: Start) -> None:
    """allow-uid and allow-gid let in whoever is in one of the lists."""
    uid, gid = os.getuid(), os.getgid()
    words = ["edu", "socket=a", f"allow-uid=12345:{uid}", "--", "edu", "socket=b"]
    process = start(*words, f"allow-gid={gid}", "--", "edu", "socket=c", "allow-uid=12345",
                    f"allow-gid={gid}")
    for name in "abc":
        with Peer(process.folder / name) as peer:
            peer.still_served()


def test_others_are_refused(start: Start) -> None:
    """Who is in no list is hung up on, and the log says who that was."""
    process = start("edu", "socket=a", "allow-uid=12345", "--", "edu", "socket=b",
                    "allow-gid=12345")
    for name in "ab":
        with Peer(process.folder / name, False) as peer, pytest.raises(Hangup):
            peer.send(frame(VERSION, version()))
            peer.receive()
    process.wait_log(f"uid {os.getuid()}")
    process.wait_idle()


def test_refused_client_takes_nobody_s_place(start: Start) -> None:
    """A client that is not allowed does not end the session of one that is."""
    process = start("edu", "socket=a", f"allow-uid={os.getuid()}", "socket-mode=0666")
    with Peer(process.folder / "a") as first:
        script = (
            "import os, socket, sys; os.setuid(12345); s = socket.socket(socket.AF_UNIX);"
            "s.settimeout(10); s.connect(sys.argv[1]); sys.exit(len(s.recv(1)))"
        )
        if os.getuid() == 0:
            for parent in list((process.folder / "a").parents)[:-2]:
                parent.chmod(parent.stat().st_mode | 0o755)
        command = [sys.executable, "-c", script, str(process.folder / "a")]
        if os.getuid() == 0:
            assert subprocess.run(command, timeout=LIMIT * 2, check=False).returncode == 0
        first.still_served()
