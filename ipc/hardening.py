"""What a child does to itself before it imports anybody's code or holds any secret.

The order matters. Signals come first, so that none is lost while the application is imported. The death
signal is armed before the parent is looked at: a supervisor that died in between is then noticed either way.
What is done here does not survive `exec`, so a child does it, and says that it did, rather than its parent.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import pwd
import resource
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ipc.confinement import Confinement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

_SET_PDEATHSIG, _SET_DUMPABLE, _SET_NO_NEW_PRIVS = 1, 4, 38
_EXPOSED = "other processes of this user may read this one's memory"
_PROTECTIONS = (
    (_SET_DUMPABLE, 0, _EXPOSED),
    (_SET_NO_NEW_PRIVS, 1, "programs started from here may gain privileges"),
    (_SET_PDEATHSIG, signal.SIGKILL, "the kernel will not end this process with the supervisor"),
)
ON_PURPOSE = f"hardening.allow_debug is on: {_EXPOSED}, with its keys"
"""What a child lacks if it was told to."""
_STANDARD = frozenset({0, 1, 2})
_CAPABILITIES = 0x20080522  # _LINUX_CAPABILITY_VERSION_3: two sets of three words
_CODE = Path(__file__).parent.parent


class Orphaned(SystemExit):
    """The supervisor is gone: there is nobody to work for. Let it end the process."""

    def __init__(self) -> None:
        super().__init__("shunter: the supervisor is gone")


class Unfit(Exception):
    """This process cannot become what it was told to be, and trying again would not help."""


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
    """From now on SIGTERM is noted, SIGINT and SIGHUP are ignored, and a crash prints its frames; so does SIGQUIT."""
    termination = Termination()
    signal.signal(signal.SIGTERM, termination._note)  # noqa: SLF001 -- it is this module's own class
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Without a standard error there is nobody to print frames to, and that is no reason not to start.
    with suppress(OSError, ValueError, AttributeError, RuntimeError):
        faulthandler.enable()
        faulthandler.register(signal.SIGQUIT)  # all threads, also while one of them keeps the interpreter to itself
    return termination


def harden(parent: int, keep: Iterable[int], confinement: Confinement | None = None) -> tuple[str, ...]:
    """Close this process to its neighbours; returns, in words, what it lacks of that.

    `parent` is the process that must still be the parent, `keep` the descriptors that stay open beside the
    standard ones. Raises Orphaned if the parent has died, and Unfit if it cannot be the user it is to be.
    """
    confinement = confinement or Confinement()
    if confinement.uid is not None and confinement.gid is not None:
        # Before all else: with the user the kernel changes who may look in, and forgets the death signal.
        _become(confinement.uid, confinement.gid)
    missing = _protect(debug=confinement.debug)
    if os.getppid() != parent:
        raise Orphaned
    _leave_no_core()
    os.umask(confinement.umask)
    close_others(keep)
    return missing


def seal() -> bool:
    """Keep other processes of this user out of this one's memory: enough for who holds keys and starts children."""
    return _prctl(_SET_DUMPABLE, 0)


def at_parents_death(what: signal.Signals) -> bool:
    """Have this process be sent `what` when its parent dies; whether the kernel grants that."""
    return _prctl(_SET_PDEATHSIG, what)


def require_reach(paths: Iterable[Path]) -> None:
    """Raise Unfit unless this user can read the directories `paths`."""
    for path in paths:
        if not os.access(path, os.R_OK | os.X_OK):
            raise Unfit(f"user {_told(os.geteuid())} cannot read the directory {path}, or one above it")


def _protect(*, debug: bool) -> tuple[str, ...]:
    missing = []
    for option, value, without in _PROTECTIONS:
        if debug and option == _SET_DUMPABLE:
            _prctl(option, 1)  # said again: a change of user has taken it away
            missing.append(ON_PURPOSE)
        elif not _prctl(option, value):
            missing.append(f"{without} ({os.strerror(ctypes.get_errno())})")
    return tuple(missing)


def _prctl(option: int, value: int) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
    return bool(libc.prctl(option, value, 0, 0, 0) == 0)


def _leave_no_core() -> None:
    """One byte: too little for a core file, and the one value at which the kernel feeds no program with a core.

    At 0 it would, for `core_pattern` may name a program, and that has no limit.
    """
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    except (OSError, ValueError):  # somebody has forbidden it altogether
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _become(uid: int, gid: int) -> None:
    """Be `uid`, for good: one group, no capability, its own home. Raises Unfit."""
    try:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        _drop_capabilities()
    except OSError as error:
        raise Unfit(f"this process cannot become user {_told(uid)}: {error.strerror}") from error
    try:
        home, name = (entry := pwd.getpwuid(uid)).pw_dir, entry.pw_name
    except KeyError:  # a number is enough to be somebody
        home, name = "/", str(uid)
    for variable, value in (("HOME", home), ("USER", name), ("LOGNAME", name)):
        os.environ.setdefault(variable, value)
    require_reach([Path.cwd(), _CODE, Path(os.__file__).parent])


def _drop_capabilities() -> None:
    """A supervisor that is not root may have been given some to hand down. OSError if they cannot be let go."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset((ctypes.c_uint32 * 2)(_CAPABILITIES, 0), (ctypes.c_uint32 * 6)()) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _told(uid: int) -> str:
    try:
        return f"'{pwd.getpwuid(uid).pw_name}'"
    except KeyError:
        return str(uid)


def close_others(keep: Iterable[int]) -> None:
    """Leave only the standard descriptors and `keep` open; programs started from here inherit no other."""
    kept = _STANDARD | set(keep)
    for fd in open_descriptors() - kept:
        with suppress(OSError):  # the directory that was listed is in the list
            os.close(fd)
    for fd in kept - _STANDARD:
        os.set_inheritable(fd, False)


def open_descriptors() -> set[int]:
    """Every descriptor there is, and perhaps that of the list itself, which is closed by now."""
    try:
        return {int(name) for name in os.listdir("/proc/self/fd")}  # noqa: PTH208 -- names are all that is wanted
    except OSError:  # no /proc: try every number there can be
        return set(range(min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 65_536)))
