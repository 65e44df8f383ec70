"""What a lane cannot say, or not as it stands: ordinary values of users that no encoder takes, and faults of ours."""

from __future__ import annotations

import os
import sys
import threading
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.append(str(Path(__file__).parent))

import test_service
import test_service_batches
from test_service import KILL_GRACE, Nodes, Stage, until
from test_service_batches import embed, ran

from exec_worker import Response, answering, lane
from exec_worker.asked import AskedCall
from exec_worker.binding import Binding
from exec_worker.engine import Engine, Failure
from exec_worker.lane import Lanes
from exec_worker.signature import contract_of
from ipc.errors import InvalidRequest
from ipc.ledger import Ledger
from ipc.log import Log
from ipc.messages.calls import FailureMeta, RequestMeta, decode_failure, decode_reply
from ipc.messages.settings import LogSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipc.wire.frame import Frame

stage = test_service.stage
batches = test_service_batches.stage


class Text(str):  # noqa: SLOT000 - it is a user's
    """As text as `str`, and nothing that an encoder takes."""


class Media(str, Enum):  # noqa: UP042 - its `str()` is the name of the member
    PICTURE = "image/webp"


class Own(InvalidRequest):
    def __init__(self, code: Any) -> None:
        super().__init__("no")
        self.code = code  # type: ignore[misc]


class Odd(Exception):
    @property
    def __class__(self) -> Any:
        raise RuntimeError("no")


def raising(error: BaseException) -> Callable[[], int]:
    def node() -> int:
        raise error

    return node


def broken(*_arguments: object) -> None:
    raise MemoryError


async def one_answer(node: Callable[..., Any]) -> Frame:
    """What a worker says that runs it; then it has to run once more."""
    null = os.open(os.devnull, os.O_WRONLY)
    engine = Engine(
        {"shop.render": Binding(node, contract_of(node, name="shop.render"))}, Log("a-0#1", LogSettings(), null)
    )
    stage = Stage(engine)
    stage.thread.start()
    (web,) = stage.clients(1)
    for count in (1, 2):
        web.ask(last_resort=True)
        await until(lambda: len(web.told) == count)  # noqa: B023 - it is called at once
    stage.service.drain()
    stage.thread.join()
    os.close(null)
    return web.frames[0]


@pytest.mark.parametrize("code", [4001, "x" * 5000, object(), "\ud800", "busy"])
async def test_what_a_users_error_calls_its_code_is_not_on_the_wire(code: Any) -> None:
    frame = await one_answer(raising(Own(code)))
    assert decode_failure(frame.meta) == FailureMeta(1, "invalid_request", "no")


async def test_an_error_that_does_not_say_its_class_is_a_failure_like_any_other() -> None:
    frame = await one_answer(raising(Odd()))
    assert decode_failure(frame.meta) == FailureMeta(1, "node_error", "shop.render raised Odd")


@pytest.mark.parametrize("text", [Text("image/webp"), Media.PICTURE])
async def test_a_response_may_be_made_of_any_kind_of_text(text: str) -> None:
    def render() -> Response:
        return Response(b"x", media_type=text, headers={Text("x-kind"): text})

    meta = decode_reply((await one_answer(render)).meta)
    assert (meta.media_type, meta.headers) == ("image/webp", (("x-kind", "image/webp"),))


async def test_an_answer_of_a_batch_that_cannot_be_written_is_nothing_to_the_others(batches: Stage) -> None:
    (web,) = batches.clients(1)
    embed(web)
    await ran(batches, 1)
    calls = (embed(web), embed(web))
    batches.finish()
    await ran(batches, 2)
    batches.finish(Failure(object(), "no"))  # type: ignore[arg-type]
    await until(lambda: len(web.told) == 3)
    assert web.told == ["REPLY", "FAILURE", "FAILURE"]
    assert {frame.call_id for frame in web.frames[1:]} == set(calls)
    embed(web)
    batches.finish()
    await until(lambda: len(web.told) == 4)


async def test_an_answer_that_cannot_be_written_costs_neither_the_lane_nor_the_next_call(stage: Stage) -> None:
    one, two = stage.clients(2)
    one.ask()
    two.ask(last_resort=True)
    stage.finish(Failure(object(), "no"))  # type: ignore[arg-type]
    stage.finish()
    await until(lambda: one.told and two.told)
    assert (one.told, two.told) == (["FAILURE"], ["REPLY"])
    assert decode_failure(one.frames[0].meta).detail == "TypeError"
    assert stage.scoreboard.read() == (2, 0, 0)


async def test_an_answer_that_cannot_be_written_at_all_leaves_the_lane_as_it_is(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (web,) = stage.clients(1)
    monkeypatch.setattr(answering, "fail", broken)
    web.ask()
    stage.finish(Failure("node_error", "no"))
    second = web.ask(last_resort=True)
    stage.finish()
    await until(lambda: web.told)
    assert web.exchange()[-1] == ("REPLY", second)


async def test_a_lane_that_dies_takes_its_process_along(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(lane.os, "_exit", ended.append)
    said: list[BaseException] = []
    nodes = Nodes()
    monkeypatch.setattr(nodes, "lane_died", said.append)
    lanes = Lanes(nodes, Ledger(-1), KILL_GRACE, slots=2, main=False)
    monkeypatch.setattr(lanes, "begin", broken)
    thread = threading.Thread(target=lanes.run, args=(broken,), daemon=True)
    thread.start()
    for _ in range(2):  # each of both lanes
        meta = RequestMeta("shop.render", "r", "t", "web-0#1")
        lanes.put(AskedCall(None, bytes(16), meta, b"", 0.0, 0.0, last_resort=False))  # type: ignore[arg-type]
    await until(lambda: len(ended) == 2)
    thread.join()
    assert ended == [1, 1]
    assert [type(error) for error in said] == [MemoryError, MemoryError]
