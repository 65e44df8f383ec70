"""An exec worker between its two threads: links and clients in the test's hands, nodes that end when the test says."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, ClassVar

import anyio
import pytest

from exec_worker import admission, alarm, finishing, lane
from exec_worker import service as module
from exec_worker.binding import Encoded
from exec_worker.engine import Engine, Failure
from exec_worker.interrupts import Interrupted
from exec_worker.lane import Lanes
from exec_worker.service import Service
from ipc import link as link_module
from ipc.clock import boot_ms
from ipc.ledger import Ledger
from ipc.link import Link, accepting, dialling, refusals
from ipc.log import Log
from ipc.messages.calls import (
    FailureMeta,
    Flag,
    Kind,
    ReplyMeta,
    RequestMeta,
    decode_failure,
    decode_not_started,
    decode_reply,
    encode_meta,
)
from ipc.messages.settings import LogSettings
from ipc.names import WorkerName, new_call_id
from ipc.scoreboard import Scoreboard, create
from ipc.wire.frame import Refusal
from ipc.wire.keys import leaf_key, root_for_epoch, server_secret
from ipc.wire.session import Terms
from ipc.wire.signing import Alg

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from exec_worker.asked import AskedCall
    from exec_worker.asked_batch import AskedBatch
    from exec_worker.window import Window
    from ipc.batch import Batch
    from ipc.ledger import Running
    from ipc.wire.frame import Frame

EXEC = WorkerName("cpu", 0, 7)
SECRET = server_secret(root_for_epoch(bytes(range(32)), 0), EXEC)
TERMS = Terms("memory", Alg.HMAC_SHA256, 0, 1 << 16, 30_000)
GRACES = {"shop.render": 0.1, "shop.kill": 0.0, "shop.keep": math.inf}
KILL_GRACE = 0.25
DONE = Encoded(2, 0, "", (), b"done")


class Wire:
    """A carrier that keeps what is written until somebody asks."""

    def __init__(self) -> None:
        self.sent: deque[bytes] = deque()
        self.aborted = self.closed = False

    def write(self, data: bytes) -> None:
        self.sent.append(data[4:])

    def limit(self, largest: int) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


class Client:
    """A web worker: what it says arrives at once, what it is told waits to be read."""

    def __init__(self, stage: Stage, slot: int) -> None:
        self.name = WorkerName("web", slot, 1)
        self.frames: list[Frame] = []
        self.wire, self.there = Wire(), Wire()
        self.link = dialling(self, self.name, EXEC, leaf_key(SECRET, self.name), TERMS)
        self.far = accepting(stage, EXEC, {TERMS.epoch: SECRET}, TERMS)
        self.far.opened(self.there)
        self.link.opened(self.wire)
        self.exchange()
        self.exchange()

    def established(self, link: Link) -> None: ...

    def ended(self, link: Link) -> None: ...

    def heard(self, _link: Link, frame: Frame) -> None:
        self.frames.append(frame)

    stale = heard

    def exchange(self) -> list[tuple[str, bytes]]:
        """Carry everything across; returns all that was ever heard."""
        while self.wire.sent:
            self.far.received(self.wire.sent.popleft())
        while self.there.sent:
            self.link.received(self.there.sent.popleft())
        return [(said(frame), frame.call_id) for frame in self.frames]

    def say(self, kind: Kind, call_id: bytes = bytes(16), meta: bytes = b"", **more: Any) -> None:
        self.link.send(kind, call_id, meta, **more)
        self.exchange()

    def ask(
        self, *, last_resort: bool = False, node: str = "shop.render", budget_ms: int = 60_000, **more: Any
    ) -> bytes:
        call_id = more.pop("call_id", None) or new_call_id()
        beyond_ms = more.pop("beyond_ms", 0)
        meta = RequestMeta(node, "r", "t", more.pop("reply_to", str(self.name)), beyond_ms=beyond_ms)
        flags = Flag.LAST_RESORT if last_resort else 0
        self.say(Kind.REQUEST, call_id, encode_meta(meta), flags=flags, budget_ms=budget_ms)
        return call_id

    @property
    def told(self) -> list[str]:
        return [what for what, _ in self.exchange()]

    def leave(self) -> None:
        self.far.closed()


def said(frame: Frame) -> str:
    kind = Kind(frame.kind).name
    if frame.kind == Kind.NOT_STARTED:
        return decode_not_started(frame.meta).reason.name
    return kind + ("+READY" if frame.flags & Flag.READY else "")


class Nodes:
    """An engine whose calls end when the test says."""

    def __init__(self) -> None:
        self.begun: list[AskedCall] = []
        self.results: SimpleQueue[Encoded | Failure] = SimpleQueue()

    batched: ClassVar[dict[str, Batch]] = {}

    def cancel_grace(self, node: str) -> float | None:
        return GRACES.get(node)

    def run(self, call: AskedCall, window: Window) -> Encoded | Failure:
        self.begun.append(call)
        try:
            return window.run(call, self.wait, self.results)
        except Interrupted as error:
            return Failure(type(error).__name__, "")

    def wait(self, results: SimpleQueue[Encoded | Failure]) -> Encoded | Failure:
        """A node that comes back to the interpreter now and then."""
        while results.empty():
            time.sleep(0.0005)
        return results.get()

    def run_batch(self, batch: AskedBatch, window: Window) -> Sequence[Encoded | Failure]:
        raise NotImplementedError

    def explain_too_large(self, call: AskedCall, what: str) -> Failure:
        return Failure("bad_result", f"{call.meta.node} gave {what}")

    def explain_untold(self, _call: AskedCall, error: BaseException) -> Failure:
        return Failure("node_error", type(error).__name__)

    def lane_died(self, error: BaseException) -> None:
        raise NotImplementedError from error


class Stage:
    """One exec worker; its main thread runs once it is told to."""

    def __init__(self, nodes: Nodes | Engine | None = None) -> None:
        self.time = 1000.0
        self.nodes = Nodes() if nodes is None else nodes
        page = create("test")
        self.scoreboard = Scoreboard(page)
        os.close(page)
        self.ledger = Ledger(-1)
        lanes = Lanes(self.nodes, self.ledger, kill_grace=KILL_GRACE, main=False)
        self.service = Service(self.nodes, self.scoreboard, lanes)
        self.thread = threading.Thread(target=lanes.run, args=(self.service.finish,), daemon=True)

    # -- what a responder does

    def established(self, link: Link) -> None: ...

    def heard(self, link: Link, frame: Frame) -> None:
        self.service.heard(link, frame)

    def stale(self, link: Link, frame: Frame) -> None:
        self.service.stale(link, frame)

    def ended(self, link: Link) -> None:
        self.service.ended(link)

    # -- what tests do

    def clients(self, count: int) -> list[Client]:
        return [Client(self, slot) for slot in range(count)]

    async def begun(self, count: int) -> AskedCall:
        await until(lambda: len(self.nodes.begun) >= count)
        return self.nodes.begun[count - 1]

    async def noted(self) -> list[Running]:
        """What the ledger says once a call runs."""
        await until(lambda: self.nodes.begun)
        return list(self.ledger.running())

    def finish(self, result: Encoded | Failure = DONE) -> None:
        self.nodes.results.put(result)

    def end(self) -> None:
        self.service.drain()
        for _ in range(20):
            self.finish()
        if self.thread.ident is not None:
            self.thread.join()
        self.scoreboard.close()
        self.ledger.close()


async def until(happened: Callable[[], object]) -> None:
    with anyio.fail_after(30):
        while not happened():  # noqa: ASYNC110 - it happens in another thread
            await asyncio.sleep(0.0005)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    stage = Stage()
    for where in (module, finishing, alarm, lane):
        monkeypatch.setattr(where, "now", lambda: stage.time)
    stage.thread.start()
    yield stage
    stage.end()


@pytest.fixture
def before_it_runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A worker whose main thread has not come to its calls yet."""
    stage = Stage()
    for where in (module, finishing, alarm, lane):
        monkeypatch.setattr(where, "now", lambda: stage.time)
    yield stage
    stage.end()


