"""The workers of one group: how its state is summed up, and how they are replaced."""

from __future__ import annotations

import socket

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stage import Live, Stage, groups, status

from ipc.control import ask
from ipc.messages.control import Answer, Done, Refused, Restart
from ipc.names import parse_worker
from ipc.wire.keys import leaf_key
from supervisor import events
from supervisor.life import RUNNING, Child, Spec, State
from supervisor.standing import HOPELESS, is_hopeless, is_settled, summary

LIVES = st.builds(
    Child,
    spec=st.just(Spec()),
    state=st.sampled_from(State),
    row=st.integers(0, 5),
    incurable=st.booleans(),
    verdict=st.sampled_from(["", "judged"]),
)


@given(st.lists(LIVES, min_size=1, max_size=4), st.booleans(), st.booleans())
def test_the_state_of_a_group_tells_the_truth(lives: list[Child], stopping: bool, started: bool) -> None:
    states = {life.state for life in lives}
    word = summary(lives, stopping=stopping, started=started)
    assert word in {"up", "starting", "degraded", "failed", "draining", "down"}
    assert (word == "up") == (states == {State.UP} and not stopping)
    assert (word == "draining") == (stopping and bool(states & RUNNING))
    if word == "failed":
        assert states == {State.FAILED}
    if word == "degraded":
        assert started
        assert State.UP in states


@given(st.lists(LIVES, min_size=1, max_size=4))
def test_a_start_waits_for_nobody_in_vain_and_for_everybody_else(lives: list[Child]) -> None:
    if is_settled(lives):
        assert all(life.state is State.UP or is_hopeless(life) for life in lives)
    else:
        left = [life for life in lives if life.state is not State.UP]
        assert any(life.verdict or (life.row < HOPELESS and life.state is not State.FAILED) for life in left)


async def order(stage: Stage, group: str = "") -> Answer:
    return await anyio.to_thread.run_sync(ask, stage.state_dir, Restart(group))


@pytest.mark.fault
def test_the_successor_is_up_before_the_predecessor_drains_also_with_one_worker(stage: Stage) -> None:
    stage.behave("cpu", "slow 0.3")

    async def story() -> Live:
        async with stage.running(stage.plan(groups(cpu=1, web=1))) as live:
            await live.sees(events.Serving)
            assert await order(stage) == Done("restarted all groups")
            (cpu, web) = (await status(stage)).groups
            assert [worker.name for worker in cpu.workers + web.workers] == ["cpu-0#2", "web-0#2"]
            assert (cpu.state, cpu.workers[0].restarts, cpu.workers[0].reason) == ("up", 1, "replaced")
            return live

    live = anyio.run(story)
    for seat in ("cpu-0", "web-0"):
        ready = live.events.index(live.seen(events.WorkerReady, worker=f"{seat}#2")[0])
        drains = live.events.index(live.seen(events.WorkerDraining, worker=f"{seat}#1")[0])
        assert ready < drains


@pytest.mark.fault
@pytest.mark.parametrize(("how", "why"), [("broken", "Traceback: no shop"), ("exit 9", "code 9"), ("hang", "2 s")])
def test_a_successor_that_does_not_come_up_leaves_the_predecessor_in_its_seat(stage: Stage, how: str, why: str) -> None:
    async def story() -> None:
        async with stage.running(
            stage.plan(groups(cpu=2, web=0, start_timeout=2.0 if how == "hang" else 60.0))
        ) as live:
            await live.sees(events.Serving)
            stage.behave("cpu", how)
            answer = await order(stage, "cpu")
            assert isinstance(answer, Refused)
            assert why in answer.why
            assert not answer.usage
            (cpu,) = (await status(stage)).groups
            assert [(worker.name, worker.state) for worker in cpu.workers] == [("cpu-0#1", "up"), ("cpu-1#1", "up")]
            stage.behave("cpu", "good")
            assert isinstance(await order(stage, "cpu"), Done)
            (cpu,) = (await status(stage)).groups
            assert [worker.name for worker in cpu.workers] == ["cpu-0#3", "cpu-1#2"]

    anyio.run(story)


@pytest.mark.fault
def test_nobody_is_turned_away_while_the_only_web_worker_is_replaced(stage: Stage) -> None:
    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=0, web=1))) as live:
            port = (await live.sees(events.Serving)).port
            answered: list[bytes] = []
            over = anyio.Event()

            async def knock() -> None:
                while not over.is_set():
                    answered.append(await anyio.to_thread.run_sync(visit, port))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(knock)
                for _ in range(3):
                    assert isinstance(await order(stage), Done)
                over.set()
            assert b"" not in answered
            assert {b"web-0#1", b"web-0#2", b"web-0#3"} <= set(answered)

    anyio.run(story)


def visit(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        return connection.recv(100)


@pytest.mark.fault
def test_web_workers_know_who_is_up_each_with_keys_of_its_own(stage: Stage) -> None:
    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=2, web=2))) as live:
            await live.sees(events.Serving)
            await order(stage, "cpu")
            await live.until(lambda: told("web-1#1") == {"cpu-0#2", "cpu-1#2"} == told("web-0#1"))

    def told(web: str) -> set[str]:
        return set(stage.notes(name=web, said="peers")[-1]["workers"])

    anyio.run(story)
    secrets = {note["name"]: bytes.fromhex(note["key"]) for note in stage.notes(said="bootstrap")}
    assert not secrets["web-0#1"]
    assert len(set(secrets.values())) == 5
    keys = {}
    for note in stage.notes(said="peers"):
        for server, (_address, key) in note["workers"].items():
            keys[server, note["name"]] = bytes.fromhex(key)
            assert keys[server, note["name"]] == leaf_key(secrets[server], parse_worker(note["name"]))
    assert len(set(keys.values())) == len(keys) == 8
    # A worker is withdrawn before it is told to drain.
    notes = stage.notes()
    drained = next(n for n, note in enumerate(notes) if note["said"] == "drain" and note["name"] == "cpu-1#1")
    first = [note for note in notes[:drained] if note["said"] == "peers"]
    assert "cpu-0#1" not in first[-1]["workers"]


@pytest.mark.fault
def test_two_restarts_at_once_are_one(stage: Stage) -> None:
    stage.behave("cpu", "slow 0.5")

    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=1, web=0))) as live:
            await live.sees(events.Serving)
            answers: list[Answer] = []

            async def one() -> None:
                answers.append(await order(stage))

            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(one)
            assert sorted(type(answer).__name__ for answer in answers) == ["Done", "Refused", "Refused"]
            assert len(live.seen(events.WorkerSpawned)) == 2

    anyio.run(story)


@pytest.mark.fault
def test_an_unknown_group_is_a_mistake_of_who_asks(stage: Stage) -> None:
    async def story() -> None:
        async with stage.running(stage.plan()) as live:
            await live.sees(events.Serving)
            answer = await order(stage, "gpu")
            assert answer == Refused("there is no group 'gpu'; did you mean 'cpu'?", usage=True)

    anyio.run(story)
