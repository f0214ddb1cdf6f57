# SPDX-License-Identifier: BSD-3-Clause
"""What a real Linux guest, its firmware and nvme-cli make of a disk that outboard serves."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from boot_image import make_boot_image
from guest import CommandError, Disk, Guest, wait_until
from server import Server

Serve = Callable[..., Server]
Boot = Callable[..., Guest]

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
DISK = "/dev/nvme0n1"


def sparse(path: Path, size: int) -> Path:
    with open(path, "wb") as file:
        file.truncate(size)
    return path


def pattern(label: str, size: int) -> bytes:
    """The bytes that guest_pattern() makes in the guest."""
    line = label.encode() + b"\n"
    return (line * (size // len(line) + 1))[:size]


def guest_pattern(label: str, size: int) -> str:
    return f"yes {label} | head -c {size}"


def write_at(label: str, offset: int, size: int, disk: str = DISK) -> str:
    """A command that writes a pattern past the guest's page cache."""
    return (
        f"{guest_pattern(label, size)} | dd of={disk} bs=1M iflag=fullblock"
        f" oflag=seek_bytes,direct conv=notrunc seek={offset} status=none"
    )


def read_at(offset: int, size: int, disk: str = DISK) -> str:
    return (
        f"dd if={disk} bs=64k iflag=skip_bytes,count_bytes,direct"
        f" skip={offset} count={size} status=none"
    )


def check_at(guest: Guest, label: str, offset: int, size: int, disk: str = DISK) -> None:
    digest = guest.run(f"{read_at(offset, size, disk)} | sha256sum").split()[0]
    assert digest == hashlib.sha256(pattern(label, size)).hexdigest(), f"{label} at {offset}"


def fio_verify(
    disk: str = DISK, *, start: int = 0, size: str = "4M", rounds: int = 1, align: int = 512
) -> str:
    """Four jobs on areas of their own (128 MiB from start on), all read back and checked."""
    common = (
        f"fio --eta=never --filename={disk} --ioengine=libaio --direct=1 --verify=crc32c"
        f" --verify_fatal=1 --randrepeat=0 --loops={rounds} --size={size}"
    )
    jobs = {
        "small": "--rw=randwrite --bs=4k --iodepth=32",
        "mixed": f"--rw=randwrite --bsrange={align}-128k --blockalign={align} --iodepth=8",
        "large": "--rw=write --bs=1M --iodepth=4",
        "both": "--rw=randrw --bs=16k --iodepth=16",
    }
    for number, (name, options) in enumerate(jobs.items()):
        common += f" --name={name} --offset={start + number * 32 * MIB} {options}"
    return common


def check_fio(output: str) -> None:
    assert re.findall(r"err= *(\d+)", output) == ["0"] * 4, output


def run_fio(guest: Guest, timeout: float = 120, **options: Any) -> None:
    check_fio(guest.run(fio_verify(**options), timeout))


def address(guest: Guest, controller: str = "nvme0") -> str:
    return guest.run(f"cat /sys/class/nvme/{controller}/address").strip()


def lspci(guest: Guest) -> str:
    return guest.run(f"lspci -vv -s {address(guest)} 2>/dev/null")


def kernel_complaints(guest: Guest) -> str:
    _, lines = guest.run_status(
        "dmesg | grep -iE 'nvme.*(time-?out|abort|error|fail|unable|frozen|not ready)"
        "|nobody cared|I/O error|Call Trace|AER:|BUG:'"
    )
    return lines


