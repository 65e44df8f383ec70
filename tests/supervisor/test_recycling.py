"""When a worker has used up what it may have, and that replacing it collides with nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stage import Live, Stage, groups, order, status

from ipc import control
from ipc.messages.control import Done, Restart, Stop
from supervisor import events, recycler
from supervisor.recycling import Recycling, Used, Verdict
from supervisor.scoreboard import own_bytes, rss_bytes
from supervisor.sizes import in_bytes, in_units

if TYPE_CHECKING:
    from supervisor.plan import GroupPlan

MiB = 2**20


# -- the decision


def test_without_a_bound_nobody_is_ever_recycled() -> None:
    policy = Recycling()
    greedy = Used("a-0#1", 10**12, 10**15)
    assert not policy
    assert policy.to_replace([greedy]) is None
    assert policy.to_kill([greedy]) == []


@given(st.integers(1, 10**6), st.floats(0, 0.5), st.floats(0, 1, exclude_max=True))
def test_jitter_only_ever_makes_it_sooner_and_by_no_more_than_it_says(most: int, jitter: float, dice: float) -> None:
    enough = Recycling(max_requests=most, jitter=jitter).enough(dice)
    assert 1 <= enough <= most
    assert enough >= round(most * (1 - jitter))


def test_workers_that_came_together_do_not_leave_together() -> None:
    policy = Recycling(max_requests=1000)
    at_once = [Used(f"a-{n}#1", 950, 0, dice=n / 10) for n in range(10)]
    assert [worker.name for worker in at_once if policy.to_replace([worker])] == [f"a-{n}#1" for n in range(5, 10)]


def test_the_neediest_is_first_and_memory_counts_more_than_requests() -> None:
    policy = Recycling(max_requests=100, max_memory=100 * MiB)
    some, more, fat = Used("a-0#1", 100, 0, 0), Used("a-1#1", 140, 0, 0), Used("a-2#1", 1, 120 * MiB)
    assert policy.to_replace([some]) == Verdict("a-0#1", "100 requests, max_requests is 100")
    assert policy.to_replace([some, more]) == Verdict("a-1#1", "140 requests, max_requests is 100")
    assert policy.to_replace([some, fat, more]) == Verdict("a-2#1", "120.0 MiB of memory, max_memory is 100.0 MiB")


def test_nobody_is_replaced_for_what_it_began_with_nor_twice() -> None:
    """A successor would begin with as much; and who drains already has one."""
    policy = Recycling(max_memory=100 * MiB)
    assert policy.to_replace([Used("a-0#1", 0, 120 * MiB)]) is None
    assert policy.to_replace([Used("a-0#1", 1, 120 * MiB, seated=False)]) is None
    assert policy.to_replace([Used("a-0#1", 1, 120 * MiB)])


@given(st.lists(st.builds(Used, st.text(), st.integers(0, 9), st.integers(0, 200), seated=st.booleans())))
def test_whoever_is_over_the_second_bound_is_killed_wherever_it_stands(workers: list[Used]) -> None:
    policy = Recycling(max_memory=100, kill_memory=150)
    assert [doomed.name for doomed in policy.to_kill(workers)] == [one.name for one in workers if one.memory > 150]


@given(st.integers(0, 2**70), st.sampled_from(["", "B", "KiB", "MiB", "GiB", "TiB"]), st.sampled_from(["", " "]))
def test_sizes_are_read_as_they_are_written(number: int, unit: str, space: str) -> None:
    factor = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}[unit]
    assert in_bytes(f"{number}{space}{unit}") == number * factor


def test_sizes_are_told_in_one_unit() -> None:
    told = [in_units(number) for number in (0, 1023, 1024, 640 * MiB, 1_500_000_000, 2**41)]
    assert told == ["0 bytes", "1023 bytes", "1.0 KiB", "640.0 MiB", "1.4 GiB", "2.0 TiB"]


# -- what is looked at


def test_memory_is_what_a_process_has_for_itself() -> None:
    code = "import mmap, sys; own = b'x' * (64 << 20); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert 64 * MiB < own_bytes(process.pid) < rss_bytes(process.pid)
        process.kill()
    assert own_bytes(process.pid) == 0


# -- what is done


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recycler, "LOOK_EVERY", 0.02)
    # Who orders a stop waits for the supervisor's end, which is this process.
    monkeypatch.setattr(control, "_pidfd", lambda _pid: os.open(os.devnull, os.O_RDONLY))


def recycled(policy: Recycling, **kinds: int) -> tuple[GroupPlan, ...]:
    return tuple(replace(group, recycling=policy) for group in groups(**kinds))


async def names(stage: Stage) -> list[str]:
    return [worker.name for group in (await status(stage)).groups for worker in group.workers]


@pytest.mark.fault
def test_a_worker_that_has_done_enough_has_a_successor_before_it_drains(stage: Stage) -> None:
    stage.behave("cpu", "calls 10")

    async def story() -> Live:
        async with stage.running(stage.plan(recycled(Recycling(max_requests=10), cpu=2, web=0))) as live:
            await live.sees(events.WorkerReady, 2)
            stage.behave("cpu", "calls 3")
            await live.sees(events.WorkerRecycled, 2)
            await live.sees(events.WorkerExited, 2)
            await anyio.sleep(0.2)
            (cpu,) = (await status(stage)).groups
            assert [worker.name for worker in cpu.workers] == ["cpu-0#2", "cpu-1#2"]
            assert {worker.reason for worker in cpu.workers} == {"recycled: 10 requests, max_requests is 10"}
            return live

    live = anyio.run(story)
    assert len(live.seen(events.WorkerRecycled)) == 2
    for seat in ("cpu-0", "cpu-1"):
        ready = live.events.index(live.seen(events.WorkerReady, worker=f"{seat}#2")[0])
        drains = live.events.index(live.seen(events.WorkerDraining, worker=f"{seat}#1")[0])
        assert ready < drains
    # One after the other: the second is not begun before the first predecessor is gone.
    first_gone = live.events.index(live.seen(events.WorkerExited)[0])
    assert live.events.index(live.seen(events.WorkerRecycled)[1]) > first_gone
    assert all(gone.expected for gone in live.seen(events.WorkerExited))
    assert not live.seen(events.WorkerRestarting)  # planned: no wait, no row


@pytest.mark.fault
def test_a_worker_with_too_much_memory_is_replaced_and_with_far_too_much_killed(stage: Stage) -> None:
    stage.behave("cpu-0", "eats 100 call")
    stage.behave("cpu-1", "eats 200")
    policy = Recycling(max_memory=80 * MiB, kill_memory=160 * MiB)

    async def story() -> None:
        async with stage.running(stage.plan(recycled(policy, cpu=2, web=0))) as live:
            await live.sees(events.WorkerSpawned, 2)
            await live.until(lambda: stage.notes(name="cpu-1#1", said="bootstrap"))
            stage.behave("cpu-1", "good")
            killed = await live.sees(events.WorkerExited, worker="cpu-1#1")
            assert killed.reason.startswith("killed: ")
            assert killed.reason.endswith("MiB of memory, max_memory_kill is 160.0 MiB")
            assert not killed.expected
            await live.until(lambda: stage.notes(name="cpu-0#1", said="bootstrap"))
            stage.behave("cpu-0", "good")
            told = await live.sees(events.WorkerRecycled, worker="cpu-0#1")
            assert "of memory, max_memory is 80.0 MiB" in told.reason
            await live.sees(events.WorkerExited, worker="cpu-0#1", expected=True)
            await live.sees(events.WorkerReady, worker="cpu-1#2")
            assert await names(stage) == ["cpu-0#2", "cpu-1#2"]

    anyio.run(story)


@pytest.mark.fault
def test_a_successor_that_does_not_come_up_is_not_tried_again_at_once(stage: Stage) -> None:
    stage.behave("cpu", "calls 10")

    async def story() -> None:
        async with stage.running(stage.plan(recycled(Recycling(max_requests=10), cpu=1, web=0))) as live:
            await live.sees(events.WorkerReady)
            stage.behave("cpu", "exit 9")
            trouble = await live.sees(events.Trouble)
            assert trouble.what.startswith("cpu-0#1 stays: its successor did not come up (cpu-0#2 exited with code 9")
            await anyio.sleep(0.3)
            assert await names(stage) == ["cpu-0#1"]
            assert len(live.seen(events.WorkerSpawned)) == 2

    anyio.run(story)


@pytest.mark.fault
def test_memory_that_cannot_be_seen_is_complained_of_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supervisor.child.own_bytes", lambda _pid: 0)

    async def story() -> None:
        async with stage.running(stage.plan(recycled(Recycling(max_memory=80 * MiB), cpu=1, web=0))) as live:
            trouble = await live.sees(events.Trouble)
            assert trouble.what.startswith("cpu: max_memory is without effect")
            await anyio.sleep(0.1)
            assert len(live.seen(events.Trouble)) == 1

    anyio.run(story)


@pytest.mark.fault
@pytest.mark.parametrize("forced", [False, True])
def test_a_stop_while_a_worker_is_recycled_leaves_nothing(stage: Stage, forced: bool) -> None:
    stage.behave("cpu", "calls 10")

    async def story() -> None:
        async with stage.running(stage.plan(recycled(Recycling(max_requests=10), cpu=2, web=1))) as live:
            await live.sees(events.WorkerReady, 2)
            stage.behave("cpu", "hang")
            await live.sees(events.WorkerRecycled)
            await live.sees(events.WorkerSpawned, 4)
            assert isinstance(await order(stage, Stop(force=forced)), Done)
            await live.over.wait()
            assert live.failure is None
            assert len(live.seen(events.WorkerExited)) == len(live.seen(events.WorkerSpawned)) == 4
            assert not live.seen(events.Trouble)

    anyio.run(story)


@pytest.mark.fault
def test_a_restart_waits_for_a_worker_that_is_being_recycled(stage: Stage) -> None:
    """And who was waiting to be recycled meanwhile is not: it has been restarted."""
    stage.behave("cpu", "calls 10")

    async def story() -> None:
        async with stage.running(stage.plan(recycled(Recycling(max_requests=10, jitter=0), cpu=2, web=0))) as live:
            await live.sees(events.WorkerReady, 2)
            stage.behave("cpu", "slow 0.4")
            await live.sees(events.WorkerRecycled)
            assert await order(stage, Restart("cpu")) == Done("restarted cpu")
            await anyio.sleep(0.2)
            spawned = [event.worker for event in live.seen(events.WorkerSpawned)]
            assert len(spawned) == 5  # two, one recycled, two restarted
            gone = live.events.index(live.seen(events.WorkerExited)[0])
            assert live.events.index(live.seen(events.WorkerSpawned)[3]) > gone  # not two at a time
            assert {worker.state for worker in (await status(stage)).groups[0].workers} == {"up"}
            assert len(live.seen(events.WorkerRecycled)) == 1
            assert all(gone.expected for gone in live.seen(events.WorkerExited))

    anyio.run(story)


@pytest.mark.fault
def test_web_workers_are_recycled_too_and_nobody_is_turned_away(stage: Stage) -> None:
    async def story() -> None:
        async with stage.running(stage.plan(recycled(Recycling(max_requests=20), cpu=0, web=1))) as live:
            port = (await live.sees(events.Serving)).port
            answered: list[bytes] = []
            while len(live.seen(events.WorkerRecycled)) < 3:
                async with await anyio.connect_tcp("127.0.0.1", port) as connection:
                    answered.append(await connection.receive())
            assert {b"web-0#1", b"web-0#2", b"web-0#3"} <= set(answered)

    anyio.run(story)
