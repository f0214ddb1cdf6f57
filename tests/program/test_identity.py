# SPDX-License-Identifier: BSD-3-Clause
"""Who a PCI function says that it is: by default, with QEMU's remote machine, and as it is told."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from conftest import Run, Start
from obctl import good_json
from vfio_user import REGION_CONFIG, Client

REMOTE = "-machine x-remote,auto-shutdown=off"
OURS, QEMU, EDU = (0x1AF4, 0x10F0), (0x1B36, 0x0010), (0x1234, 0x11E8)

# Words, and the function's vendor, device, subsystem vendor and subsystem.
IDENTITIES = [
    ("nvme size=1M", (*OURS, *OURS)),
    (f"nvme size=1M {REMOTE}", (*QEMU, *QEMU)),
    ("nvme size=1M vendor-id=0x1b36 device-id=0x0010", (*QEMU, *QEMU)),
    (f"nvme size=1M {REMOTE} vendor-id=0x1af4 device-id=0x10f0", (*OURS, *OURS)),
    ("nvme size=1M device-id=17", (0x1AF4, 17, 0x1AF4, 17)),
    ("nvme size=1M subsystem-id=5", (*OURS, 0x1AF4, 5)),
    ("nvme size=1M subsystem-vendor-id=0x1234 subsystem-id=5", (*OURS, 0x1234, 5)),
    ("edu", (*EDU, *EDU)),
    (f"edu {REMOTE}", (*EDU, *EDU)),
    ("edu vendor-id=0xfffe device-id=0xffff subsystem-vendor-id=1 subsystem-id=2", (0xFFFE, 0xFFFF, 1, 2)),
]


@pytest.mark.parametrize("words, ident", IDENTITIES)
def test_identity(outboard: Start, folder: Path, words: str, ident: tuple[int, ...]) -> None:
    outboard(*words.split(), "socket=s", "-qmp", "unix:m,server=on,wait=off")
    with Client(folder / "s") as client:
        config = client.read(REGION_CONFIG, 0, 64)
    assert struct.unpack_from("<2H", config) + struct.unpack_from("<2H", config, 0x2C) == ident
    device = good_json(folder, "-s", "m", "list")["devices"][0]
    info = good_json(folder, "-s", "m", "info", device["id"])
    names = ("vendor-id", "device-id", "subsystem-vendor-id", "subsystem-id")
    assert tuple(int(info["properties"][name]) for name in names) == ident


WRONG = [
    ("vendor-id=0x1b36", "device-id= is needed"),
    ("vendor-id=0xffff device-id=1", "vendor-id"),
    ("vendor-id=0 device-id=1", "vendor-id"),
    ("device-id=0x10000", "device-id"),
    ("subsystem-vendor-id=1", "subsystem-id= is needed"),
    ("vendorid=1", "did you mean 'vendor-id'"),
]


@pytest.mark.parametrize("model", ["edu", "nvme size=1M"])
@pytest.mark.parametrize("words, said", WRONG)
def test_refused(run: Run, model: str, words: str, said: str) -> None:
    result = run(*model.split(), *words.split(), "socket=s")
    assert result.returncode == 1
    assert said in result.stderr


def test_help_says_who_it_is(run: Run) -> None:
    text = run("nvme", "--help").stdout
    assert "vendor-id=NUMBER" in text and "1af4:10f0" in text and "1b36:0010" in text
