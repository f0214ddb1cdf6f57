# SPDX-License-Identifier: BSD-3-Clause
"""QMP over the whole program: where monitors are, what commands do, and which events follow."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from outboard import BIN, LIMIT, REPO, Outboard
from qmp import Qmp, QmpError
from vfio_user import REGION_BAR0, REGION_CONFIG, Client

EMPTY = ("-machine", "x-remote,auto-shutdown=off")


@pytest.fixture
def served(outboard: Start, folder: Path) -> Outboard:
    return outboard(*EMPTY, "-name", "vm7", "-qmp", f"unix:{folder}/m,server=on,wait=off")


@pytest.fixture
def qmp(served: Outboard, folder: Path) -> Iterator[Qmp]:
    with Qmp(folder / "m") as connection:
        yield connection


def add_server(qmp: Qmp, path: Path, number: int = 0) -> None:
    """A device d<number> and a server s<number> for it."""
    qmp.execute("device_add", driver="edu", id=f"d{number}")
    address = {"type": "unix", "path": str(path)}
    name = f"s{number}"
    qmp.execute("object-add", qom__type="x-vfio-user-server", id=name, device=f"d{number}", socket=address)


def remove_server(qmp: Qmp, number: int = 0) -> None:
    qmp.execute("object-del", id=f"s{number}")
    qmp.execute("device_del", id=f"d{number}")
    assert qmp.wait_event("DEVICE_DELETED")["device"] == f"d{number}"


def refusal(call: Callable[..., Any], *words: Any, **more: Any) -> QmpError:
    with pytest.raises(QmpError) as caught:
        call(*words, **more)
    return caught.value


# Where monitors are


def test_greeting(qmp: Qmp) -> None:
    assert qmp.greeting["QMP"]["capabilities"] == []
    version = qmp.execute("query-version")
    assert version == qmp.greeting["QMP"]["version"]
    said = subprocess.check_output([BIN, "--version"], text=True).split()[1]
    assert version["package"] == f"outboard-{said}"
    assert qmp.execute("query-name") == {"name": "vm7"}


def test_stdio(folder: Path, environment: dict[str, str]) -> None:
    commands = [{"execute": "qmp_capabilities"}, {"execute": "query-status"}, {"execute": "quit"}]
    result = subprocess.run(
        [str(BIN), *EMPTY, "-qmp", "stdio"],
        input="".join(map(json.dumps, commands)),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
    )
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert "QMP" in lines[0]
    replies = [line["return"] for line in lines if "return" in line]
    assert replies == [{}, {"running": True, "status": "running"}, {}]
    assert [line["event"] for line in lines if "event" in line] == ["SHUTDOWN"]


def test_stdio_from_and_to_files(folder: Path, environment: dict[str, str]) -> None:
    (folder / "in").write_text('{"execute":"qmp_capabilities"}\n{"execute":"quit"}\n')
    with open(folder / "in") as commands, open(folder / "out", "w") as replies:
        words = [str(BIN), *EMPTY, "-qmp", "stdio"]
        subprocess.run(words, stdin=commands, stdout=replies, env=environment, timeout=LIMIT, check=True)
    assert (folder / "out").read_text().count('{"return": {}}') == 2


def test_connected_descriptor(outboard: Start) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        process = outboard(*EMPTY, "-qmp", f"fd:{theirs.fileno()}", pass_fds=[theirs.fileno()])
    with Qmp(ours) as qmp:
        qmp.execute("quit")
        assert qmp.wait_event("SHUTDOWN") == {"guest": False, "reason": "host-qmp-quit"}
        assert process.wait() == 0
        with pytest.raises(EOFError):
            qmp.receive()


def test_listening_descriptor(outboard: Start, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "keep-m"))
        listener.listen()
        outboard(*EMPTY, "-chardev", f"socket,id=c,fd={listener.fileno()},server=on,wait=off",
                 "-mon", "chardev=c,mode=control", pass_fds=[listener.fileno()])  # fmt: skip
    for _ in range(3):
        with Qmp(folder / "keep-m") as qmp:
            qmp.execute("query-status")


def test_several_monitors(outboard: Start, folder: Path) -> None:
    words = [word for n in range(4) for word in ("-qmp", f"unix:{folder}/m{n},server=on,wait=off")]
    outboard(*EMPTY, *words)
    connections = [Qmp(folder / f"m{n}") for n in range(4)]
    connections[0].execute("stop")
    for qmp in connections:
        qmp.wait_event("STOP")
        assert qmp.execute("query-status") == {"running": False, "status": "paused"}
        qmp.close()


def test_what_was_done_is_logged(served: Outboard, qmp: Qmp) -> None:
    """With who did it, always; questions are not, and what is refused has a bound."""
    name = Path("/proc/self/comm").read_text().strip()
    who = f"outboard: monitor: {name} (pid {os.getpid()}, uid {os.getuid()}): "
    qmp.execute("query-status")
    qmp.hmp("info status")
    for _ in range(30):
        qmp.execute("device_add", driver="edu", id="d7")
        qmp.execute("device_del", id="d7")
        qmp.wait_event("DEVICE_DELETED")
    for _ in range(30):
        with pytest.raises(QmpError):
            qmp.execute("device_del", id="x\n")
    lines = served.errors().splitlines()
    assert all(line.startswith(who) for line in lines)
    assert sum('device_add { "driver": "edu", "id": "d7" }' in line for line in lines) == 30
    assert sum('device_del { "id": "d7" }' in line for line in lines) == 30
    refused = [line for line in lines if "refused: " in line]
    assert 10 <= len(refused) < 30
    assert 'device_del { "id": "x\\n" } refused: ' in refused[0]


def test_several_clients_of_a_monitor(qmp: Qmp, folder: Path) -> None:
    """Each negotiates, is answered, and hears of everything, whatever the others do."""
    with Qmp(folder / "m", negotiate=False) as mute, Qmp(folder / "m") as other:
        assert "QMP" in mute.receive()
        for connection in (qmp, other):
            connection.execute("stop")
        qmp.send(b'{"execute": "query-name"')
        assert other.execute("query-name") == {"name": "vm7"}
        qmp.send(b', "id": 7}')
        assert qmp.receive_reply() == {"return": {"name": "vm7"}, "id": 7}
        other.execute("cont")
        for connection in (qmp, other):
            connection.wait_event("RESUME")
        mute.send(b'{"execute": "query-name"}')
        assert mute.receive()["error"]["class"] == "CommandNotFound"
    assert qmp.execute("query-status")["running"] is True


def test_pretty(outboard: Start, folder: Path) -> None:
    outboard(*EMPTY, "-qmp-pretty", f"unix:{folder}/m,server=on,wait=off")
    with Qmp(folder / "m", negotiate=False) as qmp:
        text = b""
        while not text.endswith(b"\n}\r\n"):
            text += qmp.socket.recv(4096)
        assert json.loads(text)["QMP"] and text.startswith(b'{\n    "QMP": {\n')


def test_waiting_for_a_client_is_refused(run: Callable[..., Any], folder: Path) -> None:
    result = run(*EMPTY, "-qmp", f"unix:{folder}/m,server=on")
    assert result.returncode == 1 and "wait=off" in result.stderr
    assert not (folder / "m").exists()


# The schema


def test_schema_and_commands_agree(qmp: Qmp) -> None:
    assert qmp.schema
    assert {info["name"] for info in qmp.execute("query-commands")} == set(qmp.schema.commands)
    assert {info["name"] for info in qmp.execute("query-events")} == set(qmp.schema.events)


def test_manual_page_has_all_of_the_schema(qmp: Qmp) -> None:
    page = BIN.parent / "docs/man/outboard-qmp.7"
    if not page.exists():
        pytest.skip("the manual page was not built here")
    text = page.read_text().replace("\\-", "-").replace("\\&", "")
    assert qmp.schema
    for name in [*qmp.schema.commands, *qmp.schema.events]:
        assert f"\\fB{name}\\fP" in text, name


def test_every_query_without_arguments(qmp: Qmp, folder: Path) -> None:
    """Each reply is held against the schema, with something there to tell about."""
    qmp.execute("blockdev-add", driver="mem", node__name="b0", size="1M")
    qmp.execute("device_add", driver="nvme", id="n0", drive="b0")
    add_server(qmp, folder / "s")
    assert qmp.schema
    with Client(folder / "s") as client:
        client.read32(REGION_BAR0, 0)
        for name, info in qmp.schema.commands.items():
            members = qmp.schema.types[info["arg-type"]]["members"]
            if name.startswith("query-") and all("default" in member for member in members):
                qmp.execute(name)


# Objects


def test_a_server_comes_and_goes(qmp: Qmp, folder: Path) -> None:
    add_server(qmp, folder / "s")
    with Client(folder / "s") as client:
        connected = qmp.wait_event("VFU_CLIENT_CONNECTED")
        names = {
            "vfu-id": "s0",
            "vfu-qom-path": "/objects/s0",
            "dev-id": "d0",
            "dev-qom-path": "/machine/peripheral/d0",
        }
        assert connected == {**names, "pid": os.getpid(), "uid": os.getuid(), "gid": os.getgid()}
        assert client.read32(REGION_BAR0, 0) == 0x010000ED
    assert qmp.wait_event("VFU_CLIENT_HANGUP") == names
    with Client(folder / "s"):
        qmp.wait_event("VFU_CLIENT_CONNECTED")
    qmp.wait_event("VFU_CLIENT_HANGUP")
    remove_server(qmp)
    assert not (folder / "s").exists()


def test_who_needs_whom(qmp: Qmp, folder: Path) -> None:
    qmp.execute("blockdev-add", driver="mem", node__name="b0", size=1 << 20)
    qmp.execute("device_add", driver="nvme", id="d0", drive="b0")
    qmp.execute("object-add", qom__type="vfio-user-server", id="s0", device="d0", path=str(folder / "s"))
    assert "'s0'" in refusal(qmp.execute, "device_del", id="d0").desc
    assert "'d0'" in refusal(qmp.execute, "blockdev-del", node__name="b0").desc
    remove_server(qmp)
    qmp.execute("blockdev-del", node__name="b0")
    assert qmp.execute("query-named-block-nodes") == []


def test_error_classes(qmp: Qmp) -> None:
    assert refusal(qmp.execute, "device_del", id="d9").kind == "DeviceNotFound"
    assert refusal(qmp.execute, "qom-list", path="/nowhere").kind == "DeviceNotFound"
    assert refusal(qmp.execute, "device-list-properties", typename="e1000").kind == "DeviceNotFound"
    assert refusal(qmp.execute, "query-vfio-user", id="s9").kind == "DeviceNotFound"
    assert refusal(qmp.execute, "netdev_add").kind == "CommandNotFound"
    assert refusal(qmp.execute, "device_add", driver="edoo").kind == "GenericError"
    assert "nvme" in refusal(qmp.execute, "device_add", driver="nvem").desc
    assert "serial" in refusal(qmp.execute, "device_add", driver="nvme", serail="x").desc


def test_socket_and_device_in_either_order(qmp: Qmp, folder: Path) -> None:
    qmp.execute("object-add", qom__type="x-vfio-user-server", id="s0")
    info = qmp.execute("query-vfio-user", id="s0")[0]
    assert info["state"] == "waiting"
    qmp.execute("device_add", driver="edu", id="d0")
    qmp.execute("qom-set", path="/objects/s0", property="device", value="d0")
    assert qmp.execute("query-vfio-user")[0]["missing"] == "socket"
    address = {"type": "unix", "path": str(folder / "s")}
    qmp.execute("qom-set", path="/objects/s0", property="socket", value=address)
    assert qmp.execute("query-vfio-user")[0]["state"] == "listening"
    assert qmp.execute("qom-get", path="/objects/s0", property="socket") == address
    assert "device" in refusal(qmp.execute, "qom-set", path="s0", property="device", value="d0").desc
    with Client(folder / "s"):
        assert qmp.execute("query-vfio-user")[0]["state"] == "connected"


def test_query_vfio_user(qmp: Qmp, folder: Path) -> None:
    add_server(qmp, folder / "s")
    with Client(folder / "s") as client:
        for _ in range(20):
            client.read32(REGION_BAR0, 4)
        told = qmp.execute("query-vfio-user", id="s0")[0]["client"]
        assert (told["pid"], told["uid"], told["gid"]) == (os.getpid(), os.getuid(), os.getgid())
        assert told["capabilities"]["max-data-xfer-size"] == 1048576
        commands = {command["command"]: command for command in told["commands"]}
        assert commands["VERSION"]["messages"] == 1
        reads = commands["REGION_READ"]
        assert reads["messages"] >= 20 and reads["bytes"] >= 20 * (32 + 36) and not reads["errors"]
        assert sum(reads["latency"]) == reads["timed"] and 0 < len(reads["latency"]) <= 24
        assert {irq["kind"] for irq in told["irqs"]} == {"intx", "msi", "msix", "err", "req"}


def test_why_a_device_does_not_run(qmp: Qmp, folder: Path) -> None:
    def held_by() -> list[str]:
        return qmp.execute("query-vfio-user", id="s0")[0]["held-by"]

    add_server(qmp, folder / "s")
    assert held_by() == []
    qmp.execute("stop")
    assert held_by() == ["pause"]
    with Client(folder / "s") as client:
        client.read32(REGION_BAR0, 4)
    qmp.wait_event("VFU_CLIENT_HANGUP")
    assert held_by() == ["no-client", "pause"]
    assert "held-by = no-client,pause\n" in qmp.hmp("info qtree")
    device = qmp.execute("query-vfio-user", id="s0")[0]["dev-qom-path"]
    assert qmp.execute("qom-get", path=device, property="held-by") == "no-client,pause"
    qmp.execute("cont")
    assert held_by() == ["no-client"]
    with Client(folder / "s") as client:
        client.reset()
        assert held_by() == []
    assert "held-by" in refusal(qmp.execute, "qom-set", path=device, property="held-by", value="x").desc


def test_objects_and_types(qmp: Qmp) -> None:
    qmp.execute("device_add", driver="pci-root-bus", id="r0")
    qmp.execute("device_add", driver="edu", id="d0", bus="r0", addr="3.1", dma__mask=4095)
    assert {"name": "d0", "type": "child<edu>"} in qmp.execute("qom-list", path="/machine/peripheral")
    assert {"name": "r0", "type": "child<pci-root-bus>"} in qmp.execute("qom-list", path="/machine/peripheral")
    names = [entry["name"] for entry in qmp.execute("qom-list", path="/machine/peripheral/d0")]
    assert "dma-mask" in names and names.count("type") == 1
    assert qmp.execute("qom-get", path="d0", property="type") == "edu"
    assert qmp.execute("qom-get", path="/machine/peripheral/d0", property="dma-mask") == 4095
    kinds = {entry["name"] for entry in qmp.execute("qom-list-types", implements="pci-device")}
    assert {"edu", "nvme"} <= kinds and "x-vfio-user-server" not in kinds
    abstract = qmp.execute("qom-list-types", abstract=True)
    assert {"name": "pci-device", "abstract": True, "parent": "device"} in abstract
    listed = qmp.execute("device-list-properties", typename="edu")
    assert listed == qmp.execute("qom-list-properties", typename="edu")
    assert {entry["name"]: entry for entry in listed}["dma-mask"]["default-value"] == 0x0FFFFFFF
    for path in ("/", "/machine", "/objects"):
        qmp.execute("qom-list", path=path)


def test_query_pci_by_root(qmp: Qmp) -> None:
    qmp.execute("device_add", driver="pci-root-bus", id="r0")
    qmp.execute("device_add", driver="edu", id="d0", bus="r0", addr="3.1")
    qmp.execute("device_add", driver="edu", id="d1")
    buses = {bus["root"]: bus for bus in qmp.execute("query-pci")}
    assert set(buses) == {"r0", "d1"}
    (device,) = buses["r0"]["devices"]
    assert (device["slot"], device["function"], device["qdev_id"]) == (3, 1, "d0")
    assert device["id"]["vendor"] == 0x1234 and device["irq_pin"] == 1
    assert device["regions"][0]["size"] == 1 << 20 and device["regions"][0]["address"] == -1


def test_block_nodes(qmp: Qmp, folder: Path) -> None:
    (folder / "disk").write_bytes(bytes(1 << 20))
    file = {"driver": "file", "filename": str(folder / "disk")}
    qmp.execute("blockdev-add", **file, node__name="b0", **{"read-only": False})
    qmp.execute("device_add", driver="nvme", id="d0", drive="b0")
    (disk,) = qmp.execute("query-block")
    assert disk["qdev"] == "/machine/peripheral/d0"
    assert disk["inserted"]["image"]["virtual-size"] == 1 << 20
    assert disk["inserted"]["file"] == str(folder / "disk")
    qmp.execute("block_resize", node__name="b0", size=2 << 20)
    qmp.execute("block_resize", device="d0", size=3 << 20)
    assert (folder / "disk").stat().st_size == 3 << 20
    assert qmp.execute("query-block")[0]["inserted"]["image"]["virtual-size"] == 3 << 20
    refusal(qmp.execute, "block_resize", size=1)
    refusal(qmp.execute, "block_resize", node__name="b0", size=-1)
    refusal(qmp.execute, "block_resize", node__name="b9", size=512)
    (stats,) = qmp.execute("query-blockstats")
    assert stats["node-name"] == "b0" and stats["stats"]["rd_operations"] == 0


def test_two_nodes_of_a_disk(qmp: Qmp, folder: Path) -> None:
    """The storage and its format, made one by one: removed from above."""
    (folder / "disk").write_bytes(bytes(1 << 20))
    qmp.execute("blockdev-add", driver="file", filename=str(folder / "disk"), node__name="s")
    qmp.execute("blockdev-add", driver="raw", node__name="f", file="s")
    assert "in use by block node 'f'" in refusal(qmp.execute, "blockdev-del", node__name="s").desc
    assert "in use by block node 'f'" in refusal(qmp.execute, "device_add", driver="nvme", drive="s").desc
    assert "'f'" in refusal(qmp.execute, "blockdev-add", driver="raw", node__name="g", file="s").desc
    assert "'g'" in refusal(qmp.execute, "blockdev-add", driver="raw", node__name="g", file="g").desc
    qmp.execute("device_add", driver="nvme", id="d0", drive="f")
    (disk,) = qmp.execute("query-block")
    assert disk["inserted"]["node-name"] == "f" and disk["inserted"]["file"] == str(folder / "disk")
    assert "in use by block node 'f'" in refusal(qmp.execute, "block_resize", node__name="s", size=512).desc
    assert (folder / "disk").stat().st_size == 1 << 20
    qmp.execute("block_resize", node__name="f", size=2 << 20)
    assert (folder / "disk").stat().st_size == 2 << 20
    qmp.execute("device_del", id="d0")
    qmp.wait_event("DEVICE_DELETED")
    qmp.execute("blockdev-del", node__name="f")
    qmp.execute("blockdev-del", node__name="s")
    assert qmp.execute("query-named-block-nodes") == []


def test_a_node_with_one_inside(qmp: Qmp, folder: Path) -> None:
    """Made in one command, they go in one; the file is free when the reply is there."""
    (folder / "disk").write_bytes(bytes(1 << 20))
    file = {"driver": "file", "filename": str(folder / "disk"), "node-name": "s"}
    for _ in range(3):
        qmp.execute("blockdev-add", driver="raw", node__name="f", file=file)
        assert [node["node-name"] for node in qmp.execute("query-named-block-nodes")] == ["s", "f"]
        refusal(qmp.execute, "blockdev-del", node__name="s")
        qmp.execute("blockdev-del", node__name="f")
        assert qmp.execute("query-named-block-nodes") == []
    # What is wrong with the upper one takes the lower one along.
    refusal(qmp.execute, "blockdev-add", driver="raw", node__name="f", file=file, nothing=1)
    qmp.execute("blockdev-add", driver="raw", node__name="f", file=file)


def test_stop_cont_and_reset(qmp: Qmp) -> None:
    qmp.execute("device_add", driver="edu", id="d0")
    qmp.execute("stop")
    qmp.wait_event("STOP")
    qmp.execute("stop")
    qmp.execute("cont")
    qmp.wait_event("RESUME")
    assert qmp.execute("query-status") == {"running": True, "status": "running"}
    qmp.execute("system_reset")
    assert qmp.wait_event("RESET") == {"guest": False, "reason": "host-qmp-system-reset"}


def test_a_device_that_fails(qmp: Qmp, folder: Path) -> None:
    """A controller whose admin queue is nowhere; the other device does not notice."""
    add_server(qmp, folder / "s0")
    qmp.execute("blockdev-add", driver="mem", node__name="b0", size="1M")
    qmp.execute("device_add", driver="nvme", id="d1", drive="b0")
    qmp.execute("object-add", qom__type="x-vfio-user-server", id="s1", device="d1", path=str(folder / "s1"))
    with Client(folder / "s1") as client, Client(folder / "s0") as other:
        client.write(REGION_CONFIG, 4, b"\x06\x00")
        client.write32(REGION_BAR0, 0x24, 0x000F000F)
        client.write64(REGION_BAR0, 0x28, 0x1000)
        client.write64(REGION_BAR0, 0x30, 0x2000)
        client.write32(REGION_BAR0, 0x14, 0x00460001)
        client.write32(REGION_BAR0, 0x1000, 1)
        failed = qmp.wait_event("DEVICE_ERROR")
        assert (failed["device"], failed["path"]) == ("d1", "/machine/peripheral/d1")
        assert "fatal" in failed["message"]
        assert other.read32(REGION_BAR0, 0) == 0x010000ED


# People


def test_monitor_for_people(qmp: Qmp, folder: Path) -> None:
    assert "device_add" in qmp.hmp("help") and "info qtree" in qmp.hmp("info")
    assert qmp.hmp("device_add pci-root-bus,id=r0") == ""
    assert qmp.hmp("device_add edu,id=d0,bus=r0") == ""
    assert qmp.hmp(f"object_add x-vfio-user-server,id=s0,type=unix,path={folder}/s,device=d0") == ""
    assert re.search(r'bus: r0\n.*\n  dev: edu, id "d0"', qmp.hmp("info qtree"))
    assert "1234:11e8" in qmp.hmp("info pci")
    assert qmp.hmp("device_del d0").startswith("Error: ")
    assert qmp.hmp("object_del s0") == "" and qmp.hmp("device_del d0") == ""
    qmp.execute("blockdev-add", driver="mem", node__name="b0", size="1M")
    assert "b0: [no file] (mem)" in qmp.hmp("info block")
    assert "unknown command" in qmp.hmp("migrate tcp:x") and "unknown" in qmp.hmp("info nothing")
    assert qmp.hmp("  ") == "" and qmp.hmp("info status ") == "VM status: running\n"


# The end


def test_quit(served: Outboard, qmp: Qmp, folder: Path) -> None:
    add_server(qmp, folder / "s")
    with Client(folder / "s"):
        assert qmp.execute("quit") == {}
        assert qmp.wait_event("SHUTDOWN") == {"guest": False, "reason": "host-qmp-quit"}
        assert served.wait() == 0
    assert not (folder / "m").exists() and not (folder / "s").exists()


def test_signal(served: Outboard, qmp: Qmp) -> None:
    served.process.send_signal(signal.SIGTERM)
    assert qmp.wait_event("SHUTDOWN") == {"guest": False, "reason": "host-signal"}
    assert served.wait() == 0


def test_last_client(outboard: Start, folder: Path) -> None:
    process = outboard("-machine", "x-remote", "-qmp", f"unix:{folder}/m,server=on,wait=off")
    with Qmp(folder / "m") as qmp:
        add_server(qmp, folder / "s")
        with Client(folder / "s"):
            pass
        assert qmp.wait_event("SHUTDOWN") == {"guest": True, "reason": "guest-shutdown"}
    assert process.wait() == 0


def test_the_schema_file_is_where_it_comes_from(qmp: Qmp) -> None:
    schema = json.loads((REPO / "src/monitor/schema.json").read_text())
    assert qmp.schema and set(schema["commands"]) == set(qmp.schema.commands)
    for name, command in schema["commands"].items():
        members = qmp.schema.types[qmp.schema.commands[name]["arg-type"]]["members"]
        told = {("*" if "default" in member else "") + member["name"] for member in members}
        assert told == set(command.get("args", {})), name
