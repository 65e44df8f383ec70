"""Who ends and starts again when one worker of a group dies, on real processes."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import anyio
import pytest
from stage import Live, Stage, groups

from ipc.control import ask
from ipc.messages.control import AskStatus, Done, GroupStatus, Restart, Status
from supervisor import events
from supervisor.policy import RestartPolicy

if TYPE_CHECKING:
    from supervisor.policy import Strategy

pytestmark = pytest.mark.fault


def patient(strategy: Strategy, limit: int = 10) -> RestartPolicy:
    return RestartPolicy(limit=limit, base=0.01, strategy=strategy)


async def status(stage: Stage) -> GroupStatus:
    answer = await anyio.to_thread.run_sync(ask, stage.state_dir, AskStatus())
    assert isinstance(answer, Status)
    return answer.groups[0]


async def kill(stage: Stage, seat: int) -> None:
    pid = (await status(stage)).workers[seat].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("strategy", "lives"),
    [
        ("one_for_one", ["cpu-0#1", "cpu-1#2", "cpu-2#1"]),
        ("rest_for_one", ["cpu-0#1", "cpu-1#2", "cpu-2#2"]),
        ("one_for_all", ["cpu-0#2", "cpu-1#2", "cpu-2#2"]),
    ],
)
def test_who_does_not_go_on_without_the_dead_ends_and_starts_with_it(
    stage: Stage, strategy: Strategy, lives: list[str]
) -> None:
    async def story() -> Live:
        async with stage.running(stage.plan(groups(cpu=3, web=1)), policy=patient(strategy)) as live:
            await live.sees(events.Serving)
            await kill(stage, 1)
            await live.sees(events.GroupUp, count=2, group="cpu")
            group = await status(stage)
            assert [worker.name for worker in group.workers] == lives
            taken = [worker for worker in group.workers if worker.name.endswith("#2") and worker.name != "cpu-1#2"]
            assert all(worker.reason.startswith("ended with cpu-1#1: killed by SIGKILL (") for worker in taken)
            return live

    live = anyio.run(story)
    ends = live.seen(events.WorkerExited)[: sum(life.endswith("#2") for life in lives)]
    assert [end.worker for end in ends if not end.expected] == ["cpu-1#1"]
    spawned = [live.events.index(event) for event in live.seen(events.WorkerSpawned) if event.worker.endswith("#2")]
    assert max(map(live.events.index, ends)) < min(spawned), "all end before any starts"
    drained = {note["name"] for note in stage.notes(said="drain")}
    assert {end.worker for end in ends if end.expected} <= drained, "each may finish what it has"


@pytest.mark.parametrize("how", ["overrun 0.2 0.1", "busy 0.2", "recycle 0.2"])
def test_an_end_that_is_no_crash_takes_nobody_along(stage: Stage, how: str) -> None:
    stage.behave("cpu-0", how)

    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=2, web=0)), policy=patient("one_for_all", 1)) as live:
            await live.sees(events.WorkerReady, worker="cpu-0#1")
            stage.behave("cpu-0", "good")
            await live.sees(events.WorkerReady, worker="cpu-0#2")
            await anyio.to_thread.run_sync(ask, stage.state_dir, Restart("cpu"))
            assert [worker.name for worker in (await status(stage)).workers] == ["cpu-0#3", "cpu-1#2"]
            assert not live.seen(events.WorkerExited, worker="cpu-1#2")

    anyio.run(story)


def test_all_are_given_up_together_the_rest_serves_and_a_restart_begins_a_new_row(stage: Stage) -> None:
    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=2, web=1)), policy=patient("one_for_all", 2)) as live:
            await live.sees(events.Serving)
            stage.behave("cpu-1", "exit 7")
            await kill(stage, 1)
            failed = await live.sees(events.GroupFailed)
            assert failed.group == "cpu"
            assert "exited with code 7" in failed.reason
            assert sorted(event.worker for event in live.seen(events.WorkerFailed)) == ["cpu-0#3", "cpu-1#3"]
            assert not live.seen(events.WorkerExited, worker="web-0#1")
            stage.behave("cpu-1", "good")
            assert isinstance(await anyio.to_thread.run_sync(ask, stage.state_dir, Restart("cpu")), Done)
            await live.sees(events.GroupUp, count=2, group="cpu")
            await kill(stage, 0)
            await live.sees(events.GroupUp, count=3, group="cpu")

    anyio.run(story)


def test_a_first_start_without_one_is_none_if_all_depend_on_it(stage: Stage) -> None:
    stage.behave("cpu-1", "exit 7")

    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=2, web=1)), policy=patient("one_for_all")) as live:
            await live.over.wait()
        assert "cpu-1#3 exited with code 7" in str(live.failure)
        again = live.seen(events.WorkerRestarting)
        assert [event.worker for event in again] == ["cpu-1#1", "cpu-1#2"]  # the third is the last
        assert [event.reason for event in again] == ["", ""]  # nobody ended with it

    anyio.run(story)
