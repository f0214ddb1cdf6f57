# SPDX-License-Identifier: BSD-3-Clause
"""outboard processes as the tests of conformance see them: what they hold, and whether they
still serve."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from disk import READ, Disk
from outboard import BIN, SANITIZER_REPORTS, Outboard, wait_until
from peer import DATA_EVENTFD, INTX, SET_IRQS, TRIGGER, Peer, set_irqs

# Connects to a device of the shared process: its name, and what to negotiate (False: nothing).
Connect = Callable[..., Peer]

# The program with the tests' own device, see sampler.c.
SAMPLER = BIN.parent / "tests" / "conformance" / "outboard-sampler"


def clean_environment(folder: Path) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("LISTEN_", "NOTIFY_"))}
    return {**env, "XDG_RUNTIME_DIR": str(folder)}


class Process(Outboard):
    """An outboard process whose descriptors and memory can be counted."""

    def __init__(self, folder: Path, *words: str | Path, program: Path = BIN) -> None:
        wrapper = ["sh", "-c", 'shift; exec "$0" "$@"', str(program)]
        super().__init__(folder, words, clean_environment(folder), wrapper=wrapper)
        self.folder = folder
        assert os.read(self.ready, 1) == b""  # it has closed its end
        self.idle_fds = self.fd_count()

    def warm_up(self, socket: str) -> None:
        """What the process makes once, when a client first needs it, is there from here on."""
        fd = os.eventfd(0)
        with Peer(self.folder / socket) as peer:
            peer.ok(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, INTX), (fd,))
        os.close(fd)
        # That this one is served says that the last one's session has ended.
        with Peer(self.folder / socket):
            self.idle_fds = self.fd_count() - 1

    def fd_count(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def rss(self) -> int:
        """Bytes of memory that are its own."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no RssAnon")

    def maps(self) -> str:
        return Path(f"/proc/{self.pid}/maps").read_text()

    def complaint(self) -> str:
        """Why it is not fit for the next test, if it is not."""
        if self.process.poll() is not None:
            return f"it ended ({self.process.returncode}); its log:\n{self.errors()}"
        if any(report in self.errors() for report in SANITIZER_REPORTS):
            return self.errors()
        return ""

    def is_idle(self) -> bool:
        return self.fd_count() == self.idle_fds

    def wait_idle(self) -> None:
        """No client's descriptor is left."""
        try:
            wait_until(self.is_idle)
        except AssertionError:
            links = [os.readlink(e) for e in Path(f"/proc/{self.pid}/fd").iterdir()]
            raise AssertionError(f"descriptors left: {sorted(links)}") from None


class Shared:
    """The processes that tests share, each made anew when a test has broken it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="conformance-"))
        self.processes: dict[str, Process] = {}

    def get(self, device: str) -> Process:
        """The process that serves a device, at a socket of the device's name."""
        if device not in self.processes:
            process = self.start_sampler() if device == "sampler" else self.start_main()
            for name in ("sampler",) if device == "sampler" else ("edu", "nvme"):
                self.processes[name] = process
        return self.processes[device]

    def start_main(self) -> Process:
        image = Path(tempfile.mkstemp(suffix=".img", dir=self.folder)[1])
        os.truncate(image, 1 << 20)
        words = ["edu", "socket=edu", "--", "nvme", image, "socket=nvme"]
        process = Process(self.folder, *words)
        with Peer(process.folder / "nvme") as peer:
            disk = Disk(peer, shared=True)
            disk.transfer(READ, 0, 1)
            disk.close()
        process.warm_up("nvme")
        return process

    def start_sampler(self) -> Process:
        process = Process(self.folder, "sampler", "socket=sampler", program=SAMPLER)
        process.warm_up("sampler")
        return process

    def check(self) -> None:
        for process in set(self.processes.values()):
            try:
                assert not process.complaint(), process.complaint()
                process.wait_idle()
            except AssertionError:
                self.processes = {n: p for n, p in self.processes.items() if p is not process}
                process.process.kill()
                process.wait()
                raise

    def finish(self) -> None:
        for process in set(self.processes.values()):
            process.finish()
        shutil.rmtree(self.folder)
