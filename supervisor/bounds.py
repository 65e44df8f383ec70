"""What a group says of its workers' lives and limits, in the form in which it is kept to. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from ipc.messages.settings import ResourceLimits
from supervisor.policy import RestartPolicy
from supervisor.recycling import KILL_AT, Recycling
from supervisor.scaling import Scaling
from supervisor.sizes import in_bytes

if TYPE_CHECKING:
    from supervisor.machine import Machine
    from supervisor.process_group import ProcessGroup


def recycling_of(group: ProcessGroup) -> Recycling:
    """When its workers are replaced."""
    memory = None if group.max_memory is UNSET else in_bytes(group.max_memory)
    kill = None if memory is None else int(memory * KILL_AT)
    return Recycling(
        None if group.max_requests is UNSET else group.max_requests,
        group.max_requests_jitter,
        memory,
        kill if group.max_memory_kill is UNSET else in_bytes(group.max_memory_kill),
    )


def scaling_of(group: ProcessGroup) -> Scaling | None:
    """Between which numbers of workers its load decides; None if there is one number."""
    asked = group.workers
    return None if isinstance(asked, int) else Scaling(asked.min, asked.max, asked.target_wait_ms / 1000)


def least_of(group: ProcessGroup) -> int:
    """With how many workers it starts."""
    return group.workers if isinstance(group.workers, int) else group.workers.min


def most_of(group: ProcessGroup) -> int:
    """How many workers it may come to have."""
    return group.workers if isinstance(group.workers, int) else group.workers.max


def policy_of(group: ProcessGroup) -> RestartPolicy:
    """When a worker of its that died is started again, and who with it."""
    asked = group.restart
    return RestartPolicy(
        asked.limit,
        asked.stable_seconds,
        asked.backoff_seconds,
        asked.backoff_max_seconds,
        asked.jitter,
        asked.strategy,
    )


def cores_of(group: ProcessGroup, machine: Machine | None) -> tuple[int, ...]:
    """The cores they may run on, those of `machine` if they are spread over all; none: nothing is said."""
    if group.cpu_affinity == "spread":
        return () if machine is None else machine.cores
    return () if group.cpu_affinity is UNSET else group.cpu_affinity


def limits_of(group: ProcessGroup) -> ResourceLimits:
    """What the kernel allows each."""
    asked = group.limits
    return ResourceLimits(
        address_space=None if asked.address_space is UNSET else in_bytes(asked.address_space),
        open_files=None if asked.open_files is UNSET else asked.open_files,
        processes=None if asked.processes is UNSET else asked.processes,
        file_size=None if asked.file_size is UNSET else in_bytes(asked.file_size),
    )
