"""How many workers a group should have, by how long calls wait for one. Pure: no clock, no process, no dice.

Up is quick: as soon as waits have been over the target for a moment, in proportion, to twice as many at most. Down is
slow: one at a time, when those that remain would still be far from busy, and that has been so for a while. If a step
down had to be taken back, the next one is waited for twice as long, so that a load that does not change is not
followed by sizes that do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, inf
from typing import NamedTuple

UP_AFTER = 1.0
"""For how long waits must have been over the target, seconds."""
UP_COOLDOWN = 4.0
"""The time after any change in which there is no other one up, seconds: old waits must not count against it."""
DOWN_AFTER = 30.0
"""For how long fewer workers must have been enough, seconds, since the last change too."""
MAX_DOWN_AFTER = 600.0
"""The most that it may become by steps down that were taken back, seconds."""
TAKEN_BACK = 4.0
"""A step up within so many times that wait says that the one down before it was wrong."""
LEAST_BUSY = 0.25
"""Below this share of their time that workers are busy, waits are those of a burst that is over before a worker has
started."""
ROOM = 0.6
"""The share of their time that those who remain may be busy after a step down."""
EASE = 0.5
"""The part of the target that waits must be below for a step down."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """What a group says of it. Seconds."""

    least: int
    most: int
    target: float
    """How long nine of ten calls should wait at most."""

    def within(self, workers: int) -> int:
        """The nearest number that is allowed."""
        return min(max(workers, self.least), self.most)


class Look(NamedTuple):
    """What is seen of a group at one moment."""

    size: int
    wait: float
    """What nine of ten calls waited at most a moment ago, or the longest that one waits now, seconds."""
    busy: float
    """The share of their time for which workers ran something, a moment ago."""
    steady: float
    """The same over a longer time."""


@dataclass(frozen=True, slots=True)
class Course:
    """What is remembered between looks. Times are those of the looks, seconds."""

    changed: float = -inf
    over_since: float | None = None
    """Since when waits are over the target."""
    calm_since: float | None = None
    """Since when fewer would be enough."""
    down_after: float = DOWN_AFTER
    fell: float = -inf
    """When it last went down."""
    regret: float = 0.0
    """Under which load that was wrong, in busy workers."""


def decide(scaling: Scaling, course: Course, look: Look, now: float) -> tuple[int, Course]:
    """How many workers it should have now, and what to remember."""
    size = scaling.within(look.size)
    if size != look.size:
        return size, _changed(course, now)
    load = look.steady * size
    if load < course.regret / 2:  # another load than the one for which it was learnt
        course = replace(course, down_after=DOWN_AFTER, regret=0.0)
    over = look.wait > scaling.target and look.busy >= LEAST_BUSY
    calm = size > scaling.least and look.wait <= EASE * scaling.target and load <= ROOM * (size - 1)
    course = replace(
        course,
        over_since=_since(course.over_since, now) if over else None,
        calm_since=_since(course.calm_since, now) if calm else None,
    )
    if course.over_since is not None and size < scaling.most and now - course.over_since >= UP_AFTER:
        if now - course.changed < UP_COOLDOWN:
            return size, course
        wanted = ceil(min(2.0 * size, size * look.wait / scaling.target))
        return min(scaling.most, max(size + 1, wanted)), _risen(course, load, now)
    if course.calm_since is not None and now - max(course.calm_since, course.changed) >= course.down_after:
        return size - 1, replace(_changed(course, now), fell=now)
    return size, course


def _since(before: float | None, now: float) -> float:
    return now if before is None else before


def _changed(course: Course, now: float) -> Course:
    return replace(course, changed=now, over_since=None, calm_since=None)


def _risen(course: Course, load: float, now: float) -> Course:
    risen = _changed(course, now)
    if now - course.fell > TAKEN_BACK * course.down_after:
        return risen
    # Only once for each step down, and with the load as it is while calls wait: it is not less than what it was.
    return replace(risen, down_after=min(MAX_DOWN_AFTER, 2 * course.down_after), fell=-inf, regret=load)
