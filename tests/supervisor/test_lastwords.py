"""What counts as the last words of a worker, and how they read."""

from __future__ import annotations

import json

import pytest

from supervisor.lastwords import LAST, MOST, LastWords, readable


def test_only_what_was_written_in_the_last_moments_counts() -> None:
    words = LastWords()
    words.hear("of a call that was answered", 0.0)
    words.hear("Fatal\nerror", 10.0)
    assert words.told(10.0 + LAST, served=True) == ("Fatal", "error")
    assert words.told(11.0 + LAST, served=True) == ()


def test_of_who_never_served_all_counts_that_is_kept() -> None:
    words = LastWords()
    words.hear("\n".join(map(str, range(MOST + 5))), 0.0)
    assert words.told(100.0, served=False) == tuple(map(str, range(5, MOST + 5)))
    words.clear()
    assert words.told(100.0, served=False) == ()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            {
                "time": "2026-03-01T12:00:00.5Z",
                "level": "warning",
                "worker": "one-0#1",
                "event": "not ready yet",
                "why": "port 8749: Connection refused",
            },
            "warning not ready yet why=port 8749: Connection refused",
        ),
        ({"level": "error", "event": "failed", "n": 1, "traceback": "one\n  two\n"}, "error failed n=1\none\n  two"),
        ({"time": 1, "text": "so", "long": "x" * 1000}, f"so long={'x' * 200}"),
    ],
)
def test_a_line_of_a_log_reads_as_a_line(said: dict[str, object], shown: str) -> None:
    assert readable(json.dumps(said)) == shown


@pytest.mark.parametrize("line", ["plain", "{broken", '{"is": "no line of a log"}', "[1]", ""])
def test_what_is_no_line_of_a_log_is_left_as_it_is(line: str) -> None:
    assert readable(line) == line
