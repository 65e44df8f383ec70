"""Who may wait for a worker, and for whom it is too late. Pure: time is an argument.

Once calls wait, it learns how fast they are taken and how long they run. A call that would not be answered in time is
refused when it comes, not when its time is over; one that has waited too long makes place for the one behind it.
An estimate can only refuse while there is other work, and one call of a class may always wait: that keeps learning.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from ipc.errors import Busy, Expired
from ipc.flow.line import Line, Waiter
from ipc.flow.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipc.errors import Rejected

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


class Entry(Generic[C]):
    """In front of one line, and at its end."""

    def __init__(self, line: Line[C], turn_away: Callable[[C, Rejected], None], max_wait: float = inf) -> None:
        """`turn_away` is told of each call that waited and will not be sent. It must not call back.

        `max_wait` is the longest expected wait with which a call is let in, seconds.
        """
        self._line, self._turn_away, self._max_wait = line, turn_away, max_wait
        self._runs: dict[str, Runs] = {}  # at most one for each node of the group

    def wait(self, call: C, now: float, workers: int) -> None:
        """Let it wait for one of so many workers. Raises Busy if it would wait in vain: nothing was done."""
        line = self._line
        while (first := line.first(call.priority)) is not None and self._is_late(first, now):
            line.withdraw(first)
            self._give_up(first, now, workers)
        expected = line.expected(call.priority, now, workers)
        # With no worker up, how it went is no guide to how it will go.
        if first is not None and workers:
            runs = self._runs.get(call.node)
            needs = CAUTION * expected + (runs.nearly_always(now) if runs is not None else 0.0)
            if now + needs > call.deadline or expected > self._max_wait:
                raise Busy("the wait would be too long", retry_after=expected)
        if not line.has_room(call.size):
            for other in line.make_room(call):
                behind = line.expected(other.priority, now, workers)
                self._turn_away(other, Busy("a call of a higher class has taken its place", retry_after=behind))
            if not line.has_room(call.size):
                raise Busy("every place in the queue is taken", retry_after=expected)
        line.append(call, now)

    def next(self, now: float, workers: int) -> C | None:
        """Whose turn it is, of those for whom it is not too late."""
        line = self._line
        while (call := line.take(now)) is not None:
            if not self._is_late(call, now):
                return call
            line.skipped(call)
            self._give_up(call, now, workers)
        return None

    def learn(self, call: C, now: float) -> None:
        """It was begun, and is over."""
        took = now - call.sent
        runs = self._runs.get(call.node)
        if runs is None:
            self._runs[call.node] = Runs(took, now)
        # One that was ended because nobody waits any more would have taken longer, who knows how much.
        elif took > runs.usually(now) or not (call.left or now >= call.deadline):
            runs.learn(took, now)

    def _give_up(self, call: C, now: float, workers: int) -> None:
        expected = self._line.expected(call.priority, now, workers)
        self._turn_away(call, Expired("no worker was free in time", retry_after=expected))

    def _is_late(self, call: C, now: float) -> bool:
        runs = self._runs.get(call.node)
        return now + (runs.usually(now) if runs is not None else 0.0) >= call.deadline
