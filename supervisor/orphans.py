"""Processes that workers started and left behind: adopted, reaped, and ended with the service."""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

_SET_CHILD_SUBREAPER = 36
_ROUNDS = 100
"""Each round ends one generation; a process that multiplies faster than that is the control group's affair."""


class Orphans:
    """All descendants whose parents are gone; `ours` are the processes somebody else looks after."""

    def __init__(self, ours: Callable[[], Container[int]]) -> None:
        self._ours = ours
        self._before = frozenset(_children())  # of this process, but not of this service

    def reap(self) -> None:
        """Take note of the ends of those that ended, so that no zombie stays."""
        for pid in self._all():
            with suppress(ChildProcessError):
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)

    def end(self) -> None:
        """End them all, and those they leave behind in turn."""
        for _ in range(_ROUNDS):
            if not (left := self._all()):
                return
            for pid in left:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)  # our own child until it is reaped, so the pid is still its
                with suppress(ChildProcessError):
                    os.waitid(os.P_PID, pid, os.WEXITED)

    def _all(self) -> list[int]:
        ours = self._ours()
        return [pid for pid in _children() if pid not in self._before and pid not in ours]


@contextmanager
def adopted() -> Iterator[None]:
    """Meanwhile descendants whose parents die become children of this process, and not of PID 1."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0)
    try:
        yield
    finally:
        prctl(_SET_CHILD_SUBREAPER, ctypes.c_ulong(0), 0, 0, 0)


def _children() -> list[int]:
    found: list[int] = []
    for task in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # a thread that has just ended, or a kernel without the list
            found += map(int, task.read_bytes().split())
    return found
