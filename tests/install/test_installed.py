# SPDX-License-Identifier: BSD-3-Clause
"""What `meson install` leaves: everything that README and manual name, where they say."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from conftest import LIMIT, REPO, need

CONFIG = "/etc/outboard/"


def unit(installed: Path) -> str:
    return (installed / "usr/local/lib/systemd/system/outboard@.service").read_text()


def test_all_is_there(installed: Path) -> None:
    local = installed / "usr" / "local"
    for name in (
        "bin/outboard", "bin/obctl", "include/outboard/client.h",
        "share/man/man1/outboard.1", "share/man/man1/obctl.1", "share/man/man5/outboard.conf.5",
        "share/man/man7/outboard-qmp.7", "lib/systemd/system/outboard@.socket",
        "lib/sysusers.d/outboard.conf", "share/doc/outboard/examples/outboard.conf",
    ):  # fmt: skip
        assert (local / name).is_file(), name
    assert not list(installed.rglob("*.rst"))


def test_one_place_of_configuration(installed: Path) -> None:
    assert f"/usr/local/bin/outboard -c {CONFIG}%i.conf\n" in unit(installed)
    page = (installed / "usr/local/share/man/man5/outboard.conf.5").read_text()
    page = page.replace("\\", "")
    assert CONFIG in page and "/usr/local/etc" not in page
    assert f"`{CONFIG}NAME.conf`" in (REPO / "README.md").read_text()


def test_units_command_line(installed: Path, tmp_path: Path) -> None:
    """Run in the root folder, where programs of this machine's are beside it."""
    done = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False)
    need(done.returncode == 0, "there are no user namespaces here")
    root = tmp_path / "root"
    shutil.copytree(installed, root, symlinks=True)
    (root / "etc/outboard/x.conf").write_text(
        f'[nvme "d0"]\nsize = 16M\nsocket = /run/outboard/x/d0.sock\n'
    )
    (root / "run/outboard/x").mkdir(parents=True)
    mounts = "mkdir -p dev proc tmp; mount --rbind /dev dev; mount --rbind /proc proc; "
    for name in ("bin", "sbin", "lib", "lib64"):
        if Path("/usr", name).exists():
            mounts += f"mkdir -p usr/{name}; mount --bind /usr/{name} usr/{name}; "
            mounts += f"ln -s usr/{name} {name}; "
    line = re.search(r"^ExecStart=(.*)$", unit(installed), re.M)
    assert line
    command = line[1].replace("%i", "x")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(root / "run/notify"))
        manager.settimeout(LIMIT)
        server = subprocess.Popen(
            ["unshare", "-rm", "sh", "-euc", f"cd {root}; {mounts} exec chroot . {command}"],
            env={"NOTIFY_SOCKET": "/run/notify", "PATH": os.environ["PATH"]},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            assert b"READY=1" in manager.recv(100)
            probe = [installed / "usr/local/bin/obctl", "ping", root / "run/outboard/x/d0.sock"]
            done = subprocess.run(probe, capture_output=True, text=True, timeout=LIMIT, check=False)
            assert done.returncode == 0, done.stderr
        finally:
            server.send_signal(signal.SIGTERM)
            said, _ = server.communicate(timeout=LIMIT)
    assert server.returncode == 0, said
