# SPDX-License-Identifier: BSD-3-Clause
"""Units for systemd, and sockets that it passes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import Run
from outboard import BIN, LIMIT, REPO, wait_until
from vfio_user import REGION_CONFIG, Client

UNITS = REPO / "packaging"
EDU_ID = 0x010000ED


def needs(program: str) -> str:
    path = shutil.which(program)
    if not path:
        pytest.skip(f"there is no {program}")
    return path


def test_units_verify(tmp_path: Path, environment: dict[str, str]) -> None:
    """As installed, but with the program that was built."""
    analyze = needs("systemd-analyze")
    text = (UNITS / "outboard@.service.in").read_text()
    text = text.replace("@bindir@", str(BIN.parent)).replace("@sysconfdir@", "/etc")
    assert not re.search(r"@\w+@", text)
    (tmp_path / "outboard@.service").write_text(text)
    shutil.copy(UNITS / "outboard@.socket", tmp_path)
    for unit in ("outboard@x.service", "outboard@x.socket"):
        result = subprocess.run(
            [analyze, "verify", "--man=no", tmp_path / unit], env=environment, timeout=LIMIT * 3,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        ours = [line for line in result.stderr.splitlines() if "outboard" in line]
        assert result.returncode == 0 and not ours, result.stderr


def test_the_example_is_understood(run: Run, folder: Path) -> None:
    """It fails for the images that are not there, and for nothing before that."""
    text = (UNITS / "outboard.conf").read_text().replace("/var/lib/outboard", str(folder))
    (folder / "x.conf").write_text(text.replace("/run/outboard/example", str(folder)))
    result = run("-c", "x.conf")
    assert result.returncode == 1
    assert f"{folder}/vm1.img" in result.stderr
    assert "does not exist" in result.stderr


def test_socket_activation(folder: Path, environment: dict[str, str]) -> None:
    """The first client starts the process, which gets the sockets under their names."""
    activate = needs("systemd-socket-activate")
    (folder / "x.conf").write_text('[edu "one"]\n[nvme "two"]\nsize = 1M\n')
    process = subprocess.Popen(
        [activate, f"--listen={folder}/keep-2", f"--listen={folder}/keep-1",
         "--fdname=two:one", str(BIN), "-c", "x.conf", "-q"],
        cwd=folder, env=environment, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until(lambda: (folder / "keep-1").is_socket())
        with Client(folder / "keep-1") as client, Client(folder / "keep-2") as other:
            assert client.read32(REGION_CONFIG, 0) != other.read32(REGION_CONFIG, 0)
            assert client.read(0, 0, 4) == EDU_ID.to_bytes(4, "little")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == 0
    assert os.path.exists(folder / "keep-1")
