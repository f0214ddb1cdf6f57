# SPDX-License-Identifier: BSD-3-Clause
"""A Linux guest in QEMU (TCG, no KVM needed) for the guest tests and benchmarks.

    with Guest(disks=["/tmp/vm1.sock"]) as guest:
        print(guest.run("lspci"))

The kernel, its initramfs and QEMU come from the folder that scripts/guest-root makes. Each guest
has three sockets in a folder of its own: the kernel's console (ttyS0), commands (ttyS1, answered by
tests/guest/init) and QMP. A thread reads each of them all the time, so that QEMU never waits for
us, and every wait has a limit and fails with the end of the console in its message.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

REPO = Path(__file__).resolve().parents[2]
GUEST_DIR = Path(os.environ.get("OUTBOARD_GUEST_DIR", REPO / "build" / "guest"))

# Everything takes longer under a sanitizer or on a busy machine.
TIME_SCALE = float(os.environ.get("OUTBOARD_TEST_TIME_SCALE", "1"))

# Saves half a second of a boot: what a guest without secrets and with a good clock can do without.
KERNEL_ARGS = "quiet mitigations=off nokaslr tsc=reliable no_timer_check"

# A small processor is fast to emulate. Without rdrand, the first use of randomness takes seconds.
CPU = "qemu64,+rdrand"

# Longer lines do not fit the guest's terminal buffer.
LINE_MAX = 1024

# No pattern that is waited for matches more than this.
MATCH_MAX = 4096


class GuestError(Exception):
    """The guest did not do what it was told."""


class GuestTimeout(GuestError):
    """The guest did not do it in time."""


class CommandError(GuestError):
    """A command in the guest ended with a status that is not 0."""

    def __init__(self, command: str, status: int, output: str) -> None:
        super().__init__(f"status {status} from the guest's: {command}\n{output}")
        self.command = command
        self.status = status
        self.output = output


@dataclass
class Disk:
    """A vfio-user socket to attach, and further properties of vfio-user-pci."""

    socket: str | Path
    props: dict[str, Any] = field(default_factory=dict)

    def argument(self) -> str:
        path = {"type": "unix", "path": str(self.socket)}
        device = {"driver": "vfio-user-pci", "socket": path, "x-msg-timeout": 3600000}
        return json.dumps({**device, **self.props})


@dataclass
class Found:
    """A match in what a channel received, and where it is there."""

    match: re.Match[bytes]
    start: int
    end: int


@dataclass
class Interrupt:
    """A line of the guest's /proc/interrupts, its counts added up over the processors."""

    count: int
    chip: str
    name: str


class Channel:
    """One connection with QEMU: a thread gathers what comes in, anybody waits for it."""

    def __init__(self, path: Path) -> None:
        self.data = bytearray()
        self.closed = False
        self.changed = threading.Condition()
        self._sock: socket.socket | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._read, daemon=True)

    def accept(self, timeout: float) -> bool:
        self._listener.settimeout(timeout)
        try:
            self._sock = self._listener.accept()[0]
        except TimeoutError:
            return False
        self._thread.start()
        return True

    def _read(self) -> None:
        assert self._sock
        while True:
            try:
                chunk = self._sock.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                chunk = b""
            with self.changed:
                self.data += chunk
                self.closed = not chunk
                self.changed.notify_all()
            if not chunk:
                return

    def send(self, data: bytes) -> None:
        assert self._sock
        self._sock.settimeout(30 * TIME_SCALE)
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise GuestError(f"QEMU does not take what is sent to it: {error}") from error

    def text(self, start: int = 0) -> str:
        with self.changed:
            return self.data[start:].decode(errors="replace").replace("\r", "")

    def slice(self, start: int, end: int) -> bytes:
        with self.changed:
            return bytes(self.data[start:end])

    def close(self) -> None:
        self._listener.close()
        if self._sock:
            # Wakes the thread, which close alone would not.
            try:
                self._sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self._thread.join()
            self._sock.close()


