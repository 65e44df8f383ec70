"""One running process: what is held of it, how it is ended, and how it ended. Nothing of when or why."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipc.clock import now
from ipc.errors import Misuse
from supervisor.ending import Ending

if TYPE_CHECKING:
    import socket
    import subprocess

    from ipc.ledger import Ledger
    from ipc.names import WorkerName
    from ipc.scoreboard import Scoreboard
    from supervisor.cgroups import Cgroups
    from supervisor.oom import OutOfMemory
    from supervisor.warden import Warden

REAPING = 10.0
"""How long `Popen` may take to read the code of a process that has exited, seconds."""
_EARLY = 0.05
"""By how much a guard's clock may ring before ours, seconds."""


@dataclass(slots=True)
class Process:
    """A running child and everything the supervisor holds of it. Whoever has it must `end` it once it has exited."""

    name: WorkerName
    pid: int | None
    """None while it is being forked: who it is will be known from the first it says."""
    pidfd: int
    """Readable once it has exited; names this process and never another with the same pid. -1 without a pid."""
    lifeline: socket.socket
    stdout: int
    stderr: int
    page: Scoreboard
    ledger: Ledger
    _out_of_memory: OutOfMemory
    _warden: Warden | None
    _cgroups: Cgroups | None
    guard: bool = False
    """Whether it holds a program that is not ours."""
    popen: subprocess.Popen[bytes] | None = None
    """Whoever was started by exec; None: it was forked."""
    crashed: bool = False
    """Whether it ended by its own doing, and not by a signal somebody sent; known once it was ended."""
    _killed: bool = False
    _told: tuple[int, float, float] = (0, 0.0, 0.0)
    """By which signal its guard was told to end it, how long it has for that, and when that was; seconds."""

    def is_born_as(self, pid: int) -> bool:
        """Whether process `pid`, which the kernel says speaks for it, is a child of ours; it is known from then on."""
        if self._warden is not None and self._warden.knows(pid):  # it spoke, died, and another worker got its number
            return False
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return False
        try:
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            os.close(pidfd)
            return False
        self.is_known(pid, pidfd)
        return True

    def is_known(self, pid: int, pidfd: int) -> None:
        """From now on it is this process."""
        self.pid, self.pidfd = pid, pidfd
        if self._cgroups is not None:
            self._cgroups.take_in(pid, self.name)
        if self._warden is not None:
            self._warden.note(pid, guard=self.guard)

    def dump(self) -> None:
        """Have it print its stacks, which works whatever it is busy with; no error if it has exited already."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGQUIT)

    def is_told(self, what: int, patience: float) -> None:
        """It holds a program, which it is to end by this signal, and by force when so many seconds are over."""
        self._told = (what, patience, now())

    def kill(self) -> None:
        """Send SIGKILL; no error if it has exited already."""
        if self.pid is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            self._killed = True

    def end(self) -> str:
        """Kill what is left of its groups, reap it, let go of all but its streams; how it ended, in words."""
        self.page.close()
        self.ledger.close()
        if self.pid is None:  # whatever there is of it leaves, for it finds its lifeline closed
            return "was not forked"
        # Before it is reaped: so long its pid, which is the group's too, belongs to nobody else.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if self._cgroups is not None:
            self._cgroups.kill(self.pid)
        code, dumped = _exit_code(self.pidfd, reap=self.popen is None)
        if self.popen is not None:  # it knows of the end only if it has reaped
            self.popen.wait(REAPING)
        os.close(self.pidfd)
        if self._warden is not None:
            self._warden.forget(self.pid)
        if self._cgroups is not None:
            self._cgroups.forget(self.pid)
        starved = self._out_of_memory.struck() if code == -signal.SIGKILL and not self._killed else ""
        told, patience, since = self._told
        late = patience if now() - since >= patience - _EARLY else 0.0
        ending = Ending(code, dumped, self._killed, starved, told, late)
        self.crashed = ending.crashed
        return str(ending)


def _exit_code(pidfd: int, *, reap: bool) -> tuple[int, bool]:
    """How a child that has exited did so: its code, or the signal's number below zero; and whether it dumped core."""
    found = os.waitid(os.P_PIDFD, pidfd, os.WEXITED if reap else os.WEXITED | os.WNOWAIT)
    if found is None:
        raise Misuse("a child that has not exited cannot be reaped")
    code = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
    return code, found.si_code == os.CLD_DUMPED
