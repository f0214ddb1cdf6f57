# SPDX-License-Identifier: BSD-3-Clause
"""The edu device through the socket: registers, a computation, DMA and interrupts."""

from __future__ import annotations

import math
import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Start
from outboard import LIMIT, wait_until
from vfio_user import IRQ_INTX, IRQ_MSI, REGION_BAR0, REGION_CONFIG, Client, Memory

IDENTIFICATION, LIVENESS, FACTORIAL, STATUS = 0x00, 0x04, 0x08, 0x20
IRQ_STATUS, IRQ_RAISE, IRQ_ACK = 0x24, 0x60, 0x64
DMA_SOURCE, DMA_DESTINATION, DMA_COUNT, DMA_COMMAND = 0x80, 0x88, 0x90, 0x98
DMA_START, DMA_TO_GUEST, DMA_IRQ = 1, 2, 4
BUFFER = 0x40000

MEMORY_ADDRESS = 0x100000
MEMORY_SIZE = 0x10000


@pytest.fixture
def edu(outboard: Start, folder: Path) -> Iterator[Client]:
    outboard("edu", "socket=a")
    with Client(folder / "a") as client:
        yield client


@pytest.fixture
def memory(edu: Client) -> Iterator[Memory]:
    memory = Memory(MEMORY_SIZE)
    edu.dma_map(MEMORY_ADDRESS, MEMORY_SIZE, memory.fd)
    edu.write(REGION_CONFIG, 4, b"\x06\x00")  # memory decoding and bus mastering
    yield memory
    memory.close()


@pytest.fixture
def eventfd() -> Iterator[int]:
    fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    yield fd
    os.close(fd)


def wait_signal(fd: int) -> int:
    ready, _, _ = select.select([fd], [], [], LIMIT)
    assert ready, "no interrupt"
    return os.eventfd_read(fd)


def start_dma(edu: Client, source: int, destination: int, count: int, command: int) -> None:
    edu.write64(REGION_BAR0, DMA_SOURCE, source)
    edu.write64(REGION_BAR0, DMA_DESTINATION, destination)
    edu.write64(REGION_BAR0, DMA_COUNT, count)
    edu.write64(REGION_BAR0, DMA_COMMAND, command | DMA_START)
    wait_until(lambda: not edu.read64(REGION_BAR0, DMA_COMMAND) & DMA_START)


def test_what_it_is(edu: Client) -> None:
    flags, regions, irqs = edu.device_info()
    assert flags & 3 == 3  # can be reset, is a PCI device
    assert regions >= 9
    assert irqs == 5
    assert edu.region_size(REGION_BAR0) == 1 << 20
    assert edu.read(REGION_CONFIG, 0, 4) == bytes.fromhex("3412e811")
    assert edu.read32(REGION_BAR0, IDENTIFICATION) == 0x010000ED


def test_liveness(edu: Client) -> None:
    for value in (0, 0xFFFFFFFF, 0x12345678):
        edu.write32(REGION_BAR0, LIVENESS, value)
        assert edu.read32(REGION_BAR0, LIVENESS) == ~value & 0xFFFFFFFF


@pytest.mark.parametrize("n", [0, 1, 5, 12, 13, 34, 0xFFFFFFFF])
def test_factorial(edu: Client, n: int) -> None:
    edu.write32(REGION_BAR0, FACTORIAL, n)
    wait_until(lambda: not edu.read32(REGION_BAR0, STATUS) & 1)
    expected = math.factorial(n) % 2**32 if n < 34 else 0
    assert edu.read32(REGION_BAR0, FACTORIAL) == expected


def test_dma_there_and_back(edu: Client, memory: Memory) -> None:
    data = os.urandom(1000)
    memory.write(0x123, data)
    start_dma(edu, MEMORY_ADDRESS + 0x123, BUFFER, 1000, 0)
    start_dma(edu, BUFFER, MEMORY_ADDRESS + 0x8000, 1000, DMA_TO_GUEST)
    assert memory.read(0x8000, 1000) == data
    assert memory.read(0x8000 + 1000, 100) == bytes(100)


def test_dma_to_unmapped_memory_changes_nothing(edu: Client, memory: Memory) -> None:
    start_dma(edu, BUFFER, MEMORY_ADDRESS + MEMORY_SIZE - 10, 100, DMA_TO_GUEST)
    edu.dma_unmap(MEMORY_ADDRESS, MEMORY_SIZE)
    start_dma(edu, BUFFER, MEMORY_ADDRESS, 100, DMA_TO_GUEST)
    assert memory.read(0, MEMORY_SIZE) == bytes(MEMORY_SIZE)
    assert edu.read32(REGION_BAR0, IDENTIFICATION) == 0x010000ED


@pytest.mark.parametrize("kind", [IRQ_MSI, IRQ_INTX])
def test_interrupt(edu: Client, eventfd: int, kind: int) -> None:
    edu.set_irq_eventfd(kind, 0, eventfd)
    edu.write32(REGION_BAR0, IRQ_RAISE, 0x40)
    assert wait_signal(eventfd) == 1
    assert edu.read32(REGION_BAR0, IRQ_STATUS) == 0x40
    edu.write32(REGION_BAR0, IRQ_ACK, 0x40)
    assert edu.read32(REGION_BAR0, IRQ_STATUS) == 0


def test_interrupt_after_dma(edu: Client, memory: Memory, eventfd: int) -> None:
    edu.set_irq_eventfd(IRQ_MSI, 0, eventfd)
    start_dma(edu, MEMORY_ADDRESS, BUFFER, 4096, DMA_IRQ)
    assert wait_signal(eventfd) == 1
    assert edu.read32(REGION_BAR0, IRQ_STATUS) == 0x100


def test_reset(edu: Client) -> None:
    edu.write32(REGION_BAR0, IRQ_RAISE, 1)
    edu.write(REGION_CONFIG, 4, b"\x06\x00")
    edu.reset()
    assert edu.read32(REGION_BAR0, IRQ_STATUS) == 0
    assert edu.read(REGION_CONFIG, 4, 2) == b"\x00\x00"