# -- one call


async def test_a_call_is_run_and_answered(stage: Stage) -> None:
    (web,) = stage.clients(1)
    call_id = web.ask()
    asked = await stage.begun(1)
    assert (asked.id, asked.client) == (call_id, web.far)
    assert asked.deadline == pytest.approx(1060.0, abs=0.5)  # it ages a little on its way
    assert stage.scoreboard.read() == (0, 1, 0)
    stage.time += 0.25
    stage.finish(Encoded(1, 201, "image/webp", (("x-a", "b"),), b"picture"))
    await until(lambda: web.told)
    (frame,) = web.frames
    assert (frame.kind, frame.call_id, frame.body) == (Kind.REPLY, call_id, b"picture")
    assert decode_reply(frame.meta) == ReplyMeta(1, 0, 250_000, 1, 201, "image/webp", (("x-a", "b"),))
    assert stage.scoreboard.read() == (1, 0, 0)


async def test_a_failure_is_told(stage: Stage) -> None:
    (web,) = stage.clients(1)
    web.ask()
    stage.finish(Failure("node_error", "it raised"))
    await until(lambda: web.told)
    assert decode_failure(web.frames[0].meta) == FailureMeta(1, "node_error", "it raised")


@pytest.mark.parametrize(
    "detail", ["\N{PILE OF POO}" * 3000, "\ud800" * 3000, "x" * 100_000, "\u20ac" * 1024, "a\ud83d\udca9b"]
)
async def test_whatever_a_failure_says_the_worker_goes_on(stage: Stage, detail: str) -> None:
    (web,) = stage.clients(1)
    web.ask()
    stage.finish(Failure("invalid_request", detail))
    await until(lambda: web.told)
    failure = decode_failure(web.frames[0].meta)
    assert len(failure.detail.encode()) <= 1024
    web.ask()
    stage.finish()
    await until(lambda: len(web.told) == 2)


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (Encoded(1, 0, "", (), bytes(TERMS.max_payload + 1)), "65537 bytes; max_payload_bytes is 65536"),
        (Encoded(1, 0, "", (("x-a", "b" * 5000),), b""), "bytes of headers; at most 4096 are carried"),
    ],
)
async def test_a_result_that_no_frame_carries_is_a_failure(stage: Stage, result: Encoded, why: str) -> None:
    (web,) = stage.clients(1)
    web.ask()
    stage.finish(result)
    await until(lambda: web.told)
    failure = decode_failure(web.frames[0].meta)
    assert failure.code == "bad_result"
    assert why in failure.detail


