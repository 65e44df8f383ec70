"""Who workers can be: other users, if the one who starts the service may become them."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from msgspec import UNSET

from supervisor.errors import ConfigError, ConfigFaults
from supervisor.process_group import WEB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from supervisor.config import Config

_NOBODY_AT_ALL = 2**32 - 1
"""To the kernel this number means: do not change."""
_NEEDED = 1 << 5 | 1 << 6 | 1 << 7
"""CAP_KILL, CAP_SETGID and CAP_SETUID: to become somebody else, and to end what has become somebody else."""


class Identity(NamedTuple):
    """Somebody a worker becomes."""

    uid: int
    gid: int


def identities(config: Config) -> dict[str, Identity]:
    """Whom the workers of which group become; ConfigError for all that cannot be."""
    found: dict[str, Identity] = {}
    faults: list[ConfigError] = []
    for n, group in enumerate(config.runtime.platform.process_groups):
        if group.user is UNSET:
            continue
        try:
            identity = look_up(group.user)
        except ConfigError as error:
            faults.append(error)
        else:
            if os.geteuid() == identity.uid:
                continue  # nothing to become; a service runs like this at a developer's, too
            found[group.name] = identity
            if may_change():
                continue
            faults.append(
                ConfigError(
                    f"workers of '{group.name}' cannot become user '{group.user}': only root may change who it is",
                    hint="start Shunter as root (under systemd: without User=), or leave the key out",
                )
            )
        faults[-1].key = f"runtime.platform.process_groups.{n}.user"
    ConfigFaults.raise_for(faults)
    return found


def look_up(user: str) -> Identity:
    """A user by name or number; a number without a name has the group of the same number. Raises ConfigError."""
    try:
        entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
        identity = Identity(entry.pw_uid, entry.pw_gid)
    except (KeyError, OverflowError):
        if not user.isdecimal() or int(user) >= _NOBODY_AT_ALL:
            hint = "make one with: useradd --system " + user if not user.isdecimal() else ""
            raise ConfigError(f"there is no user '{user}' on this machine", hint=hint) from None
        identity = Identity(int(user), int(user))
    if 0 in identity:
        raise ConfigError(
            f"'{user}' is root or has root's group, and that confines nothing",
            hint="name a user of its own; leave the key out to run as who starts Shunter",
        )
    return identity


def may_change(status: Path = Path("/proc/self/status")) -> bool:
    """Whether a child started from here could become another user."""
    # What root has it hands down; anybody else only what is called ambient.
    kept = "CapEff:" if os.geteuid() == 0 else "CapAmb:"
    try:
        sets = dict(line.split(maxsplit=1) for line in status.read_text(encoding="utf-8").splitlines() if "Cap" in line)
    except OSError:
        return os.geteuid() == 0
    return int(sets.get(kept, "0"), 16) & _NEEDED == _NEEDED


def of_everybody(config: Config, found: Mapping[str, Identity]) -> Identity | None:
    """Who imports the application to describe it: somebody who is not us, if no worker is."""
    platform = config.runtime.platform
    embedded = platform.execution_ipc.transport == "memory"
    importing = (group.name for group in platform.process_groups if group.role == "exec" and not embedded)
    names = {WEB, *importing}
    return next(found[name] for name in found if name in names) if names <= found.keys() else None
