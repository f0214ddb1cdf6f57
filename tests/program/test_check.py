# SPDX-License-Identifier: BSD-3-Clause
"""Where an error is said to be, and --check, which finds all of them and serves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Run, Start

SERVER = "x-vfio-user-server"

WRONG = """\
# A disk, long and short, and what is wrong with each.
[blockdev "b0"]
driver = "file"
filename = "disk.img"
direct = "perhaps"

[device "d0"]
driver = "nvme"
drive = "b0"
serial = "S0"
num-queues = "1000"

[object "s0"]
qom-type = "x-vfio-user-server"
device = "d0"
path = "s0"
max-fds = "x"

[device "d1"]
driver = "nvme"
drive = "b9"

[nvme "d2"]
file = "nothing.img"
socket = "s2"
colour = "red"

[nvme "d3"]
file = "nothing.img"
socket = "s3"

[edu "d4"]
socket = "s4"
this is no pair

[object "s5"]
qom-type = "x-vfio-user-server"
device = "d3"
path = "s5"
"""

FOUND = (
    ("x.conf:5:", "block node 'b0'", "direct=perhaps"),
    ("x.conf:11:", "device 'd0'", "num-queues=1000"),
    ("x.conf:17:", "server object 's0'", "max-fds=x"),
    ("x.conf:21:", "device 'd1'", "'b9'"),
    ("x.conf:26:", "'colour'"),
    ("x.conf:28:", "'d3-drive0'", "nothing.img"),
    ("x.conf:34:", "KEY"),
    ("x.conf:38:", "server object 's5'", "device=d3", "d3-server"),
)


def start_of(text: str, lines: int) -> str:
    return "".join(text.splitlines(keepends=True)[:lines])


def test_all_errors_at_once(run: Run, folder: Path) -> None:
    (folder / "x.conf").write_text(WRONG)
    (folder / "disk.img").write_bytes(bytes(1 << 20))
    for words in (("-c", "x.conf", "--check"), ("--check", "-c", "x.conf")):
        result = run(*words)
        assert result.returncode == 1
        errors = result.stderr.splitlines()
        for parts in FOUND:
            (line,) = (line for line in errors if parts[0] in line)
            assert all(part in line for part in parts), line
        assert len(errors) == len(FOUND), result.stderr
    assert not [path for path in folder.iterdir() if path.is_socket()]


@pytest.mark.parametrize("lines, parts", [(5, FOUND[0]), (27, FOUND[4])])
def test_the_first_error_ends_a_start(run: Run, folder: Path, lines: int, parts: tuple[str, ...]) -> None:
    (folder / "x.conf").write_text(start_of(WRONG, lines))
    (folder / "disk.img").write_bytes(bytes(1 << 20))
    result = run("-c", "x.conf")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert all(part in line for part in parts)


def test_one_of_many_on_the_command_line(run: Run) -> None:
    devices = []
    for number in range(20):
        mdts = 99 if number == 13 else 5
        devices += ["-blockdev", f"driver=null,node-name=b{number}"]
        devices += ["-device", f"nvme,id=d{number},drive=b{number},mdts={mdts}"]
    result = run(*devices)
    assert result.returncode == 1
    assert result.stderr.startswith("outboard: error: device 'd13': mdts=99: expected")
    result = run(*(word.replace(",id=d13", "") for word in devices))
    assert "device number 14, without id=: mdts=99" in result.stderr


def test_nothing_is_touched(run: Run, outboard: Start, folder: Path) -> None:
    """A file is checked while a process serves what stands in it: no lock, no socket, no second one."""
    good = '[nvme "d0"]\nfile = "disk.img"\nsocket = "s"\n[qmp "m"]\npath = "q"\n'
    (folder / "x.conf").write_text(good)
    (folder / "disk.img").write_bytes(bytes(1 << 20))
    server = outboard("-c", "x.conf")
    inodes = [(folder / name).stat().st_ino for name in ("s", "q")]
    result = run("-c", "x.conf", "--check")
    assert (result.returncode, result.stdout, result.stderr) == (0, "no errors\n", "")
    assert inodes == [(folder / name).stat().st_ino for name in ("s", "q")]
    assert server.stop() == 0
    result = run("nvme", "disk.img", "socket=s", "--check", "-q")
    assert (result.returncode, result.stdout) == (0, "")
    assert not (folder / "s").exists()


def test_what_the_model_judges_is_judged(run: Run) -> None:
    result = run("nvme", "size=1M", "namespaces=300", "--check")
    assert result.returncode == 1 and "namespaces=300" in result.stderr
    result = run("nvme", "size=64K", "namespaces=64", "socket=s", "--check")
    assert result.returncode == 1 and "too small" in result.stderr
