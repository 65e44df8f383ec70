"""Who may call whom: a web worker every exec worker, an exec worker those a pipeline leads to from its group. Pure.

While a group's workers are replaced by those of another edition there are both. Each calls its like, and the others
where they understand it: else the first new client would have the first new worker alone. Nobody old calls what is new
before it is decided that the new ones stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ipc.messages.settings import ExecSettings, WebSettings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ipc.names import WorkerName
    from supervisor.plan import GroupPlan


class Reach:
    """What the plan says of it, or two of them. Nobody is given a key for anybody else."""

    def __init__(self, plans: Iterable[GroupPlan]) -> None:
        self._onward = _onward(plans)
        self._newcomers: set[WorkerName] = set()
        self._changing: frozenset[str] = frozenset()
        self._before_do: frozenset[str] = frozenset()
        self._after_do: frozenset[str] = frozenset()
        self._decided = True
        self._edition = 0

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
        for name, onward in _onward(plans).items():
            self._onward[name] = self._onward.get(name, frozenset()) | onward
        self._newcomers.clear()
        self._changing = frozenset(changing)
        self._before_do, self._after_do = frozenset(before_do), frozenset(after_do)
        self._decided, self._edition = False, edition

    def born(self, name: WorkerName, edition: int) -> None:
        """A life of a worker begins, in this edition."""
        if self._changing and edition == self._edition:
            self._newcomers.add(name)

    def decide(self) -> None:
        """The new ones stay."""
        self._decided = True

    def part(self) -> None:
        """Those who are old and still call somebody have nobody of their like any more, or soon will not."""
        self._after_do = self._changing

    def end(self, plans: Iterable[GroupPlan]) -> None:
        """All workers are of one edition, that of these plans."""
        self._onward = _onward(plans)
        self._newcomers.clear()
        self._changing, self._decided = frozenset(), True

    def _agree(self, client: WorkerName, server: WorkerName) -> bool:
        if server.group not in self._changing:
            return True
        new = server in self._newcomers
        if client in self._newcomers:
            return new or server.group in self._before_do
        return not new or (self._decided and server.group in self._after_do)


def _onward(plans: Iterable[GroupPlan]) -> dict[str, frozenset[str]]:
    return {
        plan.name: frozenset(plan.settings.forwards.values() if isinstance(plan.settings, ExecSettings) else ())
        for plan in plans
        if not isinstance(plan.settings, WebSettings)
    }
