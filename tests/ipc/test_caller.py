"""Calls, workers that answer as the test says, and a clock that goes when the test says so."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ipc import caller as module
from ipc import link as link_module
from ipc import mesh, replies, sending, verdicts
from ipc.caller import Caller
from ipc.clock import boot_ms
from ipc.errors import (
    BadResult,
    Busy,
    CallFailed,
    CallTimeout,
    Cancelled,
    Expired,
    InvalidRequest,
    IpcError,
    LinkLost,
    Misuse,
    NoSuchNode,
    NoWorker,
    TooLarge,
    WorkerDied,
    WorkerGone,
)
from ipc.errors import Quarantined as QuarantinedError
from ipc.flow.fate import PATIENCE
from ipc.link import Link, accepting, refusals
from ipc.messages.calls import FailureMeta, Flag, Kind, NotStarted, NotStartedMeta, ReplyMeta, RequestMeta, encode_meta
from ipc.messages.lifeline import Abandoned, Ended, Moved, Peer, Peers, Quarantined, Suspected
from ipc.messages.settings import Limits
from ipc.names import WorkerName, new_call_id, parse_worker
from ipc.priority import HIGH, LOW
from ipc.quarantine import mark_of
from ipc.transport.memory import connect
from ipc.wire.frame import NO_CALL, Refusal
from ipc.wire.keys import leaf_key, root_for_epoch, server_secret
from ipc.wire.session import Terms
from ipc.wire.signing import Alg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ipc.call import Call
    from ipc.messages.lifeline import FromChild
    from ipc.transport.base import End
    from ipc.wire.frame import Frame

WEB = WorkerName("web", 0, 1)
ROOT = root_for_epoch(bytes(range(32)), 0)
TERMS = Terms("memory", Alg.HMAC_SHA256, 0, 1 << 16, 30_000)
LIMITS = Limits(max_payload=TERMS.max_payload, queue_calls=4, queue_bytes=1000)
ROUTES = {"shop.thumbnail": "cpu", "shop.render": "cpu", "shop.train": "gpu"}
IDEMPOTENT = {"shop.render"}


class Worker:
    """An exec worker that does nothing of its own accord."""

    def __init__(self, name: str) -> None:
        self.name = parse_worker(name)
        self.secret = server_secret(ROOT, self.name)
        self.secrets = {TERMS.epoch: self.secret}
        self.link: Link | None = None
        self.olds: list[Link] = []
        self.heard_frames: list[Frame] = []
        self.lives = 0

    def established(self, link: Link) -> None:
        if self.link is not None:
            self.olds.append(self.link)
        self.link = link
        self.lives += 1

    def heard(self, link: Link, frame: Frame) -> None:
        assert link is self.link or (link in self.olds and frame.kind != Kind.REQUEST)
        self.heard_frames.append(frame)

    def ended(self, link: Link) -> None:
        if link in self.olds:
            self.olds.remove(link)
        else:
            assert self.link in {link, None}
            self.link = None

    def renew(self) -> None:
        """Accept the keys of one more epoch."""
        epoch = max(self.secrets) + 1
        self.secrets[epoch] = server_secret(root_for_epoch(bytes(range(32)), epoch), self.name)

    def heard_of(self, kind: Kind) -> list[bytes]:
        return [frame.call_id for frame in self.heard_frames if frame.kind == kind]

    @property
    def peer(self) -> Peer:
        epoch = max(self.secrets)
        return Peer(str(self.name), str(self.name), epoch, leaf_key(self.secrets[epoch], WEB))

    @property
    def asked(self) -> list[bytes]:
        return self.heard_of(Kind.REQUEST)

    @property
    def declined(self) -> int:
        return len(self.heard_of(Kind.DECLINE))

    def say(self, kind: Kind, call_id: bytes = NO_CALL, meta: Any = None, body: bytes = b"", flags: int = 0) -> None:
        assert self.link is not None
        self.link.send(kind, call_id, b"" if meta is None else encode_meta(meta), body, flags)

    def reply(self, call_id: bytes, body: bytes = b"", room: int = 1, flags: int = 0) -> None:
        self.say(Kind.REPLY, call_id, ReplyMeta(room, 10, 20), body, flags)

    def not_started(self, call_id: bytes, reason: NotStarted = NotStarted.BUSY) -> None:
        self.say(Kind.NOT_STARTED, call_id, NotStartedMeta(reason))


class Stage:
    """A caller and the workers it may be told of."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.workers: dict[str, Worker] = {}
        self.dials = 0
        self.unreachable = False
        self.dialling: asyncio.Event | None = None
        self.moved: list[tuple[str, int]] = []
        self.said: list[FromChild] = []
        self.caller = self.new_caller()

    def new_caller(self) -> Caller:
        return Caller(WEB, TERMS, LIMITS, ROUTES, self.connect, self.told, IDEMPOTENT)

    def told(self, message: FromChild) -> None:
        if isinstance(message, Moved):
            self.moved.append((message.server, message.epoch))
        else:
            self.said.append(message)

    async def connect(self, address: str, end: End, largest: int) -> None:
        self.dials += 1
        if self.unreachable:
            raise ConnectionRefusedError
        if self.dialling is not None:
            await self.dialling.wait()
        worker = self.workers[address]
        loop = asyncio.get_running_loop()
        connect(end, loop, accepting(worker, worker.name, worker.secrets, TERMS), loop, largest)

    def tell(self, *names: str) -> None:
        """Let these workers be up, and no others."""
        for name in names:
            self.workers.setdefault(name, Worker(name))
        self.caller.update(Peers(tuple(self.workers[name].peer for name in names)))

    async def up(self, *names: str) -> list[Worker]:
        self.tell(*names)
        await settled()
        return [self.workers[name] for name in names]

    def call(self, node: str = "shop.thumbnail", body: bytes = b"", timeout: float = 10.0, **more: Any) -> Call:
        meta = encode_meta(RequestMeta(node, "r", "t", str(WEB)))
        call = self.caller.call(node, new_call_id(), meta, body, timeout, **more)
        call.future.add_done_callback(lambda future: future.exception())  # somebody has looked
        return call

    def later(self, seconds: float) -> None:
        self.time += seconds
        self.caller._sweep()


