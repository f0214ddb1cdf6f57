# SPDX-License-Identifier: BSD-3-Clause
"""The command line of QEMU's remote machine, and what a process does in the background."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import IO, Any

import pytest
from conftest import Run, Start
from obctl import obctl
from outboard import BIN, LIMIT, wait_until
from vfio_user import REGION_CONFIG, Client

SERVER = "x-vfio-user-server"
REMOTE = "-machine x-remote,vfio-user=on,auto-shutdown=off -nodefaults -no-user-config"


# As libvirt writes them: the storage, and the format of what is in it.
TWO_NODES = (
    "-blockdev {'driver':'file','filename':'disk.img','node-name':'libvirt-1-storage',"
    "'auto-read-only':true,'discard':'unmap','cache':{'direct':true,'no-flush':false}}"
    " -blockdev {'node-name':'libvirt-1-format','read-only':false,'discard':'unmap',"
    "'detect-zeroes':'unmap','cache':{'direct':true,'no-flush':false},'driver':'raw',"
    "'file':'libvirt-1-storage'} -device nvme,id=d0,drive=libvirt-1-format"
    f" -object {SERVER},id=s0,path=s,device=d0"
)

ACCEPTED = [
    "-drive if=none,id=b0,file=disk.img,format=raw -device nvme,id=d0,drive=b0,bootindex=1,"
    "max_ioqpairs=4,msix_qsize=5,write-cache=off,discard_granularity=4096"
    f" -object {SERVER},id=s0,path=s,device=d0",
    f"-device edu,id=d0 -object {SERVER},id=s0,path=s,device=d0"
    " -chardev socket,id=c0,path=q,server=on,wait=off -object monitor-qmp,id=m0,chardev=c0,pretty=on",
    TWO_NODES,
    "-blockdev driver=file,node-name=x-storage,filename=disk.img"
    " -blockdev driver=raw,node-name=x-format,file=x-storage -device nvme,id=d0,drive=x-format"
    f" -object {SERVER},id=s0,path=s,device=d0",
    "-drive if=none,id=b0,file=disk.img,format=raw,cache=unsafe,file.locking=off,detect-zeroes=on"
    f" -device nvme,id=d0,drive=b0 -object {SERVER},id=s0,path=s,device=d0",
    f"{REMOTE} -nographic -device edu,id=d0 -object {SERVER},id=s0,type=unix,path=s,device=d0",
    f"{REMOTE} -display none --device=edu,id=d0 --object {SERVER},id=s0,type=unix,path=s,device=d0",
    "-M x-remote,auto-shutdown=off -monitor none -serial none -vga none -m 256 -smp 2 -cpu host"
    " -name guest=vm1,debug-threads=on -msg timestamp=on -device {'driver':'edu','id':'d0'}"
    f" -object {{'qom-type':'{SERVER}','id':'s0','device':'d0',"
    "'socket':{'type':'unix','path':'s'}}",
    "-drive if=none,id=b0,file=disk.img,format=raw,cache=none,aio=native"
    f" -device nvme,id=d0,drive=b0 -object {SERVER},id=s0,path=s,device=d0",
    "-blockdev {'driver':'raw','node-name':'b0','file':{'driver':'file','filename':'disk.img',"
    "'aio':'native','auto-read-only':true,'discard':'unmap'}}"
    f" -device nvme,id=d0,drive=b0 -object {SERVER},id=s0,path=s,device=d0",
    "-drive if=none,id=b0,file=disk.img,format=raw -device nvme-subsys,id=subsys0,nqn=vm1"
    " -device nvme,id=d0,subsys=subsys0,serial=abc"
    f" -device nvme-ns,drive=b0,bus=d0,nsid=2,uuid=auto,shared=on -object {SERVER},id=s0,path=s,device=d0",
    "-blockdev {'driver':'file','node-name':'b0','filename':'disk.img','cache':{'direct':true}}"
    f" -device nvme,id=d0,drive=b0 -object {SERVER},id=s0,path=s,device=d0",
]


@pytest.mark.parametrize("line", ACCEPTED)
def test_serves(outboard: Start, folder: Path, line: str) -> None:
    (folder / "disk.img").write_bytes(bytes(1 << 20))
    process = outboard(*line.replace("'", '"').split())
    with Client(folder / "s") as client:
        assert client.read(REGION_CONFIG, 0, 2) != b"\xff\xff"
    assert process.stop() == 0


def test_options_without_effect_are_said(outboard: Start) -> None:
    process = outboard("edu", "socket=s", "-machine", "x-remote,auto-shutdown=off", "-m", "1G")
    assert "-m has no effect: memory" in process.errors()


NOT_OURS = [
    ("edu -kernel bzImage", ("-kernel bzImage", "no guest")),
    ("edu -m 1G", ("-m", "client")),
    ("edu -netdev user,id=n", ("-netdev", "network")),
    ("edu -vnc :1", ("-vnc", "display")),
    ("edu -monitor stdio", ("-monitor stdio", "human-monitor-command")),
    ("edu -machine q35", ("'q35'", "x-remote")),
    ("edu -hda x.img", ("-hda", "-blockdev")),
    ("edu -sandbox on", ("-sandbox", "service manager")),
    ("edu -S", ("-S", "-qmp")),
    ("edu -daemonize --run true", ("-daemonize", "--run")),
    ("edu -pidfile nowhere/p", ("nowhere/p",)),
    ("edu -D nowhere/l", ("nowhere/l",)),
    ("-device {'driver':'edu'", ("JSON",)),
    ("-device {'driver':['edu','nvme']}", ("driver",)),
    ("edu -object x-remote-object,id=o,devid=d0,fd=3", ("x-remote-object", "before vfio-user")),
    ("-device nvme-subsys,id=s,fdp=on", ("nvme-subsys", "flexible data placement")),
    ("-device nvme,id=c,serial=x,subsys=t", ("subsys=t", "nvme-subsys")),
    ("-device nvme-subsys,id=s -device nvme,id=c,serial=x,subsys=s -device nvme,id=d,serial=y,subsys=s",
     ("subsys=s", "'c'", "one device")),
    ("-device nvme-ns,bus=c", ("bus=c", "add it first")),
    ("-device nvme,id=ctrl,serial=x -device nvme-ns,bus=ctr", ("bus=ctr", "did you mean 'ctrl'")),
    ("-device nvme,id=c,serial=x -device nvme,id=d,serial=y -device nvme-ns", ("2 devices", "bus=ID")),
    ("-device nvme,id=c,serial=x -device nvme-ns,id=c", ("'c'", "already")),
    ("-device nvme,id=c,serial=x -device nvme-ns,nsidd=1", ("'nsidd'", "did you mean 'nsid'")),
    ("-c nothing.conf", ("nothing.conf", "No such file")),
    (f"-device edu,id=d0 -object {SERVER},id=s,device=d0", ("'s'", "socket", "path=")),
    (f"-device edu,id=d0 -object {SERVER},id=s,path=s", ("'s'", "device=")),
]


@pytest.mark.parametrize("line, said", NOT_OURS)
def test_refused(run: Run, folder: Path, line: str, said: tuple[str, ...]) -> None:
    result = run(*line.replace("'", '"').split() if "{" in line else line.split())
    assert result.returncode == 1
    (message,) = result.stderr.splitlines()
    for part in said:
        assert part in message
    assert sorted(path.name for path in folder.iterdir()) == ["run"]


@pytest.mark.parametrize("machine, ends", [
    ("-machine x-remote", True),
    ("-machine x-remote,auto-shutdown=off", False),
    ("-machine auto-shutdown=on", True),
    ("", False),
])  # fmt: skip
def test_auto_shutdown(outboard: Start, folder: Path, machine: str, ends: bool) -> None:
    process = outboard("edu", "socket=a", "--", "edu", "socket=b", *machine.split())
    first, second = Client(folder / "a"), Client(folder / "b")
    first.close()
    Client(folder / "a").close()
    assert second.read(REGION_CONFIG, 0, 2)
    assert process.process.poll() is None
    second.close()
    if ends:
        assert process.wait() == 0
    else:
        Client(folder / "b").close()
        assert process.stop() == 0


def test_who_was_no_client_ends_nothing(outboard: Start, folder: Path) -> None:
    """A look at the socket, or a client of monitors that took it for one, before the VM comes."""
    process = outboard("edu", "socket=a", "-machine", "x-remote")
    assert "this is a vfio-user socket" in obctl(folder, "-s", "a", "list").stderr
    with socket.socket(socket.AF_UNIX) as nobody:
        nobody.connect(str(folder / "a"))
    process.wait_log("client disconnected\n")
    Client(folder / "a").close()
    assert process.wait() == 0


def test_trace_is_for_what_matches(outboard: Start, folder: Path) -> None:
    words = ("edu", "id=a", "socket=a", "--", "edu", "id=b", "socket=b")
    process = outboard(*words, "-trace", "a*")
    for name in ("b", "a"):
        with Client(folder / name) as client:
            client.reset()
        process.wait_log(f"{name}-server: client disconnected")
    traced = {line for line in process.errors().splitlines() if "trace: " in line}
    assert "outboard: trace: a-server: DEVICE_RESET (13): 0 bytes, 0 descriptors" in traced
    assert "outboard: trace: a: is reset" in traced
    assert all("trace: a" in line for line in traced)


def test_helps(run: Run) -> None:
    assert "auto-shutdown=" in run("-machine", "help").stdout
    assert "-trace PATTERN" in run("-trace", "help").stdout


class Background:
    """A process that was started with -daemonize. It is nobody's child, so ended by its number."""

    def __init__(self, folder: Path, env: dict[str, str], *words: str) -> None:
        self.result = subprocess.run(
            [str(BIN), *words, "-daemonize", "-pidfile", "pid"],
            cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT, check=False,
        )  # fmt: skip
        self.pid_file = folder / "pid"
        self.pid = int(self.pid_file.read_text()) if self.result.returncode == 0 else 0

    def runs(self) -> bool:
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return False
        return state != "Z"

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGTERM)
        wait_until(lambda: not self.runs())


