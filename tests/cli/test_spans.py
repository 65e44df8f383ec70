from __future__ import annotations

import pytest

from cli.spans import age, span


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-3, "0 s"),
        (0.9, "0 s"),
        (59.9, "59 s"),
        (60, "1 m 0 s"),
        (192, "3 m 12 s"),
        (3600, "1 h 0 m"),
        (86_399, "23 h 59 m"),
        (86_400, "1 d 0 h"),
        (1e6, "11 d 13 h"),
    ],
)
def test_an_age_has_two_units(seconds: float, shown: str) -> None:
    assert age(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-1, "0s"), (59.9, "59s"), (60, "1m0s"), (3599, "59m59s"), (3600, "1h0m"), (90_000, "1d1h")],
)
def test_a_span_has_no_blanks(seconds: float, shown: str) -> None:
    assert span(seconds) == shown
