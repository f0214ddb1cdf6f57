#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes inputs for the fuzzers that lead to what a mutated recording seldom hits upon.

    tests/fuzz/make_seeds.py FOLDER

makes FOLDER/session, FOLDER/model and FOLDER/monitor: every command of NVMe in each kind of guest memory, waits
that are interrupted, long accesses, memory that is cut. With them in build/fuzz/corpus,
scripts/fuzz --store takes what is of use into the stored corpus.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

SCHEMA = Path(__file__).parents[2] / "src/monitor/schema.json"

BASE = 0x100000
DATA = BASE + 0x10000

# player.h: how to treat a command.
ADMIN, IO = 0, 1
USE_SGL, USE_LIST = 32, 64

# stage.h: enum drive_mode, enum stage_fd.
NOW, LATER, _, HOLD, FAIL = range(5)
FD_EVENT, FD_FULL = 4, 5


def command(
    how: int, opcode: int, *dwords: int, nsid: int = 1, prp1: int = DATA, prp2: int = 0
) -> bytes:
    """A byte and an entry, without its action. dwords: 10 and up."""
    words = (*dwords, 0, 0, 0, 0, 0, 0)[:6]
    return struct.pack("<BIIQQQQ6I", how, opcode, nsid, 0, 0, prp1, prp2, *words)


def admin_commands() -> list[bytes]:
    found = []
    for cns in (0, 1, 2, 3, 5, 6, 7, 8, 0x10, 0x11, 0x12, 0x13):
        found.append(command(ADMIN, 0x06, cns))
    for page in (1, 2, 3, 4, 5, 9):
        found.append(command(ADMIN, 0x02, page | 127 << 16))
        found.append(command(ADMIN, 0x02, page | 1 << 15 | 15 << 16, 0, 64, nsid=0xFFFFFFFF))
    for feature in (1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 14, 22):
        for select in range(4):
            found.append(command(ADMIN, 0x0A, feature | select << 8, 0))
        found.append(command(ADMIN, 0x09, feature, 0x01000001))
        found.append(command(ADMIN, 0x09, feature | 1 << 31, 1))
    found.append(command(ADMIN, 0x09, 4, 0))
    found.append(command(ADMIN, 0x0C))
    found.append(command(ADMIN, 0x08, 1 << 16))
    found.append(command(ADMIN, 0x08, 2 << 16 | 1))
    found.append(command(ADMIN, 0x7C, prp1=BASE + 0x6000, prp2=BASE + 0x7000))
    for lbaf in (0, 1, 2, 1 | 1 << 9):
        found.append(command(ADMIN, 0x80, lbaf))
        found.append(command(ADMIN, 0x80, lbaf, nsid=0xFFFFFFFF))
    found.append(command(ADMIN, 0x00, 1))
    found.append(command(ADMIN, 0x04, 1))
    found.append(command(ADMIN, 0x05, 3 | 15 << 16, 3 | 1 << 16, prp1=BASE + 0xA000))
    found.append(command(ADMIN, 0x01, 3 | 15 << 16, 1 | 3 << 16, prp1=BASE + 0xB000))
    found.append(command(ADMIN, 0xFF))
    return found


def io_commands() -> list[bytes]:
    found = []
    for opcode in (0x02, 0x01, 0x05, 0x0C, 0x08):
        found.append(command(IO, opcode, 0, 0, 7))
        found.append(command(IO, opcode, 8, 0, 15, prp2=DATA + 0x1000))
        found.append(command(IO, opcode, 3, 0, 8, prp1=DATA + 0x204, prp2=DATA + 0x3000))
        found.append(command(IO | USE_LIST, opcode, 0, 0, 63))
        found.append(command(IO | USE_LIST, opcode, 0, 0, 64, prp1=DATA + 0x800))
        found.append(command(IO | USE_SGL | USE_LIST, opcode, 0, 0, 15))
        found.append(command(IO | USE_SGL, opcode, 0, 0, 0, prp2=512))
        found.append(command(IO, opcode, 0xFFFFFFF0, 0, 7))
    found.append(command(IO, 0x00))
    found.append(command(IO, 0x00, nsid=0xFFFFFFFF))
    found.append(command(IO, 0x08, 0, 0, 7 | 1 << 25))
    found.append(command(IO, 0x01, 0, 0, 7 | 1 << 30))
    found.append(command(IO, 0x09, 3, 4))
    found.append(command(IO | USE_LIST, 0x09, 255, 4, prp1=DATA + 0xF00))
    return found


def dataset_ranges(count: int) -> bytes:
    return b"".join(struct.pack("<IIQ", 0, 8, 8 * i) for i in range(count))