async def settled() -> None:
    """Let everything that is under way arrive."""
    for _ in range(20):
        await asyncio.sleep(0)


def outcome(call: Call) -> type[BaseException] | bytes | None:
    if not call.future.done():
        return None
    error = call.future.exception()
    return type(error) if error is not None else bytes(call.future.result().body)


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(module, "SWEEP", 3600.0)
    monkeypatch.setattr(mesh, "REDIAL", 0.0)
    stage = Stage()
    for each in (module, mesh, replies, sending, verdicts):
        monkeypatch.setattr(each, "now", lambda: stage.time)
    stage.caller = stage.new_caller()
    yield stage
    await stage.caller.close()
    await settled()
    assert stage.caller.waiting == 0


@pytest.fixture
def unharmed() -> Iterator[None]:
    """No link was ended for breaking the protocol."""
    before = refusals.total()
    yield
    assert refusals.total() == before


# -- new keys


@pytest.mark.usefixtures("unharmed")
async def test_with_new_keys_new_calls_take_a_new_link_and_old_ones_end_on_theirs(stage: Stage) -> None:
    (worker,) = await stage.up("cpu-0#1")
    before = stage.call()
    await settled()
    worker.renew()
    stage.tell("cpu-0#1")
    await settled()
    assert (worker.lives, len(worker.olds), stage.moved) == (2, 1, [("cpu-0#1", TERMS.epoch)])
    after = stage.call()
    await settled()
    assert worker.asked == [before.id, after.id]
    worker.reply(after.id, b"new")
    worker.olds[0].send(Kind.REPLY, before.id, encode_meta(ReplyMeta(1, 10, 20)), b"old")
    await settled()
    assert [outcome(before), outcome(after)] == [b"old", b"new"]
    assert (worker.olds, stage.moved[1:]) == ([], [("cpu-0#1", TERMS.epoch + 1)])
    assert worker.link is not None


@pytest.mark.usefixtures("unharmed")
async def test_until_the_new_link_stands_the_old_one_serves(stage: Stage) -> None:
    (worker,) = await stage.up("cpu-0#1")
    stage.dialling = asyncio.Event()
    for _ in range(3):  # new keys faster than a connection can be made
        worker.renew()
        stage.tell("cpu-0#1")
        await settled()
        call = stage.call()
        await settled()
        worker.reply(call.id, b"yes")
        assert (await call.future).body == b"yes"
    assert worker.lives == 1
    stage.dialling.set()
    await settled()
    call = stage.call()
    await settled()
    worker.reply(call.id, b"yes")
    assert (await call.future).body == b"yes"
    assert (worker.lives, worker.olds, stage.moved[-1]) == (2, [], ("cpu-0#1", TERMS.epoch + 3))


async def test_a_call_on_an_old_link_can_still_be_called_off(stage: Stage) -> None:
    (worker,) = await stage.up("cpu-0#1")
    call = stage.call()
    await settled()
    worker.renew()
    stage.tell("cpu-0#1")
    await settled()
    stage.caller.cancel(call)
    await settled()
    assert worker.heard_of(Kind.CANCEL) == [call.id]


async def test_a_worker_that_dies_between_two_keys_takes_with_it_what_it_had(stage: Stage) -> None:
    (worker,) = await stage.up("cpu-0#1")
    call = stage.call()
    await settled()
    worker.renew()
    stage.tell("cpu-0#1")
    await settled()
    for link in (*worker.olds, worker.link):
        assert link is not None
        link.abort()
    await settled()
    stage.later(2 * PATIENCE)
    assert outcome(call) is LinkLost
    stage.tell()
    await settled()
    assert stage.caller.waiting == 0


async def test_older_keys_are_not_gone_back_to(stage: Stage) -> None:
    (worker,) = await stage.up("cpu-0#1")
    old = worker.peer
    worker.renew()
    stage.tell("cpu-0#1")
    await settled()
    stage.caller.update(Peers((old,)))
    await settled()
    assert worker.lives == 2


# -- asking


