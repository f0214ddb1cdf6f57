# SPDX-License-Identifier: BSD-3-Clause
"""The benchmarks' command line. scripts/bench builds what is needed and then comes here."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

from . import docs, machine
from .parts import PARTS
from .plot import plot
from .programs import BUILD, OUTBOARD, REPO, Bench, Broken, Missing
from .results import Part, Results, spread
from .text import print_part, print_verdict

RUNS, QUICK_RUNS = 5, 3
FLOOR_SPREAD = 1.5  # between runs, from which on a floor says little


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measures outboard beside the floor of the machine, in the same runs: medians, "
        "with the least and the most. Nothing here fails because it is slow.",
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="which (default: all; see --list)")
    parser.add_argument("--list", action="store_true", help="say which parts there are")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs, and no guest")
    parser.add_argument("--runs", type=int, help=f"of each (default: {RUNS}, quick: {QUICK_RUNS})")
    parser.add_argument(
        "--output",
        type=Path,
        default=BUILD / "bench",
        metavar="FOLDER",
        help="for results.json and PART.svg (default: build/bench)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where else the JSON goes")
    parser.add_argument(
        "--from",
        dest="given",
        type=Path,
        action="append",
        metavar="FILE",
        help="measure nothing: take this JSON; of several, the last that has a part",
    )
    parser.add_argument(
        "--docs",
        action="store_true",
        help="put the tables into docs/performance.md, and the plots beside it",
    )
    args = parser.parse_args()
    for name in args.parts:
        if name not in PARTS:
            parser.error(f"there is no part '{name}'; there are: {', '.join(PARTS)}")
    if args.runs is not None and not 1 <= args.runs <= 1000:
        parser.error("--runs: 1 to 1000 expected")
    return args


def doubts_of_spread(part: Part) -> list[str]:
    """A floor has no reason to change from run to run: if it does, it is the machine."""
    found = {}
    for row in part.rows:
        for beside in row.beside:
            if len(beside.values) > 1 and spread(beside.values) > FLOOR_SPREAD:
                found[beside.name] = max(found.get(beside.name, 0), spread(beside.values))
    return [f"'{name}' differed by a factor of {most:.1f} between runs" for name, most in found.items()]


def run_part(name: str, args: argparse.Namespace, runs: int) -> Part:
    module = PARTS[name]
    bench = Bench(runs, args.quick, args.output)
    watch = machine.Watch()
    rows = []
    try:
        rows = module.measure(bench)
    except (Missing, Broken) as error:
        bench.note(f"not measured: {error}")
    part = Part(name, module.TITLE, rows, bench.notes, watch.doubts())
    part.doubts += doubts_of_spread(part)
    part.seconds = time.monotonic() - watch.began
    return part


def measure(args: argparse.Namespace) -> Results:
    runs = args.runs or (QUICK_RUNS if args.quick else RUNS)
    names = args.parts or [name for name in PARTS if not (args.quick and name == "guest")]
    # A thousand devices have a thousand sockets.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    results = Results(machine.describe(), args.quick, runs, [])
    server, client = machine.processors()
    print(
        f"{results.machine['processors']} processors ({results.machine['processor']}), "
        f"load {results.machine['load_at_start']:.2f}; {runs} runs, "
        f"servers on processor {server}, clients on {client}"
    )
    if server == client:
        print("one processor only: figures of two sides that both look mean nothing here")
    for name in names:
        part = run_part(name, args, runs)
        results.parts.append(part)
        print_part(part)
        sys.stdout.flush()
    return results


def read(paths: list[Path]) -> Results:
    found = [Results.from_json(json.loads(path.read_text())) for path in paths]
    parts = {part.name: part for results in found for part in results.parts}
    order = [name for name in PARTS if name in parts]
    last = found[-1]
    return Results(last.machine, last.quick, last.runs, [parts[name] for name in order])


def write(results: Results, args: argparse.Namespace) -> None:
    text = json.dumps(results.to_json(), indent=1) + "\n"
    args.output.mkdir(parents=True, exist_ok=True)
    if args.json:
        args.json.write_text(text)
    if args.given:
        return
    (args.output / "results.json").write_text(text)
    for part in results.parts:
        if part.rows:
            (args.output / f"{part.name}.svg").write_text(plot(part))
    count = sum(bool(part.rows) for part in results.parts)
    print(f"\nresults.json and {count} plots are in {args.output}")


def main() -> int:
    args = parse_arguments()
    if args.list:
        for name, module in PARTS.items():
            print(f"{name:12} {module.TITLE}")
        return 0
    if args.given:
        try:
            results = read(args.given)
        except (OSError, ValueError, KeyError) as error:
            print(f"bench: no results can be read: {error}", file=sys.stderr)
            return 1
        for part in results.parts:
            print_part(part)
    else:
        if not OUTBOARD.exists():
            print(f"bench: {OUTBOARD} is not there: scripts/bench builds it", file=sys.stderr)
            return 1
        args.output.mkdir(parents=True, exist_ok=True)
        results = measure(args)
    print_verdict(results.parts)
    write(results, args)
    if args.docs:
        docs.update(REPO / "docs" / "performance.md", results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
