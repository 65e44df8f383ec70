"""Calls that do not end, and what their workers had begun: real processes, real ledgers."""

from __future__ import annotations

import math
import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from stage import Live, Stage, groups

from ipc.control import ask
from ipc.ledger import Ledger
from ipc.messages.control import AskStatus, Status
from ipc.names import WorkerName
from supervisor import events, watchdog
from supervisor.life import State
from supervisor.policy import RestartPolicy
from supervisor.quarantine import KILLS
from supervisor.watchdog import FORGOTTEN, MAX_ABANDONED, Abandoned, Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.child import Worker

CALL, BEFORE = b"c" * 16, b"b" * 16
NAME = WorkerName("cpu", 0, 1)
NEVER = RestartPolicy(limit=0)
"""Whoever is to blame for an end is not started again."""


@dataclass
class Watched:
    """A worker as far as it is watched."""

    name: WorkerName = NAME
    state: State = State.UP
    ledger: Ledger = field(default_factory=lambda: Ledger(-1))
    ends: list[str] = field(default_factory=list)
    start_took: float = 10_000.0

    def overrun(self, why: str, still: Callable[[], bool]) -> None:
        self.ends.append(why)
        self.still = still
        self.state = State.OVERRUN


def watching(*workers: Watched) -> Watchdog:
    return Watchdog(lambda: cast("list[Worker]", workers))


def test_after_an_absence_calls_have_a_moment_to_end_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Watched()
    dog = watching(one)
    row = one.ledger.begin(CALL, watchdog.now() + 100.0, 60.0)
    present = watchdog.now

    async def a_moment(_seconds: float) -> None:
        one.ledger.end(row)
        monkeypatch.undo()

    async def story() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dog.watch)
            await anyio.lowlevel.checkpoint()
            monkeypatch.setattr(watchdog, "now", lambda: present() + 1000.0)
            monkeypatch.setattr(watchdog.anyio, "sleep", a_moment)
            with anyio.fail_after(30):
                while one.ledger.due() < math.inf:
                    await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()

    anyio.run(story)
    assert one.ends == []


def test_it_ends_whoever_is_overdue_and_says_when_to_look_again() -> None:
    one, two = Watched(), Watched()
    dog = watching(one, two)
    assert dog.look(10.0) == math.inf
    one.ledger.begin(CALL, 20.0, 0.1)
    two.ledger.begin(BEFORE, 15.0, 0.1)
    assert dog.look(14.9) == 15.0
    assert dog.look(15.0) == 20.0
    assert (len(one.ends), len(two.ends)) == (0, 1)
    assert "its time was over" in two.ends[0]
    dog.look(16.0)
    assert len(two.ends) == 1, "once is enough"


@pytest.mark.parametrize("state", set(State) - {State.UP, State.DRAINING})
def test_who_neither_serves_nor_drains_is_left_alone(state: State) -> None:
    worker = Watched(state=state)
    worker.ledger.begin(CALL, 20.0, 0.1)
    watching(worker).look(21.0)
    assert worker.ends == []


@pytest.fixture
def at_100(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "now", lambda: 100.0)


def group(count: int) -> list[Watched]:
    return [Watched(WorkerName("cpu", slot, 1)) for slot in range(count)]


@pytest.mark.usefixtures("at_100")
@pytest.mark.parametrize(("grace", "ends"), [(0.5, True), (0.0, True), (math.inf, False)])
def test_a_call_nobody_waits_for_has_its_grace(grace: float, ends: bool) -> None:
    worker, other = group(2)
    dog = watching(worker, other)
    worker.ledger.begin(CALL, 900.0, grace)
    dog.abandon("cpu-1#1", CALL)
    dog.abandon("cpu-0#2", CALL)
    assert dog.look(102.0) == 900.0, "others of that name or number are not meant"
    dog.abandon("cpu-0#1", CALL)
    assert dog.look(100.0) == (100.0 + grace if 0 < grace < math.inf else 900.0)
    dog.look(100.6)
    assert bool(worker.ends) is ends
    assert not ends or "its caller had left" in worker.ends[0]


@pytest.mark.usefixtures("at_100")
def test_a_call_nobody_waits_for_costs_none_that_runs_beside_it() -> None:
    worker, other = group(2)
    dog = watching(worker, other)
    beside = worker.ledger.begin(BEFORE, 900.0, 0.1)
    worker.ledger.begin(CALL, 200.0, 0.1)
    dog.abandon("cpu-0#1", CALL)
    assert dog.look(101.0) == 200.0
    assert worker.ends == []
    worker.ledger.end(beside)
    dog.look(102.0)
    assert len(worker.ends) == 1
    assert worker.still()
    worker.ledger.begin(BEFORE, 900.0, 0.1)
    assert not worker.still(), "another has begun meanwhile"


