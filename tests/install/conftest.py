# SPDX-License-Identifier: BSD-3-Clause
"""What is installed, and a machine with systemd that it is installed on.

The machine is a container of systemd-nspawn: the folder that scripts/service-root makes, what is installed
over it, and whatever is written is in memory. Without root's rights, systemd-nspawn or that folder the tests
that need it are skipped with a warning at the end; with CI=true in the environment they fail.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("OUTBOARD_BIN", REPO / "build" / "outboard")).parent
SERVICE_ROOT = REPO / "build" / "service" / "root"
LIMIT = 60 * float(os.environ.get("OUTBOARD_TEST_TIME_SCALE", "1"))

missing: list[str] = []


def need(met: object, reason: str) -> None:
    if met:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    if reason not in missing:
        missing.append(reason)
    pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for reason in missing:
        terminalreporter.section("TESTS WERE SKIPPED", sep="!", red=True, bold=True)
        terminalreporter.line(reason)


def wait_until(what: Callable[[], object]) -> None:
    end = time.monotonic() + LIMIT
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that `meson install` puts into a root folder."""
    folder = tmp_path_factory.mktemp("root")
    subprocess.run(
        ["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", folder],
        check=True, capture_output=True, timeout=LIMIT,
    )  # fmt: skip
    (folder / "etc" / "outboard").mkdir(parents=True)
    return folder


class Machine:
    def __init__(self, installed: Path, log: Path) -> None:
        self.config = installed / "etc" / "outboard"
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", "systemd-nspawn", "--quiet", "--boot",
             f"--directory={SERVICE_ROOT}", "--volatile=overlay", "--register=no", "--keep-unit",
             "--private-network", "--console=pipe", f"--machine=outboard-{os.getpid()}",
             f"--bind-ro={installed}/usr/local:/usr/local", f"--bind={self.config}:/etc/outboard",
             "--", "--unit=basic.target"],
            stdin=subprocess.DEVNULL, stdout=log.open("wb"), stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.log = log
        wait_until(lambda: self.process.poll() is not None or self.leader())
        wait_until(lambda: self.process.poll() is not None or self.has_booted())
        assert self.process.poll() is None, log.read_text()

    def leader(self) -> str | None:
        """The number that its first process has outside."""
        pid = self.process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if "\t1\n" in re.findall(r"^NSpid:.*\n", Path(f"/proc/{child}/status").read_text(), re.M)[0]:
                return child
        return None

    def has_booted(self) -> bool:
        return self.run("systemctl", "is-active", "basic.target", check=False) == "active"

    def run(self, *words: str, check: bool = True) -> str:
        """What a command prints that is run there by root."""
        leader = self.leader()
        assert leader, self.log.read_text()
        done = subprocess.run(
            ["nsenter", "-t", leader, "-a", "--wd=/", "env", "-i",
             "PATH=/usr/local/bin:/usr/bin:/usr/sbin", "LC_ALL=C", *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return (done.stdout + done.stderr).strip()

    def shell(self, script: str) -> str:
        return self.run("sh", "-euc", script)

    def start(self, name: str, config: str, suffix: str = "service") -> None:
        (self.config / f"{name}.conf").write_text(config)
        unit = f"outboard@{name}.{suffix}"
        said = self.run("systemctl", "start", unit, check=False)
        assert self.state(unit) == "active", said + self.journal(name)

    def state(self, unit: str) -> str:
        return self.run("systemctl", "is-active", unit, check=False)

    def show(self, name: str, what: str) -> str:
        return self.run("systemctl", "show", "--value", "-p", what, f"outboard@{name}")

    def journal(self, name: str) -> str:
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", f"outboard@{name}", check=False)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="session")
def machine(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    need(os.geteuid() == 0, "a container with systemd needs root's rights")
    need(shutil.which("systemd-nspawn"), "there is no systemd-nspawn (Debian: systemd-container)")
    need(SERVICE_ROOT.exists(), f"{SERVICE_ROOT} is not there: scripts/service-root makes it")
    machine = Machine(installed, tmp_path_factory.mktemp("machine") / "console.log")
    yield machine
    machine.stop()
