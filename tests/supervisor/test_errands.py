"""The supervisor's side of a call that an operator makes: who is asked, and what is believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from ipc.messages.control import MAX_RESULT, Called, CallNode, Refused
from ipc.messages.errand import Answered, Ask, Forget, More, Outcome
from ipc.names import WorkerName
from supervisor import errands
from supervisor.errands import MAX_CALLS, Errands
from supervisor.life import State

if TYPE_CHECKING:
    from ipc.messages.lifeline import FromSupervisor

ORDER = CallNode("shop.double", 5.0, 2)


class Worker:
    """A web worker that keeps what it is told."""

    def __init__(self, slot: int, state: State = State.UP) -> None:
        self.name: WorkerName | None = WorkerName("web", slot, 1)
        self.state = state
        self.told: list[FromSupervisor] = []

    def say(self, message: FromSupervisor) -> None:
        self.told.append(message)


class Scene:
    def __init__(self, *workers: Worker) -> None:
        self.workers = workers or (Worker(0), Worker(1))
        self.errands = Errands(lambda: iter(self.workers), lambda: ["shop.double", "shop.echo"])  # type: ignore[arg-type]
        self.results: list[tuple[Called | Refused, bytes]] = []

    async def call(self, order: CallNode = ORDER) -> None:
        self.results.append(await self.errands.call(order, b"{}", None))

    def heard(self, worker: Worker, message: Answered) -> None:
        self.errands.heard(worker, message)  # type: ignore[arg-type]

    async def asked(self, count: int) -> list[tuple[Worker, Ask]]:
        for _ in range(3000):
            found = [(worker, told) for worker in self.workers for told in worker.told if isinstance(told, Ask)]
            if len(found) == count:
                return found
            await anyio.sleep(0.01)
        raise AssertionError(count)


async def test_whoever_has_fewest_is_asked_and_a_bounded_number_at_once() -> None:
    scene = Scene(Worker(0), Worker(1, State.DRAINING), Worker(2))
    async with anyio.create_task_group() as tasks:
        for _ in range(MAX_CALLS):
            tasks.start_soon(scene.call)
        asked = await scene.asked(MAX_CALLS)
        await scene.call()
        assert isinstance(scene.results[0][0], Refused)
        assert "under way already" in scene.results[0][0].why
        assert sorted(worker.name.slot for worker, _ in asked if worker.name) == [0, 0, 2, 2]
        assert len({ask.number for _, ask in asked}) == MAX_CALLS
        for worker, ask in asked:
            scene.heard(worker, Answered(ask.number, b"8", Outcome(size=1, media_type="application/json")))
    assert {(answer.worker, result) for answer, result in scene.results[1:]} == {("web-0#1", b"8"), ("web-2#1", b"8")}  # type: ignore[union-attr]
    assert not [told for worker in scene.workers for told in worker.told if isinstance(told, Forget)]


async def test_parts_are_asked_for_until_all_are_there() -> None:
    scene = Scene(Worker(0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.call)
        ((worker, ask),) = await scene.asked(1)
        scene.heard(worker, Answered(ask.number, b"abc", Outcome(size=5)))
        assert worker.told[-1] == More(ask.number)
        scene.heard(worker, Answered(ask.number, b"de"))
    assert scene.results == [(Called(5, worker="web-0#1"), b"abcde")]


@pytest.mark.parametrize(
    "lie",
    [
        Answered(1, b"abc", Outcome(size=2)),
        Answered(1, b"abc"),
        Answered(1, b"", Outcome(size=-1)),
        Answered(1, b"", Outcome(size=1)),
    ],
)
async def test_what_is_no_answer_ends_it_and_is_shown_to_nobody(lie: Answered) -> None:
    scene = Scene(Worker(0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.call)
        ((worker, _),) = await scene.asked(1)
        scene.heard(worker, lie)
    (answer, result) = scene.results[0]
    assert isinstance(answer, Called)
    assert answer.code
    assert not result


async def test_an_empty_part_is_no_answer_either() -> None:
    scene = Scene(Worker(0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.call)
        ((worker, ask),) = await scene.asked(1)
        scene.heard(worker, Answered(ask.number, b"abc", Outcome(size=5)))
        scene.heard(worker, Answered(ask.number, b""))
        assert worker.told.count(More(ask.number)) == 1
    assert not scene.results[0][1]


async def test_a_result_without_an_end_is_cut_off() -> None:
    scene = Scene(Worker(0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.call)
        ((worker, ask),) = await scene.asked(1)
        scene.heard(worker, Answered(ask.number, bytes(2**20), Outcome(size=2**40)))
        for _ in range(MAX_RESULT // 2**20):
            scene.heard(worker, Answered(ask.number, bytes(2**20)))
    assert not scene.results[0][1]


async def test_others_cannot_answer_and_a_death_is_told() -> None:
    scene = Scene(Worker(0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.call)
        ((worker, ask),) = await scene.asked(1)
        scene.heard(Worker(1), Answered(ask.number, b"", Outcome()))
        scene.heard(worker, Answered(ask.number + 1, b"", Outcome()))
        assert not scene.results
        scene.errands.lost(Worker(1))  # type: ignore[arg-type]
        worker.name = WorkerName("web", 0, 2)
        scene.heard(worker, Answered(ask.number, b"", Outcome()))  # its next life knows nothing of it
        assert not scene.results
        scene.errands.lost(worker)  # type: ignore[arg-type]
    assert scene.results[0][0].code == "worker_died"  # type: ignore[union-attr]


async def test_who_waits_in_vain_is_told_and_the_worker_may_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errands, "MARGIN", 0.01)
    scene = Scene(Worker(0))
    await scene.call(CallNode("shop.double", 0.01, 2))
    assert scene.results[0][0].code == "unknown"  # type: ignore[union-attr]
    assert scene.workers[0].told[-1] == Forget(1)


async def test_who_leaves_has_it_forgotten() -> None:
    scene = Scene(Worker(0))
    with anyio.move_on_after(0.05):
        await scene.call()
    assert scene.workers[0].told[-1] == Forget(1)
    assert not scene.errands._under_way


@pytest.mark.parametrize(
    ("node", "workers", "why", "usage"),
    [
        ("shop.duoble", (Worker(0),), "did you mean 'shop.double'", True),
        ("zzz", (Worker(0),), "shunter check", True),
        ("shop.double", (Worker(0, State.STARTING),), "no web worker is up", False),
    ],
)
async def test_what_cannot_be_called_is_refused(node: str, workers: Any, why: str, usage: bool) -> None:
    scene = Scene(*workers)
    await scene.call(CallNode(node, 5.0, 2))
    (refused, _) = scene.results[0]
    assert isinstance(refused, Refused)
    assert why in refused.why
    assert refused.usage is usage
    assert not scene.workers[0].told