class Job:
    """A command that goes on in the guest while others are run."""

    def __init__(self, guest: Guest, command: str) -> None:
        self.guest = guest
        self.command = command
        self._file = f"/run/job.{secrets.token_hex(4)}"
        guest.run(
            f"{{ (\n{command}\n) >{self._file} 2>&1 </dev/null; echo $? >{self._file}.tmp;"
            f" mv {self._file}.tmp {self._file}.status; }} >/dev/null 2>&1 &"
        )

    def running(self) -> bool:
        return self.guest.run_status(f"[ ! -e {self._file}.status ]")[0] == 0

    def wait_status(self, timeout: float = 120) -> tuple[int, str]:
        return self.guest.run_status(
            f"while [ ! -e {self._file}.status ]; do sleep 0.1; done;"
            f" cat {self._file}; exit $(cat {self._file}.status)",
            timeout,
        )

    def wait(self, timeout: float = 120) -> str:
        """The output of the command, once it has ended; an error if not well."""
        status, output = self.wait_status(timeout)
        if status:
            raise CommandError(self.command, status, output)
        return output


class Guest:
    """A virtual machine, running from `with` on.

    disks      vfio-user sockets to attach: paths, or Disk for more properties
    append     more for the kernel's command line
    terminal   the kernel's console: it takes one serial port at most
    firmware   None: QEMU loads the kernel. "seabios", "ovmf": the firmware looks for one on a disk
    qemu_args  more for QEMU's command line
    shared     False: QEMU keeps the guest's memory to itself, and devices reach it by messages; or
               the kind and options of a memory backend
    iommu      True: there is an IOMMU in front of the devices (the kernel needs intel_iommu=on)
    log        where the console is saved when the guest ends
    wait       False: start() returns at once, and wait_ready() is yours to call
    """

    def __init__(
        self,
        disks: Sequence[str | Path | Disk] = (),
        *,
        append: str = "",
        terminal: str = "ttyS0",
        firmware: str | None = None,
        qemu_args: Sequence[str] = (),
        machine: str = "q35",
        memory: str = "512M",
        shared: bool | str = True,
        iommu: bool = False,
        cpus: int = 2,
        accel: str = "tcg,thread=multi",
        log: Path | None = None,
        wait: bool = True,
    ) -> None:
        self.disks = [d if isinstance(d, Disk) else Disk(d) for d in disks]
        self.append = append
        self.terminal = terminal
        self.firmware = firmware
        self.qemu_args = list(qemu_args)
        self.machine = machine
        self.memory = memory
        self.shared = shared
        self.iommu = iommu
        self.cpus = cpus
        self.accel = accel
        self.log = log
        self.wait = wait
        self.boot_id: str | None = None
        self.boot_seconds = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._commands_seen = 0
        self._boot_start = 0

    # Life

    def __enter__(self) -> Guest:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        # Not under pytest's tmp_path: a socket's path may be 107 bytes long.
        self._dir = Path(tempfile.mkdtemp(prefix="guest."))
        try:
            self.console = Channel(self._dir / "console")
            self._commands = Channel(self._dir / "commands")
            self._qmp = Channel(self._dir / "qmp")
            self._started = time.monotonic()
            self._spawn()
            for channel in (self.console, self._commands, self._qmp):
                self._accept(channel)
            self.qmp("qmp_capabilities")
            if self.wait:
                self.wait_ready()
        except BaseException:
            self.close()
            raise

    def _spawn(self) -> None:
        with open(self._dir / "stderr", "wb") as stderr:
            # The kernel ends QEMU with the thread that started it, should we be killed.
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.command_line()],
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                cwd=self._dir,
            )

    def command_line(self) -> list[str]:
        line = [str(GUEST_DIR / "bin" / "qemu-system-x86_64")]
        line += ["-nodefaults", "-no-user-config", "-display", "none", "-accel", self.accel]
        line += ["-machine", f"{self.machine},memory-backend=mem"]
        line += ["-cpu", CPU, "-smp", str(self.cpus)]
        line += ["-m", self.memory, "-object"]
        backend = {True: "memfd,share=on", False: "ram"}.get(self.shared, self.shared)
        line += [f"memory-backend-{backend},id=mem,size={self.memory}"]
        for name in ("console", "commands", "qmp"):
            line += ["-chardev", f"socket,id={name},path={self._dir / name}"]
        line += ["-serial", "chardev:console", "-serial", "chardev:commands"]
        line += ["-mon", "chardev=qmp,mode=control"]
        line += self._boot_args()
        if self.iommu:  # before the devices behind it
            line += ["-device", "intel-iommu,caching-mode=on"]
        for disk in self.disks:
            line += ["-device", disk.argument()]
        return line + self.qemu_args

    def _boot_args(self) -> list[str]:
        if self.firmware is None:
            kernel, initrd = GUEST_DIR / "vmlinuz", GUEST_DIR / "initramfs.cpio"
            append = f"console={self.terminal} {KERNEL_ARGS} {self.append}"
            return ["-kernel", str(kernel), "-initrd", str(initrd), "-append", append]
        if self.firmware == "seabios":
            return []
        ovmf = GUEST_DIR / "root" / "usr" / "share" / "OVMF"
        variables = shutil.copy(ovmf / "OVMF_VARS_4M.fd", self._dir)
        flash = "if=pflash,format=raw,unit="
        return [
            "-drive", f"{flash}0,readonly=on,file={ovmf / 'OVMF_CODE_4M.fd'}",
            "-drive", f"{flash}1,file={variables}",
        ]  # fmt: skip

    def _accept(self, channel: Channel) -> None:
        deadline = time.monotonic() + 30 * TIME_SCALE
        while not channel.accept(0.2):
            self._check_alive()
            if time.monotonic() > deadline:
                raise self._failure(GuestTimeout, "QEMU does not connect")

    def wait_ready(self, timeout: float = 90) -> None:
        """Until the guest's init answers on its command port."""
        found = self._wait(self._commands, rb"GUEST-READY (\S+)\n", timeout, self._commands_seen)
        self._commands_seen = found.end
        self.boot_id = found.match[1].decode()
        self.boot_seconds = time.monotonic() - self._started

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Ends QEMU at once, whatever the guest is doing."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def poweroff(self, timeout: float = 60) -> None:
        """An orderly shutdown. QEMU has ended afterwards."""
        self._send_command("sync; poweroff -f")
        self._wait_exit(timeout)

    def _wait_exit(self, timeout: float) -> None:
        assert self._process
        try:
            status = self._process.wait(timeout * TIME_SCALE)
        except subprocess.TimeoutExpired:
            raise self._failure(GuestTimeout, f"no power-off within {timeout} s") from None
        if status:
            raise self._failure(GuestError, f"QEMU ended with status {status}")

    def reboot(self, *, hard: bool = False, timeout: float = 90) -> None:
        """A new boot under the same QEMU, which resets its devices.

        hard: as with the machine's reset button; otherwise the kernel shuts its devices down.
        """
        before, resets = self.boot_id, self._count_events("RESET")
        self._started = time.monotonic()
        self._boot_start = len(self.console.data)
        if hard:
            self.qmp("system_reset")
        else:
            self._send_command("sync; reboot -f")
        self.wait_ready(timeout)
        if self.boot_id == before or self._count_events("RESET") == resets:
            raise self._failure(GuestError, "the guest did not really boot again")

    def close(self) -> None:
        """Ends what still runs, and saves the console."""
        self.kill()
        for name in ("console", "_commands", "_qmp"):
            channel: Channel | None = getattr(self, name, None)
            if channel:
                channel.close()
        if self.log and hasattr(self, "console"):
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self.log.write_text(self.console.text() + "\n--- QEMU ---\n" + self._stderr())
        shutil.rmtree(self._dir, ignore_errors=True)

    # Commands

    def run(self, command: str, timeout: float = 60) -> str:
        """What a shell command in the guest prints; raises CommandError if it fails."""
        status, output = self.run_status(command, timeout)
        if status:
            raise CommandError(command, status, output)
        return output

    def run_status(self, command: str, timeout: float = 60) -> tuple[int, str]:
        tag = self._send_command(command)
        pattern = rb"\n%b (\d+)\n" % tag.encode()
        begin = self._commands_seen
        try:
            found = self._wait(self._commands, pattern, timeout, begin)
        except GuestError as error:
            so_far = self._commands.text(begin)[-2000:]
            raise type(error)(f"{error}\n--- the command: {command}\n{so_far}") from None
        self._commands_seen = found.end
        output = self._commands.slice(begin, found.start)
        return int(found.match[1]), output.decode(errors="replace")

    def start_job(self, command: str) -> Job:
        """Starts a command that goes on in the background."""
        return Job(self, command)

    def _send_command(self, command: str) -> str:
        tag = secrets.token_hex(8)
        code = base64.b64encode(command.encode())
        lines = [b"+" + code[i : i + LINE_MAX] for i in range(0, len(code), LINE_MAX)]
        self._commands.send(b"\n".join([*lines, b"!" + tag.encode(), b""]))
        return tag

    def wait_for_console(self, regex: str, timeout: float = 60) -> re.Match[bytes]:
        """Until the console of this boot shows something."""
        return self._wait(self.console, regex.encode(), timeout, self._boot_start).match

    def interrupts(self, name: str = "") -> list[Interrupt]:
        """The guest's interrupts whose name has `name` in it."""
        found = []
        for line in self.run("cat /proc/interrupts").splitlines()[1:]:
            words = line.split()
            counts = words[1 : 1 + self.cpus]
            if len(words) > 1 + self.cpus and name in line and all(c.isdigit() for c in counts):
                rest = words[1 + self.cpus :]
                found.append(Interrupt(sum(map(int, counts)), rest[0], rest[-1]))
        return found

    # QMP

    def qmp(self, command: str, timeout: float = 30, **arguments: Any) -> Any:
        ident = secrets.token_hex(4)
        message = {"execute": command, "arguments": arguments, "id": ident}
        begin = len(self._qmp.data)
        self._qmp.send(json.dumps(message).encode() + b"\n")
        found = self._wait(self._qmp, rb'"id": "%b"[^\n]*\n' % ident.encode(), timeout, begin)
        answer = json.loads(self._qmp.slice(begin, found.end).splitlines()[-1])
        if "error" in answer:
            raise self._failure(GuestError, f"{command}: {answer['error']['desc']}")
        return answer["return"]

    def _count_events(self, name: str) -> int:
        return self._qmp.text().count(f'"event": "{name}"')

    # Waiting

    def _wait(self, channel: Channel, pattern: bytes, timeout: float, start: int) -> Found:
        deadline = time.monotonic() + timeout * TIME_SCALE
        regex = re.compile(pattern)
        while True:
            with channel.changed:
                window = bytes(channel.data[start:])
                match = regex.search(window)
                if match:
                    return Found(match, start + match.start(), start + match.end())
                start += max(0, len(window) - MATCH_MAX)
                closed = channel.closed
                if not closed:
                    channel.changed.wait(min(1.0, max(0.0, deadline - time.monotonic())))
            self._check_alive()
            self._check_panic()
            if closed or time.monotonic() > deadline:
                what = pattern.decode(errors="replace")
                raise self._failure(GuestTimeout, f"no {what!r} within {timeout} s")

    def _check_alive(self) -> None:
        assert self._process
        status = self._process.poll()
        if status is not None:
            how = signal.Signals(-status).name if status < 0 else f"status {status}"
            raise self._failure(GuestError, f"QEMU has ended ({how})")

    def _check_panic(self) -> None:
        if "Kernel panic - not syncing" in self.console.text(self._boot_start):
            raise self._failure(GuestError, "the guest's kernel panicked")

    def _stderr(self) -> str:
        try:
            return (self._dir / "stderr").read_text(errors="replace")
        except OSError:
            return ""

    def _failure(self, kind: type[GuestError], what: str) -> GuestError:
        tail = "\n".join(self.console.text().splitlines()[-40:])
        return kind(f"{what}\n--- the end of the console:\n{tail}\n--- QEMU:\n{self._stderr()}")


def wait_until(what: str, check: Callable[[], Any], timeout: float = 10) -> Any:
    """What `check` returns, once it is true."""
    deadline = time.monotonic() + timeout * TIME_SCALE
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise GuestTimeout(f"not within {timeout} s: {what}")
        time.sleep(0.05)
