# SPDX-License-Identifier: BSD-3-Clause
"""This page: what docs/protocol.md says about tests is so."""

from __future__ import annotations

import re
from pathlib import Path

import table

HERE = Path(__file__).resolve().parent


def test_every_test_has_a_rule() -> None:
    """Each test says in a sentence which rule it shows, and no two say the same in one section."""
    sentences = [(rule.file, rule.sentence) for rule in table.rules()]
    assert all(sentence.endswith(".") for _, sentence in sentences)
    assert len(set(sentences)) == len(sentences)


def test_every_file_of_tests_is_in_the_table() -> None:
    """No file of tests is left out."""
    assert sorted(path.name for path in HERE.glob("test_*.py")) == sorted(table.FILES)


def test_every_test_is_named_once() -> None:
    """No two tests of a file have the same name, of which just one would run."""
    names = [(rule.file, rule.test) for rule in table.rules()]
    assert len(set(names)) == len(names)


def test_table_is_up_to_date() -> None:
    """The table has every test with its rule, and nothing else (table.py --write makes it so)."""
    page = table.PAGE.read_text()
    assert page == table.page_with_table(page)


def test_tests_that_are_named_exist() -> None:
    """Every test that the page names, in the table or elsewhere, is there."""
    named = set(re.findall(r"(test_\w+\.py)::(test_\w+)", table.PAGE.read_text()))
    assert named == {(rule.file, rule.test) for rule in table.rules()}
