# SPDX-License-Identifier: BSD-3-Clause
"""
Plots of results as SVG, without any library. Colours follow the reader's choice of a light or dark
page. Comparisons become bars, one below the other; tables with columns become lines, a panel for each
of what stands before the colon in the names of their groups.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

from .results import Part, Row, median
from .text import tick_labels, with_unit

STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #24292f; }
  .title { font-weight: 600; font-size: 14px; }
  .small { font-size: 11px; fill: #57606a; }
  .end { text-anchor: end; }
  .mid { text-anchor: middle; }
  .grid { stroke: #d0d7de; stroke-width: 1; }
  .range { stroke: #24292f; stroke-width: 1; }
  .ours { fill: #0969da; }
  .other { fill: #a5abb3; }
  .line { fill: none; stroke-width: 2; }
  .s0 { stroke: #0969da; } .s1 { stroke: #bc4c00; } .s2 { stroke: #1a7f37; }
  .s3 { stroke: #8250df; } .s4 { stroke: #bf3989; } .s5 { stroke: #7d6608; }
  .dash { stroke-dasharray: 5 3; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .small { fill: #9198a1; }
    .grid { stroke: #3d444d; }
    .range { stroke: #e6edf3; }
    .ours { fill: #4493f8; }
    .other { fill: #656c76; }
    .s0 { stroke: #4493f8; } .s1 { stroke: #f0883e; } .s2 { stroke: #3fb950; }
    .s3 { stroke: #ab7df8; } .s4 { stroke: #db61a2; } .s5 { stroke: #d4b106; }
  }
"""
COLOURS = 6
WIDTH, MARGIN = 860, 12
# What a letter of a label is as wide as, about, and of a small one; all of them at most.
LETTER, SMALL_LETTER, LABELS_MOST = 6.6, 6.1, 460
BAR, GAP = 13, 9
PANEL_WIDTH, PANEL_HEIGHT, LEGEND = 420, 210, 17
LOG_FROM = 50  # most by least from which on a scale is logarithmic


class Canvas:
    def __init__(self, width: float) -> None:
        self.width = width
        self.items: list[str] = []

    def text(self, x: float, y: float, text: str, style: str = "") -> None:
        self.items.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{style}">{escape(text)}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        self.items.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}"/>'
        )

    def bar(self, x: float, y: float, width: float, height: float, style: str) -> None:
        self.items.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}"'
            f' rx="1.5" class="{style}"/>'
        )

    def path(self, points: list[tuple[float, float]], style: str) -> None:
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.items.append(f'<polyline points="{places}" class="line {style}"/>')

    def svg(self, height: float) -> str:
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:.0f} {height:.0f}"'
            f' width="{self.width:.0f}" height="{height:.0f}" role="img">'
        )
        return "\n".join([head, f"<style>{STYLE}</style>", *self.items, "</svg>\n"])


@dataclass
class Scale:
    """From 0, or where values lie far apart, logarithmic from a power of ten."""

    least: float
    most: float
    start: float
    length: float
    log: bool

    @staticmethod
    def of(values: list[float], start: float, length: float) -> Scale:
        positive = [value for value in values if value > 0 and math.isfinite(value)] or [1.0]
        log = max(positive) / min(positive) > LOG_FROM
        least = 10 ** math.floor(math.log10(min(positive)) - 0.1) if log else 0.0
        return Scale(least, max(positive), start, length, log)

    def place(self, value: float) -> float:
        if not self.log:
            return self.start + self.length * min(value / self.most, 1)
        if value <= self.least:
            return self.start
        part = math.log(value / self.least) / math.log(self.most / self.least)
        return self.start + self.length * min(part, 1)

    def ticks(self) -> list[float]:
        if self.log:
            first, last = round(math.log10(self.least)), math.floor(math.log10(self.most))
            return [10.0**power for power in range(first, last + 1)]
        step = 10 ** math.floor(math.log10(self.most))
        if self.most / step < 2.5:
            step /= 4
        elif self.most / step < 5:
            step /= 2
        return [step * i for i in range(int(self.most / step) + 1)]


