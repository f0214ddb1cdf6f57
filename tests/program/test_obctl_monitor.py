# SPDX-License-Identifier: BSD-3-Clause
"""obctl and monitors: what is there, adding and removing, numbers, events, the page of `top`."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from obctl import OBCTL, bad, good, good_json, obctl
from outboard import BIN, LIMIT, REPO, Outboard, wait_until
from qmp import Qmp
from vfio_user import Client

QMP = ("-qmp", "unix:q,server=on,wait=off")


@pytest.fixture
def process(outboard: Start) -> Outboard:
    return outboard("nvme", "size=1M", "socket=s0", "--", "edu", "socket=s1", *QMP)


def ask(folder: Path, *words: str) -> str:
    return good(folder, "-s", "q", *words)


def ask_json(folder: Path, *words: str) -> Any:
    return good_json(folder, "-s", "q", *words)


def rows(text: str) -> dict[str, list[str]]:
    """A table by its first column: the first one, if there are several."""
    lines = text.split("\n\n")[0].splitlines()
    return {line.split()[0]: line.split() for line in lines[1:]}


def test_list(process: Outboard, folder: Path) -> None:
    with Client(folder / "s0"):
        table = rows(ask(folder, "list"))
        listed = ask_json(folder, "list")
    assert set(table) == {"nvme0", "edu1"}
    assert table["nvme0"][1:5] == ["nvme", "00.0", "nvme0-server", "connected"]
    assert table["nvme0"][5:7] == ["pid", str(os.getpid())]
    assert table["nvme0"][-1] == "nvme0-drive0"
    assert table["edu1"][4] == "listening"
    assert table["edu1"][-2:] == [str(folder / "s1"), "-"]
    assert {device["id"]: device["server"] for device in listed["devices"]} == {
        "nvme0": "nvme0-server", "edu1": "edu1-server",
    }  # fmt: skip
    assert [node["node-name"] for node in listed["block-nodes"]] == ["nvme0-drive0"]


def test_list_shows_what_is_not_complete(process: Outboard, folder: Path) -> None:
    ask(folder, "qmp", "device_add", '{"driver": "pci-root-bus", "id": "rb1"}')
    ask(folder, "qmp", "device_add", '{"driver": "edu", "id": "e", "bus": "rb1", "addr": "3.1"}')
    ask(folder, "qmp", "object-add", '{"qom-type": "x-vfio-user-server", "id": "w"}')
    text = ask(folder, "list")
    assert rows(text)["e"][1:5] == ["edu", "rb1:03.1", "-", "-"]
    assert re.search(r"^- +- +- +w +needs device ", text, re.MULTILINE)


def test_info(process: Outboard, folder: Path) -> None:
    with Client(folder / "s0"):
        text = ask(folder, "info", "nvme0")
        info = ask_json(folder, "info", "nvme0")
    assert "device nvme0 (nvme)" in text
    assert re.search(r"^  num-queues +15$", text, re.MULTILINE)
    assert re.search(r"^  identity +1af4:10f0, subsystem 1af4:10f0$", text, re.MULTILINE)
    assert re.search(rf"^  pid +{os.getpid()}$", text, re.MULTILINE)
    assert re.search(r"^  max-dma-maps +\d+$", text, re.MULTILINE)
    assert info["properties"]["drive"] == ["nvme0-drive0"]
    assert info["server"]["client"]["pid"] == os.getpid()


@pytest.fixture
def disks(outboard: Start, folder: Path) -> Outboard:
    """A device with two disks, one that nobody may write to, and a disk of nobody's."""
    for name in "abc":
        (folder / name).write_bytes(bytes(1 << 20))
    return outboard(
        "nvme", "a", "file=b", "id=two", "socket=s0", "serial=abc", "--", "nvme", "c", "ro=on", "id=one",
        "socket=s1", "-blockdev", "driver=mem,size=64K,node-name=spare", *QMP,
    )  # fmt: skip


