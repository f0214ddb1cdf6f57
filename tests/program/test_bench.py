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


def letters(item: ET.Element) -> tuple[float, float, float, float]:
    """About where a text stands: left, top, right, bottom."""
    style = (item.get("class") or "").split()
    size = 11 if "small" in style else 14 if "title" in style else 12
    width = len(item.text or "") * size * 0.55
    x, y = float(item.get("x") or 0), float(item.get("y") or 0)
    left = x - (width if "end" in style else width / 2 if "mid" in style else 0)
    return left, y - size * 0.75, left + width, y + size * 0.2


ROWS = [
    ("instructions", [1395.0, 1200.0]),
    ("calls", [0.0108, 0.0043]),
    ("calls", [0.0, 0.0]),
    ("ns", [999.0, 3e6]),
    ("ns", [1e3, 1.2e3]),
    ("/s", [10.0, 5e6]),
    ("B", [float(3 << 20), float(5 << 30)]),
    ("", [1.0, 2e9]),
    ("kilograms of something", [1e-6, 1e6]),
]


@pytest.mark.parametrize("name", ["short", "a name that is as long as names in these tables ever are"])
@pytest.mark.parametrize("unit, values", ROWS)
def test_plots_have_room_for_their_words(unit: str, values: list[float], name: str) -> None:
    """No text over another or outside, and no tick with the label of the next."""
    rows = [Row(name, unit, [values[0]], [Beside("other", [values[1]])])]
    for title in ("mem", "mem shared"):
        rows += [
            Row("", unit, [value], group=f"{title}: kind {kind}", column=f"depth {number}")
            for kind in range(3)
            for number, value in enumerate(values)
        ]
    root = ET.fromstring(plot.plot(Part("some", "Some part", rows)))
    width, height = float(root.get("width") or 0), float(root.get("height") or 0)
    texts = [item for item in root.iter("{http://www.w3.org/2000/svg}text") if item.text]
    boxes = [(letters(item), item.text) for item in texts]
    for (left, top, right, bottom), text_there in boxes:
        assert left >= 0 and top >= 0 and right <= width and bottom <= height, text_there
    for i, (one, here) in enumerate(boxes):
        for other, there in boxes[i + 1 :]:
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            assert apart, (here, there)
    assert height - max(box[3] for box, _ in boxes) < 40


@pytest.mark.parametrize(
    "ticks, unit, most, labels, axis",
    [
        ([0, 250.0, 500.0], "instructions", 20, ["0 instructions", "250 instructions", "500 instructions"], ""),
        ([0, 250.0, 500.0], "instructions", 5, ["0", "250", "500"], "instructions"),
        ([0, 0.0025, 0.005], "calls", 20, ["0 calls", "0.0025 calls", "0.005 calls"], ""),
        ([0, 5e5, 1e6], "ns", 20, ["0 ns", "500 us", "1 ms"], ""),
        ([0, 5e5, 1e6], "ns", 4, ["0", "0.5", "1"], "ms"),
        ([1.0, 10.0, 100.0], "x", 1, ["1", "", ""], "x"),
    ],
)
def test_ticks(ticks: list[float], unit: str, most: int, labels: list[str], axis: str) -> None:
    assert text.tick_labels(ticks, unit, most) == (labels, axis)


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
