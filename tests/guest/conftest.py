# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures of the guest tests: the outboard program, servers, guests, and what a failure shows.

Without the folder that scripts/guest-root makes, or without outboard, the tests are skipped with a
warning at the end; with CI=true in the environment they fail.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from guest import GUEST_DIR, REPO, Disk, Guest
from server import DEFAULT_BIN, Server

LOG_DIR = Path(os.environ.get("OUTBOARD_TEST_LOGS", REPO / "build" / "guest-logs"))

missing: list[str] = []


def need(what: Path, hint: str) -> None:
    if what.exists():
        return
    reason = f"{what} is not there: {hint}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    if reason not in missing:
        missing.append(reason)
    pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for reason in missing:
        terminalreporter.section("GUEST TESTS WERE SKIPPED", sep="!", red=True, bold=True)
        terminalreporter.line(reason)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Adds the ends of the consoles and of outboard's log to a failure."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for file in sorted(log_dir(item).glob("*.log")):
            lines = file.read_text(errors="replace").splitlines()
            report.sections.append((f"the end of {file}", "\n".join(lines[-60:])))


def log_dir(item: pytest.Item) -> Path:
    return LOG_DIR / item.name.translate(str.maketrans("[]/", "..."))


@pytest.fixture(scope="session")
def guest_root() -> Path:
    need(GUEST_DIR / "guest.stamp", "scripts/guest-root makes it")
    return GUEST_DIR


@pytest.fixture(scope="session")
def outboard_bin() -> Path:
    need(DEFAULT_BIN, "build it with meson, or set OUTBOARD_BIN")
    return DEFAULT_BIN


@pytest.fixture
def logs(request: pytest.FixtureRequest) -> Path:
    """A folder for what this test leaves behind."""
    folder = log_dir(request.node)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def work() -> Iterator[Path]:
    """A folder for sockets and images: its name is short, as a socket's path has to be."""
    with tempfile.TemporaryDirectory(prefix="outboard.") as folder:
        yield Path(folder)


@pytest.fixture
def serve(outboard_bin: Path, logs: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """serve(["nvme", "size=1G", "socket=..."], ...) starts outboard and ends it with the test."""
    servers: list[Server] = []

    def start(*devices: list[str]) -> Server:
        log = logs / f"outboard-{len(servers)}.log"
        server = Server(*devices, binary=outboard_bin, log=log)
        servers.append(server)
        server.start()
        return server

    yield start
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.kill)
        for server in servers:
            server.stop()


@pytest.fixture
def boot(guest_root: Path, logs: Path) -> Iterator[Callable[..., Guest]]:
    """boot(socket, ...) starts a guest and ends it with the test."""
    guests: list[Guest] = []

    def start(*disks: str | Path | Disk, **options: Any) -> Guest:
        guest = Guest(disks, log=logs / f"guest-{len(guests)}.log", **options)
        guests.append(guest)
        guest.start()
        return guest

    yield start
    for guest in guests:
        guest.close()
