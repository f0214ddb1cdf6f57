# SPDX-License-Identifier: BSD-3-Clause
"""refuse_call.py ERRNO NUMBER PROGRAM...: runs a program for which a system call ends in an error."""

from __future__ import annotations

import ctypes
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ERRNO, ALLOW = 0x00050000, 0x7FFF0000


def main(code: int, number: int, program: list[str]) -> None:
    rules = struct.pack("<HBBI", LOAD_WORD, 0, 0, 0)
    rules += struct.pack("<HBBI", JUMP_IF_EQUAL, 0, 1, number)
    rules += struct.pack("<HBBI", RETURN, 0, 0, ERRNO | code)
    rules += struct.pack("<HBBI", RETURN, 0, 0, ALLOW)
    buffer = ctypes.create_string_buffer(rules, len(rules))
    filter_ = struct.pack("@HP", len(rules) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, MODE_FILTER, filter_):
        raise OSError(ctypes.get_errno(), "no filter of system calls can be had")
    os.execvp(program[0], program)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
