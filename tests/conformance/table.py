# SPDX-License-Identifier: BSD-3-Clause
"""The table of rules in docs/protocol.md, made of the tests: each one's docstring is its rule.

python3 tests/conformance/table.py --write brings the page up to date.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "protocol.md"
BEGIN, END = "<!-- rules: made by tests/conformance/table.py -->", "<!-- end of the rules -->"

# In the order of the specification.
FILES = [
    "test_header.py",
    "test_concurrency.py",
    "test_disconnection.py",
    "test_second_client.py",
    "test_version.py",
    "test_twin_socket.py",
    "test_dma_map.py",
    "test_foreign_descriptors.py",
    "test_dma_unmap.py",
    "test_get_info.py",
    "test_get_region_info.py",
    "test_get_region_io_fds.py",
    "test_get_irq_info.py",
    "test_set_irqs.py",
    "test_region_read.py",
    "test_region_write.py",
    "test_dma_read.py",
    "test_dma_write.py",
    "test_device_reset.py",
    "test_region_write_multi.py",
    "test_device_feature.py",
    "test_mig_data.py",
    "test_migration.py",
    "test_limits.py",
    "test_hostile.py",
    "test_backend.py",
    "test_protocol_page.py",
]


@dataclass(frozen=True)
class Rule:
    file: str
    test: str
    sentence: str


def docstring(node: ast.Module | ast.FunctionDef) -> str:
    return " ".join((ast.get_docstring(node) or "").split())


def title_of(file: str) -> str:
    """The first sentence of a file of tests."""
    text = docstring(ast.parse((HERE / file).read_text()))
    return re.split(r"(?<=\.) ", text)[0].rstrip(".")


def rules_of(file: str) -> Iterator[Rule]:
    for node in ast.parse((HERE / file).read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield Rule(file, node.name, docstring(node))


def rules() -> list[Rule]:
    return [rule for file in FILES for rule in rules_of(file)]


def table() -> str:
    lines: list[str] = []
    for file in FILES:
        lines += [f"### {title_of(file)}", "", f"`tests/conformance/{file}`", ""]
        lines += ["| rule | test |", "|---|---|"]
        for rule in rules_of(file):
            sentence = rule.sentence.replace("|", "\\|")
            lines.append(f"| {sentence} | `{rule.file}::{rule.test}` |")
        lines.append("")
    return "\n".join(lines)


def page_with_table(page: str) -> str:
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


def main() -> int:
    page = PAGE.read_text()
    made = page_with_table(page)
    if "--write" in sys.argv[1:]:
        PAGE.write_text(made)
        return 0
    return int(page != made)


if __name__ == "__main__":
    sys.exit(main())
