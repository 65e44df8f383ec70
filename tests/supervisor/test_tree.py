"""All groups together: the order of start and stop, and what a group that fails means to the others."""

from __future__ import annotations

from functools import partial

import anyio
import psutil
import pytest
from stage import Stage, groups

from ipc.control import ask
from ipc.messages.control import Done, Refused, Restart, Stop
from supervisor import events
from supervisor.errors import SpawnError
from supervisor.policy import RestartPolicy

pytestmark = pytest.mark.fault


def test_groups_start_in_order_and_stop_in_reverse(stage: Stage) -> None:
    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=2, web=2))) as live:
            await live.sees(events.Serving)
            answer = await anyio.to_thread.run_sync(ask, stage.state_dir, Stop())
            assert isinstance(answer, Done)
            await live.over.wait()
        told = [event for event in live.events if not isinstance(event, events.LineWritten)]
        kinds = [(type(event).__name__, getattr(event, "group", "")) for event in told]
        assert kinds.index(("GroupUp", "cpu")) < kinds.index(("GroupStarting", "web"))
        ends = [event.worker for event in told if isinstance(event, events.WorkerExited)]
        assert sorted(ends[:2]) == ["web-0#1", "web-1#1"]
        assert sorted(ends[2:]) == ["cpu-0#1", "cpu-1#1"]
        assert all(event.expected for event in told if isinstance(event, events.WorkerExited))
        assert isinstance(told[-1], events.Stopped)
        assert live.failure is None

    anyio.run(story)


def test_processes_of_a_later_group_are_there_early_and_are_told_nothing_before_its_turn(stage: Stage) -> None:
    stage.behave("cpu", "slow 1")

    async def story() -> None:
        async with stage.running(stage.plan()) as live:
            await live.until(lambda: stage.notes(name="cpu-0#1"))
            assert not stage.notes(name="web-0#1")
            early = {child.pid for child in psutil.Process().children()}
            await live.sees(events.Serving)
            assert live.seen(events.WorkerSpawned, worker="web-0#1")[0].pid in early

    anyio.run(story)


def test_a_start_that_fails_leaves_none_of_the_processes_made_for_later_groups(stage: Stage) -> None:
    stage.behave("cpu", "broken")
    before = psutil.Process().children()

    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=1, web=3))) as live:
            await live.over.wait()
            assert live.failure is not None

    anyio.run(story)
    assert psutil.Process().children() == before


def test_a_group_that_cannot_start_at_all_fails_the_start_with_its_reason(stage: Stage) -> None:
    stage.behave("web", "broken")

    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=1, web=2))) as live:
            await live.over.wait()
        assert isinstance(live.failure, SpawnError)
        assert "no module named 'shop'" in str(live.failure)
        assert "Traceback: no shop" in str(live.failure)
        assert not live.seen(events.Serving)
        assert live.seen(events.WorkerExited, worker="cpu-0#1", expected=True)
        assert not live.seen(events.WorkerRestarting)  # nobody is started again

    anyio.run(story)


@pytest.mark.parametrize("how", ["exit 7", "segv"])
def test_a_group_that_only_crashes_fails_the_start_soon(stage: Stage, how: str) -> None:
    stage.behave("cpu", how)

    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=1, web=1))) as live:
            await live.over.wait()
        assert isinstance(live.failure, SpawnError)
        assert ("code 7" if how == "exit 7" else "SIGSEGV") in str(live.failure)
        assert ("last words" if how == "exit 7" else "string_at") in live.failure.last_words
        assert len(live.seen(events.WorkerSpawned)) == 3
        assert len(live.seen(events.WorkerRestarting)) == 2
        assert not live.seen(events.GroupStarting, group="web")

    anyio.run(story)


def test_a_group_of_which_some_start_is_enough(stage: Stage) -> None:
    stage.behave("cpu-1", "exit 1")

    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=2, web=1))) as live:
            await live.sees(events.Serving)
            stage.behave("cpu-1", "good")
            await live.sees(events.GroupUp, count=2, group="cpu")
        assert live.failure is None

    anyio.run(story)


def test_whether_somebody_starts_again_is_said_once_the_first_start_was_one(stage: Stage) -> None:
    stage.behave("cpu-1", "broken")

    async def story() -> None:
        policy = RestartPolicy(base=500.0, cap=500.0)
        async with stage.running(stage.plan(groups(cpu=2, web=0)), policy=policy) as live:
            again = await live.sees(events.WorkerRestarting)
            assert (again.worker, again.reason) == ("cpu-1#1", "")
            assert 300 < again.after <= 600
            (up,) = live.seen(events.WorkerReady, worker="cpu-0#1")
            assert live.events.index(up) < live.events.index(again)
            await live.sees(events.Serving)
            assert len(live.seen(events.WorkerRestarting)) == 1

    anyio.run(story)


def test_a_group_that_fails_later_leaves_the_others_alone_and_can_be_started_again(stage: Stage) -> None:
    async def story() -> None:
        policy = RestartPolicy(limit=2, base=0.01)
        async with stage.running(stage.plan(groups(cpu=1, web=1)), policy=policy) as live:
            await live.sees(events.Serving)
            stage.behave("cpu", "crash 0.5")  # so that it is seen to be up before
            answer = await anyio.to_thread.run_sync(ask, stage.state_dir, Restart("cpu"))
            assert isinstance(answer, Done)
            failed = await live.sees(events.GroupFailed)
            assert (failed.group, failed.reason) == ("cpu", "exited with code 3")
            assert len(live.seen(events.WorkerSpawned)) == 5  # two, the successor, and it twice again
            assert not live.seen(events.WorkerExited, worker="web-0#1")
            stage.behave("cpu", "good")
            assert isinstance(await anyio.to_thread.run_sync(ask, stage.state_dir, Restart("cpu")), Done)
            await live.sees(events.GroupUp, count=2, group="cpu")

    anyio.run(story)


def test_a_stop_during_the_start_ends_the_start(stage: Stage) -> None:
    stage.behave("cpu", "hang")

    async def story() -> None:
        async with stage.running(stage.plan()) as live:
            await live.until(lambda: stage.notes(said="bootstrap"))
            refused = await anyio.to_thread.run_sync(ask, stage.state_dir, Restart())
            assert refused == Refused("the service is still starting")
            with anyio.fail_after(60):  # and not after the 120 s that a start may take
                assert isinstance(await anyio.to_thread.run_sync(ask, stage.state_dir, Stop()), Done)
                await live.over.wait()
        assert live.failure is None
        assert not live.seen(events.GroupStarting, group="web")

    anyio.run(story)


def test_a_second_supervisor_leaves_the_first_alone(stage: Stage) -> None:
    async def story() -> None:
        async with stage.running(stage.plan()) as first:
            await first.sees(events.Serving)
            async with stage.running(stage.plan()) as second:
                await second.over.wait()
            assert "already running" in str(second.failure)
            assert not second.events
            answer = await anyio.to_thread.run_sync(partial(ask, stage.state_dir, Restart("web")))
            assert answer == Done("restarted web")

    anyio.run(story)
