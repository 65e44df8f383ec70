"""Nodes that are `async def`: each call a task, interrupted by being cancelled, with its own `current()`."""

from __future__ import annotations

import asyncio
import json
import math
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from exec_worker import current, lane
from exec_worker.asked import AskedCall
from exec_worker.binding import Binding, Encoded
from exec_worker.engine import Engine, Failure
from exec_worker.signature import contract_of
from exec_worker.tasks import Tasks, lanes_of
from ipc.errors import InvalidRequest, Misuse
from ipc.ledger import Ledger
from ipc.log import Log
from ipc.messages.calls import RequestMeta
from ipc.messages.settings import ExecSettings, LogSettings
from ipc.names import new_call_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exec_worker.lane import Lanes

Node = Any


class Bench:
    """A worker's tasks, in a thread; what is asked is answered into a list."""

    def __init__(self, nodes: dict[str, Node], log: int) -> None:
        self.ledger = Ledger(-1)
        bindings = {name: Binding(each, contract_of(each, name=name)) for name, each in nodes.items()}
        engine = Engine(bindings, Log("io-0#1", LogSettings(level="debug"), log), 0.1, alone=False)
        self.tasks = Tasks(engine, self.ledger, 0.25, slots=8)
        self.answers: dict[bytes, Encoded | Failure | None] = {}
        self.following: list[AskedCall] = []
        self.thread = threading.Thread(target=self.tasks.run, args=(self.finish,), daemon=True)
        self.thread.start()

    def finish(self, call: AskedCall, result: Encoded | Failure | None, _began: float) -> AskedCall | None:
        self.answers[call.id] = result
        return self.following.pop(0) if self.following else None

    def asked(self, node: str, patience: float = 60.0, cancel_grace: float = math.inf, **params: Any) -> AskedCall:
        meta = RequestMeta(node, node, "trace", "web-0#1", params=msgspec.Raw(msgspec.msgpack.encode(params)))
        time_ = time.monotonic()
        return AskedCall(None, new_call_id(), meta, b"", time_ + patience, time_, False, cancel_grace)  # type: ignore[arg-type]

    def ask(self, node: str, **more: Any) -> AskedCall:
        call = self.asked(node, **more)
        self.tasks.put(call)
        return call

    def answer(self, call: AskedCall) -> Any:
        until(lambda: call.id in self.answers)
        result = self.answers[call.id]
        return json.loads(result.body) if isinstance(result, Encoded) else result

    def end(self) -> None:
        self.tasks.close()
        self.thread.join(30)
        assert not self.thread.is_alive()
        assert list(self.ledger.running()) == []
        self.ledger.close()


def until(happened: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []
    null = os.open(os.devnull, os.O_WRONLY)

    def make(**nodes: Node) -> Bench:
        made.append(Bench(nodes, null))
        return made[-1]

    yield make
    for each in made:
        if each.thread.is_alive():
            each.end()
        each.tasks.dispose()
    os.close(null)


async def doubled(number: int) -> int:
    return 2 * number


def test_a_call_is_answered(bench: Callable[..., Bench]) -> None:
    one = bench(doubled=doubled)
    assert one.answer(one.ask("doubled", number=4)) == 8


def test_calls_run_side_by_side_and_each_sees_its_own(bench: Callable[..., Bench]) -> None:
    here: list[int] = []

    async def meet(number: int) -> str:
        here.append(number)
        while len(here) < 8:  # noqa: ASYNC110 - they are to be seen waiting together
            await asyncio.sleep(0.001)
        await asyncio.to_thread(time.sleep, 0.001)
        return f"{current().request_id} {await asyncio.create_task(name())}"

    async def name() -> str:
        return current().trace

    one = bench(meet=meet)
    calls = [one.ask("meet", number=number) for number in range(8)]
    assert [one.answer(call) for call in calls] == ["meet trace"] * 8
    assert sorted(here) == list(range(8))
    with pytest.raises(Misuse):
        current()


@pytest.mark.parametrize("why", ["expire", "leave"])
def test_to_interrupt_is_to_cancel(bench: Callable[..., Bench], why: str) -> None:
    said: list[str] = []

    async def wait() -> int:
        try:
            await asyncio.sleep(60)
        finally:
            said.append("cleaned up")
        return 1

    one = bench(wait=wait, doubled=doubled)
    call = one.ask("wait", cancel_grace=0.1)
    until(lambda: call.window)
    assert [row.call_id for row in one.ledger.running()] == [call.id]
    getattr(one.tasks, why)(call)
    getattr(one.tasks, why)(call)
    assert one.answer(call).code == {"expire": "timeout", "leave": "cancelled"}[why]
    assert said == ["cleaned up"]
    assert one.answer(one.ask("doubled", number=1)) == 2


def test_what_is_interrupted_before_it_begins_never_does(bench: Callable[..., Bench]) -> None:
    begun: list[int] = []

    async def begin() -> int:
        begun.append(1)
        return 1

    one = bench(begin=begin)
    late = one.asked("begin", cancel_grace=0.1)
    one.tasks.expire(late)
    one.tasks.put(late)
    assert one.answer(late).code == "timeout"
    left = one.asked("begin", cancel_grace=0.1)
    one.tasks.leave(left)
    one.tasks.put(left)
    assert one.answer(left) is None, "it was not begun, and can be told so"
    assert begun == []


def test_who_ignores_its_cancellation_is_noted_until_its_end(bench: Callable[..., Bench]) -> None:
    go = threading.Event()

    async def stubborn() -> int:
        while not go.is_set():
            try:
                await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                continue
        return 7

    one = bench(stubborn=stubborn)
    call = one.ask("stubborn", cancel_grace=0.0)
    until(lambda: call.window)
    one.tasks.leave(call)
    one.tasks.expire(call)
    (row,) = one.ledger.running()
    assert row.kill_at == call.deadline + 0.25, "those beside it have done nothing"
    go.set()
    assert one.answer(call) == 7


def test_a_call_whose_time_is_over_when_the_loop_comes_to_it_is_not_begun(bench: Callable[..., Bench]) -> None:
    holding = threading.Event()

    async def hold() -> int:
        holding.set()
        time.sleep(0.1)  # noqa: ASYNC251 - it keeps the loop
        return 1

    one = bench(hold=hold, doubled=doubled)
    held = one.ask("hold")
    assert holding.wait(30)
    late = one.ask("doubled", patience=0.02, number=1)
    assert one.answer(held) == 1
    assert one.answer(late) is None
    assert one.ledger.begun().ids == (held.id,)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, ValueError, asyncio.CancelledError, InvalidRequest])