def test_disk_appears(serve: Serve, boot: Boot, work: Path) -> None:
    serve(["nvme", "size=1G", f"socket={work}/a.sock", "serial=ob-serial"])
    guest = boot(work / "a.sock")
    assert guest.run("cat /sys/block/nvme0n1/size") == f"{GIB // 512}\n"
    assert guest.run("cat /sys/class/nvme/nvme0/serial").strip() == "ob-serial"
    assert guest.run("cat /sys/block/nvme0n1/ro") == "0\n"
    listing = lspci(guest)
    assert re.search(r"MSI-X: Enable\+ Count=\d+ Masked-", listing), listing
    assert int(re.search(r"MSI-X: Enable\+ Count=(\d+)", listing)[1]) <= 64, listing
    assert re.search(r"Express .*Endpoint", listing), listing
    assert re.search(r"Power Management", listing), listing
    check_interrupts_arrive(guest)
    assert not kernel_complaints(guest)


@pytest.mark.parametrize("ident", ["", "vendor-id=0x1b36,device-id=0x0010"])
def test_namespace_identifiers(serve: Serve, boot: Boot, work: Path, ident: str) -> None:
    """Linux goes by the namespace's UUID, but with QEMU's identity makes a name of the serial number."""
    given = ident.split(",") if ident else []
    serve(["nvme", "size=64M", f"socket={work}/a.sock", "serial=ob-serial", *given])
    guest = boot(work / "a.sock")
    wwid = guest.run("cat /sys/block/nvme0n1/wwid").strip()
    _, bogus = guest.run_status("dmesg | grep -i 'bogus namespace'")
    if ident:
        assert wwid.startswith("nvme.1b36-"), wwid
        assert bogus
    else:
        assert re.fullmatch(r"uuid(\.|-)[0-9a-f-]{36}", wwid), wwid
        assert not bogus, bogus
        assert guest.run("cat /sys/block/nvme0n1/uuid").strip() == wwid[5:]
    assert not kernel_complaints(guest)


def check_interrupts_arrive(guest: Guest) -> None:
    """Each processor's queue interrupts over a vector of its own."""
    for cpu in range(guest.cpus):
        before = {i.name: i for i in guest.interrupts("nvme0q")}
        assert len(before) == 1 + guest.cpus, before
        assert all("MSI-X" in i.chip or "MSIX" in i.chip for i in before.values()), before
        guest.run(f"taskset {1 << cpu:x} {read_at(0, 64 * KIB)} >/dev/null")
        after = {i.name: i for i in guest.interrupts("nvme0q")}
        grown = [name for name in after if after[name].count > before[name].count]
        assert grown == [f"nvme0q{cpu + 1}"], (before, after)


@pytest.mark.parametrize("backend", ["mem", "file"])
def test_fio_verify(serve: Serve, boot: Boot, work: Path, backend: str) -> None:
    file = sparse(work / "disk.img", GIB)
    device = "size=1G" if backend == "mem" else f"file={file}"
    serve(["nvme", device, f"socket={work}/a.sock"])
    guest = boot(work / "a.sock")
    run_fio(guest, size="16M")
    run_fio(guest, size="4M", start=512 * MIB + 512, rounds=2)
    assert not kernel_complaints(guest)


def test_null(serve: Serve, boot: Boot, work: Path) -> None:
    serve(["nvme", "null=on", "size=1G", f"socket={work}/a.sock"])
    guest = boot(work / "a.sock")
    guest.run(write_at("lost", 0, MIB))
    assert guest.run(f"{read_at(0, MIB)} | tr -d '\\0' | wc -c").strip() == "0"


def test_contents_of_the_file(serve: Serve, boot: Boot, work: Path) -> None:
    size = 5 * GIB + 512
    image = sparse(work / "disk.img", size)
    theirs = {1536: 2560, 100 * MIB - 512: 3 * MIB, 4 * GIB - MIB: 2 * MIB, size - 512: 512}
    ours = {200 * MIB: 5 * 512, 4 * GIB + 7 * MIB: MIB + 512}
    with open(image, "r+b") as file:
        for offset, length in ours.items():
            file.seek(offset)
            file.write(pattern(f"host-{offset}", length))
    serve(["nvme", f"file={image}", f"socket={work}/a.sock"])
    guest = boot(work / "a.sock")
    for offset, length in ours.items():
        check_at(guest, f"host-{offset}", offset, length)
    for offset, length in theirs.items():
        guest.run(write_at(f"guest-{offset}", offset, length))
    guest.run(f"nvme flush {DISK}")
    check_file(image, {f"guest-{o}": (o, n) for o, n in theirs.items()})
    guest.poweroff()
    check_file(image, {f"guest-{o}": (o, n) for o, n in theirs.items()})
    check_file(image, {f"host-{o}": (o, n) for o, n in ours.items()})


