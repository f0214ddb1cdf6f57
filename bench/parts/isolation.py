# SPDX-License-Identifier: BSD-3-Clause
"""What one client, or its VM, can make another one of the same process wait: each attack beside none."""

from __future__ import annotations

import contextlib
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import machine
from ..programs import Bench, Broken, Server, column, folder_for_sockets, program, program_words
from ..results import Beside, Row, at_most

TITLE = "What one client can make another wait"

WANTED_NS = 1e6
READY_SECONDS = 60

# Name of the attack in ours_attack.c: what it is, and the device that it has to itself.
ATTACKS = {
    "lists": ("SGLs of 16,384 bit buckets, 64 at a time", "nvme null=on"),
    "aborts": ("Aborts of what is not in a queue of 2,048", "nvme null=on"),
    "trims": ("64 MiB in memory written and deallocated", "nvme size=1G"),
    "held-reads": ("1,000 commands whose memory is not brought", "nvme null=on"),
    "maps": ("4,000 maps with descriptors, made and removed", "edu max-dma-maps=65535"),
    "unmaps": ("65,000 maps, removed by ranges", "edu max-dma-maps=65535"),
    "logs": ("logs of written pages, of 65,000 maps or 256 ranges", "edu max-dma-maps=65535"),
    "death": ("a client with 512 MiB is killed", "nvme size=1G"),
    "visits": ("clients that come and go", "edu"),
    "descriptors": ("TCP sockets with unsent data as memory", "edu"),
    "messages": ("resets, triggers and controller resets in a row", "nvme null=on"),
}
VICTIMS = {"read": "nvme", "register": "message"}


@contextlib.contextmanager
def attacking(name: str, socket: Path) -> Iterator[None]:
    """Is at it from now on, where the processor has nothing else to do."""
    with subprocess.Popen(
        [str(word) for word in program_words("ours_attack", socket, attack=name)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout and process.stderr
            told, _, _ = select.select([process.stdout], [], [], READY_SECONDS)
            if not told or not process.stdout.readline():
                process.kill()
                said = process.stderr.read().strip().splitlines()
                raise Broken(said[-1] if said else f"attack {name} does not begin")
            yield
            if process.poll() is not None:
                said = process.stderr.read().strip().splitlines()
                raise Broken(said[-1] if said else f"attack {name} ended by itself")
        finally:
            process.kill()


def suffer(bench: Bench, attack: str, operation: str) -> dict[str, Any]:
    with folder_for_sockets() as name:
        folder = Path(name)
        mine = "nvme null=on" if operation == "nvme" else "edu"
        words = [*mine.split(), "socket=victim"]
        if attack:
            words += ["--", *ATTACKS[attack][1].split(), "socket=attacker"]
        server = Server(folder, words)
        try:
            with contextlib.ExitStack() as stack:
                if attack:
                    stack.enter_context(attacking(attack, folder / "attacker"))
                return program(
                    "ours_victim",
                    folder / "victim",
                    operation=operation,
                    ms=bench.ms(2),
                    server_pid=server.pid,
                )
        finally:
            server.stop()


def noise(bench: Bench) -> dict[str, Any]:
    """The longest that a processor with nothing else to do is away, of both that are used."""
    worst: dict[str, Any] = {}
    for cpu in machine.processors():
        found = program("ours_victim", operation="none", ms=bench.ms(1), client_cpu=cpu)
        if not worst or found["max_ns"] > worst["max_ns"]:
            worst = found
    return worst


def worst_rows(victim: str, found: dict[str, list[dict[str, Any]]]) -> list[Row]:
    rows = []
    alone = found.get(f"{victim}: ")
    for attack, (text, _) in ATTACKS.items():
        results = found.get(f"{victim}: {attack}")
        if not results:
            continue
        wanted = Beside("1 ms", [WANTED_NS], at_most(1))
        rows.append(
            Row(
                f"worst {victim}, {text}: the loop worked",
                "ns",
                column(results, "server_max_ns"),
                [wanted] + ([Beside("no attack", column(alone, "server_max_ns"))] if alone else []),
            )
        )
        rows.append(
            Row(
                f"worst {victim}, {text}: it took",
                "ns",
                column(results, "max_ns"),
                [Beside("no attack", column(alone, "max_ns"))] if alone else [],
            )
        )
    return rows


def distribution(victim: str, found: dict[str, list[dict[str, Any]]]) -> list[Row]:
    """Of the time that the loop worked while the victim waited, and of that which it waited."""
    heads = {
        "server_p50_ns": "worked, half", "server_p99_ns": "99 %", "server_p999_ns": "99.9 %",
        "p50_ns": "took, half", "p99_ns": "took, 99 %", "p999_ns": "took, 99.9 %",
    }  # fmt: skip
    return [
        Row("", "ns", column(results, key), group=f"{victim}, {attack or 'no attack'}", column=head)
        for attack in ("", *ATTACKS)
        if (results := found.get(f"{victim}: {attack}"))
        for key, head in heads.items()
    ]


def measure(bench: Bench) -> list[Row]:
    probes: dict[str, Any] = {"noise": lambda: noise(bench)}
    for victim, operation in VICTIMS.items():
        for attack in ("", *ATTACKS):
            probes[f"{victim}: {attack}"] = lambda a=attack, o=operation: suffer(bench, a, o)
    found = bench.collect(probes, runs=min(bench.runs, 3))
    rows: list[Row] = []
    if "noise" in found:
        values = column(found["noise"], "max_ns")
        rows.append(Row("the machine's own noise: an idle processor is away", "ns", values))
        if max(values) > WANTED_NS / 2:
            bench.note(
                "the machine itself takes processors away for longer than half of what is wanted: "
                "what a read took says little, and the processor time of the loop what it can"
            )
    for victim in VICTIMS:
        rows += worst_rows(victim, found)
    for victim in VICTIMS:
        rows += distribution(victim, found)
    return rows
