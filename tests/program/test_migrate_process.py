# SPDX-License-Identifier: BSD-3-Clause
"""All devices of a process move to another one: -incoming, and QMP's migrate."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Run, Start
from nvme_driver import MEMORY, MEMORY_SIZE, Nvme
from obctl import OBCTL, good
from outboard import LIMIT, Outboard, wait_until
from qmp import Qmp, QmpError
from vfio_user import Client

FACTORIAL = "8"
LIVENESS = "4"


@dataclass
class Side:
    process: Outboard
    qmp: Qmp

    def status(self) -> str:
        return str(self.qmp.execute("query-status")["status"])

    def statuses(self) -> list[str]:
        """Of the migration, from here to its end."""
        seen = []
        while not seen or seen[-1] not in ("completed", "failed", "cancelled"):
            seen.append(self.qmp.wait_event("MIGRATION")["status"])
        return seen


class Sides:
    def __init__(self, start: Start, folder: Path) -> None:
        self.start, self.folder = start, folder
        self.open: list[Qmp] = []

    def __call__(self, name: str, *words: str, incoming: str | None = None, fds: tuple[int, ...] = ()) -> Side:
        more = ["-incoming", incoming] if incoming else []
        monitor = f"unix:{name}.qmp,server=on,wait=off"
        process = self.start(*words, f"socket={name}.sock", "-qmp", monitor, *more, pass_fds=fds)
        qmp = Qmp(self.folder / f"{name}.qmp")
        self.open.append(qmp)
        return Side(process, qmp)


@pytest.fixture
def side(outboard: Start, folder: Path) -> Iterator[Sides]:
    sides = Sides(outboard, folder)
    yield sides
    for qmp in sides.open:
        qmp.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("kind", ["unix", "tcp", "fd", "defer"])
def test_a_device_moves(side: Sides, folder: Path, kind: str) -> None:
    here_fd, there_fd = socket.socketpair()
    with here_fd, there_fd:
        uri = f"tcp:127.0.0.1:{free_port()}" if kind == "tcp" else "unix:move.sock"
        to, at = (f"fd:{here_fd.fileno()}", f"fd:{there_fd.fileno()}") if kind == "fd" else (uri, uri)
        fds = [(here_fd.fileno(),), (there_fd.fileno(),)] if kind == "fd" else [(), ()]
        source = side("here", "edu", fds=fds[0])
        target = side("there", "edu", incoming="defer" if kind == "defer" else at, fds=fds[1])
    good(folder, "write", "here.sock", "bar0", LIVENESS, "0x1234")
    good(folder, "write", "here.sock", "bar0", FACTORIAL, "6")
    assert (source.status(), target.status()) == ("running", "inmigrate")
    # Its client may be there before.
    assert good(folder, "read", "there.sock", "bar0", FACTORIAL) == "0x00000000\n"
    if kind == "defer":
        assert target.qmp.execute("query-migrate") == {}
        target.qmp.execute("migrate-incoming", uri=at)
    source.qmp.execute("migrate", uri=to)
    assert source.statuses() == ["setup", "active", "device", "completed"]
    assert target.statuses()[-1] == "completed"
    assert (source.status(), target.status()) == ("postmigrate", "running")
    assert good(folder, "read", "there.sock", "bar0", LIVENESS) == "0xffffedcb\n"
    assert good(folder, "read", "there.sock", "bar0", FACTORIAL) == "0x000002d0\n"
    for one in source, target:
        info = one.qmp.execute("query-migrate")
        assert info["status"] == "completed"
        assert info["ram"]["transferred"] > 100
        assert "error-desc" not in info


def test_a_failure_leaves_both_as_they_were(side: Sides, folder: Path) -> None:
    source = side("here", "edu")
    target = side("there", "edu", "dma-mask=0xffff", incoming="unix:move.sock")
    good(folder, "write", "here.sock", "bar0", FACTORIAL, "5")
    source.qmp.execute("migrate", uri="unix:move.sock")
    assert source.statuses()[-1] == "failed"
    assert target.statuses()[-1] == "failed"
    for one in source, target:
        assert "dma-mask" in one.qmp.execute("query-migrate")["error-desc"]
    assert (source.status(), target.status()) == ("running", "inmigrate")
    assert good(folder, "read", "here.sock", "bar0", FACTORIAL) == "0x00000078\n"
    # The next one is another process; this one can still be used, as it was made.
    target.qmp.execute("cont")
    assert target.status() == "running"


def test_the_source_ends(side: Sides) -> None:
    source = side("here", "edu")
    target = side("there", "edu", incoming="unix:move.sock")
    gone = socket.socket(socket.AF_UNIX)
    gone.connect(str(target.process.log.parent / "move.sock"))
    gone.close()
    assert target.statuses()[-1] == "failed"
    assert target.status() == "inmigrate"
    target.qmp.execute("migrate-incoming", uri="unix:again.sock")
    source.qmp.execute("migrate", uri="unix:again.sock")
    assert target.statuses()[-1] == "completed"


def test_the_target_does_not_answer(side: Sides, folder: Path) -> None:
    """It is waited for until somebody cancels."""
    source = side("here", "edu")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(folder / "keep-silent.sock"))
        silent.listen()
        source.qmp.execute("migrate", uri="unix:keep-silent.sock")
        assert source.qmp.execute("query-migrate")["status"] == "setup"
        with pytest.raises(QmpError, match="under way"):
            source.qmp.execute("migrate", uri="unix:keep-silent.sock")
        source.qmp.execute("migrate_cancel")
        assert source.statuses()[-1] == "cancelled"
    assert source.status() == "running"


def test_parameters(side: Sides) -> None:
    qmp = side("here", "edu").qmp
    assert qmp.execute("query-migrate-parameters") == {"max-bandwidth": 128 << 20, "downtime-limit": 50}
    qmp.execute("migrate-set-parameters", max__bandwidth=1 << 30)
    qmp.execute("migrate-set-parameters", downtime__limit=7)
    assert qmp.execute("query-migrate-parameters") == {"max-bandwidth": 1 << 30, "downtime-limit": 7}
    for wrong in {"max__bandwidth": -1}, {"downtime__limit": 2000001}:
        with pytest.raises(QmpError, match="expects"):
            qmp.execute("migrate-set-parameters", **wrong)


def test_refusals(side: Sides, run: Run) -> None:
    source = side("here", "edu")
    for command, arguments, text in [
        ("migrate", {"uri": "exec:cat"}, "unix:PATH"),
        ("migrate", {"uri": "unix:nobody.sock"}, "No such file"),
        ("migrate-incoming", {"uri": "unix:x.sock"}, "-incoming"),
        ("migrate_cancel", {}, "nothing migrates"),
    ]:
        with pytest.raises(QmpError, match=text):
            source.qmp.execute(command, **arguments)
    assert source.status() == "running"
    result = run("edu", "socket=x.sock", "-incoming", "nowhere")
    assert result.returncode == 1
    assert "-incoming: 'nowhere'" in result.stderr


# Disks


KILLS = int(os.environ.get("OUTBOARD_KILLS", "20"))
REGION = "4M"


def io(folder: Path, path: str, *words: str) -> None:
    good(folder, "nvme-io", path, "--verify", "--depth", "16", "--size", REGION, *words)


def test_a_disk_in_memory_moves_while_it_is_used(side: Sides, folder: Path) -> None:
    """What is large goes while it is used, as fast as it may; then comes the rest."""
    source = side("here", "nvme", "size=16M")
    target = side("there", "nvme", "size=16M", incoming="unix:move.sock")
    io(folder, "here.sock", "--destroy", "--write", "--seed", "5")
    source.qmp.execute("migrate-set-parameters", max__bandwidth=1 << 20)
    source.qmp.execute("migrate", uri="unix:move.sock")
    wait_until(lambda: source.qmp.execute("query-migrate")["ram"]["transferred"] > 0)
    info = source.qmp.execute("query-migrate")
    assert info["status"] == "active"
    assert 0 < info["ram"]["remaining"] <= 16 << 20
    # It is used meanwhile.
    io(folder, "here.sock", "--destroy", "--write", "--seed", "6")
    source.qmp.execute("migrate-set-parameters", max__bandwidth=0)
    assert source.statuses()[-1] == "completed"
    assert target.statuses()[-1] == "completed"
    io(folder, "there.sock", "--read", "--seed", "6")
    assert source.qmp.execute("query-migrate")["ram"]["transferred"] > 4 << 20


def test_namespaces_stay_meanwhile(side: Sides, folder: Path) -> None:
    """Drives are known by their order while they move, and their sizes were told."""
    source = side("here", "nvme", "size=16M", "id=d0")
    target = side("there", "nvme", "size=16M", "id=d0", incoming="unix:move.sock")
    for one in source, target:
        one.qmp.execute("blockdev-add", driver="mem", node__name="m", size=1 << 20)
        one.qmp.execute("device_add", driver="nvme-ns", id="ns2", bus="d0", drive="m")
        one.qmp.execute("blockdev-add", driver="null", node__name="n", size=1 << 20)
        one.qmp.execute("device_add", driver="nvme-ns", bus="d0", drive="n")
    source.qmp.execute("blockdev-add", driver="mem", node__name="more", size=1 << 20)
    io(folder, "here.sock", "--destroy", "--write", "--seed", "5")
    source.qmp.execute("migrate-set-parameters", max__bandwidth=1 << 20)
    source.qmp.execute("migrate", uri="unix:move.sock")
    wait_until(lambda: source.qmp.execute("query-migrate")["ram"]["transferred"] > 0)
    with pytest.raises(QmpError, match="'d0' is being migrated"):
        source.qmp.execute("device_del", id="ns2")
    with pytest.raises(QmpError, match="'d0' is being migrated"):
        source.qmp.execute("device_add", driver="nvme-ns", bus="d0", drive="more")
    with pytest.raises(QmpError, match="'d0' is being migrated"):
        source.qmp.execute("block_resize", node__name="n", size=2 << 20)
    source.qmp.execute("migrate-set-parameters", max__bandwidth=0)
    assert source.statuses()[-1] == "completed"
    assert target.statuses()[-1] == "completed"
    io(folder, "there.sock", "--read", "--seed", "5")
    target.qmp.execute("device_del", id="ns2")
    assert target.qmp.wait_event("DEVICE_DELETED")["device"] == "ns2"
    target.qmp.execute("block_resize", node__name="n", size=2 << 20)


def test_cancelled_in_the_middle(side: Sides, folder: Path) -> None:
    source = side("here", "nvme", "size=16M")
    target = side("there", "nvme", "size=16M", incoming="unix:move.sock")
    io(folder, "here.sock", "--destroy", "--write", "--seed", "5")
    source.qmp.execute("migrate-set-parameters", max__bandwidth=1 << 20)
    source.qmp.execute("migrate", uri="unix:move.sock")
    wait_until(lambda: source.qmp.execute("query-migrate")["ram"]["transferred"] > 0)
    source.qmp.execute("migrate_cancel")
    assert source.statuses()[-1] == "cancelled"
    assert target.statuses()[-1] == "failed"
    io(folder, "here.sock", "--read", "--seed", "5")
    target.qmp.execute("migrate-incoming", uri="unix:again.sock")
    source.qmp.execute("migrate-set-parameters", max__bandwidth=0)
    source.qmp.execute("migrate", uri="unix:again.sock")
    assert source.statuses()[-1] == "completed"
    io(folder, "there.sock", "--read", "--seed", "5")


def test_a_file_is_locked_by_one_at_a_time(side: Sides, folder: Path) -> None:
    make_disk(folder)
    source = side("here", "nvme", "disk.img")
    target = side("there", "nvme", "disk.img", incoming="unix:move.sock")
    with pytest.raises(QmpError, match="locked"):
        target.qmp.execute("cont")
    assert target.status() == "inmigrate"
    source.qmp.execute("migrate", uri="unix:move.sock")
    assert target.statuses()[-1] == "completed"
    assert source.statuses()[-1] == "completed"
    source.qmp.execute("system_reset")
    with pytest.raises(QmpError, match="locked"):
        source.qmp.execute("cont")
    assert source.status() == "postmigrate"
    assert target.process.stop() == 0
    source.qmp.execute("cont")
    assert source.status() == "running"


def test_what_has_gone_is_old(side: Sides, folder: Path) -> None:
    """The guest went on with the other process: what was left here may only begin anew."""
    source = side("here", "nvme", make_disk(folder))
    target = side("there", "nvme", "disk.img", incoming="unix:move.sock")
    with Client(folder / "here.sock") as client, Client(folder / "there.sock") as other:
        guest = Nvme(client)
        guest.enable()
        guest.create_io_queues()
        guest.write(1, 0, b"before".ljust(512))
        other.dma_map(MEMORY, MEMORY_SIZE, guest.memory.fd)
        source.qmp.execute("migrate", uri="unix:move.sock")
        assert source.statuses()[-1] == "completed"
        guest.client = other
        guest.write(1, 0, b"after".ljust(512))
        target.process.process.kill()
        target.process.process.wait()
        for name in "there.sock", "there.qmp", "move.sock":
            (folder / name).unlink(missing_ok=True)
        with pytest.raises(QmpError, match="its state here is old.*system_reset"):
            source.qmp.execute("cont")
        assert source.status() == "postmigrate"
        source.qmp.execute("system_reset")
        source.qmp.execute("cont")
        client.dma_unmap(MEMORY, MEMORY_SIZE)
        guest = Nvme(client)
        guest.enable()
        guest.create_io_queues()
        assert guest.read(1, 0, 512) == b"after".ljust(512)


def make_disk(folder: Path, name: str = "disk.img") -> str:
    with open(folder / name, "wb") as disk:
        disk.truncate(8 << 20)
    return name


def survive(side: Sides, folder: Path, seed: int) -> str:
    """Kills one of the two at a random moment, has the other one run, and looks at its disk."""
    chance = random.Random(seed)
    disk = make_disk(folder, f"disk{seed}.img")
    sides = [side("here", "nvme", disk), side("there", "nvme", disk, incoming="unix:move.sock")]
    io(folder, "here.sock", "--destroy", "--write", "--seed", str(seed))
    killed = chance.randrange(2)
    left, moment = sides[1 - killed], chance.choice([0, 0.0005, 0.001, 0.002, 0.005, 0.02])
    sides[0].qmp.execute("migrate", uri="unix:move.sock")
    time.sleep(chance.uniform(0, moment))
    sides[killed].process.process.kill()
    sides[killed].process.process.wait()
    for name in [("here.sock", "here.qmp"), ("there.sock", "there.qmp", "move.sock")][killed]:
        (folder / name).unlink(missing_ok=True)
    ended = left.statuses()[-1]
    if (killed, ended) == (1, "completed"):
        left.qmp.execute("system_reset")
    if left.status() != "running":
        left.qmp.execute("cont")
    path = ["there.sock", "here.sock"][killed]
    io(folder, path, "--read", "--seed", str(seed))
    io(folder, path, "--destroy", "--write", "--seed", str(seed + 1))
    left.process.stop()
    return f"{killed} {ended}"


def test_either_process_ends(side: Sides, folder: Path) -> None:
    seen = [survive(side, folder, seed) for seed in range(KILLS)]
    if KILLS >= 20:
        assert {"0 failed", "1 failed"} <= set(seen) | {"0 completed", "1 completed"}
        assert len(set(seen)) > 1


def test_the_destination_ends_while_the_disk_is_used(side: Sides, folder: Path) -> None:
    """Whoever uses the disk does not notice."""
    source = side("here", "nvme", "size=16M")
    target = side("there", "nvme", "size=16M", incoming="unix:move.sock")
    io(folder, "here.sock", "--destroy", "--write", "--seed", "5")
    words = ["--destroy", "--mix", "50", "--verify", "--random", "--depth", "32", "--size", REGION]
    words += ["--time", "0.5"]
    command = [str(OBCTL), "nvme-io", "here.sock", *words]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as load:
        source.qmp.execute("migrate-set-parameters", max__bandwidth=1 << 20)
        source.qmp.execute("migrate", uri="unix:move.sock")
        wait_until(lambda: source.qmp.execute("query-migrate")["ram"]["transferred"] > 0)
        target.process.process.kill()
        assert source.statuses()[-1] == "failed"
        assert load.wait(LIMIT) == 0
    target.process.process.wait()
    for name in "there.sock", "there.qmp", "move.sock":
        (folder / name).unlink(missing_ok=True)
    assert source.status() == "running"
