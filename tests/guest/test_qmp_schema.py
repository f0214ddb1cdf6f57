# SPDX-License-Identifier: BSD-3-Clause
"""Replies, events and errors of QMP against the schema of QEMU's that is in the guest root.

Clients with types made of that schema drop a whole reply for one member that is missing or of another
kind. QEMU is asked for its schema each time: nothing of it is kept here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from guest import TIME_SCALE

sys.path.append(str(Path(__file__).parents[1] / "program"))
from nvme_driver import Nvme  # noqa: E402
from qmp import Qmp, QmpError  # noqa: E402
from vfio_user import REGION_BAR0, Client  # noqa: E402

KINDS = {"string": str, "int": int, "boolean": bool, "number": (int, float), "null": type(None)}

# What we say beside what QEMU's schema has, on purpose: a client made of that schema passes it over.
OWN_MEMBERS = {
    "query-pci": {"root"},
    "query-blockstats": {"x-in-flight"},
    "query-migrate": {"skipped"},
}
OWN_EVENTS = {"DEVICE_ERROR", "VFU_CLIENT_CONNECTED"}
OWN_COMMANDS = {"query-vfio-user", "query-events", "query-short-form"}


class QemuSchema:
    def __init__(self, infos: list[dict[str, Any]]) -> None:
        self.types = {info["name"]: info for info in infos if info["meta-type"] not in ("command", "event")}
        self.commands = {info["name"]: info for info in infos if info["meta-type"] == "command"}
        self.events = {info["name"]: info for info in infos if info["meta-type"] == "event"}

    def wrong(self, name: str, value: Any, where: str, own: set[str]) -> Iterator[str]:
        """What of a value does not go with a type."""
        info = self.types[name]
        kind = info["meta-type"]
        if kind == "builtin":
            wanted = KINDS.get(info["json-type"], object)
            if not isinstance(value, wanted) or (isinstance(value, bool) and wanted in (int, KINDS["number"])):
                yield f"{where}: {value!r} is no {info['json-type']}"
        elif kind == "enum":
            if value not in {member["name"] for member in info["members"]}:
                yield f"{where}: {value!r} is none of the enum's"
        elif kind == "array":
            if not isinstance(value, list):
                yield f"{where}: no list"
                return
            for index, element in enumerate(value):
                yield from self.wrong(info["element-type"], element, f"{where}[{index}]", own)
        elif kind == "alternate":
            branches = [list(self.wrong(member["type"], value, where, own)) for member in info["members"]]
            if all(branches):
                yield f"{where}: {value!r} is none of the alternatives"
        else:
            yield from self.wrong_object(info, value, where, own)

    def wrong_object(self, info: dict[str, Any], value: Any, where: str, own: set[str]) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{where}: no object"
            return
        members = self.members(info, value)
        for name in sorted(set(value) - set(members) - own):
            yield f"{where}.{name}: not in the schema"
        for name, member in members.items():
            if name in value:
                yield from self.wrong(member["type"], value[name], f"{where}.{name}", own)
            elif "default" not in member:
                yield f"{where}.{name}: missing"

    def members(self, info: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
        members = {member["name"]: member for member in info["members"]}
        for variant in info.get("variants", []):
            if variant["case"] == value.get(info["tag"]):
                members |= self.members(self.types[variant["type"]], value)
        return members


@pytest.fixture(scope="session")
def qemu_schema(guest_root: Path) -> QemuSchema:
    qemu = [guest_root / "bin" / "qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none"]
    say = '{"execute":"qmp_capabilities"}{"execute":"query-qmp-schema"}{"execute":"quit"}'
    said = subprocess.run(
        [*qemu, "-qmp", "stdio"], input=say, capture_output=True, text=True, timeout=60 * TIME_SCALE, check=True
    )
    replies = [json.loads(line) for line in said.stdout.splitlines()]
    (schema,) = (reply["return"] for reply in replies if isinstance(reply.get("return"), list))
    return QemuSchema(schema)


class Judged(Qmp):
    """A connection all of whose replies, events and errors are held against QEMU's schema."""

    def __init__(self, path: Path, qemu: QemuSchema) -> None:
        self.qemu: QemuSchema | None = None
        self.found: list[str] = []
        self.judged: set[str] = set()
        super().__init__(path)
        self.qemu = qemu

    def receive(self) -> dict[str, Any]:
        message = super().receive()
        event = message.get("event")
        if self.qemu and event and event not in OWN_EVENTS:
            self.judged.add(event)
            arg = self.qemu.events[event]["arg-type"]
            self.found += self.qemu.wrong(arg, message.get("data", {}), event, set())
            (stamp,) = (set(message) - {"event", "data"},)
            self.found += [] if stamp == {"timestamp"} else [f"{event}: {stamp}"]
        return message

    def execute(self, command: str, **arguments: Any) -> Any:
        try:
            value = super().execute(command, **arguments)
        except QmpError as error:
            if self.qemu and error.kind not in self.error_classes():
                self.found.append(f"{command}: class {error.kind}")
            raise
        if self.qemu and command not in OWN_COMMANDS:
            self.judged.add(command)
            ret = self.qemu.commands[command]["ret-type"]
            self.found += self.qemu.wrong(ret, value, command, OWN_MEMBERS.get(command, set()))
        return value

    def error_classes(self) -> set[str]:
        """Introspection does not reach QapiErrorClass: errors are no part of any reply's type."""
        return {"GenericError", "CommandNotFound", "DeviceNotActive", "DeviceNotFound", "KVMMissingCap"}

    def refused(self, command: str, kind: str, **arguments: Any) -> None:
        with pytest.raises(QmpError) as caught:
            self.execute(command, **arguments)
        if caught.value.kind != kind:
            self.found.append(f"{command}: class {caught.value.kind}, and not {kind}")