def test_all_disks_are_listed(disks: Outboard, folder: Path) -> None:
    with Client(folder / "s0"):
        text = ask(folder, "list")
        info = ask_json(folder, "info", "two")
    lines = [re.split(r"  +", line.strip()) for line in text.split("\n\n")[1].splitlines()]
    client = f"pid {os.getpid()}"
    assert lines[0] == ["DISK", "FILE", "SIZE", "ACCESS", "USED BY", "SERIAL", "CLIENT"]
    assert lines[1][:5] == ["one-drive0", "c", "1 MiB", "read-only", "one"] and lines[1][-1] == "-"
    assert lines[2] == ["two-drive0", "a", "1 MiB", "read-write", "two, 1 of 2", "abc", client]
    assert lines[3] == ["two-drive1", "b", "1 MiB", "read-write", "two, 2 of 2", "abc", client]
    assert lines[4] == ["spare", "mem", "64 KiB", "read-write", "-", "-", "-"]
    assert [(disk["node-name"], disk["file"], disk["size"], disk["read-only"]) for disk in info["disks"]] == [
        ("two-drive0", "a", 1 << 20, False), ("two-drive1", "b", 1 << 20, False),
    ]  # fmt: skip
    text = ask(folder, "info", "one")
    assert re.search(r"^disk 1:\n  node-name +one-drive0\n  file +c\n", text, re.MULTILINE)
    assert re.search(r"^  access +read-only$", text, re.MULTILINE)
    assert "clients so far       0" in text


def test_each_disk_is_counted(disks: Outboard, folder: Path) -> None:
    good(folder, "nvme-io", "s0", "--count=100", "--namespace=2")
    (stats,) = ask_json(folder, "stats", "two")
    assert [disk["reads"] for disk in stats["disks"]] == [0, 100]
    assert stats["reads"] == 100
    lines = [line.split() for line in ask(folder, "stats", "two").splitlines()[1:]]
    assert [line[:4] for line in lines] == [
        ["two", "all", "2", "100"], ["two", "two-drive0", "0", "0"], ["two", "two-drive1", "100", "0"],
    ]  # fmt: skip
    sample = ask_json(folder, "top", "-n", "1", "-d", "0.1")["devices"]
    assert {device["id"]: [disk["node-name"] for disk in device["disks"]] for device in sample} == {
        "two": ["two-drive0", "two-drive1"], "one": ["one-drive0"],
    }  # fmt: skip
    assert "\n  two-drive1 " in ask(folder, "top", "-n", "1", "-d", "0.1")


def test_resize(disks: Outboard, folder: Path) -> None:
    assert ask(folder, "resize", "two-drive1", "2M") == "two-drive1: 2 MiB, was 1 MiB\n"
    ask(folder, "resize", "spare", "+64K")
    sizes = {node["node-name"]: node["image"]["virtual-size"] for node in ask_json(folder, "list")["block-nodes"]}
    assert sizes == {"two-drive0": 1 << 20, "two-drive1": 2 << 20, "one-drive0": 1 << 20, "spare": 128 << 10}
    assert (folder / "b").stat().st_size == 2 << 20
    assert "1048576 would be lost: --destroy" in bad(folder, "-s", "q", "resize", "two-drive1", "1M")
    assert (folder / "b").stat().st_size == 2 << 20
    ask(folder, "resize", "two-drive1", "1M", "--destroy")
    assert (folder / "b").stat().st_size == 1 << 20
    for words, said in (
        (("two", "2M"), "device 'two' has 2 disks: name one of them, two-drive0"),
        (("three", "2M"), "there is no disk and no device 'three'"),
        (("spare", "much"), "SIZE"),
        (("spare", "+0"), "SIZE"),
        (("spare", "+9223372036854775807"), "too large"),
        (("one", "2M"), "read-only"),
    ):
        assert said in bad(folder, "-s", "q", "resize", *words)


def test_add_and_del(process: Outboard, folder: Path) -> None:
    (folder / "a.img").write_bytes(bytes(1 << 20))
    said = ask(folder, "add", "nvme", "a.img", "socket=s2", "id=d2", "serial=abc", "queue=on",
               "ro=on")  # fmt: skip
    assert f"d2 (nvme) is served at {folder}/s2" in said
    assert json.loads(said.split("-device '")[1].split("'")[0])["socket"] == {
        "type": "unix", "path": f"{folder}/s2",
    }  # fmt: skip
    Client(folder / "s2").close()
    info = ask_json(folder, "info", "d2")
    assert info["properties"]["serial"] == "abc"
    nodes = ask_json(folder, "list")["block-nodes"]
    assert [(n["file"], n["ro"]) for n in nodes if n["node-name"] == "d2-drive0"] == [
        (f"{folder}/a.img", True)
    ]
    assert ask(folder, "del", "d2") == ""
    assert set(rows(ask(folder, "list"))) == {"nvme0", "edu1"}
    assert len(ask_json(folder, "list")["block-nodes"]) == 1
    assert not (folder / "s2").exists()


