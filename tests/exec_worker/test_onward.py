"""An exec worker that sends a call on: whom it names to the origin, and what it says if nobody takes it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "ipc"))

import test_caller as callers
from test_caller import LIMITS, TERMS, settled

from exec_worker.binding import Encoded
from exec_worker.onward import Onward
from exec_worker.staged import StagedCall
from ipc.clock import now
from ipc.flow import put_off
from ipc.messages.calls import (
    Encoding,
    FailureMeta,
    Flag,
    ForwardedMeta,
    Kind,
    NotStarted,
    RequestMeta,
    decode_failure,
    decode_forwarded,
    decode_request,
)
from ipc.messages.calls import Stage as Following
from ipc.messages.lifeline import Ended, Peer, Peers
from ipc.messages.settings import ExecSettings
from ipc.names import WorkerName, new_call_id
from ipc.verdicts import ABANDON_AFTER
from ipc.wire.keys import leaf_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ME = WorkerName("cpu", 0, 1)
B, B2 = "gpu-0#1", "gpu-1#1"


class Origin:
    """The link of the web worker that waits."""

    open = True

    def __init__(self) -> None:
        self.said: list[tuple[str, Any, int]] = []

    def send(self, kind: int, _call_id: bytes, meta: bytes, _body: bytes, flags: int) -> None:
        decode = decode_forwarded if kind == Kind.FORWARDED else decode_failure
        self.said.append((Kind(kind).name, decode(meta), flags))


class Stage(callers.Stage):
    """The worker's calling side, and the workers of the next group."""

    def new_caller(self) -> Onward:  # type: ignore[override]
        settings = ExecSettings((), forwards={"shop.train": "gpu"})
        return Onward(ME, TERMS, LIMITS, settings, self.connect, self.told)

    def tell(self, *names: str) -> None:
        peers = []
        for name in names:
            worker = self.workers.setdefault(name, callers.Worker(name))
            peers.append(Peer(name, name, TERMS.epoch, leaf_key(worker.secret, ME, "exec")))
        self.caller.update(Peers(tuple(peers)))

    async def forward(self, origin: Origin, seconds: float = 10.0, body: bytes = b"half done") -> StagedCall:
        call = self.hand_over(origin, seconds, body)
        await settled()
        return call

    def hand_over(self, origin: Origin, seconds: float = 10.0, body: bytes = b"half done") -> StagedCall:
        meta = RequestMeta("shop.thumbnail", "r", "t", "web-0#1", rest=(Following("shop.train"), Following("shop.x")))
        call = StagedCall(origin, origin, new_call_id(), meta, b"", now() + seconds, now(), False)
        self.caller.forward(call, Encoded(Encoding.RAW, 0, "", (), body), 3, int(Flag.READY))  # type: ignore[attr-defined]
        return call


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(callers.module, "SWEEP", 3600.0)
    stage = Stage()
    yield stage
    await stage.caller.close()
    await settled()
    assert stage.caller._outbound == {}  # type: ignore[attr-defined]


@pytest.fixture
def origin() -> Origin:
    return Origin()


FREE = ("FORWARDED", ForwardedMeta(3, B), Flag.READY)


async def test_the_next_worker_is_named_and_asked_for_what_is_left(stage: Stage, origin: Origin) -> None:
    (gpu,) = await stage.up(B)
    call = await stage.forward(origin)
    assert origin.said == [FREE]
    (frame,) = gpu.heard_frames
    meta = decode_request(frame.meta)
    assert (frame.call_id, frame.body, 9000 < frame.budget_ms <= 10_000) == (call.id, b"half done", True)
    assert (meta.node, meta.reply_to, meta.trace, meta.encoding) == ("shop.train", "web-0#1", "t", Encoding.RAW)
    assert [each.node for each in meta.rest] == ["shop.x"]
    gpu.reply(call.id)
    await settled()
    assert origin.said == [FREE]


async def test_its_place_is_free_although_it_waits_for_the_next_worker(stage: Stage, origin: Origin) -> None:
    await stage.forward(origin)
    assert origin.said == [("FORWARDED", ForwardedMeta(3, ""), Flag.READY)]
    (gpu,) = await stage.up(B)
    assert origin.said[1:] == [("FORWARDED", ForwardedMeta(3, B), 0)]
    gpu.reply(gpu.asked[0])
    await settled()