@pytest.mark.usefixtures("unharmed")
async def test_a_call_is_answered(stage: Stage) -> None:
    (worker,) = await stage.up("cpu-0#1")
    call = stage.call(body=b"picture", timeout=2.5)
    await settled()
    assert worker.asked == [call.id]
    assert worker.heard_frames[0].body == b"picture"
    assert worker.heard_frames[0].budget_ms == 2500
    worker.reply(call.id, b"thumbnail")
    answer = await call.future
    assert (answer.body, answer.meta.waited_us, answer.meta.ran_us) == (b"thumbnail", 10, 20)
    assert stage.caller.waiting == 0


async def test_what_nobody_runs_is_a_bug_of_this_program(stage: Stage) -> None:
    with pytest.raises(Misuse):
        stage.call("shop.unknown")


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(("meta", "body"), [(b"\x90", bytes(TERMS.max_payload + 1)), (bytes(4097), b"")])
async def test_what_no_frame_can_carry_is_refused_before_anything_is_done(
    stage: Stage, meta: bytes, body: bytes
) -> None:
    """Whether it would be sent at once or later: a link must not end because a client's parameters are long."""
    (worker,) = await stage.up("cpu-0#1")
    with pytest.raises(TooLarge):
        stage.caller.call("shop.thumbnail", new_call_id(), meta, body, 10.0)
    assert stage.caller.waiting == 0
    first = stage.call()
    with pytest.raises(TooLarge):
        stage.caller.call("shop.thumbnail", new_call_id(), meta, body, 10.0)
    second = stage.call()
    for call in (first, second):
        await settled()
        worker.reply(call.id, b"yes")
    await settled()
    assert [outcome(first), outcome(second)] == [b"yes", b"yes"]


async def test_a_full_queue_refuses_at_once(stage: Stage) -> None:
    await stage.up("cpu-0#1")
    calls = [stage.call() for _ in range(1 + LIMITS.queue_calls)]
    with pytest.raises(Busy):
        stage.call()
    assert stage.caller.waiting == len(calls)


@pytest.mark.usefixtures("unharmed")
async def test_who_loses_his_place_to_a_higher_class_is_told_so(stage: Stage) -> None:
    (worker,) = await stage.up("cpu-0#1")
    stage.call()
    low = [stage.call(priority=LOW) for _ in range(LIMITS.queue_calls)]
    high = stage.call(priority=HIGH)
    assert [outcome(call) for call in low] == [None] * (LIMITS.queue_calls - 1) + [Busy]
    await settled()
    worker.reply(worker.asked[0])
    await settled()
    assert worker.asked[1:] == [high.id]
    assert stage.caller.waiting == LIMITS.queue_calls


@pytest.mark.usefixtures("unharmed")
async def test_who_would_wait_in_vain_is_refused_and_who_has_waited_in_vain_makes_place(stage: Stage) -> None:
    (worker,) = await stage.up("cpu-0#1")
    stage.call()
    await settled()
    for _ in range(20):  # a second each, while somebody waits
        stage.call(timeout=100.0)
        stage.time += 1.0
        worker.reply(worker.asked[-1])
        await settled()
    waiting = [stage.call(timeout=2.5), stage.call(timeout=100.0)]
    with pytest.raises(Busy) as refused:
        stage.call(timeout=3.0)
    assert 2.0 <= refused.value.retry_after <= 4.0
    stage.time += 2.0
    worker.reply(worker.asked[-1])
    await settled()
    assert [outcome(call) for call in waiting] == [Expired, None]
    assert worker.asked[-1] == waiting[1].id


async def test_failures_become_the_errors_they_name(stage: Stage) -> None:
    (worker,) = await stage.up("cpu-0#1")
    for code, kind in (("invalid_request", InvalidRequest), ("bad_result", BadResult), ("of_tomorrow", CallFailed)):
        call = stage.call()
        await settled()
        worker.say(Kind.FAILURE, call.id, FailureMeta(1, code, "because"))
        with pytest.raises(IpcError, match="because") as raised:
            await call.future
        assert type(raised.value) is kind


@pytest.mark.parametrize(
    ("reason", "kind"),
    [(NotStarted.EXPIRED, Expired), (NotStarted.CANCELLED, Cancelled), (NotStarted.UNKNOWN_NODE, NoSuchNode)],
)
async def test_what_was_not_begun_says_why(stage: Stage, reason: NotStarted, kind: type[IpcError]) -> None:
    (worker,) = await stage.up("cpu-0#1")
    call, other = stage.call(), stage.call()
    await settled()
    worker.not_started(call.id, reason)
    await settled()
    assert outcome(call) is kind
    assert worker.asked == [call.id, other.id]


# -- who gets it


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("reason", [NotStarted.BUSY, NotStarted.DRAINING])
async def test_a_call_that_is_given_back_goes_elsewhere(stage: Stage, reason: NotStarted) -> None:
    one, two = await stage.up("cpu-0#1", "cpu-1#2")
    first, second, third = (stage.call() for _ in range(3))
    await settled()
    busy, other = (one, two) if one.asked == [first.id] else (two, one)
    busy.not_started(first.id, reason)
    await settled()
    assert other.asked == [second.id]
    other.reply(second.id)
    await settled()
    assert other.asked == [second.id, first.id]  # in front of the third, which came later
    other.reply(first.id, b"done")
    await settled()
    assert outcome(first) == b"done"
    assert other.asked[-1] == third.id
    assert len(busy.asked) == 1


