# SPDX-License-Identifier: BSD-3-Clause
"""-trace: a line for each command and each register, of those that the pattern asks for."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from conftest import Start
from nvme_driver import Nvme
from outboard import wait_until
from vfio_user import REGION_BAR0, Client


def traced(log: str) -> list[str]:
    return [line.split("trace: ", 1)[1] for line in log.splitlines() if "trace: " in line]


def test_registers_of_edu_by_name(outboard: Start, folder: Path) -> None:
    process = outboard("edu", "socket=a", "id=d0", "-trace", "d0/register")
    with Client(folder / "a") as client:
        client.write(REGION_BAR0, 0x04, b"\x01\x00\x00\x00")
        client.read(REGION_BAR0, 0x00, 4)
        client.read(REGION_BAR0, 0x80, 8)
    assert process.stop() == 0
    assert traced(process.errors()) == [
        "d0: write liveness (0x4) = 0x1",
        "d0: read id (0x0) -> 0x10000ed",
        "d0: read dma source (0x80) -> 0x0",
    ]


def test_commands_of_nvme(outboard: Start, folder: Path) -> None:
    process = outboard("nvme", "size=1M", "socket=a", "id=d0", "-trace", "*/command")
    with Client(folder / "a") as client:
        nvme = Nvme(client)
        nvme.enable()
        nvme.create_io_queues()
        nvme.write(1, 3, bytes(512))
        nvme.close()
    assert process.stop() == 0
    lines = traced(process.errors())
    (begun,) = (line for line in lines if "Write (0x01)" in line)
    assert begun == "d0: SQ 1 CID 0x0055: Write (0x01) NSID 0x1 SLBA 0x3 NLB 1 CDW12 0x0"
    assert "d0: SQ 1 CID 0x0055: completed with status 0x000, result 0x0" in lines
    assert any("Create I/O Submission Queue" in line for line in lines)
    assert not any("read " in line or "DBL" in line for line in lines)


def test_registers_of_nvme_and_all_of_a_device(outboard: Start, folder: Path) -> None:
    process = outboard("nvme", "size=1M", "socket=a", "id=d0", "--", "edu", "socket=b", "id=e0", "-trace", "d0")
    with Client(folder / "a") as client, Client(folder / "b") as other:
        other.read(REGION_BAR0, 0, 4)
        nvme = Nvme(client)
        nvme.enable()
        nvme.create_io_queues()
        nvme.write(1, 0, bytes(512))
        nvme.close()
    assert process.stop() == 0
    lines = traced(process.errors())
    for said in ("write CC = 0x46", "read CSTS -> 0x1", "write AQA = 0x", "write SQ1TDBL = 0x1", "Write (0x01)"):
        assert any(said in line for line in lines), said
    assert all(line.startswith("d0: ") for line in lines)


def test_nothing_without_it(outboard: Start, folder: Path) -> None:
    process = outboard("nvme", "size=1M", "socket=a", "id=d0", "--verbose", "-trace", "x*")
    with Client(folder / "a") as client:
        nvme = Nvme(client)
        nvme.enable()
        nvme.close()
    assert process.stop() == 0
    assert traced(process.errors()) == []


def test_traces_that_nobody_reads(outboard: Start, folder: Path) -> None:
    """They are counted, and the process goes on."""
    log = folder / "1.stderr"
    os.mkfifo(log)
    pipe = os.open(log, os.O_RDWR | os.O_NONBLOCK)
    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 4096)
    process = outboard("edu", "socket=a", "id=d0", "-trace", "d0/register")
    assert process.log == log
    text = b""

    def said(what: bytes) -> bool:
        nonlocal text
        try:
            text += os.read(pipe, 65536)
        except BlockingIOError:
            pass
        return what in text

    try:
        with Client(folder / "a") as client:
            for _ in range(200):
                client.read(REGION_BAR0, 0, 4)
            wait_until(lambda: said(b" lines not shown\n"))
            client.read(REGION_BAR0, 0, 4)
    finally:
        # For whoever reads it to its end.
        log.unlink()
        log.write_bytes(text)
    assert process.stop() == 0
    os.close(pipe)
