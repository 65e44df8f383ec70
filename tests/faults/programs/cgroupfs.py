"""A control group of the kernel's that is delegated as systemd does it, where whoever runs the tests may make one."""

from __future__ import annotations

import os
import re
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from supervisor import aftermath
from supervisor.delegation import MARKS

if TYPE_CHECKING:
    from collections.abc import Iterator

MINE = re.compile(r"^0::(/.*)$", re.MULTILINE)
MOUNT = re.compile(r"^\S+ \S+ \S+ / (\S+) .* - cgroup2 ", re.MULTILINE)


@contextmanager
def delegated_group() -> Iterator[Path | None]:
    """None: there is no writable one."""
    path = made()
    if path is None:
        yield None
        return
    try:
        yield path
    finally:
        assert aftermath.clear(str(path), 30.0)


def made() -> Path | None:
    mine = MINE.search(Path("/proc/self/cgroup").read_text())
    mount = MOUNT.search(Path("/proc/self/mountinfo").read_text())
    if mine is None or mount is None:
        return None
    path = Path(mount[1] + mine[1].rstrip("/")) / f"shunter-test-{secrets.token_hex(8)}"
    try:
        path.mkdir()
        os.setxattr(path, MARKS[0], b"1")
        with (path / "cgroup.procs").open("w"):
            return path
    except OSError:
        if path.exists():
            path.rmdir()
        return None


def group_of(pid: int) -> str:
    """In which group of version 2 a process is."""
    found = MINE.search(Path(f"/proc/{pid}/cgroup").read_text())
    return "" if found is None else found[1]
