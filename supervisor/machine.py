"""What the machine grants this process, and so at most its children: looked up once, for checks before a start."""

from __future__ import annotations

import os
import resource
from typing import NamedTuple


class Machine(NamedTuple):
    """Where a service is to run."""

    cores: tuple[int, ...]
    """The processor cores that may be used."""
    open_files: int
    """The most descriptors a process may be allowed to open."""
    root: bool
    """Whether the supervisor is root, to whom some limits do not apply."""


def look_around() -> Machine:
    """This machine, as this process may use it."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return Machine(
        cores=tuple(sorted(os.sched_getaffinity(0))),
        open_files=2**62 if most == resource.RLIM_INFINITY else most,
        root=os.geteuid() == 0,
    )
