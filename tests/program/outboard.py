# SPDX-License-Identifier: BSD-3-Clause
"""Runs the outboard program for tests, and looks after how it ends."""

from __future__ import annotations

import os
import select
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("OUTBOARD_BIN", REPO / "build" / "outboard"))

# Everything takes longer under a sanitizer or on a busy machine.
TIME_SCALE = float(os.environ.get("OUTBOARD_TEST_TIME_SCALE", "1"))
LIMIT = 10 * TIME_SCALE

SANITIZER_REPORTS = ("Sanitizer", "runtime error:")


def is_sanitized() -> bool:
    return b"__asan_init" in BIN.read_bytes()


def sockets_in(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if stat.S_ISSOCK(path.lstat().st_mode)}


def wait_until(what: Callable[[], object], limit: float = LIMIT) -> None:
    end = time.monotonic() + limit
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


class Outboard:
    """A process that serves. Its working folder is the test's own."""

    def __init__(
        self,
        folder: Path,
        words: Sequence[str | Path],
        env: Mapping[str, str],
        pass_fds: Sequence[int] = (),
        wait: bool = True,
        wrapper: Sequence[str] = (),
    ) -> None:
        number = len(list(folder.glob("*.stderr")))
        self.log = folder / f"{number}.stderr"
        self.output_file = folder / f"{number}.stdout"
        ready, theirs = os.pipe()
        command = [*wrapper, str(BIN), *map(str, words), f"--ready-fd={theirs}"]
        with open(self.log, "wb") as log, open(self.output_file, "wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                pass_fds=[theirs, *pass_fds],
            )
        os.close(theirs)
        self.ready = ready
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        told, _, _ = select.select([self.ready], [], [], LIMIT)
        said = os.read(self.ready, 2) if told else b""
        assert said == b"\n", f"not ready; its log:\n{self.errors()}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def output(self) -> str:
        return self.output_file.read_text()

    def errors(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_log(self, text: str) -> None:
        wait_until(lambda: text in self.errors())

    def wait(self) -> int:
        try:
            return self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"does not end; its log:\n{self.errors()}") from None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.wait()

    def finish(self) -> None:
        """Ends it if it still runs, in order; and there must be nothing to complain about."""
        if self.process.poll() is None:
            assert self.stop() == 0, self.errors()
        os.close(self.ready)
        assert not any(report in self.errors() for report in SANITIZER_REPORTS), self.errors()
