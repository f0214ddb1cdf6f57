#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Makes inputs for the fuzzers out of what obctl trace has recorded.

    obctl trace SOCKET NEW-SOCKET --quiet --once --pcap=session.pcap
    tests/fuzz/seed_from_pcap.py session.pcap nvme tests/fuzz/corpus/session/boot

One input of fuzz_session is the session with that model; one of fuzz_pci is its accesses to the
configuration space; those of fuzz_wire are a file for each kind of message.

Memory that the client shared is not in a record. So record a client that shares none: then what the
device reads by messages is, and the input repeats it. Repetitions of a message are left out, long
data is cut, and maps are made to fit the fuzzer's guest memory.
"""

from __future__ import annotations

import argparse
import struct
from collections.abc import Iterator
from pathlib import Path

DMA_MAP, SET_IRQS, REGION_READ, REGION_WRITE, DMA_READ = 2, 8, 9, 10, 11
REPLY, ERROR = 1, 32
CONFIG = 7

# tests/fuzz/fuzz_session.c: enum setup, enum action, and enum stage_fd of stage.h.
SETUP_NVME = 1
MESSAGE, TURNS, ANSWER, MEMORY = 0, 1, 2, 3
FD_MEMORY, FD_EVENT = 0, 4
GUEST_MEMORY = 0x80000
MAX_ACTIONS = 1000

# tests/fuzz/fuzz_pci.c: a layout like that of nvme, and the actions.
PCI_LAYOUT = bytes([3, 4 << 3]) + struct.pack("<HII", 5, 0, 4096) + bytes([0x4D, 0, 0, 0, 13, 0])
PCI_READ, PCI_WRITE = 0, 1

# tests/fuzz/fuzz_wire.c: decoders of requests and of replies, by command.
REQUESTS = {1: 6, 2: 0, 3: 0, 4: 1, 5: 1, 6: 1, 7: 1, 8: 2, 9: 3, 10: 3, 15: 3, 16: 4, 11: 5, 12: 5}
REPLIES = {1: 8, 4: 10, 5: 9, 6: 10, 7: 10, 11: 5, 12: 5}

Packet = tuple[int, int, int, bytes]  # from the server?, twin?, descriptors, message


def packets(data: bytes) -> Iterator[Packet]:
    at = 24
    while at + 16 <= len(data):
        (length,) = struct.unpack_from("<8xI", data, at)
        body = data[at + 16 : at + 16 + length]
        yield body[1], body[2], body[3], body[8:]
        at += 16 + length


def message_action(message: bytes, fds: int) -> bytes:
    ident, command, _, flags = struct.unpack_from("<HHII", message)
    payload = bytearray(message[16:])
    if command == DMA_MAP and fds:
        (size,) = struct.unpack_from("<Q", payload, 24)
        struct.pack_into("<Q", payload, 8, 0)
        struct.pack_into("<Q", payload, 24, min(size, GUEST_MEMORY))
    kind = FD_EVENT if command == SET_IRQS else FD_MEMORY
    head = struct.pack("<BBBHB", MESSAGE, command, flags & 0xFF, ident, fds)
    return head + bytes([kind]) * fds + struct.pack("<H", len(payload)) + payload


def answer_action(message: bytes, most: int) -> bytes:
    _, command = struct.unpack_from("<HH", message)
    memory = b""
    if command == DMA_READ and len(message) > 32:
        (address,) = struct.unpack_from("<Q", message, 16)
        data = message[32 : 32 + most]
        memory = struct.pack("<BIH", MEMORY, address % GUEST_MEMORY, len(data)) + data
    return memory + bytes([TURNS, 1, ANSWER, 0])


def actions(data: bytes, most: int) -> Iterator[bytes]:
    last = b""
    for from_server, twin, fds, message in packets(data):
        _, command, _, flags = struct.unpack_from("<HHII", message)
        if from_server:
            continue
        if flags & 0xF == REPLY:
            yield answer_action(message, most)
            continue
        if message[2:] == last:
            continue
        last = message[2:]
        yield message_action(message, fds) + bytes([TURNS, 2])


def session_seed(data: bytes, model: str, size: int, most: int) -> bytes:
    seed = bytes([SETUP_NVME if model == "nvme" else 0, 0])
    for number, action in enumerate(actions(data, most)):
        if number == MAX_ACTIONS or len(seed) + len(action) > size:
            break
        seed += action
    return seed


def pci_seed(data: bytes, size: int) -> bytes:
    seed = PCI_LAYOUT
    for from_server, _, _, message in packets(data):
        _, command, _, flags = struct.unpack_from("<HHII", message)
        if from_server or flags & REPLY or command not in (REGION_READ, REGION_WRITE):
            continue
        offset, region, count = struct.unpack_from("<QII", message, 16)
        if region != CONFIG or count > 64:
            continue
        kind = PCI_READ if command == REGION_READ else PCI_WRITE
        seed += struct.pack("<BHB", kind, offset, count - 1) + message[32:]
    return seed[:size]


def wire_seeds(data: bytes, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for _, _, _, message in packets(data):
        _, command, _, flags = struct.unpack_from("<HHII", message)
        decoder = (REPLIES if flags & REPLY else REQUESTS).get(command)
        if decoder is None or flags & ERROR:
            continue
        kind = "reply" if flags & REPLY else "request"
        seed = bytes([decoder | 0x80]) + message[:4096]
        (folder / f"real-{command}-{kind}-{len(message)}").write_bytes(seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("record", type=Path)
    parser.add_argument("kind", choices=["edu", "nvme", "pci", "wire"])
    parser.add_argument("seed", type=Path, help="a file; for wire, a folder")
    parser.add_argument("--size", type=int, default=24576, help="bytes of the input at most")
    parser.add_argument("--data", type=int, default=512, help="bytes of one answer at most")
    args = parser.parse_args()
    data = args.record.read_bytes()
    if args.kind == "wire":
        wire_seeds(data, args.seed)
    elif args.kind == "pci":
        args.seed.write_bytes(pci_seed(data, args.size))
    else:
        args.seed.write_bytes(session_seed(data, args.kind, args.size, args.data))


if __name__ == "__main__":
    main()
