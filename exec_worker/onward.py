"""Sends a pipeline's calls on to workers of other groups, and tells their origins to whom."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from ipc.caller import Caller
from ipc.clock import now
from ipc.errors import (
    BadResult,
    CallTimeout,
    Cancelled,
    Expired,
    IpcError,
    LinkLost,
    Rejected,
    StageUnreached,
    TooLarge,
)
from ipc.messages.calls import FailureMeta, ForwardedMeta, Kind, encode_meta, sentence
from ipc.messages.lifeline import Moved, Seen
from ipc.sending import Sending

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exec_worker.binding import Encoded
    from exec_worker.staged import StagedCall
    from ipc.call import Answer, Call
    from ipc.flow.dispatch import Send
    from ipc.flow.pending import Pending
    from ipc.link import Link
    from ipc.mesh import Connect
    from ipc.messages.lifeline import FromChild
    from ipc.messages.settings import ExecSettings, Limits
    from ipc.names import WorkerName
    from ipc.wire.session import Terms

_FAILURE, _FORWARDED = int(Kind.FAILURE), int(Kind.FORWARDED)


class Outbound:
    """One call on its way from here to the next worker, and what its origin hears of that."""

    __slots__ = ("_flags", "_id", "_room", "before", "call", "origin", "stage", "told")

    def __init__(self, call: StagedCall, before: str, room: int, flags: int) -> None:
        """`before` is the stage whose result it takes along; `room` and `flags` are for who had its place here."""
        self.origin = call.origin
        self.before, self.stage = before, call.meta.node
        self.call: Call | None = None
        self.told = False
        """Whether its origin knows that its place here is free."""
        self._id, self._room, self._flags = call.id, room, flags

    def tell(self, to: str) -> None:
        """Name the worker that has it next; empty if it waits for one."""
        self._say(_FORWARDED, encode_meta(ForwardedMeta(self._room, to)))

    def fail(self, error: IpcError) -> None:
        """Say why nobody has it next, or what became of it there."""
        stage, detail = self.stage, f"{self.stage}: {error}"
        if isinstance(error, TooLarge):
            stage, detail = self.before, f"{self.before} gave {error}"
        self._say(_FAILURE, encode_meta(FailureMeta(self._room, _code_of(error), sentence(detail), stage)))

    def _say(self, kind: int, meta: bytes) -> None:
        flags, self._flags, self.told = self._flags, 0, True
        self.origin.send(kind, self._id, meta, b"", flags)


class Naming(Sending):
    """The name goes first: whoever is sent a call has been named to its origin, even if nothing more follows."""

    def __init__(self, pending: Pending[Call], outbound: Mapping[bytes, Outbound]) -> None:
        super().__init__(pending)
        self._outbound = outbound

    def one(self, send: Send[Call], time: float) -> bool:
        """See there."""
        if (out := self._outbound.get(send.call.id)) is not None:
            out.tell(send.seat.name)
        return super().one(send, time)


class Onward(Caller):
    """The calling side of an exec worker. What comes of a call goes to its origin: the answers here are empty."""

    def __init__(
        self,
        me: WorkerName,
        terms: Terms,
        limits: Limits,
        settings: ExecSettings,
        connect: Connect,
        tell: Callable[[FromChild], object],
    ) -> None:
        def links(message: FromChild) -> None:
            # Who is to be ended or refused is for web workers to say, and the supervisor hears it from nobody else.
            if isinstance(message, (Moved, Seen)):
                tell(message)

        self._outbound: dict[bytes, Outbound] = {}
        super().__init__(
            me, terms._replace(client="exec"), limits, settings.forwards, connect, links, settings.repeatable
        )
        self._leaving = False
        self._coming: dict[bytes, StagedCall] = {}  # lanes have handed them over, and this loop has not come to them

    def new_sending(self, pending: Pending[Call]) -> Sending:
        """See there."""
        return Naming(pending, self._outbound)

    def forward(self, call: StagedCall, result: Encoded, room: int, flags: int) -> None:
        """Have a worker of another group go on with a call that is done here. From any thread."""
        self._coming[call.id] = call
        self._loop.call_soon_threadsafe(self._forward, call, result, room, flags)

    def call_off(self, origin: Link, call_id: bytes | None = None) -> None:
        """Nobody waits at `origin` any more, for one call or for any."""
        for out in [self._outbound.get(call_id)] if call_id is not None else list(self._outbound.values()):
            if out is not None and out.origin is origin and out.call is not None:
                self.cancel(out.call)
        for call in [self._coming.get(call_id)] if call_id is not None else list(self._coming.values()):
            if call is not None and call.origin is origin:
                call.seen.cancelled = True

    def has(self, call_id: bytes) -> bool:
        """Whether it is on its way from here."""
        return call_id in self._coming or call_id in self._outbound

    async def close(self) -> None:
        """See there. Who has been sent a call goes on, and answers its origin."""
        self._leaving = True
        await super().close()

    async def settled(self) -> None:
        """Wait until nothing is on its way any more."""
        while self._coming or self.waiting:  # noqa: ASYNC110 - once in a life
            await asyncio.sleep(0.005)

    def _forward(self, call: StagedCall, result: Encoded, room: int, flags: int) -> None:
        self._coming.pop(call.id, None)
        before = call.meta.node
        call.advance(result)
        out = Outbound(call, before, room, flags)
        if call.seen.cancelled or not call.origin.open:
            out.fail(Cancelled("nobody waits for it any more"))
            return
        if self._outbound.setdefault(call.id, out) is not out:
            out.fail(StageUnreached("a call of that id is on its way from here already"))
            return
        try:
            out.call = self.call(call.meta.node, call.id, encode_meta(call.meta), call.body, call.deadline - now())
        except IpcError as error:
            del self._outbound[call.id]
            out.fail(error)
            return
        if not out.told:
            out.tell("")
        out.call.future.add_done_callback(partial(self._done, call.id, out))

    def _overdue(self, call: Call) -> None:
        """Whoever has it knows its deadline too. Told that its caller has left, it would say so, and that is not so."""
        call.leave(CallTimeout("the node did not answer in time"))

    def _done(self, call_id: bytes, out: Outbound, future: asyncio.Future[Answer]) -> None:
        del self._outbound[call_id]
        error = future.exception()
        if self._leaving and isinstance(error, LinkLost):
            if out.call is not None and out.call.seat is not None and out.call.link is not None:
                return
            error = StageUnreached("who would have sent it on is leaving")
        if isinstance(error, IpcError) and not (isinstance(error, Cancelled) and out.told):
            out.fail(error)


def _code_of(error: IpcError) -> str:
    """What the origin is told: that nothing was done is not true any more, whatever the last stage says."""
    if isinstance(error, Expired):
        return CallTimeout.code
    if isinstance(error, TooLarge):
        return BadResult.code
    return StageUnreached.code if isinstance(error, Rejected) else error.code
