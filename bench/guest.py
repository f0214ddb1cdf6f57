# SPDX-License-Identifier: BSD-3-Clause
"""fio in a guest: a disk that outboard serves beside the nvme device that is part of QEMU.

Both have a backend that does nothing (outboard: null=on, QEMU: null-co), so that what is measured
is the device and the way to it. Random reads of 4 KiB, one job. Each run is a guest of its own, and
the two devices take turns, so that a change of the machine's speed meets both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "guest"))

from guest import GUEST_DIR, Guest, GuestError  # noqa: E402
from server import DEFAULT_BIN, Server, ServerError  # noqa: E402

DISK = "/dev/nvme0n1"
DISK_SIZE = 1 << 30
DEPTHS = (1, 32)
KERNEL_ARGS = {"msix": "", "intx": "pci=nomsi"}
DEVICES = ("outboard", "in-process")
RAMP_SECONDS = 0.5


@dataclass
class Sample:
    device: str
    interrupts: str
    depth: int
    iops: float
    latency_us: float


@dataclass
class Row:
    device: str
    interrupts: str
    depth: int
    iops: float
    iops_min: float
    iops_max: float
    latency_us: float
    ratio: float | None = None


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5, help="guests per line (default: 5)")
    parser.add_argument("--seconds", type=float, default=2, help="of each fio (default: 2)")
    parser.add_argument("--cpus", type=int, default=1, help="of the guest (default: 1)")
    parser.add_argument("--outboard", type=Path, default=DEFAULT_BIN, help="the program")
    parser.add_argument("--device", choices=DEVICES, action="append", help="only this one")
    parser.add_argument("--interrupts", choices=KERNEL_ARGS, action="append", help="only these")
    parser.add_argument("--json", metavar="FILE", help="write results there too; - is stdout")
    parser.add_argument(
        "--check",
        action="store_true",
        help="fail if outboard is slower at depth 32, or INTx collapses there",
    )
    return parser.parse_args()


def fio(guest: Guest, depth: int, seconds: float) -> tuple[float, float]:
    """Operations per second, and their mean latency in microseconds."""
    output = guest.run(
        f"fio --output-format=json --name=bench --filename={DISK} --ioengine=libaio --direct=1"
        f" --rw=randread --bs=4k --norandommap --randrepeat=0 --iodepth={depth} --time_based"
        f" --runtime={seconds}s --ramp_time={RAMP_SECONDS}s",
        timeout=60 + 2 * seconds,
    )
    read = json.loads(output[output.index("{") :])["jobs"][0]["read"]
    return read["iops"], read["clat_ns"]["mean"] / 1000


def measure(guest: Guest, device: str, interrupts: str, seconds: float) -> list[Sample]:
    chips = {i.chip for i in guest.interrupts("nvme0q")}
    if any(("MSI" in chip) != (interrupts == "msix") for chip in chips) or not chips:
        raise GuestError(f"{device}: the disk's interrupts are {chips}, not {interrupts}")
    return [Sample(device, interrupts, depth, *fio(guest, depth, seconds)) for depth in DEPTHS]


def run_one(device: str, interrupts: str, args: argparse.Namespace) -> list[Sample]:
    options = {"append": KERNEL_ARGS[interrupts], "cpus": args.cpus}
    if device == "in-process":
        drive = f"driver=null-co,node-name=null,size={DISK_SIZE},read-zeroes=on"
        qemu_args = ["-blockdev", drive, "-device", "nvme,drive=null,serial=null"]
        with Guest(qemu_args=qemu_args, **options) as guest:
            return measure(guest, device, interrupts, args.seconds)
    with tempfile.TemporaryDirectory(prefix="outboard.") as folder:
        words = ["nvme", "null=on", f"size={DISK_SIZE}", f"socket={folder}/bench.sock"]
        log = Path(folder, "log")
        with Server(words, binary=args.outboard, log=log), Guest(
            [f"{folder}/bench.sock"], **options
        ) as guest:
            return measure(guest, device, interrupts, args.seconds)


def run_all(args: argparse.Namespace) -> list[Sample]:
    samples: list[Sample] = []
    modes = args.interrupts or list(KERNEL_ARGS)
    devices = args.device or list(DEVICES)
    total, done, began = args.runs * len(modes) * len(devices), 0, time.monotonic()
    for number in range(args.runs):
        for interrupts in modes:
            # Who goes first changes from run to run.
            for device in devices if number % 2 == 0 else reversed(devices):
                samples += run_one(device, interrupts, args)
                done += 1
                latest = ", ".join(f"depth {s.depth}: {s.iops:.0f}" for s in samples[-2:])
                elapsed = time.monotonic() - began
                print(
                    f"[{elapsed:3.0f}s] {done}/{total} {device} {interrupts}: {latest} IOPS",
                    file=sys.stderr,
                )
    return samples


def summarize(samples: list[Sample]) -> list[Row]:
    rows: dict[tuple[str, int, str], Row] = {}
    for s in samples:
        key = (s.interrupts, s.depth, s.device)
        same = [o for o in samples if (o.interrupts, o.depth, o.device) == key]
        iops = [o.iops for o in same]
        latency = statistics.median(o.latency_us for o in same)
        rows[key] = Row(
            s.device, s.interrupts, s.depth, statistics.median(iops), min(iops), max(iops), latency
        )
    for (interrupts, depth, _), row in rows.items():
        beside = rows.get((interrupts, depth, "in-process"))
        if beside and row is not beside:
            row.ratio = row.iops / beside.iops
    modes = list(KERNEL_ARGS)
    order = sorted(rows, key=lambda k: (modes.index(k[0]), k[1], DEVICES.index(k[2])))
    return [rows[key] for key in order]


def print_table(rows: list[Row], args: argparse.Namespace) -> None:
    print(f"random reads of 4 KiB in a TCG guest with {args.cpus} CPU, {args.runs} runs each")
    print(f"{'':5} depth  {'device':11} {'IOPS':>8} {'(min - max)':>17} {'mean us':>9} ratio")
    for r in rows:
        spread = f"({r.iops_min:.0f} - {r.iops_max:.0f})"
        ratio = f"{r.ratio:5.2f}" if r.ratio else ""
        print(
            f"{r.interrupts:5} {r.depth:5}  {r.device:11} {r.iops:8.0f} {spread:>17}"
            f" {r.latency_us:9.1f} {ratio}".rstrip()
        )


def failures(rows: list[Row]) -> list[str]:
    found = []
    ours = {(r.interrupts, r.depth): r for r in rows if r.device == "outboard"}
    fast = ours.get(("msix", 32))
    if fast and fast.ratio and fast.ratio < 1:
        found.append(f"depth 32 over MSI-X: {fast.ratio:.2f} of what the in-process device does")
    one, many = ours.get(("intx", 1)), ours.get(("intx", 32))
    if one and many and many.iops < one.iops:
        found.append(f"INTx collapses: {one.iops:.0f} IOPS at depth 1, {many.iops:.0f} at 32")
    return found


def main() -> int:
    args = parse_arguments()
    if not (GUEST_DIR / "guest.stamp").exists():
        print("bench: no guest root yet: scripts/guest-root makes it", file=sys.stderr)
        return 1
    try:
        rows = summarize(run_all(args))
    except (GuestError, ServerError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if args.json != "-":
        print_table(rows, args)
    if args.json:
        results = {"runs": args.runs, "cpus": args.cpus, "rows": [asdict(r) for r in rows]}
        text = json.dumps(results, indent=2) + "\n"
        sys.stdout.write(text) if args.json == "-" else Path(args.json).write_text(text)
    found = failures(rows) if args.check else []
    for failure in found:
        print(f"bench: {failure}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
