"""Groups whose workers are threads of web workers (`transport: memory`), shown as the groups they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ipc.messages.control import GroupStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from supervisor.child import Worker
    from supervisor.plan import GroupPlan


def hosted(plans: Iterable[GroupPlan], state: str, hosts: Iterable[Worker]) -> Iterator[GroupStatus]:
    """What can be seen of the embedded groups; `hosts` are the workers they live in, `state` is those's group's."""
    workers, slot = tuple(hosts), 1
    for plan in plans:
        told = []
        for host in workers:
            whole = host.status()
            seat = whole.name.partition("#")[0]
            for number in range(plan.workers):
                calls, running, _ = host.counts(slot + number)  # refusals are counted for the whole process
                name = f"{plan.name}-{number}@{seat}#{whole.incarnation}"
                own = {"name": name, "calls": calls, "running": running, "refused": 0, "cpu_seconds": 0.0}
                told.append(msgspec.structs.replace(whole, **own))
        slot += plan.workers
        yield GroupStatus(plan.name, state, tuple(told))