@pytest.fixture
def monitor(serve: Any, work: Path, qemu_schema: QemuSchema) -> Iterator[Judged]:
    (work / "a.img").write_bytes(bytes(1 << 20))
    (work / "b.img").write_bytes(bytes(1 << 20))
    serve(
        ["-qmp", f"unix:{work}/q,server=on,wait=off", "-name", "vm1", "-nodefaults"]
        + ["-blockdev", f"driver=file,node-name=a,filename={work}/a.img,discard=unmap,cache.direct=off"]
        + ["-blockdev", "driver=raw,node-name=a-format,file=a,discard=unmap,detect-zeroes=unmap"]
        + ["-device", "pci-root-bus,id=r0", "-device", "nvme,id=d0,drive=a-format,bus=r0,addr=3"]
        + ["-object", f"x-vfio-user-server,id=s0,path={work}/s,device=d0"]
    )
    with Judged(work / "q", qemu_schema) as connection:
        yield connection
        assert connection.found == []


QUERIES = (
    "query-version query-commands query-status query-name query-qmp-schema query-block"
    " query-named-block-nodes query-blockstats query-pci query-migrate query-migrate-parameters"
).split()


def ask_everything(qmp: Judged) -> None:
    for command in qmp.execute("query-commands"):
        if command["name"].startswith("query-") and command["name"] != "query-short-form":
            qmp.execute(command["name"])
    qmp.execute("query-blockstats", query__nodes=True)
    qmp.execute("query-named-block-nodes", flat=True)


def test_every_query(monitor: Judged, work: Path) -> None:
    ask_everything(monitor)
    with Client(work / "s") as client:
        client.read(REGION_BAR0, 0, 8)
        ask_everything(monitor)
    monitor.wait_event("VFU_CLIENT_HANGUP")
    assert monitor.judged >= {*QUERIES, "VFU_CLIENT_HANGUP"}


def test_everything_that_makes_and_removes(monitor: Judged, work: Path) -> None:
    qmp = monitor
    file = {"driver": "file", "filename": str(work / "b.img"), "node-name": "b"}
    qmp.execute("blockdev-add", driver="raw", node__name="b-format", file=file)
    qmp.execute("device_add", driver="nvme", id="d1", drive="b-format")
    qmp.execute("block_resize", node__name="b-format", size=2 << 20)
    server = {"qom-type": "x-vfio-user-server", "id": "s1", "device": "d1"}
    qmp.execute("object-add", socket={"type": "unix", "path": str(work / "t")}, **server)
    ask_everything(qmp)
    for path in "/", "/machine", "/machine/peripheral", "/machine/peripheral/d1", "/objects", "/objects/s1":
        for entry in qmp.execute("qom-list", path=path):
            if not entry["type"].startswith("child<"):
                qmp.execute("qom-get", path=path, property=entry["name"])
    for entry in qmp.execute("qom-list-types", abstract=True):
        qmp.execute("qom-list-properties", typename=entry["name"])
    qmp.execute("device-list-properties", typename="nvme")
    qmp.execute("object-del", id="s1")
    qmp.execute("device_del", id="d1")
    qmp.wait_event("DEVICE_DELETED")
    qmp.execute("blockdev-del", node__name="b-format")
    qmp.execute("human-monitor-command", command__line="info block")
    assert {"qom-list", "qom-get", "qom-list-properties", "DEVICE_DELETED"} <= qmp.judged


