"""What became of calls whose worker is gone. Pure: time is an argument.

That a link ended says nothing: what the worker wrote last may be lost with it, and a call may have been begun or not.
The supervisor knows what had been begun. Until it says so, but not for ever, the calls wait here.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipc.messages.lifeline import Ended

PATIENCE = 0.5
"""How long the supervisor may take to say what a worker had begun, seconds. It hears of a death within milliseconds;
of a link that ended although its worker lives it never says anything."""
REMEMBERED = 256
"""Deaths that are remembered until the links have ended too."""
FORGET_AFTER = 60.0
"""How long they are remembered, seconds: each may come with a thousand ids, and a link ends soon after its worker."""


class Fate(enum.Enum):
    """What became of a call."""

    NOT_BEGUN = "not begun"
    BEGUN = "begun"
    SUSPECT = "it was running when its worker crashed"
    UNKNOWN = "unknown"


class Sent(Protocol):
    """What has to be known of a call."""

    id: bytes
    sent: float
    """When it was last sent to a worker, monotonic seconds."""


C = TypeVar("C", bound=Sent)


class Told(NamedTuple, Generic[C]):
    """The fate of one call."""

    call: C
    fate: Fate


class Fates(Generic[C]):
    """Calls that wait to be told, and deaths of which is known what had been begun."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[C, float]]] = {}
        self._ended: OrderedDict[str, tuple[Ended, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, call: object) -> bool:
        """Whether it waits to be told."""
        return any(call is waiting for calls in self._waiting.values() for waiting, _ in calls)

    def lost(self, server: str, calls: Iterable[C], now: float) -> list[Told[C]]:
        """A link to `server` ended with `calls` on it; returns those whose fate is known already."""
        self._forget(now)
        if (known := self._ended.get(server)) is not None:
            return [Told(call, _judge(call, known[0])) for call in calls]
        if waiting := [(call, now) for call in calls]:
            self._waiting.setdefault(server, []).extend(waiting)
        return []

    def ended(self, ended: Ended, now: float) -> list[Told[C]]:
        """The supervisor says what a worker had begun."""
        self._forget(now)
        self._ended[ended.server] = ended, now
        if len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
        return [Told(call, _judge(call, ended)) for call, _ in self._waiting.pop(ended.server, [])]

    def overdue(self, now: float) -> list[Told[C]]:
        """Calls that have waited long enough: nobody knows."""
        self._forget(now)
        told = []
        for server, calls in list(self._waiting.items()):
            told += [Told(call, Fate.UNKNOWN) for call, since in calls if now - since > PATIENCE]
            left = [(call, since) for call, since in calls if now - since <= PATIENCE]
            if left:
                self._waiting[server] = left
            else:
                del self._waiting[server]
        return told

    def _forget(self, now: float) -> None:
        """Deaths that were told of so long ago that no link to the dead is left."""
        while self._ended and now - next(iter(self._ended.values()))[1] > FORGET_AFTER:
            self._ended.popitem(last=False)


def _judge(call: Sent, ended: Ended) -> Fate:
    if call.id in ended.begun:
        return Fate.SUSPECT if call.id in ended.suspects else Fate.BEGUN
    return Fate.NOT_BEGUN if call.sent > ended.since else Fate.UNKNOWN
