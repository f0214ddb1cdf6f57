# SPDX-License-Identifier: BSD-3-Clause
"""Boots a guest on a served NVMe disk and shows what it does with it: the last step of scripts/demo."""

from __future__ import annotations

import sys
import time

from guest import CommandError, Guest, GuestError

# What is said, and what the guest's shell is told.
STEPS = [
    ("the guest's PCI bus has an NVMe controller", "lspci -nn | grep -i 'non-volatile'"),
    ("its kernel's driver made a disk of it", "lsblk -o NAME,SIZE,MODEL,SERIAL /dev/nvme0n1"),
    (
        "it partitions the disk",
        "printf 'label: gpt\\n,\\n' | sfdisk -q /dev/nvme0n1 && sfdisk -l /dev/nvme0n1 | tail -n 1",
    ),
    ("formats it", "mkfs.ext4 -q /dev/nvme0n1p1 && e2fsck -n /dev/nvme0n1p1 2>/dev/null"),
    (
        "writes 64 MiB of random bytes to it",
        "mkdir -p /mnt && mount -t ext4 /dev/nvme0n1p1 /mnt"
        " && dd if=/dev/urandom of=/mnt/file bs=1M count=64 2>/dev/null"
        " && sha256sum </mnt/file | tee /run/written && umount /mnt",
    ),
    (
        "and reads them back, not from its cache",
        "echo 3 >/proc/sys/vm/drop_caches; mount -t ext4 /dev/nvme0n1p1 /mnt"
        " && sha256sum </mnt/file | tee /run/read && cmp /run/written /run/read"
        " && echo 'the same bytes' && umount /mnt",
    ),
]


def show(guest: Guest) -> None:
    for what, command in STEPS:
        print(f"\n--- {what}\nguest# {command}", flush=True)
        print(guest.run(command, timeout=120), end="", flush=True)


def main() -> int:
    print("booting Linux in QEMU, which attaches to that socket with\n", flush=True)
    guest = Guest([sys.argv[1]])
    print(f"    -device '{guest.disks[0].argument()}'", flush=True)
    began = time.monotonic()
    try:
        with guest:
            print(f"\nthe guest is up after {time.monotonic() - began:.0f} s", flush=True)
            show(guest)
            guest.poweroff()
    except (CommandError, GuestError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    print("\nthe guest has shut down\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
