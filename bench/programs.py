# SPDX-License-Identifier: BSD-3-Clause
"""Runs what measures: outboard as a server, obctl, and the programs in this folder."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from . import machine

REPO = Path(__file__).resolve().parents[1]
OUTBOARD = Path(os.environ.get("OUTBOARD_BIN", REPO / "build" / "outboard")).resolve()
BUILD = OUTBOARD.parent
LIMIT = 60  # seconds for any one program; they all take a fraction of that


class Missing(Exception):
    """It cannot be measured here, and the text says why."""


class Broken(Exception):
    """A program failed."""


def on_cpu(cpu: int) -> Callable[[], None]:
    return lambda: os.sched_setaffinity(0, {cpu})


def folder_for_sockets() -> tempfile.TemporaryDirectory[str]:
    """In memory, as /run is: some file systems on disks take long to make a thousand sockets."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return tempfile.TemporaryDirectory(prefix="outboard-bench.", dir=place)


class Server:
    """An outboard process, ready, on the servers' processor."""

    def __init__(
        self,
        folder: Path,
        words: Sequence[str],
        wrapper: Sequence[str] = (),
        limit: float = LIMIT,
        **environment: str,
    ) -> None:
        self.log = folder / "server.log"
        ready, theirs = os.pipe()
        command = [*wrapper, str(OUTBOARD), *words, "--quiet", f"--ready-fd={theirs}"]
        self.began = time.perf_counter()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                pass_fds=[theirs],
                env={**os.environ, **environment},
                preexec_fn=on_cpu(machine.processors()[0]),
            )
        os.close(theirs)
        told, _, _ = select.select([ready], [], [], limit)
        said = os.read(ready, 1) if told else b""
        self.ready_seconds = time.perf_counter() - self.began
        os.close(ready)
        if said != b"\n":
            self.stop()
            raise Broken(f"outboard {' '.join(words)[:200]}: {self.said()}")

    @property
    def pid(self) -> int:
        return self.process.pid

    def said(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "did not become ready"

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def serve(*words: str, wrapper: Sequence[str] = ()) -> Iterator[tuple[Server, Path]]:
    """A server of one device, and its socket: put where words say {socket}, or as socket=."""
    with folder_for_sockets() as name:
        folder = Path(name)
        socket = folder / "s"
        placed = [word.replace("{socket}", str(socket)) for word in words]
        if placed == list(words):
            placed.append(f"socket={socket}")
        server = Server(folder, placed, wrapper)
        try:
            yield server, socket
        finally:
            server.stop()


def run(command: Sequence[str | Path], cpu: int | None = None, limit: float = LIMIT) -> str:
    """What it prints."""
    try:
        result = subprocess.run(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
            preexec_fn=on_cpu(cpu) if cpu is not None else None,
        )
    except FileNotFoundError as error:
        raise Missing(f"{command[0]} is not there") from error
    except subprocess.TimeoutExpired as error:
        raise Broken(f"{Path(command[0]).name} does not end within {limit} s") from error
    if result.returncode:
        said = result.stderr.strip().splitlines()
        raise Broken(said[-1] if said else f"{command[0]}: status {result.returncode}")
    return result.stdout


def run_json(command: Sequence[str | Path], cpu: int | None = None) -> dict[str, Any]:
    text = run(command, cpu)
    return json.loads(text[text.index("{") :])


def cpu_words(name: str) -> list[str]:
    server, client = machine.processors()
    words = {"--server-cpu": server, "--client-cpu": client}
    if name in ("floor_memcpy", "floor_uring", "ours_lookup"):
        del words["--client-cpu"]
    elif name.startswith("ours_"):
        del words["--server-cpu"]
    return [f"{key}={cpu}" for key, cpu in words.items()]


def program_words(name: str, *words: str | Path, **options: Any) -> list[str | Path]:
    path = BUILD / "bench" / name
    given = [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
    return [path, *words, *cpu_words(name), *given]


def program(name: str, *words: str | Path, **options: Any) -> dict[str, Any]:
    """Runs one of this folder's programs; option_name=1 becomes --option-name=1."""
    server, client = machine.processors()
    if server == client and (name == "floor_pingpong" or options.get("mode") == "polled"):
        raise Missing("it takes two processors")
    return run_json(program_words(name, *words, **options))


def nvme_io(socket: Path, *words: str) -> dict[str, Any]:
    command = [BUILD / "obctl", "nvme-io", socket, *words, "--json"]
    return run_json(command, machine.processors()[1])


def system_calls(command: list[str | Path], pid: int | None = None) -> int:
    """Of a process while a command runs, or of the command."""
    if not shutil.which("perf"):
        raise Missing("perf is not there")
    with tempfile.NamedTemporaryFile(prefix="outboard-bench.") as file:
        watch = ["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-o", file.name]
        run([*watch, *(["-p", str(pid)] if pid else []), *command])
        found = re.search(r"^(\d+),", Path(file.name).read_text(), re.MULTILINE)
    if not found:
        raise Missing("perf does not count system calls here")
    return int(found[1])


@lru_cache
def has_property(model: str, name: str, value: str = "") -> bool:
    """Whether this outboard knows a property, and (of one with choices) a value."""
    for line in run([OUTBOARD, model, "--help"]).splitlines():
        key, _, rest = line.strip().partition("=")
        if key == name:
            return not value or value in rest.split()[0].split("|")
    return False


@dataclass
class Bench:
    """What parts are given: how often and how long, and a place for remarks."""

    runs: int
    quick: bool
    scratch: Path
    notes: list[str] = field(default_factory=list)
    done: int = 0

    def seconds(self, full: float) -> float:
        return full / 4 if self.quick else full

    def ms(self, full: float) -> int:
        return round(self.seconds(full) * 1000)

    def count(self, full: int) -> int:
        return max(full // 4, 1) if self.quick else full

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def collect(
        self, probes: Mapping[str, Callable[[], dict[str, Any]]], runs: int | None = None
    ) -> dict[str, list[dict[str, Any]]]:
        """
        Runs all probes, then all again: a change of the machine's speed meets them all. What cannot
        be measured is left out, and remarked on.
        """
        found: dict[str, list[dict[str, Any]]] = {}
        given_up: set[str] = set()
        for number in range(runs or self.runs):
            for name, probe in probes.items():
                if name in given_up:
                    continue
                self.progress(f"run {number + 1}: {name}")
                try:
                    found.setdefault(name, []).append(probe())
                except (Missing, Broken) as error:
                    self.note(f"{name}: not measured: {error}")
                    given_up.add(name)
                    found.pop(name, None)
        self.progress("")
        return found

    def progress(self, text: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K  {text}"[:100] if text else "\r\033[K")
            sys.stderr.flush()


def column(results: list[dict[str, Any]], key: str) -> list[float]:
    return [float(result[key]) for result in results]
