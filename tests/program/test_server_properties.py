# SPDX-License-Identifier: BSD-3-Clause
"""What a server's properties allow a client, and what a client that goes too far loses."""

from __future__ import annotations

import array
import grp
import json
import mmap
import os
import pwd
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from outboard import wait_until
from vfio_user import (
    DMA_MAP,
    DMA_READ,
    ERROR,
    HEADER,
    REGION_BAR0,
    REGION_READ,
    REPLY,
    VERSION,
    Client,
    ErrorReply,
    Hangup,
    Memory,
)

EDU_ID = 0x010000ED
DMA_SOURCE, DMA_DESTINATION, DMA_COUNT, DMA_COMMAND = 0x80, 0x88, 0x90, 0x98
BUFFER = 0x40000
ENOSPC = 28


def serve(outboard: Start, *options: str) -> Any:
    server = ",".join(["x-vfio-user-server,id=s0,type=unix,path=a,device=e0", *options])
    return outboard("-device", "edu,id=e0", "-object", server)


def negotiate(client: Client, capabilities: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
    text = json.dumps({"capabilities": capabilities}).encode() + b"\0"
    reply = client.request(VERSION, struct.pack("<HH", 0, 1) + text)
    return json.loads(reply.payload[4:].rstrip(b"\0"))["capabilities"], reply.fds


def start_dma_read(client: Client, address: int, count: int) -> None:
    client.write64(REGION_BAR0, DMA_SOURCE, address)
    client.write64(REGION_BAR0, DMA_DESTINATION, BUFFER)
    client.write64(REGION_BAR0, DMA_COUNT, count)
    client.write64(REGION_BAR0, DMA_COMMAND, 1)


def test_a_second_client_waits(outboard: Start, folder: Path) -> None:
    serve(outboard, "queue=on")
    first = Client(folder / "a")
    second = Client(folder / "a", negotiate=False)
    second.send_command(VERSION, struct.pack("<HH", 0, 0))
    assert first.read32(REGION_BAR0, 0) == EDU_ID
    first.close()
    assert second.receive().command == VERSION
    assert second.read32(REGION_BAR0, 0) == EDU_ID
    second.close()


def test_users_and_groups(outboard: Start, folder: Path) -> None:
    uid, gid = os.getuid(), os.getgid()
    names = [pwd.getpwuid(uid).pw_name, grp.getgrgid(gid).gr_name]
    allowing = [
        f"allow-uid=12345:{uid}",
        f"allow-uid={names[0]}",
        f"allow-gid={gid}",
        f"allow-gid=12345:{names[1]}",
        f"allow-uid=12345,allow-gid={gid}",
    ]
    for option in allowing:
        process = serve(outboard, option)
        Client(folder / "a").close()
        assert process.stop() == 0


def test_a_stranger_is_refused(outboard: Start, folder: Path) -> None:
    process = serve(outboard, "allow-uid=12345", "allow-gid=12346:12347")
    with Client(folder / "a", negotiate=False) as client, pytest.raises(Hangup):
        client.negotiate()
    process.wait_log(f"client refused (pid {os.getpid()}, uid {os.getuid()}, gid {os.getgid()}):")
    assert "neither allow-uid nor allow-gid has it" in process.errors()


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("allow-uid=nobody-of-this-name", "there is no user of that name"),
        ("allow-gid=1:", "there is no group of that name"),
        ("max-data-xfer-size=1", "max-data-xfer-size"),
        ("max-dma-maps=0", "max-dma-maps"),
    ],
)
def test_wrong_values(outboard: Start, option: str, text: str) -> None:
    server = f"x-vfio-user-server,id=s0,type=unix,path=a,device=e0,{option}"
    process = outboard("-device", "edu,id=e0", "-object", server, wait=False)
    assert process.wait() != 0
    assert text in process.errors()


def test_limits_are_offered_and_kept(outboard: Start, folder: Path) -> None:
    process = serve(outboard, "max-data-xfer-size=64K", "max-dma-maps=2")
    with Client(folder / "a", negotiate=False) as client:
        offered, _ = negotiate(client, {})
        assert offered["max_data_xfer_size"] == 65536
        assert offered["max_dma_maps"] == 2
        memory = Memory(4096)
        client.dma_map(0, 4096, memory.fd)
        client.dma_map(4096, 4096, memory.fd)
        with pytest.raises(ErrorReply) as caught:
            client.dma_map(8192, 4096, memory.fd)
        assert caught.value.error == ENOSPC
        memory.close()
        # A longer message than can be meant ends it.
        client.send(HEADER.pack(1, REGION_READ, 16 + 16 + 65536 + 1, 0, 0))
        with pytest.raises(Hangup):
            client.receive()
    process.wait_log("client disconnected: Message too long")


def test_log_lines_have_a_bound(outboard: Start, folder: Path) -> None:
    process = serve(outboard, "log-lines=3")
    with Client(folder / "a") as client:
        for _ in range(200):
            with pytest.raises(ErrorReply):
                client.read(77, 0, 4)
    wait_until(lambda: "fails" in process.errors())
    assert process.errors().count("fails") < 100


def test_noise_hides_no_facts(outboard: Start, folder: Path) -> None:
    """How a session begins and ends is said, and how much was left out, with nothing after it."""
    process = serve(outboard, "log-lines=3")
    with Client(folder / "a") as client:
        for _ in range(200):
            with pytest.raises(ErrorReply):
                client.read(77, 0, 4)
        client.send(HEADER.pack(1, REGION_READ, 16, 2, 0))  # neither command nor reply
        with pytest.raises(Hangup):
            client.receive()
    process.wait_log("client connected")
    process.wait_log("message type 2")
    process.wait_log("client disconnected: Protocol error")
    process.wait_log("lines not shown")


