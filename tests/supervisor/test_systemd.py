"""What is made of systemd's variables, and when it is to hear nothing."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from supervisor.environment import scrub
from supervisor.systemd import in_brief, is_well, watchdog_pause


def group(name: str, state: str, *up: bool) -> Any:
    return SimpleNamespace(name=name, state=state, size=len(up), seats=bool, everybody=lambda: iter(up))


@pytest.mark.parametrize(
    ("variables", "pause"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "10000000"}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_systemd_hears_twice_in_the_time_it_would_wait(variables: dict[str, str], pause: float | None) -> None:
    assert watchdog_pause(variables, os.getpid()) == pause


def test_the_status_line_counts_who_serves() -> None:
    assert in_brief([group("cpu", "degraded", True, False), group("web", "up", True)]) == "cpu 1/2, web 1/1"


def test_what_has_given_up_everywhere_is_not_well() -> None:
    assert is_well([group("cpu", "failed", False), group("web", "up", True)])
    assert is_well([group("cpu", "starting", False)])
    assert not is_well([group("cpu", "failed", False), group("web", "failed", False)])


def test_nobody_inherits_what_systemd_gave_the_supervisor() -> None:
    given = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "SHOP": "s"}
    kept = scrub(given, ["*"], [])
    assert kept["SHOP"] == "s"
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & kept.keys()
