"""Who may call whom: a web worker every exec worker, an exec worker those a pipeline leads to from its group. Pure.

While a group's workers are replaced by those of another edition there are both. Each calls its like, and the others
where they understand it: else the first new client would have the first new worker alone. Nobody old calls what is new
before it is decided that the new ones stay.

If not all of them could be had there are both until another change is carried out, and during that a third version.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ipc.messages.settings import ExecSettings, WebSettings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ipc.names import WorkerName
    from supervisor.plan import GroupPlan

MAX_UNFINISHED = 8
"""Of so many changes that were not carried out to their end it is remembered who understands whom."""


@dataclass(frozen=True, slots=True)
class _Passage:
    """From one edition to the next: who came before it and who came with it, or later."""

    edition: int
    changing: frozenset[str]
    before_do: frozenset[str]
    after_do: frozenset[str]
    decided: bool = False

    def lets(self, client: int, group: str, server: int) -> bool:
        """Whether a client of this edition may call a server of `group` of that one."""
        if group not in self.changing:
            return True
        new = server >= self.edition
        if client >= self.edition:
            return new or group in self.before_do
        return not new or (self.decided and group in self.after_do)


class Reach:
    """What the plan says of it, or two of them. Nobody is given a key for anybody else."""

    def __init__(self, plans: Iterable[GroupPlan]) -> None:
        self._onward = self._onward_before = _onward(plans)
        self._editions: dict[WorkerName, int] = {}  # of those who live
        self._passages: tuple[_Passage, ...] = ()
        """That under way, after those that were not finished."""

    def role(self, group: str) -> Literal["web", "exec"]:
        """As what the workers of a group call."""
        return "exec" if group in self._onward else "web"

    def dials(self, group: str) -> bool:
        """Whether the workers of a group call any others."""
        return bool(self._onward.get(group, True))

    def sees(self, client: str, group: str) -> bool:
        """Whether workers of the group `client` know how calls of `group` fare: theirs, or their clients'."""
        onward = self._onward.get(client)
        return group in onward if onward is not None else group == client or group in self._onward

    def covers(self, client: WorkerName, server: WorkerName) -> bool:
        """Whether `client` may call `server`."""
        onward = self._onward.get(client.group)
        return (onward is None or server.group in onward) and self._agree(client, server)

    def begin(
        self,
        plans: Iterable[GroupPlan],
        changing: Collection[str],
        edition: int,
        before_do: Collection[str] = (),
        after_do: Collection[str] = (),
    ) -> None:
        """The groups that are `changing` get workers of another edition, which are shown to nobody else yet.

        Of groups of which `before_do` old workers understand new callers, of those of which `after_do` new ones old
        callers.
        """
        new = {name: self._onward.get(name, frozenset()) | onward for name, onward in _onward(plans).items()}
        self._onward_before, self._onward = self._onward, self._onward | new
        passage = _Passage(edition, frozenset(changing), frozenset(before_do), frozenset(after_do))
        self._passages = (*self._passages[-MAX_UNFINISHED:], passage)

    def born(self, name: WorkerName, edition: int) -> None:
        """A life of a worker begins, in this edition."""
        self._editions[name] = edition

    def died(self, name: WorkerName) -> None:
        """It has ended."""
        self._editions.pop(name, None)

    def decide(self) -> None:
        """The new ones stay."""
        self._passages = (*self._passages[:-1], replace(self._passages[-1], decided=True))

    def part(self) -> None:
        """Those who are old and still call somebody have nobody of their like any more, or soon will not."""
        last = self._passages[-1]
        self._passages = (*self._passages[:-1], replace(last, after_do=last.changing))

    def undo(self) -> None:
        """The new ones do not stay: all is as it was before they began."""
        self._onward, self._passages = self._onward_before, self._passages[:-1]

    def end(self, plans: Iterable[GroupPlan]) -> None:
        """All workers are of one edition, that of these plans."""
        self._onward = _onward(plans)
        self._passages = ()

    def _agree(self, client: WorkerName, server: WorkerName) -> bool:
        if not self._passages:
            return True
        asks, does = (self._editions.get(name, 0) for name in (client, server))
        return all(passage.lets(asks, server.group, does) for passage in self._passages)


def _onward(plans: Iterable[GroupPlan]) -> dict[str, frozenset[str]]:
    return {
        plan.name: frozenset(plan.settings.forwards.values() if isinstance(plan.settings, ExecSettings) else ())
        for plan in plans
        if not isinstance(plan.settings, WebSettings)
    }
