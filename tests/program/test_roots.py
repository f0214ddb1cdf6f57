# SPDX-License-Identifier: BSD-3-Clause
"""Roots: devices of one see each other's BARs, devices of two never meet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import Start
from outboard import wait_until
from vfio_user import REGION_BAR0, REGION_CONFIG, Client, Memory

LIVENESS, FACTORIAL = 0x04, 0x08
DMA_SOURCE, DMA_DESTINATION, DMA_COUNT, DMA_COMMAND = 0x80, 0x88, 0x90, 0x98
DMA_START, DMA_TO_GUEST = 1, 2
BUFFER = 0x40000

BAR0_AT = 0x0E000000
BAR_SIZE = 0x100000
MEMORY_AT = 0x100000
MEMORY_SIZE = 0x4000


class Edu:
    """A client with memory of its own, at the same addresses as everybody's."""

    def __init__(self, path: Path, bar: int) -> None:
        self.client = Client(path)
        self.memory = Memory(MEMORY_SIZE)
        self.client.dma_map(MEMORY_AT, MEMORY_SIZE, self.memory.fd)
        self.client.write(REGION_CONFIG, 0x10, bar.to_bytes(4, "little"))
        self.client.write(REGION_CONFIG, 4, b"\x06\x00")

    def close(self) -> None:
        self.client.close()
        self.memory.close()

    def dma(self, source: int, destination: int, count: int, to_guest: bool) -> None:
        command = DMA_START | (DMA_TO_GUEST if to_guest else 0)
        self.client.write64(REGION_BAR0, DMA_SOURCE, source)
        self.client.write64(REGION_BAR0, DMA_DESTINATION, destination)
        self.client.write64(REGION_BAR0, DMA_COUNT, count)
        self.client.write64(REGION_BAR0, DMA_COMMAND, command)
        wait_until(lambda: not self.client.read64(REGION_BAR0, DMA_COMMAND) & DMA_START)

    def send(self, data: bytes, address: int) -> None:
        """Has the device write data to an address of its bus."""
        self.memory.write(0, data)
        self.dma(MEMORY_AT, BUFFER, len(data), to_guest=False)
        self.dma(BUFFER, address, len(data), to_guest=True)

    def fetch(self, address: int, size: int) -> bytes:
        self.dma(address, BUFFER, size, to_guest=False)
        self.dma(BUFFER, MEMORY_AT + 0x1000, size, to_guest=True)
        return self.memory.read(0x1000, size)


@pytest.fixture
def edus(outboard: Start, folder: Path) -> Iterator[list[Edu]]:
    """a and b on one root, c and d on another; b and d have their BARs where the others' end."""
    arguments = ["-device", "pci-root-bus,id=rb1", "-device", "pci-root-bus,id=rb2"]
    for name, root in (("a", "rb1"), ("b", "rb1"), ("c", "rb2"), ("d", "rb2")):
        arguments += ["-device", f"edu,id={name},bus={root}"]
        arguments += ["-object", f"x-vfio-user-server,id=s{name},path={name},device={name}"]
    outboard(*arguments)
    with ExitStack() as stack:
        edus = []
        for i, name in enumerate("abcd"):
            edu = Edu(folder / name, BAR0_AT + i % 2 * BAR_SIZE)
            stack.callback(edu.close)
            edus.append(edu)
        yield edus


def test_a_neighbours_registers_are_reached(edus: list[Edu]) -> None:
    a, b, c, d = edus
    a.send(b"\x05\0\0\0", BAR0_AT + BAR_SIZE + FACTORIAL)
    wait_until(lambda: b.client.read32(REGION_BAR0, FACTORIAL) == 120)
    assert d.client.read32(REGION_BAR0, FACTORIAL) == 0
    assert int.from_bytes(b.fetch(BAR0_AT + BAR_SIZE + FACTORIAL, 4), "little") == 120
    assert int.from_bytes(c.fetch(BAR0_AT + BAR_SIZE + FACTORIAL, 4), "little") == 0


def test_a_device_reaches_itself(edus: list[Edu]) -> None:
    a = edus[0]
    a.send(b"\xff\x00\xff\x00", BAR0_AT + LIVENESS)
    assert a.client.read32(REGION_BAR0, LIVENESS) == 0xFF00FF00
    # It starts the very command that is under way: refused, and nothing is stuck.
    a.send(b"\x01\0\0\0", BAR0_AT + DMA_COMMAND)
    a.send(b"\x00\x00\x00\x00", BAR0_AT + LIVENESS)
    assert a.client.read32(REGION_BAR0, LIVENESS) == 0xFFFFFFFF


def test_roots_never_meet(edus: list[Edu]) -> None:
    """The same addresses everywhere: each byte of memory and each register stays on its side."""
    for i, edu in enumerate(edus):
        edu.memory.write(0, bytes([0xA0 + i]) * MEMORY_SIZE)
    for offset in range(0, 0x400, 0x100):
        for i, edu in enumerate(edus):
            pattern = bytes((offset // 256 + n * 3 + i * 61) & 0xFF for n in range(256))
            edu.dma(MEMORY_AT + 0x3000, BUFFER, 256, to_guest=False)
            edu.memory.write(0x2000, pattern)
            edu.dma(MEMORY_AT + 0x2000, BUFFER, 256, to_guest=False)
            edu.dma(BUFFER, MEMORY_AT + offset, 256, to_guest=True)
        for i, edu in enumerate(edus):
            pattern = bytes((offset // 256 + n * 3 + i * 61) & 0xFF for n in range(256))
            assert edu.memory.read(offset, 256) == pattern
            assert edu.memory.read(offset + 256, 256) == bytes([0xA0 + i]) * 256
    for i, edu in enumerate(edus):
        edu.send(bytes([i, i, i, i]), BAR0_AT + LIVENESS)
    # The last one of each root that wrote to the first one's register.
    assert edus[0].client.read32(REGION_BAR0, LIVENESS) == 0xFEFEFEFE
    assert edus[2].client.read32(REGION_BAR0, LIVENESS) == 0xFCFCFCFC
    assert edus[1].client.read32(REGION_BAR0, LIVENESS) == 0
    assert edus[3].client.read32(REGION_BAR0, LIVENESS) == 0


def test_a_bar_that_is_switched_off_is_nowhere(edus: list[Edu]) -> None:
    a, b = edus[:2]
    b.client.write(REGION_CONFIG, 4, b"\x00\x00")
    a.send(b"\x00\x00\x00\x00", BAR0_AT + BAR_SIZE + LIVENESS)
    assert b.client.read32(REGION_BAR0, LIVENESS) == 0
