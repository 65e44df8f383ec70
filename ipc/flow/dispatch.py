"""Which worker of a group gets which call: one web worker's view, next to nothing known, never a broker asked.

A call goes to a worker that seems free, else it waits here. A worker that was not free gives the call back, and says
READY when it is; so many web workers that know nothing of one another act together nearly as one queue. `room` is
what a worker last said it would take from us at once: more than one only while its calls are so short that the way
there and back would cost more than the wait.

Who may wait, and who has waited too long, `ipc.flow.entry` says; a worker that is idle always gets a call.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from ipc.flow.entry import Entry, Queued
from ipc.flow.line import Line

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from ipc.errors import Rejected


DOUBTS = 12
"""After so many looks at a worker that was busy and is silent since, it is asked again."""

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
        """`turn_away` and `max_wait` are the entry's."""
        self._rng = rng
        self._seats: dict[str, Seat] = {}
        self._idle: list[Seat] = []
        self._deep = 0  # seats whose room is more than one
        self._line: Line[C] = Line(max_calls, max_bytes)
        self._entry = Entry(self._line, turn_away, max_wait)

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

    def first(self) -> tuple[C, ...]:
        """Who waits in front, of each class."""
        return self._line.fronts()

    # -- calls

    def submit(self, call: C, now: float) -> Send[C] | None:
        """Send it now, or let it wait (None). Raises Busy if it would wait in vain: nothing was done."""
        if not self._line.calls and (seat := self._choose()) is not None:
            return self._send(seat, call)
        self._entry.wait(call, now, len(self._seats))
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
            self._entry.learn(call, now)
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

    def resubmit(self, call: C, now: float) -> list[Send[C]]:
        """The worker that had `call` is gone: it goes on waiting, in front."""
        self._line.prepend(call, now)
        return self._drain_queue(now)

    def offered(self, seat: Seat, now: float) -> Send[C] | None:
        """`seat` keeps a free slot for us: what to send there, or None to decline."""
        if self._seats.get(seat.name) is not seat:
            return None
        seat.blocked = False
        call = self._entry.next(now, len(self._seats))
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

    def up(self, name: str, now: float, room: int = 1) -> tuple[Seat, list[Send[C]]]:
        """A worker can be called from now on, by so many calls at once."""
        seat = self._seats[name] = Seat(name)
        self._set_room(seat, room)
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
            call = self._entry.next(now, len(self._seats))
            if call is None:
                break
            sends.append(self._send(seat, call))
        return sends

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