def check_file(image: Path, areas: dict[str, tuple[int, int]]) -> None:
    """Each area holds its pattern, and nothing spilled over its edges."""
    total = image.stat().st_size
    with open(image, "rb") as file:
        for label, (offset, length) in areas.items():
            start, end = max(0, offset - 4096), min(total, offset + length + 4096)
            file.seek(start)
            data = file.read(end - start)
            expected = bytes(offset - start) + pattern(label, length)
            assert data == expected.ljust(end - start, b"\0"), f"{label} at {offset}"


def test_discard(serve: Serve, boot: Boot, work: Path) -> None:
    image = sparse(work / "disk.img", GIB)
    serve(["nvme", f"file={image}", f"socket={work}/a.sock"])
    guest = boot(work / "a.sock")
    guest.run(write_at("full", 0, 64 * MIB))
    guest.run(f"nvme flush {DISK}")
    full = allocated(image)
    assert full >= 64 * MIB
    guest.run(f"blkdiscard -o {16 * MIB} -l {32 * MIB} {DISK}")
    wait_until("discarded blocks are free", lambda: allocated(image) <= full - 31 * MIB)
    zeros = guest.run(f"{read_at(16 * MIB, 32 * MIB)} | tr -d '\\0' | wc -c")
    assert zeros.strip() == "0"
    check_at(guest, "full", 0, 16 * MIB)
    tail = pattern("full", 64 * MIB)[48 * MIB :]
    digest = guest.run(f"{read_at(48 * MIB, 16 * MIB)} | sha256sum").split()[0]
    assert digest == hashlib.sha256(tail).hexdigest()
    assert not kernel_complaints(guest)


def allocated(file: Path) -> int:
    return file.stat().st_blocks * 512


def test_intx(serve: Serve, boot: Boot, work: Path) -> None:
    serve(["nvme", "size=1G", f"socket={work}/a.sock"])
    guest = boot(work / "a.sock", append="pci=nomsi")
    assert "MSI-X: Enable-" in lspci(guest)
    before = guest.interrupts("nvme0q")
    run_fio(guest)
    after = guest.interrupts("nvme0q")
    assert [i.chip for i in after] == ["IO-APIC"], after
    assert after[0].count > before[0].count, (before, after)
    assert not kernel_complaints(guest)


def toggle_bus_master(disk_address: str, rounds: int) -> str:
    """What blktests block/011 does: Bus Master Enable off and on while something else does I/O."""
    off, on = (f"setpci -s {disk_address} COMMAND={value}:4" for value in ("0", "4"))
    return f"i=0; while [ $i -lt {rounds} ]; do {off}; {on}; i=$((i+1)); done"


@pytest.mark.parametrize("append", ["", "pci=nomsi"])
def test_bus_master_toggles(serve: Serve, boot: Boot, work: Path, append: str) -> None:
    """No command waits for its time-out: what QEMU drops while the bit is off comes again."""
    serve(["nvme", "size=1G", f"socket={work}/a.sock"])
    guest = boot(work / "a.sock", append=append)
    fio = guest.start_job(
        f"fio --name=a --filename={DISK} --rw=randread --bs=4k --direct=1 --ioengine=libaio"
        " --iodepth=8 --numjobs=2 --time_based --runtime=12 --eta=never"
    )
    rounds = 0
    while fio.running():
        guest.run(toggle_bus_master(address(guest), 20))
        rounds += 20
    fio.wait()
    assert rounds > 40
    run_fio(guest)
    _, polled = guest.run_status("dmesg | grep -iE 'completion poll|I/O tag|timeout'")
    assert not polled
    assert not kernel_complaints(guest)


