"""Who sees everything and believes nothing: what was sealed, accepted, run and answered, and what must hold of it.

I1  each number of each direction of each session is accepted at most once
I2  what is accepted was sealed, byte for byte, by the worker whom the link names, and is not older than ttl
I3  no call runs twice
I4  every call gets one verdict, true, and in time
I5  tables and buffers stay within their bounds
I6  once the faults have stopped, everybody is served again
"""

from __future__ import annotations

import struct
from collections import Counter
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from exec_worker.admission import MAX_ROOM
from ipc.caller import Caller
from ipc.errors import BadResult, Cancelled, IpcError, NodeError, OutcomeUnknown, Rejected
from ipc.messages.calls import Kind
from ipc.names import parse_worker
from ipc.responder import MAX_EPOCHS, MAX_HALF_OPEN, Responder
from ipc.wire.frame import HEADER, PREFIX, Stale
from ipc.wire.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtual import Process, World

LATE = 1.0
"""A verdict may come so much later than the deadline, seconds."""
MISMEASURED = 0.01
"""Clocks are read in whole milliseconds, seconds. On one host there is one clock, and nothing to measure."""
NODE = struct.Struct(">dB")
"""The body of every call: how long the node takes, and what becomes of it."""
RUNS, FAILS, HOLDS, TOO_LARGE, DIES = range(5)


def answer_to(call_id: bytes, body: bytes) -> bytes:
    """What nothing but this call can cause."""
    return sha256(b"answer" + call_id + bytes(body)).digest()


class Asked:
    """One call, and all that is known of it."""

    def __init__(self, web: Process, call_id: bytes, body: bytes, deadline: float) -> None:
        self.web, self.id, self.body, self.deadline = web, call_id, body, deadline
        self.runs: list[str] = []
        self.verdict: str = ""
        self.error: IpcError | None = None


