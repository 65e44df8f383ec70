"""Which calls are tried again when their worker is gone, and how many. Pure.

What was not begun goes to another worker, whatever it is: the first has done nothing of it. What may have been begun is
tried again only if twice does no harm, and only so often: retries help while few calls fail and do harm when many do,
for they come on top of a load that cannot be borne as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ipc.errors import LinkLost, WorkerDied, WorkerGone
from ipc.flow.fate import Fate

if TYPE_CHECKING:
    from ipc.errors import IpcError

ATTEMPTS = 2
"""How often a call is begun at most."""
SHARE = 0.1
"""Retries for each call."""
SAVED = 10.0
"""Retries that may be saved up, and are there at the start: a quiet group has some too."""


class RetryBudget:
    """The retries of one group as one process counts them: each call earns a part of one."""

    __slots__ = ("_saved",)

    def __init__(self) -> None:
        self._saved = SAVED

    def earn(self) -> None:
        """A call was made."""
        if self._saved < SAVED:
            self._saved = min(SAVED, self._saved + SHARE)

    def spend(self) -> bool:
        """Whether one more may be tried again; it is counted."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True


class Tried(Protocol):
    """What has to be known of a call."""

    attempts: int
    """Workers that were gone before they had answered it."""
    begun: bool
    """Whether one of those may have begun it."""
    idempotent: bool


def verdict(call: Tried, fate: Fate, worker: str, budget: RetryBudget) -> IpcError | None:
    """What the caller is told of a call whose worker is gone; None: it is tried again. The call takes note."""
    call.attempts += 1
    again = call.attempts < ATTEMPTS
    if fate is Fate.NOT_BEGUN and not call.begun:
        return None if again else WorkerGone(f"{worker} was gone before it began, and so was another worker before")
    if fate is not Fate.NOT_BEGUN:
        call.begun = True
    if again and call.idempotent and budget.spend():
        return None
    if fate is Fate.UNKNOWN:
        return LinkLost(f"{worker} was gone before it answered")
    return WorkerDied(f"{worker} died before it answered")
