# SPDX-License-Identifier: BSD-3-Clause
"""Storage that does not answer while it is opened, resized or closed: nobody else waits for it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from conftest import OpenDisk, Start
from faulty_disk import FaultyDisk
from nvme_driver import Nvme
from outboard import Outboard, is_sanitized, sockets_in, wait_until
from qmp import Qmp, QmpError

MIB = 1 << 20


def monitors(folder: Path) -> list[str]:
    return [word for name in ("q1", "q2") for word in ("-qmp", f"unix:{folder / name},server=on,wait=off")]


def start(outboard: Start, folder: Path) -> Outboard:
    return outboard("nvme", "size=1M", "socket=a", *monitors(folder))


def file_node(name: str, path: Path, **more: Any) -> dict[str, Any]:
    return {"driver": "file", "node-name": name, "filename": str(path), **more}


def begin_opening(folder: Path, disk: FaultyDisk, name: str = "b0") -> tuple[Qmp, Qmp]:
    """A monitor whose blockdev-add hangs, and another one."""
    one, other = Qmp(folder / "q1"), Qmp(folder / "q2")
    disk.freeze()
    one.start("blockdev-add", **file_node(name, disk.path))
    wait_until(lambda: is_opening(other, name))
    return one, other


def is_opening(monitor: Qmp, name: str) -> bool:
    return "is still being opened" in refusal(monitor, "device_add", driver="nvme", id="probe", drive=name)


def is_resizing(monitor: Qmp, name: str) -> bool:
    return "is being resized" in refusal(monitor, "block_resize", **{"node-name": name, "size": 1000})


def refusal(monitor: Qmp, command: str, **arguments: Any) -> str:
    with pytest.raises(QmpError) as caught:
        monitor.execute(command, **arguments)
    return caught.value.desc


def blocks(disk: Nvme) -> int:
    return int.from_bytes(disk.identify(0, 1)[:8], "little")


def names(monitor: Qmp) -> set[str]:
    return {node["node-name"] for node in monitor.execute("query-named-block-nodes")}


def test_others_go_on_while_an_open_stalls(
    outboard: Start, folder: Path, open_disk: OpenDisk, faulty_disk: FaultyDisk
) -> None:
    start(outboard, folder)
    (folder / "good").write_bytes(bytes(MIB))
    one, other = begin_opening(folder, faulty_disk)
    disk = open_disk(folder / "a")
    disk.write(1, 0, b"x" * 512)
    assert disk.read(1, 0, 512) == b"x" * 512
    other.execute("blockdev-add", **file_node("b1", folder / "good"))
    other.execute("device_add", driver="nvme", id="d1", drive="b1")
    assert "b0" not in names(other)
    faulty_disk.thaw()
    assert one.finish() == {}
    assert "b0" in names(other)
    other.execute("device_add", driver="nvme", id="d2", drive="b0")


def test_a_filter_is_made_when_its_file_is_there(outboard: Start, folder: Path, faulty_disk: FaultyDisk) -> None:
    start(outboard, folder)
    one, other = Qmp(folder / "q1"), Qmp(folder / "q2")
    faulty_disk.freeze()
    raw = {"driver": "raw", "node-name": "top", "file": file_node("low", faulty_disk.path)}
    one.start("blockdev-add", **raw)
    wait_until(lambda: is_opening(other, "top"))
    assert "is being opened already" in refusal(other, "blockdev-add", **raw)
    faulty_disk.thaw()
    assert one.finish() == {}
    assert {"top", "low"} <= names(other)
    faulty_disk.freeze()
    one.start("block_resize", **{"node-name": "top", "size": 2 * MIB})
    wait_until(lambda: is_resizing(other, "top"))
    faulty_disk.thaw()
    assert one.finish() == {}
    sizes = [node["image"]["virtual-size"] for node in other.execute("query-named-block-nodes")]
    assert sizes.count(2 * MIB) == 2
    other.execute("blockdev-del", **{"node-name": "top"})
    assert not {"top", "low"} & names(other)


def test_what_is_being_opened_can_be_removed(outboard: Start, folder: Path, faulty_disk: FaultyDisk) -> None:
    start(outboard, folder)
    (folder / "good").write_bytes(bytes(MIB))
    one, other = begin_opening(folder, faulty_disk)
    other.execute("blockdev-del", **{"node-name": "b0"})
    with pytest.raises(QmpError, match="'b0' was removed while it was opened"):
        one.finish()
    one.execute("blockdev-add", **file_node("b0", folder / "good"))
    faulty_disk.thaw()
    # What was opened in vain is closed, and its lock is gone.
    wait_until(lambda: succeeds(other, "blockdev-add", **file_node("b1", faulty_disk.path)))


def succeeds(monitor: Qmp, command: str, **arguments: Any) -> bool:
    try:
        monitor.execute(command, **arguments)
    except QmpError:
        return False
    return True


def test_a_monitor_that_leaves_has_its_node_opened(outboard: Start, folder: Path, faulty_disk: FaultyDisk) -> None:
    start(outboard, folder)
    one, other = begin_opening(folder, faulty_disk)
    one.close()
    faulty_disk.thaw()
    wait_until(lambda: "b0" in names(other))


def test_an_open_that_fails_after_its_monitor_left_is_logged(
    outboard: Start, folder: Path, faulty_disk: FaultyDisk
) -> None:
    server = start(outboard, folder)
    with Qmp(folder / "q1") as monitor:
        monitor.execute("blockdev-add", **file_node("b9", faulty_disk.path))
    gone, other = begin_opening(folder, faulty_disk)
    gone.close()
    faulty_disk.thaw()
    server.wait_log("that failed: block node 'b0': file")
    assert "b0" not in names(other)


@pytest.mark.parametrize("way", ["quit", "SIGTERM", "SIGINT"])
def test_the_end_waits_for_no_open(outboard: Start, folder: Path, faulty_disk: FaultyDisk, way: str) -> None:
    if is_sanitized():
        pytest.skip("the leak checker waits for threads that sleep in a call")
    server = start(outboard, folder)
    _, other = begin_opening(folder, faulty_disk)
    if way == "quit":
        other.execute("quit")
        assert server.wait() == 0
    else:
        assert server.stop(signal.Signals[way]) == 0


def test_the_end_has_a_bound(outboard: Start, folder: Path, faulty_disk: FaultyDisk) -> None:
    server = outboard("nvme", faulty_disk.path, "socket=a", "--stop-timeout", "1", "-pidfile", "p")
    faulty_disk.hold("fsync", killable=True)
    server.process.send_signal(signal.SIGTERM)
    assert server.wait() == 1
    assert "without what it has waited for since 1 s (--stop-timeout)" in server.errors()
    assert str(faulty_disk.path) in server.errors()
    assert not sockets_in(folder) and not (folder / "p").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_waits_for_nothing(
    outboard: Start, folder: Path, faulty_disk: FaultyDisk, number: signal.Signals
) -> None:
    server = outboard("nvme", faulty_disk.path, "socket=a", "--stop-timeout=0")
    faulty_disk.hold("fsync", killable=True)
    server.process.send_signal(signal.SIGTERM)
    wait_until(faulty_disk.held)
    assert server.stop(number) == -number


def test_other_disks_are_flushed_at_the_end(
    outboard: Start, folder: Path, open_disk: OpenDisk, faulty_disk: FaultyDisk
) -> None:
    with FaultyDisk(folder / "other", MIB) as good:
        server = outboard("nvme", faulty_disk.path, "socket=a", "--", "nvme", good.path, "socket=b")
        bad, disk = open_disk(folder / "a"), open_disk(folder / "b")
        disk.write(1, 0, b"good" * 128)
        faulty_disk.hold("write")
        bad.start_write(1, 0, b"bad!" * 128)
        wait_until(faulty_disk.held)
        flushes = good.seen("fsync")
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: good.seen("fsync") > flushes)
        assert good.lose_power(folder / "left")[:512] == b"good" * 128
        assert server.process.poll() is None
        faulty_disk.release()
        assert server.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_start_that_stalls_can_be_ended(
    outboard: Start, folder: Path, faulty_disk: FaultyDisk, number: signal.Signals
) -> None:
    if is_sanitized():
        pytest.skip("the leak checker waits for threads that sleep in a call")
    faulty_disk.freeze()
    server = outboard("nvme", faulty_disk.path, "socket=a", wait=False)
    wait_until(lambda: len(list(Path(f"/proc/{server.pid}/task").iterdir())) > 1)
    assert server.stop(number) == 0
    assert not (folder / "a").exists()


def test_a_resize_that_stalls_holds_up_nobody(
    outboard: Start, folder: Path, open_disk: OpenDisk, faulty_disk: FaultyDisk
) -> None:
    outboard("nvme", "size=1M", "socket=a", "--", "nvme", faulty_disk.path, "socket=b", "id=d1", *monitors(folder))
    one, other = Qmp(folder / "q1"), Qmp(folder / "q2")
    disk, resized = open_disk(folder / "a"), open_disk(folder / "b")
    (node,) = [info["inserted"]["node-name"] for info in one.execute("query-block") if "d1" in info["qdev"]]
    faulty_disk.freeze()
    one.start("block_resize", **{"node-name": node, "size": 2 * MIB})
    wait_until(lambda: is_resizing(other, node))
    disk.write(1, 0, b"y" * 512)
    assert disk.read(1, 0, 512) == b"y" * 512
    assert blocks(resized) == MIB // 512
    faulty_disk.thaw()
    assert one.finish() == {}
    assert blocks(resized) == 2 * MIB // 512
    assert faulty_disk.path.stat().st_size == 2 * MIB


def test_a_close_that_stalls_holds_up_nobody(
    outboard: Start, folder: Path, open_disk: OpenDisk, faulty_disk: FaultyDisk
) -> None:
    start(outboard, folder)
    one, other = Qmp(folder / "q1"), Qmp(folder / "q2")
    one.execute("blockdev-add", **file_node("b0", faulty_disk.path))
    disk = open_disk(folder / "a")
    faulty_disk.freeze()
    one.start("blockdev-del", **{"node-name": "b0"})
    wait_until(lambda: "unknown" in refusal(other, "device_add", driver="nvme", id="d1", drive="b0"))
    disk.write(1, 0, b"z" * 512)
    assert disk.read(1, 0, 512) == b"z" * 512
    faulty_disk.thaw()
    assert one.finish() == {}
    other.execute("blockdev-add", **file_node("b0", faulty_disk.path))


def test_a_node_is_removed_when_its_resize_has_ended(outboard: Start, folder: Path, faulty_disk: FaultyDisk) -> None:
    start(outboard, folder)
    one, other = Qmp(folder / "q1"), Qmp(folder / "q2")
    one.execute("blockdev-add", **file_node("b0", faulty_disk.path))
    faulty_disk.freeze()
    one.start("block_resize", **{"node-name": "b0", "size": 2 * MIB})
    wait_until(lambda: is_resizing(other, "b0"))
    other.start("blockdev-del", **{"node-name": "b0"})
    faulty_disk.thaw()
    assert one.finish() == {}
    assert other.finish() == {}
    other.execute("blockdev-add", **file_node("b0", faulty_disk.path))
