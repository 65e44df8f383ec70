"""A name that nobody knows is met with the one that was meant, or with the choice."""

from __future__ import annotations

import pytest

from ipc.hints import nearest, suggest


@pytest.mark.parametrize(
    ("name", "meant"), [("wokers", "workers"), ("WORKERS", "workers"), ("names", "Name"), ("x", None)]
)
def test_the_nearest_name_is_meant_however_it_is_written(name: str, meant: str | None) -> None:
    assert nearest(name, ["Name", "workers", "web"]) == meant


def test_where_none_is_near_the_choice_is_told_if_there_is_one() -> None:
    assert suggest("wbe", ["cpu", "web"], "there are") == "did you mean 'web'?"
    assert suggest("x", ["cpu", "web"], "there are") == "there are cpu, web"
    assert not suggest("x", [], "there are")
