"""Calls that wait for a worker: three classes, each in the order it came, within one bound for all.

Classes take turns by weight. While all three wait, 16 high calls are taken for every 4 normal and 1 low one; a class
that is alone has everything. So no class starves: while one waits, no more than `OTHERS_FIRST` calls of the other two
are taken before the next of its own.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from ipc.flow.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Iterator

STRIDES = (1, 4, 16)
"""What one call of each class costs its class. The class that has spent least is next."""
OTHERS_FIRST = (2, 5, 21)
"""How many calls of other classes may be taken in a row while one of this class waits."""
SPARE = 64
"""So many places of calls that left may stay in a class before it is tidied."""


class Waiter(Protocol):
    """What the line needs to know of a call."""

    size: int
    """Bytes it keeps in memory while it waits."""
    left: bool
    """Whether nobody waits for it any more."""
    priority: int
    """Its class: 0 is the highest."""


C = TypeVar("C", bound=Waiter)


class _Class(Generic[C]):
    __slots__ = ("bytes", "calls", "pace", "queue", "spent")

    def __init__(self) -> None:
        self.queue: deque[C] = deque()
        self.calls = self.bytes = 0
        self.pace = Pace()
        self.spent = 0

    def first(self) -> C:
        while self.queue[0].left:
            self.queue.popleft()
        return self.queue[0]


class Line(Generic[C]):
    """Who waits, who is next, and how long that will take."""

    def __init__(self, max_calls: int, max_bytes: int) -> None:
        self._max_calls, self._max_bytes = max_calls, max_bytes
        self._classes: tuple[_Class[C], ...] = tuple(_Class() for _ in STRIDES)
        self._spent = 0  # by the class that was served last
        self.calls = self.bytes = 0

    def expected(self, priority: int, now: float, workers: int) -> float:
        """How long one who came now would wait, seconds; `workers` serve this line and perhaps others."""
        mine = self._classes[priority]
        return (mine.calls + 1) * mine.pace.each(now, workers) if mine.calls else 0.0

    def has_room(self, size: int) -> bool:
        """Whether one more call fits."""
        return self.calls < self._max_calls and self.bytes + size <= self._max_bytes

    def make_room(self, call: C) -> list[C]:
        """Take out what has to go so that `call` fits: the youngest of the lowest class below its own.

        Nobody goes if that would not be enough.
        """
        below = self._classes[: call.priority : -1]
        if self.calls - sum(each.calls for each in below) >= self._max_calls:
            return []
        if self.bytes - sum(each.bytes for each in below) + call.size > self._max_bytes:
            return []
        gone: list[C] = []
        for each in below:
            while each.calls and not self.has_room(call.size):
                if not (youngest := each.queue.pop()).left:
                    self._count(each, youngest, -1)
                    gone.append(youngest)
        return gone

    def append(self, call: C, now: float) -> None:
        """It waits behind those of its class."""
        self._joins(call, now).queue.append(call)

    def prepend(self, call: C, now: float) -> None:
        """It was taken and is back: it goes on waiting in front of its class."""
        mine = self._joins(call, now)
        mine.queue.appendleft(call)
        mine.pace.untook()

    def first(self, priority: int) -> C | None:
        """Who is in front of its class; None if nobody waits there."""
        mine = self._classes[priority]
        return mine.first() if mine.calls else None

    def fronts(self) -> tuple[C, ...]:
        """Who is in front of each class in which somebody waits."""
        return tuple(each.first() for each in self._classes if each.calls)

    def take(self, now: float) -> C | None:
        """Who is next; None if nobody waits."""
        if not self.calls:
            return None
        mine = min((each for each in self._classes if each.calls), key=_spent)
        call = mine.first()
        mine.queue.popleft()
        self._count(mine, call, -1)
        self._spent = mine.spent
        mine.spent += STRIDES[call.priority]
        mine.pace.took(now)
        return call

    def skipped(self, call: C) -> None:
        """It was taken, and nobody had to work for it."""
        self._classes[call.priority].pace.untook()

    def withdraw(self, call: C) -> None:
        """Its caller has left. Its place is dropped when its turn comes, or when there are many such."""
        call.left = True
        mine = self._classes[call.priority]
        self._count(mine, call, -1)
        if len(mine.queue) > 2 * mine.calls + SPARE:
            mine.queue = deque(each for each in mine.queue if not each.left)

    def clear(self) -> list[C]:
        """Take everybody out."""
        calls = list(self)
        for each in self._classes:
            each.queue.clear()
            each.calls = each.bytes = 0
        self.calls = self.bytes = 0
        return calls

    def __iter__(self) -> Iterator[C]:
        return (call for each in self._classes for call in each.queue if not call.left)

    def _joins(self, call: C, now: float) -> _Class[C]:
        mine = self._classes[call.priority]
        if not mine.calls:
            mine.pace.begins(now)
            # Time in which nobody of it waited is not saved up: it has its turn after those who did.
            mine.spent = max(mine.spent, self._spent + STRIDES[call.priority])
        self._count(mine, call, 1)
        return mine

    def _count(self, mine: _Class[C], call: C, by: int) -> None:
        mine.calls += by
        self.calls += by
        mine.bytes += by * call.size
        self.bytes += by * call.size


def _spent(each: _Class[C]) -> int:
    return each.spent
