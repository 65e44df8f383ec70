"""The pipelines that lead through an exec worker: what it takes from others of its kind, and where its results go."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

import anyio

from exec_worker.answers import fail, not_begun, not_started, place_free, reply
from exec_worker.binding import Encoded
from exec_worker.engine import Engine, Failure
from exec_worker.staged import StagedCall
from ipc.clock import now
from ipc.errors import Cancelled, LinkLost, StageUnreached
from ipc.messages.calls import NotStarted
from ipc.names import parse_worker
from ipc.wire.frame import Refusal, Refuse

if TYPE_CHECKING:
    from collections.abc import Collection

    from exec_worker.asked import AskedCall
    from exec_worker.onward import Onward
    from ipc.link import Link
    from ipc.messages.calls import RequestMeta


MAX_DENIED = 1024
"""Calls of which is remembered that their origin was told that they are not here."""
DENIED_FOR = 2.0
"""For how long, seconds: what a worker wrote before it died has been read by then."""
GONE = Failure(Cancelled.code, "nobody waits for it any more")
"""Why a call is not sent on."""


class Links(Protocol):
    """Who is connected."""

    def web_link(self, peer: bytes) -> Link | None:
        """The best link of a web worker, by what handshakes say of it."""
        ...


class Rows:
    """Stages of one group run back to back; for those of the next it has `onward`."""

    def __init__(self, engine: Engine, rows: Collection[tuple[str, ...]] = ()) -> None:
        """`rows` are what workers of other groups may send on to this one."""
        self._engine, self._rows = engine, frozenset(rows)
        self._denied: OrderedDict[bytes, float] = OrderedDict()
        self._over: dict[bytes, StagedCall] = {}  # no more than there are lanes, or calls in their batches
        self._links: Links | None = None
        self._onward: Onward | None = None

    def open(self, links: Links, onward: Onward | None) -> None:
        """There are links from now on, and a way to other groups if a pipeline leads there."""
        self._links, self._onward = links, onward

    async def close(self, patience: float) -> None:
        """Nothing more is done here: wait, for so many seconds, until all that was sent on has been taken."""
        if self._onward is not None:
            with anyio.move_on_after(patience):
                await self._onward.settled()
            await self._onward.close()

    def deny(self, origin: Link, call_id: bytes) -> None:
        """An origin asks for a call whose sender is dead, and it is not here: what comes of it later comes too late."""
        if call_id in self._over or (self._onward is not None and self._onward.has(call_id)):
            return
        self._denied[call_id] = now()
        if len(self._denied) > MAX_DENIED:
            self._denied.popitem(last=False)
        not_started(origin, call_id, NotStarted.CANCELLED)

    def origin(self, link: Link, meta: RequestMeta, call_id: bytes) -> Link | None:
        """Whom to answer; None if it is not connected. Refuse for whom `link` may not speak for.

        A web worker asks for itself. Another exec worker sends on what a web worker asked, along a declared row.
        """
        if link.role != "exec":
            _check_reply_to(link, meta.reply_to)
            return link
        if (meta.node, *(stage.node for stage in meta.rest)) not in self._rows:
            raise Refuse(Refusal.UNAUTHORISED)
        if self._denied and now() - self._denied.get(call_id, -math.inf) < DENIED_FOR:
            return None
        return self._links.web_link(_peer(meta.reply_to)) if self._links is not None else None

    def next_here(self, call: StagedCall, result: Encoded | Failure | None) -> bool:
        """Whether the next stage runs here too; then `call` is at it. In the call's lane."""
        if not isinstance(result, Encoded) or not call.meta.rest:
            return False
        grace = self._engine.cancel_grace(call.meta.rest[0].node)
        if grace is None:
            return False
        call.advance(result)
        call.cancel_grace = grace
        return True

    def over(self, call: StagedCall) -> None:
        """Its stages here are done, and it is still here until it is answered. Before anybody else forgets it."""
        self._over[call.id] = call

    def answer(
        self, call: StagedCall, result: Encoded | Failure | None, room: int, times: tuple[int, int], flags: int
    ) -> None:
        """Say what came of the stages that run here, to whom it matters. In the call's lane."""
        try:
            self._answer(call, result, room, times, flags)
        finally:
            self._over.pop(call.id, None)

    def _answer(
        self, call: StagedCall, result: Encoded | Failure | None, room: int, times: tuple[int, int], flags: int
    ) -> None:
        client, origin = call.client, call.origin
        if result is None:
            not_started(client, call.id, not_begun(call))
            return
        if origin is not client and not origin.open:
            fail(client, call.id, Failure(LinkLost.code, "its origin is gone", call.meta.node), room, flags)
            return
        theirs = flags if origin is client else 0
        if isinstance(result, Failure):
            fail(origin, call.id, result._replace(stage=call.meta.node), room, theirs)
        elif not call.meta.rest:
            reply(origin, self._engine, call, result, room, times, theirs)
        elif call.seen.cancelled or not origin.open:
            fail(origin, call.id, GONE._replace(stage=call.meta.node), room, theirs)
        elif self._onward is not None:
            self._onward.forward(call, result, room, theirs)
        else:
            stage = call.meta.rest[0].node
            fail(origin, call.id, Failure(StageUnreached.code, f"{stage} is out of reach", stage), room, theirs)
        if origin is not client:
            place_free(client, call.id, room, flags)

    def dropped(self, call: AskedCall) -> None:
        """It was held, and whoever sent it here is gone: its origin need not wait for it."""
        if isinstance(call, StagedCall) and call.origin is not call.client:
            node = call.meta.node
            fail(call.origin, call.id, Failure(StageUnreached.code, f"{node} was not begun", node), 1, 0)

    def left(self, origin: Link, call_id: bytes | None = None) -> None:
        """Nobody waits at `origin` any more, for one call that was sent on, or is about to be, or for any."""
        for call in [self._over.get(call_id)] if call_id is not None else list(self._over.values()):
            if call is not None and call.origin is origin:
                call.seen.cancelled = True
        if self._onward is not None:
            self._onward.call_off(origin, call_id)


def _peer(name: str) -> bytes:
    """A worker as handshakes name it."""
    try:
        worker = parse_worker(name)
    except ValueError:
        raise Refuse(Refusal.UNAUTHORISED) from None
    return worker.wire_id + worker.wire_incarnation


def _check_reply_to(link: Link, reply_to: str) -> None:
    """Answers go to whoever asked: on a web worker's link only that worker may be named."""
    if _peer(reply_to) != link.peer:
        raise Refuse(Refusal.UNAUTHORISED)
    link.state = reply_to
