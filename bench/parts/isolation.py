# SPDX-License-Identifier: BSD-3-Clause
"""What one client, or its VM, can make another one of the same process wait: each attack beside none."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import machine
from ..programs import (
    BUILD,
    REPO,
    Bench,
    Broken,
    Missing,
    Server,
    column,
    folder_for_sockets,
    program,
    program_words,
)
from ..results import Beside, Row, at_most

sys.path.insert(0, str(REPO / "tests" / "program"))

from faulty_disk import FaultyDisk  # noqa: E402

TITLE = "What one client can make another wait"

WANTED_NS = 1e6
READY_SECONDS = 60
IO_URING_ENTER = 426
HERE = Path(__file__).parent


@dataclass
class Attack:
    """text says what it is; device, what it has to itself. Most are functions of ours_attack.c."""

    text: str
    device: str = "nvme null=on"
    stands: bool = False  # it is there, and does nothing again and again
    disk: str = ""  # the device is a file in a file system of ours that: fails, or stalls
    no_ring: bool = False  # io_uring_enter() fails in this process
    function: str = ""


MAPS = "edu max-dma-maps=65535"
ATTACKS = {
    "lists": Attack("SGLs of 16,384 bit buckets, 64 at a time"),
    "aborts": Attack("Aborts of what is not in a queue of 2,048"),
    "trims": Attack("64 MiB in memory written and deallocated", "nvme size=1G"),
    "held-reads": Attack("1,000 commands whose memory is not brought", stands=True),
    "maps": Attack("16,000 maps with descriptors, made and removed", MAPS),
    "unmaps": Attack("65,000 maps, removed by ranges", MAPS),
    "logs": Attack("logs of written pages, of 65,000 maps or 256 ranges", MAPS),
    "death": Attack("a client with 512 MiB is killed", "nvme size=1G"),
    "visits": Attack("clients that come and go", "edu"),
    "descriptors": Attack("TCP sockets with unsent data as memory", "edu"),
    "messages": Attack("resets, triggers and controller resets in a row"),
    "storage": Attack("blockdev-add of a file on storage that stalls", "edu", disk="stalls"),
    "failures": Attack("a disk whose reads all fail", disk="fails"),
    "no-ring": Attack("a disk while io_uring_enter() fails", no_ring=True, function="failures"),
}
VICTIMS = {"read": "nvme", "register": "message"}


@contextlib.contextmanager
def running(name: str, words: list[str | Path]) -> Iterator[None]:
    """Is at it from now on, where the processor has nothing else to do."""
    with subprocess.Popen(
        [str(word) for word in words],
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


def own_disk(folder: Path) -> FaultyDisk:
    if os.geteuid() or not Path("/dev/fuse").exists():
        raise Missing("it takes root, and FUSE, for a file system of our own")
    return FaultyDisk(folder / "faulty", 1 << 20)


def attack_words(name: str, folder: Path, disk: FaultyDisk | None) -> list[str | Path]:
    if ATTACKS[name].disk == "stalls":
        assert disk
        script = HERE.parent / "attack_storage.py"
        cpu = machine.processors()[1]
        monitor, count = folder / "monitor", folder / "watch"
        return [sys.executable, script, monitor, disk.path, str(disk.process.pid), count, str(cpu)]
    return program_words(
        "ours_attack",
        folder / "attacker",
        attack=ATTACKS[name].function or name,
        loop_watch=folder / "watch",
    )


def server_words(operation: str, folder: Path, attack: Attack | None, disk: str) -> list[str]:
    words = ["nvme", "null=on"] if operation == "nvme" else ["edu"]
    words += ["socket=victim"]
    if attack:
        device = ["nvme", disk] if disk and attack.disk != "stalls" else attack.device.split()
        words += ["--", *device, "socket=attacker"]
        words += ["-qmp", f"unix:{folder / 'monitor'},server=on,wait=off"]
    return words


def suffer(bench: Bench, name: str, operation: str) -> dict[str, Any]:
    attack = ATTACKS.get(name)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(folder_for_sockets()))
        disk, device, wrapper = None, "", []
        if attack and attack.disk:
            disk = stack.enter_context(own_disk(folder))
            device = str(disk.path)
        if attack and attack.no_ring:
            refuse = REPO / "tests" / "program" / "refuse_call.py"
            wrapper = [sys.executable, str(refuse), str(errno.EBUSY), str(IO_URING_ENTER)]
            image = bench.scratch / "isolation.img"
            image.write_bytes(bytes(1 << 20))
            stack.callback(image.unlink)
            device = str(image)
        server = Server(
            folder,
            server_words(operation, folder, attack, device),
            wrapper,
            LD_PRELOAD=str(BUILD / "bench" / "loop_watch.so"),
            OUTBOARD_LOOP_WATCH=str(folder / "watch"),
        )
        stack.callback(server.stop)
        if disk:
            stack.callback(disk.thaw)
        if disk and attack and attack.disk == "fails":
            disk.fail("read")
        if attack:
            stack.enter_context(running(name, attack_words(name, folder, disk)))
        found = program(
            "ours_victim",
            folder / "victim",
            operation=operation,
            ms=bench.ms(2),
            loop_watch=folder / "watch",
        )
    if attack and not attack.stands and not found["rounds"]:
        bench.note(f"{name}: not one whole round of the attack while {operation} was measured")
    return found


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
    for name, attack in ATTACKS.items():
        results = found.get(f"{victim}: {name}")
        if not results:
            continue
        wanted = Beside("1 ms", [WANTED_NS], at_most(1))
        rows.append(
            Row(
                f"worst {victim}, {attack.text}: the loop",
                "ns",
                column(results, "loop_max_ns"),
                [wanted] + ([Beside("no attack", column(alone, "loop_max_ns"))] if alone else []),
            )
        )
        rows.append(
            Row(
                f"worst {victim}, {attack.text}: it took",
                "ns",
                column(results, "max_ns"),
                [Beside("no attack", column(alone, "max_ns"))] if alone else [],
            )
        )
    return rows


def distribution(victim: str, found: dict[str, list[dict[str, Any]]]) -> list[Row]:
    """Of what one waits for the loop at most, and of what the victim waited."""
    heads = {
        "loop_p50_ns": "the loop, half", "loop_p99_ns": "99 %", "loop_p999_ns": "99.9 %",
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