@pytest.mark.usefixtures("unharmed")
async def test_ready_is_answered_with_a_call_or_declined(stage: Stage) -> None:
    (worker,) = await stage.up("cpu-0#1")
    call = stage.call()
    await settled()
    worker.not_started(call.id)
    await settled()
    assert worker.asked == [call.id]
    worker.say(Kind.READY)
    await settled()
    assert worker.asked == [call.id, call.id]
    assert worker.declined == 0
    worker.say(Kind.READY)
    await settled()
    assert worker.declined == 1


@pytest.mark.usefixtures("unharmed")
async def test_a_slot_kept_with_a_reply_is_used_or_declined(stage: Stage) -> None:
    (worker,) = await stage.up("cpu-0#1")
    first, second = stage.call(), stage.call()
    await settled()
    worker.reply(first.id, flags=Flag.READY)
    await settled()
    assert worker.asked == [first.id, second.id]
    assert worker.declined == 0
    worker.reply(second.id, flags=Flag.READY)
    await settled()
    assert worker.declined == 1


async def test_groups_do_not_share_workers(stage: Stage) -> None:
    cpu, gpu = await stage.up("cpu-0#1", "gpu-0#2")
    thumbnail, train = stage.call("shop.thumbnail"), stage.call("shop.train")
    await settled()
    assert (cpu.asked, gpu.asked) == ([thumbnail.id], [train.id])


# -- who leaves


@pytest.mark.usefixtures("unharmed")
async def test_a_call_that_waits_leaves_nothing_behind_when_it_is_cancelled(stage: Stage) -> None:
    (worker,) = await stage.up("cpu-0#1")
    running, waiting = stage.call(), stage.call(body=bytes(900))
    with pytest.raises(Busy):
        stage.call(body=bytes(900))
    stage.caller.cancel(waiting)
    stage.caller.cancel(waiting)
    assert outcome(waiting) is Cancelled
    assert not waiting.body  # it may stand in the queue for a while yet, and must not be counted on to be short
    following = stage.call(body=bytes(900))
    await settled()
    worker.reply(running.id)
    await settled()
    assert worker.asked == [running.id, following.id]
    assert worker.heard_of(Kind.CANCEL) == []


@pytest.mark.usefixtures("unharmed")
async def test_a_call_that_was_sent_is_cancelled_there_and_its_answer_is_late(stage: Stage) -> None:
    (worker,) = await stage.up("cpu-0#1")
    call = stage.call()
    await settled()
    stage.caller.cancel(call)
    await settled()
    assert worker.heard_of(Kind.CANCEL) == [call.id]
    worker.reply(call.id)
    await settled()
    assert outcome(call) is Cancelled
    assert stage.caller.late == 1
    other = stage.call()
    await settled()
    assert worker.asked == [call.id, other.id]


@pytest.mark.usefixtures("unharmed")
async def test_a_cancelled_call_that_is_given_back_is_forgotten(stage: Stage) -> None:
    one, two = await stage.up("cpu-0#1", "cpu-1#2")
    calls = [stage.call(), stage.call()]
    await settled()
    stage.caller.cancel(calls[0])
    holder, other = (one, two) if one.asked == [calls[0].id] else (two, one)
    holder.not_started(calls[0].id)
    other.reply(calls[1].id)
    await settled()
    assert other.asked == [calls[1].id]


@pytest.mark.usefixtures("unharmed")
async def test_time_runs_out_where_the_call_is(stage: Stage) -> None:
    (worker,) = await stage.up("cpu-0#1")
    sent, waiting = stage.call(timeout=1.0), stage.call(timeout=1.0)
    await settled()
    stage.later(0.9)
    assert outcome(sent) is outcome(waiting) is None
    stage.later(0.2)
    assert outcome(sent) is CallTimeout
    assert outcome(waiting) is Expired
    await settled()
    assert worker.heard_of(Kind.CANCEL) == [sent.id]
    worker.reply(sent.id)
    await settled()
    assert (stage.caller.late, worker.asked) == (1, [sent.id])


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("how", ["reply", "reply and slot kept", "ready"])
async def test_a_call_whose_time_is_over_is_not_sent_any_more(stage: Stage, how: str) -> None:
    """Also not if the deadline has come since deadlines were looked at."""
    (worker,) = await stage.up("cpu-0#1")
    first = stage.call(timeout=100.0)
    too_late, in_time = stage.call(timeout=1.0), stage.call(timeout=100.0)
    await settled()
    stage.time += 2.0
    if how == "ready":
        worker.not_started(first.id)
        stage.caller.cancel(first)
        worker.say(Kind.READY)
    else:
        worker.reply(first.id, flags=Flag.READY if how == "reply and slot kept" else 0)
    await settled()
    assert outcome(too_late) is Expired
    assert worker.asked == [first.id, in_time.id]
    assert worker.declined == 0


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("how", ["reply and slot kept", "ready"])
async def test_a_slot_kept_for_a_call_whose_time_is_over_is_declined(stage: Stage, how: str) -> None:
    (worker,) = await stage.up("cpu-0#1")
    first, too_late = stage.call(timeout=100.0), stage.call(timeout=1.0)
    await settled()
    stage.time += 2.0
    if how == "ready":
        worker.not_started(first.id)
        stage.caller.cancel(first)
        worker.say(Kind.READY)
    else:
        worker.reply(first.id, flags=Flag.READY)
    await settled()
    assert outcome(too_late) is Expired
    assert (worker.asked, worker.declined) == ([first.id], 1)
    following = stage.call()
    await settled()
    assert worker.asked == [first.id, following.id]


