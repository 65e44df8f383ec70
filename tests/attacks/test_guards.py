"""The list of guards is about the code as it stands, and the list of their witnesses about that list."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from guards import GUARDS, Edit, edited_files
from process_guards import PROCESS_GUARDS
from supervision_guards import SUPERVISION_GUARDS

DOCUMENT = Path(__file__).parents[2] / "docs" / "mutants.md"
ALL = GUARDS | PROCESS_GUARDS | SUPERVISION_GUARDS


@pytest.mark.parametrize("name", ALL)
def test_a_guard_is_where_the_list_says_and_without_it_there_is_a_program(name: str) -> None:
    edits: tuple[Edit, ...] = ALL[name]
    for path, text in edited_files(edits).items():
        ast.parse(text)
        assert text != path.read_text()


def test_no_two_guards_have_one_name() -> None:
    assert len(ALL) == len(GUARDS) + len(PROCESS_GUARDS) + len(SUPERVISION_GUARDS)


def test_each_guard_has_its_witness_in_the_document() -> None:
    shown = re.findall(r"^\| (.+) \| .*`tests/.*` \|$", DOCUMENT.read_text(), re.MULTILINE)
    assert shown == list(ALL)
