# SPDX-License-Identifier: BSD-3-Clause
"""Block devices for tests: loop devices, with a file or a faulty disk behind them. They need root."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path
from types import TracebackType

import pytest

# linux/loop.h
LOOP_CLR_FD = 0x4C01
LOOP_CONFIGURE = 0x4C0A
LOOP_CTL_GET_FREE = 0x4C82
BLKROSET = 0x125D  # linux/fs.h
READ_ONLY, AUTOCLEAR, DIRECT_IO = 1, 4, 16

CONTROL = Path("/dev/loop-control")


def skip_unless(possible: bool, why: str) -> None:
    """Says so aloud. CI is a place where it is possible, or somebody has to know."""
    if possible:
        return
    if os.environ.get("CI") == "true" and os.geteuid() == 0:
        pytest.fail(f"{why}: with CI=true this is no reason to skip")
    pytest.skip(why)


def need_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")


class LoopDevice:
    """A loop device on a file, for as long as it is used. direct: by O_DIRECT, so that nothing
    is kept on the way to the file."""

    def __init__(
        self, file: Path, block_size: int = 512, read_only: bool = False, direct: bool = False
    ) -> None:
        need_root()
        skip_unless(CONTROL.exists(), "no loop devices here")
        flags = AUTOCLEAR | (READ_ONLY if read_only else 0) | (DIRECT_IO if direct else 0)
        self.fd = -1
        with open(file, "rb" if read_only else "r+b") as backing:
            # struct loop_config: fd, block_size, struct loop_info64 (lo_flags at 52), reserved.
            config = struct.pack("<II52xI184x64x", backing.fileno(), block_size, flags)
            while self.fd < 0:
                self._try(config, read_only)

    def _try(self, config: bytes, read_only: bool) -> None:
        """Another process may be faster."""
        with open(CONTROL, "rb") as control:
            number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
        self.path = Path(f"/dev/loop{number}")
        fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, LOOP_CONFIGURE, config)
            if not read_only:  # what a test before did to the number stays with it
                fcntl.ioctl(fd, BLKROSET, struct.pack("i", 0))
            self.fd = fd
        except OSError as error:
            os.close(fd)
            if error.errno != errno.EBUSY:
                raise

    def __enter__(self) -> LoopDevice:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """The device goes with its last user."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1
