# SPDX-License-Identifier: BSD-3-Clause
"""docs/day-to-day.md: its commands are run as they stand there, but for the folders, and do what the page
says. The guest is obctl's own driver."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from nvme_driver import Nvme
from obctl import OBCTL, bad, good, good_json
from outboard import BIN, LIMIT, REPO, wait_until
from vfio_user import Client, Hangup

PAGE = (REPO / "docs" / "day-to-day.md").read_text()
BEGIN = "Day to day"
FOLDERS = {"/etc/outboard/": "etc/", "/srv/": "srv/", "/run/outboard/": "run/"}
SIZE = 4 << 20
ran: set[tuple[str, int]] = set()


def blocks_of(section: str, language: str) -> list[str]:
    parts = re.split(r"^##? (.+)\n", PAGE, flags=re.MULTILINE)[1:]
    text = dict(zip(parts[::2], parts[1::2]))[section]
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@dataclass
class Place:
    """The page's folders, and what runs there."""

    folder: Path
    environment: dict[str, str]

    def path(self, name: str) -> Path:
        return self.folder / name

    def here(self, text: str) -> str:
        for old, new in FOLDERS.items():
            text = text.replace(old, f"{self.folder}/{new}")
        return text

    def write(self, name: str, section: str, number: int = 0) -> None:
        self.path(name).write_text(self.here(blocks_of(section, "ini")[number]))

    def run(self, section: str, number: int = 0) -> str:
        """One of the section's blocks of commands; what it prints."""
        script = self.here(blocks_of(section, "sh")[number])
        ran.add((section, number))
        with open(self.path("said"), "w+") as said:
            # What goes on in the background has the descriptors as well: a pipe would not end.
            result = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script], cwd=self.folder, env=self.environment,
                stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, timeout=6 * LIMIT, check=False,
            )  # fmt: skip
            said.seek(0)
            text = said.read()
        assert result.returncode == 0, text
        return text

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        with open(self.path("log"), "ab") as log:
            return subprocess.Popen(
                [BIN, *words], cwd=self.folder, env=self.environment, stdout=subprocess.DEVNULL, stderr=log
            )

    def ask(self, monitor: str, *words: str) -> Any:
        return good_json(self.folder, "-s", f"run/{monitor}.qmp", *words)

    def io(self, socket: str, *words: str) -> None:
        good(self.folder, "nvme-io", f"run/{socket}.sock", "--verify", "--depth=16", f"--size={SIZE}", *words)

    def serves(self, socket: str) -> bool:
        try:
            Client(self.path(f"run/{socket}.sock")).close()
        except (OSError, Hangup):
            return False
        return True