def test_function_level_reset(serve: Serve, boot: Boot, work: Path) -> None:
    serve(["nvme", "size=1G", f"socket={work}/a.sock"])
    guest = boot(work / "a.sock")
    device = f"/sys/bus/pci/devices/{address(guest)}"
    assert "FLReset+" in lspci(guest)
    assert "flr" in guest.run(f"cat {device}/reset_method")
    guest.run(write_at("before", 0, MIB))
    guest.run(f"echo flr >{device}/reset_method; echo 1 >{device}/reset")
    check_at(guest, "before", 0, MIB)
    run_fio(guest, start=512 * MIB)
    # Without a driver, under which the kernel would set the controller up again.
    guest.run(f"echo {address(guest)} >/sys/bus/pci/drivers/nvme/unbind; echo 1 >{device}/reset")
    guest.run(f"echo {device.rsplit('/', 1)[1]} >/sys/bus/pci/drivers/nvme/bind")
    guest.run("i=0; while [ ! -e /dev/nvme0n1 ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done")
    check_at(guest, "before", 0, MIB)
    assert not kernel_complaints(guest)


@pytest.mark.parametrize("append", ["", "pci=nomsi"])
def test_doorbells_in_a_mapped_page(serve: Serve, boot: Boot, work: Path, append: str) -> None:
    """QEMU maps what it may map: the guest writes doorbells, and nothing tells the device."""
    serve(["nvme", "size=1G", f"socket={work}/a.sock", "mmap-doorbells=on"])
    guest = boot(work / "a.sock", append=append)
    run_fio(guest, size="8M")
    assert not kernel_complaints(guest)


def test_partition_and_file_system(serve: Serve, boot: Boot, work: Path) -> None:
    image = sparse(work / "disk.img", GIB)
    serve(["nvme", f"file={image}", f"socket={work}/a.sock"])
    guest = boot(work / "a.sock")
    guest.run(f"printf 'size=256M\\nsize=512M\\n' | sfdisk -q {DISK}")
    guest.run(f"mkfs.ext4 -q {DISK}p2 && mount {DISK}p2 /mnt")
    guest.run("cp /usr/bin/busybox /usr/bin/fio /mnt && mkdir /mnt/d")
    guest.run("for i in $(seq 200); do echo $i >/mnt/d/$i; done; fstrim /mnt; umount /mnt")
    guest.reboot()
    guest.run(f"e2fsck -fn {DISK}p2 && mount {DISK}p2 /mnt")
    guest.run("cmp /usr/bin/busybox /mnt/busybox && cmp /usr/bin/fio /mnt/fio")
    total = guest.run("cat /mnt/d/* | awk '{ n += $1 } END { print n }'")
    assert total == f"{200 * 201 // 2}\n"
    guest.run("umount /mnt")
    assert not kernel_complaints(guest)


def test_reboot(serve: Serve, boot: Boot, work: Path) -> None:
    """An orderly one, and then the reset button while commands are in flight."""
    serve(["nvme", "size=1G", f"socket={work}/a.sock"])
    guest = boot(work / "a.sock")
    guest.run(write_at("kept", 512 * MIB, MIB))
    guest.reboot()
    check_at(guest, "kept", 512 * MIB, MIB)
    run_fio(guest)
    guest.start_job(fio_verify(rounds=1000))
    guest.run("sleep 1.5")
    guest.reboot(hard=True)
    check_at(guest, "kept", 512 * MIB, MIB)
    run_fio(guest)
    assert not kernel_complaints(guest)


RECORD = 4096


