# SPDX-License-Identifier: BSD-3-Clause
"""
How long outboard takes from its start until it accepts, and how much memory it holds.

One nvme device on a memory backend. Start: from just before fork until a connect() to the socket has
succeeded, tried without pause. Memory: VmRSS, once a client could attach. The floor of the same run is
/bin/true: fork, exec and dynamic linking of a program that does nothing.
"""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

from ..machine import processors, resident
from ..programs import OUTBOARD, Bench, Broken, column, folder_for_sockets, on_cpu
from ..results import Beside, Row

TITLE = "Start, and memory"
LIMIT = 10


def connect_when_there(path: Path) -> None:
    deadline = time.monotonic() + LIMIT
    while True:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(path))
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise Broken("the server does not accept") from error


def start(words: list[str]) -> subprocess.Popen[bytes]:
    null = subprocess.DEVNULL
    place = on_cpu(processors()[0])
    return subprocess.Popen(words, stdin=null, stdout=null, stderr=null, preexec_fn=place)


def ours() -> dict[str, float]:
    with folder_for_sockets() as folder:
        path = Path(folder, "s")
        began = time.perf_counter()
        process = start([str(OUTBOARD), "nvme", "size=1G", f"socket={path}"])
        try:
            connect_when_there(path)
            taken = time.perf_counter() - began
            return {"ns": taken * 1e9, "bytes": resident(process.pid)}
        finally:
            process.terminate()
            process.wait(LIMIT)


def floor() -> dict[str, float]:
    began = time.perf_counter()
    start(["/bin/true"]).wait(LIMIT)
    return {"ns": (time.perf_counter() - began) * 1e9}


def measure(bench: Bench) -> list[Row]:
    found = bench.collect({"ours": ours, "floor": floor}, runs=bench.runs * 4)
    if "ours" not in found or "floor" not in found:
        return []
    beside = [Beside("/bin/true, its whole life", column(found["floor"], "ns"))]
    return [
        Row("start until it accepts", "ns", column(found["ours"], "ns"), beside),
        Row("resident memory, one disk of 1 GiB in memory", "B", column(found["ours"], "bytes")),
    ]
