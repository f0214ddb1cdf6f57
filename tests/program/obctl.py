# SPDX-License-Identifier: BSD-3-Clause
"""Runs obctl for tests: once to its end, or as a process that traces."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from outboard import BIN, LIMIT, SANITIZER_REPORTS, wait_until

OBCTL = Path(os.environ.get("OBCTL_BIN", BIN.parent / "obctl"))


def obctl(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [str(OBCTL), *map(str, words)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=6 * LIMIT,
        check=False,
    )
    assert not any(report in result.stderr for report in SANITIZER_REPORTS), result.stderr
    return result


def good(folder: Path, *words: str | Path) -> str:
    """What it prints, when it must succeed."""
    result = obctl(folder, *words)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def good_json(folder: Path, *words: str | Path) -> Any:
    return json.loads(good(folder, *words, "--json"))


def bad(folder: Path, *words: str | Path) -> str:
    """What it says, when it must fail: one line."""
    result = obctl(folder, *words)
    assert result.returncode == 1
    assert result.stderr.startswith("obctl: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


class Trace:
    """obctl trace between the sockets `server` and `traced` of a folder."""

    def __init__(self, folder: Path, server: str, *words: str) -> None:
        self.output = folder / "trace.stdout"
        self.errors = folder / "trace.stderr"
        self.socket = folder / "traced"
        with open(self.output, "wb") as output, open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                [str(OBCTL), "trace", server, "traced", *words],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )
        wait_until(self.socket.exists)

    def stop(self) -> list[str]:
        """Ends it in order; returns the lines that it printed."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(LIMIT) == 0, self.errors.read_text()
        assert self.errors.read_text() == ""
        assert not self.socket.exists()
        return self.output.read_text().splitlines()
