# SPDX-License-Identifier: BSD-3-Clause
"""A serial port and its chardevs through the whole program: bytes both ways, monitors, obctl."""

from __future__ import annotations

import os
import select
import socket
import tty
from pathlib import Path

import pytest
from conftest import Run, Start
from obctl import good, good_json
from outboard import LIMIT, Outboard, wait_until
from qmp import Qmp, QmpError
from vfio_user import IRQ_INTX, REGION_BAR0, REGION_CONFIG, Client

DATA, IER, FCR, LSR = 0, 1, 2, 5
READY, EMPTY = 0x01, 0x20
PLENTY = bytes((i * 7 + i // 256) & 0xFF for i in range(64 * 1024))


class Port:
    """A driver of the serial port."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.write(FCR, 1)

    def write(self, register: int, value: int) -> None:
        self.client.write(REGION_BAR0, register, bytes([value]))

    def read(self, register: int) -> int:
        return self.client.read(REGION_BAR0, register, 1)[0]

    def put(self, data: bytes) -> None:
        for byte in data:
            wait_until(lambda: self.read(LSR) & EMPTY)
            self.write(DATA, byte)

    def get(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            wait_until(lambda: self.read(LSR) & READY)
            data.append(self.read(DATA))
        return bytes(data)


def connect(path: Path) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(LIMIT)
    peer.connect(str(path))
    return peer


def read_exactly(fd: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        ready, _, _ = select.select([fd], [], [], LIMIT)
        assert ready, data
        data += os.read(fd, count - len(data))
    return data


def open_pty(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(fd)
    return fd


def test_through_a_socket(outboard: Start, folder: Path) -> None:
    outboard(
        "-chardev", "socket,id=c0,path=c,server=on,wait=off",
        "-device", "pci-serial,id=d0,chardev=c0",
        "-object", "x-vfio-user-server,id=s0,type=unix,path=a,device=d0",
    )  # fmt: skip
    with connect(folder / "c") as peer, Client(folder / "a") as client:
        port = Port(client)
        assert client.read32(REGION_CONFIG, 0) == 0x00021B36
        port.put(b"from the guest")
        assert read_exactly(peer.fileno(), 14) == b"from the guest"
        peer.sendall(b"to the guest")
        assert port.get(12) == b"to the guest"
        interrupt = os.eventfd(0, os.EFD_NONBLOCK)
        client.set_irq_eventfd(IRQ_INTX, 0, interrupt)
        port.write(IER, 1)
        peer.sendall(b"!")
        assert select.select([interrupt], [], [], LIMIT)[0]
        assert port.get(1) == b"!"
        os.close(interrupt)


def test_plenty_through_a_pty(outboard: Start, folder: Path) -> None:
    """What does not fit waits: in the terminal, and in the driver."""
    server = outboard("pci-serial", "chardev=pty:tty", "socket=a")
    assert "redirected to /dev/pts/" in server.errors()
    with Client(folder / "a") as client:
        port = Port(client)
        port.put(b"nobody hears this")
        fd = open_pty(folder / "tty")
        os.write(fd, b"x")
        assert port.get(1) == b"x"
        port.put(PLENTY[:2000])
        assert read_exactly(fd, 2000) == PLENTY[:2000]
        os.write(fd, PLENTY[:2000])
        assert port.get(2000) == PLENTY[:2000]
        os.close(fd)
    assert server.stop() == 0
    assert not (folder / "tty").is_symlink()


def test_to_a_file(outboard: Start, folder: Path) -> None:
    server = outboard("pci-serial", "chardev=file:log", "socket=a")
    with Client(folder / "a") as client:
        Port(client).put(PLENTY[:5000])
    assert server.stop() == 0
    assert (folder / "log").read_bytes() == PLENTY[:5000]
    server = outboard("pci-serial", "chardev=file:log,append=on", "socket=a")
    with Client(folder / "a") as client:
        Port(client).put(b"more")
    assert server.stop() == 0
    assert (folder / "log").read_bytes() == PLENTY[:5000] + b"more"


def test_one_that_is_not_read_holds_up_nobody_else(outboard: Start, folder: Path) -> None:
    outboard(
        "pci-serial", "chardev=unix:c0,server=on", "socket=a", "--",
        "pci-serial", "chardev=unix:c1,server=on", "socket=b",
    )  # fmt: skip
    with (
        connect(folder / "c0"), connect(folder / "c1") as reads,
        Client(folder / "a") as first, Client(folder / "b") as second,
    ):  # fmt: skip
        stuck, port = Port(first), Port(second)
        # Until its transmitter stays full.
        while stuck.read(LSR) & EMPTY:
            first.write(REGION_BAR0, DATA, b"z")
        port.put(b"still here")
        assert read_exactly(reads.fileno(), 10) == b"still here"


def test_monitor(outboard: Start, folder: Path) -> None:
    outboard("-qmp", "unix:q,server=on,wait=off")
    with Qmp(folder / "q") as qmp:
        pty = qmp.execute("chardev-add", id="c0", backend={"type": "pty", "data": {}})
        assert pty["pty"].startswith("/dev/pts/")
        address = {"type": "unix", "data": {"path": "c"}}
        made = qmp.execute(
            "chardev-add", id="c1",
            backend={"type": "socket", "data": {"addr": address, "wait": False}},
        )  # fmt: skip
        assert made == {}
        out = {"type": "file", "data": {"out": "log"}}
        assert qmp.execute("chardev-add", id="c2", backend=out) == {}
        with pytest.raises(QmpError, match="cannot open no/such"):
            qmp.execute(
                "chardev-add", id="c3", backend={"type": "file", "data": {"out": "no/such"}}
            )
        for id_, backend, why in (
            ("c0", {"type": "null"}, "already"),
            ("c4", {"type": "mux", "data": {"chardev": "c0"}}, "not offered"),
            ("c4", {"type": "null", "data": {"frob": 1}}, "frob"),
            ("c4", {"type": "socket", "data": {"addr": address, "wait": True}}, "wait=off"),
            ("c4", "null", "backend"),
        ):
            with pytest.raises(QmpError, match=why):
                qmp.execute("chardev-add", id=id_, backend=backend)
        qmp.execute("device_add", driver="pci-serial", id="d0", chardev="c1", prog_if=2)
        for device, why in (("c1", "in use"), ("c9", "unknown chardev")):
            with pytest.raises(QmpError, match=why):
                qmp.execute("device_add", driver="pci-serial", id="d1", chardev=device)
        with pytest.raises(QmpError, match="in use by device 'd0'"):
            qmp.execute("chardev-remove", id="c1")
        listed = {entry["label"]: entry for entry in qmp.execute("query-chardev")}
        assert set(listed) == {"c0", "c1", "c2"}
        assert listed["c0"]["filename"] == f"pty:{pty['pty']}"
        assert listed["c1"]["filename"] == "disconnected:unix:c,server=on"
        assert listed["c1"]["qdev"] == "/machine/peripheral/d0"
        assert "c2: filename=file:log" in qmp.hmp("info chardev")
        assert qmp.execute("qom-get", path="d0", property="chardev") == "c1"
        names = {entry["name"] for entry in qmp.execute("query-chardev-backends")}
        assert {"stdio", "pty", "socket", "file", "null", "fd"} == names
        qmp.execute("object-add", **{"qom-type": "x-vfio-user-server"},
                    id="s0", type="unix", path="a", device="d0")  # fmt: skip
        with Client(folder / "a") as client:
            port = Port(client)
            qmp.execute("chardev-send-break", id="c1")
            assert port.get(1) == b"\0"
            assert qmp.hmp("chardev-add null,id=c5") == ""
            assert qmp.hmp("chardev-remove c5") == ""
        qmp.execute("object-del", id="s0")
        qmp.execute("device_del", id="d0")
        qmp.wait_event("DEVICE_DELETED")
        for id_ in listed:
            qmp.execute("chardev-remove", id=id_)
        assert qmp.execute("query-chardev") == []
        assert not (folder / "c").exists()


def test_obctl(outboard: Start, folder: Path) -> None:
    outboard("-qmp", "unix:q,server=on,wait=off")
    monitor = ("-s", folder / "q")
    good(folder, *monitor, "add", "pci-serial", "chardev=unix:c,server=on", "id=p")
    with connect(folder / "c") as peer, Client(folder / "p.sock") as client:
        Port(client).put(b"hello")
        assert read_exactly(peer.fileno(), 5) == b"hello"
    assert good_json(folder, *monitor, "list")
    good(folder, *monitor, "del", "p")
    with Qmp(folder / "q") as qmp:
        assert qmp.execute("query-chardev") == []


def test_stdio(folder: Path, environment: dict[str, str]) -> None:
    """A terminal hands over each key, and is put back as it was."""
    master, slave = os.openpty()
    name = os.ttyname(slave)
    before = tty.tcgetattr(slave)
    server = Outboard(
        folder, ["pci-serial", "chardev=stdio", "socket=a"], environment,
        wrapper=["sh", "-c", f'exec "$@" <{name} >{name}', "sh"],
    )  # fmt: skip
    try:
        assert tty.tcgetattr(slave)[3] != before[3]
        with Client(folder / "a") as client:
            port = Port(client)
            port.put(b"login: ")
            assert read_exactly(master, 7) == b"login: "
            os.write(master, b"root\n")
            assert port.get(5) == b"root\n"
        assert server.stop() == 0
        assert tty.tcgetattr(slave) == before
    finally:
        server.finish()
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("-chardev mux,id=c", "not offered"),
        ("-chardev null,id=c,mux=on", "mux"),
        ("-chardev null", "id="),
        ("-chardev null,id=c -chardev null,id=c", "there already"),
        ("-chardev stdio,id=c -qmp stdio", "once"),
        ("-chardev stdio,id=c -chardev stdio,id=d", "once"),
        ("-chardev stdio,id=c -daemonize", "-daemonize"),
        ("-serial pty", "pci-serial"),
        ("-device pci-serial,chardev=c", "unknown chardev 'c'"),
        ("-chardev null,id=c -device pci-serial,chardev=c -device pci-serial,chardev=c", "in use"),
    ],
)
def test_refused(words: str, why: str, run: Run) -> None:
    ended = run(*words.split())
    assert ended.returncode == 1 and why in ended.stderr


def test_checked_without_being_made(run: Run, folder: Path) -> None:
    (folder / "f.conf").write_text(
        '[chardev "c0"]\nbackend = "file"\npath = "log"\n'
        '[device "d0"]\ndriver = "pci-serial"\nchardev = "c0"\n'
    )
    assert run("-c", "f.conf", "--check").returncode == 0
    assert not (folder / "log").exists()
    (folder / "f.conf").write_text('[chardev "c0"]\nbackend = "pty"\npth = "x"\n')
    ended = run("-c", "f.conf", "--check")
    assert ended.returncode == 1 and "f.conf:3" in ended.stderr and "'path'" in ended.stderr
