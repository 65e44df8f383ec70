"""Where a path goes on in the next line if a column is too narrow for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cli.folded import Folded, folded
from cli.output import table


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("/passwords/verify", 17, ["/passwords/verify"]),
        ("/passwords/verify", 16, ["/passwords", "/verify"]),
        ("quickstart.passwords.verify", 22, ["quickstart.passwords", ".verify"]),
        ("shop.first > shop.second", 12, ["shop.first >", "shop.second"]),
        ("POST /areas/{width}/of", 12, ["POST /areas", "/{width}/of"]),
        ("abcdefghij/k", 4, ["abcd", "efgh", "ij/k"]),
        ("", 10, [""]),
    ],
)
def test_a_line_ends_between_two_parts(text: str, width: int, lines: list[str]) -> None:
    assert folded(text, width) == lines


@given(st.text("ab/._:- {}>"), st.integers(1, 12))
def test_nothing_is_lost_and_no_line_is_too_long(text: str, width: int) -> None:
    lines = folded(text, width)
    assert max(map(len, lines)) <= width
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_a_table_is_as_wide_as_it_may_be_and_leaves_parts_whole() -> None:
    rows = table("path", "leads to")
    rows.add_row(Folded("/passwords/verify"), Folded("quickstart.passwords.verify"))
    told = {}
    for width in (40, 80):
        console = Console(width=width)
        with console.capture() as printed:
            console.print(rows)
        told[width] = [line.split() for line in printed.get().splitlines()[1:]]
    assert told[80] == [["/passwords/verify", "quickstart.passwords.verify"]]
    assert told[40] == [["/passwords/verify", "quickstart.passwords"], [".verify"]]
