# SPDX-License-Identifier: BSD-3-Clause
"""The listening socket: its permissions, what is in its place already, and what is left of it."""

from __future__ import annotations

import os
import signal
import socket
import stat
from pathlib import Path

import pytest
from conftest import Run, Start
from outboard import wait_until
from vfio_user import Client


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("mask", ["000", "022", "077", "777"])
def test_mode_is_0600_whatever_the_umask(outboard: Start, folder: Path, mask: str) -> None:
    outboard("edu", "socket=a", wrapper=["sh", "-c", f'umask {mask}; exec "$@"', "sh"])
    assert mode_of(folder / "a") == 0o600


@pytest.mark.parametrize("mode", ["0660", "666", "0400"])
def test_mode(outboard: Start, folder: Path, mode: str) -> None:
    outboard("edu", "socket=a", f"socket-mode={mode}")
    assert mode_of(folder / "a") == int(mode, 8)


def test_group(outboard: Start, folder: Path) -> None:
    if os.geteuid():
        groups = [group for group in os.getgroups() if group != os.getegid()]
        if not groups:
            pytest.skip("neither root nor in a second group: no group to give the socket to")
        number = groups[0]
    else:
        number = 1
    outboard("edu", "socket=a", f"socket-group={number}", "socket-mode=0660")
    assert (folder / "a").lstat().st_gid == number
    assert mode_of(folder / "a") == 0o660


def test_group_by_name(outboard: Start, folder: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give the socket to any group")
    outboard("edu", "socket=a", "socket-group=daemon")
    assert (folder / "a").lstat().st_gid == 1


def test_is_removed_at_the_end(outboard: Start, folder: Path) -> None:
    process = outboard("edu", "socket=a", "--", "edu", "socket=b")
    assert process.stop() == 0
    assert not (folder / "a").exists()
    assert not (folder / "b").exists()


def test_is_removed_after_a_change_of_names_only_if_ours(outboard: Start, folder: Path) -> None:
    process = outboard("edu", "socket=a")
    (folder / "a").unlink()
    (folder / "a").write_text("somebody else's")
    assert process.stop() == 0
    assert (folder / "a").read_text() == "somebody else's"


def test_somebody_elses_socket_stays(outboard: Start, folder: Path) -> None:
    process = outboard("edu", "socket=keep")
    (folder / "keep").unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(folder / "keep"))
        assert process.stop() == 0
        assert (folder / "keep").is_socket()


def test_stale_socket_is_replaced(outboard: Start, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(folder / "a"))
        stale.listen()
    os.chmod(folder / "a", 0o777)
    before = (folder / "a").lstat().st_ino, (folder / "a").lstat().st_mtime_ns
    outboard("edu", "socket=a")
    assert ((folder / "a").lstat().st_ino, (folder / "a").lstat().st_mtime_ns) != before
    assert mode_of(folder / "a") == 0o600
    Client(folder / "a").close()


def test_socket_of_a_killed_server_is_replaced(outboard: Start, folder: Path) -> None:
    first = outboard("edu", "socket=a")
    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    assert (folder / "a").is_socket()
    outboard("edu", "socket=a")
    Client(folder / "a").close()


def test_stale_socket_with_the_longest_name(outboard: Start, folder: Path) -> None:
    name = "s" * 107
    first = outboard("edu", f"socket={name}")
    first.stop(signal.SIGKILL)
    outboard("edu", f"socket={name}")


def test_socket_in_use_is_refused(outboard: Start, run: Run, folder: Path) -> None:
    first = outboard("edu", "socket=a")
    inode = (folder / "a").lstat().st_ino
    result = run("edu", "socket=a")
    assert result.returncode == 1
    assert "a is in use" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert (folder / "a").lstat().st_ino == inode
    # It was not even noticed there.
    assert "client" not in first.errors()
    Client(folder / "a").close()


NO_PATHS = [
    ("tcp:127.0.0.1:4420", "only UNIX sockets pass descriptors"),
    ("vsock:3:1", "only UNIX sockets pass descriptors"),
    ("unix:a", "the path alone expected: a"),
]


@pytest.mark.parametrize("where, said", NO_PATHS)
def test_socket_that_is_no_path(run: Run, folder: Path, where: str, said: str) -> None:
    result = run("edu", f"socket={where}")
    assert result.returncode == 1
    assert said in result.stderr
    assert not any(folder.glob("*:*"))


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_socket_that_is_bound_is_in_use(run: Run, folder: Path, kind: int) -> None:
    with socket.socket(socket.AF_UNIX, kind) as other:
        other.bind(str(folder / "a"))
        result = run("edu", "socket=a")
        assert result.returncode == 1
        assert "in use" in result.stderr
        assert (folder / "a").is_socket()


@pytest.mark.parametrize("target", ["file", "stale", "nothing"])
def test_symbolic_link_is_refused(run: Run, folder: Path, target: str) -> None:
    (folder / "file").write_text("kept")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(folder / "stale"))
    (folder / "a").symlink_to(folder / target)
    result = run("edu", "socket=a")
    assert result.returncode == 1
    assert "not a socket" in result.stderr
    assert (folder / "a").is_symlink()
    assert (folder / "file").read_text() == "kept"


def test_race_for_a_stale_socket(outboard: Start, folder: Path) -> None:
    """Of many that want the same stale socket at once, one gets it and serves."""
    for _ in range(5):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(folder / "a"))
        rivals = [outboard("edu", "socket=a", wait=False) for _ in range(6)]
        wait_until(lambda rivals=rivals: sum(r.process.poll() is None for r in rivals) == 1)
        (winner,) = (r for r in rivals if r.process.poll() is None)
        winner.wait_ready()
        Client(folder / "a").close()
        assert winner.stop() == 0
        assert [path.name for path in folder.iterdir() if path.is_socket()] == []


def test_who_finds_the_socket_can_connect(outboard: Start, folder: Path) -> None:
    for i in range(10):
        path = folder / f"a{i}"
        process = outboard("edu", f"socket={path.name}", "socket-mode=0666", wait=False)
        while not path.exists():
            assert process.process.poll() is None
        assert mode_of(path) == 0o666
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(path))
        process.wait_ready()
    assert not list(folder.glob("*~"))


def test_a_path_without_room_for_another_name(outboard: Start, folder: Path) -> None:
    name = "a" * (107 - len(str(folder)) - 1)
    outboard("edu", f"socket={folder / name}")
    with Client(folder / name):
        pass