def test_a_call_that_ends_while_stacks_are_printed_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "now", lambda: 21.0)
    worker = Watched()
    row = worker.ledger.begin(CALL, 20.0, 0.1)
    watching(worker).look(20.0)
    assert worker.still()
    worker.ledger.end(row)
    assert not worker.still()


@pytest.mark.usefixtures("at_100")
@pytest.mark.parametrize(("count", "at_once"), [(1, 0), (2, 1), (3, 2), (5, 4)])
def test_callers_that_leave_do_not_take_a_group_down(count: int, at_once: int) -> None:
    workers = group(count)
    dog = watching(*workers, Watched(WorkerName("io", 0, 1)))
    for worker in workers:
        worker.ledger.begin(CALL, 900.0, 0.1)
        dog.abandon(str(worker.name), CALL)
    for _ in range(3):
        dog.look(100.2)
    assert sum(len(worker.ends) for worker in workers) == at_once, "one that is up stays up"


@pytest.mark.usefixtures("at_100")
@pytest.mark.parametrize(("start_took", "ends"), [(5.0, 1), (50.0, 0)])
def test_the_only_worker_is_ended_if_another_is_there_before_its_call_has_to_end(start_took: float, ends: int) -> None:
    (worker,) = group(1)
    worker.start_took = start_took
    worker.ledger.begin(CALL, 120.0, 0.1)
    dog = watching(worker)
    dog.abandon(str(worker.name), CALL)
    dog.look(100.2)
    assert len(worker.ends) == ends


@pytest.mark.usefixtures("at_100")
def test_callers_that_leave_cost_a_worker_a_second_in_the_long_run() -> None:
    workers = group(3)
    dog = watching(*workers)
    ends = 0
    for tick in range(200):
        time = 100.0 + tick / 10
        for worker in workers:
            if worker.state is State.OVERRUN:
                ends += 1
                worker.state, worker.ledger = State.UP, Ledger(-1)
            if not list(worker.ledger.running()):
                worker.ledger.begin(CALL, 900.0, 0.1)
            dog._abandoned[Abandoned(str(worker.name), CALL)] = time - 1.0
        dog.look(time)
    assert 20 <= ends <= 3 + 20


@pytest.mark.usefixtures("at_100")
def test_a_long_grace_is_waited_for() -> None:
    worker, other = group(2)
    dog = watching(worker, other)
    worker.ledger.begin(CALL, 900.0, 3 * FORGOTTEN)
    dog.abandon("cpu-0#1", CALL)
    assert dog.look(100.1 + FORGOTTEN) == 100.0 + 3 * FORGOTTEN
    dog.look(100.1 + 3 * FORGOTTEN)
    assert len(worker.ends) == 1
    dog.look(100.1 + 4 * FORGOTTEN)
    assert not dog._abandoned


def test_what_is_abandoned_is_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "now", lambda: 100.0)
    dog = watching()
    for number in range(MAX_ABANDONED + 1):
        dog.abandon("cpu-0#1", number.to_bytes(16, "big"))
    assert len(dog._abandoned) == MAX_ABANDONED
    dog.look(100.1 + FORGOTTEN)
    assert len(dog._abandoned) == 0


@pytest.mark.fault
def test_a_worker_whose_call_does_not_end_prints_its_stacks_and_is_replaced_without_blame(stage: Stage) -> None:
    stage.behave("cpu", "overrun 3 60")

    async def story() -> Any:
        async with stage.running(stage.plan(), policy=NEVER) as live:
            await live.sees(events.Serving)
            stage.behave("cpu", "good")
            assert await anyio.to_thread.run_sync(running_for, stage) > 0
            await told(stage, live, "ended")
            end = await live.sees(events.WorkerExited, worker="cpu-0#1")
            await live.sees(events.WorkerReady, worker="cpu-0#2")
            return end

    end = anyio.run(story)
    assert "a call still ran after" in end.reason
    assert "its time was over" in end.reason
    assert any('File "' in line for line in end.last_words)
    notes = stage.notes(said="ended")
    assert [(note["begun"], note["suspects"]) for note in notes] == [([CALL.hex()], [])]


