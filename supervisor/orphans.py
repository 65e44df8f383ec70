"""Processes that workers started and left behind: adopted, reaped, and ended with the service."""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

_SET_CHILD_SUBREAPER = 36
_ROUNDS = 100
"""How often it is looked whether there are new ones; what multiplies faster than that is the control group's affair."""


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
        """End them all, with all that came of them."""
        for _ in range(_ROUNDS):
            if not (left := self._all()):
                return
            for pidfd in _frozen(left).values():
                with suppress(ProcessLookupError, PermissionError):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                os.close(pidfd)
            for pid in left:  # our own children; theirs are ours, too, once these are gone
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


def _frozen(roots: Iterable[int]) -> dict[int, int]:
    """These processes and their descendants, all stopped: descriptors of them by pid, which the caller closes.

    One that does not run makes no others. To be killed one by one while they run, they could always be quicker.
    """
    stopped: dict[int, int] = {}
    for _ in range(_ROUNDS):
        before = len(stopped)
        waiting = [(pid, os.getpid()) for pid in roots]
        while waiting:
            pid, parent = waiting.pop()
            if pid not in stopped and (pidfd := _stop(pid, parent)) is not None:
                stopped[pid] = pidfd
            waiting += [(child, pid) for child in _children(pid)]
        if len(stopped) == before:
            break
    return stopped


def _stop(pid: int, parent: int) -> int | None:
    """Stop the child `pid` of `parent`; its descriptor, or None if it is not there, or is somebody else by now."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    with suppress(ProcessLookupError, PermissionError):
        if pid in _children(parent):
            signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
            return pidfd
    os.close(pidfd)
    return None


def _children(parent: int | str = "self") -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        with suppress(OSError):  # a thread that has just ended, or a kernel without the list
            found += map(int, task.read_bytes().split())
    return found
