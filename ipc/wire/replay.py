"""Which counters of one sender were seen. Offer a counter only after its tag was found right."""

from __future__ import annotations

from ipc.wire.frame import Refusal

LAST = 2**63
"""Counters from here on are refused: at 20,000 frames a second that is 14 million years away."""


class StrictCounter:
    """For carriers that keep order: exactly the next number is accepted, so loss and reordering show too."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0

    def check(self, counter: int) -> Refusal | None:
        """Why `counter` is no good, or None. Changes nothing."""
        if counter == self._next:
            return None if counter < LAST else Refusal.EXHAUSTED
        return Refusal.REPLAY if counter < self._next else Refusal.GAP

    def commit(self, counter: int) -> None:
        """`counter` was authentic; it is not new any more."""
        self._next = counter + 1