async def test_slow_calls_are_told_once_and_an_error_there_costs_nobody_his_deadline(stage: Stage) -> None:
    await stage.up("cpu-0#1")
    loop, told, errors = asyncio.get_running_loop(), [], []
    loop.set_exception_handler(lambda _loop, context: errors.append(context))

    def slow(call: Call) -> None:
        told.append(call)
        raise RuntimeError("a bug of whoever asked to be told")

    call = stage.call(timeout=5000.0, slow=slow)
    other = stage.call(timeout=9000.0)
    stage.time += 3700.0
    with pytest.raises(RuntimeError):
        stage.caller._sweep()
    assert told == [call]
    assert stage.caller._sweeper is not None
    assert not stage.caller._sweeper.cancelled()
    stage.later(2000.0)
    assert outcome(call) is CallTimeout
    assert outcome(other) is None
    assert told == [call]


# -- workers come and go


async def test_calls_wait_for_the_first_worker(stage: Stage) -> None:
    call = stage.call(body=bytes(900))  # longer than a handshake may be, and right behind it
    (worker,) = await stage.up("cpu-0#1")
    assert worker.asked == [call.id]


async def test_a_group_that_stays_empty_fails_its_calls(stage: Stage) -> None:
    call = stage.call(timeout=100.0)
    assert stage.caller.missing() == ["cpu", "gpu"]
    stage.later(5.1)
    assert outcome(call) is NoWorker
    with pytest.raises(NoWorker):
        stage.call()
    (worker,) = await stage.up("cpu-0#1")
    assert stage.caller.missing() == ["gpu"]
    call = stage.call()
    await settled()
    assert worker.asked == [call.id]


async def test_a_lost_link_fails_what_was_sent_and_keeps_what_waits(stage: Stage) -> None:
    (worker,) = await stage.up("cpu-0#1")
    sent, waiting = stage.call(), stage.call()
    await settled()
    worker.link.close()
    await asyncio.sleep(0.01)
    await settled()
    stage.later(2 * PATIENCE)
    assert outcome(sent) is LinkLost
    assert worker.lives == 2  # it was still said to be up, so it was dialled again
    assert worker.asked == [sent.id, waiting.id]


@pytest.mark.parametrize(
    ("kind", "meta"),
    [
        (Kind.REPLY, b""),
        (Kind.REPLY, b"\x93\x01\x02"),
        (Kind.REPLY, encode_meta(["1", 2, 3])),
        (Kind.REPLY, encode_meta([1, 2, 3, 0, 0]) + b"\x00"),
        (Kind.FAILURE, b"\x93\x01\xa2\xff\xfe\xa0"),
        (Kind.REPLY, b"\x98\x01\x02\x03\x00\x00\xa0\x90" + b"\x91" * 4000),
        (Kind.FAILURE, encode_meta([1])),
        (Kind.NOT_STARTED, encode_meta([99])),
        (Kind.NOT_STARTED, b"\xdd\xff\xff\xff\xff"),
    ],
)
async def test_an_answer_that_makes_no_sense_ends_the_link_and_its_call(stage: Stage, kind: Kind, meta: bytes) -> None:
    (worker,) = await stage.up("cpu-0#1")
    before = refusals[Refusal.DECODE]
    call = stage.call()
    await settled()
    stage.tell()
    worker.say(kind, call.id, msgspec.Raw(meta)) if meta else worker.say(kind, call.id)
    await settled()
    assert refusals[Refusal.DECODE] == before + 1
    stage.later(2 * PATIENCE)
    assert outcome(call) is LinkLost
    assert worker.link is None


async def test_an_answer_nobody_asked_for_ends_the_link(stage: Stage) -> None:
    one, two = await stage.up("cpu-0#1", "cpu-1#2")
    calls = [stage.call(), stage.call()]
    await settled()
    before = refusals[Refusal.UNAUTHORISED]
    one.reply(two.asked[0], b"not mine to answer")
    await settled()
    assert refusals[Refusal.UNAUTHORISED] == before + 1
    by_id = {call.id: call for call in calls}
    stage.later(2 * PATIENCE)
    assert outcome(by_id[one.asked[0]]) is LinkLost
    assert outcome(by_id[two.asked[0]]) is None
    two.reply(two.asked[0], b"mine")
    await settled()
    assert outcome(by_id[two.asked[0]]) == b"mine"


