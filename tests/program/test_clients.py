# SPDX-License-Identifier: BSD-3-Clause
"""Clients come and go: one at a time, at once after the last, in order or not."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import Start
from outboard import wait_until
from vfio_user import (
    GET_INFO,
    HEADER,
    NO_REPLY,
    REGION_BAR0,
    REGION_READ,
    REGION_WRITE,
    VERSION,
    Client,
    Hangup,
    Memory,
)

HERE = Path(__file__).resolve().parent
EDU_ID = 0x010000ED
LIVENESS = 4


def test_second_client_is_turned_away(outboard: Start, folder: Path) -> None:
    process = outboard("edu", "socket=a")
    with Client(folder / "a") as first:
        for _ in range(3):
            with Client(folder / "a", negotiate=False) as second, pytest.raises(Hangup):
                second.negotiate()
        assert first.read32(REGION_BAR0, 0) == EDU_ID
        process.wait_log("client refused")
        pid, uid, gid = os.getpid(), os.getuid(), os.getgid()
        assert (
            f"edu0-server: client refused (pid {pid}, uid {uid}, gid {gid}): another client is "
            f"connected (pid {pid})" in process.errors()
        )
    Client(folder / "a").close()


def test_who_connected_is_logged(outboard: Start, folder: Path) -> None:
    process = outboard("edu", "socket=a", "id=dev7")
    Client(folder / "a").close()
    process.wait_log("client disconnected")
    who = f"(pid {os.getpid()}, uid {os.getuid()}, gid {os.getgid()})"
    assert f"outboard: dev7-server: client connected {who}" in process.errors()


def test_many_refusals_are_few_lines(outboard: Start, folder: Path) -> None:
    process = outboard("edu", "socket=a")
    with Client(folder / "a"):
        for _ in range(500):
            Client(folder / "a", negotiate=False).close()
    assert process.stop() == 0
    assert len(process.errors().splitlines()) < 200


def test_reconnect_at_once(outboard: Start, folder: Path) -> None:
    process = outboard("edu", "socket=a")
    for i in range(300):
        with Client(folder / "a") as client:
            client.write32(REGION_BAR0, LIVENESS, i)
            assert client.read32(REGION_BAR0, LIVENESS) == ~i & 0xFFFFFFFF
    assert "refused" not in process.errors()


def test_reconnect_with_much_unread(outboard: Start, folder: Path) -> None:
    """What a client sent before it hung up does not get the next one refused."""
    process = outboard("edu", "socket=a")
    payload = struct.pack("<QII", LIVENESS, REGION_BAR0, 4) + bytes(4)
    write = HEADER.pack(1, REGION_WRITE, HEADER.size + len(payload), NO_REPLY, 0) + payload
    for _ in range(20):
        with Client(folder / "a") as client:
            client.send(write * 2000)
    with Client(folder / "a") as client:
        assert client.read32(REGION_BAR0, LIVENESS) == 0xFFFFFFFF
    assert "refused" not in process.errors()


def test_device_keeps_its_state(outboard: Start, folder: Path) -> None:
    outboard("edu", "socket=a")
    with Client(folder / "a") as client:
        client.write32(REGION_BAR0, LIVENESS, 0x1234)
    with Client(folder / "a") as client:
        assert client.read32(REGION_BAR0, LIVENESS) == 0xFFFFEDCB
        client.reset()
        assert client.read32(REGION_BAR0, LIVENESS) != 0xFFFFEDCB


def test_client_that_says_nothing(outboard: Start, folder: Path) -> None:
    process = outboard("edu", "socket=a", "--", "edu", "socket=b")
    with Client(folder / "a", negotiate=False), Client(folder / "b") as other:
        assert other.read32(REGION_BAR0, 0) == EDU_ID
        assert process.stop() == 0


def test_killed_client(outboard: Start, folder: Path) -> None:
    process = outboard("edu", "socket=a")
    script = (
        f"import sys, time; sys.path.insert(0, {str(HERE)!r}); from vfio_user import *;"
        "client = Client('a'); memory = Memory(1 << 20); client.dma_map(0, 1 << 20, memory.fd);"
        "print('up', flush=True); time.sleep(60)"
    )
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-B", "-c", script], cwd=folder, stdout=subprocess.PIPE
        ) as client:
            assert client.stdout and client.stdout.readline() == b"up\n"
            client.send_signal(signal.SIGKILL)
        with Client(folder / "a") as after:
            assert after.read32(REGION_BAR0, 0) == EDU_ID
    maps = Path(f"/proc/{process.pid}/maps")
    wait_until(lambda: "memfd:guest" not in maps.read_text())


def test_memory_is_let_go(outboard: Start, folder: Path) -> None:
    process = outboard("edu", "socket=a")
    maps = Path(f"/proc/{process.pid}/maps")
    memory = Memory(1 << 20)
    with Client(folder / "a") as client:
        client.dma_map(0x100000, 1 << 20, memory.fd)
        assert "memfd:guest" in maps.read_text()
    wait_until(lambda: "memfd:guest" not in maps.read_text())
    memory.close()


NONSENSE = {
    "random bytes": bytes(range(256)) * 16,
    "zeroes": bytes(4096),
    "size too small": HEADER.pack(1, VERSION, 3, 0, 0),
    "size too large": HEADER.pack(1, VERSION, 0xFFFFFFFF, 0, 0),
    "half a header": HEADER.pack(1, VERSION, 16, 0, 0)[:7],
    "half a message": HEADER.pack(1, VERSION, 100, 0, 0) + bytes(10),
    "a reply": HEADER.pack(1, VERSION, 16, 1, 0),
    "a command before the version": HEADER.pack(1, GET_INFO, 32, 0, 0) + bytes(16),
    "a wrong major version": HEADER.pack(1, VERSION, 20, 0, 0) + struct.pack("<HH", 77, 0),
    "no JSON": HEADER.pack(1, VERSION, 26, 0, 0) + struct.pack("<HH", 0, 0) + b"{{{{{\0",
}


@pytest.mark.parametrize("data", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_ends_only_its_own_session(outboard: Start, folder: Path, data: bytes) -> None:
    outboard("edu", "socket=a", "--", "edu", "socket=b")
    with Client(folder / "b") as other:
        with Client(folder / "a", negotiate=False) as client, suppress(Hangup):
            client.send(data)
        assert other.read32(REGION_BAR0, 0) == EDU_ID
    with Client(folder / "a") as client:
        assert client.read32(REGION_BAR0, 0) == EDU_ID


def test_pipelined_requests(outboard: Start, folder: Path) -> None:
    outboard("edu", "socket=a")
    with Client(folder / "a") as client:
        payload = struct.pack("<QII", 0, REGION_BAR0, 4)
        ids = [client.send_command(REGION_READ, payload) for _ in range(500)]
        for message_id in ids:
            reply = client.receive()
            assert reply.id == message_id
            assert reply.payload[16:] == struct.pack("<I", EDU_ID)


def test_end_with_clients_connected(outboard: Start, folder: Path) -> None:
    words = ["edu", "socket=0"]
    for i in range(1, 20):
        words += ["--", "edu", f"socket={i}"]
    process = outboard(*words)
    clients = [Client(folder / str(i)) for i in range(20)]
    assert process.stop() == 0
    for client in clients:
        with pytest.raises(Hangup):
            client.read32(REGION_BAR0, 0)
        client.close()
