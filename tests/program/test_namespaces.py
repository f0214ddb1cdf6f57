# SPDX-License-Identifier: BSD-3-Clause
"""Devices nvme-subsys and nvme-ns: on the command line, and while a client is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import OpenDisk, Run, Start
from nvme_driver import CNS_CONTROLLER, CNS_NAMESPACE_LIST, CommandError, Nvme
from obctl import good_json
from qmp import Qmp, QmpError

SERVER = "x-vfio-user-server"


@pytest.fixture
def images(folder: Path) -> None:
    for name in "abc":
        (folder / f"{name}.img").write_bytes(name.encode() * (1 << 20))


LINE = (
    "-blockdev driver=file,node-name=a,filename=a.img -blockdev driver=file,node-name=b,filename=b.img"
    " -device nvme-subsys,id=subsys0,nqn=vm1 -device nvme,id=nvme0,subsys=subsys0,serial=abc"
    " -device nvme-ns,id=ns1,drive=a,bus=nvme0,nsid=1 -device nvme-ns,drive=b,bus=nvme0,nsid=4"
    f" -object {SERVER},id=s,type=unix,path=s,device=nvme0 -qmp unix:q,server=on,wait=off"
)


@pytest.fixture
def disk(images: None, outboard: Start, folder: Path, open_disk: OpenDisk) -> Nvme:
    outboard(*LINE.split())
    return open_disk(folder / "s")


@pytest.fixture
def qmp(disk: Nvme, folder: Path) -> Iterator[Qmp]:
    with Qmp(folder / "q") as monitor:
        yield monitor


def numbers(disk: Nvme) -> list[int]:
    page = disk.identify(CNS_NAMESPACE_LIST)
    found = [int.from_bytes(page[i : i + 4], "little") for i in range(0, 4096, 4)]
    return found[: found.index(0)]


def test_as_qemu_has_them(disk: Nvme) -> None:
    assert numbers(disk) == [1, 4]
    assert disk.read(1, 0, 512) == b"a" * 512
    assert disk.read(4, 0, 512) == b"b" * 512
    controller = disk.identify(CNS_CONTROLLER)
    assert controller[768:].split(b"\0")[0] == b"nqn.2019-08.org.qemu:vm1"
    assert controller[4:24] == b"abc".ljust(20)


def test_they_come_and_go(disk: Nvme, qmp: Qmp) -> None:
    qmp.execute("blockdev-add", driver="file", node__name="c", filename="c.img")
    qmp.execute("device_add", driver="nvme-ns", id="ns3", bus="nvme0", drive="c")
    assert numbers(disk) == [1, 2, 4]
    assert disk.read(2, 0, 512) == b"c" * 512
    with pytest.raises(QmpError, match="in use by device 'nvme0'"):
        qmp.execute("blockdev-del", node__name="c")
    qmp.execute("device_del", id="ns3")
    assert qmp.wait_event("DEVICE_DELETED")["device"] == "ns3"
    assert numbers(disk) == [1, 4]
    with pytest.raises(CommandError) as error:
        disk.read(2, 0, 512)
    assert error.value.status == 2
    qmp.execute("blockdev-del", node__name="c")


def test_monitors_know_them(disk: Nvme, qmp: Qmp, folder: Path) -> None:
    tree = qmp.hmp("info qtree")
    for line in 'dev: nvme-ns, id "ns1"', "bus = nvme0", "nsid = 4", 'dev: nvme-subsys, id "subsys0"', "nqn = vm1":
        assert line in tree
    kinds = {entry["name"]: entry["type"] for entry in qmp.execute("qom-list", path="/machine/peripheral")}
    assert (kinds["ns1"], kinds["subsys0"]) == ("child<nvme-ns>", "child<nvme-subsys>")
    assert qmp.execute("qom-get", path="/machine/peripheral/ns1", property="drive") == ["a"]
    assert qmp.execute("qom-get", path="ns1", property="bus") == "nvme0"
    assert {"nvme-ns", "nvme-subsys"} <= {entry["name"] for entry in qmp.execute("qom-list-types")}
    names = {entry["name"] for entry in qmp.execute("device-list-properties", typename="nvme-ns")}
    assert {"drive", "nsid", "uuid", "nguid", "eui64"} <= names
    with pytest.raises(QmpError, match="add it anew"):
        qmp.execute("qom-set", path="ns1", property="nsid", value=3)
    users = {entry["inserted"]["node-name"]: entry["qdev"] for entry in qmp.execute("query-block")}
    assert users == {"a": "/machine/peripheral/nvme0", "b": "/machine/peripheral/nvme0"}
    shown = str(good_json(folder, "-s", "q", "list"))
    assert "a.img" in shown
    assert "b.img" in shown


def test_they_go_with_their_controller(images: None, outboard: Start, folder: Path) -> None:
    outboard(*LINE.split())
    with Qmp(folder / "q") as qmp:
        with pytest.raises(QmpError, match="'nvme0': remove that first"):
            qmp.execute("device_del", id="subsys0")
        qmp.execute("object-del", id="s")
        qmp.execute("device_del", id="nvme0")
        gone = [qmp.wait_event("DEVICE_DELETED")["device"] for _ in range(3)]
        assert gone[0] == "ns1"
        assert gone[2] == "nvme0"
        qmp.execute("device_del", id="subsys0")
        qmp.execute("blockdev-del", node__name="a")
        qmp.execute("device_add", driver="nvme", id="ns1", serial="x")


def test_while_it_is_stopped(disk: Nvme, qmp: Qmp) -> None:
    qmp.execute("stop")
    qmp.execute("device_del", id="ns1")
    qmp.wait_event("DEVICE_DELETED")
    qmp.execute("device_add", driver="nvme-ns", bus="nvme0", drive="a", nsid=2)
    qmp.execute("cont")
    assert numbers(disk) == [2, 4]
    assert disk.read(2, 0, 512) == b"a" * 512


def test_a_file_has_them_too(images: None, folder: Path, run: Run) -> None:
    (folder / "x.conf").write_text(
        '[blockdev "a"]\n  driver = "file"\n  filename = "a.img"\n'
        '[device "nvme0"]\n  driver = "nvme"\n  serial = "abc"\n'
        '[device "ns1"]\n  driver = "nvme-ns"\n  bus = "nvme0"\n  drive = "a"\n  nsid = "300"\n'
        f'[object "s"]\n  qom-type = "{SERVER}"\n  path = "s"\n  device = "nvme0"\n'
    )
    wrong = run("-c", "x.conf", "--check")
    assert wrong.returncode == 1
    assert "x.conf:11:" in wrong.stderr
    assert "nsid=300" in wrong.stderr
    (folder / "x.conf").write_text((folder / "x.conf").read_text().replace("300", "3"))
    assert run("-c", "x.conf", "--check").returncode == 0
