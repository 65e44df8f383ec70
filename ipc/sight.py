"""What those who call see of a group: how long calls wait and take. Told to the supervisor now and then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipc.clock import now
from ipc.histogram import BUCKETS, bucket, trimmed
from ipc.messages.lifeline import Seen

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from ipc.messages.lifeline import FromChild

EVERY = 1.0
"""The least time between two reports, seconds; there are none while nothing happens."""


def _nobody_waits() -> tuple[int, float]:
    return 0, 0.0


class Sight:
    """Of one group, since the last report. Every call passes here: it only counts."""

    __slots__ = ("_group", "_line", "_said", "_took", "_waits")

    def __init__(self, group: str, line: Callable[[], tuple[int, float]] = _nobody_waits) -> None:
        """`line` says how many calls wait now, and since when the first of them."""
        self._group, self._line = group, line
        self._said = False
        self._clear()

    def answered(self, since: float, sent: float, time: float) -> None:
        """A call that came at `since` and was sent to a worker at `sent` has its answer."""
        self._waits[bucket(sent - since) if sent != since else 0] += 1
        self._took[bucket(time - since)] += 1

    def gave_up(self, since: float) -> None:
        """One that came at `since` was sent to nobody."""
        self._waits[bucket(now() - since)] += 1

    def report(self, time: float) -> Seen | None:
        """What there is to tell; None if nothing happened, nobody waits, and nobody was said to."""
        waiting, first = self._line()
        if not waiting and not self._said and not any(self._waits):
            return None
        self._said = waiting > 0
        oldest = max(0.0, time - first) if waiting else 0.0
        seen = Seen(self._group, trimmed(self._waits), trimmed(self._took), waiting, oldest)
        self._clear()
        return seen

    def _clear(self) -> None:
        self._waits, self._took = [0] * BUCKETS, [0] * BUCKETS


class Lookout:
    """All sights of this process, and their reports."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tell: Callable[[FromChild], object]) -> None:
        self._loop, self._tell = loop, tell
        self._sights: list[Sight] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, sights: Iterable[Sight]) -> None:
        """Tell of these too."""
        self._sights += sights

    def stir(self) -> None:
        """Something happens: tell of it in a while."""
        if self._timer is None:
            self._timer = self._loop.call_later(EVERY, self._report)

    def close(self) -> None:
        """Tell what there is to tell, and nothing any more."""
        self._report()
        if self._timer is not None:
            self._timer.cancel()

    def _report(self) -> None:
        self._timer = None
        time = now()
        for sight in self._sights:
            if (seen := sight.report(time)) is not None:
                self._tell(seen)
                self.stir()  # once more: the line may be empty by then, and that is to be told
