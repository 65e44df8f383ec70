"""The warm process that the workers of one group are forked from: a child like any other, that serves nobody.

Without it workers are started by exec, as ever. So nothing waits for it but the first start and a restart, which are
about the code it imports.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ipc.messages.lifeline import Preload
from ipc.messages.settings import ExecSettings
from supervisor.child import Worker
from supervisor.life import RUNNING, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ipc.ledger import Begun
    from ipc.messages.control import WorkerStatus
    from ipc.messages.lifeline import FromChild, FromSupervisor
    from ipc.messages.settings import LogSettings
    from ipc.names import WorkerName
    from supervisor.errors import SpawnError
    from supervisor.events import Event
    from supervisor.life import Child, Spec
    from supervisor.plan import GroupPlan
    from supervisor.process import Process
    from supervisor.seat import Seat
    from supervisor.spawn import Launcher

PATIENCE = 10.0
"""How long a template may leave an order alone before it is taken for broken and ended, seconds."""


class Template:
    """One template through all its lives. `changed` is called when its state is new."""

    def __init__(
        self,
        plan: GroupPlan,
        seat: Seat,
        spec: Spec,
        *,
        launcher: Launcher,
        log: LogSettings,
        tell: Callable[[Event], None],
        changed: Callable[[], None],
    ) -> None:
        self.tell = tell
        self._plan = plan
        self._launcher = launcher
        self._log = log
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._was_up = False
        self._worker = Worker(seat, spec, self)

    @property
    def life(self) -> Child:
        """How it stands with it."""
        return self._worker.life

    @property
    def name(self) -> WorkerName | None:
        """That of its life."""
        return self._worker.name

    @property
    def pid(self) -> int | None:
        """Its process, if it has one."""
        return self._worker.pid

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self._worker.state in RUNNING

    def status(self) -> WorkerStatus:
        """What can be seen of it from outside."""
        return self._worker.status()

    def why(self) -> SpawnError:
        """Why it is not there."""
        return self._worker.failure()

    def start(self) -> None:
        """Have it run."""
        self._worker.start()

    def stop(self) -> None:
        """Have it end at once: it has nothing to finish."""
        self._worker.stop(force=True)

    def settle(self, spec: Spec) -> None:
        """It was on trial; from here on `spec` holds."""
        self._worker.settle(spec, "replaced")

    def spawn(self, name: WorkerName) -> Process | None:
        """A worker that is forked from it; None if it is not warm."""
        plan = self._plan
        process = self._launcher.fork(name, self._worker.hand_over, plan.confinement, plan.calls_at_once)
        if process is not None:
            self._loop.call_later(PATIENCE, self._look, process, self.pid)
        return process

    def _look(self, process: Process, pid: int | None) -> None:
        # With it what it holds of the worker ends, and the supervisor starts that one by exec.
        if process.pid is None and process.lifeline.fileno() >= 0 and self.pid == pid:
            self._worker.lose(f"did not fork {process.name} in {PATIENCE:g} s")

    # What its own worker asks of its home.

    def fork(self, name: WorkerName) -> None:
        """It is forked from nothing."""
        del name

    def launch(self, name: WorkerName) -> Process:
        """Make its process; SpawnError if that fails."""
        return self._launcher.launch(name, "exec", self._plan.confinement)

    def greeting(self, name: WorkerName) -> Iterable[FromSupervisor]:
        """What it is to import. There are no secrets in it."""
        assert isinstance(self._plan.settings, ExecSettings)  # noqa: S101 - the configuration allows it nobody else
        return [Preload(str(name), self._log, self._plan.settings)]

    def changed(self, worker: Worker) -> None:
        """Its state is new."""
        self._was_up = self._was_up or worker.state is State.UP
        self._changed()

    def take_along(self, worker: Worker, until: float | None, row: int) -> None:
        """Workers go on without it."""

    def holds(self) -> bool:
        """Nor does it wait for any."""
        return False

    def begins(self) -> bool:
        """Whether there was none of it yet: without a first one its group does not start."""
        return not self._was_up

    def heard(self, worker: Worker, message: FromChild) -> None:
        """It says nothing but how its own life stands."""

    def buried(self, worker: Worker, begun: Begun, suspects: tuple[bytes, ...]) -> None:
        """It begins nothing, so nobody waits for it."""
