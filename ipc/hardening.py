"""What a child does to itself before it imports anybody's code or holds any secret.

The order matters. Signals come first, so that none is lost while the application is imported. The death
signal is armed before the parent is looked at: a supervisor that died in between is then noticed either way.
What is done here does not survive `exec`, so a child does it, and says that it did, rather than its parent.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import resource
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

_SET_PDEATHSIG, _SET_DUMPABLE, _SET_NO_NEW_PRIVS = 1, 4, 38
_PROTECTIONS = (
    (_SET_DUMPABLE, 0, "other processes of this user may read this one's memory"),
    (_SET_NO_NEW_PRIVS, 1, "programs started from here may gain privileges"),
    (_SET_PDEATHSIG, signal.SIGKILL, "the kernel will not end this process with the supervisor"),
)
_STANDARD = frozenset({0, 1, 2})


class Orphaned(SystemExit):
    """The supervisor is gone: there is nobody to work for. Let it end the process."""

    def __init__(self) -> None:
        super().__init__("shunter: the supervisor is gone")


class Termination:
    """SIGTERM, noted from the first moment on and answered as soon as somebody can."""

    def __init__(self) -> None:
        self.asked = False
        self._answer: Callable[[], None] | None = None

    def then(self, answer: Callable[[], None]) -> None:
        """Call `answer` at each SIGTERM, in the main thread; at once if one was noted before."""
        self._answer = answer
        if self.asked:
            answer()

    def _note(self, _signal: int, _frame: FrameType | None) -> None:
        self.asked = True
        if self._answer is not None:
            self._answer()


def note_signals() -> Termination:
    """From now on SIGTERM is noted, SIGINT and SIGHUP are ignored, and a crash prints its frames."""
    termination = Termination()
    signal.signal(signal.SIGTERM, termination._note)  # noqa: SLF001 -- it is this module's own class
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Without a standard error there is nobody to print frames to, and that is no reason not to start.
    with suppress(OSError, ValueError, AttributeError, RuntimeError):
        faulthandler.enable()
    return termination


def harden(parent: int, keep: Iterable[int]) -> tuple[str, ...]:
    """Close this process to its neighbours; returns, in words, what the kernel did not grant.

    `parent` is the process that must still be the parent, `keep` the descriptors that stay open beside the
    standard ones. Raises Orphaned if the parent has died.
    """
    missing = _protect()
    if os.getppid() != parent:
        raise Orphaned
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    close_others(keep)
    return missing


def _protect() -> tuple[str, ...]:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
    return tuple(
        f"{without} ({os.strerror(ctypes.get_errno())})"
        for option, value, without in _PROTECTIONS
        if libc.prctl(option, value, 0, 0, 0) != 0
    )


def close_others(keep: Iterable[int]) -> None:
    """Leave only the standard descriptors and `keep` open; programs started from here inherit no other."""
    kept = _STANDARD | set(keep)
    for fd in _open_descriptors() - kept:
        with suppress(OSError):  # the directory that was listed is in the list
            os.close(fd)
    for fd in kept - _STANDARD:
        os.set_inheritable(fd, False)


def _open_descriptors() -> set[int]:
    try:
        return {int(name) for name in os.listdir("/proc/self/fd")}  # noqa: PTH208 -- names are all that is wanted
    except OSError:  # no /proc: try every number there can be
        return set(range(min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 65_536)))
