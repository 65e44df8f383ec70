"""How long things took, counted in so many buckets: each is a quarter of a power of two wide. Pure.

Good for a p99 that is at most a fifth off, from a millionth of a second to an hour, in the room of a short message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOST = 4000.0
"""What takes longer counts as this, seconds."""
_UNIT = 1e6  # buckets begin at one microsecond
_STEPS = 2  # bits by which each power of two is divided
_FIRST = 1 << _STEPS


def bucket(seconds: float) -> int:
    """In which it is counted."""
    if not 0.0 <= seconds < MOST:
        seconds = 0.0 if seconds < 0.0 else MOST
    whole = int(seconds * _UNIT) + _FIRST
    power = whole.bit_length() - _STEPS - 1
    return (power << _STEPS) + (whole >> power) - _FIRST


BUCKETS = bucket(MOST) + 1


def lower(number: int) -> float:
    """The least that is counted in a bucket, seconds; of the next one it is where this one ends."""
    power, step = divmod(number, _FIRST)
    return (((_FIRST + step) << power) - _FIRST) / _UNIT


def quantile(counts: Sequence[int], part: float) -> float:
    """What `part` of them, 0 to 1, did not exceed, seconds; 0 if there are none."""
    left = part * sum(counts)
    for number, count in enumerate(counts):
        if count and count >= left:
            begin, end = lower(number), lower(number + 1)
            return begin + (end - begin) * left / count
        left -= count
    return 0.0


def merged(all_counts: Iterable[Sequence[int]]) -> list[int]:
    """All of them together."""
    total = [0] * BUCKETS
    for counts in all_counts:
        add(total, counts)
    return total


def add(total: list[int], counts: Sequence[int]) -> None:
    """Count these too."""
    for number, count in enumerate(counts):
        if count:
            total[number] += count


def trimmed(counts: Sequence[int]) -> tuple[int, ...]:
    """Without the empty buckets at the end."""
    end = next((number for number in range(len(counts), 0, -1) if counts[number - 1]), 0)
    return tuple(counts[:end])
