"""An order about one worker: its successor comes first, others stay, and a name that nobody has is no order."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from stage import Stage, groups, tool

from ipc import control
from ipc.control import ask
from ipc.messages.control import AskStatus, Done, Refused, RestartWorker, Status, WorkerStatus
from supervisor import events
from supervisor.policy import RestartPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.fault


@pytest.fixture(autouse=True)
def _no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_pidfd", lambda _pid: os.open(os.devnull, os.O_RDONLY))


async def give(
    stage: Stage, worker: str, progress: Callable[[str], None] = lambda _told: None
) -> Status | Done | Refused:
    return await anyio.to_thread.run_sync(ask, stage.state_dir, RestartWorker(worker), progress)


async def workers(stage: Stage) -> list[WorkerStatus]:
    answer = await anyio.to_thread.run_sync(ask, stage.state_dir, AskStatus())
    assert isinstance(answer, Status)
    return [worker for group in answer.groups for worker in group.workers]


async def states(stage: Stage) -> dict[str, str]:
    return {worker.name: worker.state for worker in await workers(stage)}


def order(live: Any, *kinds: type) -> list[str]:
    return [f"{type(event).__name__} {event.worker}" for event in live.events if isinstance(event, kinds)]


def test_its_successor_is_up_before_it_drains_and_nobody_else_is_touched(stage: Stage) -> None:
    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=2))) as live:
            await live.sees(events.Serving)
            live.events.clear()
            told: list[str] = []
            assert await give(stage, "cpu-1", told.append) == Done("cpu-1#2 has the place of cpu-1#1")
            assert order(
                live, events.WorkerRecycled, events.WorkerReady, events.WorkerDraining, events.WorkerExited
            ) == [
                "WorkerRecycled cpu-1#1",
                "WorkerReady cpu-1#2",
                "WorkerDraining cpu-1#1",
                "WorkerExited cpu-1#1",
            ]
            (asked,) = live.seen(events.WorkerRecycled)
            assert str(asked) == "cpu-1#1: is being replaced (drained by hand)"
            assert "cpu-1#2 is up; cpu-1#1 drains" in told
            assert await states(stage) == {"cpu-0#1": "up", "cpu-1#2": "up", "web-0#1": "up"}
            told_of = [(one.reason, one.planned) for one in await workers(stage) if one.reason]
            assert told_of == [("recycled: drained by hand", True)]
            assert await give(stage, "cpu-1#2") == Done("cpu-1#3 has the place of cpu-1#2")

    anyio.run(story)


def test_a_life_that_is_over_is_not_its_successor_and_a_name_of_nobody_is_wrong_usage(stage: Stage) -> None:
    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=2))) as live:
            await live.sees(events.Serving)
            await give(stage, "cpu-1")
            assert await give(stage, "cpu-1#1") == Refused("there is no cpu-1#1; cpu-1 is cpu-1#2 now")
            assert await give(stage, "cpo-1") == Refused(
                "there is no worker 'cpo-1'; did you mean 'cpu-1'?", usage=True
            )
            unlike = await give(stage, "-")
            assert unlike == Refused("there is no worker '-'; there are cpu-0, cpu-1, web-0", usage=True)
            template = await give(stage, "cpu-template")
            assert isinstance(template, Refused)
            assert template.usage
            assert "shunter restart cpu" in template.why
            assert sorted(await states(stage)) == ["cpu-0#1", "cpu-1#2", "web-0#1"]

    anyio.run(story)


def test_who_drains_already_has_no_place(stage: Stage) -> None:
    stage.behave("cpu-1", "deaf")

    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=2, drain_timeout=600.0))) as live:
            await live.sees(events.Serving)
            stage.behave("cpu-1", "good")
            answers: list[object] = []

            async def drain() -> None:
                answers.append(await give(stage, "cpu-1"))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(drain)
                await live.sees(events.WorkerDraining)
                assert await give(stage, "cpu-1#1") == Refused("cpu-1#1 has no place of its own: it is draining")
                assert not answers  # it is done when nothing of the predecessor is left
                os.kill(live.seen(events.WorkerSpawned, worker="cpu-1#1")[0].pid, signal.SIGKILL)
            assert answers == [Done("cpu-1#2 has the place of cpu-1#1")]

    anyio.run(story)


def test_a_successor_that_does_not_come_up_leaves_it_where_it_is(stage: Stage) -> None:
    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=1))) as live:
            await live.sees(events.Serving)
            stage.behave("cpu", "broken")
            refused = await give(stage, "cpu-0")
            assert isinstance(refused, Refused)
            assert not refused.usage
            assert refused.why.startswith("cpu-0#1 stays, for its successor did not come up: cpu-0#2")
            assert (await states(stage))["cpu-0#1"] == "up"

    anyio.run(story)


def test_who_was_given_up_is_started_by_it(stage: Stage) -> None:
    async def story() -> None:
        hopeless = RestartPolicy(base=0.01, cap=0.01, limit=1)
        async with stage.running(stage.plan(groups(cpu=2)), policy=hopeless) as live:
            await live.sees(events.Serving)
            stage.behave("cpu-1", "exit 7")
            (pid,) = (event.pid for event in live.seen(events.WorkerSpawned, worker="cpu-1#1"))
            os.kill(pid, signal.SIGKILL)
            await live.sees(events.WorkerFailed)
            (failed,) = (name for name, state in (await states(stage)).items() if state == "failed")
            stage.behave("cpu-1", "good")
            done = await give(stage, "cpu-1")
            assert isinstance(done, Done)
            assert done.text.endswith(f"has the place of {failed}")
            assert "started by hand" in str(live.seen(events.WorkerRecycled)[-1])
            assert set((await states(stage)).values()) == {"up"}

    anyio.run(story)


def test_a_command_ends_before_it_is_started_again_in_its_place(stage: Stage) -> None:
    async def story() -> None:
        async with stage.running(
            stage.plan((tool("one", "interrupted", log="waiting", stop_signal="SIGINT"),))
        ) as live:
            await live.sees(events.Serving)
            live.events.clear()
            told: list[str] = []
            assert await give(stage, "one-0", told.append) == Done("one-0#2 has the place of one-0#1")
            assert order(live, events.WorkerReady, events.WorkerExited) == [
                "WorkerExited one-0#1",
                "WorkerReady one-0#2",
            ]
            assert "one-0#2 is up; one-0#1 had ended before" in told
            assert [one.planned for one in await workers(stage)] == [True]
            (guard,) = (event.pid for event in live.seen(events.WorkerSpawned, worker="one-0#2"))
            os.kill(guard, signal.SIGKILL)
            await live.sees(events.WorkerReady, worker="one-0#3")
            assert [one.planned for one in await workers(stage)] == [False]

    anyio.run(story)
