"""The list of guards is about the code as it stands."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

from guards import GUARDS, WITHOUT, edited_files
from process_guards import PROCESS_GUARDS
from supervision_guards import SUPERVISION_GUARDS

DOCUMENT = Path(__file__).parents[2] / "docs" / "mutants.md"
ALL = GUARDS | PROCESS_GUARDS | SUPERVISION_GUARDS


def test_every_guard_is_where_the_list_says_and_without_it_there_is_a_program() -> None:
    for edits in () if WITHOUT in os.environ else ALL.values():  # from a copy that lacks one it cannot be taken again
        for path, text in edited_files(edits).items():
            ast.parse(text)
            assert text != path.read_text()


def test_no_two_guards_have_one_name() -> None:
    assert len(ALL) == len(GUARDS) + len(PROCESS_GUARDS) + len(SUPERVISION_GUARDS)


def test_each_guard_has_its_witness_in_the_document() -> None:
    assert list(ALL) == re.findall(r"^\| (.+?) \| .*`tests/\S+` \|$", DOCUMENT.read_text(), re.MULTILINE)
