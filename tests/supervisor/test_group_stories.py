"""Groups and the tree, told stories of all that can happen at once; their processes are played."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import example, given, settings
from hypothesis import strategies as st
from puppets import NEVER, Company, QuickLoop
from stage import groups

from supervisor import scaler
from supervisor.changeover import Changeover
from supervisor.figures import Sightings
from supervisor.life import State
from supervisor.policy import RestartPolicy
from supervisor.resizing import resize
from supervisor.restart import recycle, restart
from supervisor.scaler import RETRY_AFTER, Scaler
from supervisor.scaling import Scaling
from supervisor.succession import OVERLAP
from supervisor.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from anyio.abc import TaskGroup

    from supervisor.child import Worker
    from supervisor.errors import SpawnError
    from supervisor.events import Event
    from supervisor.policy import Strategy

LONG = 100_000.0
"""Far more than anything takes in the time of these tests, seconds; waiting for it costs nothing."""
STRATEGIES = st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"])
BEHAVIOURS = ("well", "slow", "dies", "hangs", "breaks", "deaf", "crashes", "is not made")
ENDS = ("crash", "leave", "overrun", "recovers", "condemn", "lose")
FORKS = (0.01, 0.01, 0.01, 0.5, 5.0, 15.0, NEVER, None)
CHANGES = ("recycle", "drain", "restart", "reload", "recover", "grow", "shrink")
EVENTS = (*ENDS, *CHANGES, "pass", "behave", "fork", "template ends")
STORIES = st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 7)), max_size=25)


def company(
    strategy: Strategy,
    workers: int = 3,
    *,
    preload: bool = False,
    tell: Callable[[Event], None] = lambda _event: None,
) -> Company:
    policy = RestartPolicy(limit=3, base=0.1, cap=2.0, strategy=strategy)
    (plan,) = groups(cpu=workers, web=0, start_timeout=20.0, drain_timeout=8.0, policy=policy)
    return Company(plan, tell, preload=preload)


def run(story: Coroutine[Any, Any, None]) -> None:
    async def patiently() -> None:
        with anyio.fail_after(10 * LONG):
            await story

    anyio.run(patiently, backend_options={"loop_factory": QuickLoop})


async def happen(what: str, n: int, company: Company, tasks: TaskGroup) -> None:
    """One line of a story."""
    group = company.group
    worker = company.seated[n % len(company.seated)]
    match what:
        case _ if what in ENDS:
            end(what, worker, company)
        case "recycle":
            tasks.start_soon(recycle, group, worker, "used up")
        case "drain":
            tasks.start_soon(partial(recycle, group, worker, "asked for", anyhow=True))
        case "restart":
            tasks.start_soon(restart, group, print_nothing)
        case "reload" if group.serves:
            tasks.start_soon(reload, company)
        case "recover":
            group.recover()
        case "grow" | "shrink":
            size = max(1, min(6, group.size + (1 if what == "grow" else -1)))
            tasks.start_soon(resize, group, size, print_nothing)
        case "pass":
            await anyio.sleep((0.0, 0.01, 0.05, 0.1, 0.5, 2.0, 10.0, 70.0)[n])
        case _:
            play(what, n, company)


def play(what: str, n: int, company: Company) -> None:
    """How processes do from now on, or the end of those that are forked from."""
    match what:
        case "behave":
            company.does = BEHAVIOURS[n]
        case "fork":
            company.forks = FORKS[n]
        case "template ends":
            for puppet in company.warm[n % 2 :]:
                puppet.die("killed by SIGKILL")


async def reload(company: Company) -> None:
    """Go on to another edition, if one of its workers comes up."""
    changeover = Changeover(company.group, company.edition(), print_nothing)
    why = await changeover.try_out()
    await anyio.sleep(0.3)  # while other groups try theirs
    if why is None and changeover.failure is None:
        changeover.commit()
        await anyio.sleep(0.3)  # while they go on to it
        await changeover.roll()
        await changeover.finish()
    else:
        await changeover.discard()


def end(how: str, worker: Worker, company: Company) -> None:
    """Something is wrong with one of them."""
    puppet = company.puppet(worker)
    match how:
        case "crash" if puppet is not None:
            puppet.die("killed by SIGSEGV")
        case "leave" if puppet is not None:
            puppet.leave()
        case "overrun" | "recovers":
            worker.overrun("a call does not end", lambda: how == "overrun")
        case "condemn":
            worker.condemn("900 MiB of memory")
        case "lose":
            worker.lose("said nonsense")


def print_nothing(_text: str) -> None:
    pass


@settings(max_examples=100, deadline=None)
@given(STRATEGIES, STORIES, st.booleans(), st.integers(0, 7), st.booleans())
def test_whatever_happened_stop_ends_a_group(
    strategy: Strategy, story: list[tuple[str, int]], force: bool, does: int, preload: bool
) -> None:
    async def told() -> None:
        cpu = company(strategy, preload=preload)
        cpu.does = BEHAVIOURS[does]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cpu.group.start)
            await checkpoint()
            for what, n in story:
                await happen(what, n, cpu, tasks)
            cpu.group.stop(force=force)
            await cpu.group.gone()
            assert not cpu.alive
            assert not cpu.warm
        cpu.check()
        assert all(worker.state is State.DOWN for worker in cpu.group.everybody())

    run(told())


@settings(max_examples=100, deadline=None)
@given(STRATEGIES, STORIES, st.booleans())
@example("one_for_one", [("behave", 6), ("reload", 0), ("pass", 5)], False)
def test_whatever_happened_a_restart_brings_everybody_back(
    strategy: Strategy, story: list[tuple[str, int]], preload: bool
) -> None:
    """No seat is lost, and none is there twice."""

    async def told() -> None:
        cpu = company(strategy, preload=preload)
        group = cpu.group
        assert await group.start() is None
        async with anyio.create_task_group() as tasks:
            for what, n in story:
                await happen(what, n, cpu, tasks)
            cpu.does, cpu.forks = "well", FORKS[0]
        await anyio.sleep(LONG)  # whoever behaved badly is given up by now, or well
        why: SpawnError | None = await restart(group, print_nothing)
        assert why is None
        assert group.state == "up"
        assert [worker.name.slot for worker in cpu.seated if worker.name is not None] == list(range(group.size))
        assert list(group.everybody()) == cpu.seated, "nobody is left beside"
        assert (len(cpu.alive), len(cpu.warm)) == (group.size, preload)
        group.stop()
        await group.gone()
        cpu.check()

    run(told())


@settings(max_examples=50, deadline=None)
@given(STRATEGIES, STORIES, st.lists(st.floats(0, 30), max_size=3), st.integers(0, 7), st.booleans())
def test_whenever_a_stop_comes_it_ends_the_tree_in_order(
    strategy: Strategy, story: list[tuple[str, int]], forces: list[float], does: int, preload: bool
) -> None:
    async def told() -> None:
        first, last = company(strategy, preload=preload), company("one_for_one", 1)
        last.does = BEHAVIOURS[does]
        tree = Tree((first.group, last.group), lambda _event: None)

        async def live() -> None:
            if await tree.start() is None:
                await tree.stop_asked.wait()
            await tree.stop()
            assert not last.alive
            assert not first.alive

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(live)
            await checkpoint()
            for n, (what, slot) in enumerate(story):
                await happen(what, slot, first if n % 2 else last, tasks)
            tree.ask_stop()
            for after in forces:
                await anyio.sleep(after)
                tree.ask_stop(force=True)
            with anyio.fail_after(LONG):
                await tree.stopped.wait()
        first.check()
        last.check()

    run(told())


@pytest.mark.parametrize("forks", [NEVER, None, FORKS[0]])
@pytest.mark.parametrize("ends", [True, False])
def test_whom_its_template_does_not_fork_is_started_without_it(forks: float | None, ends: bool) -> None:
    """Also where it took the order, and nobody ever came."""

    async def told() -> None:
        cpu = company("one_for_one", 2, preload=True)
        cpu.forks = forks
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cpu.group.start)
            await anyio.sleep(0.05)  # the template is warm by now, and has its orders
            if ends:
                play("template ends", 0, cpu)
        assert cpu.group.state == "up"
        assert [str(puppet.name) for puppet in cpu.alive] == ["cpu-0#1", "cpu-1#1"]
        cpu.forks = FORKS[0]
        await anyio.sleep(LONG)  # there is another by then
        assert len(cpu.warm) == 1
        assert await restart(cpu.group, print_nothing) is None
        assert cpu.group.state == "up"
        cpu.group.stop()
        await cpu.group.gone()
        cpu.check()

    run(told())


def test_whoever_leaves_a_recycling_that_has_begun_leaves_no_worker_without_a_seat() -> None:
    async def told() -> None:
        cpu = company("one_for_one", 1)
        assert await cpu.group.start() is None
        cpu.does = "slow"
        with anyio.move_on_after(1.0):
            await recycle(cpu.group, cpu.seated[0], "used up")
        await anyio.sleep(LONG)
        assert list(cpu.group.everybody()) == cpu.seated
        assert [str(puppet.name) for puppet in cpu.alive] == ["cpu-0#2"]
        cpu.group.stop()
        await cpu.group.gone()
        cpu.check()

    run(told())


def test_whoever_leaves_a_trial_leaves_nobody_on_trial() -> None:
    async def told() -> None:
        cpu = company("one_for_one", 1)
        assert await cpu.group.start() is None
        cpu.does = "slow"
        changeover = Changeover(cpu.group, cpu.edition(), print_nothing)
        with anyio.move_on_after(1.0):
            await changeover.try_out()
        assert list(cpu.group.everybody()) == cpu.seated
        assert [str(puppet.name) for puppet in cpu.alive] == ["cpu-0#1"]
        await changeover.discard()
        cpu.group.stop()
        await cpu.group.gone()
        cpu.check()

    run(told())


def test_who_drains_for_long_keeps_no_other_change_waiting() -> None:
    """A restart returns when everybody is gone; a worker that is recycled is one at a time."""

    async def told() -> None:
        cpu = company("one_for_one", 2)
        group, over = cpu.group, list[str]()
        cpu.does = "deaf"
        assert await group.start() is None
        cpu.does = "well"

        async def all_anew() -> None:
            assert await restart(group, print_nothing) is None
            over.append("restart")

        async def one_anew() -> None:
            assert await recycle(group, cpu.seated[0], "used up") is None
            over.append("recycling")

        for what in (one_anew, all_anew):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(what)
                await anyio.sleep(0.1)
                cpu.does = "deaf"  # for the next time
                with anyio.fail_after(2 * OVERLAP + 1.0):
                    assert await resize(group, 3, print_nothing) is None
                assert not over
                await anyio.sleep(LONG)
                assert over.pop()
                assert list(group.everybody()) == cpu.seated
        group.stop()
        await group.gone()
        cpu.check()

    run(told())


def test_whoever_has_to_wait_for_another_change_is_told_so() -> None:
    async def told() -> None:
        cpu = company("one_for_one", 1)
        group, heard = cpu.group, list[str]()
        assert await group.start() is None
        await resize(group, 1, heard.append)
        assert not heard
        changeover = Changeover(group, cpu.edition(), heard.append)
        assert await changeover.try_out() is None
        assert not heard
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(restart, group, heard.append)
            tasks.start_soon(resize, group, 1, heard.append)
            tasks.start_soon(Changeover(group, cpu.edition(), heard.append).try_out)
            await anyio.sleep(1.0)
            tasks.cancel_scope.cancel()
        assert heard == ["cpu: waits for another change of it to end"] * 3
        await changeover.discard()
        group.stop()
        await group.gone()
        cpu.check()

    run(told())


@pytest.mark.parametrize(("meanwhile", "size"), [("nothing", 2), ("somebody scales it", 1), ("it is reloaded", 1)])
def test_what_its_load_asks_for_is_not_done_once_somebody_else_has_decided(meanwhile: str, size: int) -> None:
    async def told() -> None:
        cpu = company("one_for_one", 1)
        group = cpu.group
        scaler = Scaler(group, Scaling(2, 4, 0.05), 1, Sightings())
        assert await group.start() is None
        async with anyio.create_task_group() as tasks:
            changeover = Changeover(group, cpu.edition(), print_nothing)
            assert await changeover.try_out() is None
            tasks.start_soon(scaler.watch)
            await anyio.sleep(2.0)  # it has decided, and waits for its turn
            if meanwhile == "somebody scales it":
                scaler.hold()
            elif meanwhile == "it is reloaded":
                scaler.end()
            await changeover.discard()
            await anyio.sleep(10.0)
            assert (group.size, len(cpu.seated)) == (size, size)
            scaler.end()
        group.stop()
        await group.gone()
        cpu.check()

    run(told())


def test_a_newcomer_that_does_not_come_up_is_told_of_and_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    async def told() -> None:
        monkeypatch.setattr(scaler, "time", SimpleNamespace(monotonic=anyio.current_time))
        heard = list[str]()
        cpu = company("one_for_one", 1, tell=lambda event: heard.append(str(event)))
        looks = Scaler(cpu.group, Scaling(2, 4, 0.05), 1, Sightings())
        assert await cpu.group.start() is None
        cpu.does = "breaks"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(looks.watch)
            await anyio.sleep(RETRY_AFTER)
            (why,) = [line for line in heard if "stays at 1 workers" in line]
            assert "no module named 'shop'" in why
            assert "again in 30 s" in why
            assert [str(puppet.name) for puppet in cpu.alive] == ["cpu-0#1"]
            cpu.does = "well"
            await anyio.sleep(5.0)
            assert [str(puppet.name) for puppet in cpu.alive] == ["cpu-0#1", "cpu-1#2"]
            looks.end()
        cpu.group.stop()
        await cpu.group.gone()
        cpu.check()

    run(told())


def test_nobody_is_taken_along_while_all_are_replaced_by_hand() -> None:
    """The successors are not to end for what a predecessor does."""

    async def told() -> None:
        cpu = company("one_for_all", 2)
        assert await cpu.group.start() is None
        cpu.does = "slow"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(restart, cpu.group, print_nothing)
            await anyio.sleep(1.0)
            end("crash", cpu.seated[1], cpu)
        assert [str(puppet.name) for puppet in cpu.alive] == ["cpu-0#2", "cpu-1#3"]
        end("crash", cpu.seated[1], cpu)
        await anyio.sleep(20.0)
        assert [str(puppet.name) for puppet in cpu.alive] == ["cpu-0#3", "cpu-1#4"]
        cpu.group.stop()
        await cpu.group.gone()
        cpu.check()

    run(told())


def test_a_story_can_go_wrong() -> None:
    """The checks would see a process that is left behind."""

    async def told() -> None:
        cpu = company("one_for_one", 1)
        await cpu.group.start()
        try:
            cpu.check()
        except AssertionError:
            cpu.group.stop(force=True)
            await cpu.group.gone()
        else:
            raise ValueError("nobody noticed")

    run(partial(told)())


def test_whoever_wants_a_change_of_a_group_that_ends_is_told_why_it_does() -> None:
    async def told() -> None:
        cpu = company("one_for_one")
        assert await cpu.group.start() is None
        cpu.does = "slow"
        answers: list[SpawnError | None] = []

        async def one(change: Any) -> None:
            answers.append(await change)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one, restart(cpu.group, print_nothing))
            tasks.start_soon(one, resize(cpu.group, 5, print_nothing))
            await anyio.sleep(1.0)
            cpu.group.stop(why="cpu is gone from the configuration")
        assert list(map(str, answers)) == ["cpu is gone from the configuration"] * 2
        await cpu.group.gone()
        cpu.check()

    run(told())
