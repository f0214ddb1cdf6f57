# SPDX-License-Identifier: BSD-3-Clause
"""NVMe disks through the socket: what the command line configures is what a driver sees."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import shutil
import signal
import struct
from pathlib import Path

import pytest
from conftest import OpenDisk, Run, Start
from nvme_driver import (
    CNS_CONTROLLER,
    CNS_NAMESPACE,
    CNS_NAMESPACE_LIST,
    CommandError,
    Nvme,
)
from outboard import LIMIT
from qmp import Qmp
from vfio_user import IRQ_MSIX, Client

MIB = 1 << 20
FORMAT_NVM = 0x80
ATTRIBUTE = "user.outboard.identity"


def image(folder: Path, name: str, size: int = MIB) -> Path:
    path = folder / name
    path.write_bytes(os.urandom(size))
    return path


def namespaces(nvme: Nvme) -> list[int]:
    ids = struct.unpack("<1024I", nvme.identify(CNS_NAMESPACE_LIST))
    return [number for number in ids if number]


def namespace_size(nvme: Nvme, number: int) -> int:
    data = nvme.identify(CNS_NAMESPACE, number)
    lbaf = struct.unpack_from("<I", data, 128 + 4 * (data[26] & 0xF))[0]
    blocks: int = struct.unpack_from("<Q", data)[0]
    return blocks << (lbaf >> 16 & 0xFF)


def test_identify(outboard: Start, folder: Path, open_disk: OpenDisk) -> None:
    outboard("nvme", "size=8M", "serial=abc123", "socket=a")
    nvme = open_disk(folder / "a")
    controller = nvme.identify(CNS_CONTROLLER)
    assert controller[4:24] == b"abc123".ljust(20)
    assert namespaces(nvme) == [1]
    assert namespace_size(nvme, 1) == 8 * MIB


def test_the_end_of_an_image_is_not_lost_without_a_word(
    outboard: Start, run: Run, folder: Path, open_disk: OpenDisk
) -> None:
    path = image(folder, "a.img", MIB + 512)
    refused = run("nvme", path, "socket=a", "block-size=4096")
    assert refused.returncode == 1
    assert "its last 512 bytes would be out of reach" in refused.stderr
    assert "'truncate -s %4096 FILE' makes it one, or tail=leave" in refused.stderr
    server = outboard("nvme", path, "socket=a", "block-size=4096", "tail=leave")
    server.wait_log("its last 512 bytes are out of reach")
    server.stop()
    server = outboard("nvme", path, "socket=a")
    nvme = open_disk(folder / "a")
    assert namespace_size(nvme, 1) == MIB + 512
    assert "out of reach" not in server.errors()
    nvme.submit(nvme.admin, FORMAT_NVM, 1, (1,))
    server.wait_log("its last 512 bytes are out of reach: 1 namespace with blocks of 4096 bytes")
    assert namespace_size(nvme, 1) == MIB
    # A size that was asked for is what somebody wanted.
    outboard("nvme", "size=4608", "socket=b", "block-size=4096").wait_log("its last 512 bytes are")


def largest(path: Path) -> int:
    """Makes a file as large as its file system has files, all of it a hole."""
    size = 0
    with path.open("wb") as file:
        for bit in range(62, 8, -1):
            with contextlib.suppress(OSError):
                file.truncate(size | 1 << bit)
                size |= 1 << bit
        file.truncate(size)
    return size


def test_format_of_the_largest_file(outboard: Start, folder: Path, open_disk: OpenDisk) -> None:
    path = folder / "a.img"
    size = largest(path)
    with path.open("r+b") as file:
        for at in (0, size // 3 // MIB * MIB, size - MIB):
            file.seek(at)
            file.write(os.urandom(MIB))
    assert path.stat().st_blocks * 512 >= 3 * MIB
    server = outboard("nvme", path, "socket=a")
    nvme = open_disk(folder / "a")
    nvme.submit(nvme.admin, FORMAT_NVM, 1)
    assert path.stat().st_size == size
    assert path.stat().st_blocks * 512 < MIB
    assert "discard is off" not in server.errors()


def test_format_leaves_holes_where_space_is_kept(
    outboard: Start, folder: Path, open_disk: OpenDisk
) -> None:
    """A file in memory, whose holes are known whatever file system the tests run on."""
    file = os.memfd_create("disk")
    size = 2**63 - MIB
    os.truncate(file, size)
    places = (0, size // 3 // MIB * MIB, size - MIB)
    for at in places:
        os.pwrite(file, os.urandom(MIB), at)
    outboard("nvme", f"/proc/{os.getpid()}/fd/{file}", "socket=a", "discard=ignore")
    nvme = open_disk(folder / "a")
    nvme.submit(nvme.admin, FORMAT_NVM, 1)
    assert all(os.pread(file, MIB, at) == bytes(MIB) for at in places)
    assert os.fstat(file).st_blocks * 512 == 3 * MIB
    os.close(file)


def serial_of(outboard: Start, folder: Path, *words: str | Path) -> str:
    server = outboard("nvme", *words, "socket=a")
    with Client(folder / "a") as client:
        nvme = Nvme(client)
        nvme.enable()
        serial = nvme.identify(CNS_CONTROLLER)[4:24].decode()
        nvme.close()
    server.stop()
    return serial


def test_a_disk_keeps_its_serial_number(outboard: Start, folder: Path) -> None:
    """It is the file's, whatever the process; what is in memory is new each time."""
    for name in ("a.img", "b.img"):
        image(folder, name)
    first = serial_of(outboard, folder, "a.img")
    assert first.strip()
    assert serial_of(outboard, folder, "b.img") != first
    assert serial_of(outboard, folder, "a.img") == first
    assert serial_of(outboard, folder, "size=1M") != serial_of(outboard, folder, "size=1M")