def test_killed_guest(serve: Serve, boot: Boot, work: Path) -> None:
    """A guest dies while it writes; all that was flushed is there for the next one."""
    image = sparse(work / "disk.img", GIB)
    serve(["nvme", f"file={image}", f"socket={work}/a.sock"])
    first = boot(work / "a.sock")
    first.run(write_at("whole", 512 * MIB, 4 * MIB) + f" && nvme flush {DISK}")
    first.start_job(fio_verify(rounds=1000))
    first.start_job(
        f"i=0; while :; do yes record-$i | head -c {RECORD} | dd of={DISK} bs={RECORD} seek="
        f"$(({768 * MIB // RECORD} + i)) oflag=direct conv=notrunc,fsync status=none || exit;"
        " echo ACK $i. >/dev/ttyS0; i=$((i + 1)); done"
    )
    first.wait_for_console(r"ACK 40\.", timeout=60)
    first.kill()
    last = int(re.findall(r"ACK (\d+)\.", first.console.text())[-1])

    second = boot(work / "a.sock")
    check_at(second, "whole", 512 * MIB, 4 * MIB)
    expected = b"".join(pattern(f"record-{i}", RECORD) for i in range(last + 1))
    digest = second.run(f"{read_at(768 * MIB, len(expected))} | sha256sum").split()[0]
    assert digest == hashlib.sha256(expected).hexdigest()
    run_fio(second)
    assert not kernel_complaints(second)


def test_two_guests(serve: Serve, boot: Boot, work: Path) -> None:
    """Two devices of one process, in two machines at once: nothing of one gets to the other."""
    images = {name: sparse(work / f"{name}.img", GIB) for name in "ab"}
    serve(
        *(
            ["nvme", str(image), f"socket={work}/{name}.sock", f"serial=disk-{name}"]
            for name, image in images.items()
        )
    )
    guests = {name: boot(work / f"{name}.sock", cpus=1, wait=False) for name in "ab"}
    for name, guest in guests.items():
        guest.wait_ready()
        assert guest.run("cat /sys/class/nvme/nvme0/serial").strip() == f"disk-{name}"
        guest.run(write_at(f"only-{name}", 512 * MIB, MIB))
    jobs = [guest.start_job(fio_verify()) for guest in guests.values()]
    for job in jobs:
        check_fio(job.wait(240))
    for name, guest in guests.items():
        check_at(guest, f"only-{name}", 512 * MIB, MIB)
        assert not kernel_complaints(guest)
        guest.poweroff()
        check_file(images[name], {f"only-{name}": (512 * MIB, MIB)})


@pytest.mark.parametrize("firmware", ["seabios", "ovmf"])
def test_boot_from_disk(serve: Serve, boot: Boot, work: Path, firmware: str) -> None:
    """The firmware loads a kernel from the disk that is first in the boot order."""
    devices = []
    for name in "ab":
        image = make_boot_image(work / f"{name}.img", f"outboard.image={name}")
        devices.append(["nvme", str(image), f"socket={work}/{name}.sock", f"serial=disk-{name}"])
    serve(*devices)
    first = Disk(work / "a.sock", {"bootindex": 2})
    second = Disk(work / "b.sock", {"bootindex": 1})
    # QEMU's emulated CPU keeps its translation of code that it has run, and does not see that another
    # process wrote to that memory since. SeaBIOS loads one boot sector where it has run another, so
    # it gets memory that QEMU writes itself, on behalf of the device.
    guest = boot(first, second, firmware=firmware, shared=firmware != "seabios")
    assert "outboard.image=b" in guest.run("cat /proc/cmdline")
    status, _ = guest.run_status("[ -d /sys/firmware/efi ]")
    assert (status == 0) == (firmware == "ovmf")
    serials = guest.run("cat /sys/class/nvme/*/serial").split()
    assert sorted(serials) == ["disk-a", "disk-b"]
    assert not kernel_complaints(guest)


def test_iommu(serve: Serve, boot: Boot, work: Path) -> None:
    """With an IOMMU, maps come and go with each command, and all of them at a reboot."""
    serve(["nvme", "size=1G", f"socket={work}/a.sock"])
    guest = boot(work / "a.sock", iommu=True, append="intel_iommu=on iommu.strict=1")
    for _ in range(2):
        assert guest.run("cat /sys/kernel/iommu_groups/*/type").split()[0] == "DMA"
        run_fio(guest, size="2M")
        assert not kernel_complaints(guest)
        guest.reboot(hard=True)