def sgl(*parts: tuple[int, int, int]) -> bytes:
    return b"".join(struct.pack("<QI3xB", at, length, kind << 4) for at, length, kind in parts)


# Segments that lead to each other, with a bit bucket among the data.
SEGMENTS = {
    0x9000: sgl((DATA, 512, 0), (0, 512, 1), (BASE + 0x9800, 32, 3)),
    0x9800: sgl((DATA + 0x1000, 1024, 0), (DATA + 0x3000, 2048, 0)),
}


def memory(action: int, places: dict[int, bytes]) -> bytes:
    return b"".join(
        struct.pack("<BIH", action, at, len(data)) + data for at, data in places.items()
    )


# fuzz_model.c
M_WRITE, _, M_BULK, M_MEMORY, M_COMMAND, _, M_TURNS = range(7)
M_DRIVE, M_QUIESCE, M_UNMAP = 8, 10, 11


SETUPS = {"shared": 0x1D, "messages": 0x1C, "pieces": 0x1F, "mem": 0x5D}


def command_seeds() -> dict[str, bytes]:
    """Every command in every kind of memory, with each kind of drive."""
    seeds = {}
    entry = bytearray(command(IO, 0x4002, 0, 0, 7))
    struct.pack_into("<QI3xB", entry, 25, BASE + 0x9000, 48, 0x20)
    for name, setup in SETUPS.items():
        for mode in range(5):
            start = bytes([1, setup, mode]) + memory(M_MEMORY, {0x10000: dataset_ranges(8)})
            for kind, commands in (("admin", admin_commands()), ("io", io_commands())):
                for at in range(0, len(commands), 8):
                    body = b"".join(bytes([M_COMMAND]) + c for c in commands[at : at + 8])
                    seeds[f"{kind}-{name}-{mode}-{at}"] = start + body
            segments = memory(M_MEMORY, SEGMENTS)
            seeds[f"sgl-{name}-{mode}"] = start + segments + bytes([M_COMMAND]) + entry
    return seeds


def held_seeds() -> dict[str, bytes]:
    """What comes while the drive holds a command, and how the drive then ends it."""
    seeds = {}
    ends = (
        bytes([M_QUIESCE, 1]),
        bytes([M_UNMAP, 1, M_TURNS, 3, M_DRIVE, NOW, M_TURNS, 3, M_UNMAP, 0x81]),
        bytes([M_COMMAND]) + command(ADMIN, 0x00, 1) + bytes([M_DRIVE, LATER, M_TURNS, 7]),
        bytes([M_COMMAND]) + command(ADMIN, 0x08, 1) + bytes([M_DRIVE, FAIL, M_TURNS, 7]),
        bytes([M_COMMAND]) + command(ADMIN, 0x80, 1) + bytes([M_DRIVE, NOW, M_TURNS, 7]),
        bytes([M_WRITE, 0x20, 0x14, 0, 0]) + struct.pack("<I", 0x00464001),
        bytes([M_WRITE, 0x20, 0x14, 0, 0]) + struct.pack("<I", 0),
    )
    for name, setup in SETUPS.items():
        start = bytes([1, setup, HOLD, M_COMMAND])
        for at, held in enumerate(io_commands()[:10]):
            for number, end in enumerate(ends):
                seeds[f"held-{name}-{at}-{number}"] = start + held + end
    return seeds


def edu_seeds() -> dict[str, bytes]:
    seeds = {"edu-read-all": bytes([0, 0x0D, 0, M_BULK, 0, 0, 0, 0, 0xFF, 0x1F])}
    body = b""
    for register, value in ((8, 5), (0x20, 0x80), (8, 5), (0x60, 1), (0x64, 1)):
        body += struct.pack("<BBHBI", M_WRITE, 0x20, register, 0, value) + bytes([M_TURNS, 1])
    for direction, source, target in ((0, BASE, 0x40000), (2, 0x40000, BASE)):
        start = 5 | direction
        for register, value in ((0x80, source), (0x88, target), (0x90, 64), (0x98, start)):
            body += struct.pack("<BBHBQ", M_WRITE, 0x30, register, 0, value)
        body += bytes([M_TURNS, 2])
    for setup in (0x2D, 0x2C, 0x2F, 0x0C):
        seeds[f"edu-{setup}"] = bytes([0, setup, 0]) + body
    return seeds


def model_seeds() -> dict[str, bytes]:
    return {**command_seeds(), **held_seeds(), **edu_seeds()}


# fuzz_session.c
MESSAGE, TURNS, ANSWER, _, CUT, DRIVE, RECONNECT, _, COMMAND = range(9)
RING = 12
NVME, NEGOTIATED, MAPPED, SHARED, ENABLED, TWINNED, SMALL, ANSWERING = (1 << i for i in range(8))
READY = NEGOTIATED | MAPPED | ENABLED | ANSWERING