async def test_the_same_answer_twice_ends_the_link(stage: Stage) -> None:
    (worker,) = await stage.up("cpu-0#1")
    call = stage.call()
    await settled()
    worker.reply(call.id, b"one")
    worker.reply(call.id, b"two")
    await settled()
    assert outcome(call) == b"one"
    assert worker.lives == 2 or worker.link is None


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("flags", [0, Flag.READY])
async def test_a_worker_that_is_withdrawn_may_answer_what_it_has(stage: Stage, flags: int) -> None:
    old, _ = await stage.up("cpu-0#1", "cpu-1#2")
    calls = [stage.call(), stage.call()]
    await settled()
    (new, _) = await stage.up("cpu-0#3", "cpu-1#2")
    assert old.link is not None
    mine = next(call for call in calls if call.id == old.asked[0])
    other = stage.call()
    await settled()
    assert new.asked == [other.id]
    old.reply(mine.id, b"finished", flags=flags)
    await settled()
    assert outcome(mine) == b"finished"
    assert old.link is None
    assert old.lives == 1


@pytest.mark.usefixtures("unharmed")
async def test_a_withdrawn_worker_that_gives_back_loses_nothing(stage: Stage) -> None:
    (old,) = await stage.up("cpu-0#1")
    call = stage.call()
    await settled()
    stage.tell()
    old.not_started(call.id, NotStarted.DRAINING)
    await settled()
    assert old.link is None
    (new,) = await stage.up("cpu-0#2")
    assert new.asked == [call.id]


async def test_a_worker_that_ends_while_it_has_calls_is_not_dialled_once_withdrawn(stage: Stage) -> None:
    (old,) = await stage.up("cpu-0#1")
    call = stage.call()
    await settled()
    stage.tell()
    old.link.close()
    await asyncio.sleep(0.01)
    stage.later(2 * PATIENCE)
    assert outcome(call) is LinkLost
    assert (old.lives, stage.dials) == (1, 1)


async def test_a_worker_that_goes_while_it_is_dialled_is_let_go(stage: Stage) -> None:
    stage.dialling = asyncio.Event()
    stage.tell("cpu-0#1")
    await settled()
    stage.tell("cpu-0#2")
    await settled()
    stage.dialling.set()
    await settled()
    assert stage.workers["cpu-0#1"].lives == 0
    assert stage.workers["cpu-0#2"].lives == 1
    call = stage.call()
    await settled()
    assert stage.workers["cpu-0#2"].asked == [call.id]


class Mute:
    """Whoever has a worker's port and says nothing."""

    def __init__(self) -> None:
        self.ended = 0

    def opened(self, carrier: object) -> None: ...

    def received(self, frame: object) -> None: ...

    def closed(self) -> None:
        self.ended += 1


@pytest.mark.parametrize("withdrawn", [False, True])
async def test_who_does_not_prove_itself_in_time_is_let_go(
    stage: Stage, withdrawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mesh, "HANDSHAKE_TIME", 0.01)
    mute, real = Mute(), stage.connect

    async def dialled(_address: str, end: End, largest: int) -> None:
        stage.caller._mesh._connect = real
        loop = asyncio.get_running_loop()
        connect(end, loop, mute, loop, largest)

    stage.caller._mesh._connect = dialled
    before = refusals[Refusal.TIMEOUT]
    stage.tell("cpu-0#1")
    await settled()
    if withdrawn:
        stage.tell()
    await asyncio.sleep(0.03)
    await settled()
    assert (mute.ended, refusals[Refusal.TIMEOUT] - before) == (1, 0 if withdrawn else 1)
    assert stage.workers["cpu-0#1"].lives == (0 if withdrawn else 1)


async def test_a_worker_that_goes_during_the_handshake_is_let_go(stage: Stage) -> None:
    stage.tell("cpu-0#1")
    for _ in range(10):
        await asyncio.sleep(0)
        if stage.dials:
            break
    stage.tell()
    await settled()
    old = stage.workers["cpu-0#1"]
    assert old.link is None
    assert stage.caller.missing() == ["cpu", "gpu"]
    call = stage.call()
    await settled()
    assert old.asked == []
    assert outcome(call) is None


async def test_who_cannot_be_reached_is_dialled_until_it_can(stage: Stage) -> None:
    stage.unreachable = True
    stage.tell("cpu-0#1")
    while stage.dials < 3:  # noqa: ASYNC110 - nothing else says so
        await asyncio.sleep(0)
    stage.unreachable = False
    await asyncio.sleep(0.01)
    await settled()
    assert stage.workers["cpu-0#1"].lives == 1


async def test_the_same_list_again_changes_nothing(stage: Stage) -> None:
    await stage.up("cpu-0#1", "gpu-0#2")
    await stage.up("cpu-0#1", "gpu-0#2")
    assert stage.dials == 2


async def test_workers_of_groups_that_are_never_called_are_not_dialled(stage: Stage) -> None:
    stage.tell("mail-0#1")
    await settled()
    assert stage.dials == 0


# -- what became of calls whose worker died


async def lose(stage: Stage, worker: Worker) -> None:
    """Its link ends; nobody has said yet why."""
    assert worker.link is not None
    worker.link.close()
    await asyncio.sleep(0.01)
    await settled()


def died(stage: Stage, worker: Worker, *begun: bytes, since: float = 0.0, suspects: tuple[bytes, ...] = ()) -> None:
    stage.caller.fate(Ended(str(worker.name), begun, since, suspects))