def children() -> set[int]:
    """Processes of ours, and those that the commands left behind: this one reaps them."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.add(int(stat.parent.name))
    return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    # PR_SET_CHILD_SUBREAPER: what the page starts with & is ended here, by its number.
    assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
    before = children()
    for name in FOLDERS.values():
        (tmp_path / name).mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/outboard").symlink_to(BIN)
    (tmp_path / "bin/obctl").symlink_to(OBCTL)
    environment = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    with open(tmp_path / "srv/vm1.img", "wb") as image:
        image.truncate(2 * SIZE)
    yield Place(tmp_path, environment)
    for pid in children() - before:
        with contextlib.suppress(OSError):  # it may have ended
            if os.readlink(f"/proc/{pid}/exe") == str(BIN.resolve()):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert ctypes.CDLL(None).prctl(36, 0, 0, 0, 0) == 0


@pytest.fixture
def vm1(place: Place) -> Iterator[Place]:
    place.write("etc/vm1.conf", BEGIN)
    process = place.start("-c", "etc/vm1.conf", "-pidfile", "run/vm1.pid")
    wait_until(lambda: place.serves("vm1"))
    yield place
    process.kill()
    process.wait()


def test_what_there_is(vm1: Place) -> None:
    text = vm1.run(BEGIN)
    assert "vm1-0001" in text
    assert "device vm1 (nvme)" in text


def test_a_second_disk(vm1: Place) -> None:
    section = "A second disk for a guest that runs"
    with Client(vm1.path("run/vm1.sock")):
        vm1.run(section, 0)
        with Client(vm1.path("run/vm1-data.sock")):
            said = bad(vm1.folder, "-s", "run/vm1.qmp", "del", "vm1-data")
            assert "is in use by" in said
        vm1.io("vm1-data", "--write", "--destroy")
        vm1.run(section, 1)
        assert [device["id"] for device in vm1.ask("vm1", "list")["devices"]] == ["vm1"]
    # The section means what the command meant.
    with open(vm1.path("etc/vm1-data.conf"), "w") as config:
        config.write(vm1.here(blocks_of(section, "ini")[0]))
    vm1.start("-c", "etc/vm1-data.conf")
    wait_until(lambda: vm1.serves("vm1-data"))
    vm1.io("vm1-data", "--read")
    assert f'"{vm1.folder}/run/vm1-data.sock"' in vm1.here(blocks_of(section, "json")[0])


def test_two_disks_in_one_section(place: Place) -> None:
    section = "Two disks in one section"
    for name in "system", "data":
        place.path(f"srv/vm2-{name}.img").write_bytes(bytes(SIZE))
    place.write("etc/vm2.conf", section)
    place.start("-c", "etc/vm2.conf")
    wait_until(lambda: place.serves("vm2"))
    text = place.run(section)
    assert re.search(r"^vm2-drive0 +\S+/vm2-system.img .* vm2, 1 of 2 +vm2-0001 ", text, re.MULTILINE)
    assert re.search(r"^vm2-drive1 +\S+/vm2-data.img .* vm2, 2 of 2 +vm2-0001 ", text, re.MULTILINE)
    place.io("vm2", "--write", "--namespace=2")
    assert not any(place.path("srv/vm2-system.img").read_bytes())
    assert any(place.path("srv/vm2-data.img").read_bytes())


def test_growing(vm1: Place) -> None:
    vm1.io("vm1", "--write", "--offset=4M")
    with Client(vm1.path("run/vm1.sock")):
        assert vm1.run("Growing a disk") == "vm1-drive0: 16 MiB, was 8 MiB\n"
    vm1.io("vm1", "--read", "--offset=4M")
    vm1.io("vm1", "--write", "--offset=12M")


def test_copying(vm1: Place) -> None:
    """While it is written to: what was there before is in the copy."""
    section = "Copying a disk that is in use"
    vm1.io("vm1", "--write", "--seed=7")
    words = ["nvme-io", "run/vm1.sock", "--write", "--offset=4M", "--depth=16", "--time=60", "--destroy"]
    load = subprocess.Popen([OBCTL, *words], cwd=vm1.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: vm1.ask("vm1", "stats", "vm1")[0]["writes"] > 2000)
        vm1.run(section, 0)
        assert vm1.ask("vm1", "qmp", "query-status")["running"] is True
        done = vm1.ask("vm1", "stats", "vm1")[0]["writes"]
        wait_until(lambda: vm1.ask("vm1", "stats", "vm1")[0]["writes"] > done)
    finally:
        load.kill()
        load.wait()
    vm1.run(section, 1)
    wait_until(lambda: vm1.serves("copy"))
    vm1.io("copy", "--read", "--seed=7")


def serial(path: Path) -> str:
    with Client(path) as client:
        nvme = Nvme(client)
        nvme.enable()
        return nvme.identify(1)[4:24].decode().strip()


def test_restoring(vm1: Place) -> None:
    vm1.io("vm1", "--write", "--seed=1")
    vm1.path("srv/backup.img").write_bytes(vm1.path("srv/vm1.img").read_bytes())
    vm1.io("vm1", "--write", "--seed=2", "--destroy")
    before = serial(vm1.path("run/vm1.sock"))
    vm1.run("After an image was restored")
    vm1.io("vm1", "--read", "--seed=1")
    assert serial(vm1.path("run/vm1.sock")) == before == "vm1-0001"


def test_a_new_version(vm1: Place) -> None:
    section = "A new version of outboard"
    vm1.io("vm1", "--write")
    before = vm1.path("run/vm1.pid").read_text()
    vm1.run(section, 0)
    wait_until(lambda: vm1.serves("vm1"))
    assert vm1.path("run/vm1.pid").read_text() != before
    vm1.io("vm1", "--read")
    words = ["nvme", "size=8M", "id=scratch", "serial=scratch-1", "socket=run/scratch.sock"]
    old = vm1.start(*words, "-qmp", "unix:run/scratch.qmp,server=on,wait=off")
    wait_until(lambda: vm1.serves("scratch"))
    vm1.io("scratch", "--write")
    vm1.run(section, 1)
    assert old.wait(LIMIT) == 0
    vm1.io("scratch2", "--read")


def test_a_restart(vm1: Place) -> None:
    vm1.io("vm1", "--write")
    with Client(vm1.path("run/vm1.sock")) as client:
        vm1.run("What a restart does to a guest")
        assert client.sock.recv(1) == b""
    vm1.io("vm1", "--read")


def test_nothing_is_left_out() -> None:
    """All blocks of commands were run, if the tests above were."""
    sections = re.findall(r"^##? (.+)$", PAGE, re.MULTILINE)
    every = {(section, n) for section in sections for n in range(len(blocks_of(section, "sh")))}
    assert every
    if len({section for section, _ in ran}) == len(sections):
        assert ran == every
