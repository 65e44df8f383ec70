"""How a process is made: its arguments, its environment, what it inherits."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from ipc import ledger, scoreboard
from ipc.birth import Belongings
from ipc.confinement import Confinement
from ipc.errors import Misuse
from ipc.ledger import Ledger
from ipc.names import TEMPLATE
from ipc.scoreboard import Scoreboard
from supervisor.aftermath import ARGUMENT, VARIABLE
from supervisor.environment import without_us
from supervisor.errors import SpawnError
from supervisor.oom import OutOfMemory
from supervisor.process import REAPING, Process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ipc.names import WorkerName
    from supervisor.cgroups import Cgroups
    from supervisor.plan import Role
    from supervisor.warden import Warden

PROGRAMS: Mapping[Role, str] = {"web": "web_worker", "exec": "exec_worker", "command": "supervisor.guard"}
"""Which module each kind of worker runs, as `python -m` finds it."""

PIPE_SIZE = 1024 * 1024
"""How much of a child's output waits while the supervisor is busy, bytes for each of two pipes."""
PIPE_BUDGET = 32 * 1024 * 1024
"""All pipes together: beyond twice that the kernel gives this user's other programs tiny ones."""
_LEAST_PIPE = 65_536
_USUAL = Confinement()


class Pipes:
    """How large those are that are made from now on."""

    def __init__(self) -> None:
        self.share_among(1)

    def share_among(self, workers: int) -> None:
        """There are to be so many workers: each has its share of the budget."""
        self.size = max(_LEAST_PIPE, min(PIPE_SIZE, PIPE_BUDGET // (2 * max(1, workers))))


class Launcher:
    """Makes processes, all with the same environment (guards with the `bare` one), and only from the main thread.

    The kernel ends a child when the *thread* that made it ends, so no other thread will do.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        bare: Mapping[str, str] | None = None,
        programs: Mapping[Role, str] = PROGRAMS,
        listener: socket.socket | None = None,
        pipes: Pipes | None = None,
        warden: Warden | None = None,
        cgroups: Cgroups | None = None,
        out_of_memory: OutOfMemory | None = None,
    ) -> None:
        _occupy_standard_descriptors()
        marked = {} if warden is None else {VARIABLE: warden.mark}
        self._environment = dict(environment) | marked
        self._bare = dict(environment if bare is None else bare) | marked
        self._warden = warden
        self._cgroups = cgroups
        self._programs = programs
        self._listener = listener
        self._out_of_memory = out_of_memory or OutOfMemory()
        self._pipes = pipes or Pipes()
        self._prepared: dict[WorkerName, Process] = {}

    @property
    def prepared(self) -> list[int]:
        """The processes that were made ahead and are nobody's yet."""
        return [process.pid for process in self._prepared.values() if process.pid is not None]

    def prepare(self, name: WorkerName, role: Role, confinement: Confinement = _USUAL, calls_at_once: int = 1) -> None:
        """Make a process ahead of its time. Until it is told who it is it imports nothing but Shunter, and waits.

        The next `launch` of this name takes it. A fault is met there again, and told.
        """
        with suppress(SpawnError):
            self._prepared[name] = self.launch(name, role, confinement, calls_at_once)

    def discard(self) -> None:
        """End those that nobody took."""
        while self._prepared:
            _name, process = self._prepared.popitem()
            process.kill()
            process.lifeline.close()
            for stream in (process.stdout, process.stderr):
                os.close(stream)
            process.end()

    def launch(
        self, name: WorkerName, role: Role, confinement: Confinement = _USUAL, calls_at_once: int = 1
    ) -> Process:
        """Make a process, by exec; nobody knows yet whether it is hardened or ready. Raises SpawnError."""
        if (ahead := self._prepared.pop(name, None)) is not None:
            return ahead
        if threading.current_thread() is not threading.main_thread():
            raise Misuse("children are made in the main thread, or the kernel ends them with another")
        try:
            with ExitStack() as undo:
                process = self._launch(name, role, confinement, calls_at_once, undo)
                undo.pop_all()
                return process
        except (OSError, ValueError) as error:  # the latter if the listener was closed meanwhile
            raise SpawnError(f"{name} could not be started: {error}") from error

    def fork(
        self, name: WorkerName, order: Callable[[Belongings], bool], confinement: Confinement, calls_at_once: int
    ) -> Process | None:
        """Have a template, which `order` tells, make a process; None if that cannot be. Who it is shows later."""
        try:
            with ExitStack() as undo, ExitStack() as handed_over:
                process, belongings = self._equip(name, confinement, calls_at_once, undo, handed_over)
                if not order(belongings):
                    return None
                undo.pop_all()
                return process
        except OSError:  # launched, it will meet the same, and say so
            return None

    def argv(
        self, role: Role, lifeline: int, page: int, confinement: Confinement = _USUAL, *, template: bool = False
    ) -> list[str]:
        """What a child is started with. Everybody on the machine can read it."""
        argv = [sys.executable, "-P", "-m", self._programs[role]]
        argv += ["--lifeline-fd", str(lifeline), "--page-fd", str(page)]
        if role == "web" and self._listener is not None:
            argv += ["--listener-fd", str(self._listener.fileno())]
        if template:
            argv += ["--template", "1"]
        if self._warden is not None:
            argv += [ARGUMENT, self._warden.mark]
        return [*argv, "--parent", str(os.getpid()), *confinement.arguments()]

    def _launch(
        self, name: WorkerName, role: Role, confinement: Confinement, calls_at_once: int, undo: ExitStack
    ) -> Process:
        with ExitStack() as handed_over:
            process, theirs = self._equip(name, confinement, calls_at_once, undo, handed_over)
            environment = self._bare if role == "command" else self._environment
            if confinement.uid is not None:
                environment = without_us(environment, os.environ)
            passed = [theirs.lifeline, theirs.page]
            if role == "web" and self._listener is not None:
                passed.append(self._listener.fileno())
            popen = subprocess.Popen(  # noqa: S603 -- the arguments are ours alone
                self.argv(role, theirs.lifeline, theirs.page, confinement, template=name.slot == TEMPLATE),
                stdin=subprocess.DEVNULL,
                stdout=theirs.stdout,
                stderr=theirs.stderr,
                close_fds=True,
                pass_fds=passed,
                start_new_session=True,
                env=environment,
            )
        process.guard = role == "command"
        try:
            process.is_known(popen.pid, os.pidfd_open(popen.pid))
        except OSError:
            popen.kill()
            popen.wait(REAPING)
            raise
        process.popen = popen
        return process

    def _equip(
        self, name: WorkerName, confinement: Confinement, calls_at_once: int, undo: ExitStack, handed_over: ExitStack
    ) -> tuple[Process, Belongings]:
        """What is held of a process that is not there yet, and what it will hold itself."""
        ours, theirs = socket.socketpair()
        undo.callback(ours.close)
        handed_over.callback(theirs.close)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        page_fd = scoreboard.create(str(name), ledger.size(calls_at_once))
        handed_over.callback(os.close, page_fd)
        page = Scoreboard(page_fd)
        undo.callback(page.close)
        begun = Ledger(page_fd)
        undo.callback(begun.close)
        stdout, their_stdout = self._pipe(undo, handed_over)
        stderr, their_stderr = self._pipe(undo, handed_over)
        if confinement.uid is not None and confinement.gid is not None:
            for pipe in (their_stdout, their_stderr):  # it opens them anew, so as to never wait for them
                os.fchown(pipe, confinement.uid, confinement.gid)
        process = Process(
            name, None, -1, ours, stdout, stderr, page, begun, self._out_of_memory, self._warden, self._cgroups
        )
        return process, Belongings(theirs.fileno(), page_fd, their_stdout, their_stderr)

    def _pipe(self, undo: ExitStack, handed_over: ExitStack) -> tuple[int, int]:
        reader, writer = os.pipe()
        undo.callback(os.close, reader)
        handed_over.callback(os.close, writer)
        with suppress(OSError):  # the user's share of pipe memory is used up: a small one does too
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, self._pipes.size)
        return reader, writer


def _occupy_standard_descriptors() -> None:
    """Have 0, 1 and 2 open, so that no descriptor for a child gets a number that means something else there."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 -- standard error, the last of the three
        os.set_inheritable(fd, True)
    os.close(fd)