async def test_an_unknown_node_is_not_started(stage: Stage) -> None:
    (web,) = stage.clients(1)
    web.ask(node="os.system")
    assert web.told == ["UNKNOWN_NODE"]
    assert stage.nodes.begun == []


# -- what must not be said


@pytest.mark.parametrize(
    "meta",
    [
        b"",
        b"\x90",
        b"\xc1",
        b"\x94\xa2\xff\xfe\xa0\xa0\xa0",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 3000,
        b"\x98" + b"\xa1a" * 4 + b"\x00\x02\x80" + b"\x91" * 4000,
        encode_meta([1, 2, 3, 4]),
        encode_meta(["shop.render", "", "", "web-0#1"]) + b"\x00",
    ],
)
async def test_a_request_that_cannot_be_read_ends_the_link(stage: Stage, meta: bytes) -> None:
    (web,) = stage.clients(1)
    before = refusals[Refusal.DECODE]
    web.say(Kind.REQUEST, new_call_id(), meta, budget_ms=1000)
    assert refusals[Refusal.DECODE] == before + 1
    assert web.there.aborted
    assert stage.nodes.begun == []


@pytest.mark.parametrize("reply_to", ["web-1#1", "web-0#2", "cpu-0#7", "", "web-00#1", "web-0#01", "web-\u0660#1"])
async def test_answers_go_to_whoever_asked(stage: Stage, reply_to: str) -> None:
    (web,) = stage.clients(1)
    before = refusals[Refusal.UNAUTHORISED]
    web.ask(reply_to=reply_to)
    assert refusals[Refusal.UNAUTHORISED] == before + 1
    assert web.there.aborted
    assert stage.nodes.begun == []


async def test_one_call_is_not_taken_twice(stage: Stage) -> None:
    (web,) = stage.clients(1)
    web.ask(call_id=web.ask())
    assert web.there.aborted
    assert len(stage.service._calls) <= 1


