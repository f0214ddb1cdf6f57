# SPDX-License-Identifier: BSD-3-Clause
"""An outboard process for the guest tests and benchmarks."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from guest import REPO, TIME_SCALE

DEFAULT_BIN = Path(os.environ.get("OUTBOARD_BIN", REPO / "build" / "outboard"))


class ServerError(Exception):
    """outboard did not start, or did not live and end as it should."""


class Server:
    """outboard with one or more devices, each given as the words of its command line.

    with Server(["nvme", "size=1G", "socket=/tmp/a.sock"]): ...
    """

    def __init__(
        self, *devices: Sequence[str], binary: Path = DEFAULT_BIN, log: Path = Path(os.devnull)
    ) -> None:
        words: list[str] = []
        for device in devices:
            words += ["--", *device] if words else device
        self.words = words
        self.binary = binary
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error:
            self.kill()
        else:
            self.stop()

    def start(self) -> None:
        ready, theirs = os.pipe()
        # Ends with the thread that started it, should we be killed.
        command = ["setpriv", "--pdeathsig", "KILL", str(self.binary), "--ready-fd", str(theirs)]
        try:
            with open(self.log, "wb") as log:
                self._process = subprocess.Popen(
                    [*command, *self.words],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[theirs],
                )
            os.close(theirs)
            self._wait_ready(ready)
        finally:
            os.close(ready)

    def _wait_ready(self, ready: int) -> None:
        told, _, _ = select.select([ready], [], [], 10 * TIME_SCALE)
        if not told or os.read(ready, 1) != b"\n":
            self.kill()
            raise ServerError(f"outboard {' '.join(self.words)} did not get ready\n{self.output()}")

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def check_alive(self) -> None:
        assert self._process
        status = self._process.poll()
        if status is not None:
            raise ServerError(f"outboard has ended: {_describe(status)}\n{self.output()}")

    def stop(self) -> None:
        """An orderly end; fails if outboard has crashed, hangs, or complains at its end."""
        self.check_alive()
        assert self._process
        self._process.terminate()
        try:
            status = self._process.wait(20 * TIME_SCALE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerError(f"outboard does not end on SIGTERM\n{self.output()}") from None
        if status not in (0, -signal.SIGTERM):
            raise ServerError(f"outboard ended badly: {_describe(status)}\n{self.output()}")

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.is_file() else ""


def _describe(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"status {status}"
