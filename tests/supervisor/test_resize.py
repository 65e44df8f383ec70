"""A group gets more workers, or fewer, while it runs: who comes is on trial, who goes finishes, and names stay new."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from functools import partial

import anyio
import pytest
from stage import Live, Stage, group, groups, order

from ipc.messages.control import Answer, Done, GroupStatus, Order, Refused, Reload, Restart, Scale
from ipc.messages.settings import ExecSettings
from supervisor import events, resizing
from supervisor.plan import GroupPlan
from supervisor.scaling import Scaling


def shown(found: GroupStatus) -> list[tuple[str, str]]:
    return [(worker.name, worker.state) for worker in found.workers]


def running_at_once(live: Live) -> list[set[str]]:
    """Which processes there were, after each birth and each death."""
    there: set[str] = set()
    found = []
    for event in live.events:
        match event:
            case events.WorkerSpawned(worker):
                assert worker not in there
                there.add(worker)
            case events.WorkerExited(worker):
                there.discard(worker)
            case _:
                continue
        found.append(set(there))
    return found


@pytest.mark.fault
def test_no_two_workers_ever_have_one_name_however_often_a_group_is_resized(stage: Stage) -> None:
    async def story() -> Live:
        async with stage.running(stage.plan(groups(cpu=1, web=0))) as live:
            await live.sees(events.Serving)
            assert await order(stage, Scale("cpu", 4)) == Done("cpu has 4 workers now, not 1")
            assert shown(await group(stage)) == [(f"cpu-{slot}#1", "up") for slot in range(4)]
            assert await order(stage, Scale("cpu", 4)) == Done("cpu has 4 workers already")
            assert await order(stage, Scale("cpu", 1)) == Done("cpu has 1 worker now, not 4")
            assert shown(await group(stage)) == [("cpu-0#1", "up")]
            assert await order(stage, Scale("cpu", 3)) == Done("cpu has 3 workers now, not 1")
            assert shown(await group(stage)) == [("cpu-0#1", "up"), ("cpu-1#2", "up"), ("cpu-2#2", "up")]
            return live

    live = anyio.run(story)
    assert max(map(len, running_at_once(live))) == 4
    names = [event.worker for event in live.seen(events.WorkerSpawned)]
    assert len(set(names)) == len(names)


@pytest.mark.fault
@pytest.mark.parametrize(("how", "why"), [("broken", "no module named 'shop'"), ("exit 9", "code 9")])
def test_a_newcomer_that_does_not_come_up_leaves_the_group_as_it_was(stage: Stage, how: str, why: str) -> None:
    stage.behave("cpu-3", how)

    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=2, web=0))) as live:
            await live.sees(events.Serving)
            answer = await order(stage, Scale("cpu", 5))
            assert isinstance(answer, Refused)
            assert answer.why.startswith("cpu stays at 2: cpu-3#1 ")
            assert why in answer.why
            assert not answer.usage
            found = await group(stage)
            assert (found.state, shown(found)) == ("up", [("cpu-0#1", "up"), ("cpu-1#1", "up")])
            stage.behave("cpu-3", "good")
            assert isinstance(await order(stage, Scale("cpu", 4)), Done)
            assert shown(await group(stage))[2:] == [("cpu-2#2", "up"), ("cpu-3#2", "up")]

    anyio.run(story)


@pytest.mark.fault
def test_who_leaves_is_shown_until_it_has_finished_and_keeps_nobody_from_coming(stage: Stage) -> None:
    stage.behave("cpu-1", "deaf")  # it goes on as if it had a long call

    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=2, web=0, drain_timeout=600.0))) as live:
            await live.sees(events.Serving)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(order, stage, Scale("cpu", 1))
                await live.sees(events.WorkerDraining, worker="cpu-1#1")
                assert shown(await group(stage)) == [("cpu-0#1", "up"), ("cpu-1#1", "draining")]
                stage.behave("cpu-1", "good")
                assert isinstance(await order(stage, Scale("cpu", 2)), Done)
                found = await group(stage)
                assert shown(found) == [("cpu-0#1", "up"), ("cpu-1#2", "up"), ("cpu-1#1", "draining")]
                assert found.state == "up"
                os.kill(found.workers[-1].pid or 0, signal.SIGKILL)
            assert len((await group(stage)).workers) == 2

    anyio.run(story)


@pytest.mark.fault
def test_who_comes_waits_while_too_many_have_not_left(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resizing, "MAX_BESIDE", 2)
    stage.behave("cpu", "deaf")

    async def story() -> Live:
        async with stage.running(stage.plan(groups(cpu=3, web=0, drain_timeout=1.0))) as live:
            await live.sees(events.Serving)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(order, stage, Scale("cpu", 1))
                await live.sees(events.WorkerDraining, count=2)
                assert await order(stage, Scale("cpu", 3)) == Done("cpu has 3 workers now, not 1")
            return live

    assert max(map(len, running_at_once(anyio.run(story)))) == 3


@pytest.mark.fault
def test_a_stop_ends_a_resize(stage: Stage) -> None:
    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=1, web=0))) as live:
            await live.sees(events.Serving)
            stage.behave("cpu", "hang")
            answers: list[Answer] = []

            async def one() -> None:
                answers.append(await order(stage, Scale("cpu", 3)))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one)
                await live.sees(events.WorkerSpawned, count=2)
                signal.raise_signal(signal.SIGTERM)
            assert [type(answer) for answer in answers] == [Refused]
            await live.over.wait()
            assert running_at_once(live)[-1] == set()

    anyio.run(story)


@pytest.mark.fault
def test_resizing_and_replacing_take_turns(stage: Stage) -> None:
    stage.behave("cpu", "slow 0.2")

    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=1, web=0))) as live:
            await live.sees(events.Serving)
            answers: list[Answer] = []

            async def one(what: Order) -> None:
                answers.append(await order(stage, what))

            async with anyio.create_task_group() as tasks:
                for what in (Scale("cpu", 3), Restart("cpu"), Scale("cpu", 2), Scale("cpu", 4)):
                    tasks.start_soon(one, what)
            assert [type(answer) for answer in answers] == [Done] * 4
            assert isinstance(await order(stage, Scale("cpu", 2)), Done)
            found = await group(stage)
            assert [name.partition("#")[0] for name, _ in shown(found)] == ["cpu-0", "cpu-1"]
            running_at_once(live)

    anyio.run(story)


@pytest.mark.fault
def test_a_group_without_processes_of_its_own_is_not_scaled(stage: Stage) -> None:
    guest = GroupPlan("cpu", "exec", 1, (), ExecSettings(nodes=()), embedded=True)

    async def story() -> None:
        async with stage.running(stage.plan((guest, *groups(cpu=0, web=1)))) as live:
            await live.sees(events.Serving)
            answer = await order(stage, Scale("cpu", 2))
            told = "its number is set in the configuration, for each web worker"
            assert answer == Refused(f"cpu lives in the web workers (transport: memory); {told}", usage=True)

    anyio.run(story)


@pytest.mark.fault
def test_an_order_that_makes_no_sense_is_refused_as_a_mistake_of_who_asks(stage: Stage) -> None:
    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=1, web=1))) as live:
            await live.sees(events.Serving)
            refused = partial(Refused, usage=True)
            for workers in (-1, 0, 257, 2**40):
                answer = await order(stage, Scale("cpu", workers))
                assert answer == refused(f"a group has 1 to 256 workers, not {workers}")
            assert await order(stage, Scale("cup", 2)) == refused("there is no group 'cup'; did you mean 'cpu'?")
            assert await order(stage, Scale("", 2)) == refused("there is no group ''; there are cpu, web")

    anyio.run(story)


@pytest.mark.fault
def test_a_reload_goes_back_to_what_the_configuration_says(stage: Stage) -> None:
    said = stage.plan(groups(cpu=2, web=0))
    (cpu,) = said.groups
    follows = replace(said, groups=(replace(cpu, workers=1, scaling=Scaling(1, 3, 0.05)),))
    file = [said]

    async def story() -> None:
        async with stage.running(said, load=lambda: file[0]) as live:
            await live.sees(events.Serving)
            assert await order(stage, Scale("cpu", 4)) == Done("cpu has 4 workers now, not 2")
            assert await order(stage, Reload()) == Done("reloaded")
            assert [name for name, _ in shown(await group(stage))] == ["cpu-0#1", "cpu-1#1"]
            file[0] = follows
            assert await order(stage, Reload()) == Done("reloaded")
            found = await group(stage)
            assert (found.between, len(found.workers)) == ((1, 3), 2)
            assert await order(stage, Scale("cpu", 3)) == Done("cpu has 3 workers now, not 2")
            file[0] = said
            assert await order(stage, Reload()) == Done("reloaded")
            found = await group(stage)
            assert (found.between, len(found.workers)) == (None, 2)

    anyio.run(story)
