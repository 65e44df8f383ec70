"""Processes that workers started and left behind: adopted, reaped, and ended with the service."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from supervisor import aftermath

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

_SET_CHILD_SUBREAPER = 36
_ROUNDS = 100
"""How often it is looked whether there are new ones; what multiplies faster than that is the control group's affair."""
END_TIME = 10.0
"""How long it is waited in all for those that were killed, seconds: the kernel may be unable to end one."""
_TICK = 0.005


class _Found(NamedTuple):
    """A descendant, and the process whose child it is."""

    pid: int
    parent: int


class Orphans:
    """All descendants whose parents are gone; `ours` are the processes somebody else looks after."""

    def __init__(self, ours: Callable[[], Container[int]]) -> None:
        self._ours = ours
        self._before = frozenset(_children(os.getpid()))  # of this process, but not of this service

    def reap(self) -> None:
        """Take note of the ends of those that ended, so that no zombie stays."""
        if os.getpid() == 1:  # nobody else takes note of anybody's
            ours = self._ours()
            strangers = [pid for pid in _children(1) if pid not in ours]
        else:
            strangers = self._all()
        for pid in strangers:
            _reap(pid)

    def end(self) -> None:
        """End them all, with all that came of them, as far as that is allowed. Never raises."""
        until = time.monotonic() + END_TIME
        for _ in range(_ROUNDS):
            if not (stopped := _freeze(self._all())):
                return
            for found in reversed(stopped):  # children first: by their parents it is seen that they are still they
                _send(found, signal.SIGKILL)
            # Our own children are waited for; theirs are ours, too, once these are gone.
            left = [pid for pid, parent in stopped if parent == os.getpid()]
            while (left := [pid for pid in left if not _reap(pid)]) and time.monotonic() < until:
                time.sleep(_TICK)

    def _all(self) -> list[int]:
        ours = self._ours()
        return [pid for pid in _children(os.getpid()) if pid not in self._before and pid not in ours]


@contextmanager
def adopted() -> Iterator[None]:
    """Meanwhile descendants whose parents die become children of this process, and not of PID 1."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0)
    try:
        yield
    finally:
        prctl(_SET_CHILD_SUBREAPER, ctypes.c_ulong(0), 0, 0, 0)


def _freeze(roots: Iterable[int]) -> list[_Found]:
    """Stop these processes and their descendants; returns those that could be, parents before children.

    One that does not run makes no others. To be killed one by one while they run, they could always be quicker.
    No descriptor of them is kept: there may be more of them than this process may have files.
    """
    stopped: dict[_Found, None] = {}
    for _ in range(_ROUNDS):
        before = len(stopped)
        waiting = [_Found(pid, os.getpid()) for pid in roots]
        while waiting:
            found = waiting.pop()
            if found not in stopped and _send(found, signal.SIGSTOP):
                stopped[found] = None
            waiting += [_Found(child, found.pid) for child in _children(found.pid)]
        if len(stopped) == before:
            break
    return list(stopped)


def _send(found: _Found, what: signal.Signals) -> bool:
    """Send it a signal; False if it may not be, is not there, or is somebody else by now."""
    if found.parent == os.getpid():  # nobody else gets its number before it is reaped, and that is done here
        with suppress(OSError):
            os.kill(found.pid, what)
            return True
        return False
    return aftermath.send(found.pid, what, lambda: _is_child(found))


def _reap(pid: int) -> bool:
    """Whether this child of ours is over and done with."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG) is not None
    except OSError:
        return True


def _is_child(found: _Found) -> bool:
    """Whether it lives and has still that parent."""
    with suppress(OSError, ValueError, IndexError):
        state, parent = _read(f"/proc/{found.pid}/stat").rpartition(b")")[2].split()[:2]
        return state != b"Z" and int(parent) == found.parent
    return False


def _children(parent: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in os.listdir(f"/proc/{parent}/task"):  # noqa: PTH208 - thousands of times, as below
            with suppress(OSError):  # a thread that has just ended, or a kernel without the list
                found += map(int, _read(f"/proc/{parent}/task/{task}/children").split())
    return found


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a Path is slow, and somebody multiplies
        return file.readall()