def test_daemonize(folder: Path, environment: dict[str, str]) -> None:
    process = Background(folder, environment, "edu", "socket=s", "-D", "log")
    assert process.result.returncode == 0, process.result.stderr
    # Nothing has to be waited for: clients can connect when the command has ended.
    Client(folder / "s").close()
    assert "vfio-user-pci" in process.result.stdout
    assert os.getsid(process.pid) == process.pid
    for fd in range(3):
        assert os.readlink(f"/proc/{process.pid}/fd/{fd}") == "/dev/null"
    assert process.runs()
    process.stop()
    wait_until(lambda: not process.pid_file.exists())
    assert not (folder / "s").exists()
    assert "client connected" in (folder / "log").read_text()


def test_daemonize_with_a_monitor(folder: Path, environment: dict[str, str]) -> None:
    process = Background(folder, environment, *MONITORS[0].split())
    monitor = Qmp.connect(folder / "q")
    assert monitor.call("query-status")["running"] is True
    monitor.call("quit")
    wait_until(lambda: not process.runs())
    assert not process.pid_file.exists()
    assert not (folder / "q").exists()


def test_daemonize_tells_what_is_wrong(folder: Path, environment: dict[str, str]) -> None:
    process = Background(folder, environment, "nvme", "nothing.img", "socket=s", "-D", "log")
    assert process.result.returncode == 1
    assert "nothing.img" in process.result.stderr
    assert "nothing.img" in (folder / "log").read_text()
    assert not process.pid_file.exists()
    assert not (folder / "s").exists()