def message(number: int, payload: bytes = b"", fds: bytes = b"", flags: int = 0) -> bytes:
    head = struct.pack("<BBBHB", MESSAGE, number, flags, 7, len(fds))
    return head + fds + struct.pack("<H", len(payload)) + payload


def set_irqs(flags: int, index: int, start: int, count: int, data: bytes = b"") -> bytes:
    return struct.pack("<5I", 20 + len(data), flags, index, start, count) + data


def irq_messages() -> bytes:
    text = b""
    for index in range(5):
        text += message(7, struct.pack("<4I", 16, 0, index, 0))
        for action in (8, 16, 32):
            text += message(8, set_irqs(4 | action, index, 0, 1), bytes([FD_EVENT]))
            text += message(8, set_irqs(4 | action, index, 0, 1), bytes([FD_FULL]))
            text += message(8, set_irqs(1 | action, index, 0, 1))
            text += message(8, set_irqs(2 | action, index, 0, 1, b"\1"))
            text += message(8, set_irqs(4 | action, index, 0, 1))
        text += message(8, set_irqs(1 | 32, index, 0, 0))
    return text


def region(number: int, offset: int, count: int) -> bytes:
    return struct.pack("<QII", offset, number, count)


def map_of(address: int, size: int, offset: int = 0, flags: int = 3) -> bytes:
    return struct.pack("<IIQQQ", 32, flags, offset, address, size)


def unmap_of(address: int, size: int, flags: int = 0) -> bytes:
    return struct.pack("<IIQQ", 24, flags, address, size)


def feature_messages() -> bytes:
    text = b""
    for number in (1, 2, 6, 7, 8, 77):
        for method in (1, 2, 4, 5, 6):
            text += message(16, struct.pack("<II", 64, number | method << 16) + bytes(32))
    text += message(17, struct.pack("<II", 4096, 64))
    return text + message(18, struct.pack("<II", 72, 64) + bytes(64))


def info_messages() -> bytes:
    text = message(4, struct.pack("<4I", 16, 0, 0, 0))
    for number in range(11):
        text += message(5, struct.pack("<4I2Q", 4096, 0, number, 0, 0, 0))
        text += message(6, struct.pack("<4I", 4096, 0, number, 0))
        text += message(6, struct.pack("<4I", 16, 0, number, 0))
    return text + bytes([RING, 0, RING, 1, TURNS, 2])


def long_accesses() -> dict[str, bytes]:
    writes = b"".join(struct.pack("<QII8s", 4, 0, 4, b"abcd") for _ in range(600))
    edu = bytes([NEGOTIATED | MAPPED, 0])
    return {
        "long-read": edu + message(9, region(0, 1, 0x9000)) + message(9, region(0, 0, 0x6000)),
        "long-write": edu + message(10, region(0, 0x100, 9000) + bytes(9000)),
        "long-read-cut-off": edu + message(9, region(0, 0, 0x9000)) + bytes([RECONNECT, 1]),
        "long-multi": edu + message(15, struct.pack("<Q", 600) + writes),
        "multi": edu
        + message(15, struct.pack("<Q", 3) + writes[:48] + struct.pack("<QII8x", 4, 9, 4)),
    }


def waits() -> dict[str, bytes]:
    """An unmap, a reset, an end while the drive holds what was begun."""
    seeds = {}
    held = bytes([DRIVE, HOLD, COMMAND]) + io_commands()[0] + bytes([TURNS, 2])
    ends = {
        "unmap": message(3, unmap_of(BASE, 0x80000)),
        "unmap-all": message(3, unmap_of(0, 0, 2)),
        "reset": message(13),
        "end": b"",
    }
    for kind, setup in (("shared", SHARED), ("messages", 0), ("twin", TWINNED)):
        start = bytes([NVME | READY | setup, 0])
        for name, end in ends.items():
            seeds[f"wait-{kind}-{name}"] = start + held + end + bytes([DRIVE, NOW, TURNS, 7])
            seeds[f"left-{kind}-{name}"] = start + held + end + bytes([RECONNECT, 2])
            seeds[f"cut-{kind}-{name}"] = start + held + end + bytes([CUT, 0, 0, 0, TURNS, 3])
            seeds[f"next-{kind}-{name}"] = start + held + end + message(4, bytes([16] + [0] * 15))
    return seeds


