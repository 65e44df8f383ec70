"""Which counters of one sender were seen. Offer a counter only after its tag was found right."""

from __future__ import annotations

from array import array
from typing import Protocol

from ipc.wire.frame import Refusal

LAST = 2**63
"""Counters from here on are refused: at 20,000 frames a second that is 14 million years away."""
LEAST_WINDOW = 64
"""A window remembers at least so many."""
_WORD = 64


class Replay(Protocol):
    """What a session asks for each frame: `check` before the tag is looked at, `commit` after it was right."""

    def check(self, counter: int) -> Refusal | None:
        """Why `counter` is no good, or None. Changes nothing."""
        ...

    def commit(self, counter: int) -> None:
        """`counter` was authentic; it is not new any more."""
        ...


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


def rounded(size: int) -> int:
    """How many counters a window of `size` really holds: whole words of bits."""
    return -(-size // _WORD) * _WORD


class BitmapWindow:
    """For carriers that may reorder: each number is accepted once, none that is over `size` behind the newest.

    The ring of words of RFC 6479: a number has its bit at a place that never moves, and the newest number clears
    the words it steps over. One word more than `size` needs lets the window begin in the middle of a word.
    """

    __slots__ = ("_size", "_top", "_words")

    def __init__(self, size: int) -> None:
        """`size` is rounded up to a whole word. Raises ValueError for one that is next to none."""
        if size < LEAST_WINDOW:
            raise ValueError(f"a window of {size} counters; at least {LEAST_WINDOW} are needed")
        self._size = rounded(size)
        self._top = -1
        self._words = array("Q", bytes(8 * (self._size // _WORD + 1)))

    def check(self, counter: int) -> Refusal | None:
        """Why `counter` is no good, or None. Changes nothing."""
        if counter > self._top:
            return None if counter < LAST else Refusal.EXHAUSTED
        if counter < 0 or counter < self._top - self._size:
            return Refusal.TOO_OLD
        word = self._words[counter // _WORD % len(self._words)]
        return Refusal.REPLAY if word >> counter % _WORD & 1 else None

    def commit(self, counter: int) -> None:
        """`counter` was authentic; it is not new any more."""
        words, place = self._words, counter // _WORD
        ring = len(words)
        if counter > self._top:
            newest = self._top // _WORD  # -1 at first: every word is clear then
            for step in range(min(place - newest, ring)):
                words[(place - step) % ring] = 0
            self._top = counter
        words[place % ring] |= 1 << counter % _WORD