@pytest.mark.fault
def test_a_worker_whose_call_ends_while_it_prints_its_stacks_is_called_again(stage: Stage) -> None:
    stage.behave("cpu", "late 0.5")

    def announced() -> list[bool]:
        return ["cpu-0#1" in note["workers"] for note in stage.notes(said="peers", name="web-0#1")]

    async def story() -> Live:
        async with stage.running(stage.plan(), policy=NEVER) as live:
            await live.until(lambda: announced()[-2:] == [False, True])
            return live

    ends = anyio.run(story).seen(events.WorkerExited)
    assert all(end.expected for end in ends)


@pytest.mark.fault
def test_a_worker_that_nobody_can_reach_is_ended_once_its_caller_has_left(stage: Stage) -> None:
    stage.behave("cpu", "overrun 600 0.1")
    stage.behave("web", "abandons cpu-0#1")

    async def story() -> Any:
        async with stage.running(stage.plan(groups(cpu=2)), policy=NEVER) as live:
            end = await live.sees(events.WorkerExited, worker="cpu-0#1")
            stage.behave("cpu", "good")
            return end

    assert "its caller had left" in anyio.run(story).reason


@pytest.mark.fault
@pytest.mark.parametrize(("beside", "suspects"), [("", [CALL.hex()]), (" o", [])], ids=["alone", "with another"])
def test_whoever_waits_is_told_what_a_worker_that_crashed_had_begun(
    stage: Stage, beside: str, suspects: list[str]
) -> None:
    stage.behave("cpu", "busy 0.3" + beside)

    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=1, web=2)), policy=NEVER) as live:
            for web in ("web-0#1", "web-1#1"):  # its first lives end before these are up
                await live.until(lambda web=web: stage.notes(said="ended", name=web))
            stage.behave("cpu", "good")

    anyio.run(story)
    for note in stage.notes(said="ended"):
        assert note["server"].startswith("cpu-0#")
        assert set(note["begun"]) - {(b"o" * 16).hex()} == {CALL.hex(), BEFORE.hex()}
        assert note["suspects"] == suspects


@pytest.mark.fault
def test_what_has_killed_twice_is_quarantined_everywhere_and_for_newcomers(stage: Stage) -> None:
    stage.behave("cpu", "busy 0.1")
    stage.behave("web-0", "suspects")

    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=1, web=2)), policy=RestartPolicy(base=0.01)) as live:
            await told(stage, live, "quarantined", 2)
            assert len(live.seen(events.WorkerExited)) >= KILLS
            stage.behave("cpu", "good")
            await live.until(lambda: stage.notes(said="ready", name="web-1#1"))
            (web,) = {note["pid"] for note in stage.notes(said="ready", name="web-1#1")}
            os.kill(web, signal.SIGKILL)
            await live.until(lambda: stage.notes(said="quarantined", name="web-1#2"))

    anyio.run(story)
    told_of = {(note["node"], note["mark"]) for note in stage.notes(said="quarantined")}
    assert told_of == {("shop.pay", b"mark".hex())}


def running_for(stage: Stage) -> float:
    answer = ask(stage.state_dir, AskStatus())
    assert isinstance(answer, Status)
    return max(worker.longest for group in answer.groups for worker in group.workers)


@pytest.mark.fault
def test_a_call_whose_worker_somebody_killed_is_not_suspected(stage: Stage) -> None:
    stage.behave("cpu", "waits")

    async def story() -> None:
        async with stage.running(stage.plan(), policy=RestartPolicy(base=0.01)) as live:
            await live.sees(events.Serving)
            await live.until(lambda: stage.notes(said="ready", name="cpu-0#1"))  # noted after it was said
            (cpu,) = {note["pid"] for note in stage.notes(said="ready", name="cpu-0#1")}
            os.kill(cpu, signal.SIGKILL)
            await told(stage, live, "ended")

    anyio.run(story)
    (note,) = stage.notes(said="ended")
    assert (note["begun"], note["suspects"]) == ([CALL.hex()], [])


@pytest.mark.fault
def test_exec_workers_have_nobody_quarantined(stage: Stage) -> None:
    stage.behave("cpu", "lies")

    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=1, web=1))) as live:
            await live.sees(events.Serving)
            await live.until(lambda: stage.notes(said="ready", name="web-0#1"))
            os.kill(next(note["pid"] for note in stage.notes(said="ready", name="web-0#1")), signal.SIGKILL)
            await live.until(lambda: stage.notes(said="ready", name="web-0#2"))

    anyio.run(story)
    assert stage.notes(said="quarantined") == []


async def told(stage: Stage, live: Live, what: str, count: int = 1) -> None:
    await live.until(lambda: len(stage.notes(said=what)) >= count)
