# SPDX-License-Identifier: BSD-3-Clause
"""A serial port that outboard serves, as the console of a Linux guest and as a line of its own."""

from __future__ import annotations

import hashlib
import os
import select
import socket
import tty
from collections.abc import Callable
from pathlib import Path

import pytest
from guest import TIME_SCALE, Guest
from server import Server

Serve = Callable[..., Server]
Boot = Callable[..., Guest]

LIMIT = 60 * TIME_SCALE
PLENTY = bytes((i * 7 + i // 256) & 0xFF for i in range(64 * 1024))
# The guest's own two ports are ttyS0 and ttyS1.
LINE = "/dev/ttyS2"


def read_exactly(fd: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        ready, _, _ = select.select([fd], [], [], LIMIT)
        assert ready, f"{len(data)} of {count} bytes"
        data += os.read(fd, count - len(data))
    return data


def read_until(fd: int, what: bytes) -> bytes:
    data = b""
    while what not in data:
        data += read_exactly(fd, 1)
    return data


def write_all(fd: int, data: bytes) -> None:
    while data:
        _, ready, _ = select.select([], [fd], [], LIMIT)
        assert ready
        data = data[os.write(fd, data) :]


def open_end(kind: str, work: Path) -> int:
    """The other end of the line."""
    if kind == "pty":
        fd = os.open(work / "line", os.O_RDWR | os.O_NOCTTY)
        tty.setraw(fd)
        return fd
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(str(work / "line"))
        return end.detach()


def serve_line(serve: Serve, work: Path, kind: str) -> None:
    chardev = f"{kind}:{work}/line" + (",server=on,wait=off" if kind == "unix" else "")
    serve(["pci-serial", f"chardev={chardev}", f"socket={work}/serial.sock"])


def test_console(serve: Serve, boot: Boot, work: Path) -> None:
    """The kernel's messages, and a shell that does what is typed."""
    serve_line(serve, work, "unix")
    end = open_end("unix", work)
    guest = boot(work / "serial.sock", terminal="ttyS2", append="loglevel=7", wait=False)
    read_until(end, b"console [ttyS2] enabled")
    read_until(end, b"/ # ")
    write_all(end, b"echo $((6 * 7)) is the answer\n")
    read_until(end, b"42 is the answer")
    guest.wait_ready()
    assert "2: uart:16550A" in guest.run("cat /proc/tty/driver/serial")
    os.close(end)


@pytest.mark.parametrize("kind", ["unix", "pty"])
def test_plenty_of_bytes_each_way(serve: Serve, boot: Boot, work: Path, kind: str) -> None:
    serve_line(serve, work, kind)
    end = open_end(kind, work)
    guest = boot(work / "serial.sock")
    # Whoever opens the port drops what came before.
    job = guest.start_job(
        f"exec <{LINE}; stty raw -echo 115200; echo ready >{LINE}; head -c {len(PLENTY)} >/tmp/in"
    )
    assert read_exactly(end, 6) == b"ready\n"
    write_all(end, PLENTY)
    job.wait()
    assert guest.run("sha256sum </tmp/in").split()[0] == hashlib.sha256(PLENTY).hexdigest()
    job = guest.start_job(f"exec >{LINE}; stty -F {LINE} raw; cat /tmp/in")
    assert read_exactly(end, len(PLENTY)) == PLENTY
    job.wait()
    os.close(end)