@pytest.mark.parametrize("told_first", [True, False])
async def test_what_was_not_begun_goes_to_another_worker_without_a_word(stage: Stage, told_first: bool) -> None:
    one, two = await stage.up("cpu-0#1", "cpu-1#2")
    calls = [stage.call(), stage.call()]
    await settled()
    mine = next(call for call in calls if call.id == one.asked[0])
    other = next(call for call in calls if call is not mine)
    stage.tell("cpu-1#2")
    if told_first:
        died(stage, one)
    await lose(stage, one)
    if not told_first:
        assert outcome(mine) is None
        died(stage, one)
    await settled()
    two.reply(other.id, b"other")
    await settled()
    assert two.asked == [other.id, mine.id], "the one that was to be there already waits in front"
    two.reply(mine.id, b"mine")
    await settled()
    assert outcome(mine) == b"mine"


async def test_what_was_begun_is_not_begun_again(stage: Stage) -> None:
    one, two = await stage.up("cpu-0#1", "cpu-1#2")
    calls = [stage.call("shop.thumbnail"), stage.call("shop.thumbnail")]
    await settled()
    stage.tell("cpu-1#2")
    await lose(stage, one)
    died(stage, one, one.asked[0])
    await settled()
    mine = next(call for call in calls if call.id == one.asked[0])
    assert outcome(mine) is WorkerDied
    assert mine.id not in two.asked


async def test_unless_twice_does_no_harm(stage: Stage) -> None:
    (one,) = await stage.up("cpu-0#1")
    call = stage.call("shop.render", body=b"scene")
    await settled()
    stage.tell()
    await lose(stage, one)
    died(stage, one, call.id)
    (two,) = await stage.up("cpu-0#2")
    assert two.asked == [call.id]
    assert two.heard_frames[0].body == b"scene"
    stage.tell()
    await lose(stage, two)
    died(stage, two, call.id)
    assert outcome(call) is WorkerDied, "and not a third time"


async def test_what_may_have_been_begun_once_is_never_said_to_be_harmless(stage: Stage) -> None:
    (one,) = await stage.up("cpu-0#1")
    call = stage.call("shop.render", timeout=3.0)
    await settled()
    stage.tell()
    await lose(stage, one)
    died(stage, one, call.id)
    stage.later(3.1)
    assert outcome(call) is WorkerDied, "it waited in vain for another worker; that it expired is half of the truth"


async def test_a_call_whose_workers_are_gone_before_they_begin_is_given_up_after_two(stage: Stage) -> None:
    (one,) = await stage.up("cpu-0#1")
    call = stage.call()
    await settled()
    stage.tell()
    await lose(stage, one)
    died(stage, one)
    (two,) = await stage.up("cpu-0#2")
    stage.tell()
    await lose(stage, two)
    died(stage, two)
    assert outcome(call) is WorkerGone


async def test_what_is_older_than_the_ledger_remembers_is_unknown(stage: Stage) -> None:
    (one,) = await stage.up("cpu-0#1")
    call = stage.call()
    await settled()
    stage.tell()
    await lose(stage, one)
    died(stage, one, since=stage.time + 1)
    assert outcome(call) is LinkLost


async def test_a_retry_needs_something_saved(stage: Stage) -> None:
    outcomes = []
    for life in range(1, 14):
        (worker,) = await stage.up(f"cpu-0#{2 * life}")
        call = stage.call("shop.render")
        await settled()
        stage.tell()
        await lose(stage, worker)
        died(stage, worker, call.id)
        outcomes.append(outcome(call))
        stage.caller.cancel(call)
    assert outcomes[:9] == [None] * 9
    assert outcomes[-1] is WorkerDied


async def test_a_call_that_a_worker_crashed_of_is_told_of_and_the_like_of_it_refused(stage: Stage) -> None:
    (one,) = await stage.up("cpu-0#1")
    call = stage.call(body=b"poison")
    await settled()
    stage.tell()
    await lose(stage, one)
    died(stage, one, call.id, suspects=(call.id,))
    assert outcome(call) is WorkerDied
    (suspected,) = stage.said
    assert isinstance(suspected, Suspected)
    stage.caller.fate(Quarantined(suspected.node, suspected.mark, 60.0))
    (two,) = await stage.up("cpu-0#2")
    with pytest.raises(QuarantinedError):
        stage.call(body=b"poison")
    for harmless in (stage.call(body=b"poison?"), stage.call("shop.render", body=b"poison")):
        await settled()
        two.reply(harmless.id, b"fine")
        await settled()
    stage.later(61.0)
    stage.call(body=b"poison")


@pytest.mark.parametrize("left", ["hung up", "timed out"])
@pytest.mark.parametrize("when", ["before the link ended", "before the word came", "after the word came"])
async def test_a_caller_that_leaves_early_does_not_get_its_call_out_of_suspicion(
    stage: Stage, left: str, when: str
) -> None:
    def leave() -> None:
        if left == "hung up":
            stage.caller.cancel(call)
        else:
            stage.later(0.2)

    (one,) = await stage.up("cpu-0#1")
    call = stage.call(body=b"poison", timeout=0.15)
    await settled()
    stage.tell()
    if when == "before the link ended":
        leave()
    if when == "after the word came":  # and before the link ended
        died(stage, one, call.id, suspects=(call.id,))
        leave()
    await lose(stage, one)
    if when == "before the word came":
        leave()
    if when != "after the word came":
        died(stage, one, call.id, suspects=(call.id,))
    assert outcome(call) is (Cancelled if left == "hung up" else CallTimeout)
    (suspected,) = stage.said
    assert suspected == Suspected("shop.thumbnail", mark_of(call.meta, b"poison"))


