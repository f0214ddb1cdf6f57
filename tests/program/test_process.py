# SPDX-License-Identifier: BSD-3-Clause
"""outboard as a process: commands beside it, inherited sockets, readiness, signals, its parent."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Run, Start
from outboard import BIN, LIMIT, is_sanitized, sockets_in, wait_until
from vfio_user import REGION_BAR0, Client, Hangup

HERE = Path(__file__).resolve().parent


@pytest.fixture
def listener(folder: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "keep.sock"))
        sock.listen()
        yield sock


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


# --run


def test_run_sees_the_sockets(run: Run, folder: Path) -> None:
    command = (
        'printf "%s\\n" "$socket" "$socket1" "$socket2" "$qemu_device" "$qemu_device2";'
        '[ -S "$socket" ] && [ -S "$socket2" ]'
    )
    result = run("edu", "socket=a", "--", "edu", "socket=b", "--run", command)
    a, b = folder / "a", folder / "b"
    device = (
        '{"driver":"vfio-user-pci","socket":{"type":"unix","path":"%s"},"x-msg-timeout":3600000}'
    )
    assert result.stdout.splitlines() == [str(a), str(a), str(b), device % a, device % b]
    assert result.returncode == 0
    assert not sockets_in(folder)


def test_run_can_connect(run: Run, folder: Path) -> None:
    program = (
        f"import os, sys; sys.path.insert(0, {str(HERE)!r}); from vfio_user import Client;"
        "print(hex(Client(os.environ['socket']).read32(0, 0)))"
    )
    result = run("edu", "--run", f"exec {sys.executable} -B -c {program!r}")
    assert result.stdout == "0x10000ed\n"
    assert result.returncode == 0


@pytest.mark.parametrize("command, status", [("exit 7", 7), ("kill -9 $$", 137), ("nonsense", 127)])
def test_run_status_is_the_commands(run: Run, folder: Path, command: str, status: int) -> None:
    assert run("edu", "socket=a", f"--run={command}").returncode == status
    assert not (folder / "a").exists()


def test_run_is_told_to_end(outboard: Start, folder: Path) -> None:
    process = outboard("edu", "socket=a", "--run", 'trap "exit 5" TERM; touch up; sleep 60 & wait')
    wait_until(lambda: (folder / "up").exists())
    assert process.stop() == 5


def test_run_that_does_not_listen(outboard: Start, folder: Path) -> None:
    command = 'trap "" TERM; touch up; exec sleep 3'
    process = outboard("edu", "socket=a", "--run", command)
    wait_until(lambda: (folder / "up").exists())
    process.process.send_signal(signal.SIGTERM)
    Client(folder / "a").close()
    assert process.stop() == 128 + signal.SIGTERM


def test_run_is_not_left_behind(outboard: Start, folder: Path) -> None:
    command = "echo $$ >pid.new; mv pid.new pid; exec sleep 60"
    process = outboard("edu", "socket=keep", "--run", command)
    wait_until(lambda: (folder / "pid").exists())
    process.stop(signal.SIGKILL)
    pid = int((folder / "pid").read_text())
    wait_until(lambda: not is_alive(pid))


def test_run_does_not_start_after_an_error(run: Run, folder: Path) -> None:
    result = run("edu", "socket=nowhere/a", "--run", "touch started")
    assert result.returncode == 1
    assert not (folder / "started").exists()


def test_run_inherits_nothing_of_ours(run: Run, folder: Path) -> None:
    script = (
        "ls -l /proc/self/fd; grep -E '^Sig(Blk|Ign)' /proc/self/status; env | grep LISTEN_; true"
    )
    result = run("nvme", "size=1M", "socket=a", "--run", script)
    assert "socket:" not in result.stdout
    assert "memfd" not in result.stdout
    assert "LISTEN_" not in result.stdout
    masks = dict(line.split() for line in result.stdout.splitlines() if line.startswith("Sig"))
    assert int(masks["SigBlk:"], 16) == 0
    assert not int(masks["SigIgn:"], 16) & (1 << (signal.SIGPIPE - 1))


# Inherited sockets


def test_fd(outboard: Start, folder: Path, listener: socket.socket) -> None:
    process = outboard("edu", f"--fd={listener.fileno()}", pass_fds=[listener.fileno()])
    Client(folder / "keep.sock").close()
    assert str(folder / "keep.sock") in process.output()
    assert process.stop() == 0
    assert (folder / "keep.sock").is_socket()


def test_fd_of_a_device(outboard: Start, folder: Path, listener: socket.socket) -> None:
    number = listener.fileno()
    outboard("edu", "socket=a", "--", "edu", f"fd={number}", pass_fds=[number])
    Client(folder / "keep.sock").close()
    Client(folder / "a").close()


def test_fd_in_long_form(outboard: Start, folder: Path, listener: socket.socket) -> None:
    number = listener.fileno()
    server = f"x-vfio-user-server,id=s0,device=d0,fd={number}"
    outboard("-device", "edu,id=d0", "-object", server, pass_fds=[number])
    Client(folder / "keep.sock").close()


def test_fd_that_is_shut_down(outboard: Start, folder: Path, listener: socket.socket) -> None:
    process = outboard("edu", f"--fd={listener.fileno()}", pass_fds=[listener.fileno()])
    with Client(folder / "keep.sock") as client:
        listener.shutdown(socket.SHUT_RDWR)
        process.wait_log("shut down")
        before = cpu_ticks(process.pid)
        time.sleep(0.3)
        assert cpu_ticks(process.pid) - before <= 1
        assert client.read32(REGION_BAR0, 0) == 0x010000ED
    assert process.errors().count("shut down") == 1
    assert process.stop() == 0


def test_fd_twice_is_refused(run: Run, listener: socket.socket) -> None:
    number = listener.fileno()
    result = run("edu", f"fd={number}", "--", "edu", f"fd={number}", pass_fds=[number])
    assert result.returncode == 1
    assert f"descriptor {number}" in result.stderr


def test_abstract_socket(outboard: Start) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"\0outboard-test-{os.getpid()}")
        sock.listen()
        process = outboard("edu", f"--fd={sock.fileno()}", pass_fds=[sock.fileno()])
        Client(sock.getsockname().decode()).close()
        assert "without a path" in process.output()


# Sockets are passed as descriptors 3, 4, ..., by a shell that is then replaced, as systemd does it.
ACTIVATE = 'exec {moves}; LISTEN_PID=$$ LISTEN_FDS={count} exec "$@"'


def activation(sockets: list[socket.socket], count: int | None = None) -> list[str]:
    # By way of high numbers: the sockets may have low numbers already.
    moves = [f"{40 + i}<&{s.fileno()}" for i, s in enumerate(sockets)]
    moves += [f"{3 + i}<&{40 + i}" for i in range(len(sockets))]
    script = ACTIVATE.format(moves=" ".join(moves), count=count or len(sockets))
    return ["bash", "-c", script, "bash"]


def test_socket_activation(outboard: Start, folder: Path) -> None:
    paths = [folder / "keep1", folder / "keep2"]
    sockets = [socket.socket(socket.AF_UNIX) for _ in paths]
    for sock, path in zip(sockets, paths, strict=True):
        sock.bind(str(path))
        sock.listen()
    # The descriptors for it, and for the test's pipe, must not be those that systemd uses.
    fillers = [os.open("/dev/null", os.O_RDONLY) for _ in range(8)]
    numbers = [sock.fileno() for sock in sockets]
    process = outboard(
        "edu", "id=first", "--", "edu", "id=second", pass_fds=numbers, wrapper=activation(sockets)
    )
    for path in paths:
        Client(path).close()
    lines = [line for line in process.output().splitlines() if "is served" in line]
    assert lines == [
        f"first (edu) is served at {paths[0]}",
        f"second (edu) is served at {paths[1]}",
    ]
    for sock in sockets:
        sock.close()
    for fd in fillers:
        os.close(fd)


def test_socket_activation_of_somebody_else(outboard: Start, folder: Path) -> None:
    outboard("edu", "socket=a", env={"LISTEN_PID": "1", "LISTEN_FDS": "3"})
    Client(folder / "a").close()


# Being ready


def test_sd_notify(outboard: Start, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(LIMIT)
        manager.bind(str(folder / "keep.notify"))
        env = {"NOTIFY_SOCKET": str(folder / "keep.notify")}
        process = outboard("edu", "socket=a", env=env, wait=False)
        assert manager.recv(100) == b"READY=1"
        Client(folder / "a").close()
        assert process.stop() == 0
        assert manager.recv(100) == b"STOPPING=1"


def test_sd_notify_abstract(outboard: Start) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(LIMIT)
        name = f"outboard-notify-{os.getpid()}"
        manager.bind(f"\0{name}")
        outboard("edu", env={"NOTIFY_SOCKET": f"@{name}"}, wait=False)
        assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("path", ["", "x", "/nowhere/at/all", "/" + "x" * 300, "vsock:1:2"])
def test_sd_notify_to_nobody(outboard: Start, folder: Path, path: str) -> None:
    outboard("edu", "socket=a", env={"NOTIFY_SOCKET": path})
    Client(folder / "a").close()


def test_accepts_when_it_says_so(outboard: Start, folder: Path) -> None:
    for i in range(10):
        process = outboard("edu", f"socket={i}")
        Client(folder / str(i)).close()
        assert process.stop() == 0


# Ending


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_in_order(outboard: Start, folder: Path, number: signal.Signals) -> None:
    # Those of the terminal are left alone where they are ignored, as for a job in the background.
    ready = ("env", "--default-signal")
    process = outboard("nvme", "size=1M", "socket=a", wrapper=ready)
    with Client(folder / "a"):
        assert process.stop(number) == 0
    assert not (folder / "a").exists()


def test_ignored_signals_stay_ignored(outboard: Start, folder: Path) -> None:
    wrapper = ["sh", "-c", 'trap "" INT HUP; exec "$@"', "sh"]
    process = outboard("edu", "socket=a", wrapper=wrapper)
    process.process.send_signal(signal.SIGHUP)
    process.process.send_signal(signal.SIGINT)
    Client(folder / "a").close()
    assert process.stop() == 0


@pytest.mark.parametrize("ignored", [False, True])
def test_log_is_opened_again(outboard: Start, folder: Path, ignored: bool) -> None:
    """As logrotate has it: the file is moved away, and a signal says so. Devices do not notice."""
    wrapper = ["sh", "-c", f'trap {"" if ignored else "-"!r} HUP; exec "$@"', "sh"]
    process = outboard("edu", "socket=a", "-D", "log", wrapper=wrapper)
    with Client(folder / "a") as client:
        for old in ("log.1", "log.2"):
            (folder / "log").rename(folder / old)
            process.process.send_signal(signal.SIGHUP)
            wait_until((folder / "log").exists)
            wait_until(lambda: "log file opened again" in (folder / "log").read_text())
        assert client.read32(REGION_BAR0, 0) == 0x010000ED
    wait_until(lambda: "client disconnected" in (folder / "log").read_text())
    assert "client connected" in (folder / "log.1").read_text()
    assert "opened again" not in (folder / "log.1").read_text()
    assert process.stop() == 0


def test_a_log_that_cannot_be_opened_again(outboard: Start, folder: Path) -> None:
    (folder / "logs").mkdir()
    process = outboard("edu", "socket=a", "-D", "logs/log")
    (folder / "logs").rename(folder / "gone")
    process.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "No such file" in (folder / "gone/log").read_text())
    Client(folder / "a").close()
    wait_until(lambda: "client disconnected" in (folder / "gone/log").read_text())


def test_hangup_without_a_log_file(outboard: Start, folder: Path) -> None:
    process = outboard("edu", "socket=a")
    process.process.send_signal(signal.SIGHUP)
    process.wait_log("SIGHUP: there is no log file")
    Client(folder / "a").close()
    assert process.stop() == 0


def test_a_terminal_that_is_gone_ends_it(folder: Path, environment: dict[str, str]) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and stays so
        os.execve(BIN, [str(BIN), "edu", "socket=a", "-D", "log"], environment)
    wait_until((folder / "a").exists)
    os.close(terminal)
    ended: list[int] = []

    def has_ended() -> bool:
        found, status = os.waitpid(pid, os.WNOHANG)
        ended.extend([os.waitstatus_to_exitcode(status)] if found else [])
        return bool(found)

    wait_until(has_ended)
    assert ended == [0]
    assert not (folder / "a").exists()


PRIORITIES = [
    ([], True, True),
    ([], False, False),
    (["-msg", "priority=on"], False, True),
    (["-msg", "priority=off"], True, False),
    (["-msg", "priority=off", "-msg", "timestamp=off"], True, False),
]


@pytest.mark.parametrize("words, journal, expected", PRIORITIES)
def test_priorities_for_the_journal(
    outboard: Start, folder: Path, words: list[str], journal: bool, expected: bool
) -> None:
    """The journal's stream is known by its numbers, and nothing else is taken for it."""
    stream = '"$(stat -L -c %d:%i /proc/self/fd/2)"' if journal else "1:1"
    wrapper = ["sh", "-c", f'JOURNAL_STREAM={stream} exec "$@"', "sh"]
    process = outboard("edu", "socket=a", *words, wrapper=wrapper)
    with Client(folder / "a"), pytest.raises(Hangup):
        Client(folder / "a")
    process.wait_log("client refused")
    lines = process.errors().splitlines()
    prefixes = [line.split("outboard: ")[0] for line in lines]
    assert prefixes[:2] == (["<6>", "<4>"] if expected else ["", ""])