def bars(canvas: Canvas, top: float, rows: list[Row]) -> float:
    """Rows of one unit. Returns where it ends."""
    values = [value for row in rows for value in [*row.values, *(b.median for b in row.beside)]]
    names = [name for row in rows for name in [row.name, *(b.name for b in row.beside)]]
    labels = min(max(map(len, [*names, rows[0].unit])) * LETTER + MARGIN, LABELS_MOST)
    unit = rows[0].unit
    room = (max(len(with_unit(value, unit)) for value in values) + 1) * SMALL_LETTER + MARGIN
    scale = Scale.of(values, labels, WIDTH - labels - room)
    height = sum((BAR + 3) * (1 + len(row.beside)) + GAP for row in rows)
    ticks = scale.ticks()
    apart = min((scale.place(b) - scale.place(a) for a, b in zip(ticks, ticks[1:])), default=room)
    texts, axis = tick_labels(ticks, unit, apart / SMALL_LETTER - 1)
    for tick, label in zip(ticks, texts):
        x = scale.place(tick)
        canvas.line(x, top, x, top + height, "grid")
        canvas.text(x, top + height + 12, label, "small mid")
    if axis:
        canvas.text(labels - 8 - len(texts[0]) * SMALL_LETTER / 2, top + height + 12, axis, "small end")
    y = top + 2
    for row in rows:
        lines = [(row.name, row.values, "ours"), *((b.name, b.values, "other") for b in row.beside)]
        for name, series, style in lines:
            value = median(series)
            label_style = "end" if style == "ours" else "small end"
            canvas.text(labels - 8, y + BAR - 3, name, label_style)
            canvas.bar(labels, y, scale.place(value) - labels, BAR, style)
            if min(series) != max(series):
                low, high = scale.place(min(series)), scale.place(max(series))
                canvas.line(low, y + BAR / 2, high, y + BAR / 2, "range")
            end = max(scale.place(value), scale.place(max(series)))
            canvas.text(end + 5, y + BAR - 3, with_unit(value, unit), "small")
            y += BAR + 3
        y += GAP
    return y + 22


def panel(canvas: Canvas, left: float, top: float, title: str, rows: list[Row]) -> None:
    columns = list(dict.fromkeys(row.column for row in rows))
    series = list(dict.fromkeys(row.group for row in rows))
    scale = Scale.of([row.median for row in rows], 0, PANEL_HEIGHT)
    bottom = top + 22 + PANEL_HEIGHT
    x0, x1 = left + 70, left + PANEL_WIDTH - 20
    step = (x1 - x0) / max(len(columns) - 1, 1)
    canvas.text(left + 10, top + 10, title, "title")
    ticks = scale.ticks()
    texts, axis = tick_labels(ticks, rows[0].unit, (x0 - 6 - left) / SMALL_LETTER)
    for tick, label in zip(ticks, texts):
        y = bottom - scale.place(tick)
        canvas.line(x0, y, x1, y, "grid")
        canvas.text(x0 - 6, y + 4, label, "small end")
    if axis:
        canvas.text(x1, top + 10, axis, "small end")
    for i, name in enumerate(columns):
        canvas.text(x0 + i * step, bottom + 15, name, "small mid")
    for number, group in enumerate(series):
        style = f"s{number % COLOURS}" + (" dash" if number >= COLOURS else "")
        points = [
            (x0 + columns.index(row.column) * step, bottom - scale.place(row.median))
            for row in rows
            if row.group == group
        ]
        canvas.path(points, style)
        legend = bottom + 32 + LEGEND * (number // 2)
        x = x0 + (number % 2) * (x1 - x0) / 2
        canvas.line(x, legend - 4, x + 20, legend - 4, f"line {style}")
        canvas.text(x + 26, legend, group.partition(": ")[2] or group, "small")


def panels(canvas: Canvas, top: float, rows: list[Row]) -> float:
    titles = list(dict.fromkeys(row.group.partition(": ")[0] for row in rows))
    groups = {row.group for row in rows}
    most = max(sum(group.partition(": ")[0] == title for group in groups) for title in titles)
    height = PANEL_HEIGHT + 50 + LEGEND * ((most + 1) // 2)
    for i, title in enumerate(titles):
        own = [row for row in rows if row.group.partition(": ")[0] == title]
        panel(canvas, i % 2 * PANEL_WIDTH, top + i // 2 * height, title, own)
    return top + (len(titles) + 1) // 2 * height


def plot(part: Part) -> str:
    canvas = Canvas(WIDTH)
    canvas.text(MARGIN, 20, f"{part.title}", "title")
    canvas.text(MARGIN, 37, "blue: outboard; grey: what stands beside it; thin line: least to most", "small")
    top = 52.0
    plain = [row for row in part.rows if not row.group]
    for unit in dict.fromkeys(row.unit for row in plain):
        top = bars(canvas, top, [row for row in plain if row.unit == unit]) + 6
    lines = [row for row in part.rows if row.group]
    if lines:
        top = panels(canvas, top, lines)
    return canvas.svg(top + MARGIN)