def test_memory_that_is_not_shared(serve: Serve, boot: Boot, work: Path, logs: Path) -> None:
    """QEMU sends a descriptor for it, in which nothing that the guest writes appears."""
    serve(["nvme", "size=64M", f"socket={work}/a.sock"])
    guest = boot(work / "a.sock", shared="memfd,share=off")
    guest.run(write_at("private", 0, MIB))
    check_at(guest, "private", 0, MIB)
    assert not kernel_complaints(guest)
    assert (logs / "outboard-0.log").read_text().count("add share=on") == 1


def nvme_json(guest: Guest, command: str) -> Any:
    return json.loads(guest.run(f"nvme {command} -o json"))


def test_nvme_cli(serve: Serve, boot: Boot, work: Path) -> None:
    image = sparse(work / "a.img", GIB)
    serve(["nvme", str(image), f"socket={work}/a.sock", "serial=ob-cli"])
    guest = boot(work / "a.sock")
    check_identify(guest)
    check_logs(guest)
    check_features(guest)
    check_io_commands(guest)
    check_formats(guest)
    run_fio(guest)
    assert not kernel_complaints(guest)


def check_identify(guest: Guest) -> None:
    controller = nvme_json(guest, "id-ctrl /dev/nvme0")
    assert controller["sn"].strip() == "ob-cli"
    assert controller["ver"] >= 0x10400
    assert (controller["sqes"], controller["cqes"]) == (0x66, 0x44)
    assert controller["vwc"] & 1, "no volatile write cache"
    assert controller["subnqn"].startswith("nqn."), controller["subnqn"]
    namespace = nvme_json(guest, f"id-ns {DISK}")
    in_use = namespace["lbafs"][namespace["flbas"] & 15]
    assert namespace["nsze"] << in_use["ds"] == GIB
    assert "0x1" in guest.run("nvme list-ns /dev/nvme0")
    guest.run(f"nvme ns-descs {DISK}")


def check_logs(guest: Guest) -> None:
    before = nvme_json(guest, "smart-log /dev/nvme0")
    assert before["critical_warning"] == 0
    guest.run(f"{read_at(0, 8 * MIB)} >/dev/null; {write_at('smart', 0, 8 * MIB)}")
    after = nvme_json(guest, "smart-log /dev/nvme0")
    for count in ("host_read_commands", "host_write_commands"):
        assert int(after[count]) > int(before[count]), count
    assert "errors" in nvme_json(guest, "error-log /dev/nvme0 -e 1")
    assert nvme_json(guest, "fw-log /dev/nvme0")
    nvme_json(guest, "effects-log /dev/nvme0 -c 0")
    guest.run("nvme changed-ns-list-log /dev/nvme0")


def check_features(guest: Guest) -> None:
    # Arbitration, power, temperature, error recovery, write cache, queues, coalescing, events.
    for feature in (1, 2, 4, 5, 6, 7, 8, 11):
        guest.run(f"nvme get-feature /dev/nvme0 -n 1 -f {feature}")
    for value in (0, 1):
        guest.run(f"nvme set-feature /dev/nvme0 -f 6 -V {value}")
        answer = guest.run("nvme get-feature /dev/nvme0 -f 6")
        assert int(re.search(r"value:\s*(\w+)", answer)[1], 16) == value, answer
    status, answer = guest.run_status("nvme get-feature /dev/nvme0 -f 0x7f")
    assert status and "Invalid Field" in answer, answer
    status, answer = guest.run_status("nvme admin-passthru /dev/nvme0 --opcode=0x7f")
    assert status and "Invalid Command Opcode" in answer, answer


