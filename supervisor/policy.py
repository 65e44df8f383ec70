"""When a child that died is started again, and who with it. Pure: no clock, no process, no dice of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

Strategy: TypeAlias = Literal["one_for_one", "one_for_all", "rest_for_one"]


@dataclass(frozen=True, slots=True)
class Restart:
    """Start it again `after` so many seconds; `row` is the number of crashes in a row, this one included."""

    after: float
    row: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not start it again before somebody asks for it."""

    row: int


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Wait twice as long after each crash in a row; give up after `limit` of them. Seconds.

    A child that was up for `stable` seconds begins a new row. A row, and not a window of time: a child that takes
    long to fail would never fill a window, and be started for ever.
    """

    limit: int = 10
    stable: float = 60.0
    base: float = 0.1
    cap: float = 30.0
    jitter: float = 0.2
    """By how much of itself a wait may be shorter or longer, so that a whole group does not start at once."""
    strategy: Strategy = "one_for_one"

    def taken_along(self, slot: int, seats: int) -> range:
        """Who of so many seats does not go on without the one in `slot`, as OTP has it. May name that one, too."""
        match self.strategy:
            case "one_for_one":
                return range(0)
            case "one_for_all":
                return range(seats)
            case "rest_for_one":
                return range(slot + 1, seats)

    def suffices(self, up: Sequence[bool]) -> bool:
        """Whether a first start is one, if these of the seats are up: none depends on another, or all do."""
        return all(up) if self.strategy == "one_for_all" else any(up)

    def decide(self, row: int, lived: float, dice: float) -> Restart | GiveUp:
        """Judge a crash after `row` others, of a child that was up for `lived`; `dice` is in [0, 1)."""
        row = 1 if lived >= self.stable else row + 1
        if row > self.limit:
            return GiveUp(row)
        # An exponent is capped before it is one: 2.0 ** 5000 is no number of seconds but an error.
        wait = min(self.cap, self.base * 2.0 ** min(row - 1, 64))
        return Restart(wait * (1.0 + self.jitter * (2.0 * dice - 1.0)), row)