class Witness:
    """One world's records."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sealed: dict[tuple[int, int], tuple[bytes, str, tuple[Any, ...], float]] = {}
        self.accepted: set[tuple[int, int]] = set()
        self.asked: dict[bytes, Asked] = {}
        self.verdicts: Counter[str] = Counter()
        self.ttl = 0.0
        self.too_old: set[bytes] = set()
        self._sealer = ""
        self.lenient: dict[str, float] = {}
        """Until when, by its own clock, a process was away."""

    def fail(self, invariant: str, what: str) -> None:
        self.world.fail(f"{invariant}: {what}")

    # -- frames

    def watch(self, patch: Callable[[Any, str, Any], None]) -> None:
        """Look into every session and every link."""
        seal, opens = Session.parts, Session.open
        caller_heard, responder_heard = Caller.heard, Responder.heard

        def sealing(
            session: Session, kind: int, now_ms: int, call_id: bytes = bytes(16), meta: bytes = b"",
            body: Any = b"", flags: int = 0, budget_ms: int = 0, seq: int = 0,
        ) -> Any:  # fmt: skip
            parts = seal(session, kind, now_ms, call_id, meta, body, flags, budget_ms, seq)
            said = (kind, flags, call_id, seq, budget_ms, bytes(meta), bytes(body))
            self.was_sealed(b"".join(parts)[PREFIX.size :], said)
            return parts

        def opening(session: Session, frame: Any, now_ms: int) -> Any:
            data = bytes(frame)
            try:
                opened = opens(session, frame, now_ms)
            except Stale as stale:
                self.was_accepted(data, tuple(stale.frame), too_old=True)
                raise
            self.was_accepted(data, tuple(opened), too_old=False)
            return opened

        def hearing(real: Any) -> Any:
            def heard(side: Any, link: Any, frame: Any) -> None:
                name = parse_worker(self._sealer)
                if link.peer != name.wire_id + name.wire_incarnation:
                    self.fail("I2", f"a frame of {name} was heard on another's link")
                real(side, link, frame)

            return heard

        patch(Session, "parts", sealing)
        patch(Session, "open", opening)
        patch(Caller, "heard", hearing(caller_heard))
        patch(Responder, "heard", hearing(responder_heard))

    def was_sealed(self, frame: bytes, said: tuple[Any, ...]) -> None:
        header = HEADER.unpack_from(frame)
        key = header[8], header[9]
        if key in self.sealed:
            self.fail("I1", f"number {key[1]} was used twice by its sender")
        assert self.world.current is not None
        self.sealed[key] = frame, self.world.current.name, said, self.world.now + self.world.suspended
        self.world.tell("seal", said[0], said[2].hex()[:8], key[1])

    def was_accepted(self, frame: bytes, opened: tuple[Any, ...], *, too_old: bool) -> None:
        header = HEADER.unpack_from(frame)
        key = header[8], header[9]
        if key in self.accepted:
            self.fail("I1", f"number {key[1]} was accepted twice")
        if key not in self.sealed:
            self.fail("I2", f"number {key[1]} was accepted and nobody had sealed it")
        sealed, self._sealer, said, when = self.sealed[key]
        if sealed != frame:
            self.fail("I2", "other bytes were accepted than were sealed")
        if tuple(bytes(each) if isinstance(each, memoryview) else each for each in opened[:7]) != said:
            self.fail("I2", "what was opened is not what was said")
        self.accepted.add(key)
        if too_old and said[0] == Kind.REQUEST:
            self.too_old.add(said[2])
        age = self.world.now + self.world.suspended - when
        if too_old != (age > self.ttl) and abs(age - self.ttl) > MISMEASURED:
            self.fail("I2", f"after {age:.3f} s of {self.ttl} a frame was {'' if too_old else 'not '}too old")

    # -- calls

    def begins(self, worker: Process, call_id: bytes) -> None:
        asked = self.asked[call_id]
        asked.runs.append(worker.name)
        self.world.tell("run", call_id.hex()[:8])
        if call_id in self.too_old:
            self.fail("I2", f"call {call_id.hex()[:8]} was too old when it came, and runs")
        if len(asked.runs) > 1:
            self.fail("I3", f"call {call_id.hex()[:8]} runs on {' and on '.join(asked.runs)}")

    def ends(self, asked: Asked, body: bytes | None, error: BaseException | None) -> None:
        """A call has its verdict."""
        name = "done" if error is None else type(error).__name__
        self.world.tell("verdict", asked.id.hex()[:8], name)
        if asked.verdict:
            self.fail("I4", f"call {asked.id.hex()[:8]} was {asked.verdict}, and then {name}")
        asked.verdict = name
        self.verdicts[name] += 1
        late = asked.web.now() - max(asked.deadline, self.lenient.get(asked.web.name, 0.0))
        if late > LATE:
            self.fail("I4", f"the verdict {name} came {late:.3f} s after the deadline")
        if error is None:
            if len(asked.runs) != 1:
                self.fail("I4", f"done, but it ran {len(asked.runs)} times")
            if body != answer_to(asked.id, asked.body):
                self.fail("I4", f"call {asked.id.hex()[:8]} got another's answer")
            return
        if not isinstance(error, IpcError):
            self.fail("I4", f"{error!r} is no verdict")
        assert isinstance(error, IpcError)
        asked.error = error
        if isinstance(error, (NodeError, BadResult)) and len(asked.runs) != 1:
            self.fail("I4", f"{name}, but it ran {len(asked.runs)} times")
        elif not isinstance(error, (NodeError, BadResult, Rejected, OutcomeUnknown, Cancelled)):
            self.fail("I4", f"{error!r} is nothing that can have happened")

    def at_the_end(self) -> None:
        """Also what happened after a verdict must agree with it."""
        for asked in self.asked.values():
            if not asked.verdict and asked.web.alive:
                self.fail("I4", f"call {asked.id.hex()[:8]} of {asked.web.name} never got a verdict")
            if isinstance(asked.error, Rejected) and asked.runs:
                self.fail("I4", f"{asked.verdict} says that call {asked.id.hex()[:8]} was not begun, but it ran")

    # -- tables

    def look(self, callers: list[Caller], responders: list[Responder], services: list[Any], limits: Any) -> None:
        """I5, at any moment."""
        for caller in callers:
            for group in caller._groups.values():
                dispatch = group.dispatch
                back = 4 * MAX_ROOM  # calls that were sent and given back have a place beside; the workers may be gone
                most = limits.queue_calls + back
                kept = sum(len(each.queue) for each in dispatch._line._classes)
                if not 0 <= dispatch.waiting <= most or kept > 2 * dispatch.waiting + 3 * 65:
                    self.fail("I5", f"{dispatch.waiting} calls wait, {kept} are kept")
                if not 0 <= dispatch.waiting_bytes <= limits.queue_bytes + back * limits.max_payload:
                    self.fail("I5", f"{dispatch.waiting_bytes} bytes wait")
        for responder in responders:
            if len(responder._half_open) > MAX_HALF_OPEN:
                self.fail("I5", f"{len(responder._half_open)} are half open")
            if len(responder._secrets) > MAX_EPOCHS:
                self.fail("I5", f"keys of {len(responder._secrets)} epochs are kept")
        for service in services:
            admission = service._admission
            calls = admission.held + len(admission.running)
            if len(service._calls) != calls or admission.held > MAX_ROOM + 1 or len(admission.running) > 1:
                self.fail("I5", f"{calls} calls are here, {admission.held} held; {len(service._calls)} are remembered")
