"""Which worker of a group gets which call: one web worker's view, next to nothing known, never a broker asked.

A call goes to a worker that seems free, else it waits here. A worker that was not free gives the call back, and says
READY when it is; so many web workers that know nothing of one another act together nearly as one queue. `room` is
what a worker last said it would take from us at once: more than one only while its calls are so short that the way
there and back would cost more than the wait.

Once calls wait, it learns how fast they are taken and how long they run. A call that would not be answered in time is
refused when it comes, not when its time is over; one that has waited too long makes place for the one behind it. What
is idle always gets a call: an estimate can only refuse while there is other work.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from ipc.errors import Busy, Expired
from ipc.flow.line import Line, Waiter
from ipc.flow.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from ipc.errors import Rejected


DOUBTS = 12
"""After so many looks at a worker that was busy and is silent since, it is asked again."""
CAUTION = 1.25
"""Calls are refused as if the wait were so many times what is expected of it: to be wrong the other way would cost a
worker's time, for a call that is started and not finished counts for nothing."""


class Queued(Waiter, Protocol):
    """What is to be known of a call."""

    node: str
    """What it asks for: calls of one node are thought to take alike."""
    deadline: float
    """When its caller leaves, monotonic seconds."""
    sent: float
    """When a worker was asked last."""


C = TypeVar("C", bound=Queued)


class Seat:
    """One worker as seen from here."""

    __slots__ = ("blocked", "doubts", "index", "name", "outstanding", "room")

    def __init__(self, name: str) -> None:
        self.name = name
        self.outstanding = 0
        self.room = 1
        self.blocked = False
        """It gave a call back and has not said READY since."""
        self.doubts = 0
        self.index = -1
        """Its place in the list of idle seats; -1 if it is not there."""

    def __repr__(self) -> str:
        return f"Seat({self.name}, {self.outstanding}/{self.room}{', blocked' if self.blocked else ''})"


class Send(NamedTuple, Generic[C]):
    """Send `call` to `seat`; `last_resort` tells it that we know of no other that is free."""

    seat: Seat
    call: C
    last_resort: bool