def test_what_runs_and_ends(monitor: Judged) -> None:
    qmp = monitor
    qmp.execute("stop")
    qmp.wait_event("STOP")
    qmp.execute("query-status")
    qmp.execute("cont")
    qmp.wait_event("RESUME")
    qmp.execute("system_reset")
    qmp.wait_event("RESET")
    qmp.execute("quit")
    qmp.wait_event("SHUTDOWN")
    assert {"STOP", "RESUME", "RESET", "SHUTDOWN"} <= qmp.judged


def test_errors_of_a_disk(monitor: Judged, work: Path) -> None:
    """One that is cut short while it is in use."""
    qmp = monitor
    (work / "b.img").write_bytes(bytes(1 << 20))
    qmp.execute("blockdev-add", driver="file", node__name="b", filename=str(work / "b.img"))
    qmp.execute("device_add", driver="nvme", id="d1", drive="b", rerror="stop")
    server = {"qom-type": "x-vfio-user-server", "id": "s1", "device": "d1"}
    qmp.execute("object-add", socket={"type": "unix", "path": str(work / "t")}, **server)
    ask_everything(qmp)
    with Client(work / "t") as client:
        disk = Nvme(client)
        disk.enable()
        disk.create_io_queues()
        os.truncate(work / "b.img", 0)
        disk.start(disk.io, 2, 1, (0, 0, 7))
        assert qmp.wait_event("BLOCK_IO_ERROR")["action"] == "stop"
        qmp.wait_event("STOP")
        ask_everything(qmp)
        assert qmp.execute("query-status")["status"] == "io-error"
        assert [disk.get("io-status") for disk in qmp.execute("query-block")] == [None, "failed"]
        os.truncate(work / "b.img", 1 << 20)
        qmp.execute("cont")
        disk.finish(disk.io)
        disk.close()
    assert "BLOCK_IO_ERROR" in qmp.judged


def test_a_move_to_another_process(serve: Any, work: Path, qemu_schema: QemuSchema) -> None:
    for name, more in ("a", []), ("b", ["-incoming", f"unix:{work}/move"]):
        disk = ["nvme", "size=1M", "id=d0", "serial=x", f"socket={work}/{name}.s"]
        serve([*disk, "-qmp", f"unix:{work}/{name},server=on,wait=off", *more])
    with Judged(work / "a", qemu_schema) as source, Judged(work / "b", qemu_schema) as target:
        source.execute("migrate-set-parameters", max__bandwidth=1 << 30)
        target.execute("query-migrate")
        source.execute("migrate", uri=f"unix:{work}/move")
        while source.wait_event("MIGRATION")["status"] != "completed":
            source.execute("query-migrate")
        while target.wait_event("MIGRATION")["status"] != "completed":
            pass
        for side in source, target:
            ask_everything(side)
            assert side.execute("query-migrate")["status"] == "completed"
            assert side.found == []
            assert "MIGRATION" in side.judged


def test_errors_have_the_classes_of_qemu(monitor: Judged) -> None:
    qmp = monitor
    qmp.refused("no-such-command", "CommandNotFound")
    qmp.refused("device_del", "DeviceNotFound", id="d9")
    qmp.refused("qom-list-properties", "DeviceNotFound", typename="toaster")
    qmp.refused("device-list-properties", "DeviceNotFound", typename="toaster")
    qmp.refused("qom-list", "DeviceNotFound", path="/nowhere")
    qmp.refused("qom-get", "DeviceNotFound", path="/nowhere", property="x")
    qmp.refused("blockdev-del", "GenericError", node__name="z")
    qmp.refused("device_add", "GenericError", driver="toaster")
    qmp.refused("block_resize", "GenericError", node__name="z", size=512)


def test_our_schema_is_of_their_form(monitor: Judged) -> None:
    """A client that reads introspection finds what it does with QEMU: names of an enum's members too."""
    infos = monitor.execute("query-qmp-schema")
    for info in infos:
        if info["meta-type"] == "enum":
            assert [member["name"] for member in info["members"]] == info["values"]
    ours = {info["name"]: info for info in infos if info["meta-type"] in ("command", "event")}
    theirs = monitor.qemu.commands | monitor.qemu.events if monitor.qemu else {}
    for name, info in ours.items():
        assert name in theirs or name in OWN_COMMANDS | OWN_EVENTS, name
        assert name not in theirs or info["meta-type"] == theirs[name]["meta-type"]