async def test_whoever_gives_it_back_is_followed_by_another_name(stage: Stage, origin: Origin) -> None:
    workers = await stage.up(B, B2)
    call = await stage.forward(origin)
    first, second = sorted(workers, key=lambda worker: not worker.asked)
    first.not_started(call.id)
    await settled()
    assert [meta.to for _, meta, _ in origin.said] == [str(first.name), str(second.name)]
    second.reply(call.id)
    await settled()


async def test_a_call_that_cannot_be_taken_yet_does_not_keep_others_waiting(stage: Stage, origin: Origin) -> None:
    (gpu,) = await stage.up(B)
    call = await stage.forward(origin)
    gpu.not_started(call.id, NotStarted.NOT_YET)
    await settled()
    other = await stage.forward(Origin())
    assert gpu.asked == [call.id, other.id]
    gpu.reply(other.id)
    await settled()
    stage.caller._look(now() + put_off.FIRST)
    await settled()
    assert gpu.asked == [call.id, other.id, call.id]
    gpu.reply(call.id)
    await settled()
    assert await failures(origin) == []


async def test_a_call_that_nobody_ever_takes_is_given_up(
    stage: Stage, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(put_off, "TRIES", 2)
    (gpu,) = await stage.up(B)
    call = await stage.forward(origin)
    for _ in range(3):
        gpu.not_started(call.id, NotStarted.NOT_YET)
        await settled()
        stage.caller._look(now() + put_off.LONGEST)
        await settled()
    assert gpu.asked == [call.id] * 3
    assert [failure.code for failure in await failures(origin)] == ["stage_unreached"]


@pytest.mark.parametrize("why", ["origin", "time"])
async def test_a_call_that_is_put_off_is_not_tried_again_in_vain(stage: Stage, origin: Origin, why: str) -> None:
    (gpu,) = await stage.up(B)
    call = await stage.forward(origin, seconds=1.0)
    gpu.not_started(call.id, NotStarted.NOT_YET)
    await settled()
    if why == "origin":
        stage.caller.call_off(origin)  # type: ignore[attr-defined]
    stage.caller._look(now() + 1.0)
    await settled()
    assert gpu.asked == [call.id]
    assert [failure.code for failure in await failures(origin)] == ([] if why == "origin" else ["timeout"])
    following = await stage.forward(Origin())
    assert gpu.asked[1:] == [following.id]
    gpu.reply(following.id)
    await settled()


@pytest.mark.parametrize("state", ["waits", "is sent", "is put off"])
async def test_who_leaves_speaks_only_for_calls_that_nobody_has(stage: Stage, origin: Origin, state: str) -> None:
    if state != "waits":
        (gpu,) = await stage.up(B)
    call = await stage.forward(origin)
    if state == "is put off":
        gpu.not_started(call.id, NotStarted.NOT_YET)
        await settled()
    await stage.caller.close()
    codes = [failure.code for failure in await failures(origin)]
    assert codes == ([] if state == "is sent" else ["stage_unreached"])


async def failures(origin: Origin) -> list[FailureMeta]:
    await settled()
    return [meta for kind, meta, _ in origin.said if kind == "FAILURE"]


async def test_nobody_is_told_that_nothing_was_done(stage: Stage, origin: Origin) -> None:
    for _ in range(LIMITS.queue_calls):
        await stage.forward(Origin())
    await stage.forward(origin)
    (failure,) = await failures(origin)
    assert (failure.code, failure.stage) == ("stage_unreached", "shop.train")
    assert origin.said[0][2] == Flag.READY
    await stage.caller.close()


async def test_who_finds_nobody_in_time_says_that_it_is_over(stage: Stage, origin: Origin) -> None:
    await stage.forward(origin, seconds=0.05)
    await asyncio.sleep(0.06)
    stage.caller._sweep()
    (failure,) = await failures(origin)
    assert (failure.code, failure.stage) == ("timeout", "shop.train")


async def test_a_result_that_no_frame_carries_is_its_own_stages_fault(stage: Stage, origin: Origin) -> None:
    await stage.forward(origin, body=bytes(TERMS.max_payload + 1))
    (failure,) = await failures(origin)
    assert (failure.code, failure.stage) == ("bad_result", "shop.thumbnail")


async def test_a_death_is_told_with_the_stage(stage: Stage, origin: Origin) -> None:
    (gpu,) = await stage.up(B)
    call = await stage.forward(origin)
    gpu.link.abort()
    stage.caller.fate(Ended(B, (call.id,), 0.0))
    (failure,) = await failures(origin)
    assert (failure.code, failure.stage) == ("worker_died", "shop.train")


async def test_it_accuses_nobody_for_that_is_for_web_workers_to_do(stage: Stage, origin: Origin) -> None:
    (gpu,) = await stage.up(B)
    call = await stage.forward(origin)
    stage.caller.fate(Ended(B, (call.id,), 0.0, (call.id,)))
    gpu.link.abort()
    assert [failure.code for failure in await failures(origin)] == ["worker_died"]
    await stage.up(B2)
    call = await stage.forward(origin)
    stage.caller.call_off(origin, call.id)  # type: ignore[attr-defined]
    await asyncio.sleep(ABANDON_AFTER + 0.01)
    stage.caller._sweep()
    assert (stage.said, len(stage.moved)) == ([], 2)


async def test_at_its_deadline_nobody_is_told_that_its_caller_left(stage: Stage, origin: Origin) -> None:
    (gpu,) = await stage.up(B)
    call = await stage.forward(origin, seconds=1.0)
    stage.caller._look(now() + 1.0)
    (failure,) = await failures(origin)
    assert (failure.code, gpu.asked, gpu.heard_of(Kind.CANCEL)) == ("timeout", [call.id], [])
    gpu.reply(call.id)
    await settled()


async def test_what_its_origin_calls_off_is_called_off_there(stage: Stage, origin: Origin) -> None:
    (gpu,) = await stage.up(B)
    call = await stage.forward(origin)
    stage.caller.call_off(Origin(), call.id)  # type: ignore[attr-defined]
    await settled()
    assert gpu.heard_of(Kind.CANCEL) == []
    stage.caller.call_off(origin, call.id)  # type: ignore[attr-defined]
    assert await failures(origin) == []
    assert gpu.heard_of(Kind.CANCEL) == [call.id]
    gpu.not_started(call.id, NotStarted.CANCELLED)
    await settled()


@pytest.mark.parametrize("how", ["one", "any", "closed"])
async def test_what_is_called_off_before_anybody_is_asked_goes_to_nobody(
    stage: Stage, origin: Origin, how: str
) -> None:
    """The lane has handed it over, and the loop has not come to it."""
    (gpu,) = await stage.up(B)
    call = stage.hand_over(origin)
    assert stage.caller.has(call.id)  # type: ignore[attr-defined]
    origin.open = how != "closed"
    stage.caller.call_off(Origin(), call.id)  # type: ignore[attr-defined]
    if origin.open:
        stage.caller.call_off(origin, call.id if how == "one" else None)  # type: ignore[attr-defined]
    (failure,) = await failures(origin)
    assert (failure.code, failure.room, origin.said[0][2]) == ("cancelled", 3, Flag.READY)
    assert gpu.asked == []
    assert not stage.caller.has(call.id)  # type: ignore[attr-defined]


async def test_one_id_is_on_its_way_once(stage: Stage, origin: Origin) -> None:
    (gpu,) = await stage.up(B)
    call = await stage.forward(origin)
    again = Origin()
    call.meta = RequestMeta("shop.thumbnail", "r", "t", "web-0#1", rest=(Following("shop.train"),))
    call.origin = again  # type: ignore[assignment]
    stage.caller.forward(call, Encoded(Encoding.RAW, 0, "", (), b""), 1, 0)  # type: ignore[attr-defined]
    assert [failure.code for failure in await failures(again)] == ["stage_unreached"]
    assert gpu.asked == [call.id]
    gpu.reply(call.id)
    await settled()