def test_a_serial_number_goes_with_its_image(outboard: Start, folder: Path) -> None:
    """Moved or restored with its attributes, it is the same disk; a copy of the bytes is another."""
    path = image(folder, "a.img")
    first = serial_of(outboard, folder, path)
    assert os.getxattr(path, ATTRIBUTE).decode()[:12] in first
    assert serial_of(outboard, folder, path.rename(folder / "b.img")) == first
    restored, copy = folder / "restored.img", folder / "copy.img"
    for name in (restored, copy):
        name.write_bytes((folder / "b.img").read_bytes())
    os.setxattr(restored, ATTRIBUTE, os.getxattr(folder / "b.img", ATTRIBUTE))
    assert serial_of(outboard, folder, restored) == first
    assert serial_of(outboard, folder, copy, "read-only=on") != first
    assert ATTRIBUTE not in os.listxattr(copy)
    # Nonsense is nobody's identity, and not ours to remove.
    os.setxattr(copy, ATTRIBUTE, b"../../etc/passwd")
    other = serial_of(outboard, folder, copy)
    assert other != first
    assert os.getxattr(copy, ATTRIBUTE) == b"../../etc/passwd"
    assert serial_of(outboard, folder, copy, "serial=mine").strip() == "mine"


def test_equal_serial_numbers_are_told(outboard: Start) -> None:
    server = outboard("nvme", "size=1M", "serial=x", "socket=a", "--", "nvme", "size=1M", "serial=x", "socket=b")
    server.wait_log("devices 'nvme0' and 'nvme1' have the same serial number, x")
    other = outboard("nvme", "size=1M", "serial=x", "socket=c", "--", "nvme", "size=1M", "serial=y", "socket=d")
    assert "same serial" not in other.errors()


def test_the_serial_number_that_was_made_is_told(outboard: Start, folder: Path) -> None:
    """By monitors; and where a copy has the identity of its original."""
    image(folder, "a.img")
    serial = serial_of(outboard, folder, "a.img", "id=disk-of-vm1")
    shutil.copyfile(folder / "a.img", folder / "b.img")
    os.setxattr(folder / "b.img", "user.outboard.identity", os.getxattr(folder / "a.img", "user.outboard.identity"))
    server = outboard("nvme", "a.img", "id=disk-of-vm1", "socket=a", "--", "nvme", "b.img", "id=disk-of-vm2",
                      "socket=b", "--", "-qmp", "unix:q,server=on,wait=off")  # fmt: skip
    with Qmp(folder / "q") as qmp:
        assert qmp.execute("qom-get", path="/machine/peripheral/disk-of-vm1", property="serial") == serial.strip()
    server.wait_log(f"'disk-of-vm1' and 'disk-of-vm2' have the same serial number, {serial.strip()}")


def test_long_form_says_the_same(outboard: Start, folder: Path, open_disk: OpenDisk) -> None:
    outboard(
        "-blockdev", "driver=mem,node-name=b0,size=8M",
        "-device", "nvme,id=nvme0,drive=b0,serial=abc123",
        "-object", "x-vfio-user-server,id=s0,type=unix,path=long,device=nvme0",
    )  # fmt: skip
    outboard("nvme", "size=8M", "serial=abc123", "socket=short")
    long, short = (open_disk(folder / name) for name in ("long", "short"))
    for cns in (CNS_CONTROLLER, CNS_NAMESPACE, CNS_NAMESPACE_LIST):
        namespace = 1 if cns == CNS_NAMESPACE else 0
        assert long.identify(cns, namespace)[:64] == short.identify(cns, namespace)[:64]


