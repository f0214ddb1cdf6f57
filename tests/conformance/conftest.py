# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures of the tests of conformance.

Tests share a process with an edu and an nvme, and one with the sampler, unless they ask for one of
their own. After each test these must run still, and hold as many descriptors as at their beginning:
a test that breaks one fails, and the next one gets a new process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from peer import BAR0, EDU_ID, EDU_ID_VALUE, RESET, Events, Memory, Peer, u32
from served import Connect, Process, Shared


@pytest.fixture(scope="session")
def all_shared() -> Iterator[Shared]:
    holder = Shared()
    yield holder
    holder.finish()


@pytest.fixture
def shared_processes(all_shared: Shared) -> Iterator[Shared]:
    yield all_shared
    all_shared.check()


@pytest.fixture
def process(shared_processes: Shared) -> Process:
    """The process that serves edu and nvme."""
    return shared_processes.get("edu")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts a process of the test's own. Its sockets are in its folder."""
    started: list[Process] = []

    def start_one(*words: str | Path) -> Process:
        started.append(Process(tmp_path, *words))
        return started[-1]

    yield start_one
    for one in started:
        one.finish()


@pytest.fixture
def connect(shared_processes: Shared) -> Iterator[Connect]:
    """Connects to a shared device: its name, and what to negotiate (False: nothing)."""
    with ExitStack() as stack:

        def connect_to(device: str, caps: dict[str, Any] | bool | None = None) -> Peer:
            folder = shared_processes.get(device).folder
            return stack.enter_context(Peer(folder / device, caps))

        yield connect_to


def fresh(connect: Connect, device: str) -> Peer:
    peer = connect(device)
    peer.ok(RESET)
    return peer


@pytest.fixture
def edu(connect: Connect) -> Peer:
    """A session with an edu that was reset."""
    return fresh(connect, "edu")


@pytest.fixture
def nvme(connect: Connect) -> Peer:
    return fresh(connect, "nvme")


@pytest.fixture
def sampler(connect: Connect) -> Peer:
    """A session with the device that has one of everything."""
    return fresh(connect, "sampler")


@pytest.fixture(params=["edu", "nvme", "sampler"])
def device(request: pytest.FixtureRequest, connect: Connect) -> Peer:
    """A session with each device in turn: for what holds for all."""
    return fresh(connect, request.param)


@pytest.fixture
def raw(connect: Connect) -> Peer:
    """A connection to edu on which nothing was said yet."""
    return connect("edu", False)


@pytest.fixture
def next_client(connect: Connect) -> Callable[[], None]:
    """Checks that whoever comes next is served."""

    def check() -> None:
        peer = connect("edu")
        assert peer.read(BAR0, EDU_ID, 4) == u32(EDU_ID_VALUE)
        peer.close()

    return check


@pytest.fixture
def memory() -> Iterator[Memory]:
    """64 KiB that can be shared."""
    shared_memory = Memory(0x10000)
    yield shared_memory
    shared_memory.close()


@pytest.fixture
def events() -> Iterator[Events]:
    some = Events()
    yield some
    some.close()
