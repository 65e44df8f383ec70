"""What this process has refused: plain counters, and a line in the log now and then."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ipc.clock import now

if TYPE_CHECKING:
    from ipc.log import Log
    from ipc.scoreboard import Scoreboard
    from ipc.wire.frame import Refusal

PAUSE = 1.0
"""Refusals of one reason get one line in this time at most, seconds: whoever sends garbage does not fill the disk."""

refusals: Counter[Refusal] = Counter()
"""How often what was refused since the process began."""


class _Report:
    log: Log | None = None
    page: Scoreboard | None = None
    quiet_until: dict[Refusal, float] = {}  # noqa: RUF012 - one for the process


def report_to(log: Log, page: Scoreboard) -> None:
    """From now on refusals are told to the log, and counted in the page that the supervisor reads."""
    _Report.log, _Report.page = log, page


def refuse(reason: Refusal) -> None:
    """Count one refusal. Neither the peer nor what it sent is told to anybody."""
    refusals[reason] += 1
    if _Report.page is not None:
        _Report.page.refuse()
    if _Report.log is not None and (time := now()) >= _Report.quiet_until.get(reason, 0.0):
        _Report.quiet_until[reason] = time + PAUSE
        _Report.log.warning("refused", reason=reason.value, so_far=refusals[reason])