def test_coming_back_does_not_lift_the_bound(outboard: Start, folder: Path) -> None:
    process = serve(outboard, "log-lines=3")
    for _ in range(100):
        with Client(folder / "a") as client, pytest.raises(ErrorReply):
            client.read(77, 0, 4)
    wait_until(lambda: "fails" in process.errors())
    assert process.errors().count("fails") < 50


def twin_of(client: Client) -> socket.socket:
    offered, fds = negotiate(client, {"max_msg_fds": 1, "twin_socket": {"supported": True}})
    assert offered["twin_socket"] == {"supported": True, "fd_index": 0}
    assert len(fds) == 1
    twin = socket.socket(fileno=fds[0])
    twin.settimeout(10)
    return twin


def test_the_device_asks_by_the_twin(outboard: Start, folder: Path) -> None:
    serve(outboard)
    with Client(folder / "a", negotiate=False) as client, twin_of(client) as twin:
        client.request(DMA_MAP, struct.pack("<IIQQQ", 32, 3, 0, 0x1000, 4096))
        start_dma_read(client, 0x1000, 4)
        data = twin.recv(4096)
        message_id, command, size, flags, _ = HEADER.unpack_from(data)
        assert (command, size, flags) == (DMA_READ, 32, 0)
        assert struct.unpack_from("<QQ", data, 16) == (0x1000, 4)
        # A command of the client is served while one of the device waits.
        assert client.read64(REGION_BAR0, DMA_COMMAND) & 1
        reply = HEADER.pack(message_id, DMA_READ, 36, REPLY, 0)
        twin.send(reply + struct.pack("<QQ", 0x1000, 4) + b"data")
        wait_until(lambda: not client.read64(REGION_BAR0, DMA_COMMAND) & 1)


def test_the_end_of_the_twin_is_the_end(outboard: Start, folder: Path) -> None:
    process = serve(outboard)
    with Client(folder / "a", negotiate=False) as client:
        twin_of(client).close()
        with pytest.raises(Hangup):
            client.receive()
    process.wait_log("the twin socket is closed: the client hung up")
    with Client(folder / "a", negotiate=False) as client, twin_of(client) as twin:
        twin.send(HEADER.pack(1, 13, 16, 0, 0))
        with pytest.raises(Hangup):
            client.receive()
    process.wait_log("a command on the twin socket")


def test_no_twin_where_it_is_off(outboard: Start, folder: Path) -> None:
    serve(outboard, "twin-socket=off")
    with Client(folder / "a", negotiate=False) as client:
        offered, fds = negotiate(client, {"max_msg_fds": 1, "twin_socket": {"supported": True}})
        assert "twin_socket" not in offered
        assert not fds


def test_cut_memory_costs_the_session_and_nothing_else(outboard: Start, folder: Path) -> None:
    process = outboard(
        *("-device", "edu,id=e0", "-device", "edu,id=e1"),
        *("-object", "x-vfio-user-server,id=s0,type=unix,path=a,device=e0"),
        *("-object", "x-vfio-user-server,id=s1,type=unix,path=b,device=e1"),
    )
    with Client(folder / "b") as other:
        for _ in range(3):
            with Client(folder / "a") as client:
                memory = Memory(16 * mmap.PAGESIZE)
                client.dma_map(0, memory.size, memory.fd)
                os.ftruncate(memory.fd, mmap.PAGESIZE)
                with pytest.raises(Hangup):
                    start_dma_read(client, 2 * mmap.PAGESIZE, 4)
                    client.receive()
                memory.close()
        assert other.read32(REGION_BAR0, 0) == EDU_ID
    assert "s0: the client's memory at 0x0 (0x10000 bytes) is gone" in process.errors()
    with Client(folder / "a") as client:
        assert client.read32(REGION_BAR0, 0) == EDU_ID


def test_unread_replies_hold_up_only_their_reader(outboard: Start, folder: Path) -> None:
    serve(outboard, "max-unsent=64K")
    with Client(folder / "a") as client:
        client.sock.setblocking(False)
        request = HEADER.pack(1, REGION_READ, 32, 0, 0) + struct.pack("<QII", 0, 7, 256)
        sent = 0
        quiet = 0
        while quiet < 20:
            try:
                sent += client.sock.send(request[sent % 32 :])
                quiet = 0
            except BlockingIOError:
                quiet += 1
                wait_a_little()
        assert sent < 16 << 20
        client.sock.setblocking(True)
        assert not client.receive().flags & ERROR


def wait_a_little() -> None:
    left, right = socket.socketpair()
    with left, right:
        left.settimeout(0.01)
        try:
            left.recv(1)
        except TimeoutError:
            pass


def test_descriptors_that_are_not_wanted_are_closed(outboard: Start, folder: Path) -> None:
    process = serve(outboard)
    with Client(folder / "a") as client:
        count = len(os.listdir(f"/proc/{process.pid}/fd"))
        memory = Memory(4096)
        for _ in range(50):
            rights = array.array("i", [memory.fd] * 8)
            message = HEADER.pack(9, REGION_READ, 32, 0, 0) + struct.pack("<QII", 0, 0, 4)
            client.sock.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            client.receive()
        memory.close()
        # Helper threads do that.
        wait_until(lambda: len(os.listdir(f"/proc/{process.pid}/fd")) == count)
