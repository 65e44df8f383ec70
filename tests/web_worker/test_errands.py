"""A web worker's side of a call that an operator makes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from exec_worker.signature import contract_of
from ipc.call import Answer
from ipc.errors import Cancelled, NodeError
from ipc.log import Log
from ipc.messages.calls import ReplyMeta, decode_request
from ipc.messages.control import MAX_RESULT
from ipc.messages.errand import MAX_PART, Answered, Ask, Forget, More
from ipc.messages.settings import LogSettings
from ipc.names import WorkerName
from web_worker.errands import Errands

if TYPE_CHECKING:
    from collections.abc import Callable


def double(number: int) -> int: ...
def echo(data: bytes) -> bytes: ...


CONTRACTS = [contract_of(function, name=f"shop.{function.__name__}") for function in (double, echo)]


class FakeCall:
    def __init__(self, node: str, meta: bytes, body: bytes, timeout: float) -> None:
        self.node, self.meta, self.body, self.timeout = node, decode_request(meta), body, timeout
        self.future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.cancelled = False

    def reply(self, body: bytes = b"null", **meta: Any) -> None:
        self.future.set_result(Answer(ReplyMeta(1, 10, 20, **meta), body))


class FakeCaller:
    """Does with each call what a test says."""

    me = WorkerName("web", 0, 1)

    def __init__(self, does: Callable[[FakeCall], object]) -> None:
        self.calls: list[FakeCall] = []
        self._does = does

    def call(self, node: str, call_id: bytes, meta: bytes, body: bytes, timeout: float) -> FakeCall:
        assert len(call_id) == 16
        self.calls.append(call := FakeCall(node, meta, body, timeout))
        self._does(call)
        return call

    def cancel(self, call: FakeCall) -> None:
        call.cancelled = True
        if not call.future.done():
            call.future.set_exception(Cancelled())
            call.future.exception()


def hold(_call: FakeCall) -> None:
    """Never answer."""


class Scene:
    def __init__(self, does: Callable[[FakeCall], object]) -> None:
        self.said: list[Answered] = []
        self.caller = FakeCaller(does)
        self.errands = Errands(self.caller, CONTRACTS, self.said.append, 100, Log("web-0#1", LogSettings("error")))  # type: ignore[arg-type]

    async def until(self, true: Callable[[], object]) -> None:
        for _ in range(3000):
            if true():
                return
            await asyncio.sleep(0.01)
        raise AssertionError(self.said)


def ask(node: str = "shop.double", arguments: bytes = b'{"number": 4}', body: bytes | None = None) -> Ask:
    return Ask(7, node, arguments, body, 2.5)


async def test_a_call_goes_the_way_of_every_other_and_its_result_comes_back() -> None:
    scene = Scene(lambda call: call.reply(b"8", encoding=2, status=201))
    scene.errands.hear(ask())
    await scene.until(lambda: scene.said)
    (call,) = scene.caller.calls
    assert (call.node, call.timeout, bytes(call.meta.params)) == ("shop.double", 2.5, b"\x81\xa6number\x04")
    (answered,) = scene.said
    assert (answered.number, answered.part) == (7, b"8")
    assert answered.outcome is not None
    assert (answered.outcome.code, answered.outcome.status, answered.outcome.size) == ("", 201, 1)
    assert answered.outcome.media_type == "application/json"
    assert answered.outcome.request_id == call.meta.request_id


async def test_a_long_result_comes_in_parts_and_only_as_they_are_asked_for() -> None:
    result = bytes(range(256)) * (MAX_PART // 256 * 2) + b"end"
    scene = Scene(lambda call: call.reply(result))
    scene.errands.hear(ask("shop.echo", b"{}", b"x"))
    for count in (1, 2, 3):
        await scene.until(lambda count=count: len(scene.said) == count)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(scene.said) == count
        scene.errands.hear(More(7))
    assert b"".join(answered.part for answered in scene.said) == result
    assert [answered.outcome is None for answered in scene.said] == [False, True, True]
    scene.errands.hear(More(7))  # one too many
    await scene.errands.finish(30)


@pytest.mark.parametrize(
    ("asked", "does", "code", "detail"),
    [
        (ask(arguments=b"{}"), FakeCall.reply, "invalid_request", "number"),
        (ask("shop.nothing"), FakeCall.reply, "misuse", "no group runs"),
        (ask("shop.echo", b"{}", b"x" * 101), FakeCall.reply, "too_large", "at most 100"),
        (ask(), lambda call: call.future.set_exception(NodeError("it raised")), "node_error", "it raised"),
        (ask(), lambda call: call.future.set_exception(RuntimeError("a fault of ours")), "internal", "set up"),
        (ask(), lambda call: call.reply(bytes(MAX_RESULT + 1)), "too_large", f"at most {MAX_RESULT}"),
    ],
)
async def test_what_goes_wrong_has_a_code(asked: Ask, does: Any, code: str, detail: str) -> None:
    scene = Scene(does)
    scene.errands.hear(asked)
    await scene.until(lambda: scene.said)
    (answered,) = scene.said
    assert answered.outcome is not None
    assert answered.outcome.code == code
    assert detail in answered.outcome.detail
    assert not answered.part


async def test_a_call_that_is_forgotten_is_cancelled_and_not_answered() -> None:
    scene = Scene(hold)
    scene.errands.hear(ask())
    await scene.until(lambda: scene.caller.calls)
    scene.errands.hear(Forget(7))
    scene.errands.hear(Forget(99))
    await scene.until(lambda: scene.caller.calls[0].cancelled)
    await scene.errands.finish(30)
    assert not scene.said


async def test_who_drains_finishes_what_it_was_asked_and_no_longer_than_it_may() -> None:
    scene = Scene(lambda call: asyncio.get_running_loop().call_later(0.05, call.reply, b"8"))
    scene.errands.hear(ask())
    await scene.errands.finish(30)
    assert scene.said[0].part == b"8"
    endless = Scene(hold)
    endless.errands.hear(ask())
    await endless.until(lambda: endless.caller.calls)
    await endless.errands.finish(0.05)
    await endless.until(lambda: endless.caller.calls[0].cancelled)
