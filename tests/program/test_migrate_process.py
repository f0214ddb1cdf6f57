# SPDX-License-Identifier: BSD-3-Clause
"""All devices of a process move to another one: -incoming, and QMP's migrate."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Run, Start
from obctl import good
from outboard import Outboard
from qmp import Qmp, QmpError

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
