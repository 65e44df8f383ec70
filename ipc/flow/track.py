"""Where a pipeline's call is, and whose word on it counts. Pure.

A worker that is done with its stages says to whom it sends the call on; only that one may answer next, or send it on in
its turn. Until it has begun, who sent it there may say that it went to another. The words of one travel on other
links than those of the next, so what the next says may come before anybody has named it: that is kept, a little of it.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Generic, TypeVar

from ipc.names import parse_worker

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ipc.pipeline import Leg


class Standing(enum.Enum):
    """What a worker is to a call."""

    HOLDS = "it was named last: it may answer, or send the call on"
    NAMES = "it sent the call on: it may name another, or say that nobody takes it"
    EARLY = "it may be named yet"
    PAST = "it had a part in it, and has none any more"
    STRANGER = "it has no part in it"


W = TypeVar("W")
MAX_NAMES = 1024
"""How many workers may be named for one call; who needs more of them is not to be believed."""


class Track(Generic[W]):
    """One call from its first worker on. `W` is what is kept of a word that came early."""

    __slots__ = ("_again", "_dead", "_early", "_past", "_way", "at", "by", "leg")

    def __init__(self, way: Sequence[Leg]) -> None:
        self._way = way
        self._early: dict[str, W] = {}
        self._past: set[str] = set()
        self._dead: set[str] = set()
        self._again = False
        self.leg = 0
        """Which part of the way it is on."""
        self.by = ""
        """Who sent it there; empty on the first leg, on which the origin did."""
        self.at = ""
        """Who was named; empty while it waits for a worker that is free."""

    def anew(self, had: Iterable[str]) -> Track[W]:
        """The same call from its first stage on, after `had` were the last of whom is known that they had it."""
        track: Track[W] = Track(self._way)
        track._past = self._past | {self.by, self.at, *had} - {""}
        track._again = True
        return track

    @property
    def goes_on(self) -> bool:
        """Whether who has it is to send it on."""
        return self.leg < len(self._way) - 1

    @property
    def stage(self) -> str:
        """The node it is at: of several that run back to back in one worker nobody outside can tell which."""
        return " or ".join(self._way[self.leg].nodes)

    def standing(self, worker: str) -> Standing:
        """What `worker` is to the call."""
        if worker == self.at:
            return Standing.HOLDS
        if worker == self.by:
            return Standing.NAMES
        group = parse_worker(worker).group
        if any(leg.group == group for leg in self._way[max(self.leg, 1) :]):
            return Standing.EARLY
        return Standing.PAST if worker in self._past else Standing.STRANGER

    def sent_on(self, worker: str, to: str) -> bool:
        """`worker`, which has it or sent it where it is, names the next; False if that cannot be.

        Empty: it waits at `worker` until one is free.
        """
        leg = self.leg if worker == self.by else self.leg + 1
        if leg >= len(self._way) or (to and not _is_of(to, self._way[leg].group)) or len(self._past) > MAX_NAMES:
            return False
        self._past |= {self.by, self.at, worker} - {""}
        self.leg, self.by, self.at = leg, worker, to
        return True

    def keep(self, worker: str, word: W) -> bool:
        """Keep what `worker` says before it was named; False if there is no more room for that.

        The last word of each counts: whoever sends a call on to one, and then to another, means the other.
        """
        if worker not in self._early and len(self._early) >= len(self._way):
            return False
        self._early[worker] = word
        return True

    def kept(self) -> W | None:
        """What the one that was named last has said already."""
        return self._early.pop(self.at, None) if self._early else None

    def unheard(self) -> list[W]:
        """Words of those that nobody has ever named: to be asked when the call is over.

        Of a call that was begun anew none: names that the first run gave may be lost with a link.
        """
        if self._again:
            return []
        return [word for worker, word in self._early.items() if worker not in self._past]

    def died(self, worker: str) -> None:
        """`worker` is dead."""
        self._dead.add(worker)

    @property
    def orphaned(self) -> bool:
        """Whether who sent it on is dead: whether the one that was named has it, only that one can say."""
        return bool(self.by) and self.by in self._dead

    @property
    def stranded(self) -> bool:
        """Whether nobody is left from whom the answer could come."""
        return self.orphaned and (not self.at or self.at in self._dead)


def _is_of(worker: str, group: str) -> bool:
    try:
        return parse_worker(worker).group == group
    except ValueError:
        return False
