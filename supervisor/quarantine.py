"""Which requests are refused because the like of them killed worker after worker. Pure: time is an argument.

What a request is like is told by a mark that the web worker made of its node, parameters and body.
"""

from __future__ import annotations

from collections import OrderedDict

from ipc.messages.lifeline import Quarantined

KILLS = 2
"""Workers that may die of the same request."""
WITHIN = 600.0
"""Deaths longer ago than this are forgotten, seconds."""
SECONDS = 300.0
"""How long a quarantine lasts, seconds."""
MAX_MARKS = 1024
"""Marks that are remembered; beyond it the oldest is forgotten."""


class Quarantine:
    """Counts deaths by mark."""

    def __init__(self) -> None:
        self._deaths: OrderedDict[bytes, list[float]] = OrderedDict()
        self._until: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def suspect(self, node: str, mark: bytes, now: float) -> bool:
        """A worker died of a call of `node`; returns whether what has this mark is in quarantine from now on."""
        deaths = [death for death in self._deaths.pop(mark, []) if now - death < WITHIN][-KILLS:]
        deaths.append(now)
        if len(deaths) >= KILLS:
            self._until.pop(mark, None)
            self._until[mark] = node, now + SECONDS
            _bound(self._until)
            return True
        self._deaths[mark] = deaths
        _bound(self._deaths)
        return False

    def inmates(self, now: float) -> list[Quarantined]:
        """Who is in it, and for how many seconds more: what a new web worker is told."""
        return [Quarantined(node, mark, until - now) for mark, (node, until) in self._until.items() if until > now]


def _bound(table: OrderedDict[bytes, tuple[str, float]] | OrderedDict[bytes, list[float]]) -> None:
    while len(table) > MAX_MARKS:
        table.popitem(last=False)
