#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes inputs for the fuzzers that lead to what a mutated recording seldom hits upon.

    tests/fuzz/make_seeds.py FOLDER

makes FOLDER/session and FOLDER/model: every command of NVMe in each kind of guest memory, waits that
are interrupted, long accesses, memory that is cut. scripts/fuzz --store takes what is of use into the
stored corpus.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

BASE = 0x100000
LIST, DATA = BASE + 0x8000, BASE + 0x10000

# player.h: how to treat a command.
ADMIN, IO = 0, 1
BEND, NSID, HOLD_BELL, USE_SGL, USE_LIST, RAW = 4, 8, 16, 32, 64, 128

# stage.h: enum drive_mode, enum stage_fd.
NOW, LATER, LAST_FIRST, HOLD, FAIL = range(5)
FD_MEMORY, FD_SMALL, FD_ODD, FD_READ_ONLY, FD_EVENT, FD_FULL, FD_PIPE_READ, FD_PIPE_WRITE = range(8)


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
M_WRITE, M_READ, M_BULK, M_MEMORY, M_COMMAND, M_ENABLE, M_TURNS = range(7)
M_ANSWER, M_DRIVE, M_IRQ, M_QUIESCE, M_UNMAP, M_RING = range(7, 13)


def model_seeds() -> dict[str, bytes]:
    seeds = {}
    both = admin_commands(), io_commands()
    for name, setup in {"shared": 0x1D, "messages": 0x1C, "pieces": 0x1F, "mem": 0x5D}.items():
        for mode in range(5):
            start = bytes([1, setup, mode])
            places = {0x10000: dataset_ranges(8)}
            for kind, commands in zip(("admin", "io"), both):
                for at in range(0, len(commands), 8):
                    body = b"".join(bytes([M_COMMAND]) + c for c in commands[at : at + 8])
                    head = start + memory(M_MEMORY, places)
                    seeds[f"{kind}-{name}-{mode}-{at}"] = head + body
            entry = bytearray(command(IO, 0x4002, 0, 0, 7))
            struct.pack_into("<QI3xB", entry, 25, BASE + 0x9000, 48, 0x20)
            seeds[f"sgl-{name}-{mode}"] = (
                start + memory(M_MEMORY, SEGMENTS) + bytes([M_COMMAND]) + entry
            )
        held = bytes([1, setup, HOLD])
        for at, c in enumerate(both[1][:10]):
            for end in (
                bytes([M_QUIESCE, 1]),
                bytes([M_UNMAP, 1, M_TURNS, 3, M_DRIVE, NOW, M_TURNS, 3, M_UNMAP, 0x81]),
                bytes([M_COMMAND]) + command(ADMIN, 0x00, 1) + bytes([M_DRIVE, LATER, M_TURNS, 7]),
                bytes([M_COMMAND]) + command(ADMIN, 0x08, 1) + bytes([M_DRIVE, FAIL, M_TURNS, 7]),
                bytes([M_COMMAND]) + command(ADMIN, 0x80, 1) + bytes([M_DRIVE, NOW, M_TURNS, 7]),
                bytes([M_WRITE, 0x20, 0x14, 0, 0]) + struct.pack("<I", 0x00464001),
                bytes([M_WRITE, 0x20, 0x14, 0, 0]) + struct.pack("<I", 0),
            ):
                seeds[f"held-{name}-{at}-{end[:2].hex()}-{len(end)}"] = (
                    held + bytes([M_COMMAND]) + c + end
                )
    edu = bytes([0, 0x2D, 0])
    for register, value in ((8, 5), (0x20, 0x80), (8, 5), (0x60, 1), (0x64, 1)):
        edu += bytes([M_WRITE, 0x20]) + struct.pack("<I", register)[:3] + struct.pack("<I", value)
        edu += bytes([M_TURNS, 1])
    for to_guest in (0, 2):
        guest, inside = BASE, 0x40000
        source, target = (inside, guest) if to_guest else (guest, inside)
        for register, value in ((0x80, source), (0x88, target), (0x90, 64), (0x98, 5 | to_guest)):
            edu += bytes([M_WRITE, 0x30]) + struct.pack("<I", register)[:3]
            edu += struct.pack("<Q", value)
        edu += bytes([M_TURNS, 2])
    for setup in (0x2D, 0x2C, 0x2F, 0x0C):
        seeds[f"edu-{setup}"] = bytes([0, setup]) + edu[2:]
    seeds["edu-read-all"] = bytes([0, 0x0D, 0, M_BULK, 0, 0, 0, 0, 0xFF, 0x1F])
    return seeds


# fuzz_session.c
MESSAGE, TURNS, ANSWER, MEMORY, CUT, DRIVE, RECONNECT, WRITE, COMMAND, ENABLE, TWIN = range(11)
OVER, RING = 11, 12
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
        "multi": edu + message(15, struct.pack("<Q", 3) + writes[:48] + struct.pack("<QII8x", 4, 9, 4)),
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
    seeds["lost"] = (
        bytes([NVME | READY | SHARED, 0, CUT, 0, 1, 0, COMMAND]) + io_commands()[0] + bytes([TURNS, 3])
    )
    shared = bytes([NVME | READY | SHARED, 0])
    for at, one in enumerate([*admin_commands(), *io_commands()]):
        if at % 5 == 0:
            seeds[f"command-{at}"] = shared + bytes([COMMAND]) + one + bytes([TURNS, 3])
    return seeds


def main() -> None:
    for name, seeds in (("session", session_seeds()), ("model", model_seeds())):
        folder = Path(sys.argv[1]) / name
        folder.mkdir(parents=True, exist_ok=True)
        for seed, data in seeds.items():
            (folder / f"made-{seed}").write_bytes(data)
        print(f"{folder}: {len(seeds)}")


if __name__ == "__main__":
    main()
