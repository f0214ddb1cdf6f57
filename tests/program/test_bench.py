# SPDX-License-Identifier: BSD-3-Clause
"""The benchmarks' arithmetic, tables, plots and documentation; and that one of them runs."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from outboard import LIMIT, REPO

sys.path.insert(0, str(REPO))

from bench import docs, machine, plot, text  # noqa: E402
from bench.programs import Bench, Broken  # noqa: E402
from bench.results import (  # noqa: E402
    Beside,
    Part,
    Results,
    Row,
    at_least,
    at_most,
    judge,
    spread,
)


def some_part() -> Part:
    rows = [
        Row("slow <&> fast", "ns", [300.0, 100.0, 200.0], [Beside("floor", [100.0, 80.0], at_most(2))]),
        Row("plain", "/s", [5e6]),
        Row("nothing", "%", [0.0], [Beside("limit", [0.1], at_most(1))]),
        Row("", "/s", [1e3, 2e3], group="disk: read", column="depth 1"),
        Row("", "/s", [1e6], group="disk: read", column="depth 32"),
        Row("", "/s", [7.0], group="disk: write", column="depth 32"),
    ]
    return Part("some", "Some part", rows, notes=["a note"], doubts=["somebody was there"])


@pytest.mark.parametrize(
    "target, ratio, met",
    [
        (at_most(3), 3.004, True),
        (at_most(3), 3.006, False),
        (at_least(0.8), 0.796, True),
        (at_least(0.8), 0.794, False),
        (at_most(1), 0.0, True),
        (at_most(1), float("inf"), False),
    ],
)
def test_targets(target, ratio, met) -> None:
    assert target.met(ratio) is met


def test_medians_and_ratios() -> None:
    row = some_part().rows[0]
    assert row.median == 200
    assert row.beside[0].median == 90
    assert row.ratio(row.beside[0]) == pytest.approx(200 / 90)
    assert row.ratio(Beside("nothing", [0.0])) == float("inf")
    # Three runs each: 300 / 300, 100 / 50 and 200 / 40, and not 200 / 50.
    assert row.ratio(Beside("same runs", [300.0, 50.0, 40.0])) == 2
    assert spread([4.0, 2.0, 3.0]) == 2
    assert spread([100.0, 3.0, 3.0, *[2.0] * 16, 0.0]) == 1.5


def test_judgement() -> None:
    first, second = judge([some_part()])
    assert (first.name, first.beside, first.met) == ("slow <&> fast", "floor", False)
    assert (second.ratio, second.met) == (0, True)
    assert "MISSED" in str(first) and "2.22 times floor" in str(first)


@pytest.mark.parametrize(
    "value, unit, shown",
    [
        (1.5, "ns", "1.50 ns"),
        (12345, "ns", "12.3 us"),
        (2.5e9, "ns", "2.50 s"),
        (4499999, "/s", "4.50 M/s"),
        (999.96, "ns", "1000 ns"),
        (0, "%", "0 %"),
        (0, "ns", "0 ns"),
        (3 << 20, "B", "3.00 MiB"),
        (3, "", "3.00"),
    ],
)
def test_numbers(value, unit, shown) -> None:
    assert text.with_unit(value, unit) == shown


def test_round_numbers() -> None:
    assert [text.short_with_unit(value, "ns") for value in (0, 250, 1e4)] == ["0 ns", "250 ns", "10 us"]


def test_tables(capsys: pytest.CaptureFixture[str]) -> None:
    text.print_part(some_part())
    lines = capsys.readouterr().out.splitlines()
    line = next(line for line in lines if line.startswith("slow"))
    assert "200 ns" in line and "100 ns - 300 ns" in line
    assert line.endswith("2.22  at most 2: MISSED")
    assert ["disk:", "read", "1.50", "k/s", "1.00", "M/s"] in [line.split() for line in lines]
    assert any("NOT TO BE BELIEVED: somebody was there" in line for line in lines)


def test_plot_is_svg() -> None:
    root = ET.fromstring(plot.plot(some_part()))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    words = [item.text for item in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "slow <&> fast" in words and "floor" in words and "200 ns" in words
    assert len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))) == 2
    _, _, width, height = map(float, root.get("viewBox").split())
    for bar in root.iter("{http://www.w3.org/2000/svg}rect"):
        assert 0 <= float(bar.get("x")) <= float(bar.get("x")) + float(bar.get("width")) <= width
        assert 0 <= float(bar.get("y")) <= float(bar.get("y")) + float(bar.get("height")) <= height


def test_json_and_back() -> None:
    results = Results({"processor": "some"}, True, 3, [some_part()])
    plain = json.loads(json.dumps(results.to_json()))
    assert plain["parts"][0]["rows"][0]["median"] == 200
    assert [target["met"] for target in plain["targets"]] == [False, True]
    assert Results.from_json(plain) == results


def test_documentation(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- bench:some -->\nold\n<!-- /bench:some -->\nbetween\n"
        "<!-- bench:other -->\nstays\n<!-- /bench:other -->\n"
        "<!-- bench:targets -->\n<!-- /bench:targets -->\nafter\n"
    )
    results = Results({**machine.describe()}, False, 3, [some_part()])
    docs.update(page, results)
    once = page.read_text()
    assert "old" not in once and "stays" in once and once.endswith("after\n")
    assert "![Some part](performance/some.svg)" in once
    assert "| some | slow <&> fast | 2.22 × floor | at most 2 | **missed** |" in once
    ET.parse(tmp_path / "performance" / "some.svg")
    docs.update(page, results)
    assert page.read_text() == once


def test_what_fails_is_left_out(tmp_path: Path) -> None:
    bench = Bench(3, True, tmp_path)
    calls = []

    def bad() -> dict[str, float]:
        raise Broken("no such thing")

    def good() -> dict[str, float]:
        calls.append(1)
        return {"x": len(calls)}

    found = bench.collect({"bad": bad, "good": good})
    assert found == {"good": [{"x": 1}, {"x": 2}, {"x": 3}]}
    assert bench.notes == ["bad: not measured: no such thing"]


def run_bench(*words: str) -> str:
    command = [sys.executable, "-m", "bench", *words]
    result = subprocess.run(
        command, cwd=REPO, capture_output=True, text=True, timeout=12 * LIMIT, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_part_runs(tmp_path: Path) -> None:
    said = run_bench("startup", "memory", "--quick", "--runs=1", f"--output={tmp_path}")
    assert "start until it accepts" in said
    results = json.loads((tmp_path / "results.json").read_text())
    startup, memory = results["parts"]
    assert {row["name"]: row for row in startup["rows"]}["start until it accepts"]["median"] > 0
    assert all(value > 0 for row in memory["rows"] for value in row["values"])
    ET.parse(tmp_path / "startup.svg")
    # Other results of one part, and the rest from the first.
    del results["parts"][1]
    results["parts"][0]["rows"][0]["name"] = "measured later"
    (tmp_path / "later.json").write_text(json.dumps(results))
    again = run_bench(f"--from={tmp_path / 'results.json'}", f"--from={tmp_path / 'later.json'}")
    assert "measured later" in again and "copying a block" in again
    assert "start until it accepts" not in again


def test_parts_are_listed() -> None:
    listed = run_bench("--list")
    assert {"nvme", "file", "messages", "idle"} <= {line.split()[0] for line in listed.splitlines()}