def test_whatever_a_node_raises_the_worker_goes_on(
    bench: Callable[..., Bench], error: type[BaseException], recwarn: pytest.WarningsRecorder
) -> None:
    async def fail() -> int:
        await asyncio.sleep(0)
        raise error

    one = bench(fail=fail, doubled=doubled)
    beside = one.ask("doubled", number=5)
    code = "invalid_request" if error is InvalidRequest else "node_error"
    assert [one.answer(one.ask("fail")).code for _ in range(3)] == [code] * 3
    assert one.answer(beside) == 10


@pytest.mark.parametrize("when", ["at once", "later"])
def test_a_worker_that_cannot_answer_is_ended(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Its loop would go on, with one slot less for ever."""
    ended: list[int] = []
    monkeypatch.setattr(lane.os, "_exit", ended.append)
    one = bench(doubled=doubled)

    def broken(*_arguments: object) -> None:
        raise MemoryError

    one.tasks._finish = broken  # type: ignore[assignment]
    one.ask("doubled", number="many" if when == "at once" else 1)
    until(lambda: ended)
    assert ended == [1]


def test_what_cannot_be_read_is_refused_and_so_are_a_thousand_of_them(bench: Callable[..., Bench]) -> None:
    one = bench(doubled=doubled)
    one.following = [one.asked("doubled", number="many") for _ in range(2000)] + [
        last := one.asked("doubled", number=3)
    ]
    one.ask("doubled", number=1)
    assert one.answer(last) == 6
    assert sum(isinstance(answer, Failure) for answer in one.answers.values()) == 2000


def test_the_end_comes_when_what_follows_the_last_is_over_at_once(bench: Callable[..., Bench]) -> None:
    go = threading.Event()

    async def wait() -> int:
        while not go.is_set():  # noqa: ASYNC110 - it is set by another thread
            await asyncio.sleep(0.001)
        return 1

    one = bench(wait=wait, doubled=doubled)
    one.following = [next_ := one.asked("doubled", number="many")]
    call = one.ask("wait")
    until(lambda: call.window)
    one.tasks.close()
    until(lambda: one.tasks._closing)
    go.set()
    one.thread.join(10)
    assert not one.thread.is_alive()
    assert one.answer(next_).code == "invalid_request"


def test_who_is_told_to_end_after_the_end_does_nothing(bench: Callable[..., Bench]) -> None:
    one = bench(doubled=doubled)
    one.end()
    one.tasks.dispose()
    one.tasks.close()


def test_the_end_waits_for_what_runs_and_takes_the_rest_along(bench: Callable[..., Bench]) -> None:
    said: list[str] = []

    async def behind() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            said.append("left behind")

    kept = []

    async def slow() -> str:
        kept.append(asyncio.create_task(behind()))
        await asyncio.sleep(0.05)
        return "done"

    one = bench(slow=slow)
    call = one.ask("slow")
    until(lambda: call.window)
    one.end()
    assert one.answer(call) == "done"
    assert said == []
    one.tasks.wait_for(asyncio.sleep(0))
    one.tasks.dispose()
    assert said == ["left behind"]


def test_a_group_s_mode_says_where_its_nodes_run() -> None:
    engine = Engine({}, Log("io-0#1", LogSettings()))

    def made(**settings: Any) -> Lanes:
        return lanes_of(ExecSettings((), **settings), engine, ledger)

    ledger = Ledger(-1)
    tasks = made(mode="async", slots=5)
    assert isinstance(tasks, Tasks)
    assert (tasks.slots, made(slots=3).slots, made().slots) == (5, 3, 1)
    assert made().await_ is None
    tasks.dispose()
    ledger.close()