def test_broken_pipe_does_not_end_it(outboard: Start, folder: Path) -> None:
    process = outboard("edu", "socket=a")
    process.process.send_signal(signal.SIGPIPE)
    Client(folder / "a").close()


def test_closed_standard_descriptors(outboard: Start, folder: Path) -> None:
    wrapper = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    outboard("edu", "socket=a", "--", "edu", "socket=b", wrapper=wrapper)
    Client(folder / "a").close()
    Client(folder / "b").close()


def listens(path: Path) -> bool:
    """A socket is there before it listens: its permissions come in between."""
    try:
        Client(path).close()
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    return True


def test_ends_with_its_parent(folder: Path, environment: dict[str, str]) -> None:
    script = '"$0" edu socket=a --exit-with-parent -q 2>log & echo $!; exec sleep 60'
    with subprocess.Popen(
        ["sh", "-c", script, str(BIN)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        wait_until(lambda: listens(folder / "a"))
        parent.kill()
    wait_until(lambda: not is_alive(pid))
    assert not (folder / "a").exists()


# What it costs


def test_idle_uses_no_processor(outboard: Start, folder: Path) -> None:
    process = outboard("edu", "socket=a", "--", "nvme", "size=1M", "socket=b")
    with Client(folder / "b"):
        time.sleep(0.1)
        before = cpu_ticks(process.pid)
        time.sleep(1)
        assert cpu_ticks(process.pid) - before <= 1


def test_memory_of_one_disk(outboard: Start) -> None:
    if is_sanitized():
        pytest.skip("sanitizers take memory of their own")
    process = outboard("nvme", "size=1G")
    status = Path(f"/proc/{process.pid}/status").read_text()
    (resident,) = (int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line)
    assert resident < 4096


def test_nothing_is_left_open(outboard: Start, folder: Path) -> None:
    process = outboard("edu", "socket=a")
    descriptors = Path(f"/proc/{process.pid}/fd")
    with Client(folder / "a"):
        before = len(list(descriptors.iterdir()))
    for _ in range(100):
        Client(folder / "a").close()
    with Client(folder / "a"):
        assert len(list(descriptors.iterdir())) == before


def test_only_the_process_itself_may_open_more_files(outboard: Start, folder: Path) -> None:
    """Children get the limit that it was started with; it has what the system allows."""
    limits = "grep -h 'Max open files' /proc/self/limits /proc/$PPID/limits > limits"
    wrapper = ["sh", "-c", 'ulimit -Sn 300; exec "$@"', "sh"]
    process = outboard("edu", "socket=s", "--run", limits, wrapper=wrapper, wait=False)
    assert process.wait() == 0
    child, parent = ((line.split()[3], line.split()[4]) for line in (folder / "limits").read_text().splitlines())
    assert child[0] == "300"
    assert parent[0] == parent[1] == child[1]
