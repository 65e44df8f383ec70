"""Keeps a process at hand that ends what workers have started, should this one be killed. See `aftermath`."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from typing import TYPE_CHECKING

from ipc.clock import now
from supervisor import aftermath
from supervisor.events import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from supervisor.events import Event

LEAST_LIFE = 1.0
"""If it ends sooner, seconds, another would do the same: there is none from then on."""
_LEAVING = 10.0
"""How long it may take to end when there is nothing left to do, seconds."""


class Warden:
    """Tells that process which workers there are, and starts another when it is gone.

    As PID 1 there is none: the kernel ends all processes of a container with its first.
    """

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self.mark = str(secrets.randbits(128))
        """What all that this service starts has in its environment, and workers in their arguments. No secret: it says
        only whose they are."""
        self._tell = tell
        self._cgroup: tuple[str, ...] = ()
        self._pids: dict[int, bytes] = {}  # with the lines that tell of them
        self._popen: subprocess.Popen[bytes] | None = None
        self._since = 0.0

    @property
    def pids(self) -> tuple[int, ...]:
        """That process, if there is one."""
        return () if self._popen is None else (self._popen.pid,)

    def start(self, cgroup: Path | None = None) -> None:
        """Have it run; the service may have a control group. It serves without all this, too."""
        self._cgroup = () if cgroup is None else (str(cgroup),)
        self._start()

    def _start(self) -> None:
        if os.getpid() == 1:
            return
        argv = [sys.executable, "-I", "-S", aftermath.__file__, self.mark, *self._cgroup]
        try:
            popen = subprocess.Popen(  # noqa: S603 -- ours alone
                argv,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={},
                start_new_session=True,
            )
        except OSError as error:
            self._give_up(str(error))
            return
        assert popen.stdin is not None  # noqa: S101 -- for the type checker: it is a pipe
        os.set_blocking(popen.stdin.fileno(), False)
        self._popen, self._since = popen, now()
        self._say(b"".join(self._pids.values()))

    def tend(self) -> None:
        """Some process has ended: if it was this one, have another."""
        if self._popen is None or (code := self._popen.poll()) is None:
            return
        self._drop()
        if now() - self._since < LEAST_LIFE:
            self._give_up(f"the process that would end it ended itself, with code {code}")
        else:
            self._start()

    def note(self, pid: int, *, guard: bool = False) -> None:
        """A worker runs, and leads a session; a guard has descendants to end before it."""
        self._pids[pid] = b"%b%d\n" % (b"*" if guard else b"+", pid)
        self._say(self._pids[pid])

    def knows(self, pid: int) -> bool:
        """Whether this is the number of a worker that runs, or was not reaped yet."""
        return pid in self._pids

    def forget(self, pid: int) -> None:
        """It has ended and its process group with it."""
        self._pids.pop(pid, None)
        self._say(b"-%d\n" % pid)

    def stop(self) -> None:
        """Have it end. Nothing is left of the service, and whoever has its mark now was meant to outlive it."""
        popen = self._popen
        if popen is None:
            return
        self._say(b".\n")
        self._drop()
        try:
            popen.wait(_LEAVING)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()

    def _give_up(self, why: str) -> None:
        self._tell(Trouble(f"if this supervisor is killed, what workers started will stay: {why}"))

    def _say(self, line: bytes) -> None:
        if self._popen is None or self._popen.stdin is None or not line:
            return
        try:
            complete = os.write(self._popen.stdin.fileno(), line) == len(line)
        except BlockingIOError:
            complete = False
        except OSError:  # it is dead, of which `tend` hears
            return
        if not complete:  # somebody has stopped it, and it would miss this for good: the next one is told of all
            self._popen.kill()

    def _drop(self) -> None:
        if self._popen is not None and self._popen.stdin is not None:
            self._popen.stdin.close()
        self._popen = None
