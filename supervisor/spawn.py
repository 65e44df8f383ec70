"""One process: its arguments, its environment, what it inherits, how it is ended. Nothing of when or why."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ipc import ledger, scoreboard
from ipc.confinement import Confinement
from ipc.errors import Misuse
from ipc.ledger import Ledger
from ipc.scoreboard import Scoreboard
from supervisor.environment import without_us
from supervisor.errors import SpawnError
from supervisor.scoreboard import OutOfMemory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipc.names import WorkerName
    from supervisor.plan import Role

PROGRAMS: Mapping[Role, str] = {"web": "web_worker", "exec": "exec_worker"}
"""Which module each kind of worker runs, as `python -m` finds it."""

PIPE_SIZE = 1024 * 1024
"""How much of a child's output waits while the supervisor is busy, bytes for each of two pipes."""
PIPE_BUDGET = 32 * 1024 * 1024
"""All pipes together: beyond twice that the kernel gives this user's other programs tiny ones."""
_LEAST_PIPE = 65_536
_REAPING = 10.0
_USUAL = Confinement()


@dataclass(slots=True)
class Process:
    """A running child and everything the supervisor holds of it. Whoever has it must `end` it once it has exited."""

    name: WorkerName
    pid: int
    pidfd: int
    """Readable once it has exited; names this process and never another with the same pid."""
    lifeline: socket.socket
    stdout: int
    stderr: int
    page: Scoreboard
    ledger: Ledger
    _popen: subprocess.Popen[bytes]
    _out_of_memory: OutOfMemory

    def kill(self) -> None:
        """Send SIGKILL; no error if it has exited already."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def end(self) -> str:
        """Kill what is left of its process group, reap it, let go of all but its streams; how it ended, in words."""
        # Before it is reaped: so long its pid, which is the group's too, belongs to nobody else.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        code = self._popen.wait(_REAPING)
        os.close(self.pidfd)
        self.page.close()
        self.ledger.close()
        return in_words(code, out_of_memory=code == -signal.SIGKILL and self._out_of_memory.struck())


class Launcher:
    """Makes processes, all with the same environment, and only from the main thread.

    The kernel ends a child when the *thread* that made it ends, so no other thread will do.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        programs: Mapping[Role, str] = PROGRAMS,
        listener: socket.socket | None = None,
        workers: int = 1,
    ) -> None:
        _occupy_standard_descriptors()
        self._environment = dict(environment)
        self._programs = programs
        self._listener = listener
        self._out_of_memory = OutOfMemory()
        self._pipe_size = max(_LEAST_PIPE, min(PIPE_SIZE, PIPE_BUDGET // (2 * max(1, workers))))

    def launch(
        self, name: WorkerName, role: Role, confinement: Confinement = _USUAL, calls_at_once: int = 1
    ) -> Process:
        """Make a process; it is neither hardened nor ready. Raises SpawnError."""
        if threading.current_thread() is not threading.main_thread():
            raise Misuse("children are made in the main thread, or the kernel ends them with another")
        try:
            with ExitStack() as undo:
                process = self._launch(name, role, confinement, calls_at_once, undo)
                undo.pop_all()
                return process
        except (OSError, ValueError) as error:  # the latter if the listener was closed meanwhile
            raise SpawnError(f"{name} could not be started: {error}") from error

    def argv(self, role: Role, lifeline: int, page: int, confinement: Confinement = _USUAL) -> list[str]:
        """What a child is started with. Everybody on the machine can read it."""
        argv = [sys.executable, "-P", "-m", self._programs[role]]
        argv += ["--lifeline-fd", str(lifeline), "--page-fd", str(page)]
        if role == "web" and self._listener is not None:
            argv += ["--listener-fd", str(self._listener.fileno())]
        return [*argv, "--parent", str(os.getpid()), *confinement.arguments()]

    def _launch(
        self, name: WorkerName, role: Role, confinement: Confinement, calls_at_once: int, undo: ExitStack
    ) -> Process:
        ours, theirs = socket.socketpair()
        undo.callback(ours.close)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        page_fd = scoreboard.create(str(name), ledger.size(calls_at_once))
        with theirs, ExitStack() as handed_over:
            handed_over.callback(os.close, page_fd)
            page = Scoreboard(page_fd)
            undo.callback(page.close)
            begun = Ledger(page_fd)
            undo.callback(begun.close)
            stdout, their_stdout = self._pipe(undo, handed_over)
            stderr, their_stderr = self._pipe(undo, handed_over)
            environment = self._environment
            if confinement.uid is not None and confinement.gid is not None:
                for pipe in (their_stdout, their_stderr):  # it opens them anew, so as to never wait for them
                    os.fchown(pipe, confinement.uid, confinement.gid)
                environment = without_us(environment, os.environ)
            passed = [theirs.fileno(), page_fd]
            if role == "web" and self._listener is not None:
                passed.append(self._listener.fileno())
            popen = subprocess.Popen(  # noqa: S603 -- the arguments are ours alone
                self.argv(role, theirs.fileno(), page_fd, confinement),
                stdin=subprocess.DEVNULL,
                stdout=their_stdout,
                stderr=their_stderr,
                close_fds=True,
                pass_fds=passed,
                start_new_session=True,
                env=environment,
            )
        try:
            pidfd = os.pidfd_open(popen.pid)
        except OSError:
            popen.kill()
            popen.wait(_REAPING)
            raise
        return Process(name, popen.pid, pidfd, ours, stdout, stderr, page, begun, popen, self._out_of_memory)

    def _pipe(self, undo: ExitStack, handed_over: ExitStack) -> tuple[int, int]:
        reader, writer = os.pipe()
        undo.callback(os.close, reader)
        handed_over.callback(os.close, writer)
        with suppress(OSError):  # the user's share of pipe memory is used up: a small one does too
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, self._pipe_size)
        return reader, writer


def in_words(returncode: int, *, out_of_memory: bool = False) -> str:
    """How a process ended. `out_of_memory` only if the kernel says that it killed for want of it."""
    if returncode >= 0:
        return f"exited with code {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    return f"killed by {name} (out of memory)" if out_of_memory else f"killed by {name}"


def _occupy_standard_descriptors() -> None:
    """Have 0, 1 and 2 open, so that no descriptor for a child gets a number that means something else there."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 -- standard error, the last of the three
        os.set_inheritable(fd, True)
    os.close(fd)