def test_pid_file_is_for_one(outboard: Start, run: Run, folder: Path) -> None:
    (folder / "pid").write_text("a longer line of somebody who is gone\n")
    process = outboard("edu", "socket=s", "-pidfile", "pid")
    assert (folder / "pid").read_text() == f"{process.pid}\n"
    result = run("edu", "socket=t", "-pidfile", "pid")
    assert result.returncode == 1
    assert "-pidfile pid: another process has it" in result.stderr
    assert (folder / "pid").read_text() == f"{process.pid}\n"
    assert process.stop() == 0
    assert not (folder / "pid").exists()


def test_log_file_is_appended_to(outboard: Start, folder: Path) -> None:
    (folder / "log").write_text("before\n")
    process = outboard("edu", "socket=s", "-D", "log", "-msg", "timestamp=on")
    Client(folder / "s").close()
    wait_until(lambda: "client connected" in (folder / "log").read_text())
    assert process.stop() == 0
    first, second = (folder / "log").read_text().splitlines()[:2]
    assert first == "before"
    assert second.startswith("20")
    assert process.errors() == ""


CONFIG = """
# Two disks.
[blockdev "b0"]
  driver = "mem"
  size = "1M"
[device "d0"]
  driver = "nvme"
  drive = "b0"
[object "s0"]
  qom-type = "x-vfio-user-server"
  path = "a"
  device = "d0"

[nvme "d1"]          # the short form
  size = 1M
  socket = b
"""


