# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures of the tests of the whole program: an outboard process, or one run of it to its end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest
from block_device import LoopDevice
from faulty_disk import FaultyDisk
from nvme_driver import Nvme
from outboard import BIN, LIMIT, SANITIZER_REPORTS, Outboard, sockets_in
from vfio_user import Client

# What is ignored stays so in every process that is started: SIGINT under a shell's "&", SIGHUP under nohup.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

OpenDisk = Callable[[Path], Nvme]


class Start(Protocol):
    def __call__(
        self,
        *words: str | Path,
        pass_fds: Sequence[int] = (),
        env: dict[str, str] | None = None,
        wait: bool = True,
        wrapper: Sequence[str] = (),
    ) -> Outboard: ...


class Run(Protocol):
    def __call__(
        self,
        *words: str | Path,
        pass_fds: Sequence[int] = (),
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    """Nothing of whoever runs the tests may get in: their service manager, their folders."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("LISTEN_", "NOTIFY_"))}
    return {**env, "XDG_RUNTIME_DIR": str(folder / "run")}


@pytest.fixture
def outboard(folder: Path, environment: dict[str, str]) -> Iterator[Start]:
    """Starts outboard and waits until it is ready. All of them are stopped at the end."""
    started: list[Outboard] = []
    before = sockets_in(folder)

    def start(
        *words: str | Path,
        pass_fds: Sequence[int] = (),
        env: dict[str, str] | None = None,
        wait: bool = True,
        wrapper: Sequence[str] = (),
    ) -> Outboard:
        merged = {**environment, **(env or {})}
        process = Outboard(folder, words, merged, pass_fds, wait=False, wrapper=wrapper)
        started.append(process)
        if wait:
            process.wait_ready()
        return process

    yield start
    for process in started:
        process.finish()
    if started:
        left = {path for path in sockets_in(folder) - before if not path.name.startswith("keep")}
        assert not left


@pytest.fixture
def run(folder: Path, environment: dict[str, str]) -> Run:
    """Runs outboard to its end."""

    def run_once(
        *words: str | Path,
        pass_fds: Sequence[int] = (),
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            [str(BIN), *map(str, words)],
            cwd=folder,
            env={**environment, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            pass_fds=pass_fds,
            timeout=LIMIT,
            check=False,
        )
        assert not any(report in result.stderr for report in SANITIZER_REPORTS), result.stderr
        return result

    return run_once


@pytest.fixture
def open_disk() -> Iterator[OpenDisk]:
    """Connects to a socket and brings up the controller there."""
    with ExitStack() as stack:

        def connect(path: Path) -> Nvme:
            nvme = Nvme(stack.enter_context(Client(path)))
            stack.callback(nvme.close)
            nvme.enable()
            nvme.create_io_queues()
            return nvme

        yield connect


class MakeDevice(Protocol):
    def __call__(
        self, file: Path, block_size: int = 512, read_only: bool = False, direct: bool = False
    ) -> LoopDevice: ...


@pytest.fixture
def loop_device() -> Iterator[MakeDevice]:
    """Makes loop devices, that go at the end. Skips where there can be none."""
    with ExitStack() as stack:

        def make(
            file: Path, block_size: int = 512, read_only: bool = False, direct: bool = False
        ) -> LoopDevice:
            return stack.enter_context(LoopDevice(file, block_size, read_only, direct))

        yield make


@pytest.fixture
def faulty_disk(folder: Path) -> Iterator[FaultyDisk]:
    with FaultyDisk(folder / "faulty", 1 << 20) as disk:
        yield disk