class Dispatch(Generic[C]):
    """The workers of one group and the calls that wait for one. Every method returns what is to be sent now."""

    def __init__(
        self,
        rng: Random,
        max_calls: int,
        max_bytes: int,
        turn_away: Callable[[C, Rejected], None],
        max_wait: float = inf,
    ) -> None:
        """`turn_away` is told of each call that waited and will not be sent. It must not call back.

        `max_wait` is the longest expected wait with which a call is let in, seconds.
        """
        self._rng = rng
        self._max_wait = max_wait
        self._turn_away = turn_away
        self._seats: dict[str, Seat] = {}
        self._idle: list[Seat] = []
        self._deep = 0  # seats whose room is more than one
        self._line: Line[C] = Line(max_calls, max_bytes)
        self._runs: dict[str, Runs] = {}  # at most one for each node of the group

    @property
    def seats(self) -> tuple[Seat, ...]:
        """Everybody who is up."""
        return tuple(self._seats.values())

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return self._line.calls

    @property
    def waiting_bytes(self) -> int:
        """How many bytes they keep."""
        return self._line.bytes

    # -- calls

    def submit(self, call: C, now: float) -> Send[C] | None:
        """Send it now, or let it wait (None). Raises Busy if it would wait in vain: nothing was done."""
        if not self._line.calls and (seat := self._choose()) is not None:
            return self._send(seat, call)
        self._wait(call, now)
        return None

    def withdraw(self, call: C) -> None:
        """A waiting call's caller has left. Its place in the queue is dropped when its turn comes."""
        self._line.withdraw(call)

    def evict(self) -> list[C]:
        """Take every waiting call out."""
        return self._line.clear()

    # -- what workers say

    def answered(self, seat: Seat, room: int, call: C | None, now: float) -> list[Send[C]]:
        """A call that `seat` had is over, whatever came of it; `call` only if it was begun."""
        if self._line.calls and call is not None:
            self._learn(call, now)
        seat.outstanding -= 1
        if self._seats.get(seat.name) is seat:
            self._set_room(seat, room)
            seat.blocked = False
            if not seat.outstanding:
                self._make_idle(seat)
        return self._drain_queue(now) if self._line.calls else []

    def given_back(self, seat: Seat, call: C | None, now: float) -> list[Send[C]]:
        """`seat` was busy and returned `call` (None if its caller has left): it goes on waiting, in front."""
        self._set_room(seat, 1)
        seat.outstanding -= 1
        seat.blocked = True
        seat.doubts = 0
        self._not_idle(seat)
        if call is not None:
            self._line.prepend(call, now)
        return self._drain_queue(now)

    def offered(self, seat: Seat, now: float) -> Send[C] | None:
        """`seat` keeps a free slot for us: what to send there, or None to decline."""
        if self._seats.get(seat.name) is not seat:
            return None
        seat.blocked = False
        call = self._next(now)
        if call is None:
            if not seat.outstanding:
                self._make_idle(seat)
            return None
        return self._send(seat, call, last_resort=False)

    def doubt(self, now: float) -> list[Send[C]]:
        """To be called now and then while calls wait: a READY that never came costs a wait, not a worker."""
        if not self._line.calls:
            return []
        for seat in self._seats.values():
            if seat.blocked and not seat.outstanding:
                seat.doubts += 1
                if seat.doubts >= DOUBTS:
                    seat.blocked = False
                    self._make_idle(seat)
        return self._drain_queue(now)

    # -- who is up

    def up(self, name: str, now: float) -> tuple[Seat, list[Send[C]]]:
        """A worker can be called from now on."""
        seat = self._seats[name] = Seat(name)
        self._make_idle(seat)
        return seat, self._drain_queue(now)

    def down(self, seat: Seat) -> None:
        """A worker cannot be called any more; answers to what it has may still come."""
        if self._seats.get(seat.name) is seat:
            del self._seats[seat.name]
        self._set_room(seat, 1)
        self._not_idle(seat)
        seat.blocked = True

    # -- inside

    def _choose(self) -> Seat | None:
        if self._idle:
            return self._idle[int(self._rng.random() * len(self._idle))]
        if self._deep:
            open_seats = [s for s in self._seats.values() if not s.blocked and s.outstanding < s.room]
            if open_seats:
                return min(open_seats, key=_outstanding)
        return None

    def _send(self, seat: Seat, call: C, last_resort: bool | None = None) -> Send[C]:
        if last_resort is None:
            last_resort = len(self._idle) <= (1 if seat.index >= 0 else 0)
        seat.outstanding += 1
        if seat.index >= 0:
            self._not_idle(seat)
        return Send(seat, call, last_resort)

    def _drain_queue(self, now: float) -> list[Send[C]]:
        sends: list[Send[C]] = []
        while self._line.calls and (seat := self._choose()) is not None:
            call = self._next(now)
            if call is None:
                break
            sends.append(self._send(seat, call))
        return sends

    def _wait(self, call: C, now: float) -> None:
        line = self._line
        while (first := line.first(call.priority)) is not None and self._is_late(first, now):
            line.withdraw(first)
            self._give_up(first, now)
        wait = line.expected(call.priority, now, len(self._seats))
        # With no worker up, how it went is no guide to how it will go. And one may always wait: that keeps learning.
        if first is not None and self._seats:
            runs = self._runs.get(call.node)
            needs = CAUTION * wait + (runs.nearly_always(now) if runs is not None else 0.0)
            if now + needs > call.deadline or wait > self._max_wait:
                raise Busy("the wait would be too long", retry_after=wait)
        if not line.has_room(call.size):
            for other in line.make_room(call):
                behind = line.expected(other.priority, now, len(self._seats))
                self._turn_away(other, Busy("a call of a higher class has taken its place", retry_after=behind))
            if not line.has_room(call.size):
                raise Busy("every place in the queue is taken", retry_after=wait)
        line.append(call, now)

    def _next(self, now: float) -> C | None:
        """Whose turn it is, of those for whom it is not too late."""
        line = self._line
        while (call := line.take(now)) is not None:
            if not self._is_late(call, now):
                return call
            line.skipped(call)
            self._give_up(call, now)
        return None

    def _give_up(self, call: C, now: float) -> None:
        wait = self._line.expected(call.priority, now, len(self._seats))
        self._turn_away(call, Expired("no worker was free in time", retry_after=wait))

    def _is_late(self, call: C, now: float) -> bool:
        runs = self._runs.get(call.node)
        return now + (runs.usually(now) if runs is not None else 0.0) >= call.deadline

    def _learn(self, call: C, now: float) -> None:
        took = now - call.sent
        runs = self._runs.get(call.node)
        if runs is None:
            self._runs[call.node] = Runs(took, now)
        # One that was ended because nobody waits any more would have taken longer, who knows how much.
        elif took > runs.usually(now) or not (call.left or now >= call.deadline):
            runs.learn(took, now)

    def _set_room(self, seat: Seat, room: int) -> None:
        if room != seat.room:
            self._deep += (room > 1) - (seat.room > 1)
            seat.room = room

    def _make_idle(self, seat: Seat) -> None:
        if seat.index < 0:
            seat.index = len(self._idle)
            self._idle.append(seat)

    def _not_idle(self, seat: Seat) -> None:
        if seat.index >= 0:
            last = self._idle.pop()
            if last is not seat:
                self._idle[seat.index] = last
                last.index = seat.index
            seat.index = -1


def _outstanding(seat: Seat) -> int:
    return seat.outstanding
