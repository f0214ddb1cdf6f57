# SPDX-License-Identifier: BSD-3-Clause
"""Where io_uring can be had and not be used: the disk works, and the process ends in order."""

from __future__ import annotations

import errno
import platform
import sys
from pathlib import Path

import pytest
from conftest import OpenDisk, Start

IO_URING_ENTER = 426  # the same on all architectures but alpha
REFUSE = Path(__file__).parent / "refuse_call.py"


@pytest.mark.skipif(platform.machine() == "alpha", reason="the number is another")
@pytest.mark.parametrize("code", [errno.EPERM, errno.EBUSY, errno.ENOMEM])
def test_io_uring_enter_is_refused(
    outboard: Start, folder: Path, open_disk: OpenDisk, code: int
) -> None:
    (folder / "disk.img").write_bytes(bytes(1 << 20))
    wrapper = [sys.executable, str(REFUSE), str(code), str(IO_URING_ENTER)]
    server = outboard("nvme", "disk.img", "socket=a", wrapper=wrapper)
    disk = open_disk(folder / "a")
    disk.write(1, 8, b"hello".ljust(512, b"\0"), fua=True)
    disk.flush(1)
    assert disk.read(1, 8, 512).rstrip(b"\0") == b"hello"
    server.wait_log("no io_uring here")
    assert server.stop() == 0
    assert (folder / "disk.img").read_bytes()[4096:4101] == b"hello"
