"""What is made of systemd's variables, and when it is to hear nothing."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from supervisor import events
from supervisor.environment import scrub
from supervisor.systemd import Systemd, in_brief, is_well, watchdog_pause

if TYPE_CHECKING:
    from pathlib import Path


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


def test_each_reload_ends_in_readiness_unless_the_service_stops_meanwhile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        tree: Any = SimpleNamespace(groups=[group("web", "up", True)])
        systemd = Systemd(os.environ, os.getpid(), tree)
        said = []
        for event in (
            events.Reloading(),
            events.NotReloaded("a\nREADY=0"),
            events.GroupUp("web", 0.1),
            events.Reloading(),
            events.Reloaded(0.1),
            events.Reloading(),
            events.Draining(forced=False),
            events.NotReloaded("the service is stopping"),
        ):
            systemd.hear(event)
        systemd.close()
        manager.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                said.append([line for line in manager.recv(4096).decode().splitlines() if "USEC" not in line])
    assert said == [
        ["RELOADING=1", "STATUS=reloading: web 1/1"],
        ["READY=1", "STATUS=not reloaded: web 1/1"],
        ["RELOADING=1", "STATUS=reloading: web 1/1"],
        ["READY=1", "STATUS=web 1/1"],
        ["RELOADING=1", "STATUS=reloading: web 1/1"],
        ["STOPPING=1", "STATUS=draining: web 1/1"],
    ]


@pytest.mark.anyio
@pytest.mark.parametrize(("state", "heard"), [("up", True), ("failed", False)])
async def test_a_service_that_has_given_up_everywhere_falls_silent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, state: str, heard: bool
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        tree: Any = SimpleNamespace(groups=[group("web", state, state == "up")])
        systemd = Systemd({**os.environ, "WATCHDOG_USEC": "10000"}, os.getpid(), tree)
        systemd.hear(events.Serving("127.0.0.1", 80, 0.1))
        with anyio.move_on_after(0.1):
            await systemd.beat()
        systemd.close()
        said = []
        with suppress(BlockingIOError):
            while True:
                said.append(manager.recv(4096))
    assert (b"WATCHDOG=1" in said) is heard


def test_nobody_inherits_what_systemd_gave_the_supervisor() -> None:
    given = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "SHOP": "s"}
    kept = scrub(given, ["*"], [])
    assert kept["SHOP"] == "s"
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & kept.keys()