@pytest.mark.usefixtures("unharmed")
async def test_a_call_is_gone_once_nobody_waits_for_it_and_no_worker_has_it(stage: Stage) -> None:
    gone: list[str] = []

    def call(name: str) -> Call:
        made = stage.call()
        made.future.add_done_callback(lambda _: stage.caller.when_gone(made, lambda: gone.append(name)))
        return made

    async def after() -> list[str]:
        await settled()
        told, gone[:] = gone[:], []
        return told

    (worker,) = await stage.up("cpu-0#1")
    answered, waits = call("answered"), call("waits")
    await settled()
    stage.caller.cancel(waits)
    assert await after() == ["waits"], "it was never sent"
    worker.reply(answered.id)
    assert await after() == ["answered"]
    left = call("left")
    await settled()
    stage.caller.cancel(left)
    assert await after() == []
    worker.reply(left.id)
    assert await after() == ["left"]
    late = call("late")
    await settled()
    stage.later(11.0)
    assert (outcome(late), await after()) == (CallTimeout, [])
    worker.not_started(late.id, NotStarted.CANCELLED)
    assert await after() == ["late"]
    for name, word in (("dead", True), ("unknown", False)):
        lost = call(name)
        await settled()
        stage.caller.cancel(lost)
        stage.tell()
        await lose(stage, worker)
        assert await after() == []
        if word:
            died(stage, worker, lost.id)
        else:
            stage.later(PATIENCE + 0.1)
        assert await after() == [name]
        (worker,) = await stage.up(f"cpu-0#{2 + word}")
    again = call("again")
    await settled()
    stage.tell()
    await lose(stage, worker)
    died(stage, worker)
    assert await after() == [], "it is to go to another worker"
    (worker,) = await stage.up("cpu-0#9")
    worker.reply(again.id)
    assert (await after(), outcome(again)) == (["again"], b"")


async def test_what_nobody_waits_for_is_kept_no_longer_than_its_worker_has_it(stage: Stage) -> None:
    (worker,) = await stage.up("cpu-0#1")
    sent, waiting, lost = stage.call(body=b"sent"), stage.call(body=b"waits"), stage.call(body=b"lost")
    await settled()
    for call in (sent, waiting):
        stage.caller.cancel(call)
    assert (sent.body, waiting.body) == (b"sent", b"")
    worker.not_started(sent.id, NotStarted.CANCELLED)
    await settled()
    stage.caller.cancel(lost)
    gone = [weakref.ref(sent.future), weakref.ref(lost.future)]
    stage.tell()
    await lose(stage, worker)
    del call, sent
    assert gone[0]() is None
    stage.later(PATIENCE + 0.1)
    del lost
    assert gone[1]() is None, "nobody said what became of it, and nobody waits for that"


async def test_the_supervisor_hears_of_a_call_that_its_worker_does_not_give_up(stage: Stage) -> None:
    (worker,) = await stage.up("cpu-0#1")
    calls = [stage.call(), stage.call()]
    await settled()
    for call in calls:
        stage.caller.cancel(call)
    await settled()
    stage.later(1.0)
    assert stage.said == [Abandoned("cpu-0#1", calls[0].id)], "the other had not been sent"
    stage.later(2.0)
    assert len(stage.said) == 1
    assert worker.heard_of(Kind.CANCEL) == [calls[0].id]


async def test_and_not_of_one_that_it_gives_up(stage: Stage) -> None:
    (worker,) = await stage.up("cpu-0#1")
    call = stage.call()
    await settled()
    stage.caller.cancel(call)
    await settled()
    worker.not_started(call.id, NotStarted.CANCELLED)
    await settled()
    stage.later(1.0)
    assert stage.said == []


async def test_close_fails_whatever_waits(stage: Stage) -> None:
    (worker,) = await stage.up("cpu-0#1")
    calls = [stage.call(), stage.call()]
    await settled()
    await stage.caller.close()
    await settled()
    assert [outcome(call) for call in calls] == [LinkLost, LinkLost]
    assert worker.link is None
    assert (worker.lives, stage.dials) == (1, 1)


async def test_an_answer_that_waited_for_a_caller_who_slept_is_an_answer(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (worker,) = await stage.up("cpu-0#1")
    call = stage.call()
    await settled()
    clock = boot_ms()
    worker.reply(call.id, b"yes")
    monkeypatch.setattr(link_module, "boot_ms", lambda: clock + TERMS.ttl_ms + 5000)
    await settled()
    assert outcome(call) == b"yes"
    assert worker.lives == 1
    assert worker.link is not None


async def test_a_silent_worker_is_asked_again_before_long(stage: Stage) -> None:
    """A READY that never comes costs a wait and not a worker."""
    (worker,) = await stage.up("cpu-0#1")
    call = stage.call(timeout=1000.0)
    await settled()
    worker.not_started(call.id)
    await settled()
    for _ in range(30):
        stage.later(0.02)
    await settled()
    assert worker.asked == [call.id, call.id]
