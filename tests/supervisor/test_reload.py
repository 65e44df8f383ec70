"""A plan that changes while the service runs: storms, bad moments, and what comes of them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from stage import Live, Stage, groups

from ipc.contract import Describe, Described, Module, NodeContract, Result
from ipc.control import ask
from ipc.messages.control import Answer, AskStatus, Done, Refused, Reload, Restart, RotateKeys, Scale, Status
from ipc.messages.settings import ExecSettings
from supervisor import description, events
from supervisor.editions import Common, Editions
from supervisor.errors import ConfigError
from supervisor.life import Spec
from supervisor.policy import RestartPolicy
from supervisor.scaling import Scaling

if TYPE_CHECKING:
    from ipc.messages.control import Order
    from ipc.names import WorkerName
    from supervisor.edition import Edition
    from supervisor.plan import GroupPlan, Plan

pytestmark = pytest.mark.fault


@dataclass
class File:
    """What stands for the configuration: a plan, read slowly."""

    plan: Plan
    seconds: float = 0.0
    reads: int = 0
    fault: ConfigError | None = None

    def read(self) -> Plan:
        assert threading.current_thread() is not threading.main_thread()
        self.reads += 1
        plan, fault = self.plan, self.fault
        time.sleep(self.seconds)
        if fault is not None:
            raise fault
        return plan

    def set(self, stage: Stage, value: str) -> None:
        """Every worker is to find this in its environment."""
        self.plan = replace(self.plan, environment_set=(*stage.plan().environment_set, ("VALUE", value)))


async def order(stage: Stage, what: Order | None = None) -> Answer:
    return await anyio.to_thread.run_sync(ask, stage.state_dir, Reload() if what is None else what)


async def names(stage: Stage) -> dict[str, list[str]]:
    status = await order(stage, AskStatus())
    assert isinstance(status, Status)
    return {group.name: [f"{worker.name} {worker.state}" for worker in group.workers] for group in status.groups}


def value(stage: Stage, name: str) -> str:
    (note,) = stage.notes(name=name, said="bootstrap")
    return note["environment"].get("VALUE", "")


def test_fifty_hangups_in_a_second_end_in_one_generation_that_has_the_last_plan(stage: Stage) -> None:
    file = File(stage.plan(groups(cpu=2, web=1)), seconds=0.2)

    async def story() -> None:
        async with stage.running(file.plan, load=file.read) as live:
            await live.sees(events.Serving)
            began = time.monotonic()
            for number in range(50):
                file.set(stage, str(number))
                os.kill(os.getpid(), signal.SIGHUP)
                await anyio.sleep(0.02)
            took = time.monotonic() - began
            file.set(stage, "last")
            assert await order(stage) == Done("reloaded")
            told = await names(stage)
            assert [len(workers) for workers in told.values()] == [2, 1]
            for seat in (word for workers in told.values() for word in workers):
                name, state = seat.split()
                assert state == "up"
                assert value(stage, name) == "last"
            assert file.reads == len(live.seen(events.Reloading)) == len(live.seen(events.Reloaded))
            assert file.reads <= took / file.seconds + 3  # one after the other; one that waits; the order's

    anyio.run(story)


def test_a_stop_while_the_application_is_imported_ends_that_too(stage: Stage) -> None:
    hangs = (sys.executable, "-c", "import time; time.sleep(600)")
    now = stage.plan(groups(cpu=1, web=0))

    def read() -> Plan:
        description.describe(Describe(sys_path=()), os.environ, command=hangs)
        return now

    async def story() -> None:
        async with stage.running(now, load=read) as live:
            await live.sees(events.Serving)
            os.kill(os.getpid(), signal.SIGHUP)
            await live.until(lambda: description.AT_WORK)
            os.kill(os.getpid(), signal.SIGTERM)
            await live.over.wait()
            await live.until(lambda: not description.AT_WORK)

    anyio.run(story)


def test_whoever_orders_waits_for_a_run_that_began_after_that(stage: Stage) -> None:
    file = File(stage.plan(groups(cpu=1, web=0)), seconds=0.3)
    answers: list[Answer] = []

    async def story() -> None:
        async with stage.running(file.plan, load=file.read) as live:
            await live.sees(events.Serving)

            async def one() -> None:
                answers.append(await order(stage))

            async with anyio.create_task_group() as tasks:
                file.set(stage, "first")
                tasks.start_soon(one)
                await live.until(lambda: file.reads == 1)
                file.set(stage, "second")
                for _ in range(5):
                    tasks.start_soon(one)
            assert file.reads == 2
            (cpu,) = (await names(stage))["cpu"]
            assert value(stage, cpu.split()[0]) == "second"

    anyio.run(story)
    assert answers == [Done("reloaded")] * 6


def test_a_plan_that_cannot_be_read_changes_nothing_and_says_why(stage: Stage) -> None:
    file = File(stage.plan(groups(cpu=1, web=1)))
    file.fault = ConfigError("unknown key 'workrs'", where="shunter.yaml:4:9", hint="did you mean 'workers'?")

    async def story() -> None:
        async with stage.running(stage.plan(groups(cpu=1, web=1)), load=file.read) as live:
            await live.sees(events.Serving)
            assert await order(stage) == Refused(str(file.fault), usage=True, report=True)
            assert (await live.sees(events.NotReloaded)).reason == str(file.fault)
            assert await names(stage) == {"cpu": ["cpu-0#1 up"], "web": ["web-0#1 up"]}

    anyio.run(story)


@pytest.mark.parametrize(("how", "why"), [("broken", "Traceback: no shop"), ("exit 9", "code 9"), ("hang", "2 s")])
def test_no_group_changes_before_each_has_a_worker_of_the_new_version_up(stage: Stage, how: str, why: str) -> None:
    file = File(stage.plan(groups(cpu=2, web=1, start_timeout=2.0 if how == "hang" else 60.0)))

    async def story() -> Live:
        async with stage.running(file.plan, load=file.read) as live:
            await live.sees(events.Serving)
            stage.behave("web", how)
            file.set(stage, "new")
            answer = await order(stage)
            assert isinstance(answer, Refused)
            assert why in answer.why
            assert not answer.usage
            assert await names(stage) == {"cpu": ["cpu-0#1 up", "cpu-1#1 up"], "web": ["web-0#1 up"]}
            assert not live.seen(events.WorkerDraining)
            heard = stage.notes(name="web-0#1", said="peers")
            assert all(set(note["workers"]) <= {"cpu-0#1", "cpu-1#1"} for note in heard)
            stage.behave("web", "good")
            assert await order(stage) == Done("reloaded")
            assert await names(stage) == {"cpu": ["cpu-0#3 up", "cpu-1#2 up"], "web": ["web-0#3 up"]}
            return live

    live = anyio.run(story)
    drains = live.events.index(live.seen(events.WorkerDraining)[0])
    for name in ("cpu-0#3", "web-0#3"):
        assert live.events.index(live.seen(events.WorkerReady, worker=name)[0]) < drains
    assert set(stage.notes(name="web-0#3", said="peers")[0]["workers"]) == {"cpu-0#1", "cpu-1#1", "cpu-0#3"}
    assert set(stage.notes(name="web-0#3", said="peers")[-1]["workers"]) == {"cpu-0#3", "cpu-1#2"}


def test_who_was_tried_out_and_ends_before_the_others_are_up_replaces_nobody(stage: Stage) -> None:
    file = File(stage.plan(groups(cpu=1, web=1)))
    answers: list[Answer] = []

    async def story() -> None:
        async with stage.running(file.plan, load=file.read) as live:
            await live.sees(events.Serving)
            stage.behave("web", "slow 2")
            file.set(stage, "new")

            async def reload() -> None:
                answers.append(await order(stage))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(reload)
                await live.sees(events.WorkerSpawned, worker="web-0#2")
                os.kill(live.seen(events.WorkerSpawned, worker="cpu-0#2")[0].pid, signal.SIGKILL)
            assert await names(stage) == {"cpu": ["cpu-0#1 up"], "web": ["web-0#1 up"]}
            assert not live.seen(events.WorkerDraining)

    anyio.run(story)
    (answer,) = answers
    assert isinstance(answer, Refused)
    assert "nothing was changed: cpu-0#2 killed by SIGKILL" in answer.why


def test_new_bounds_of_a_group_that_follows_its_load_are_kept_to_from_the_size_it_has(stage: Stage) -> None:
    def between(least: int, most: int) -> Plan:
        cpu, web = groups(cpu=least, web=1)
        return stage.plan((replace(cpu, scaling=Scaling(least, most, 0.05)), web))

    file = File(between(1, 4))

    async def story() -> None:
        async with stage.running(file.plan, load=file.read) as live:
            await live.sees(events.Serving)
            assert await order(stage, Scale("cpu", 3)) == Done("cpu has 3 workers now, not 1")
            for bounds, size in (((1, 8), 3), ((1, 2), 2), ((4, 8), 4)):
                file.plan = between(*bounds)
                assert await order(stage) == Done("reloaded")
                assert len((await names(stage))["cpu"]) == size
            assert await order(stage, Scale("cpu", 3)) == Refused(
                "cpu follows its load between 4 and 8 workers, and 3 is not in between", usage=True
            )

    anyio.run(story)


def test_a_group_in_a_crash_loop_recovers_at_once(stage: Stage) -> None:
    file = File(stage.plan(groups(cpu=1, web=1)))
    policy = RestartPolicy(limit=4, base=0.02, cap=0.02)

    async def story() -> None:
        async with stage.running(file.plan, load=file.read, policy=policy) as live:
            await live.sees(events.Serving)
            stage.behave("cpu", "exit 9")
            kill(await names(stage), "cpu-0#1", live)
            await live.sees(events.WorkerExited, 2)
            file.set(stage, "worse")
            answer = await order(stage)  # whatever moment this is, it cannot come up
            assert isinstance(answer, Refused)
            await live.sees(events.GroupFailed)
            stage.behave("cpu", "good")
            assert await order(stage) == Done("reloaded")
            await live.until(lambda: live.seen(events.GroupUp, group="cpu"))
            ((cpu,), (web,)) = (await names(stage)).values()
            assert cpu.endswith("up")
            assert value(stage, cpu.split()[0]) == value(stage, web.split()[0]) == "worse"

    anyio.run(story)


def test_a_group_that_was_given_up_is_started_again_though_nothing_has_changed(stage: Stage) -> None:
    file = File(stage.plan(groups(cpu=1, web=1)))
    policy = RestartPolicy(limit=0)

    async def story() -> None:
        async with stage.running(file.plan, load=file.read, policy=policy) as live:
            await live.sees(events.Serving)
            kill(await names(stage), "cpu-0#1", live)
            await live.sees(events.GroupFailed)
            assert await order(stage) == Done("reloaded")
            await live.sees(events.WorkerReady, worker="cpu-0#2")
            assert (await names(stage))["web"] == ["web-0#1 up"]

    anyio.run(story)


def kill(told: dict[str, list[str]], name: str, live: Live) -> None:
    assert any(name in word for workers in told.values() for word in workers)
    os.kill(live.seen(events.WorkerSpawned, worker=name)[0].pid, signal.SIGKILL)


def test_keys_are_rotated_while_it_reloads_and_nobody_is_left_with_old_ones(stage: Stage) -> None:
    file = File(stage.plan(groups(cpu=2, web=2)))
    stage.behave("all", "slow 0.2")

    async def story() -> None:
        async with stage.running(file.plan, load=file.read) as live:
            await live.sees(events.Serving)
            async with anyio.create_task_group() as tasks:
                file.set(stage, "new")
                tasks.start_soon(order, stage)
                for _ in range(3):
                    assert isinstance(await order(stage, RotateKeys()), Done)
            assert live.seen(events.Reloaded)
            assert isinstance(await order(stage, RotateKeys()), Done)
            assert await names(stage) == {
                "cpu": ["cpu-0#2 up", "cpu-1#2 up"],
                "web": ["web-0#2 up", "web-1#2 up"],
            }
            assert set(stage.notes(name="web-1#2", said="peers")[-1]["workers"]) == {"cpu-0#2", "cpu-1#2"}

    anyio.run(story)


def test_restarts_and_reloads_wait_for_each_other(stage: Stage) -> None:
    file = File(stage.plan(groups(cpu=2, web=1)))
    answers: list[Answer] = []

    async def story() -> None:
        async with stage.running(file.plan, load=file.read) as live:
            await live.sees(events.Serving)

            async def one(what: Order) -> None:
                answers.append(await order(stage, what))

            file.set(stage, "new")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one, Restart(""))
                tasks.start_soon(one, Reload())
            told = await names(stage)
            for word in (word for workers in told.values() for word in workers):
                name, state = word.split()
                assert (value(stage, name), state) == ("new", "up")

    anyio.run(story)
    assert Done("reloaded") in answers


def test_what_is_ordered_during_the_first_start_is_done_after_it(stage: Stage) -> None:
    file = File(stage.plan(groups(cpu=1, web=1)))
    stage.behave("web", "slow 0.7")

    async def story() -> None:
        async with stage.running(file.plan, load=file.read) as live:
            await live.sees(events.WorkerReady, worker="cpu-0#1")
            file.set(stage, "new")
            assert await order(stage) == Done("reloaded")
            serving, reloading = live.seen(events.Serving)[0], live.seen(events.Reloading)[0]
            assert live.events.index(serving) < live.events.index(reloading)
            assert await names(stage) == {"cpu": ["cpu-0#2 up"], "web": ["web-0#2 up"]}

    anyio.run(story)


@pytest.mark.parametrize("moment", ["reading", "trying", "replacing"])
def test_a_stop_ends_it_at_any_moment(stage: Stage, moment: str) -> None:
    file = File(stage.plan(groups(cpu=2, web=1)), seconds=20.0 if moment == "reading" else 0.0)
    answers: list[Answer] = []

    async def story() -> None:
        async with stage.running(file.plan, load=file.read) as live:
            await live.sees(events.Serving)
            file.set(stage, "new")
            if moment == "trying":
                stage.behave("cpu", "hang")
            elif moment == "replacing":
                stage.behave("cpu-1", "hang")

            async def one() -> None:
                answers.append(await order(stage))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one)
                if moment == "reading":
                    await live.until(lambda: file.reads)
                else:
                    await live.sees(events.WorkerSpawned, worker="cpu-0#2" if moment == "trying" else "cpu-1#2")
                began = time.monotonic()
                os.kill(os.getpid(), signal.SIGTERM)
                await live.over.wait()
                assert time.monotonic() - began < 30.0
            assert live.failure is None

    anyio.run(story)
    (answer,) = answers
    assert isinstance(answer, Refused)
    assert "stopping" in answer.why


@dataclass
class Edited(File):
    """A plan of which one file is the code: what `cpu` imports."""

    def read(self) -> Plan:
        return with_code(super().read())


def with_code(plan: Plan) -> Plan:
    path = plan.state_dir.parent / "shop.py"
    stat = path.stat()
    module = Module("shop", str(path), path.read_bytes(), stamp=(stat.st_ino, stat.st_ctime_ns))
    return replace(plan, described=Described((), {}, modules=(module,)))


def with_edits(stage: Stage) -> Edited:
    (stage.path / "shop.py").write_text("PRICE = 1")
    node = NodeContract("shop.ask", "core", (), None, Result("json"), imported_from="shop:ask")
    cpu, web = groups(cpu=2, web=1)
    return Edited(stage.plan((replace(cpu, settings=ExecSettings(nodes=(node,))), web)))


def test_who_started_between_an_edit_and_its_end_is_replaced_though_the_files_say_the_same(stage: Stage) -> None:
    file = with_edits(stage)
    code = stage.path / "shop.py"

    async def story() -> None:
        async with stage.running(with_code(file.plan), load=file.read) as live:
            await live.sees(events.Serving)
            code.write_text("PRICE = 2")
            kill(await names(stage), "cpu-0#1", live)
            await live.sees(events.WorkerReady, worker="cpu-0#2")
            code.write_text("PRICE = 1")
            assert await order(stage) == Done("reloaded")
            assert events.WillChange("cpu: may run another version: 2 workers are replaced") in live.events
            assert await names(stage) == {"cpu": ["cpu-0#3 up", "cpu-1#2 up"], "web": ["web-0#1 up"]}
            assert await order(stage) == Done("reloaded")
            assert (await names(stage))["cpu"] == ["cpu-0#3 up", "cpu-1#2 up"]

    anyio.run(story)


@pytest.mark.parametrize("edited", ["before", "not at all", "after"])
def test_who_started_while_nothing_was_edited_stays(stage: Stage, edited: str) -> None:
    file = with_edits(stage)
    code = stage.path / "shop.py"

    async def story() -> None:
        async with stage.running(with_code(file.plan), load=file.read) as live:
            await live.sees(events.Serving)
            assert await order(stage) == Done("reloaded")  # from now on it is certain of those who have started
            if edited == "before":
                code.write_text("PRICE = 1")  # as a deployment does: no other content, but another time
                assert await order(stage) == Done("reloaded")
            kill(await names(stage), "cpu-0#1", live)
            await live.sees(events.WorkerReady, worker="cpu-0#2")
            assert await order(stage, Restart("cpu")) == Done("restarted cpu")
            if edited == "after":
                assert await order(stage) == Done("reloaded")
                code.write_text("PRICE = 1")
            assert await order(stage) == Done("reloaded")
            assert await names(stage) == {"cpu": ["cpu-0#3 up", "cpu-1#2 up"], "web": ["web-0#1 up"]}

    anyio.run(story)


def test_of_a_storm_of_orders_none_is_lost_while_workers_die_and_numbers_change(stage: Stage) -> None:
    file = File(stage.plan(groups(cpu=2, web=1)), seconds=0.1)
    answers: list[Answer] = []
    scaled: list[Answer] = []

    async def story() -> None:
        async with stage.running(file.plan, load=file.read) as live:
            await live.sees(events.Serving)
            crowd = anyio.CapacityLimiter(60)

            async def one(what: Order, into: list[Answer]) -> None:
                into.append(await anyio.to_thread.run_sync(ask, stage.state_dir, what, limiter=crowd))

            async with anyio.create_task_group() as tasks:
                for number in range(50):
                    file.set(stage, str(number))
                    tasks.start_soon(one, Reload(), answers)
                    if number % 10 == 0:
                        tasks.start_soon(one, Scale("cpu", 1 + number // 10), scaled)
                        await anyio.sleep(0.2)
                    if number % 25 == 12:
                        ready = live.seen(events.WorkerReady)[-1].worker
                        with suppress(ProcessLookupError):
                            os.kill(live.seen(events.WorkerSpawned, worker=ready)[0].pid, signal.SIGKILL)
            assert (len(answers), len(scaled)) == (50, 5)
            assert all("did not" in each.why or "killed" in each.why for each in answers if isinstance(each, Refused))
            file.set(stage, "last")
            assert await order(stage) == Done("reloaded")
            await live.until(lambda: all(live.seen(events.WorkerReady, worker=each.worker)
                                         or live.seen(events.WorkerExited, worker=each.worker)
                                         for each in live.seen(events.WorkerSpawned)))  # fmt: skip
            told = await names(stage)
            assert [len(workers) for workers in told.values()] == [2, 1]
            for name, state in (word.split() for workers in told.values() for word in workers):
                assert (value(stage, name), state) == ("last", "up")

    anyio.run(story)


def test_groups_stand_in_the_order_of_the_plan_whenever_they_came(stage: Stage) -> None:
    cpu, web = groups()
    ten, six = (replace(cpu, name=name) for name in ("ten", "six"))
    file = File(stage.plan((cpu, web)))

    async def story() -> None:
        async with stage.running(file.plan, load=file.read) as live:
            await live.sees(events.Serving)
            file.plan = replace(file.plan, groups=(cpu, ten, six, web))
            stage.behave("six", "exit 9")
            assert isinstance(await order(stage), Refused)
            assert list(await names(stage)) == ["cpu", "web"]
            stage.behave("six", "good")
            assert await order(stage) == Done("reloaded")
            assert list(await names(stage)) == ["cpu", "ten", "six", "web"]
            file.plan = replace(file.plan, groups=(six, cpu, web))
            assert await order(stage) == Done("reloaded")
            assert list(await names(stage)) == ["six", "cpu", "web"]

    anyio.run(story)


def test_a_change_of_numbers_meanwhile_hides_nothing_of_what_has_changed(stage: Stage) -> None:
    cpu, web = groups(cpu=2)
    file = File(stage.plan((cpu, web)))
    answers: list[Answer] = []

    async def story() -> None:
        async with stage.running(file.plan, load=file.read) as live:
            await live.sees(events.Serving)
            file.plan = replace(file.plan, groups=(replace(cpu, stages=("more",)), web))
            stage.behave("cpu-1", "hang")

            async def one() -> None:
                answers.append(await order(stage))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one)
                await live.sees(events.WorkerSpawned, worker="cpu-1#2")
                assert isinstance(await order(stage, Scale("web", 2)), Done)
                kill(await names(stage), "cpu-1#2", live)

    anyio.run(story)
    (answer,) = answers
    assert isinstance(answer, Refused)
    assert answer.why.startswith("reloaded, but not every worker could be replaced")


def test_a_group_that_old_workers_may_call_stays_until_a_reload_has_replaced_them_all(stage: Stage) -> None:
    cpu, web = groups(cpu=2)
    till = replace(cpu, name="till", workers=1)
    file = File(stage.plan((cpu, till, web)))

    async def half_a_reload(version: str) -> None:
        file.plan = replace(file.plan, groups=(cpu, web))
        file.set(stage, version)
        stage.behave("cpu-1", "exit 9")
        answer = await order(stage)
        assert isinstance(answer, Refused)
        assert answer.why.startswith("reloaded, but not every worker could be replaced")
        assert (await names(stage))["till"] in (["till-0#1 up"], ["till-0#2 up"])
        stage.behave("cpu-1", "good")

    async def story() -> None:
        async with stage.running(file.plan, load=file.read) as live:
            await live.sees(events.Serving)
            await half_a_reload("second")
            file.plan = replace(file.plan, groups=(cpu, till, web))
            assert await order(stage) == Done("reloaded")
            assert (await names(stage))["till"] == ["till-0#2 up"]
            await half_a_reload("third")
            assert await order(stage) == Done("reloaded")
            assert list(await names(stage)) == ["cpu", "web"]

    anyio.run(story)


def test_a_fault_of_ours_while_it_tries_leaves_nothing_locked(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    file = File(stage.plan(groups()))
    make = Editions.of

    def of(self: Editions, plan: GroupPlan) -> Edition:
        if plan.role == "web":
            raise ValueError("not thought of")
        return make(self, plan)

    async def story() -> None:
        async with stage.running(file.plan, load=file.read) as live:
            await live.sees(events.Serving)
            file.set(stage, "new")
            monkeypatch.setattr(Editions, "of", of)
            answer = await order(stage)
            assert isinstance(answer, Refused)
            assert "not thought of" in answer.why
            assert await names(stage) == {"cpu": ["cpu-0#1 up"], "web": ["web-0#1 up"]}
            monkeypatch.undo()
            assert await order(stage) == Done("reloaded")
            assert await names(stage) == {"cpu": ["cpu-0#3 up"], "web": ["web-0#2 up"]}

    anyio.run(story)


def test_how_often_keys_are_rotated_changes_at_once(stage: Stage) -> None:
    file = File(stage.plan(groups()))

    async def story() -> None:
        async with stage.running(file.plan, load=file.read) as live:
            await live.sees(events.Serving)
            file.plan = replace(file.plan, rotate_every=0.3)
            assert await order(stage) == Done("reloaded")
            await live.sees(events.KeysRotated)
            assert await names(stage) == {"cpu": ["cpu-0#1 up"], "web": ["web-0#1 up"]}

    anyio.run(story)


def test_templates_of_two_versions_have_two_names_and_pipes_one_budget(stage: Stage) -> None:
    rest: Any = dict.fromkeys(("keys", "rotation", "directory", "reach", "quarantine", "tell", "listener"))
    common = Common(programs={}, **rest)
    (small,) = groups(cpu=1, web=0, preload=True)
    editions = [Editions(stage.plan((replace(small, workers=n),)), common, n) for n in (1, 100)]

    async def names_of_templates() -> set[WorkerName]:
        made = [each.of(small).template for each in editions]
        templates = [make(Spec(), lambda: None) for make in made if make is not None]
        return {template._worker._seat.next_name() for template in templates}

    assert len(anyio.run(names_of_templates)) == 2
    crowded = common.pipes.size
    editions[0].share_pipes()
    assert common.pipes.size > crowded


def asking(*names: str) -> tuple[GroupPlan, ...]:
    found = tuple(NodeContract(name, "core", (), None, Result("json"), imported_from="shop:ask") for name in names)
    cpu, web = groups(cpu=2, web=1)
    return replace(cpu, settings=ExecSettings(nodes=found)), web


def test_versions_of_a_reload_that_was_not_finished_are_kept_apart_also_by_the_next(stage: Stage) -> None:
    file = File(stage.plan(asking("shop.first")))

    async def fails(version: str, who: str, why: str) -> None:
        file.set(stage, version)
        stage.behave(who, "exit 9")
        answer = await order(stage)
        assert isinstance(answer, Refused)
        assert answer.why.startswith(why)
        stage.behave(who, "good")

    async def story() -> None:
        async with stage.running(file.plan, load=file.read) as live:
            await live.sees(events.Serving)
            file.plan = replace(file.plan, groups=asking("shop.second"))
            await fails("second", "cpu-1", "reloaded, but not every worker could be replaced")
            left = await names(stage)
            assert left == {"cpu": ["cpu-0#2 up", "cpu-1#1 up"], "web": ["web-0#2 up"]}
            await fails("third", "web", "nothing was changed")
            kill(await names(stage), "cpu-0#2", live)
            await live.sees(events.WorkerReady, worker="cpu-0#4")
            assert await order(stage) == Done("reloaded")

    anyio.run(story)
    told = [note["workers"] for note in stage.notes(name="web-0#2", said="peers")]
    assert any("cpu-0#4" in workers for workers in told)  # nobody is kept from those of the like
    assert not any("cpu-1#1" in workers for workers in told)
    assert set(stage.notes(name="web-0#4", said="peers")[-1]["workers"]) == {"cpu-0#5", "cpu-1#3"}


def test_the_reload_after_one_that_was_not_finished_leaves_no_web_worker_alone(stage: Stage) -> None:
    file = File(stage.plan(asking("shop.first")))

    async def story() -> None:
        async with stage.running(file.plan, load=file.read) as live:
            await live.sees(events.Serving)
            stage.behave("cpu-1", "exit 9")
            file.plan = replace(file.plan, groups=asking("shop.second"))
            file.set(stage, "second")
            assert isinstance(await order(stage), Refused)
            stage.behave("cpu-1", "good")
            file.plan = replace(file.plan, groups=asking("shop.third"))
            file.set(stage, "third")
            assert await order(stage) == Done("reloaded")
            assert await names(stage) == {"cpu": ["cpu-0#3 up", "cpu-1#3 up"], "web": ["web-0#3 up"]}

    anyio.run(story)
    told = stage.notes(name="web-0#2")
    served = told[: [note["said"] for note in told].index("drain")]
    assert all(note["workers"] for note in served if note["said"] == "peers")
