"""When the calls of a batched node are run, and which of them together. Pure: time is an argument.

A worker that is busy gathers what arrives; what it gathered is its next batch. A worker that is free asks itself
whether to wait for one more. It knows what it is worth, for a start costs as much for one call as for many, and it has
seen how often, and how soon, one more came when it had as many as now. So a call that is alone is not delayed, and
calls that come together run together.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from ipc.batch import Batch

MAX_BYTES = 32 * 1024 * 1024
"""Bytes of bodies that are gathered for one batch. A single call may have more."""
WEIGHT = 0.2
"""How much the newest of what is learned counts against all before it."""
PATIENCE = 3.0
"""A worker waits for so many times as long as others took to come; then it is taken that nobody comes."""
TICK = 0.001
"""Nobody can be woken sooner than after so many seconds, so that is what waiting in vain costs at least."""


class Item(Protocol):
    """What gathering needs to know of a call."""

    @property
    def client(self) -> object:
        """Which link it came over."""
        ...

    @property
    def deadline(self) -> float:
        """When it must not be started any more, monotonic seconds."""
        ...

    @property
    def size(self) -> int:
        """Bytes of its body."""
        ...


C = TypeVar("C", bound=Item)


class Taken(NamedTuple, Generic[C]):
    """What is to be run together, in the order in which it came, and what came too late for that."""

    batch: tuple[C, ...]
    expired: tuple[C, ...]


class Cost:
    """How long a batch of a node runs: a start, and so much for each call. Learned from those that ran."""

    __slots__ = ("_covariance", "_mean_size", "_mean_time", "_variance", "each")

    def __init__(self) -> None:
        self._mean_size = self._mean_time = self._variance = self._covariance = 0.0
        self.each = 0.0
        """What one more call costs, seconds."""

    @property
    def start(self) -> float:
        """What a batch costs whatever is in it, seconds; 0 as long as none has run."""
        return max(0.0, self._mean_time - self.each * self._mean_size)

    def of(self, size: int) -> float:
        """How long a batch of this size is expected to run, seconds."""
        return self.start + self.each * size

    def ran(self, size: int, took: float) -> None:
        """A batch is over."""
        if not self._mean_size:
            self._mean_size, self._mean_time = float(size), took
            return
        larger, longer = size - self._mean_size, took - self._mean_time
        self._mean_size += WEIGHT * larger
        self._mean_time += WEIGHT * longer
        self._variance = (1 - WEIGHT) * (self._variance + WEIGHT * larger * larger)
        self._covariance = (1 - WEIGHT) * (self._covariance + WEIGHT * larger * longer)
        if self._variance > 0.1:  # noqa: PLR2004 - of sizes that are all the same nothing is learned
            each = self._covariance / self._variance
            self.each = min(max(0.0, each), self._mean_time / self._mean_size)


class Company:
    """How often one more came to so many within the time that waiting for it was worth, and how soon."""

    __slots__ = ("chance", "soon")

    def __init__(self) -> None:
        self.chance = 0.0
        self.soon = 0.0
        """Seconds; infinite if it never came."""

    def saw(self, after: float, worth: float) -> None:
        """One more came `after` so many seconds."""
        came = after <= worth
        if came:
            self.soon = after if not self.chance else self.soon + WEIGHT * (after - self.soon)
        self.chance += WEIGHT * (came - self.chance)

    def wait(self, size: int, start: float) -> float:
        """How long to wait for it with `size` calls at hand, seconds: 0 if that costs them more than it gains."""
        wait = max(TICK, PATIENCE * self.soon)
        gain = self.chance * start
        loss = size * (self.chance * self.soon + (1 - self.chance) * wait)
        return wait if gain > loss else 0.0


class Gathering(Generic[C]):
    """The calls of one node that wait to be run together. What is gathered is the next batch, never more."""

    def __init__(self, batch: Batch, max_bytes: int = MAX_BYTES) -> None:
        self._most, self._longest, self._max_bytes = batch.max_size, batch.max_wait_ms / 1000, max_bytes
        self._calls: deque[C] = deque()
        self._bytes = 0
        self._first_deadline = math.inf
        self._company = [Company() for _ in range(batch.max_size)]
        self._asked: tuple[int, float] | None = None  # how many it was asked with, and since when
        self._waits_since: float | None = None
        self.cost = Cost()

    def __len__(self) -> int:
        """How many calls are gathered."""
        return len(self._calls)

    @property
    def full(self) -> bool:
        """Whether no more can be taken in."""
        return len(self._calls) >= self._most or self._bytes >= self._max_bytes

    def offer(self, call: C, now: float) -> bool:
        """A call has come; False if there is no place for it."""
        if self.full or (self._calls and self._bytes + call.size > self._max_bytes):
            return False
        if self._asked is not None:
            size, since = self._asked
            self._company[size - 1].saw(now - since, min(self._longest, self.cost.start / size))
            self._asked = None
        self._calls.append(call)
        self._bytes += call.size
        self._first_deadline = min(self._first_deadline, call.deadline)
        return True

    def due(self, now: float) -> float:
        """When to `take` what is gathered, monotonic seconds; infinite if that is nothing.

        To be asked when a slot is free, and again after every call that comes or goes.
        """
        size = len(self._calls)
        if not size:
            return math.inf
        if self._waits_since is None:
            self._waits_since = now
        if self._asked is None or self._asked[0] != size:
            self._asked = size, now
        if self.full or not (wait := self._company[size - 1].wait(size, self.cost.start)):
            return now
        in_time = self._first_deadline - self.cost.of(size + 1)
        return max(now, min(self._asked[1] + wait, self._waits_since + self._longest, in_time))

    def take(self, now: float) -> Taken[C]:
        """All that is gathered: it runs now."""
        calls = tuple(self._calls)
        self._empty()
        if all(call.deadline > now for call in calls):
            return Taken(calls, ())
        return Taken(
            tuple(call for call in calls if call.deadline > now),
            tuple(call for call in calls if call.deadline <= now),
        )

    def ran(self, size: int, took: float) -> None:
        """A batch is over."""
        self.cost.ran(size, took)

    def withdraw(self, call: C) -> bool:
        """Forget a call; False if it is not here."""
        try:
            self._calls.remove(call)
        except ValueError:
            return False
        self._bytes -= call.size
        if not self._calls:
            self._empty()
        return True

    def gone(self, client: object) -> tuple[C, ...]:
        """A link ended: forget what came over it, and return that."""
        calls = tuple(call for call in self._calls if call.client is client)
        for call in calls:
            self.withdraw(call)
        return calls

    def _empty(self) -> None:
        """What it was asked stays: whoever comes next tells how long it would have waited."""
        self._calls.clear()
        self._bytes = 0
        self._first_deadline = math.inf
        self._waits_since = None
