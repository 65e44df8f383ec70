"""Which worker of a group gets which call: one web worker's view, next to nothing known, never a broker asked.

A call goes to a worker that seems free, else it waits here. A worker that was not free gives the call back, and says
READY when it is; so many web workers that know nothing of one another act together nearly as one queue. `room` is
what a worker last said it would take from us at once: more than one only while its calls are so short that the way
there and back would cost more than the wait.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from ipc.errors import Busy

if TYPE_CHECKING:
    from random import Random


DOUBTS = 12
"""After so many looks at a worker that was busy and is silent since, it is asked again."""


class Queued(Protocol):
    """What the queue needs to know of a call."""

    size: int
    """Bytes it keeps in memory while it waits."""
    left: bool
    """Whether nobody waits for it any more."""


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

    def __init__(self, rng: Random, max_calls: int, max_bytes: int) -> None:
        self._rng = rng
        self._max_calls, self._max_bytes = max_calls, max_bytes
        self._seats: dict[str, Seat] = {}
        self._idle: list[Seat] = []
        self._deep = 0  # seats whose room is more than one
        self._queue: deque[C] = deque()
        self.waiting = 0
        self.waiting_bytes = 0

    @property
    def seats(self) -> tuple[Seat, ...]:
        """Everybody who is up."""
        return tuple(self._seats.values())

    # -- calls

    def submit(self, call: C) -> Send[C] | None:
        """Send it now, or let it wait (None). Raises Busy when every place to wait is taken: nothing was done."""
        if not self.waiting and (seat := self._choose()) is not None:
            return self._send(seat, call)
        if self.waiting >= self._max_calls or self.waiting_bytes + call.size > self._max_bytes:
            raise Busy("every place in the queue is taken")
        self._queue.append(call)
        self._count(call, 1)
        return None

    def withdraw(self, call: C) -> None:
        """A waiting call's caller has left. Its place in the queue is dropped when its turn comes."""
        call.left = True
        self._count(call, -1)
        if len(self._queue) > 2 * self.waiting + 64:
            self._queue = deque(c for c in self._queue if not c.left)

    def evict(self) -> list[C]:
        """Take every waiting call out."""
        calls = [call for call in self._queue if not call.left]
        self._queue.clear()
        self.waiting = self.waiting_bytes = 0
        return calls

    # -- what workers say

    def answered(self, seat: Seat, room: int) -> list[Send[C]]:
        """A call that `seat` had is over, whatever came of it."""
        seat.outstanding -= 1
        if self._seats.get(seat.name) is seat:
            self._set_room(seat, room)
            seat.blocked = False
            if not seat.outstanding:
                self._make_idle(seat)
        return self._drain_queue()

    def given_back(self, seat: Seat, call: C | None) -> list[Send[C]]:
        """`seat` was busy and returned `call` (None if its caller has left): it goes on waiting, in front."""
        self._set_room(seat, 1)
        seat.outstanding -= 1
        seat.blocked = True
        seat.doubts = 0
        self._not_idle(seat)
        if call is not None:
            self._queue.appendleft(call)
            self._count(call, 1)
        return self._drain_queue()

    def offered(self, seat: Seat) -> Send[C] | None:
        """`seat` keeps a free slot for us: what to send there, or None to decline."""
        if self._seats.get(seat.name) is not seat:
            return None
        seat.blocked = False
        call = self._pop()
        if call is None:
            if not seat.outstanding:
                self._make_idle(seat)
            return None
        return self._send(seat, call, last_resort=False)

    def doubt(self) -> list[Send[C]]:
        """To be called now and then while calls wait: a READY that never came costs a wait, not a worker."""
        if not self.waiting:
            return []
        for seat in self._seats.values():
            if seat.blocked and not seat.outstanding:
                seat.doubts += 1
                if seat.doubts >= DOUBTS:
                    seat.blocked = False
                    self._make_idle(seat)
        return self._drain_queue()

    # -- who is up

    def up(self, name: str) -> tuple[Seat, list[Send[C]]]:
        """A worker can be called from now on."""
        seat = self._seats[name] = Seat(name)
        self._make_idle(seat)
        return seat, self._drain_queue()

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

    def _drain_queue(self) -> list[Send[C]]:
        sends: list[Send[C]] = []
        while self.waiting and (seat := self._choose()) is not None:
            call = self._pop()
            if call is None:
                break
            sends.append(self._send(seat, call))
        return sends

    def _pop(self) -> C | None:
        while self._queue:
            call = self._queue.popleft()
            if not call.left:
                self._count(call, -1)
                return call
        return None

    def _count(self, call: C, by: int) -> None:
        self.waiting += by
        self.waiting_bytes += by * call.size

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
