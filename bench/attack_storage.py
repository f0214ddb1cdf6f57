# SPDX-License-Identifier: BSD-3-Clause
"""
attack_storage.py MONITOR FILE PID COUNTS CPU: has a server open a file whose file system (process
PID) is stopped, several times at once, gives up, and lets the file system go on; again and again.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "program"))

from qmp import Qmp, QmpError  # noqa: E402

AT_ONCE = 4
ROUNDS_AT = 8  # struct loop_watch in loop_watch.h


def give_up(monitor: Qmp, name: str) -> None:
    """The command may not have been taken yet."""
    while True:
        try:
            monitor.execute("blockdev-del", **{"node-name": name})
            return
        except QmpError:
            continue


def one_round(adding: list[Qmp], other: Qmp, file: Path, pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    for number, one in enumerate(adding):
        words = {"driver": "file", "filename": str(file), "node-name": f"stalled{number}"}
        one.start("blockdev-add", **words)
    for number, one in enumerate(adding):
        give_up(other, f"stalled{number}")
        with contextlib.suppress(QmpError):
            one.finish()
    os.kill(pid, signal.SIGCONT)


def main(monitor: Path, file: Path, pid: int, counts: Path, cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})
    adding = [Qmp(monitor) for _ in range(AT_ONCE)]
    other = Qmp(monitor)
    with open(counts, "r+b") as opened:
        shared = mmap.mmap(opened.fileno(), ROUNDS_AT + 8)
    one_round(adding, other, file, pid)
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    print("ready", flush=True)
    while True:
        one_round(adding, other, file, pid)
        rounds = struct.unpack_from("<Q", shared, ROUNDS_AT)[0]
        struct.pack_into("<Q", shared, ROUNDS_AT, rounds + 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]))
