"""Who may call whom: a web worker every exec worker, an exec worker those a pipeline leads to from its group. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ipc.messages.settings import ExecSettings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipc.names import WorkerName
    from supervisor.plan import GroupPlan


class Reach:
    """What the plan says of it. Nobody is given a key for anybody else."""

    def __init__(self, plans: Iterable[GroupPlan]) -> None:
        self._onward = {
            plan.name: frozenset(plan.settings.forwards.values())
            for plan in plans
            if isinstance(plan.settings, ExecSettings)
        }

    def role(self, group: str) -> Literal["web", "exec"]:
        """As what the workers of a group call."""
        return "exec" if group in self._onward else "web"

    def dials(self, group: str) -> bool:
        """Whether the workers of a group call any others."""
        return bool(self._onward.get(group, True))

    def covers(self, client: WorkerName, server: WorkerName) -> bool:
        """Whether `client` may call `server`."""
        onward = self._onward.get(client.group)
        return onward is None or server.group in onward
