#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# QEMU's vfio-user-pci sends a descriptor of guest memory in which the guest's writes never appear.
#
# A client of vfio-user sends a descriptor with DMA_MAP if the server may map that memory, and none if it
# has to be reached by messages (DMA_READ, DMA_WRITE). QEMU sends one for all guest memory that has a
# file behind it. With memory-backend-memfd,share=off, and with memory-backend-file whose default is
# share=off, it maps that file MAP_PRIVATE itself: what the guest writes goes to copies of the pages. A
# server that maps the descriptor sees zeroes for ever (or what the file held before), and what it writes
# may not reach the guest. Nothing fails and nothing is said: the device just reads empty queues. Such a
# server has to find out by itself, for example by comparing what it sees with what DMA_READ brings.
#
# Source: what is seen below. QEMU runs without a processor (-accel qtest): the memory is written through
# its test protocol as a guest's processor would. The server is vfio_user_server.py.
#
# Expected by a reader of the specification: a descriptor shows what was written, or there is none.
# Seen (QEMU 11.1.3): with share=off there is one, and it shows zeroes.

set -euo pipefail

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source=findings/qemu-root.sh
. "$here/qemu-root.sh"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
(get_qemu "$dir" 11.1.3) # which has a trap of its own

cd "$dir"
truncate -s 64M file
QEMU=$dir/qemu PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1 python3 - <<'END_OF_PYTHON'
import os
import sys
from vfio_user_server import Qemu

ADDRESS = 32 << 20
WRITTEN = b"written by the guest"
# (memory, whether a descriptor comes, whether it shows what was written)
CASES = [("memory-backend-memfd,share=on", True, True),
         ("memory-backend-memfd,share=off", True, False),
         ("memory-backend-file,mem-path=file,share=on", True, True),
         ("memory-backend-file,mem-path=file", True, False),
         ("memory-backend-ram", False, False)]


def descriptor_of(server):
    for address, (size, offset, fd) in list(server.maps.items()):
        if address <= ADDRESS < address + size:
            return fd, offset + ADDRESS - address
    raise SystemExit("the memory was not mapped")


def look(number, memory):
    qemu = Qemu(str(number), memory)
    try:
        fd, offset = descriptor_of(qemu.server)
        for data in (bytes(len(WRITTEN)), WRITTEN):
            answer = qemu.qtest.ask(f"write {ADDRESS:#x} {len(data)} 0x{data.hex()}")
            assert answer == "OK\n", answer
        answer = qemu.qtest.ask(f"read {ADDRESS:#x} {len(WRITTEN)}")
        assert answer == f"OK 0x{WRITTEN.hex()}\n", answer
        return None if fd is None else os.pread(fd, len(WRITTEN), offset)
    finally:
        qemu.end()


status = 0
for number, (memory, has_fd, shows) in enumerate(CASES):
    # What the case before left in the file must not be taken for what this one wrote.
    with open("file", "r+b") as file:
        file.seek(ADDRESS)
        file.write(bytes(len(WRITTEN)))
    seen = look(number, memory)
    if seen is None:
        text = "no descriptor"
    else:
        text = "a descriptor that shows " + ("it" if seen == WRITTEN else f"{seen[:4].hex()}...")
    print(f"{memory}\n    expected: a descriptor that shows it, or none; seen: {text}")
    if ((seen is not None), seen == WRITTEN) != (has_fd, shows):
        status = 1
if status:
    print("this is no longer what was seen: with share=off, a descriptor that shows zeroes")
else:
    print("as found: with share=off QEMU sends a descriptor in which the guest's writes do not appear")
sys.exit(status)
END_OF_PYTHON