def session_seeds() -> dict[str, bytes]:
    seeds = {**long_accesses(), **waits()}
    for model, name in ((0, "edu"), (NVME, "nvme")):
        for more in (0, 1):
            start = bytes([model | NEGOTIATED | MAPPED | SHARED, more])
            seeds[f"irqs-{name}-{more}"] = start + irq_messages()
            seeds[f"infos-{name}-{more}"] = start + info_messages()
            seeds[f"features-{name}-{more}"] = start + feature_messages()
    small = bytes([NEGOTIATED | SMALL, 0])
    for kind in range(12):
        small += message(2, map_of(0x10000 * kind, 4096, 0, kind & 3), bytes([kind]))
    seeds["maps"] = small + message(3, unmap_of(0, 4096)) + message(3, unmap_of(0, 0, 2))
    for how in range(6):
        start = bytes([NVME | (READY & ~ANSWERING), 0])
        seeds[f"answer-{how}"] = start + bytes([ANSWER, how, TURNS, 1] * 6)
        start = bytes([NVME | (READY & ~ANSWERING) | TWINNED, 0])
        seeds[f"twin-answer-{how}"] = start + bytes([ANSWER, how, TURNS, 1] * 6)
    shared = bytes([NVME | READY | SHARED, 0])
    seeds["lost"] = shared + bytes([CUT, 0, 1, 0, COMMAND]) + io_commands()[0] + bytes([TURNS, 3])
    for at, one in enumerate([*admin_commands(), *io_commands()]):
        if at % 5 == 0:
            seeds[f"command-{at}"] = shared + bytes([COMMAND]) + one + bytes([TURNS, 3])
    return seeds


def monitor_seeds() -> dict[str, bytes]:
    """Every command with all its arguments and with none, and some of them with a purpose."""
    schema = json.loads(SCHEMA.read_text())
    values: dict[str, object] = {"str": "d0", "int": 1 << 20, "bool": True, "any": {"a": [1.5]}}
    seeds = {}
    for name, parts in schema["commands"].items():
        if name == "quit":
            continue
        args = {
            arg.lstrip("*"): [values.get(kind.strip("[]"), "oob")]
            if kind.startswith("[")
            else values.get(kind, "")
            for arg, (kind, _) in parts.get("args", {}).items()
        }
        full = {"execute": name, "arguments": args, "id": [{"a": None}, 1e300]}
        seeds[name] = (json.dumps(full) + json.dumps({"execute": name})).encode()
    lines = [
        {"execute": "device_add", "arguments": {"driver": "pci-root-bus", "id": "r0"}},
        {"execute": "device_add", "arguments": {"driver": "edu", "bus": "r0", "addr": "3.1"}},
        {"execute": "blockdev-add", "arguments": {"driver": "mem", "node-name": "b1", "size": 4096}},
        {"execute": "device_add", "arguments": {"driver": "nvme", "id": "n1", "drive": ["b1"]}},
        {"execute": "object-add", "arguments": {"qom-type": "x-vfio-user-server", "id": "s0"}},
        {"execute": "qom-set", "arguments": {"path": "s0", "property": "device", "value": "n1"}},
        {"execute": "qom-get", "arguments": {"path": "/objects/s0", "property": "device"}},
        {"execute": "query-vfio-user"},
        {"execute": "stop"},
        {"execute": "system_reset"},
        {"execute": "cont"},
        {"execute": "block_resize", "arguments": {"node-name": "b1", "size": 8192}},
        {"execute": "object-del", "arguments": {"id": "s0"}},
        {"execute": "device_del", "arguments": {"id": "/machine/peripheral/n1"}},
        {"execute": "blockdev-del", "arguments": {"node-name": "b1"}},
    ]
    seeds["story"] = b"\r\n".join(json.dumps(line).encode() for line in lines)
    for word in ("help", "info qtree", "info pci", "info block", "device_add edu,id=x", "device_del x"):
        hmp = {"execute": "human-monitor-command", "arguments": {"command-line": word}}
        seeds["hmp-" + word.replace(" ", "-")] = json.dumps(hmp).encode()
    seeds["lexical"] = (
        b"{'a': 'it\\'s', \"b\": [-0.5e+3, 99999999999999999999, \"\\ud83d\\ude00\\u00e9\"]}"
        b"[@ {\n{} \xff\xff {\"a\": 1, \"a\": 2} [1,] {,} \"\xc3\xa9\xf0\x9f\x98\x80\" nul tru 01 [[[[}"
    )
    return seeds


def main() -> None:
    kinds = {"session": session_seeds, "model": model_seeds, "monitor": monitor_seeds}
    for name, make in kinds.items():
        seeds = make()
        folder = Path(sys.argv[1]) / name
        folder.mkdir(parents=True, exist_ok=True)
        for seed, data in seeds.items():
            (folder / f"made-{seed}").write_bytes(data)
        print(f"{folder}: {len(seeds)}")


if __name__ == "__main__":
    main()