@pytest.mark.parametrize("option", ["-c", "--config", "-readconfig"])
def test_configuration_file(outboard: Start, folder: Path, option: str) -> None:
    (folder / "x.conf").write_text(CONFIG)
    process = outboard(option, "x.conf", "edu", "socket=c")
    for name in "abc":
        Client(folder / name).close()
    assert process.stop() == 0


def test_configuration_file_errors_name_the_line(run: Run, folder: Path) -> None:
    (folder / "x.conf").write_text(CONFIG.replace("socket = b", "sockt = b"))
    result = run("-c", "x.conf")
    assert result.returncode == 1
    assert result.stderr == (
        "outboard: error: x.conf:16: unknown property 'sockt' for nvme: did you mean 'socket'?\n"
    )


def listener(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    return sock


def test_inherited_sockets_go_by_name(folder: Path, environment: dict[str, str]) -> None:
    """As a service manager starts it, with -daemonize in between."""
    with listener(folder / "keep-1") as one, listener(folder / "keep-2") as two:
        script = (
            "exec 3<&%d 4<&%d; LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=second:d0 exec %s "
            "nvme size=1M id=d0 -- edu id=second -daemonize -pidfile pid"
        ) % (one.fileno(), two.fileno(), BIN)
        subprocess.run(
            ["bash", "-c", script], cwd=folder, env=environment, check=True, timeout=LIMIT,
            pass_fds=[one.fileno(), two.fileno()], stdout=subprocess.DEVNULL,
        )  # fmt: skip
    pid = int((folder / "pid").read_text())
    try:
        ids = {}
        for name in ("keep-1", "keep-2"):
            with Client(folder / name) as client:
                ids[name] = client.read(REGION_CONFIG, 0, 2)
        assert ids["keep-1"] == (0x1234).to_bytes(2, "little")
        assert ids["keep-2"] != ids["keep-1"]
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not (folder / "pid").exists())


class Qmp:
    """A client of a monitor: a connected socket, or a pair of pipes. Events are kept."""

    def __init__(self, reader: IO[str], writer: IO[str]) -> None:
        self.reader, self.writer = reader, writer
        self.events: list[dict[str, Any]] = []
        assert "QMP" in json.loads(self.reader.readline())
        self.call("qmp_capabilities")

    @classmethod
    def at(cls, sock: socket.socket) -> Qmp:
        sock.settimeout(LIMIT)
        file = sock.makefile("rw")
        return cls(file, file)

    @classmethod
    def connect(cls, path: Path) -> Qmp:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(path))
        return cls.at(sock)

    def message(self) -> dict[str, Any]:
        line = self.reader.readline()
        assert line, "the monitor closed"
        return json.loads(line)

    def call(self, command: str, **arguments: Any) -> Any:
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.writer.write(json.dumps({"execute": command, "arguments": named}) + "\n")
        self.writer.flush()
        while "return" not in (reply := self.message()):
            assert "error" not in reply, reply
            self.events.append(reply)
        return reply["return"]

    def event(self, name: str) -> dict[str, Any]:
        while True:
            for event in self.events:
                if event["event"] == name:
                    return event
            self.events.append(self.message())


