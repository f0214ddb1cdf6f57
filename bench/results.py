# SPDX-License-Identifier: BSD-3-Clause
"""What was measured: values of several runs, what stands beside them, and what is wanted of them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

AT_MOST, AT_LEAST = "at most", "at least"


@dataclass
class Target:
    """A bound for ours divided by what stands beside it."""

    sense: str
    bound: float

    def met(self, ratio: float) -> bool:
        # To the two digits that are printed: the third is noise on any machine.
        rounded = round(ratio, 2)
        return rounded <= self.bound if self.sense == AT_MOST else rounded >= self.bound

    def __str__(self) -> str:
        return f"{self.sense} {self.bound:g}"


def at_most(bound: float) -> Target:
    return Target(AT_MOST, bound)


def at_least(bound: float) -> Target:
    return Target(AT_LEAST, bound)


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def spread(values: list[float]) -> float:
    """How far the runs lie apart: the most divided by the least, without the tenth at either end."""
    cut = len(values) // 10
    middle = sorted(values)[cut : len(values) - cut]
    return middle[-1] / middle[0] if middle[0] > 0 else float("inf")


def quotient(ours: float, beside: float) -> float:
    if beside:
        return ours / beside
    return 1.0 if not ours else float("inf")


@dataclass
class Beside:
    """A floor of the same runs, or somebody's published figure (then it is one value)."""

    name: str
    values: list[float]
    target: Target | None = None

    @property
    def median(self) -> float:
        return median(self.values)


@dataclass
class Row:
    """One thing of ours. Rows with a group and a column form a table of their own."""

    name: str
    unit: str
    values: list[float]
    beside: list[Beside] = field(default_factory=list)
    group: str = ""
    column: str = ""
    note: str = ""

    @property
    def median(self) -> float:
        return median(self.values)

    def ratio(self, beside: Beside) -> float:
        """Of each run by itself where there are pairs: what changes between runs changes both."""
        if len(self.values) == len(beside.values):
            return median(quotient(a, b) for a, b in zip(self.values, beside.values))
        return quotient(self.median, beside.median)


@dataclass
class Part:
    name: str
    title: str
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)  # reasons not to believe it
    seconds: float = 0


@dataclass
class Judgement:
    part: str
    name: str
    beside: str
    ratio: float
    target: Target

    @property
    def met(self) -> bool:
        return self.target.met(self.ratio)

    def __str__(self) -> str:
        verdict = "met" if self.met else "MISSED"
        return f"{verdict:6} {self.part}: {self.name}: {self.ratio:.2f} times {self.beside} ({self.target})"


def judge(parts: list[Part]) -> list[Judgement]:
    return [
        Judgement(part.name, row.name, beside.name, row.ratio(beside), beside.target)
        for part in parts
        for row in part.rows
        for beside in row.beside
        if beside.target
    ]


@dataclass
class Results:
    machine: dict[str, Any]
    quick: bool
    runs: int
    parts: list[Part]

    def to_json(self) -> dict[str, Any]:
        result = asdict(self)
        result["targets"] = [
            {**asdict(j), "met": j.met, "target": str(j.target)} for j in judge(self.parts)
        ]
        for part, plain in zip(self.parts, result["parts"]):
            for row, plain_row in zip(part.rows, plain["rows"]):
                plain_row["median"] = row.median
                for beside, plain_beside in zip(row.beside, plain_row["beside"]):
                    plain_beside["median"] = beside.median
                    plain_beside["ratio"] = row.ratio(beside)
        return result

    @staticmethod
    def from_json(plain: dict[str, Any]) -> Results:
        parts = [
            Part(**{**part, "rows": [_row(row) for row in part["rows"]]}) for part in plain["parts"]
        ]
        return Results(plain["machine"], plain["quick"], plain["runs"], parts)


def _row(plain: dict[str, Any]) -> Row:
    beside = [
        Beside(b["name"], b["values"], Target(**b["target"]) if b["target"] else None)
        for b in plain["beside"]
    ]
    known = {key: plain[key] for key in ("name", "unit", "values", "group", "column", "note")}
    return Row(**known, beside=beside)
