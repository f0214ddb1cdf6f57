# SPDX-License-Identifier: BSD-3-Clause
"""The command line: both ways to write it, what is refused and how, help and lists."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from pathlib import Path

import pytest
from conftest import Run, Start
from outboard import BIN, REPO
from vfio_user import REGION_BAR0, REGION_CONFIG, Client

EDU_ID = 0x010000ED


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """All files below a folder, with what must not change about them."""
    return {
        str(path): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in folder.rglob("*")
    }


SERVER = "x-vfio-user-server"
LONG_NAME = "long-" * 20 + "name"

# The words, and what the one line says: what is wrong, and what would be right.
REFUSED: list[tuple[str, str, tuple[str, ...]]] = [
    ("no device", "", ("no device is given", "outboard nvme disk.img")),
    ("unknown model", "nvmee size=1M", ("'nvmee'", "did you mean 'nvme'")),
    ("unknown model, far", "toaster size=1M", ("'toaster'", "--list")),
    ("unknown property", "nvme size=1M seral=x", ("'seral'", "did you mean 'serial'")),
    ("unknown property, far", "nvme size=1M colour=red", ("'colour'", "outboard nvme --help")),
    ("several", "nvme size=1M seral=x colour=red", ("'seral' (did you mean 'serial'?), 'colour'",)),
    ("a long name", f"nvme size=1M {LONG_NAME}=x", (f"'{LONG_NAME}'",)),
    ("property of the backend", "nvme disk.img direkt=on", ("'direkt'", "did you mean 'direct'")),
    ("property of the server", "edu soket=x", ("'soket'", "did you mean 'socket'")),
    ("another backend's", "nvme size=1M direct=on", ("direct=", "'file'", "'mem'")),
    ("file and size", "nvme disk.img size=1M", ("size=", "'mem'", "'file'")),
    ("two backends", "nvme disk.img null=on", ("disk.img", "null", "choose one")),
    ("unknown backend", "nvme backend=fil size=1M", ("'fil'", "did you mean 'file'")),
    ("backend without a file", "nvme backend=file", ("needs a file", "disk.img")),
    ("no disk", "nvme", ("needs a disk", "disk.img", "size=1G")),
    ("file for edu", "edu disk.img", ("edu takes no files", "disk.img")),
    ("no such file", "nvme nothing.img", ("nothing.img", "does not exist", "truncate")),
    ("a folder", "nvme run", ("run",)),
    ("file too small", "nvme tiny.img", ("tiny.img", "512")),
    ("bad size", "nvme size=much", ("size=much", "size=64M")),
    ("size of 0", "nvme size=0", ("size=0",)),
    ("bad number", "edu dma-mask=-1", ("dma-mask=-1",)),
    ("bad switch", "nvme disk.img ro=maybe", ("maybe", "on or off")),
    ("given twice", "nvme size=1M serial=a serial=b", ("serial", "twice")),
    ("same image twice", "nvme disk.img -- nvme disk.img", ("disk.img", "in use")),
    ("socket in no folder", "edu socket=nowhere/s", ("nowhere/s", "directory does not exist")),
    ("socket is a file", "edu socket=disk.img", ("disk.img", "not a socket")),
    ("socket is a folder", "edu socket=run", ("run", "not a socket")),
    ("empty socket path", "edu socket=", ("empty",)),
    ("second socket bad", "edu socket=s1 -- edu socket=disk.img", ("disk.img", "not a socket")),
    ("same socket twice", "edu socket=s1 -- edu socket=s1", ("s1", "in use")),
    ("bad mode", "edu socket-mode=999", ("socket-mode=999", "0660")),
    ("mode with more", "edu socket-mode=10600", ("socket-mode=10600", "0660")),
    ("bad group", "edu socket-group=no-such-group", ("no-such-group",)),
    ("bad type", "edu socket=s1 type=tcp", ("type=tcp", "unix")),
    ("path and fd", "edu socket=s1 fd=0", ("path=", "fd=")),
    ("fd not a socket", "edu fd=0", ("descriptor 0", "not a UNIX")),
    ("fd closed", "edu --fd=99", ("--fd=99", "not open")),
    ("fd no number", "edu --fd=x", ("--fd=x", "number")),
    ("too many sockets", "edu --socket-path=a --socket-path=b", ("2 sockets", "1 device")),
    ("too few sockets", "edu -- edu --socket-path=a", ("2 devices", "1 is given")),
    ("ready-fd closed", "edu --ready-fd=99", ("--ready-fd=99", "not open")),
    ("bad id", "edu id=0", ("id=0", "letter")),
    ("long id", f"edu id={'x' * 100}", ("characters",)),
    ("id twice", "edu id=a -- edu id=a", ("'a'", "already")),
    ("unknown option", "edu --runn=x", ("--runn", "did you mean '--run'")),
    ("unknown option, far", "edu --frobnicate", ("--frobnicate", "--help")),
    ("option without argument", "edu --run", ("--run", "needs an argument")),
    ("option with argument", "edu --quiet=yes", ("--quiet", "no argument")),
    ("unknown bus", "edu bus=rb1", ("bus=rb1", "pci-root-bus,id=rb1")),
    ("device alone", "-device edu,id=d0", ("no device is served", SERVER)),
    ("long: model", "-device edo", ("'edo'", "did you mean 'edu'")),
    ("long: property", "-device edu,dma-mesk=1", ("'dma-mesk'", "did you mean 'dma-mask'")),
    ("long: driver", "-blockdev driver=fil,node-name=a", ("'fil'", "did you mean 'file'")),
    ("long: no driver", "-blockdev node-name=a", ("driver=",)),
    ("long: no node-name", "-blockdev driver=mem,size=1M", ("node-name=",)),
    ("long: block property", "-blockdev driver=mem,node-name=a,sise=1", ("'sise'", "'size'")),
    ("long: node", "-device nvme,drive=b1 -blockdev driver=mem,node-name=b0,size=1M",
     ("'b1'", "did you mean 'b0'")),
    ("long: object type", "-object x-vfio-server,id=a", ("'x-vfio-server'", SERVER)),
    ("long: object id", f"-device edu,id=d0 -object {SERVER},path=s,device=d0", ("id=",)),
    ("long: no device", f"-object {SERVER},id=s,path=s", ("device=",)),
    ("long: unknown device", f"-device edu,id=d0 -object {SERVER},id=s,path=s,device=d1",
     ("'d1'", "did you mean 'd0'")),
    ("long: no path", f"-device edu,id=d0 -object {SERVER},id=s,device=d0", ("path=", "fd=")),
    ("long: object property", f"-device edu,id=d0 -object {SERVER},id=s,device=d0,pth=s",
     ("'pth'", "did you mean 'path'")),
    ("long: two servers", f"-device edu,id=d0 -object {SERVER},id=s,path=s,device=d0"
     f" -object {SERVER},id=t,path=t,device=d0", ("d0", "'s'", "already")),
    ("long: node twice", "-blockdev driver=mem,node-name=a,size=1M"
     " -blockdev driver=mem,node-name=a,size=1M", ("'a'", "already")),
    ("long: node used twice", "-blockdev driver=mem,node-name=a,size=1M -device nvme,id=d0,drive=a"
     " -device nvme,id=d1,drive=a", ("'a'", "'d0'", "in use")),
    ("long: syntax", "-device edu,=3", ("key=value",)),
]  # fmt: skip


@pytest.mark.parametrize("words, said", [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refused_in_one_line(run: Run, folder: Path, words: str, said: tuple[str, ...]) -> None:
    (folder / "disk.img").write_bytes(bytes(1 << 20))
    (folder / "tiny.img").write_bytes(bytes(100))
    before = contents(folder)
    result = run(*words.split())
    assert result.returncode == 1
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("outboard: error: ")
    for part in said:
        assert part in lines[0]
    assert contents(folder) == before


def test_socket_path_too_long(run: Run, folder: Path) -> None:
    result = run("edu", f"socket={'s' * 108}")
    assert result.returncode == 1
    assert "108 characters: at most 107 fit" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_longest_socket_path(outboard: Start, folder: Path) -> None:
    outboard("edu", f"socket={'s' * 107}")
    assert (folder / ("s" * 107)).is_socket()


def test_control_characters_stay_in_one_line(run: Run) -> None:
    result = run("nvme", "no\nsuch\x1b[31mfile")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "\x1b" not in result.stderr


def test_short_form(outboard: Start, folder: Path) -> None:
    outboard("edu", "socket=vm1.sock")
    with Client(folder / "vm1.sock") as client:
        assert client.read32(REGION_BAR0, 0) == EDU_ID


@pytest.mark.parametrize("dash", ["-", "--"])
@pytest.mark.parametrize("glue", [" ", "="])
def test_long_form(outboard: Start, folder: Path, dash: str, glue: str) -> None:
    words = [
        f"{dash}object{glue}{SERVER},id=s0,type=unix,path=vm1.sock,device=d0",
        f"{dash}device{glue}edu,id=d0,dma-mask=0xffffffff",
    ]
    outboard(*" ".join(words).split(" "))
    with Client(folder / "vm1.sock") as client:
        assert client.read32(REGION_BAR0, 0) == EDU_ID


def test_long_form_of_a_disk_in_any_order(outboard: Start, folder: Path) -> None:
    (folder / "disk.img").write_bytes(bytes(1 << 20))
    outboard(
        "-object", f"{SERVER},id=s0,socket.type=unix,socket.path=vm1.sock,device=d0",
        "-device", "nvme,id=d0,drive=b0,serial=abc",
        "-blockdev", "driver=file,node-name=b0,filename=disk.img",
    )  # fmt: skip
    with Client(folder / "vm1.sock") as client:
        assert client.read(REGION_CONFIG, 9, 3) == bytes([0x02, 0x08, 0x01])


def test_other_name_of_the_object(outboard: Start, folder: Path) -> None:
    outboard("-device", "edu,id=d0", "-object", "vfio-user-server,id=s0,path=a.sock,device=d0")
    Client(folder / "a.sock").close()


@pytest.mark.parametrize(
    "words",
    [
        "nvme disk.img socket=a",
        "nvme file=disk.img socket=a",
        "nvme file=disk.img ro=on socket=a serial=abc",
        "nvme ./disk=1.img socket=a",
        "nvme disk.img second.img socket=a",
        "nvme size=1M socket=a",
        "nvme null=on size=1G socket=a",
        "nvme backend=null size=1G socket=a",
        "nvme backend=mem size=1M socket=a",
        "nvme drive=b0 socket=a -blockdev driver=mem,node-name=b0,size=1M",
        "-device pci-root-bus,id=rb1 edu bus=rb1 socket=a",
    ],
)
def test_accepted(outboard: Start, folder: Path, words: str) -> None:
    for name in ("disk.img", "disk=1.img", "second.img"):
        (folder / name).write_bytes(bytes(1 << 20))
    outboard(*words.split())
    Client(folder / "a").close()


def test_default_sockets(outboard: Start, folder: Path) -> None:
    process = outboard("edu", "--", "edu", "--", "edu", "socket=own.sock")
    for name in (f"outboard-{process.pid}.sock", f"outboard-{process.pid}-2.sock"):
        Client(folder / "run" / name).close()
        assert str(folder / "run" / name) in process.output()
    Client(folder / "own.sock").close()


def test_socket_path_option(outboard: Start, folder: Path) -> None:
    outboard("edu", "--socket-path=a", "--", "edu", "--socket-path", "b")
    Client(folder / "a").close()
    Client(folder / "b").close()


def test_several_devices_are_apart(outboard: Start, folder: Path) -> None:
    outboard("edu", "socket=a", "--", "edu", "socket=b", "--", "nvme", "size=1M", "socket=c")
    with Client(folder / "a") as a, Client(folder / "b") as b, Client(folder / "c") as c:
        a.write32(REGION_BAR0, 4, 0x12345678)
        b.write32(REGION_BAR0, 4, 0)
        assert a.read32(REGION_BAR0, 4) == 0xEDCBA987
        assert b.read32(REGION_BAR0, 4) == 0xFFFFFFFF
        assert c.read(REGION_CONFIG, 9, 3) == bytes([0x02, 0x08, 0x01])


def test_lines_to_attach_with(outboard: Start, folder: Path) -> None:
    process = outboard("edu", "socket=it's $1.sock")
    path = f"{folder}/it'\\''s $1.sock"
    output = process.output()
    device = (
        f'{{"driver":"vfio-user-pci","socket":{{"type":"unix","path":"{path}"}},'
        '"x-msg-timeout":3600000}'
    )
    assert f"-device '{device}'" in output
    assert "-object memory-backend-memfd,id=mem,size=1G,share=on" in output
    assert "-machine q35,memory-backend=mem" in output
    assert f"--memory size=1G,shared=on --user-device 'socket={path}'" in output


def test_quiet(outboard: Start, folder: Path) -> None:
    process = outboard("edu", "socket=a", "-q")
    Client(folder / "a").close()
    assert process.stop() == 0
    assert process.output() == process.errors() == ""


def test_log_timestamps(outboard: Start, folder: Path) -> None:
    process = outboard("edu", "socket=a", "--log-timestamps")
    Client(folder / "a").close()
    process.wait_log("client connected")
    assert process.errors()[:2] == "20"
    assert "Z outboard: edu0-server: client connected" in process.errors()


def test_list_has_models_and_drivers(run: Run) -> None:
    result = run("--list")
    assert result.returncode == 0
    names = [line.split()[0] for line in result.stdout.splitlines() if line.startswith("  ")]
    assert {"edu", "nvme", "mem", "null", "file"} <= set(names)


def test_list_json_has_the_tables(run: Run) -> None:
    tables = json.loads(run("--list", "--json").stdout)
    models = {model["name"]: model for model in tables["models"]}
    drivers = {driver["name"]: driver for driver in tables["block-drivers"]}
    assert {"edu", "nvme", "pci-serial"} <= set(models)
    assert {"mem", "null", "file"} <= set(drivers)
    assert "serial" in {prop["name"] for prop in models["nvme"]["properties"]}
    for entry in [*models.values(), *drivers.values(), *tables["objects"]]:
        assert entry["summary"]
        for prop in entry["properties"]:
            assert prop["help"] and prop["type"]
            assert prop["type"] != "enum" or prop["choices"]


@pytest.mark.parametrize("words", ["{} --help", "--help {}", "{} -h", "-device {},help"])
@pytest.mark.parametrize("model", ["edu", "nvme"])
def test_help_of_a_model_is_its_table(run: Run, words: str, model: str) -> None:
    tables = json.loads(run("--list", "--json").stdout)
    result = run(*words.format(model).split())
    assert result.returncode == 0
    (entry,) = (entry for entry in tables["models"] if entry["name"] == model)
    named = [*entry["properties"], *tables["objects"][0]["properties"]]
    if model == "nvme":
        drivers = [driver for driver in tables["block-drivers"] if "filter" not in driver]
        drivers += tables["block-nodes"]
        named += [prop for driver in drivers for prop in driver["properties"]]
    for prop in named:
        assert f"  {prop['name']}=" in result.stdout
        assert prop["help"] in result.stdout


def test_help_and_version(run: Run) -> None:
    result = run("--help")
    assert result.returncode == 0
    assert result.stderr == ""
    for option in ("--run", "--fd", "--ready-fd", "--exit-with-parent", "--list", "--blockdev"):
        assert option in result.stdout
    assert run("--version").stdout.startswith("outboard ")
    assert run("-device", "help").stdout == run("--list").stdout


def test_fd_that_does_not_listen(run: Run) -> None:
    a, b = socket.socketpair()
    with a, b:
        result = run("edu", f"--fd={b.fileno()}", pass_fds=[b.fileno()])
    assert result.returncode == 1
    assert "does not listen" in result.stderr


def test_manual_page_has_every_option(run: Run) -> None:
    manual = (REPO / "docs" / "man" / "outboard.1.rst").read_text()
    options = re.findall(r"^  --([a-z-]+)", run("--help").stdout, re.MULTILINE)
    assert len(options) >= 15
    for option in options:
        assert f"**-{option}" in manual or f"**--{option}**" in manual


COMPLETIONS = [
    ("outboard|", {"edu", "nvme", "pci-serial"}),
    ("outboard|ed", {"edu"}),
    ("outboard|nvme|ser", {"serial="}),
    ("outboard|nvme|disk.img|--|ed", {"edu"}),
    ("outboard|nvme|direct|=|", {"auto", "on", "off"}),
    ("outboard|--ready", {"--ready-fd"}),
    ("outboard|--run|true|edu|dma-m", {"dma-mask="}),
    ("outboard|-q|edu|socket-g", {"socket-group="}),
    ("outboard|-c|../di", {"../disk.conf"}),
    ("outboard|edu|-D|../di", {"../disk.conf"}),
    ("outboard|--mach", {"--machine"}),
    ("outboard|-D|log|--pidfile|p|edu|dma-m", {"dma-mask="}),
]


@pytest.mark.parametrize("line, expected", COMPLETIONS)
def test_completion(folder: Path, line: str, expected: set[str]) -> None:
    words = line.split("|")
    (folder / "disk.conf").touch()
    script = (
        'source "$1"; shift; compopt() { :; }; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1));'
        '_outboard; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    completion = REPO / "packaging" / "completion" / "outboard.bash"
    result = subprocess.run(
        ["bash", "-c", script, "bash", str(completion), str(BIN), *words[1:]],
        cwd=folder / "run",
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(result.stdout.split()) == expected
    assert result.stderr == ""