def test_what_is_written_is_in_the_file(
    outboard: Start, folder: Path, open_disk: OpenDisk
) -> None:
    path = image(folder, "disk.img")
    before = path.read_bytes()
    process = outboard("nvme", path, "socket=a")
    nvme = open_disk(folder / "a")
    assert nvme.read(1, 8, 8192) == before[8 * 512 :][:8192]
    data = os.urandom(8192)
    nvme.write(1, 100, data)
    nvme.flush(1)
    assert nvme.read(1, 100, 8192) == data
    assert process.stop() == 0
    assert path.read_bytes() == before[: 100 * 512] + data + before[100 * 512 + 8192 :]


@pytest.mark.parametrize("aio", ["io_uring", "threads"])
def test_the_limit_of_file_size_is_an_error_of_the_disk(
    outboard: Start, folder: Path, open_disk: OpenDisk, aio: str
) -> None:
    """Not the end of the process, which is what the kernel's signal would make it."""
    path = image(folder, "disk.img")
    process = outboard("nvme", path, "socket=a", f"aio={aio}")
    nvme = open_disk(folder / "a")
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (MIB // 2, resource.RLIM_INFINITY))
    nvme.write(1, 0, bytes(512))
    with pytest.raises(CommandError):
        nvme.write(1, MIB // 512 - 8, bytes(4096))
    nvme.write(1, 0, bytes(512))
    assert process.stop() == 0


def test_several_files_are_several_namespaces(
    outboard: Start, folder: Path, open_disk: OpenDisk
) -> None:
    paths = [image(folder, "one.img"), image(folder, "two.img", 2 * MIB)]
    outboard("nvme", paths[0], f"file={paths[1]}", "socket=a")
    nvme = open_disk(folder / "a")
    assert namespaces(nvme) == [1, 2]
    assert [namespace_size(nvme, number) for number in (1, 2)] == [MIB, 2 * MIB]
    for number, path in enumerate(paths, 1):
        assert nvme.read(number, 0, 512) == path.read_bytes()[:512]


def test_read_only(outboard: Start, folder: Path, open_disk: OpenDisk) -> None:
    path = image(folder, "disk.img")
    before = path.read_bytes()
    outboard("nvme", path, "ro=on", "socket=a")
    nvme = open_disk(folder / "a")
    with pytest.raises(CommandError):
        nvme.write(1, 0, bytes(512))
    assert nvme.read(1, 0, 512) == before[:512]
    assert path.read_bytes() == before


def test_past_the_end(outboard: Start, folder: Path, open_disk: OpenDisk) -> None:
    outboard("nvme", "size=1M", "socket=a")
    nvme = open_disk(folder / "a")
    with pytest.raises(CommandError) as error:
        nvme.read(1, 2048, 512)
    assert error.value.status == 0x80  # LBA out of range


def test_interrupts(outboard: Start, folder: Path) -> None:
    outboard("nvme", "size=1M", "socket=a")
    with Client(folder / "a") as client:
        nvme = Nvme(client)
        fds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
        for vector, fd in enumerate(fds):
            client.set_irq_eventfd(IRQ_MSIX, vector, fd)
        nvme.enable()
        nvme.create_io_queues(interrupt_vector=1)
        nvme.write(1, 0, bytes(512))
        for fd in fds:
            assert select.select([fd], [], [], LIMIT)[0], "no interrupt"
            os.close(fd)
        nvme.close()


def test_data_stays_over_clients(outboard: Start, folder: Path) -> None:
    outboard("nvme", "size=1M", "socket=a")
    for i in range(5):
        with Client(folder / "a") as client:
            client.reset()
            nvme = Nvme(client)
            nvme.enable()
            nvme.create_io_queues()
            if i:
                assert nvme.read(1, 7, 512) == bytes([i - 1]) * 512
            nvme.write(1, 7, bytes([i]) * 512)
            nvme.close()


# Images are locked against other processes


def test_image_in_use_is_refused(outboard: Start, run: Run, folder: Path) -> None:
    path = image(folder, "disk.img")
    before = path.read_bytes()
    first = outboard("nvme", path, "socket=a")
    for words in (["nvme", path], ["nvme", path, "ro=on"]):
        result = run(*words, "socket=b")
        assert result.returncode == 1
        assert len(result.stderr.splitlines()) == 1
        assert "disk.img" in result.stderr and "in use" in result.stderr
        assert not (folder / "b").exists()
    assert first.stop() == 0
    assert path.read_bytes() == before
    outboard("nvme", path, "socket=b")


def test_readers_share_an_image(outboard: Start, run: Run, folder: Path) -> None:
    path = image(folder, "disk.img")
    outboard("nvme", path, "ro=on", "socket=a")
    outboard("nvme", path, "ro=on", "socket=b")
    assert run("nvme", path, "socket=c").returncode == 1


def test_lock_goes_with_the_process(outboard: Start, folder: Path) -> None:
    path = image(folder, "disk.img")
    outboard("nvme", path, "socket=a").stop(signal.SIGKILL)
    outboard("nvme", path, "socket=a")
