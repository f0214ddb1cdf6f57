# SPDX-License-Identifier: BSD-3-Clause
"""Objects that come and go while others work: over the whole program, with clients and I/O."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Start
from obctl import OBCTL, good_json
from outboard import LIMIT, Outboard, is_sanitized, wait_until
from qmp import Qmp, QmpError
from vfio_user import REGION_BAR0, REGION_CONFIG, Client, Memory

ROUNDS = int(os.environ.get("HOTPLUG_ROUNDS", "100"))
DISK = 64 << 20


@pytest.fixture
def process(outboard: Start, folder: Path) -> Outboard:
    return outboard("-machine", "x-remote,auto-shutdown=off", "-qmp", f"unix:{folder}/m,server=on,wait=off")


@pytest.fixture
def qmp(process: Outboard, folder: Path) -> Iterator[Qmp]:
    with Qmp(folder / "m") as connection:
        yield connection


def add_disk(qmp: Qmp, folder: Path, name: str) -> None:
    image = folder / f"{name}.img"
    with open(image, "wb") as file:
        file.truncate(DISK)
    qmp.execute("blockdev-add", driver="file", node__name=f"b{name}", filename=str(image))
    qmp.execute("device_add", driver="nvme", id=f"d{name}", drive=f"b{name}")
    serve(qmp, folder, name)


def serve(qmp: Qmp, folder: Path, name: str) -> None:
    address = {"type": "unix", "path": str(folder / name)}
    words = {"qom__type": "x-vfio-user-server", "id": f"s{name}", "device": f"d{name}"}
    qmp.execute("object-add", socket=address, **words)


def remove_device(qmp: Qmp, name: str) -> None:
    qmp.execute("device_del", id=f"d{name}")
    assert qmp.wait_event("DEVICE_DELETED")["device"] == f"d{name}"


def load(folder: Path, name: str, *words: str) -> subprocess.Popen[str]:
    command = [str(OBCTL), "nvme-io", name, "--destroy", "--mix=50", "--random", "--depth=32", "--json"]
    command += words
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_io(qmp: Qmp, node: str, again: bool = False) -> None:
    """Until some requests were done; again: some more."""

    def done() -> int:
        stats = [stat["stats"] for stat in qmp.execute("query-blockstats") if stat["node-name"] == node]
        return int(stats[0]["rd_operations"] + stats[0]["wr_operations"])

    begin = done() if again else 0
    wait_until(lambda: done() > begin + 100)


def open_files(process: Outboard) -> int:
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def memory_of(process: Outboard) -> int:
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096


def test_removal_with_io_in_flight(process: Outboard, qmp: Qmp, folder: Path) -> None:
    add_disk(qmp, folder, "keep")
    other = load(folder, "keep", "--verify", "--count=100000000")
    wait_for_io(qmp, "bkeep")
    before = 0
    for number in range(5):
        add_disk(qmp, folder, "a")
        loaded = load(folder, "a", "--count=100000000")
        wait_for_io(qmp, "ba")
        with pytest.raises(QmpError, match="sa"):
            qmp.execute("device_del", id="da")
        with pytest.raises(QmpError, match="da"):
            qmp.execute("blockdev-del", node__name="ba")
        qmp.execute("object-del", id="sa")
        # Its device and its path can be used again at once.
        serve(qmp, folder, "a")
        qmp.execute("object-del", id="sa")
        remove_device(qmp, "a")
        qmp.execute("blockdev-del", node__name="ba")
        # Its client saw the end of the connection, and nothing else went wrong.
        assert loaded.wait(LIMIT) == 1
        if number == 0:
            before = open_files(process)
    wait_until(lambda: open_files(process) <= before)
    wait_for_io(qmp, "bkeep", again=True)
    other.terminate()
    other.wait(LIMIT)


@pytest.mark.parametrize("with_client", [False, True])
def test_rounds_leave_nothing_behind(
    process: Outboard, qmp: Qmp, folder: Path, with_client: bool
) -> None:
    add_disk(qmp, folder, "keep")
    other = load(folder, "keep", "--count=100000000")
    wait_for_io(qmp, "bkeep")
    before, memory = 0, 0
    qmp.execute("device_add", driver="pci-root-bus", id="rb")
    for number in range(ROUNDS):
        qmp.execute("device_add", driver="edu", id="da", bus="rb", addr=f"{number % 32:x}")
        serve(qmp, folder, "a")
        if with_client:
            with Client(folder / "a") as client:
                assert client.read(REGION_CONFIG, 0, 2) != b"\xff\xff"
                qmp.execute("object-del", id="sa")
        else:
            qmp.execute("object-del", id="sa")
        remove_device(qmp, "a")
        if number == ROUNDS // 5:
            before, memory = open_files(process), memory_of(process)
    wait_until(lambda: open_files(process) <= before)
    if not is_sanitized():
        assert memory_of(process) < memory + (1 << 20)
    qmp.execute("device_del", id="rb")
    wait_for_io(qmp, "bkeep", again=True)
    other.terminate()
    other.wait(LIMIT)


def test_events_come_in_order(qmp: Qmp, folder: Path) -> None:
    qmp.execute("device_add", driver="edu", id="da")
    serve(qmp, folder, "a")
    with Client(folder / "a"):
        told = qmp.wait_event("VFU_CLIENT_CONNECTED")
        assert told["vfu-id"] == "sa"
    expected = {
        "vfu-id": "sa",
        "vfu-qom-path": "/objects/sa",
        "dev-id": "da",
        "dev-qom-path": "/machine/peripheral/da",
    }
    assert qmp.wait_event("VFU_CLIENT_HANGUP") == expected
    # The server is still there, and serves the next one.
    with Client(folder / "a") as client:
        assert client.read32(REGION_BAR0, 0) == 0x010000ED


def test_an_error_of_one_disturbs_nobody(process: Outboard, qmp: Qmp, folder: Path) -> None:
    add_disk(qmp, folder, "keep")
    other = load(folder, "keep", "--verify", "--count=100000000")
    wait_for_io(qmp, "bkeep")
    qmp.execute("device_add", driver="edu", id="da")
    serve(qmp, folder, "a")
    for rubbish in (b"\0" * 64, b"\xff" * 64, b"GET / HTTP/1.0\r\n\r\n", b"\x01"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(folder / "a"))
            client.sendall(rubbish)
        qmp.wait_event("VFU_CLIENT_HANGUP")
    with Client(folder / "a") as client:
        # Memory that vanishes under the device.
        memory = Memory(4096)
        client.dma_map(0x100000, 4096, memory.fd)
        os.ftruncate(memory.fd, 0)
        for register, value in ((0x80, 0x100000), (0x88, 0x40000), (0x90, 64), (0x98, 1)):
            client.write64(REGION_BAR0, register, value)
        qmp.wait_event("VFU_CLIENT_HANGUP")
    wait_for_io(qmp, "bkeep", again=True)
    assert other.poll() is None
    other.terminate()
    other.wait(LIMIT)


def test_a_controller_that_fails_is_told(qmp: Qmp, folder: Path) -> None:
    add_disk(qmp, folder, "a")
    with Client(folder / "a") as client:
        client.write32(REGION_BAR0, 0x14, 0x00460071)  # CC.CSS that there is not
        assert qmp.wait_event("DEVICE_ERROR")["device"] == "da"
        assert client.read32(REGION_BAR0, 0x1C) & 2


def test_a_disk_grows_under_load(qmp: Qmp, folder: Path) -> None:
    add_disk(qmp, folder, "a")
    loaded = load(folder, "a", "--verify", "--count=3000", f"--size={DISK // 8}")
    wait_for_io(qmp, "ba")
    with pytest.raises(QmpError, match="multiple"):
        qmp.execute("block_resize", node__name="ba", size=DISK + 1000)
    qmp.execute("block_resize", node__name="ba", size=2 * DISK)
    assert loaded.wait(LIMIT * 2) == 0
    assert (folder / "a.img").stat().st_size == 2 * DISK
    where = f"--offset={2 * DISK - 65536}"
    report = good_json(folder, "nvme-io", "a", "--destroy", "--write", "--verify", where)
    assert report["failed_commands"] == report["wrong_blocks"] == 0


def test_pause_with_io(qmp: Qmp, folder: Path) -> None:
    add_disk(qmp, folder, "a")
    loaded = load(folder, "a", "--verify", "--count=3000", "--size=4M")
    wait_for_io(qmp, "ba")
    qmp.execute("stop")
    stats = qmp.execute("query-blockstats")
    assert all(stat["stats"]["x-in-flight"] == 0 for stat in stats)
    # What comes up meanwhile is quiet as well, and can go again.
    qmp.execute("device_add", driver="edu", id="db")
    remove_device(qmp, "b")
    assert qmp.execute("query-blockstats") == stats
    qmp.execute("cont")
    assert loaded.wait(LIMIT * 2) == 0
    assert qmp.execute("query-blockstats")[0]["stats"]["rd_total_time_ns"] > 0
