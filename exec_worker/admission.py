"""Take a call, hold it, or give it back; and who is told when a slot is free. Pure: time is an argument.

A worker has a slot for each call that it runs at once. What is said of one slot below holds for each of several: as
many may be offered, and kept, as are free.

Who was sent away stands in line until a call of theirs begins here or they say that they need nothing any more. Most
do by then: they have found another worker. So a free slot that was offered to one of them goes to whoever comes first,
and is kept for them alone only once they have waited for long.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Generic, NamedTuple, Protocol, TypeVar

HOLD_BEHIND = 0.01
"""Nothing is held where calls are expected to take longer than this, seconds: a worker that is free is found sooner.
Shorter calls would have the worker stand idle between two, for the way there and back."""
GIVE_BACK_AFTER = 0.006
"""A call that runs for longer than this lets go of the calls held behind it, seconds."""
HOLD_FOR = 0.0005
"""As many short calls may be held as are expected to be done in this time, seconds: about what the way back and
forth would cost."""
MAX_ROOM = 16
"""More than this is never held, however short the calls are."""
FAIR_AFTER = 0.01
"""Who has asked in vain for so long is kept the slot, or a place among the held calls, seconds. Else whoever comes
often, or has calls held here, would be the only one who is ever served."""
KEEP_SLOT = 0.05
"""A slot is kept no longer than this for a web worker that was told READY and does not answer, seconds."""


class Asked(Protocol):
    """What admission needs to know of a call."""

    @property
    def client(self) -> object:
        """Which link it came over."""
        ...

    @property
    def deadline(self) -> float:
        """When it must not be started any more, monotonic seconds."""
        ...

    @property
    def last_resort(self) -> bool:
        """Whether its sender knows of no other free worker."""
        ...

    @property
    def patience(self) -> float:
        """How long others may have run for this one to be held behind them, seconds; 0: as short calls are."""
        ...


C = TypeVar("C", bound=Asked)


class Verdict(enum.Enum):
    """What becomes of a call that arrives."""

    START = "start"
    HOLD = "hold"
    BUSY = "busy"
    EXPIRED = "expired"
    DRAINING = "draining"


class Next(NamedTuple, Generic[C]):
    """What follows the end of a call."""

    start: C | None = None
    expired: tuple[C, ...] = ()
    offer: object | None = None
    """The client that is to be told READY: the free slot, or the next place, is kept for it."""


class Admission(Generic[C]):
    """The slots of a worker, and what waits in front of them."""

    def __init__(self, slots: int = 1) -> None:
        self.slots = slots
        self.running: dict[C, float] = {}
        """Since when each runs, in the order in which they began."""
        self._held: deque[C] = deque()
        self._asked_in_vain: dict[object, float] = {}  # since when, in order; until they are served or decline
        self._kept: dict[object, float] = {}  # for whom slots are kept, and since when
        self._estimate = HOLD_FOR
        self._places = 0  # how many calls are done in the time for which it pays to hold some
        self._learn(HOLD_FOR)
        self.draining = False

    @property
    def held(self) -> int:
        """How many calls are held."""
        return len(self._held)

    @property
    def waits_for_time(self) -> float | None:
        """How soon the passing of time may change something, seconds; None: not before somebody says something."""
        if self._held:
            return min(_patience(call) for call in self._held)
        return KEEP_SLOT if self._kept or self._asked_in_vain else None

    def room(self, clients: int) -> int:
        """How many calls one of `clients` web workers may have here at once."""
        return max(self.slots, self._places // (clients or 1))

    def arrive(self, call: C, now: float) -> Verdict:
        """Judge a call. START: it runs now; HOLD: it is kept; anything else: it goes back, and was not begun."""
        if self.draining:
            return Verdict.DRAINING
        if call.deadline <= now:
            return Verdict.EXPIRED
        client, kept = call.client, self._kept
        free = self.slots - len(self.running)
        if free and not kept:
            self._start(call, now)
            return Verdict.START
        mine = client in kept
        if free:
            if mine or free > sum(self._is_owed(other, now) for other in kept):
                self._start(call, now)
                return Verdict.START
        elif self._may_hold(call, mine, now):
            self._serve(client)
            self._held.append(call)
            return Verdict.HOLD
        kept.pop(client, None)
        self.refuse(client, now)
        return Verdict.BUSY

    def join(self, call: Asked, now: float, *, expected: bool) -> Verdict:
        """Judge a call that would share the turn of another: HOLD, or what `arrive` says of those that go back.

        `expected`: that turn only waits for company.
        """
        if self.draining:
            return Verdict.DRAINING
        if call.deadline <= now:
            return Verdict.EXPIRED
        client = call.client
        if expected or client in self._kept or call.last_resort:
            self._serve(client)
            return Verdict.HOLD
        self.refuse(client, now)
        return Verdict.BUSY

    def refuse(self, client: object, now: float) -> None:
        """There is no place for a call of `client`: it goes back, and they are told when there is one."""
        if not self.draining:
            self._asked_in_vain.setdefault(client, now)

    def begins(self, call: C, now: float) -> None:
        """A call that has had its slot for a while runs only from now on."""
        del self.running[call]
        self.running[call] = now

    def finished(self, call: C, now: float) -> Next[C]:
        """A running call is over."""
        since = self.running.pop(call)
        if not call.patience:  # many calls as one say nothing of how long one takes
            self._learn(now - since)
        expired: list[C] = []
        while self._held:
            following = self._held.popleft()
            if following.deadline <= now:
                expired.append(following)
                continue
            self._start(following, now)
            return Next(following, tuple(expired), self._offer(now) if self._owes_a_turn(now) else None)
        return Next(expired=tuple(expired), offer=self._offer(now))

    def give_back(self, now: float) -> tuple[C, ...]:
        """The held calls, if the running ones take too long for them."""
        if not self._held or now - self._youngest < GIVE_BACK_AFTER:
            return ()
        ran = now - self._youngest
        calls = tuple(call for call in self._held if ran >= _patience(call))
        self._held = deque(call for call in self._held if ran < _patience(call))
        for call in calls:
            if not call.patience:  # of whom many wait, each is refused
                self.refuse(call.client, now)
        return calls

    def declined(self, client: object, now: float) -> object | None:
        """`client` does not want the slot kept for it; returns who is told READY instead."""
        if client not in self._kept:
            return None
        self._serve(client)
        return self._offer(now) if len(self.running) < self.slots else None

    def overdue(self, now: float) -> list[object]:
        """Stop keeping slots for those who do not come; returns who is told READY instead."""
        for client in [client for client, since in self._kept.items() if now - since > KEEP_SLOT]:
            self._serve(client)
        offers = []
        if len(self.running) < self.slots:
            while (other := self._offer(now)) is not None:
                offers.append(other)
        return offers

    def cancel(self, call: C) -> bool:
        """Forget a held call; False if it is not held."""
        try:
            self._held.remove(call)
        except ValueError:
            return False
        return True

    def gone(self, client: object, now: float) -> object | None:
        """A link ended: what it had held here is forgotten; returns who is told READY, if a slot was kept for it."""
        self._held = deque(call for call in self._held if call.client is not client)
        other = self.declined(client, now)
        self._asked_in_vain.pop(client, None)
        return other

    def drain(self) -> tuple[C, ...]:
        """Take nothing more; returns what was held."""
        self.draining = True
        calls = tuple(self._held)
        self._held.clear()
        self._asked_in_vain.clear()
        self._kept.clear()
        return calls

    @property
    def _youngest(self) -> float:
        """When the last of the running calls began: while that is not long ago, one may end soon."""
        return next(reversed(self.running.values()))

    def _start(self, call: C, now: float) -> None:
        self.running[call] = now
        if self._asked_in_vain:
            self._serve(call.client)

    def _serve(self, client: object) -> None:
        """It need not be told of a free slot any more."""
        self._asked_in_vain.pop(client, None)
        self._kept.pop(client, None)

    def _may_hold(self, call: C, mine: bool, now: float) -> bool:
        if call.patience:
            return (mine or call.last_resort) and now - self._youngest < call.patience
        if self._estimate > HOLD_BEHIND or now - self._youngest >= GIVE_BACK_AFTER:
            return False
        return mine or (call.last_resort and len(self._held) < max(1, self._places))

    def _is_owed(self, client: object, now: float) -> bool:
        """Whether nobody else may have the slot that is kept for it."""
        if now - self._kept[client] > KEEP_SLOT:
            return False
        return now - self._asked_in_vain.get(client, now) > FAIR_AFTER

    def _owes_a_turn(self, now: float) -> bool:
        return bool(self._asked_in_vain) and now - next(iter(self._asked_in_vain.values())) > FAIR_AFTER

    def _offer(self, now: float) -> object | None:
        """Who has waited longest of those for whom none is kept. Else one place is, if only among the held calls."""
        if not self._asked_in_vain or len(self._kept) >= max(1, self.slots - len(self.running)):
            return None
        for client in self._asked_in_vain:
            if client not in self._kept:
                self._kept[client] = now
                return client
        return None

    def _learn(self, took: float) -> None:
        """Long calls are believed at once, short ones only after many: a wrong guess costs the caller behind."""
        self._estimate = estimate = max(took, 0.8 * self._estimate + 0.2 * took, 1e-6)
        self._places = min(MAX_ROOM, int(self.slots * HOLD_FOR / estimate))


def _patience(call: Asked) -> float:
    return call.patience or GIVE_BACK_AFTER
