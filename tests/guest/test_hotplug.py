# SPDX-License-Identifier: BSD-3-Clause
"""Disks that come and go: added to outboard and to a guest while both run, used, and removed."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guest import TIME_SCALE, Guest, wait_until
from server import Server

# A hundred rounds take half a minute; under a sanitizer fewer say the same.
ROUNDS = 100 if TIME_SCALE == 1 else 25

# QEMU 11.1 does not support unplugging a device that has MSI-X.
INTERRUPTS = "msi"

USE = """
for i in $(seq 400); do [ -b /dev/nvme0n1 ] && break; sleep 0.02; done
yes round-%d | head -c 65536 >/run/pattern
dd if=/run/pattern of=/dev/nvme0n1 bs=64k oflag=direct status=none
dd if=/dev/nvme0n1 bs=64k count=1 iflag=direct status=none | cmp - /run/pattern
"""


class Monitor:
    """One connection with outboard's QMP monitor; events are kept in `events`."""

    def __init__(self, path: Path) -> None:
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.settimeout(20 * TIME_SCALE)
        self._sock.connect(str(path))
        self._lines = self._sock.makefile("r", encoding="utf-8")
        self.events: list[dict[str, Any]] = []
        assert "QMP" in self._next()
        self("qmp_capabilities")

    def __call__(self, command: str, **arguments: Any) -> Any:
        message = {"execute": command, "arguments": arguments}
        self._sock.sendall(json.dumps(message).encode())
        while "event" in (answer := self._next()):
            self.events.append(answer)
        assert "return" in answer, (command, answer)
        return answer["return"]

    def wait_event(self, name: str) -> dict[str, Any]:
        while not (found := [e for e in self.events if e["event"] == name]):
            self.events.append(self._next())
        self.events.remove(found[0])
        return found[0]["data"]

    def _next(self) -> dict[str, Any]:
        line = self._lines.readline()
        assert line, "outboard has closed its monitor"
        return json.loads(line)

    def close(self) -> None:
        self._lines.close()
        self._sock.close()


def plug(monitor: Monitor, guest: Guest, path: Path) -> None:
    monitor("blockdev-add", driver="mem", **{"node-name": "b0"}, size=16 << 20)
    monitor("device_add", driver="nvme", id="d0", drive="b0", interrupts=INTERRUPTS)
    server = {"type": "unix", "path": str(path)}
    monitor("object-add", **{"qom-type": "x-vfio-user-server"}, id="s0", socket=server, device="d0")
    guest.qmp("device_add", driver="vfio-user-pci", id="d0", socket=server)


def unplug(monitor: Monitor, guest: Guest) -> None:
    before = guest._count_events("DEVICE_DELETED")
    guest.qmp("device_del", id="d0")
    wait_until("unplugged", lambda: guest._count_events("DEVICE_DELETED") > before, 30)
    assert monitor.wait_event("VFU_CLIENT_HANGUP")["dev-id"] == "d0"
    monitor("object-del", id="s0")
    monitor("device_del", id="d0")
    assert monitor.wait_event("DEVICE_DELETED")["device"] == "d0"
    monitor("blockdev-del", **{"node-name": "b0"})


def what_is_there(monitor: Monitor) -> dict[str, Any]:
    return {
        "roots": monitor("query-pci"),
        "objects": monitor("qom-list", path="/objects"),
        "devices": monitor("qom-list", path="/machine/peripheral"),
        "block nodes": monitor("query-named-block-nodes"),
    }


def descriptors(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def anonymous_kib(server: Server) -> int:
    for line in Path(f"/proc/{server.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1])
    raise AssertionError("no Anonymous: in smaps_rollup")


def test_disks_come_and_go(
    serve: Callable[..., Server], boot: Callable[..., Guest], work: Path
) -> None:
    """Beside a disk that stays, and works all the time."""
    server = serve(
        ["-M", "x-remote,vfio-user=on,auto-shutdown=off"]
        + ["-qmp", f"unix:{work}/qmp,server=on,wait=off"]
        + ["-blockdev", "driver=mem,node-name=stays,size=64M", "-device", "nvme,id=stays,drive=stays"]
        + ["-object", f"x-vfio-user-server,id=stays,type=unix,path={work}/stays,device=stays"]
    )
    monitor = Monitor(work / "qmp")
    guest = boot(machine="pc")
    guest.qmp(
        "device_add", driver="vfio-user-pci", id="stays", addr="0x1e",
        socket={"type": "unix", "path": str(work / "stays")},
    )  # fmt: skip
    for number in range(3):  # what is allocated once is there afterwards
        round_trip(monitor, guest, work, number)
    before, files, memory = what_is_there(monitor), descriptors(server), anonymous_kib(server)
    for number in range(3, ROUNDS):
        round_trip(monitor, guest, work, number)
    assert what_is_there(monitor) == before
    wait_until("descriptors", lambda: descriptors(server) <= files)  # helper threads close some, a moment later
    if TIME_SCALE == 1:  # a sanitizer keeps what was freed for a while
        assert anonymous_kib(server) <= memory + 256
    monitor.close()


def round_trip(monitor: Monitor, guest: Guest, work: Path, number: int) -> None:
    monitor.events.clear()
    plug(monitor, guest, work / "d0")
    guest.run(USE.replace("nvme0n1", "nvme1n1") % number)
    unplug(monitor, guest)
    assert not (work / "d0").exists()


def test_disk_grows_and_pauses(
    serve: Callable[..., Server], boot: Callable[..., Guest], work: Path
) -> None:
    """The guest's kernel sees the new size by itself, and I/O waits for a paused machine."""
    serve(
        ["nvme", "size=64M", "id=d0", f"socket={work}/d0"]
        + ["-qmp", f"unix:{work}/qmp,server=on,wait=off"]
    )
    monitor = Monitor(work / "qmp")
    guest = boot(work / "d0")
    (node,) = monitor("query-named-block-nodes")
    monitor("block_resize", **{"node-name": node["node-name"]}, size=128 << 20)
    size = "cat /sys/block/nvme0n1/size"
    wait_until("the guest sees the new size", lambda: guest.run(size).strip() == "262144")
    guest.run("dd if=/dev/zero of=/dev/nvme0n1 bs=64k seek=1600 count=16 oflag=direct status=none")

    monitor("stop")
    job = guest.start_job("dd if=/dev/nvme0n1 of=/dev/null bs=64k count=16 iflag=direct")
    guest.run("sleep 0.5")
    assert job.running()
    monitor("cont")
    job.wait()
    monitor.close()
