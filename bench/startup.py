# SPDX-License-Identifier: BSD-3-Clause
"""How long outboard takes from its start until it accepts, and how much memory it holds.

One nvme device on a memory backend. Start: from just before fork until a connect() to the socket has
succeeded, tried without pause. Memory: VmRSS, once a client could attach. The floor of the same run is
/bin/true: fork, exec and dynamic linking of a program that does nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
BINARY = Path(os.environ.get("OUTBOARD_BIN", REPO / "build" / "outboard"))


def connect_when_there(path: Path, limit: float) -> None:
    deadline = time.monotonic() + limit
    while True:
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(str(path))
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
        finally:
            client.close()


def resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise LookupError("VmRSS")


def one_start(folder: Path) -> tuple[float, int]:
    path = folder / "nvme.sock"
    words = [str(BINARY), "nvme", "size=1G", f"socket={path}"]
    began = time.perf_counter()
    null = subprocess.DEVNULL
    process = subprocess.Popen(words, stdin=null, stdout=null, stderr=null)
    try:
        connect_when_there(path, 10)
        taken = time.perf_counter() - began
        return taken * 1e3, resident(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def one_floor() -> float:
    began = time.perf_counter()
    subprocess.run(["/bin/true"], check=True)
    return (time.perf_counter() - began) * 1e3


def summary(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    starts, memory, floor = [], [], []
    for _ in range(args.runs):
        with tempfile.TemporaryDirectory(prefix="outboard.") as folder:
            taken, kib = one_start(Path(folder))
        starts.append(taken)
        memory.append(kib)
        floor.append(one_floor())
    result = {"accepting_ms": summary(starts), "rss_kib": summary(memory), "true_ms": summary(floor)}
    if args.json:
        print(json.dumps(result))
        return
    for name, unit in (("accepting_ms", "ms"), ("true_ms", "ms"), ("rss_kib", "KiB")):
        row = result[name]
        print(f"{name:14} median {row['median']:8.1f} {unit}  ({row['min']:.1f} to {row['max']:.1f})")


if __name__ == "__main__":
    main()