def test_add_chooses_what_is_not_said(process: Outboard, folder: Path) -> None:
    added = ask_json(folder, "add", "nvme", "size=1M")
    assert added == {"id": "nvme1", "server": "nvme1-server", "socket": f"{folder}/nvme1.sock"}
    assert ask_json(folder, "add", "edu")["id"] == "edu0"
    (folder / "a.img").write_bytes(bytes(4096))
    (folder / "b.img").write_bytes(bytes(4096))
    assert ask_json(folder, "add", "nvme", "a.img", "file=b.img", "id=two")["id"] == "two"
    assert ask_json(folder, "info", "two")["properties"]["drive"] == ["two-drive0", "two-drive1"]
    for device in ("nvme1", "edu0", "two"):
        ask(folder, "del", device)


WORDS = [
    ("nvme", "size=1M"),
    ("nvme", "null=on", "size=1M", "serial=x"),
    ("nvme", "./a=b.img", "ro=on", "id=other"),
    ("nvme", "a.img", "file=c.img", "num-queues=3", "cache.direct=off"),
    ("nvme", "backend=mem", "size=2M", "allow-uid=0", "socket-mode=0660"),
    ("edu", "addr=3.0"),
]


def made(folder: Path, monitor: str) -> Any:
    """What a process has, without what names it."""
    listed = good_json(folder, "-s", monitor, "list")
    for device in listed["devices"]:
        info = good_json(folder, "-s", monitor, "info", device["id"])["properties"]
        device["properties"] = {name: value for name, value in info.items() if name != "serial"}
        device.pop("serial", None)
    for server in listed["servers"]:
        del server["socket"]
    for node in listed["block-nodes"]:
        node["file"] = os.path.normpath(folder / node["file"])
        node["image"]["filename"] = ""
    return listed


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_add_means_what_the_command_line_means(
    outboard: Start, folder: Path, words: tuple[str, ...]
) -> None:
    for name in ("a=b.img", "a.img", "c.img"):
        (folder / name).write_bytes(bytes(1 << 20))
    process = outboard(*words, "socket=s", "-qmp", "unix:one,server=on,wait=off")
    expected = made(folder, "one")
    assert process.stop() == 0
    outboard("-qmp", "unix:other,server=on,wait=off")
    good(folder, "-s", "other", "add", *words, "socket=s")
    assert made(folder, "other") == expected


