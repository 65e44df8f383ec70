"""One program and all that comes of it, from its start until nothing of it is left. What a guard does."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import subprocess
from typing import TYPE_CHECKING

from ipc.hardening import at_parents_death
from ipc.log import Log
from ipc.messages.lifeline import Ready
from ipc.names import parse_worker
from ipc.parent import leave
from supervisor.aftermath import VARIABLE
from supervisor.command import MOMENT
from supervisor.environment import PERSONAL
from supervisor.orphans import Orphans, adopted
from supervisor.probe import PROBE_EVERY, is_taken, probe_of, why_not

if TYPE_CHECKING:
    from ipc.hardening import Termination
    from ipc.messages.lifeline import Drain, Run
    from ipc.parent import Parent
    from supervisor.probe import Probe

SLOT_VARIABLE = "SHUNTER_SLOT"
"""In which variable a program finds the number of its seat."""
SAY_AFTER = 5.0
"""After how long it is said why a program is not ready yet, seconds."""
_IGNORED_BY_GUARDS = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


class Unable(Exception):
    """The program cannot be run, and trying again at once would not help."""


async def hold(parent: Parent, told: Run, termination: Termination) -> int:
    """Run the program and wait for its end; its status, as the kernel tells it. Raises Unable."""
    with adopted():  # of its children, too, whoever outlives it
        return await _Hold(parent, told, termination).until_over()


class _Hold:
    def __init__(self, parent: Parent, told: Run, termination: Termination) -> None:
        self._parent = parent
        self._told = told
        self._termination = termination
        self._slot = parse_worker(told.name).slot
        self._log = Log(told.name, told.log)
        self._loop = asyncio.get_running_loop()
        self._all = Orphans(lambda: ())
        self._over: asyncio.Future[int] = self._loop.create_future()
        self._program: subprocess.Popen[bytes] | None = None
        self._status: int | None = None
        self._stopping = False
        self._why_not = ""
        """Why it is not ready, and nobody was told."""

    async def until_over(self) -> int:
        settings = self._told.settings
        faulthandler.unregister(signal.SIGQUIT)  # its stacks tell nothing of the program
        for what in _IGNORED_BY_GUARDS:
            signal.signal(what, signal.SIG_IGN)
        self._loop.add_signal_handler(signal.SIGQUIT, self._say_why_not)
        self._parent.listen(self._loop, on_drain=self._drain, on_gone=self._orphaned)
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)
        probe = probe_of(settings, self._slot)
        if probe is not None and not settings.overlap and await is_taken(probe):
            raise Unable(f"{probe} is taken: somebody answered there before {settings.argv[0]} was started")
        self._program = self._start()
        self._termination.then(self._asked_to_stop)
        announcing = self._loop.create_task(self._announce(probe))
        status = await self._over
        announcing.cancel()
        self._all.end()
        return status

    def _start(self) -> subprocess.Popen[bytes]:
        settings = self._told.settings
        ours = {name: os.environ[name] for name in (*PERSONAL, VARIABLE) if name in os.environ}
        try:
            return subprocess.Popen(  # noqa: S603 -- whoever writes the configuration says what runs
                settings.argv,
                executable=settings.program,
                cwd=settings.directory,
                env=ours | self._told.environment | {SLOT_VARIABLE: str(self._slot)},
                stdin=subprocess.DEVNULL,
                preexec_fn=_before_the_program,  # noqa: PLW1509 -- a guard has no other threads
            )
        except OSError as error:
            raise Unable(f"{settings.program} cannot be run in {settings.directory}: {error.strerror}") from error

    async def _announce(self, probe: Probe | None) -> None:
        """Say that it is ready once it is; the supervisor reads the lines itself."""
        if self._told.settings.log:
            return
        if probe is None:
            await asyncio.sleep(MOMENT)
        else:
            await self._until_ready(probe)
        self._parent.say(Ready())

    async def _until_ready(self, probe: Probe) -> None:
        began, said = self._loop.time(), ""
        while why := await why_not(probe):
            if why != said:
                self._why_not = why
                if self._loop.time() - began >= SAY_AFTER:
                    self._say_why_not()
                    said = why
            await asyncio.sleep(PROBE_EVERY)
        self._why_not = ""

    def _say_why_not(self) -> None:
        """Also when its supervisor asks where it stands, since its time to start is over."""
        if self._why_not:
            self._log.warning("not ready yet", why=self._why_not)
            self._why_not = ""

    def _asked_to_stop(self) -> None:
        """Somebody else than the supervisor wants it to end."""
        self._loop.call_soon_threadsafe(self._stop)

    def _drain(self, order: Drain) -> None:
        self._stop()
        self._loop.call_later(order.grace, self._hurry, order.grace)

    def _stop(self) -> None:
        """Tell the program and its children to end."""
        if not self._stopping:
            self._stopping = True
            what = signal.Signals[self._told.settings.stop_signal]
            signal.signal(what, signal.SIG_IGN)  # the guard is one of the group
            os.killpg(0, what)
            self._reap()

    def _hurry(self, grace: float) -> None:
        if not self._over.done():
            self._log.warning("killed: had not ended in time", after=self._told.settings.stop_signal, seconds=grace)
            self._all.end()
            self._finish(signal.SIGKILL if self._status is None else self._status)

    def _orphaned(self) -> None:
        """The supervisor is dead, and nobody looks after what runs here."""
        self._all.end()
        leave()

    def _reap(self) -> None:
        """Take note of who has ended. Its own end is the end, but on its way out its children have their time, too."""
        while (ended := _ended(-1)) is not None and ended[0]:
            if self._program is not None and ended[0] == self._program.pid:
                self._status = ended[1]
        # A second look: whoever is left in the group is waited for; what has left it is not.
        if self._status is not None and (not self._stopping or _ended(0) is None):
            self._finish(self._status)

    def _finish(self, status: int) -> None:
        if not self._over.done():
            self._over.set_result(status)


def _ended(which: int) -> tuple[int, int] | None:
    """One of these children that has ended, with its status; 0 if none has, None if there are none."""
    try:
        return os.waitpid(which, os.WNOHANG)
    except ChildProcessError:
        return None


def _before_the_program() -> None:
    """In the child: what a guard ignores a program need not, and whatever happens to its guard, it ends with it."""
    for what in _IGNORED_BY_GUARDS:
        signal.signal(what, signal.SIG_DFL)
    at_parents_death(signal.SIGKILL)
