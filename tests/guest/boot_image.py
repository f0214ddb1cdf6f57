#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A disk image that SeaBIOS and OVMF both boot a kernel from.

One FAT partition (in an MBR, active, marked as an EFI system partition) holds the kernel and the
small initramfs, syslinux for the BIOS, and systemd-boot for UEFI. Everything is done on a plain
file with mtools: no loop device, no mount, no root's rights.

    tests/guest/boot_image.py IMAGE [KERNEL-ARGUMENT...]
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from guest import GUEST_DIR, KERNEL_ARGS

SECTOR = 512
IMAGE_SIZE = 64 << 20
PARTITION_START = 1 << 20
PARTITION_TYPE_EFI = 0xEF
HEADS, TRACK_SECTORS = 255, 63

ROOT = GUEST_DIR / "root" / "usr" / "lib"
MBR_CODE = ROOT / "syslinux" / "mbr" / "mbr.bin"
SYSTEMD_BOOT = ROOT / "systemd" / "boot" / "efi" / "systemd-bootx64.efi"


def run_tool(name: str, *args: str) -> None:
    bin_dir = GUEST_DIR / "bin"
    # syslinux calls mtools by its names.
    env = {**os.environ, "PATH": f"{bin_dir}:{os.environ['PATH']}", "MTOOLS_SKIP_CHECK": "1"}
    result = subprocess.run([bin_dir / name, *args], env=env, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{name} {' '.join(args)}: {result.stdout}{result.stderr}")


def write_partition_table(image: Path) -> None:
    start, count = PARTITION_START // SECTOR, (IMAGE_SIZE - PARTITION_START) // SECTOR
    # The addresses by cylinder, head and sector say "too large, look at the others".
    beyond = bytes([0xFE, 0xFF, 0xFF])
    entry = struct.pack("<B3sB3sII", 0x80, beyond, PARTITION_TYPE_EFI, beyond, start, count)
    code = MBR_CODE.read_bytes()[:440].ljust(440, b"\0")
    record = code + bytes(6) + entry + bytes(48) + b"\x55\xaa"
    with open(image, "wb") as file:
        file.write(record)
        file.truncate(IMAGE_SIZE)


def make_file_system(image: Path) -> str:
    """The file system's name, as mtools understands it."""
    drive = f"{image}@@{PARTITION_START}"
    sectors = (IMAGE_SIZE - PARTITION_START) // SECTOR
    geometry = ["-h", str(HEADS), "-s", str(TRACK_SECTORS), "-T", str(sectors)]
    hidden = ["-H", str(PARTITION_START // SECTOR)]
    run_tool("mformat", "-i", drive, *geometry, *hidden, "-v", "OUTBOARD", "::")
    return drive


def loader_files(kernel_args: str) -> dict[str, str]:
    return {
        "syslinux.cfg": "DEFAULT linux\nLABEL linux\n  LINUX /vmlinuz\n  INITRD /initrd\n"
        f"  APPEND {kernel_args}\n",
        "loader/loader.conf": "timeout 0\n",
        "loader/entries/linux.conf": "title linux\nlinux /vmlinuz\ninitrd /initrd\n"
        f"options {kernel_args}\n",
    }


def make_boot_image(image: Path, *kernel_args: str) -> Path:
    """Writes the image. Its kernel gets `kernel_args` in addition to what every guest has."""
    write_partition_table(image)
    drive = make_file_system(image)
    run_tool("mmd", "-i", drive, "::EFI", "::EFI/BOOT", "::loader", "::loader/entries")
    files = {
        "vmlinuz": GUEST_DIR / "vmlinuz",
        "initrd": GUEST_DIR / "initramfs-small.cpio.gz",
        "EFI/BOOT/BOOTX64.EFI": SYSTEMD_BOOT,
    }
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, text) in enumerate(
            loader_files(" ".join(["console=ttyS0", KERNEL_ARGS, *kernel_args])).items()
        ):
            files[name] = Path(folder, str(number))
            files[name].write_text(text)
        for name, path in files.items():
            run_tool("mcopy", "-i", drive, str(path), f"::{name}")
    run_tool("syslinux", "--install", "--offset", str(PARTITION_START), str(image))
    return image


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 0 if sys.argv[1:] == ["--help"] else 1
    make_boot_image(Path(sys.argv[1]), *sys.argv[2:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
