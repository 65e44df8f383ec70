"""`shunter top` in Textual's own harness: keys in, screens out, a feed and a supervisor that are played."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from textual.widgets import DataTable

from cli.feed import Gone, News, Seen, Skipped, Told
from cli.screen import Screen
from ipc.control import NoAnswer
from ipc.messages.control import (
    Command,
    Done,
    GroupStatus,
    Refused,
    Reload,
    Restart,
    RestartWorker,
    Scale,
    Status,
    SupervisorStatus,
    WorkerStatus,
)
from supervisor.chronicle import to_json
from supervisor.events import WorkerExited

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from textual.pilot import Pilot

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CPU = tuple(WorkerStatus(f"cpu_sync-{n}#1", 10 + n, "up", 1, 0, 900.0, 0, 0, 2**20, cpu_seconds=1.0) for n in range(2))
WEB = (WorkerStatus("web-0#1", 20, "up", 1, 0, 900.0, 0, 0, 2**20, cpu_seconds=1.0),)


def status(*cpu: WorkerStatus) -> Status:
    groups = (GroupStatus("cpu_sync", "up", cpu or CPU), GroupStatus("web", "up", WEB))
    return Status(SupervisorStatus(42, "0.1.0", 100.0, "/srv/shunter.yaml"), groups)


class Played:
    """A feed that tells what a test says, and a supervisor that answers as it is told."""

    def __init__(self) -> None:
        self.orders: list[Command] = []
        self.answer: Done | Refused | Exception = Done("well done")
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.stopped = False
        self.tell: Callable[[News], object] = lambda _news: None

    def feed(self, _state_dir: Path, hear: Callable[[News], object]) -> Any:
        self.tell = hear
        return self

    def start(self) -> None:
        self.tell(Seen(status(), 1.0))

    def stop(self) -> None:
        self.stopped = True

    def give(self, _state_dir: Path, order: Command, progress: Callable[[str], None]) -> Done | Refused:
        self.orders.append(order)
        progress("cpu_sync-0#2 is up")
        assert self.may_answer.wait(30)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class View:
    """What can be seen, once it can."""

    def __init__(self, app: Screen, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot

    def lines(self) -> list[str]:
        strips = self.app.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip).rstrip() for strip in strips]

    async def shows(self, text: str) -> str:
        """The line that has `text`, as soon as there is one."""
        for _ in range(3000):
            for line in self.lines():
                if text in line:
                    return line
            await asyncio.sleep(0.01)
        raise AssertionError("\n".join(self.lines()))

    async def gone(self, text: str) -> None:
        for _ in range(3000):
            if not any(text in line for line in self.lines()):
                return
            await asyncio.sleep(0.01)
        raise AssertionError("\n".join(self.lines()))

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)


@pytest.fixture
def played() -> Played:
    return Played()


@asynccontextmanager
async def view(played: Played, width: int = 80, height: int = 24) -> AsyncIterator[View]:
    app = Screen(Path("/srv"), played.give, played.feed, lambda: 1000.0)
    async with app.run_test(size=(width, height)) as pilot:
        found = View(app, pilot)
        await found.shows("cpu_sync-1#1")
        yield found


async def test_groups_and_workers_are_shown_and_follow_what_comes(played: Played) -> None:
    async with view(played) as seen:
        lines = seen.lines()
        assert lines[0] == "Shunter 0.1.0, pid 42, up 15m0s, /srv/shunter.yaml"
        assert lines[1].startswith("3 of 3 workers up, - requests/s")
        assert [line.split()[0] for line in lines[2:8]] == [
            "worker",
            "cpu_sync",
            "cpu_sync-0#1",
            "cpu_sync-1#1",
            "web",
            "web-0#1",
        ]
        busy = replace(CPU[0], calls=30, running=1, longest=3.5, cpu_seconds=1.5)
        played.tell(Seen(status(busy, CPU[1]), 2.0))
        line = await seen.shows("3.5s")
        assert "30" in (await seen.shows("cpu_sync-0#1"))
        assert line.split()[0] in {"cpu_sync", "cpu_sync-0#1"}
        assert "50 %" in (await seen.shows("cpu_sync-0#1"))
    assert played.stopped


async def test_events_stand_below_and_are_never_markup(played: Played) -> None:
    async with view(played) as seen:
        played.tell(Told(to_json(WorkerExited("web-0#1", "[red]killed[/]: SIGKILL", expected=False), NOON)))
        played.tell(Skipped(7))
        played.tell(Told('{"event":"of_another_version"}'))
        await seen.shows("[red]killed[/]: SIGKILL")
        await seen.shows("7 events left out")
        await seen.shows("of_another_version")
        await seen.pilot.resize_terminal(60, 20)
        await seen.shows("7 events left out")


async def test_an_order_is_asked_back_and_carried_out_in_the_background(played: Played) -> None:
    async with view(played) as seen:
        played.may_answer.clear()
        await seen.press("down", "r")
        await seen.shows("[y/n] replace the workers of cpu_sync")
        assert not played.orders
        await seen.press("y")
        await seen.shows("... cpu_sync-0#2 is up")
        played.tell(Seen(status(replace(CPU[0], name="cpu_sync-0#3")), 2.0))
        await seen.shows("cpu_sync-0#3")  # nothing waits for the order
        await seen.press("r")
        await seen.shows("wait for it")
        played.may_answer.set()
        await seen.shows("well done")
    assert played.orders == [Restart("cpu_sync")]


async def test_the_selected_group_is_meant_and_any_key_but_y_is_a_no(played: Played) -> None:
    async with view(played) as seen:
        for number, (keys, question, order) in enumerate(
            (
                (("plus",), "one more worker in cpu_sync, 3 instead of 2?", Scale("cpu_sync", 3)),
                (("r", "minus"), "one worker fewer in cpu_sync, 1 instead of 2?", Scale("cpu_sync", 1)),
                (("R",), "read the configuration and the application again?", Reload()),
                (("down", "down", "down", "r"), "replace the workers of web", Restart("web")),
            )
        ):
            played.answer = Done(f"done {number}")
            for no in ("n", "escape", "x"):
                await seen.press(keys[-1], no)
                await seen.shows("nothing was changed")
            await seen.press(*keys)
            await seen.shows(question)
            await seen.press("y")
            await seen.shows(f"done {number}")
            assert played.orders[number:] == [order]
        await seen.press("r", "s")
        await seen.shows("sorted by")
        await seen.press("y")
    assert len(played.orders) == 4


async def test_the_selected_life_is_drained_and_a_group_is_not(played: Played) -> None:
    async with view(played) as seen:
        await seen.press("d")
        await seen.shows("cpu_sync is a group: select one of its workers")
        await seen.press("y", "down", "down", "d")
        await seen.shows("[y/n] drain cpu_sync-1#1, once a successor is up?")
        await seen.press("n")
        await seen.shows("nothing was changed")
        assert not played.orders
        await seen.press("d", "y")
        await seen.shows("well done")
        played.tell(Gone("nothing runs for /srv"))
        await seen.shows("gone: nothing runs for /srv")
        await seen.press("d")
        await seen.shows("nobody can carry that out")
    assert played.orders == [RestartWorker("cpu_sync-1#1")]


async def test_the_last_worker_of_a_group_is_kept(played: Played) -> None:
    async with view(played) as seen:
        await seen.press("down", "down", "down", "minus")
        await seen.shows("web has one worker, and keeps it")
        await seen.press("y")
    assert not played.orders


async def test_a_group_that_follows_its_load_is_asked_for_no_more_than_its_most(played: Played) -> None:
    async with view(played) as seen:
        whole = status()
        following = replace(whole.groups[0], between=(1, 2))
        played.tell(Seen(replace(whole, groups=(following, *whole.groups[1:])), 2.0))
        await seen.shows("cpu_sync (1 to 2)")
        await seen.press("plus")
        await seen.shows("cpu_sync follows its load between 1 and 2 workers, and has 2")
        await seen.press("y")
    assert not played.orders


async def test_what_was_not_done_is_said(played: Played) -> None:
    async with view(played) as seen:
        for answer in (
            Refused("web-0#2 did not become ready"),
            NoAnswer("the supervisor left"),
            Done("now it is"),
            Done("nor\x1b[2J"),
        ):
            played.answer = answer
            await seen.press("r", "y")
            told = getattr(answer, "why", "") or getattr(answer, "text", "") or str(answer)
            await seen.shows(told.replace("\x1b", "\\x1b"))


async def test_a_service_that_is_gone_is_waited_for(played: Played) -> None:
    async with view(played) as seen:
        played.tell(Gone("nothing runs for /srv"))
        await seen.shows("gone: nothing runs for /srv")
        await seen.shows("waiting for it")
        assert "gone" in [cell.plain for cell in seen.app.query_one(DataTable).get_row_at(1)]
        await seen.press("r")
        await seen.shows("nobody can carry that out")
        played.tell(Seen(replace(status(), supervisor=SupervisorStatus(43, "0.1.0", 999.0, "x")), 9.0))
        await seen.shows("there again")
        await seen.shows("pid 43, up 1s")


async def test_the_selection_stays_with_the_seat(played: Played) -> None:
    async with view(played) as seen:
        await seen.press("down", "down")
        added = (*CPU[:1], replace(CPU[0], name="cpu_sync-0#2", state="starting"), replace(CPU[1], name="cpu_sync-1#2"))
        played.tell(Seen(status(*added), 2.0))
        await seen.shows("cpu_sync-1#2")
        row = seen.app._selected()
        assert row is not None
        assert row.key == "cpu_sync-1#2"


async def test_columns_are_dropped_where_there_is_no_room(played: Played) -> None:
    async with view(played) as seen:
        for width, height in ((140, 40), (60, 16), (30, 10), (12, 6)):
            await seen.pilot.resize_terminal(width, height)
            await seen.gone("restarts" if width < 140 else "nothing like this")
            head = await seen.shows("restarts" if width == 140 else "worker")
            assert ("took p50/p99" in head) is (width == 140)
            assert all(len(line) <= width for line in seen.lines())


async def test_workers_can_be_sorted_and_q_quits(played: Played) -> None:
    async with view(played) as seen:
        played.tell(Seen(status(CPU[0], replace(CPU[1], cpu_seconds=1.9)), 2.0))
        await seen.shows("90 %")
        await seen.press("s")
        await seen.shows("sorted by cpu")
        names = [line.split()[0] for line in seen.lines()[4:6]]
        assert names == ["cpu_sync-1#1", "cpu_sync-0#1"]
        await seen.press("q")
    assert seen.app.return_code == 0


async def test_ctrl_c_quits_too(played: Played) -> None:
    async with view(played) as seen:
        await seen.press("ctrl+c")
        await seen.pilot.pause()
        assert not seen.app.is_running


@pytest.mark.parametrize("no_color", [True, False])
async def test_no_color_is_respected(played: Played, monkeypatch: pytest.MonkeyPatch, no_color: bool) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    async with view(played) as seen:
        strips = seen.app.screen._compositor.render_strips()
        for each in seen.app.get_line_filters():
            strips = [strip.apply_filter(each, seen.app.background_colors[0]) for strip in strips]
        colours = {
            segment.style.color.name for strip in strips for segment in strip if segment.style and segment.style.color
        }
        assert ("green" in colours) is not no_color