MONITORS = [
    "-qmp unix:q,server=on,wait=off",
    "-qmp unix:q,server,nowait",
    "-chardev socket,id=c,path=q,server=on,wait=off -mon chardev=c,mode=control",
    "-c q.conf",
]


@pytest.mark.parametrize("line", MONITORS)
def test_monitor_alone_is_enough(outboard: Start, folder: Path, line: str) -> None:
    """Everything else comes by hot-plug."""
    (folder / "q.conf").write_text('[qmp]\npath = "q"\n')
    process = outboard(*line.split(), "-name", "guest=vm1")
    monitor = Qmp.connect(folder / "q")
    assert monitor.call("query-name") == {"name": "vm1"}
    monitor.call("device_add", driver="edu", id="d0")
    monitor.call("object-add", qom_type=SERVER, id="s0", device="d0",
                 socket={"type": "unix", "path": "s"})  # fmt: skip
    Client(folder / "s").close()
    monitor.call("quit")
    assert monitor.event("SHUTDOWN")["data"] == {"guest": False, "reason": "host-qmp-quit"}
    assert process.wait() == 0


def test_monitor_on_standard_input(folder: Path, environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [str(BIN), "-qmp", "stdio", "edu", "socket=s"], cwd=folder, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin and process.stdout
    monitor = Qmp(process.stdout, process.stdin)
    assert monitor.call("query-status")["running"] is True
    monitor.call("quit")
    assert process.wait(LIMIT) == 0


@pytest.mark.parametrize("line", [
    "-qmp fd:{}", "-chardev socket,id=c,fd={} -mon chardev=c,mode=control",
])  # fmt: skip
def test_monitor_on_an_inherited_socket(outboard: Start, line: str) -> None:
    """As the Python library of QEMU's own tests starts it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = outboard(*line.format(theirs.fileno()).split(), pass_fds=[theirs.fileno()])
        monitor = Qmp.at(ours)
        monitor.call("quit")
        assert process.wait() == 0


def test_several_monitors_hear_of_a_signal(outboard: Start, folder: Path) -> None:
    process = outboard("edu", "socket=s", *MONITORS[0].split(),
                       "-qmp", "unix:r,server=on,wait=off")  # fmt: skip
    monitors = [Qmp.connect(folder / name) for name in "qr"]
    process.process.send_signal(signal.SIGTERM)
    for monitor in monitors:
        assert monitor.event("SHUTDOWN")["data"]["reason"] == "host-signal"
    assert process.wait() == 0


def test_starts_stopped(outboard: Start, folder: Path) -> None:
    """-S: the factorial of the edu device is worked out when a monitor says so."""
    outboard("edu", "socket=s", "-S", *MONITORS[0].split())
    monitor = Qmp.connect(folder / "q")
    assert monitor.call("query-status") == {"running": False, "status": "paused"}
    with Client(folder / "s") as client:
        assert client.read32(REGION_CONFIG, 0) != 0xFFFFFFFF
        monitor.call("cont")
        monitor.event("RESUME")
        assert monitor.call("query-status") == {"running": True, "status": "running"}
        assert client.read32(REGION_CONFIG, 0) != 0xFFFFFFFF


REFUSED_MONITORS = [
    ("-qmp unix:q,server=on", "wait"),
    ("-qmp unix:q", "server"),
    ("-qmp unix:nowhere/q,server=on,wait=off", "nowhere/q"),
    ("-qmp fd:99", "99"),
    ("-qmp unix:q,server=on,wait=off,colour=red", "colour"),
]


@pytest.mark.parametrize("line, said", REFUSED_MONITORS)
def test_monitor_refused(run: Run, folder: Path, line: str, said: str) -> None:
    result = run("edu", "socket=s", *line.split())
    assert result.returncode == 1
    assert said in result.stderr.splitlines()[0]
    assert sorted(path.name for path in folder.iterdir()) == ["run"]