async def test_a_second_run_that_meets_the_first_costs_nobody_a_link(stage: Stage) -> None:
    """Its link to here was lost, and the call goes on here."""
    (web,) = stage.clients(1)
    call_id = web.ask(node="shop.keep")
    await stage.begun(1)
    web.leave()
    (again,) = stage.clients(1)
    again.ask(node="shop.keep", call_id=call_id)
    assert again.told == ["NOT_YET"]
    assert not again.there.aborted
    stage.finish()
    await until(lambda: not stage.service._calls)
    again.ask(node="shop.keep", call_id=call_id)
    stage.finish()
    await until(lambda: "REPLY" in again.told)


async def test_close_is_taken_at_its_word(stage: Stage) -> None:
    (web,) = stage.clients(1)
    web.say(Kind.CLOSE)
    assert web.there.closed


# -- more than one


async def test_who_asks_in_vain_is_told_when_it_is_free(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "FAIR_AFTER", -1.0)
    one, two = stage.clients(2)
    one.ask()
    two.ask()
    assert two.told == ["BUSY"]
    stage.finish()
    await until(lambda: len(two.told) == 2)
    assert (one.told, two.told) == (["REPLY"], ["BUSY", "READY"])
    one.ask()
    assert one.told == ["REPLY", "BUSY"]  # the slot is kept
    two.ask()
    stage.finish()
    await until(lambda: len(two.told) == 3)
    assert two.told == ["BUSY", "READY", "REPLY"]
    await until(lambda: one.told == ["REPLY", "BUSY", "READY"])


async def test_a_reply_says_ready_itself(stage: Stage) -> None:
    (web,) = stage.clients(1)
    web.ask()
    web.ask()
    stage.finish()
    await until(lambda: len(web.told) == 2)
    assert web.told == ["BUSY", "REPLY+READY"]
    web.say(Kind.DECLINE)
    web.ask()
    stage.finish()
    await until(lambda: len(web.told) == 3)
    assert web.told == ["BUSY", "REPLY+READY", "REPLY"]


async def test_a_slot_that_is_declined_goes_to_the_next(stage: Stage) -> None:
    one, two, three = stage.clients(3)
    one.ask()
    two.ask()
    three.ask()
    stage.finish()
    await until(lambda: len(two.told) == 2)
    assert three.told == ["BUSY"]
    two.say(Kind.DECLINE)
    assert three.told == ["BUSY", "READY"]


@pytest.mark.parametrize("how", ["unknown node", "time is over"])
async def test_a_slot_that_was_kept_for_a_call_that_cannot_start_goes_to_the_next(stage: Stage, how: str) -> None:
    one, two, three = stage.clients(3)
    one.ask()
    two.ask()
    three.ask()
    stage.finish()
    await until(lambda: len(two.told) == 2)
    if how == "unknown node":
        two.ask(node="shop.unknown")
    else:
        two.ask(budget_ms=0)
    assert three.told == ["BUSY", "READY"]


@pytest.mark.parametrize("vanishes", [True, False])
async def test_a_slot_is_not_kept_for_ever(stage: Stage, monkeypatch: pytest.MonkeyPatch, vanishes: bool) -> None:
    """Neither for a client that ends nor for one that only sleeps, and that was told with its last reply."""
    for where in (module, admission):
        monkeypatch.setattr(where, "KEEP_SLOT", 0.01)
    one, two = stage.clients(2)
    one.ask()
    one.ask()
    two.ask()
    stage.finish()
    await until(lambda: len(one.told) == 2)
    assert one.told == ["BUSY", "REPLY+READY"]
    assert two.told == ["BUSY"]
    if vanishes:
        one.leave()
        assert two.told == ["BUSY", "READY"]
    else:
        stage.time += 1.0
        await until(lambda: two.told == ["BUSY", "READY"])


async def test_a_held_call_runs_next(stage: Stage) -> None:
    one, two = stage.clients(2)
    first = one.ask()
    second = two.ask(last_resort=True)
    stage.finish()
    stage.finish()
    await until(lambda: two.told)
    assert [call.id for call in stage.nodes.begun] == [first, second]
    assert (one.told, two.told) == (["REPLY"], ["REPLY"])