def check_io_commands(guest: Guest) -> None:
    guest.run(write_at("io", 0, 8192) + " && yes io | head -c 4096 >/tmp/same")
    guest.run("yes other | head -c 4096 >/tmp/other")
    blocks = "-s 0 -c 7"
    guest.run(f"nvme compare {DISK} {blocks} -z 4096 -d /tmp/same")
    with pytest.raises(CommandError, match="(?i)compare failure"):
        guest.run(f"nvme compare {DISK} {blocks} -z 4096 -d /tmp/other")
    guest.run(f"nvme verify {DISK} {blocks}")
    guest.run(f"nvme write {DISK} -s 8 -c 7 -z 4096 -d /tmp/other")
    guest.run(f"nvme read {DISK} -s 8 -c 7 -z 4096 -d /tmp/back && cmp /tmp/back /tmp/other")
    guest.run(f"nvme write-zeroes {DISK} -s 8 -c 7")
    zeros = guest.run(f"{read_at(4096, 4096)} | tr -d '\\0' | wc -c")
    assert zeros.strip() == "0"
    guest.run(f"nvme dsm {DISK} --ad -s 0 -b 8")
    zeros = guest.run(f"{read_at(0, 4096)} | tr -d '\\0' | wc -c")
    assert zeros.strip() == "0"
    with pytest.raises(CommandError, match="(?i)LBA.*range"):
        guest.run(f"nvme read {DISK} -s {GIB // 512} -c 0 -z 512 -d /tmp/back")


def check_formats(guest: Guest) -> None:
    """Formats to every block size there is, and back to the first one."""
    namespace = nvme_json(guest, f"id-ns {DISK}")
    formats = [f for f in range(len(namespace["lbafs"])) if namespace["lbafs"][f]["ds"]]
    in_use = namespace["flbas"] & 15
    for number in [f for f in formats if f != in_use] + [in_use]:
        guest.run(f"nvme format {DISK} -l {number} --force")
        block = 1 << namespace["lbafs"][number]["ds"]
        size = int(guest.run("cat /sys/block/nvme0n1/queue/logical_block_size"))
        assert size == block
        run_fio(guest, size="2M", align=block)


def test_controller_reset(serve: Serve, boot: Boot, work: Path) -> None:
    """The driver resets the controller with commands in flight, and loses none of them."""
    serve(["nvme", "size=1G", f"socket={work}/a.sock"])
    guest = boot(work / "a.sock")
    job = guest.start_job(fio_verify(size="16M", rounds=3))
    guest.run("sleep 1")
    resets = 0
    while job.running() and resets < 8:
        guest.run("echo 1 >/sys/class/nvme/nvme0/reset_controller; sleep 0.2", timeout=90)
        resets += 1
    check_fio(job.wait())
    assert resets > 2
    assert guest.run("cat /sys/class/nvme/nvme0/state") == "live\n"
    guest.run("echo 1 >/sys/class/nvme/nvme0/device/remove && echo 1 >/sys/bus/pci/rescan")
    guest.run(f"until [ -e {DISK} ]; do sleep 0.1; done")
    run_fio(guest)
    assert not re.search(r"I/O error", kernel_complaints(guest))


def test_read_only(serve: Serve, boot: Boot, work: Path) -> None:
    image = sparse(work / "disk.img", 64 * MIB)
    with open(image, "r+b") as file:
        file.write(pattern("fixed", MIB))
    serve(["nvme", f"file={image}", "ro=on", f"socket={work}/a.sock"])
    guest = boot(work / "a.sock")
    assert guest.run("cat /sys/block/nvme0n1/ro") == "1\n"
    check_at(guest, "fixed", 0, MIB)
    with pytest.raises(CommandError):
        guest.run(write_at("changed", 0, MIB))
    with pytest.raises(CommandError):
        guest.run(f"nvme write-zeroes {DISK} -s 0 -c 7")
    check_at(guest, "fixed", 0, MIB)
    assert image.read_bytes() == pattern("fixed", MIB).ljust(64 * MIB, b"\0")
