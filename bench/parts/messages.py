# SPDX-License-Identifier: BSD-3-Clause
"""Register accesses by message, beside bare messages of the same lengths over the same kind of socket."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from ..programs import (
    Bench,
    Missing,
    Server,
    column,
    has_property,
    program,
    program_words,
    serve,
    system_calls,
)
from ..results import Beside, Row, at_most

TITLE = "Register accesses by message"

REGISTER = {"region": 0, "offset": 4}  # edu's liveness check: a register without effect
DEEP = 32
SPDK_REGISTER_READ_NS = 53e3


def access(socket: Path, count: int, **options: object) -> dict[str, float]:
    return program("ours_message", socket, count=count, **REGISTER, **options)


def per_access(socket: Path, pid: int | None, **options: object) -> float:
    """The difference of two runs: to connect and to start cost the same in both."""
    counts = []
    for count in (1000, 11000):
        words = program_words("ours_message", socket, count=count, **REGISTER, **options)
        counts.append(system_calls(words, pid))
    return (counts[1] - counts[0]) / (10000 * 1.1)


def bare_calls(mode: str) -> float:
    """Of both sides of a floor: what is taken as given below is counted here."""
    counts = [
        system_calls(program_words("floor_socket", mode=mode, count=count)) for count in (1000, 11000)
    ]
    return (counts[1] - counts[0]) / (10000 * 1.1)


def instructions(operation: str) -> float:
    """Of the server, for an access. In user space, as valgrind counts them; two runs again."""
    if not shutil.which("valgrind"):
        raise Missing("valgrind is not there")
    counts = []
    for count in (500, 2500):
        with tempfile.NamedTemporaryFile(prefix="outboard-bench.") as out:
            wrapper = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out.name}"]
            with serve("edu", *quiet_words(), wrapper=wrapper) as (server, socket):
                access(socket, count, operation=operation)
            found = re.search(r"^(?:summary|totals): (\d+)", Path(out.name).read_text(), re.MULTILINE)
        if not found:
            raise Missing(f"callgrind says nothing: {server.said()}")
        counts.append(int(found[1]))
    return (counts[1] - counts[0]) / (2000 * 1.1)


def quiet_words() -> list[str]:
    """A server that never looks for messages without sleeping, where that can be said."""
    return ["poll=off"] if has_property("edu", "poll") else []


def polling_words() -> list[str]:
    return ["poll=on"] if has_property("edu", "poll") else []


def probes_for(bench: Bench) -> dict[str, object]:
    """
    Each floor directly before what it is the floor of. A server of its own for each of ours: one that
    polls would take its processor from another.
    """
    count, deep = bench.count(20000), bench.count(4000)

    def served(words: list[str], accesses: int, **options: object) -> dict[str, float]:
        with serve("edu", *words) as (_, socket):
            return access(socket, accesses, **options)

    def bare(mode: str) -> dict[str, float]:
        return program("floor_socket", mode=mode, count=count)

    modes = {
        "blocking": (["blocking", "poll"], quiet_words(), 0),
        "default": ([], [], 0),
        "half": (["half"], quiet_words(), 1),
        "polled": (["polled"], polling_words(), 1),
    }
    probes = {}
    for mode, (floors, words, busy) in modes.items():
        for floor in floors:
            probes[f"bare {floor}"] = lambda f=floor: bare(f)
        for operation in ("read", "write"):
            probes[f"{operation} {mode}"] = lambda o=operation, w=words, b=busy: served(
                w, count, operation=o, busy=b
            )
    probes["bare deep"] = lambda: program("floor_socket", mode="blocking", depth=DEEP, count=deep)
    for operation in ("read", "write", "post", "multi"):
        probes[f"{operation} deep"] = lambda o=operation: served(
            [], deep * DEEP, operation=o, depth=DEEP
        )
    return probes


def counted(bench: Bench, server: Server, socket: Path) -> list[Row]:
    """How often the kernel is entered, and how much runs for a message."""
    read = {"operation": "read", "busy": 0}
    found = bench.collect(
        {
            "calls of the server": lambda: {"n": per_access(socket, server.pid, **read)},
            "calls of the client": lambda: {"n": per_access(socket, None, **read)},
            "calls of bare blocking": lambda: {"n": bare_calls("blocking")},
            "calls of bare poll": lambda: {"n": bare_calls("poll")},
            "instructions of a read": lambda: {"n": instructions("read")},
            "instructions of a write": lambda: {"n": instructions("write")},
        },
        runs=1,
    )
    rows = []
    for name, title in (("server", "system calls of the server"), ("client", "system calls of the client")):
        if f"calls of the {name}" in found:
            rows.append(Row(f"{title}, for each read", "calls", column(found[f"calls of the {name}"], "n")))
    for operation in ("read", "write"):
        if f"instructions of a {operation}" in found:
            values = column(found[f"instructions of a {operation}"], "n")
            title = f"instructions of the server, for each {operation}"
            rows.append(Row(title, "instructions", values))
    for mode in ("blocking", "poll"):
        if f"calls of bare {mode}" in found:
            calls = column(found[f"calls of bare {mode}"], "n")[0]
            bench.note(f"bare ping-pong ({mode}): {calls:.2f} system calls of both sides for each")
    return rows


def same_calls(rows: list[Row]) -> str:
    """The floor with as many system calls as ours has for a blocking read: 5, or with poll() 6."""
    calls = sum(row.median for row in rows if row.name.startswith("system calls"))
    return "bare poll" if calls > 5.5 else "bare blocking"


FLOOR_NAMES = {
    "bare blocking": "bare, both asleep: 5 system calls",
    "bare poll": "bare, both asleep: 6 system calls",
    "bare half": "bare, the client looks",
    "bare polled": "bare, both look",
    "bare deep": f"bare, {DEEP} at a time",
}


def measure(bench: Bench) -> list[Row]:
    with serve("edu", *quiet_words()) as (server, socket):
        extra = counted(bench, server, socket)
    found = bench.collect(probes_for(bench))
    times = {
        name: column(results, "round_trip_ns" if name.startswith("bare") else "access_ns")
        for name, results in found.items()
    }
    return [*table(times, same_calls(extra)), *extra]


def table(times: dict[str, list[float]], same: str) -> list[Row]:
    rows: list[Row] = []

    def add(key: str, name: str, *beside: tuple[str, object]) -> Row | None:
        if key not in times:
            return None
        others = [
            Beside(FLOOR_NAMES[floor], times[floor], target)
            for floor, target in beside
            if floor in times
        ]
        rows.append(Row(name, "ns", times[key], others))
        return rows[-1]

    other = "bare poll" if same == "bare blocking" else "bare blocking"
    for operation in ("read", "write"):
        row = add(f"{operation} blocking", f"{operation}, both asleep", (same, at_most(1.1)), (other, None))
        if row and operation == "read":
            row.beside.append(Beside("SPDK asleep (published)", [SPDK_REGISTER_READ_NS]))
        add(f"{operation} default", f"{operation}, as outboard does by default", (same, None))
        add(f"{operation} half", f"{operation}, the client looks", ("bare half", None))
        add(f"{operation} polled", f"{operation}, both look", ("bare polled", at_most(1.5)))
        add(f"{operation} deep", f"{operation}, {DEEP} at a time", ("bare deep", None))
    add("post deep", f"write without reply, {DEEP} at a time", ("bare deep", None))
    add("multi deep", f"write, {DEEP} in a message", ("bare deep", None))
    return rows

