# SPDX-License-Identifier: BSD-3-Clause
"""Tables of results: for a terminal, and the same as Markdown."""

from __future__ import annotations

from .results import Part, Row, judge

SCALES = {
    "ns": ((1e9, "s"), (1e6, "ms"), (1e3, "us"), (1, "ns")),
    "/s": ((1e6, "M/s"), (1e3, "k/s"), (1, "/s")),
    "B": ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")),
}


def number(value: float) -> str:
    """Three digits are as much as any of this is worth."""
    if value == 0:
        return "0"
    if abs(value) >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}"


def scale_of(value: float, unit: str) -> tuple[float, str]:
    """What a value is best divided by, and the name of the unit then."""
    for factor, name in SCALES.get(unit, ()):
        if abs(value) >= factor:
            return factor, name
    return 1, unit


def with_unit(value: float, unit: str) -> str:
    factor, name = scale_of(value, unit)
    return f"{number(value / factor)} {name}".rstrip()


def tick_labels(ticks: list[float], unit: str, most: float) -> tuple[list[str], str]:
    """Labels of an axis of round numbers, at most so many letters long: with the unit at each, or if
    that is too long, all in one unit, which is then returned too. Those without room are left out."""
    scales = [scale_of(tick, unit) for tick in ticks]
    labels = [f"{tick / factor:.4g} {name}".rstrip() for tick, (factor, name) in zip(ticks, scales)]
    if max(map(len, labels)) <= most:
        return labels, ""
    factor, name = scales[-1]
    labels = [f"{tick / factor:.4g}" for tick in ticks]
    every = 1
    while every < len(labels) and max(map(len, labels)) > most * every:
        every += 1
    return [label if i % every == 0 else "" for i, label in enumerate(labels)], name


def range_of(row: Row) -> str:
    least, most = min(row.values), max(row.values)
    return f"{with_unit(least, row.unit)} - {with_unit(most, row.unit)}" if least != most else ""


def comparisons(part: Part) -> list[list[str]]:
    lines = []
    for row in part.rows:
        if row.group:
            continue
        start = [row.name, with_unit(row.median, row.unit), range_of(row)]
        if not row.beside:
            lines.append([*start, "", "", "", ""])
        for beside in row.beside:
            ratio = row.ratio(beside)
            verdict = ""
            if beside.target:
                verdict = f"{beside.target}: {'met' if beside.target.met(ratio) else 'MISSED'}"
            reference = with_unit(beside.median, row.unit)
            lines.append([*start, beside.name, reference, f"{ratio:.2f}", verdict])
            start = ["", "", ""]
    return lines


FIGURES = ("median", "min", "ratio", "depth")  # columns of these names are set to the right
HEADS = ["", "median", "min - max", "beside it", "median", "ratio", "target"]


def matrix(part: Part) -> tuple[list[str], list[list[str]]]:
    """Rows that have a group: a line for each group, a column for each name of a column."""
    rows = [row for row in part.rows if row.group]
    groups = list(dict.fromkeys(row.group for row in rows))
    columns = list(dict.fromkeys(row.column for row in rows))
    cells = {(row.group, row.column): with_unit(row.median, row.unit) for row in rows}
    lines = [[group, *(cells.get((group, column), "") for column in columns)] for group in groups]
    return ["", *columns], lines


def plain_table(heads: list[str], lines: list[list[str]]) -> str:
    widths = [max(len(line[i]) for line in [heads, *lines]) for i in range(len(heads))]
    out = []
    for line in [heads, *lines]:
        # Words to the left, figures to the right.
        cells = [
            cell.rjust(width) if head.startswith(FIGURES) else cell.ljust(width)
            for head, cell, width in zip(heads, line, widths)
        ]
        out.append("  ".join(cells).rstrip())
    return "\n".join(out)


def markdown_table(heads: list[str], lines: list[list[str]]) -> str:
    rule = ["---:" if head.startswith(FIGURES) else "---" for head in heads]
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, rule, *lines])


def tables(part: Part) -> list[tuple[list[str], list[list[str]]]]:
    found = []
    compared = comparisons(part)
    if compared:
        # Nothing beside any of it: no columns for that.
        width = len(HEADS) if any(line[3] for line in compared) else 3
        found.append((HEADS[:width], [line[:width] for line in compared]))
    heads, lines = matrix(part)
    if lines:
        found.append((heads, lines))
    return found


def print_part(part: Part) -> None:
    print(f"\n{part.name}: {part.title} ({part.seconds:.0f} s)\n")
    for heads, lines in tables(part):
        print(plain_table(heads, lines) + "\n")
    for row in part.rows:
        if row.note:
            print(f"  {row.name}: {row.note}")
    for note in part.notes:
        print(f"  {note}")
    for doubt in part.doubts:
        print(f"  NOT TO BE BELIEVED: {doubt}")


def print_verdict(parts: list[Part]) -> None:
    judgements = judge(parts)
    if not judgements:
        return
    print("\ntargets\n")
    for judgement in judgements:
        print(f"  {judgement}")
    met = sum(j.met for j in judgements)
    print(f"\n{met} of {len(judgements)} targets met")