WRONG = [
    ("nvmee", "size=1M"),
    ("nvme",),
    ("nvme", "size=1M", "seral=x"),
    ("nvme", "sise=1M", "id=d9"),
    ("nvme", "size=1M", "soket=x", "num-queue=3"),
    ("nvme", "size=1M", "direct=on"),
    ("nvme", "a.img", "null=on"),
    ("nvme", "backend=fil"),
    ("edu", "a.img"),
    ("edu", "size=1M"),
    ("edu", "id=1"),
]


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_add_says_what_the_command_line_says(
    process: Outboard, folder: Path, words: tuple[str, ...]
) -> None:
    before = ask_json(folder, "list")
    result = subprocess.run([BIN, *words], cwd=folder, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert result.returncode == 1
    said = bad(folder, "-s", "q", "add", *words)
    assert said == result.stderr.replace("outboard: error: ", "obctl: ")
    assert ask_json(folder, "list") == before


@pytest.mark.parametrize("where", ["nowhere/x", "s1", "tcp:127.0.0.1:4420", "unix:x", "a" * 108])
def test_add_knows_before_that_a_socket_cannot_be(process: Outboard, folder: Path, where: str) -> None:
    """So that nobody hears that a device was removed which was never there."""
    events = Events(folder, "--json")
    wait_until(lambda: "VFU" in line_of(events, folder))
    said = bad(folder, "-s", "q", "add", "nvme", "size=1M", "id=d9", f"socket={where}")
    assert "socket" in said
    assert [node["node-name"] for node in ask_json(folder, "list")["block-nodes"]] == ["nvme0-drive0"]
    assert process.stop() == 0
    assert "DEVICE_DELETED" not in events.end()[0]
    assert not (folder / where).exists() or where == "s1"


def test_del_with_a_client(process: Outboard, folder: Path) -> None:
    client = Client(folder / "s0")
    before = ask_json(folder, "list")["devices"]
    said = bad(folder, "-s", "q", "del", "nvme0")
    name = Path("/proc/self/comm").read_text().strip()
    assert f"nvme0 is in use by {name} (pid {os.getpid()})" in said
    assert "--force" in said
    assert ask_json(folder, "list")["devices"] == before
    assert client.read32(7, 0)
    ask(folder, "del", "nvme0", "--force")
    assert client.sock.recv(1) == b""
    assert set(rows(ask(folder, "list"))) == {"edu1"}


FAILS = [
    (("add", "nvmee", "size=1M"), "nvmee"),
    (("add", "nvme", "nothing.img"), "nothing.img"),
    (("add", "nvme", "size=1M", "id=d9", "seral=x"), "seral"),
    (("add", "nvme", "size=1M", "id=d9", "num-queues=0"), "num-queues"),
    (("add", "nvme", "size=1M", "id=d9", "socket=s1"), "s1"),
    (("add", "edu", "id=d9", "colour=red"), "colour"),
    (("add", "edu", "id=edu1"), "edu1"),
    (("del", "d9"), "d9"),
    (("info", "d9"), "d9"),
    (("stats", "d9"), "d9"),
    (("qmp", "no-such-command"), "CommandNotFound"),
    (("qmp", "query-status", "[]"), "object"),
    (("qmp", '{"execute": "query-status"}', "{}"), "too many"),
    (("top", "--delay=0"), "--delay=0"),
    (("top", "-x"), "-x"),
    (("list", "more"), "more"),
    (("lst",), "there is no command 'lst': did you mean 'list'?"),
    (("list", "--jsno"), "did you mean '--json'?"),
    (("del", "edu1", "--froce"), "did you mean '--force'?"),
    (("top", "--ordre=iops"), "did you mean '--order'?"),
    (("qmp", "query-short-form", '{"words": []}'), "the model first"),
]


@pytest.mark.parametrize("words, said", FAILS)
def test_what_fails_changes_nothing(
    process: Outboard, folder: Path, words: tuple[str, ...], said: str
) -> None:
    before = ask_json(folder, "list")
    assert said in bad(folder, "-s", "q", *words)
    assert ask_json(folder, "list") == before


def test_which_monitor(process: Outboard, folder: Path) -> None:
    assert "-s PATH" in bad(folder, "list")
    assert "No such file" in bad(folder, "-s", "nowhere", "list")
    assert "not to a monitor" in bad(folder, "-s", "q", "probe", "s0")
    assert good(folder, "list", "--socket=q") == good(folder, "list", "-s", "q")


def test_sockets_of_the_wrong_kind(process: Outboard, folder: Path) -> None:
    """Each says at once what it is, and the process says who took it for something else."""
    said = bad(folder, "-s", "s0", "list", "--timeout=3600000")
    assert "s0: this is a vfio-user socket" in said
    process.wait_log("nvme0-server: client disconnected: it speaks QMP")
    assert "this is a monitor (QMP)" in bad(folder, "probe", "q", "--timeout=3600000")
    process.wait_log("speaks vfio-user: this is a monitor")
    with Client(folder / "s0"):
        assert "that has a client" in bad(folder, "-s", "s0", "list", "--timeout=3600000")
    assert good(folder, "probe", "s0")


def test_watching_locks_nobody_out(process: Outboard, folder: Path) -> None:
    watchers = [Events(folder, "-n", "1") for _ in range(3)]

    def all_have_heard() -> bool:
        Client(folder / "s1").close()
        assert set(rows(ask(folder, "list"))) == {"nvme0", "edu1"}
        return all(events.process.poll() is not None for events in watchers)

    wait_until(all_have_heard)
    for events in watchers:
        assert "VFU_CLIENT_" in events.end()[0]


def test_a_monitor_that_is_full(process: Outboard, folder: Path) -> None:
    """Each of the sixteen is greeted before the next one comes, so no look at it can take a place."""
    clients = [Qmp(folder / "q") for _ in range(16)]
    said = bad(folder, "-s", "q", "list", "--timeout=3600000")
    name = Path("/proc/self/comm").read_text().strip()
    assert f"has 16 clients, which is the most: {name} (pid {os.getpid()}" in said
    assert ", and 12 more" in said
    process.wait_log("client refused, obctl (pid ")
    clients.pop().close()
    wait_until(lambda: obctl(folder, "-s", "q", "list").returncode == 0)
    for client in clients:
        client.close()


def test_stats(process: Outboard, folder: Path) -> None:
    with Client(folder / "s0") as client:
        for _ in range(10):
            client.read(7, 0, 4)
        table = rows(ask(folder, "stats", "nvme0"))
        (stats,) = ask_json(folder, "stats", "nvme0")
    assert set(table) == {"nvme0"}
    assert stats["messages"] >= 10 and stats["message-ns"] > 0
    assert stats["reads"] == 0 and stats["message-errors"] == 0
    assert [row["device"] for row in ask_json(folder, "stats")] == ["edu1", "nvme0"]


def test_stats_of_a_disk(process: Outboard, folder: Path) -> None:
    good(folder, "nvme-io", "s0", "--count=100")
    (stats,) = ask_json(folder, "stats", "nvme0")
    assert stats["reads"] + stats["writes"] >= 100
    assert stats["read-bytes"] + stats["write-bytes"] >= 100 * 512
    assert stats["in-flight"] == 0


def test_qmp(process: Outboard, folder: Path) -> None:
    assert json.loads(ask(folder, "qmp", "query-status"))["running"] is True
    assert json.loads(ask(folder, "qmp", '{"execute": "query-name"}', "--json")) == {}


def test_quit_is_answered(outboard: Start, folder: Path) -> None:
    """However soon the process ends."""
    for _ in range(20):
        process = outboard("edu", "socket=s0", *QMP)
        assert ask(folder, "qmp", "quit") == "{\n}\n"
        assert process.wait() == 0


class Events:
    """obctl events as a process."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.process = subprocess.Popen(
            [str(OBCTL), "-s", "q", "events", *words], cwd=folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def end(self) -> tuple[str, str]:
        return self.process.communicate(timeout=LIMIT)


def test_events(process: Outboard, folder: Path) -> None:
    plain, raw = Events(folder, "-n", "2"), Events(folder, "--number=2", "--json")

    def both_have_ended() -> bool:
        Client(folder / "s1").close()
        return plain.process.poll() is not None and raw.process.poll() is not None

    wait_until(both_have_ended)
    out, err = plain.end()
    assert err == ""
    assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} VFU_CLIENT_\w+ .*dev-id=edu1", out)
    assert len(out.splitlines()) == 2
    for line in raw.end()[0].splitlines():
        assert json.loads(line)["data"]["dev-id"] == "edu1"


def test_events_end_with_the_server(process: Outboard, folder: Path) -> None:
    events = Events(folder)
    wait_until(lambda: "VFU" in line_of(events, folder))
    assert process.stop() == 0
    out, err = events.end()
    assert "SHUTDOWN" in out and "reason=host-signal" in out
    assert events.process.returncode == 1
    assert err == "obctl: the monitor has closed the connection\n"


def line_of(events: Events, folder: Path) -> str:
    Client(folder / "s1").close()
    assert events.process.stdout
    os.set_blocking(events.process.stdout.fileno(), False)
    line = events.process.stdout.readline()
    os.set_blocking(events.process.stdout.fileno(), True)
    return line or ""


def test_top_without_a_terminal(process: Outboard, folder: Path) -> None:
    text = ask(folder, "top", "-n", "2", "-d", "0.1")
    tables = text.strip().split("\n\n")
    assert len(tables) == 2
    for table in tables:
        lines = table.splitlines()
        assert f"pid {process.pid}, running" in lines[0]
        assert lines[1].startswith("2 devices, 0 clients")
        assert set(rows("\n".join(lines[2:]))) == {"nvme0", "edu1"}


def test_top_counts_what_happens(process: Outboard, folder: Path) -> None:
    load = subprocess.Popen(
        [str(OBCTL), "ping", "s0", "--count=100000000"], cwd=folder, stdout=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: ask_json(folder, "stats", "nvme0")[0]["messages"] > 100)
        sample = ask_json(folder, "top", "--number=1", "--delay=0.2", "--order=messages")
    finally:
        load.terminate()
        load.wait(LIMIT)
    first = sample["devices"][0]
    assert sample["pid"] == process.pid
    assert sample["cpu-percent"] >= 0
    assert first["id"] == "nvme0" and first["client-pid"] == load.pid
    assert first["messages-per-second"] > 0
    assert first["mean-message-ns"] > 0


class Terminal:
    """obctl top in a terminal of its own."""

    def __init__(self, folder: Path, rows: int, columns: int, *words: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            self.fd = 0
            self.resize(rows, columns)
            os.execv(OBCTL, ["obctl", "-s", "q", "top", *words])
        self.seen = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self) -> bool:
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            data = b""
        self.seen += data
        return bool(data)

    def wait_for(self, what: bytes) -> None:
        """Forgets what came before it."""
        while what not in self.seen:
            assert self.read(), self.seen
        self.seen = self.seen.split(what, 1)[1]

    def page(self) -> list[bytes]:
        """The lines of the next whole page."""
        self.wait_for(b"\x1b[H")
        while b"\x1b[J" not in self.seen:
            assert self.read()
        page, self.seen = self.seen.split(b"\x1b[J", 1)
        return re.sub(rb"\x1b\[\??[0-9]*[A-Za-z]", b"", page).replace(b"\r", b"").split(b"\n")

    def end(self) -> int:
        while self.read():
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.fd)[3] & termios.ECHO


@pytest.fixture
def terminal(process: Outboard, folder: Path) -> Iterator[Terminal]:
    terminal = Terminal(folder, 24, 100, "-d", "0.2")
    yield terminal
    os.close(terminal.fd)


ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


def test_top_in_a_terminal(terminal: Terminal, process: Outboard) -> None:
    terminal.wait_for(ENTER)
    terminal.wait_for(b"pid %d, running" % process.pid)
    terminal.wait_for(b"by iops;")
    terminal.wait_for(b"\x1b[7mDEVICE")
    terminal.wait_for(b"nvme0")
    assert terminal.is_raw()
    os.write(terminal.fd, b"m")
    terminal.wait_for(b"by messages;")
    os.write(terminal.fd, b"q")
    assert terminal.end() == 0
    assert LEAVE in terminal.seen


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_top_leaves_the_terminal_in_order(terminal: Terminal, number: signal.Signals) -> None:
    terminal.wait_for(b"nvme0")
    os.kill(terminal.pid, number)
    terminal.wait_for(LEAVE)
    assert terminal.end() == 0


def test_top_in_a_small_terminal(process: Outboard, folder: Path) -> None:
    """Lines are cut, a page has no more of them than there is room for, and the room may change."""
    terminal = Terminal(folder, 4, 10, "-d", "0.2")
    page = terminal.page()
    assert len(page) == 4 and page[0] == b"outboard, "
    assert all(len(line) <= 10 for line in page)
    terminal.resize(5, 20)
    wait_until(lambda: len(page := terminal.page()) == 5 and page[0] == b"outboard, pid " + (
        b"%d" % process.pid + b", running")[:6])  # fmt: skip
    os.write(terminal.fd, b"q")
    assert terminal.end() == 0
    os.close(terminal.fd)


def test_top_leaves_columns_out(process: Outboard, folder: Path) -> None:
    """The least important first; no cell is cut, and the keys are always said."""
    terminal = Terminal(folder, 24, 200, "-d", "0.2")
    heads = terminal.page()[3].split()
    assert heads[0] == b"DEVICE" and heads[-1] == b"SERVER"
    for columns, without, keys in (
        (90, {b"SERVER"}, b"sort by i(ops)"),
        (60, {b"SERVER", b"EACH", b"MESSAGES/s"}, b"keys i b l m d q"),
        (20, {b"SERVER", b"EACH", b"MESSAGES/s", b"MODEL", b"CLIENT", b"LATENCY"}, b"keys i b l m d q"),
    ):
        terminal.resize(24, columns)

        def is_drawn() -> bool:
            page = terminal.page()
            shown = page[3].split()
            whole = all(head in heads for head in shown)
            return whole and not without & set(shown) and b"IOPS" in shown and keys in page[2]

        wait_until(is_drawn)
    os.write(terminal.fd, b"q")
    assert terminal.end() == 0
    os.close(terminal.fd)


def test_top_ends_with_the_server(terminal: Terminal, process: Outboard) -> None:
    terminal.wait_for(b"nvme0")
    assert process.stop() == 0
    terminal.wait_for(LEAVE)
    assert terminal.end() == 1
    assert b"monitor" in terminal.seen


GREETING = b'{"QMP": {"version": {}, "capabilities": []}}\r\n'

HOSTILE = [
    ("silent", b"", "no greeting within 300 ms"),
    ("not JSON", b"220 mail.example.org ESMTP\r\n", "no monitor"),
    ("something else", b'{"hello": 1}\n', "no monitor"),
    ("a list", b"[1]\n", "no monitor"),
    ("bad UTF-8", b'{"QMP": "\xff"}\n', "no monitor"),
    ("deep", b"[" * 10000, "no monitor"),
    ("no reply", GREETING, "does not answer"),
    ("wrong id", GREETING + b'{"return": {}, "id": 77}\n', "does not answer"),
    ("error", GREETING + b'{"error": {"class": "GenericError", "desc": "no\x1b"}}\n', "no"),
    ("error without text", GREETING + b'{"error": 5}\n', "obctl: q: \n"),
    ("events", GREETING + b'{"event": "X"}\n' * 5000, "does not answer"),
]


@pytest.mark.parametrize("sent, said", [h[1:] for h in HOSTILE], ids=[h[0] for h in HOSTILE])
def test_hostile_monitor(folder: Path, sent: bytes, said: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "keep"))
        os.rename(folder / "keep", folder / "q")
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    connection.sendall(sent)
                    while connection.recv(4096):
                        pass
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        result = obctl(folder, "-s", "q", "list", "--timeout=300")
        thread.join(LIMIT)
    (folder / "q").unlink()
    assert result.returncode == 1
    assert said in result.stderr


class Nonsense:
    """A monitor whose commands all return the same."""

    def __init__(self, folder: Path, value: str) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / "q"))
        self.listener.listen()
        self.value = value
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rw") as file:
                file.write(GREETING.decode())
                file.flush()
                for line in file:
                    number = json.loads(line)["id"]
                    file.write(f'{{"return": {self.value}, "id": {number}}}\n')
                    file.write(f'{{"event": "DEVICE_DELETED", "data": {self.value}}}\n')
                    file.flush()


NONSENSE = [
    "{}", "5", '"x"', "[]", "[1]", "[[]]", "[{}]", "[null]", '[{"name": 1, "type": "child<"}]',
    '[{"name": "d", "type": "child<nvme>", "dev-id": "d", "qdev_id": "d", "client": 5,'
    ' "devices": [{"qdev_id": "d", "id": []}], "since": -1, "stats": [], "qdev": "d"}]',
    '[{"name": "d", "type": "child<>", "dev-id": "d", "client": {"commands": [7], "irqs": {},'
    ' "since": 1e300, "capabilities": [null]}, "qdev": "/machine/peripheral/d"}]',
]  # fmt: skip


@pytest.mark.parametrize("value", NONSENSE)
def test_monitor_of_nonsense(folder: Path, value: str) -> None:
    """Whatever comes, obctl ends by itself."""
    server = Nonsense(folder, value)
    commands = (("list",), ("list", "--json"), ("info", "d"), ("stats",), ("del", "d"),
                ("top", "-n", "1", "-d", "0.1"), ("add", "nvme", "size=1M", "id=e"),
                ("qmp", "x"), ("events", "-n", "1"))  # fmt: skip
    for words in commands:
        result = obctl(folder, "-s", "q", *words, "--timeout=200")
        assert result.returncode in (0, 1), (words, result.stderr)
    server.listener.shutdown(socket.SHUT_RDWR)
    server.listener.close()
    (folder / "q").unlink()


COMPLETIONS = [
    ("obctl|-s|q|li", {"list"}),
    ("obctl|-s|q|info|", {"nvme0", "edu1"}),
    ("obctl|-s|q|del|nv", {"nvme0"}),
    ("obctl|-s|q|add|ed", {"edu"}),
    ("obctl|-s|q|add|nvme|ser", {"serial="}),
    ("obctl|-s|q|add|nvme|x.img|socket-m", {"socket-mode="}),
    ("obctl|-s|q|qmp|query-vfio", {"query-vfio-user"}),
    ("obctl|-s|q|top|--del", {"--delay"}),
    ("obctl|-s|nowhere|info|", set()),
]


@pytest.mark.parametrize("line, expected", COMPLETIONS)
def test_completion(process: Outboard, folder: Path, line: str, expected: set[str]) -> None:
    words = line.split("|")
    script = (
        'source "$1"; shift; compopt() { :; }; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1));'
        '_obctl; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    completion = REPO / "packaging" / "completion" / "obctl.bash"
    result = subprocess.run(
        ["bash", "-c", script, "bash", str(completion), str(OBCTL), *words[1:]],
        cwd=folder, capture_output=True, text=True, check=True,
        env={**os.environ, "PATH": f"{BIN.parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert set(result.stdout.split()) == expected
    assert result.stderr == ""
