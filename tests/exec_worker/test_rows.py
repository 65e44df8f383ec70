"""An exec worker amid pipelines: what it takes from others of its kind, and where it says what came of it."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.append(str(Path(__file__).parent))

import test_service as service
from test_service import EXEC, SECRET, TERMS, until

from exec_worker.answering import Answering
from exec_worker.binding import Encoded
from exec_worker.engine import Failure
from exec_worker.rows import Rows
from exec_worker.staged import StagedCall
from ipc.link import accepting, dialling, refusals
from ipc.messages.calls import (
    Encoding,
    FailureMeta,
    Kind,
    RequestMeta,
    decode_failure,
    decode_reply,
    encode_meta,
)
from ipc.messages.calls import Stage as Following
from ipc.names import WorkerName, new_call_id
from ipc.wire.frame import Refusal
from ipc.wire.keys import leaf_key

if TYPE_CHECKING:
    from ipc.link import Link

stage = service.stage
ROWS = [("shop.render",), ("shop.render", "shop.encode"), ("shop.kill", "shop.render", "shop.encode")]


class Neighbour(service.Client):
    """A worker of another exec group."""

    def __init__(self, stage: service.Stage) -> None:
        self.name = WorkerName("gpu", 0, 1)
        self.frames = []
        self.wire, self.there = service.Wire(), service.Wire()
        leaf = leaf_key(SECRET, self.name, "exec")
        self.link = dialling(self, self.name, EXEC, leaf, TERMS._replace(client="exec"))
        self.far = accepting(stage, EXEC, {TERMS.epoch: SECRET}, TERMS)
        self.far.opened(self.there)
        self.link.opened(self.wire)
        self.exchange()
        self.exchange()

    def send_on(self, origin: Any, *nodes: str, node: str = "shop.render", call_id: bytes = b"") -> bytes:
        call_id = call_id or new_call_id()
        rest = tuple(Following(each) for each in nodes)
        meta = RequestMeta(node, "r", "t", str(origin), rest=rest, beyond_ms=7)
        self.say(Kind.REQUEST, call_id, encode_meta(meta), budget_ms=60_000)
        return call_id


class Onward:
    """The way to other groups, and who was sent along."""

    def __init__(self) -> None:
        self.sent: list[tuple[StagedCall, Encoded]] = []
        self.left: list[tuple[Link, bytes | None]] = []
        self.under_way = new_call_id()

    def has(self, call_id: bytes) -> bool:
        return call_id == self.under_way

    def forward(self, call: StagedCall, result: Encoded, _room: int, _flags: int) -> None:
        self.sent.append((call, result))

    def call_off(self, origin: Link, call_id: bytes | None = None) -> None:
        self.left.append((origin, call_id))


class Row:
    """The worker under test, the web worker that began a call, and the worker that sent it on."""

    def __init__(self, stage: service.Stage) -> None:
        self.stage = stage
        self.onward = Onward()
        self.web, self.other = stage.clients(2)
        self.links = [self.web.far]
        rows = Rows(stage.nodes, ROWS)
        stage.service.rows = stage.service._finishing._rows = rows
        stage.service._finishing._answer = Answering(stage.nodes, rows)  # type: ignore[arg-type]
        rows.open(self, self.onward)
        self.before = Neighbour(stage)

    def web_link(self, peer: bytes) -> Link | None:
        return next((link for link in reversed(self.links) if link.peer == peer and link.open), None)


@pytest.fixture
def row(stage: service.Stage) -> Row:
    return Row(stage)


async def test_the_origin_is_answered_and_the_one_who_sent_it_on_hears_that_its_place_is_free(row: Row) -> None:
    call_id = row.before.send_on(row.web.name)
    await row.stage.begun(1)
    row.stage.finish()
    await until(lambda: row.web.told and row.before.told)
    assert (row.web.frames[0].call_id, row.web.frames[0].body) == (call_id, b"done")
    assert (row.before.frames[0].kind, row.before.frames[0].call_id) == (Kind.REPLY, call_id)
    assert (row.before.frames[0].body, decode_reply(row.before.frames[0].meta).encoding) == (b"", Encoding.NONE)


async def test_a_failure_goes_to_the_origin_with_the_stage_and_not_back(row: Row) -> None:
    row.before.send_on(row.web.name)
    row.stage.finish(Failure("node_error", "it raised"))
    await until(lambda: row.web.told and row.before.told)
    assert decode_failure(row.web.frames[0].meta) == FailureMeta(1, "node_error", "it raised", "shop.render")
    assert row.before.told == ["REPLY"]


async def test_stages_of_one_group_run_one_after_the_other_in_one_place(row: Row) -> None:
    row.before.send_on(row.web.name, "shop.render", "shop.encode", node="shop.kill")
    row.stage.finish(Encoded(Encoding.MSGPACK, 0, "", (), b"first"))
    call = await row.stage.begun(2)
    assert row.stage.nodes.begun[0] is call
    assert (call.meta.node, call.meta.encoding, call.body) == ("shop.render", Encoding.MSGPACK, b"first")
    assert (call.cancel_grace, call.meta.beyond_ms) == (service.GRACES["shop.render"], 7)
    row.stage.finish(Encoded(Encoding.MSGPACK, 0, "", (), b"second"))
    await until(lambda: row.onward.sent)
    ((sent, result),) = row.onward.sent
    assert (sent, result.body) == (call, b"second")
    assert row.stage.scoreboard.read() == (1, 0, 0)
    assert row.before.told == ["REPLY"]
    assert row.web.told == []


async def test_a_first_leg_is_asked_for_by_its_origin(row: Row) -> None:
    meta = RequestMeta("shop.render", "r", "t", str(row.web.name), rest=(Following("shop.encode"),))
    row.web.say(Kind.REQUEST, new_call_id(), encode_meta(meta), budget_ms=60_000)
    row.stage.finish()
    await until(lambda: row.onward.sent)
    assert row.onward.sent[0][0].origin is row.web.far
    row.stage.service.rows.open(row, None)
    row.web.say(Kind.REQUEST, new_call_id(), encode_meta(meta), budget_ms=60_000)
    row.stage.finish()
    await until(lambda: row.web.told)
    assert decode_failure(row.web.frames[-1].meta).code == "stage_unreached"


@pytest.mark.parametrize(
    ("node", "rest", "origin"),
    [
        ("shop.keep", (), "web-0#1"),
        ("shop.render", ("shop.render",), "web-0#1"),
        ("shop.encode", (), "web-0#1"),
        ("shop.render", (), "web-0"),
        ("shop.render", (), ""),
    ],
)
async def test_what_no_pipeline_does_is_refused(row: Row, node: str, rest: tuple[str, ...], origin: str) -> None:
    refusals.clear()
    row.before.send_on(origin, *rest, node=node)
    assert row.before.there.aborted
    assert refusals[Refusal.UNAUTHORISED] == 1
    assert row.stage.nodes.begun == []


@pytest.mark.parametrize("origin", ["web-7#1", "gpu-0#1", "cpu-0#7"])
async def test_for_whom_nobody_is_connected_nothing_is_begun(row: Row, origin: str) -> None:
    """A web worker that is not here yet; a worker that is none, the sender itself among them."""
    row.before.send_on(origin)
    assert row.before.told == ["NOT_YET"]
    assert row.stage.nodes.begun == []


async def test_a_web_worker_speaks_for_itself_alone(row: Row) -> None:
    refusals.clear()
    row.other.ask(reply_to=str(row.web.name))
    assert row.other.there.aborted
    assert refusals[Refusal.UNAUTHORISED] == 1


async def test_an_origin_is_told_what_is_not_here_and_never_will_be(row: Row) -> None:
    here = row.before.send_on(row.web.name)
    await row.stage.begun(1)
    row.web.say(Kind.WANTED, here)
    assert row.web.told == []
    row.web.say(Kind.WANTED, on_its_way := row.onward.under_way)
    assert row.web.told == []
    row.web.say(Kind.WANTED, missing := new_call_id())
    assert row.web.exchange() == [("CANCELLED", missing)]
    row.before.send_on(row.web.name, call_id=missing)
    assert row.before.exchange() == [("NOT_YET", missing)]
    assert on_its_way != missing


async def test_the_origin_may_call_it_off_and_nobody_else_who_asks(row: Row) -> None:
    call_id = row.before.send_on(row.web.name)
    call = await row.stage.begun(1)
    row.other.say(Kind.CANCEL, call_id)
    assert not call.seen.cancelled
    row.web.say(Kind.CANCEL, call_id)
    assert call.seen.cancelled
    row.web.say(Kind.CANCEL, other := new_call_id())
    assert row.onward.left == [(row.web.far, other)]


@pytest.mark.parametrize("how", ["cancels", "leaves"])
async def test_what_nobody_waits_for_is_not_sent_on(row: Row, how: str) -> None:
    meta = RequestMeta("shop.keep", "r", "t", str(row.web.name), rest=(Following("other.group"),))
    row.web.say(Kind.REQUEST, call_id := new_call_id(), encode_meta(meta), budget_ms=60_000)
    await row.stage.begun(1)
    if how == "leaves":
        row.web.leave()
    else:
        row.web.say(Kind.CANCEL, call_id)
    row.stage.finish()
    await until(lambda: not row.stage.service._calls and not row.stage.service.rows._over)
    assert row.onward.sent == []
    if how == "cancels":
        await until(lambda: row.web.told)
        assert decode_failure(row.web.frames[0].meta) == FailureMeta(
            1, "cancelled", "nobody waits for it any more", "shop.keep"
        )


class Paused:
    """Holds a lane between the end of a call and its answer."""

    def __init__(self, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
        self.there, self._on = threading.Event(), threading.Event()
        answer = row.stage.service._finishing._answer

        def later(*what: Any) -> None:
            self.there.set()
            assert self._on.wait(5)
            answer(*what)

        monkeypatch.setattr(row.stage.service._finishing, "_answer", later)

    def go_on(self) -> None:
        self._on.set()


async def test_a_call_is_here_until_it_is_answered(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    paused = Paused(row, monkeypatch)
    call_id = row.before.send_on(row.web.name)
    row.stage.finish()
    await until(paused.there.is_set)
    row.web.say(Kind.WANTED, call_id)
    paused.go_on()
    await until(lambda: row.web.told)
    assert row.web.told == ["REPLY"]


async def test_what_is_called_off_at_its_end_is_not_sent_on(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    paused = Paused(row, monkeypatch)
    call_id = row.before.send_on(row.web.name, "shop.encode")
    row.stage.finish()
    await until(paused.there.is_set)
    row.web.say(Kind.CANCEL, call_id)
    paused.go_on()
    await until(lambda: row.web.told and row.before.told)
    assert (row.web.told, row.before.told, row.onward.sent) == (["FAILURE"], ["REPLY"], [])


async def test_a_call_goes_on_without_who_sent_it_and_not_without_its_origin(row: Row) -> None:
    row.before.send_on(row.web.name)
    call = await row.stage.begun(1)
    row.before.leave()
    assert not call.seen.cancelled
    row.web.leave()
    assert call.seen.cancelled


async def test_the_origin_is_answered_although_who_sent_it_on_is_gone(row: Row) -> None:
    row.before.send_on(row.web.name)
    await row.stage.begun(1)
    row.before.leave()
    row.stage.finish()
    await until(lambda: row.web.told)
    assert row.web.frames[0].body == b"done"


async def test_what_is_held_for_one_who_is_gone_is_told_its_origin(row: Row) -> None:
    row.web.ask()
    await row.stage.begun(1)
    meta = RequestMeta("shop.render", "r", "t", str(row.web.name))
    row.before.say(Kind.REQUEST, new_call_id(), encode_meta(meta), flags=8, budget_ms=60_000)
    assert len(row.stage.service._calls) == 2
    row.before.leave()
    assert row.web.told == ["FAILURE"]
    assert decode_failure(row.web.frames[0].meta).stage == "shop.render"


async def test_an_origin_that_nobody_can_reach_is_told_by_who_sent_the_call_on(row: Row) -> None:
    row.before.send_on(row.web.name)
    call = await row.stage.begun(1)
    assert isinstance(call, StagedCall)
    row.web.far.close()  # and the worker has not noticed
    row.stage.finish()
    await until(lambda: row.before.told)
    assert decode_failure(row.before.frames[0].meta).code == "link_lost"
