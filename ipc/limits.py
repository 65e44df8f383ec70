"""What a child lets the kernel hold it to, before it imports anything of the application or starts anything."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipc.messages.settings import CommandSettings, ExecSettings, ResourceLimits


class Refused(Exception):
    """The kernel does not do what the configuration asks for, and trying again would not help."""


_RESOURCES = {
    "address_space": resource.RLIMIT_AS,
    "open_files": resource.RLIMIT_NOFILE,
    "processes": resource.RLIMIT_NPROC,
    "file_size": resource.RLIMIT_FSIZE,
}


def wanted(limits: ResourceLimits) -> Iterator[tuple[str, int, int]]:
    """The limits that are set: their names, the kernel's numbers for them, and how much."""
    for name, number in _RESOURCES.items():
        if (most := getattr(limits, name)) is not None:
            yield name, number, most


def without_effect(limits: ResourceLimits) -> Iterator[str]:
    """Limits that are set and hold nobody."""
    if limits.processes is not None and os.geteuid() == 0:
        yield "limits.processes: the kernel does not hold root to it; give the group a user"


def cores_of(settings: ExecSettings | CommandSettings, slot: int) -> tuple[int, ...]:
    """The cores that the worker of this seat may run on; none: all that its supervisor may."""
    if settings.spread and settings.cores:
        return (settings.cores[slot % len(settings.cores)],)
    return settings.cores


def apply(settings: ExecSettings | CommandSettings, slot: int) -> None:
    """Hold this process, its threads to come and its children to it, for good. Raises Refused."""
    try:
        if settings.nice:
            os.nice(settings.nice)
        if cores := cores_of(settings, slot):
            os.sched_setaffinity(0, cores)
    except OSError as error:
        told = f"nice {settings.nice}" if not settings.cores else f"nice {settings.nice}, cores {settings.cores}"
        raise Refused(f"this machine does not grant {told}: {error.strerror}") from error
    for name, number, most in wanted(settings.limits):
        try:
            resource.setrlimit(number, (most, most))  # both: a node must not take back what was said
        except (OSError, ValueError) as error:
            raise Refused(f"limits.{name} cannot be {most} here: {error}") from error
