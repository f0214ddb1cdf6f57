# SPDX-License-Identifier: BSD-3-Clause
"""A disk that fails, stalls and loses power on request.

A file "disk" in a FUSE file system of its own: as it is, it is a regular file with the page cache
in front of it; with a loop device upon it, a block device. What is written lies in the disk's
volatile cache until an fsync makes it stable. The file system is a process (this file, run as a
program), which tests steer by lines of JSON. linux/fuse.h has the messages.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import select
import signal
import stat
import struct
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

NAME = "disk"
LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE = 1, 2, 3, 4, 14, 15, 16
STATFS, RELEASE, FSYNC, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR = 17, 18, 20, 25, 26, 27, 28, 29
INTERRUPT, DESTROY, BATCH_FORGET = 36, 38, 42
NAMES = {READ: "read", WRITE: "write", FSYNC: "fsync"}
ASYNC_READ, BIG_WRITES, ASYNC_DIO, WRITEBACK_CACHE, MAX_PAGES = 1, 1 << 5, 1 << 15, 1 << 16, 1 << 22
ROOT, FILE = 1, 2
SETS_SIZE = 1 << 3
MAX_WRITE = 128 << 10
MNT_DETACH = 2

libc = ctypes.CDLL(None, use_errno=True)


class Server:
    """The file system's side. Requests that are held are answered, in order, when they are let go."""

    def __init__(self, folder: str, size: int) -> None:
        self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0,allow_other"
        if libc.mount(b"faulty", folder.encode(), b"fuse", 0, options.encode()):
            raise OSError(ctypes.get_errno(), "mount")
        self.data = bytearray(size)
        self.stable = bytearray(size)
        self.unstable: list[tuple[int, int]] = []
        self.failing: dict[str, int] = {}
        self.times: dict[str, int] = {}
        self.holding: set[str] = set()
        self.held: list[bytes] = []
        self.gives_in = False
        self.seen = dict.fromkeys(NAMES.values(), 0)

    def answer(self, request: bytes, error: int = 0, body: bytes = b"") -> None:
        unique = struct.unpack_from("<Q", request, 8)[0]
        try:
            os.write(self.fd, struct.pack("<IiQ", 16 + len(body), -error, unique) + body)
        except OSError as failed:
            if failed.errno != errno.ENOENT:  # it was interrupted, and nobody waits for it
                raise

    def attributes(self, node: int) -> bytes:
        mode = stat.S_IFREG | 0o600 if node == FILE else stat.S_IFDIR | 0o755
        size = len(self.data) if node == FILE else 0
        return struct.pack("<6Q10I", node, size, size // 512, *[0] * 3, *[0] * 3, mode, 1, *[0] * 3, 4096, 0)

    def _look_up(self, request: bytes) -> None:
        if request[40:].rstrip(b"\0") == NAME.encode():
            self.answer(request, 0, struct.pack("<4Q2I", FILE, 0, 3600, 3600, 0, 0) + self.attributes(FILE))
        else:
            self.answer(request, errno.ENOENT)

    def _fails(self, name: str) -> int:
        error = self.failing.get(name, 0)
        if error and self.times.get(name, 0):
            self.times[name] -= 1
            if not self.times[name]:
                del self.failing[name]
        return error

    def _transfer(self, request: bytes, operation: int) -> None:
        name = NAMES[operation]
        self.seen[name] += 1
        error = self._fails(name)
        offset, size = (0, 0) if operation == FSYNC else struct.unpack_from("<QI", request, 48)
        if error:
            self.answer(request, error)
        elif operation == READ:
            self.answer(request, 0, bytes(self.data[offset : offset + size]))
        elif operation == WRITE:
            self.data[offset : offset + size] = request[80 : 80 + size]
            self.unstable.append((offset, size))
            self.answer(request, 0, struct.pack("<II", size, 0))
        else:
            for at, length in self.unstable:
                self.stable[at : at + length] = self.data[at : at + length]
            self.unstable.clear()
            self.answer(request)

    def _interrupt(self, unique: bytes) -> None:
        for request in [request for request in self.held if request[8:16] == unique]:
            self.held.remove(request)
            self.answer(request, errno.EINTR)

    def handle(self, request: bytes) -> bool:
        operation, _, node = struct.unpack_from("<IQQ", request, 4)
        if operation in NAMES:
            if NAMES[operation] in self.holding:
                self.held.append(request)
            else:
                self._transfer(request, operation)
        elif operation == INIT:
            flags = ASYNC_READ | BIG_WRITES | ASYNC_DIO | WRITEBACK_CACHE | MAX_PAGES
            body = struct.pack("<4IHHIIHHI28x", 7, 31, MAX_WRITE, flags, 512, 384, MAX_WRITE, 1, 32, 0, 0)
            self.answer(request, 0, body)
        elif operation == LOOKUP:
            self._look_up(request)
        elif operation in (GETATTR, SETATTR):
            if operation == SETATTR and struct.unpack_from("<I", request, 40)[0] & SETS_SIZE:
                size = struct.unpack_from("<Q", request, 56)[0]
                for contents in (self.data, self.stable):
                    del contents[size:]
                    contents.extend(bytes(size - len(contents)))
            self.answer(request, 0, struct.pack("<QII", 3600, 0, 0) + self.attributes(node))
        elif operation in (OPEN, OPENDIR):
            self.answer(request, 0, bytes(16))
        elif operation == READDIR:
            self.answer(request)
        elif operation in (RELEASE, RELEASEDIR, FLUSH):
            self.answer(request)
        elif operation == STATFS:
            self.answer(request, 0, struct.pack("<5Q4I24x", 1 << 20, 1 << 19, 1 << 19, 1, 0, 4096, 255, 4096, 0))
        elif operation == DESTROY:
            return False
        elif operation == INTERRUPT and self.gives_in:
            self._interrupt(request[40:48])
        elif operation not in (FORGET, BATCH_FORGET, INTERRUPT):
            self.answer(request, errno.ENOSYS)
        return True

    def handle_next(self) -> bool:
        try:
            request = os.read(self.fd, MAX_WRITE + 4096)
        except BlockingIOError:  # whoever asked was killed meanwhile
            return True
        return self.handle(request)

    def command(self, words: dict[str, Any]) -> dict[str, Any]:
        for name, error in words.get("fail", {}).items():
            self.failing[name] = error
            self.times[name] = words.get("times", 0)
        for name in words.get("heal", []):
            self.failing.pop(name, None)
        self.holding |= set(words.get("hold", []))
        self.gives_in |= words.get("gives_in", False)
        if "release" in words:
            self.holding.clear()
            held, self.held = self.held, []
            for request in held:
                self._transfer(request, struct.unpack_from("<I", request, 4)[0])
        if "lose_power" in words:
            Path(words["lose_power"]).write_bytes(self.stable)
        return {"seen": self.seen, "held": len(self.held)}

    def run(self) -> None:
        print(json.dumps({}), flush=True)
        while True:
            ready, _, _ = select.select([self.fd, 0], [], [])
            if 0 in ready:
                line = sys.stdin.readline()
                if not line:
                    return
                print(json.dumps(self.command(json.loads(line))), flush=True)
            if self.fd in ready and not self.handle_next():
                return


class FaultyDisk:
    """The test's side. Its file is self.path."""

    def __init__(self, folder: Path, size: int) -> None:
        from block_device import need_root, skip_unless

        need_root()
        skip_unless(Path("/dev/fuse").exists(), "no FUSE here")
        self.folder = folder
        folder.mkdir()
        self.path = folder / NAME
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(folder), str(size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        if not self.process.stdout.readline():
            self.process.wait()
            skip_unless(False, "no FUSE can be mounted here")

    def __enter__(self) -> FaultyDisk:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def freeze(self) -> None:
        """From now on nothing is answered, not even an open, until thaw(). Who waits can be killed:
        the kernel sees to that as long as the file system has not begun with what it was asked. But
        who has its file open can't end: the kernel tells the file system of each close."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Whoever still waits for it hears of an error."""
        self.thaw()
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        libc.umount2(str(self.folder).encode(), MNT_DETACH)

    def _tell(self, **words: Any) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def fail(self, operation: str, times: int = 0, error: int = errno.EIO) -> None:
        """"read", "write" or "fsync": so many times, or until heal()."""
        self._tell(fail={operation: error}, times=times)

    def heal(self, *operations: str) -> None:
        self._tell(heal=operations)

    def hold(self, *operations: str, killable: bool = False) -> None:
        """They do not end before release(); if they are killable, with the process that waits for them."""
        self._tell(hold=operations, gives_in=killable)

    def release(self) -> None:
        self._tell(release=True)

    def seen(self, operation: str) -> int:
        return int(self._tell()["seen"][operation])

    def held(self) -> int:
        return int(self._tell()["held"])

    def lose_power(self, to: Path) -> bytes:
        """What the disk would have after its power failed, also as a file."""
        self._tell(lose_power=str(to))
        return to.read_bytes()


if __name__ == "__main__":
    Server(sys.argv[1], int(sys.argv[2])).run()
