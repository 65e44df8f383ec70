"""Whether the control group this process is in was left to it, to make others in. Only reads; whoever runs it decides.

To be allowed to is no proof: root is allowed everywhere, and elsewhere the tree is systemd's, or a container engine's,
who remove what they have not made. There are two proofs. systemd marks the group of a unit with `Delegate=`, and of no
other. And what is the root of a control group namespace, but not of the machine, is a container's own.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

MARKS = ("user.delegate", "trusted.delegate")
"""The attributes in which systemd says that it leaves a group alone. The second is older, and only root may read it."""
_ROOT = PurePosixPath("/")


class _Mount(NamedTuple):
    """Where a part of the tree of control groups can be seen, and which part that is."""

    root: PurePosixPath
    point: Path


def is_marked(path: Path) -> bool:
    """Whether systemd has delegated this control group."""
    for mark in MARKS:
        with suppress(OSError):
            if os.getxattr(path, mark) == b"1":
                return True
    return False


def delegated(proc: Path = Path("/proc"), is_marked: Callable[[Path], bool] = is_marked) -> Path | None:
    """Where this process may make control groups; None: nowhere."""
    try:
        inside = _inside((proc / "self/cgroup").read_text(encoding="utf-8"))
        mounts = _mounts((proc / "self/mountinfo").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if inside is None or ".." in inside.parts:  # the latter: outside of our namespace
        return None
    for mount in mounts:
        if inside.is_relative_to(mount.root) and _is_usable(found := mount.point / inside.relative_to(mount.root)):
            return found if inside == _ROOT or is_marked(found) else None
    return None


def _inside(text: str) -> PurePosixPath | None:
    """Which group of version 2 this process is in, of `/proc/self/cgroup`."""
    for line in text.splitlines():
        number, controllers, path = line.split(":", 2)
        if (number, controllers) == ("0", ""):
            return PurePosixPath(path)
    return None


def _mounts(text: str) -> list[_Mount]:
    """Where version 2 is mounted, of `/proc/self/mountinfo`."""
    found = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        if after.split(" ", 1)[0] == "cgroup2":
            root, point = before.split(" ")[3:5]
            found.append(_Mount(PurePosixPath(_plain(root)), Path(_plain(point))))
    return found


def _plain(escaped: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), escaped)


def _is_usable(path: Path) -> bool:
    """Whether others can be made in it for processes. The root of the machine has no type, and is nobody's to use."""
    with suppress(OSError, ValueError):
        kind = (path / "cgroup.type").read_text(encoding="ascii").strip()
        return kind == "domain" and os.access(path, os.W_OK | os.X_OK) and os.access(path / "cgroup.procs", os.W_OK)
    return False
