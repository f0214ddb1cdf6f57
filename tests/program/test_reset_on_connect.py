# SPDX-License-Identifier: BSD-3-Clause
"""reset-on-connect: a controller that one client left never writes into another one's memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Start
from nvme_driver import CSTS, MEMORY, MEMORY_SIZE, Nvme
from vfio_user import REGION_BAR0, Client, Memory

# Another process: enables the controller, has a command wait in its queue, and goes.
OTHER = """
import sys
sys.path.insert(0, sys.argv[2])
from nvme_driver import Nvme
from vfio_user import Client
guest = Nvme(Client(sys.argv[1]))
guest.enable()
guest.create_io_queues()
guest.write(1, 0, b"theirs".ljust(512))
"""


def leave_by_another_process(folder: Path) -> None:
    here = str(Path(__file__).parent)
    subprocess.run([sys.executable, "-c", OTHER, str(folder / "a.sock"), here], check=True)


def is_ready(client: Client) -> bool:
    return bool(client.read32(REGION_BAR0, CSTS) & 1)


@pytest.mark.parametrize(
    ("words", "kept"), [([], False), (["reset-on-connect=on"], False), (["reset-on-connect=off"], True)]
)
def test_another_process(outboard: Start, folder: Path, words: list[str], kept: bool) -> None:
    process = outboard("nvme", "size=16M", "socket=a.sock", *words)
    leave_by_another_process(folder)
    memory = Memory(MEMORY_SIZE)
    with Client(folder / "a.sock") as client:
        assert is_ready(client)  # who just looks changes nothing
        client.dma_map(MEMORY, MEMORY_SIZE, memory.fd)
        assert is_ready(client) == kept
        # What a client does that never resets: its driver begins, by a register of its own.
        client.write32(REGION_BAR0, 0x1008, 1)
        client.read32(REGION_BAR0, CSTS)
        if not kept:
            assert memory.read(0, MEMORY_SIZE) == bytes(MEMORY_SIZE)
    assert ("another client" in process.errors()) == (not words)
    memory.close()


def test_the_same_client_goes_on(outboard: Start, folder: Path) -> None:
    outboard("nvme", "size=16M", "socket=a.sock")
    with Client(folder / "a.sock") as client:
        guest = Nvme(client)
        guest.enable()
        guest.create_io_queues()
        guest.write(1, 0, b"before".ljust(512))
    with Client(folder / "a.sock") as client:
        client.dma_map(MEMORY, MEMORY_SIZE, guest.memory.fd)
        guest.client = client
        assert guest.read(1, 0, 512) == b"before".ljust(512)
    guest.close()


def test_the_same_process_with_another_guest(outboard: Start, folder: Path) -> None:
    outboard("nvme", "size=16M", "socket=a.sock")
    with Client(folder / "a.sock") as client:
        guest = Nvme(client)
        guest.enable()
        guest.create_io_queues()
    memory = Memory(MEMORY_SIZE)
    with Client(folder / "a.sock") as client:
        client.dma_map(MEMORY, MEMORY_SIZE, memory.fd)
        assert not is_ready(client)
    # And one without memory is nobody: it neither resets, nor is it who left.
    with Client(folder / "a.sock") as client:
        again = Nvme(client)
        again.enable()
    with Client(folder / "a.sock") as client:
        assert is_ready(client)
    with Client(folder / "a.sock") as client:
        client.dma_map(MEMORY, MEMORY_SIZE, again.memory.fd)
        assert is_ready(client)
    for each in guest.memory, again.memory, memory:
        each.close()