async def test_a_held_call_is_given_back_soon_whatever_else_is_watched(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEEP_SLOT", 3600.0)
    one, two = stage.clients(2)
    one.ask()
    one.ask()  # in vain: from now on a far-off look is planned
    two.ask(last_resort=True)
    stage.time += 2 * admission.GIVE_BACK_AFTER
    await until(lambda: two.told)
    assert two.told == ["BUSY"]
    stage.finish()
    await until(lambda: one.told == ["BUSY", "REPLY+READY"])
    one.say(Kind.DECLINE)
    assert two.told == ["BUSY", "READY"]


async def test_what_was_asked_long_ago_is_not_begun_and_costs_nobody_the_link(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node kept the interpreter to itself for longer than frames are good for."""
    one, two = stage.clients(2)
    running = one.ask(node="shop.keep")
    await stage.begun(1)
    clock = boot_ms()
    monkeypatch.setattr(link_module, "boot_ms", lambda: clock)
    waiting = new_call_id()
    meta = encode_meta(RequestMeta("shop.render", "r", "t", str(one.name)))
    one.link.send(Kind.REQUEST, waiting, meta, budget_ms=60_000)
    one.link.send(Kind.CANCEL, running)
    monkeypatch.setattr(link_module, "boot_ms", lambda: clock + TERMS.ttl_ms + 5000)
    assert one.exchange() == [("EXPIRED", waiting)]
    assert stage.nodes.begun[0].seen.cancelled
    stage.finish()
    await until(lambda: one.told == ["EXPIRED", "REPLY"])
    two.ask()
    stage.finish()
    await until(lambda: two.told == ["REPLY"])


async def test_a_call_whose_time_was_over_before_it_was_read_is_not_started(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lay in the socket while a node kept the interpreter to itself; its caller has had an answer."""
    (web,) = stage.clients(1)
    clock = boot_ms()
    monkeypatch.setattr(link_module, "boot_ms", lambda: clock)
    late, in_time = new_call_id(), new_call_id()
    meta = encode_meta(RequestMeta("shop.render", "r", "t", str(web.name)))
    web.link.send(Kind.REQUEST, late, meta, budget_ms=1000)
    web.link.send(Kind.REQUEST, in_time, meta, budget_ms=1500)
    monkeypatch.setattr(link_module, "boot_ms", lambda: clock + 1000)
    assert web.exchange() == [("EXPIRED", late)]
    await stage.begun(1)
    assert [call.id for call in stage.nodes.begun] == [in_time]
    stage.finish()
    await until(lambda: web.told == ["EXPIRED", "REPLY"])


async def test_a_held_call_whose_time_is_over_is_not_started(stage: Stage) -> None:
    (web,) = stage.clients(1)
    web.ask()
    late = web.ask(last_resort=True, budget_ms=1)
    await stage.begun(1)
    stage.time += 0.002
    stage.finish()
    await until(lambda: len(web.told) == 2)
    assert ("EXPIRED", late) in web.exchange()
    assert len(stage.nodes.begun) == 1


async def test_the_refusal_is_told_before_ready(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The main thread ends its call just between the decision and its being said."""
    one, two = stage.clients(2)
    one.ask()
    await stage.begun(1)
    send = Link.send

    def slowly(link: Link, kind: int, *args: Any, **more: Any) -> None:
        if link is two.far and kind == Kind.NOT_STARTED:
            stage.finish()
            waited = threading.Event()
            waited.wait(0.05)
        send(link, kind, *args, **more)

    monkeypatch.setattr(Link, "send", slowly)
    two.ask()
    await until(lambda: len(two.told) == 2)
    assert two.told == ["BUSY", "READY"]


# -- who leaves


async def test_a_held_call_that_is_cancelled_is_never_run(stage: Stage) -> None:
    (web,) = stage.clients(1)
    web.ask()
    held = web.ask(last_resort=True)
    web.say(Kind.CANCEL, held)
    web.say(Kind.CANCEL, held)
    stage.finish()
    await until(lambda: len(web.told) == 2)
    assert web.exchange()[0] == ("CANCELLED", held)
    assert web.told == ["CANCELLED", "REPLY"]


async def test_a_running_call_is_told_that_it_is_cancelled(stage: Stage) -> None:
    (web,) = stage.clients(1)
    call_id = web.ask(node="shop.keep")
    asked = await stage.begun(1)
    web.say(Kind.CANCEL, call_id)
    assert asked.seen.cancelled
    stage.finish()
    await until(lambda: web.told == ["REPLY"])


async def test_nobody_cancels_the_calls_of_others(stage: Stage) -> None:
    one, two = stage.clients(2)
    running = one.ask()
    held = one.ask(last_resort=True)
    two.say(Kind.CANCEL, running)
    two.say(Kind.CANCEL, held)
    assert not (await stage.begun(1)).seen.cancelled
    stage.finish()
    stage.finish()
    await until(lambda: len(one.told) == 2)
    assert one.told == ["REPLY", "REPLY"]


@pytest.mark.parametrize("how", ["cancelled", "gone"])
async def test_what_was_not_begun_will_not_be(before_it_runs: Stage, how: str) -> None:
    """The slot is taken, but the main thread has not come to it."""
    stage = before_it_runs
    (web, other) = stage.clients(2)
    call_id = web.ask()
    if how == "gone":
        web.leave()
    else:
        web.say(Kind.CANCEL, call_id)
    other.ask(last_resort=True)
    stage.thread.start()
    stage.finish()
    await until(lambda: other.told)
    assert other.told == ["REPLY"]
    assert len(stage.nodes.begun) == 1
    assert stage.nodes.begun[0].client is other.far
    if how == "cancelled":
        assert web.told == ["CANCELLED"]


async def test_a_client_that_goes_takes_what_it_asked_with_it(stage: Stage) -> None:
    one, two = stage.clients(2)
    one.ask()
    one.ask(last_resort=True)
    asked = await stage.begun(1)
    two.ask()
    one.leave()
    assert asked.seen.cancelled
    stage.finish()
    await until(lambda: two.told == ["BUSY", "READY"])
    assert len(stage.nodes.begun) == 1


async def test_ready_is_not_told_to_the_dead(stage: Stage) -> None:
    one, two, three = stage.clients(3)
    one.ask()
    two.ask()
    three.ask()
    two.leave()
    stage.finish()
    await until(lambda: three.told == ["BUSY", "READY"])


async def test_threads_and_clients_at_odds_lose_nobody(stage: Stage) -> None:
    """Calls, cancels and departures while the main thread finishes others: every one has its one answer."""
    clients = stage.clients(4)
    asked: dict[bytes, Client] = {}
    for number in range(400):
        stage.finish()
        web = clients[number % 4]
        call_id = web.ask(last_resort=number % 3 > 0)
        asked[call_id] = web
        if number % 5 == 0:
            web.say(Kind.CANCEL, call_id)
        if number % 7 == 0:
            web.say(Kind.DECLINE)
        if number % 50 == 0:
            await asyncio.sleep(0.001)

    def answers() -> list[bytes]:
        return [call_id for web in clients for what, call_id in web.exchange() if what != "READY"]

    await until(lambda: len(answers()) == len(asked))
    assert sorted(answers()) == sorted(asked)
    ids = [call.id for call in stage.nodes.begun]
    assert len(ids) == len(set(ids))


# -- interrupted


def failure_of(client: Client) -> str:
    return decode_failure(client.frames[-1].meta).code


async def test_the_deadline_ends_a_call_and_not_the_next(stage: Stage) -> None:
    (one,) = stage.clients(1)
    one.ask(budget_ms=30)
    (row,) = await stage.noted()
    assert row.kill_at == pytest.approx(1000.03 + KILL_GRACE, abs=0.02)
    stage.time += 0.031
    await until(lambda: one.told)
    assert (one.told, failure_of(one)) == (["FAILURE"], "DeadlineExceeded")
    assert list(stage.ledger.running()) == []
    one.ask()
    stage.finish()
    await until(lambda: len(one.told) == 2)
    assert one.told == ["FAILURE", "REPLY"]


async def test_a_client_in_a_hurry_has_its_call_interrupted_and_nobody_ended_sooner(stage: Stage) -> None:
    (web,) = stage.clients(1)
    web.ask(budget_ms=30, beyond_ms=970)
    (row,) = await stage.noted()
    assert row.kill_at == pytest.approx(1001.0 + KILL_GRACE, abs=0.5)
    stage.time += 0.031
    await until(lambda: web.told)
    assert failure_of(web) == "DeadlineExceeded"


async def test_a_look_at_the_clock_before_the_deadline_ends_nothing(stage: Stage) -> None:
    (web,) = stage.clients(1)
    web.ask(budget_ms=10)
    await stage.begun(1)
    await asyncio.sleep(0.03)  # the timer rings, and the clock says that it is not time
    stage.finish()
    await until(lambda: web.told)
    assert web.told == ["REPLY"]


@pytest.mark.parametrize("leaves", [True, False])
@pytest.mark.parametrize("node", ["shop.render", "shop.kill", "shop.keep"])
async def test_a_node_says_what_its_caller_s_leaving_is_to_it(stage: Stage, node: str, leaves: bool) -> None:
    web, other = stage.clients(2)
    call_id = web.ask(node=node)
    (row,) = await stage.noted()
    assert row.cancel_grace == GRACES[node]
    if leaves:
        web.leave()
    else:
        web.say(Kind.CANCEL, call_id)
    assert stage.nodes.begun[0].seen.cancelled
    if node != "shop.keep":
        await until(lambda: not list(stage.ledger.running()))
        await until(lambda: leaves or web.told)
        assert leaves or failure_of(web) == "CallCancelled"
    else:
        assert list(stage.ledger.running()) == [row]
        stage.finish()
        await until(lambda: not list(stage.ledger.running()))
    other.ask()
    stage.finish()
    await until(lambda: other.told[-1:] == ["REPLY"])


async def test_a_call_that_is_called_off_has_its_worker_ended_by_nobody_here(stage: Stage) -> None:
    (web,) = stage.clients(1)
    stage.nodes.wait = lambda results: results.get()  # type: ignore[method-assign] # it hears nothing
    call_id = web.ask()
    (row,) = await stage.noted()
    web.say(Kind.CANCEL, call_id)
    assert list(stage.ledger.running()) == [row], "others may run in this process"
    stage.finish()
    await until(lambda: web.told)


async def test_a_call_whose_time_is_over_when_its_lane_comes_to_it_is_not_begun(before_it_runs: Stage) -> None:
    stage = before_it_runs
    (web,) = stage.clients(1)
    web.ask(budget_ms=30)
    stage.time += 1.0  # whatever ran before held everybody up
    stage.thread.start()
    await until(lambda: web.told)
    assert web.told == ["EXPIRED"]
    assert stage.nodes.begun == []
    assert stage.ledger.begun().ids == ()


# -- the end


async def test_draining_finishes_what_runs_and_returns_the_rest(stage: Stage) -> None:
    one, two = stage.clients(2)
    one.ask()
    two.ask(last_resort=True)
    await stage.begun(1)
    stage.service.drain()
    assert two.told == ["DRAINING"]
    one.ask()
    assert one.told == ["DRAINING"]
    stage.finish()
    await until(lambda: not stage.thread.is_alive())
    assert one.told == ["DRAINING", "REPLY"]
    assert len(stage.nodes.begun) == 1


async def test_draining_twice_is_draining(stage: Stage) -> None:
    stage.service.drain()
    stage.service.drain()
    await until(lambda: not stage.thread.is_alive())


def test_an_engine_has_what_a_service_asks_of_it() -> None:
    """`Nodes` stands in for it."""
    engine = Engine({}, Log("cpu-0#7", LogSettings()))
    assert engine.cancel_grace("shop.render") is None
    assert set(vars(Nodes)) - {"__init__"} >= {"cancel_grace", "run", "run_batch", "explain_too_large"}
    assert set(vars(Nodes)) >= {"explain_untold", "lane_died"} <= set(dir(engine))
    assert engine.batched == {}


async def test_on_a_link_that_ends_nothing_begins_and_what_was_begun_is_answered(stage: Stage) -> None:
    (client,) = stage.clients(1)
    first = client.ask()
    await stage.begun(1)
    client.far.ending = True
    second = client.ask()
    assert ("DRAINING", second) in client.exchange()
    stage.finish()
    await until(lambda: any(call_id == first and what.startswith("REPLY") for what, call_id in client.exchange()))
    assert len(stage.nodes.begun) == 1
