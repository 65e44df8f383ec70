"""Take a call, hold it, or give it back; and who is told when a slot is free. Pure: time is an argument.

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
    """One slot, and what waits in front of it."""

    def __init__(self) -> None:
        self.running: C | None = None
        self._started = 0.0
        self._held: deque[C] = deque()
        self._asked_in_vain: dict[object, float] = {}  # since when, in order; until they are served or decline
        self._kept_for: object | None = None
        self._kept_since = 0.0
        self._estimate = HOLD_FOR
        self.draining = False

    @property
    def held(self) -> int:
        """How many calls are held."""
        return len(self._held)

    @property
    def waits_for_time(self) -> float | None:
        """How soon the passing of time may change something, seconds; None: not before somebody says something."""
        if self._held:
            return GIVE_BACK_AFTER
        return KEEP_SLOT if self._kept_for is not None or self._asked_in_vain else None

    def room(self, clients: int) -> int:
        """How many calls one of `clients` web workers may have here at once."""
        return max(1, min(MAX_ROOM, int(HOLD_FOR / self._estimate)) // max(1, clients))

    def arrive(self, call: C, now: float) -> Verdict:
        """Judge a call. START: it runs now; HOLD: it is kept; anything else: it goes back, and was not begun."""
        if self.draining:
            return Verdict.DRAINING
        if call.deadline <= now:
            return Verdict.EXPIRED
        client = call.client
        mine = self._kept_for is not None and self._kept_for is client
        if self.running is None:
            if self._kept_for is None or mine or not self._is_owed(now):
                self._start(call, now)
                return Verdict.START
        elif self._may_hold(call, mine, now):
            self._asked_in_vain.pop(client, None)
            self._held.append(call)
            if mine:
                self._kept_for = None
            return Verdict.HOLD
        if mine:
            self._kept_for = None
        self._asked_in_vain.setdefault(client, now)
        return Verdict.BUSY

    def finished(self, now: float) -> Next[C]:
        """The running call is over."""
        self._learn(now - self._started)
        self.running = None
        expired: list[C] = []
        while self._held:
            call = self._held.popleft()
            if call.deadline <= now:
                expired.append(call)
                continue
            self._start(call, now)
            return Next(call, tuple(expired), self._offer(now) if self._owes_a_turn(now) else None)
        return Next(expired=tuple(expired), offer=self._offer(now))

    def give_back(self, now: float) -> tuple[C, ...]:
        """The held calls, if the running one takes too long for them."""
        if self.running is None or not self._held or now - self._started < GIVE_BACK_AFTER:
            return ()
        calls = tuple(self._held)
        self._held.clear()
        for call in calls:
            self._asked_in_vain.setdefault(call.client, now)
        return calls

    def declined(self, client: object, now: float) -> object | None:
        """`client` does not want the slot kept for it; returns who is told READY instead."""
        if self._kept_for is not client:
            return None
        self._kept_for = None
        self._asked_in_vain.pop(client, None)
        return self._offer(now) if self.running is None else None

    def overdue(self, now: float) -> object | None:
        """Stop keeping a slot for somebody who does not come; returns who is told READY instead."""
        if self._kept_for is not None:
            if now - self._kept_since <= KEEP_SLOT:
                return None
            self._asked_in_vain.pop(self._kept_for, None)
            self._kept_for = None
        return self._offer(now) if self.running is None else None

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
        self._kept_for = None
        return calls

    def _start(self, call: C, now: float) -> None:
        self.running, self._started = call, now
        if self._asked_in_vain:
            client = call.client
            self._asked_in_vain.pop(client, None)
            if self._kept_for is client:
                self._kept_for = None

    def _may_hold(self, call: C, mine: bool, now: float) -> bool:
        if self._estimate > HOLD_BEHIND or now - self._started >= GIVE_BACK_AFTER:
            return False
        places = max(1, min(MAX_ROOM, int(HOLD_FOR / self._estimate)))
        return mine or (call.last_resort and len(self._held) < places)

    def _is_owed(self, now: float) -> bool:
        """Whether nobody else may have the slot that is kept."""
        if now - self._kept_since > KEEP_SLOT:
            return False
        return now - self._asked_in_vain.get(self._kept_for, now) > FAIR_AFTER

    def _owes_a_turn(self, now: float) -> bool:
        return bool(self._asked_in_vain) and now - next(iter(self._asked_in_vain.values())) > FAIR_AFTER

    def _offer(self, now: float) -> object | None:
        if self.draining or self._kept_for is not None or not self._asked_in_vain:
            return None
        client = next(iter(self._asked_in_vain))
        self._kept_for, self._kept_since = client, now
        return client

    def _learn(self, took: float) -> None:
        """Long calls are believed at once, short ones only after many: a wrong guess costs the caller behind."""
        self._estimate = max(took, 0.8 * self._estimate + 0.2 * took, 1e-6)
