# SPDX-License-Identifier: BSD-3-Clause
"""
Puts results into a page of documentation. What stands between a pair of lines like these is replaced:

    <!-- bench:PART -->
    <!-- /bench:PART -->

PART is the name of a part, "machine", or "targets". Parts that were not measured stay as they are.
"""

from __future__ import annotations

import re
from pathlib import Path

from .plot import plot
from .results import Part, Results, judge
from .text import markdown_table, tables

PLOTS = "performance"  # a folder beside the page


def update(page: Path, results: Results) -> None:
    """Rewrites the page, and writes the plots that it shows."""
    blocks = {part.name: block_of(part) for part in results.parts if part.rows}
    if results.parts:
        blocks["machine"] = machine_block(results)
    if judge(results.parts):
        blocks["targets"] = targets_block(results)
    page.write_text(replace(page.read_text(), blocks))
    folder = page.parent / PLOTS
    folder.mkdir(exist_ok=True)
    for part in results.parts:
        if part.rows:
            (folder / f"{part.name}.svg").write_text(plot(part))


def replace(text: str, blocks: dict[str, str]) -> str:
    for name, block in blocks.items():
        pattern = rf"(<!-- bench:{re.escape(name)} -->\n).*?(<!-- /bench:{re.escape(name)} -->)"
        text, _ = re.subn(
            pattern, lambda m, b=block: f"{m[1]}\n{b}\n\n{m[2]}", text, flags=re.DOTALL
        )
    return text


def block_of(part: Part) -> str:
    pieces = [f"![{part.title}]({PLOTS}/{part.name}.svg)"]
    pieces += [markdown_table(heads, lines) for heads, lines in tables(part)]
    remarks = [f"- {row.name}: {row.note}" for row in part.rows if row.note]
    remarks += [f"- {note}" for note in part.notes]
    remarks += [f"- **Not to be believed:** {doubt}" for doubt in part.doubts]
    if remarks:
        pieces.append("\n".join(remarks))
    return "\n\n".join(pieces)


def machine_block(results: Results) -> str:
    m = results.machine
    return (
        f"{m['processor']}, {m['processors']} processors, {m['memory_gib']} GiB, Linux {m['kernel']}; "
        f"{m['when']}, load {m['load_at_start']:.2f} at the start; {results.runs} runs of each"
        f"{', quick' if results.quick else ''}."
    )


def targets_block(results: Results) -> str:
    lines = [
        [j.part, j.name, f"{j.ratio:.2f} × {j.beside}", str(j.target), "met" if j.met else "**missed**"]
        for j in judge(results.parts)
    ]
    return markdown_table(["part", "what", "measured", "target", "verdict"], lines)
