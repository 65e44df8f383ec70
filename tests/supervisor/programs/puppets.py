"""Workers that are played in this process, in a time that passes when nothing else is left to do.

What is between them and their group is real: lifelines, pages, pipes and a descriptor that tells of their end.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
from typing import TYPE_CHECKING, Any, cast

from ipc import ledger, scoreboard
from ipc.ledger import Ledger
from ipc.messages import lifeline as said
from ipc.messages.settings import LogSettings
from ipc.names import TEMPLATE
from ipc.scoreboard import Scoreboard
from ipc.wire.framing import Deframer
from supervisor.edition import Edition
from supervisor.errors import SpawnError
from supervisor.group import Group
from supervisor.life import RUNNING, State
from supervisor.process import Process
from supervisor.seat import Seat
from supervisor.template import Template

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipc.confinement import Confinement
    from ipc.messages.lifeline import FromChild
    from ipc.names import WorkerName
    from supervisor.child import Worker
    from supervisor.events import Event
    from supervisor.life import Spec
    from supervisor.plan import GroupPlan, Role
    from supervisor.spawn import Launcher

MOMENT = 0.01
"""How long whatever takes a moment takes, seconds."""
NEVER = 1e9
"""So late that it does not come."""
ROWS = 1


class _Selector(selectors.DefaultSelector):
    """Waits for nothing: if nobody has anything to say, time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise AssertionError("everybody waits for somebody else, for ever")
            self.now += max(timeout, 0.0)
        return ready


class QuickLoop(asyncio.SelectorEventLoop):
    """An event loop in such a time. Only threads would know the difference, so there must be none."""

    def __init__(self) -> None:
        self._quick = _Selector()
        super().__init__(self._quick)

    def time(self) -> float:
        return self._quick.now


class Puppet(Process):
    """A process of which all is real but itself. `does` is what it does once it has been born.

    One that is `forked` is known from the first it says; until then it is `unborn`, after so many seconds or never.
    """

    def __init__(self, name: WorkerName, does: str, forked: float | None = None) -> None:
        ours, self.theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.theirs.setblocking(False)
        page = scoreboard.create(str(name), ledger.size(ROWS))
        (stdout, out), (stderr, err) = os.pipe(), os.pipe()
        pidfd, self._end = os.pipe()
        # Not by its base's constructor: what that is given more is for ends that are not played here.
        self.name, self.pidfd, self.lifeline, self.stdout, self.stderr = name, pidfd, ours, stdout, stderr
        # The kernel vouches for who speaks, and that is this process.
        self.pid = os.getpid() if forked is None else None
        self.page, self.ledger, self.crashed = Scoreboard(page), Ledger(page, ROWS), False
        for fd in (page, out, err):
            os.close(fd)
        self.does = does
        self.alive, self.ended = True, False
        self.unborn: list[Puppet] = []
        """Whom it was told to fork: who has not said anything yet does not outlive it."""
        self._how = "exited with code 0"
        self._deframer = Deframer(said.MAX_MESSAGE)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.theirs.fileno(), self._hear)
        if forked is None or forked < NEVER:
            self._loop.call_later(forked or MOMENT, self._begin)

    def is_born_as(self, pid: int) -> bool:
        self.pid = pid
        return True

    def say(self, message: FromChild) -> None:
        if self.alive:
            self.theirs.send(said.encode(message))

    def die(self, how: str) -> None:
        """End now; its supervisor finds out by itself."""
        if self.alive:
            self.alive, self._how = False, how
            self._loop.remove_reader(self.theirs.fileno())
            self.theirs.close()
            os.close(self._end)
            for each in self.unborn:
                if each.pid is None:
                    each.die("was never there")

    def leave(self) -> None:
        """End in good order."""
        self.say(said.Drained())
        self._loop.call_later(MOMENT, self.die, "exited with code 0")

    def dump(self) -> None:
        assert self.alive or not self.ended

    def kill(self) -> None:
        self._loop.call_later(MOMENT, self.die, "killed by SIGKILL")

    def end(self) -> str:
        if self.pid is None:  # it would find nobody at the other end
            self.die("was not forked")
        assert not self.alive, "it is still there"
        assert not self.ended, "reaped twice"
        self.ended = True
        self.page.close()
        self.ledger.close()
        os.close(self.pidfd)
        return self._how

    def _begin(self) -> None:
        if self.does == "dies":
            self.die("exited with code 1")
        if self.does == "hangs":
            return
        self.say(said.Hardened(os.getpid()))
        if self.does == "breaks":
            self.say(said.Broken("no module named 'shop'", "Traceback"))
            self._loop.call_later(MOMENT, self.die, "exited with code 1")
        else:
            self._loop.call_later(5.0 if self.does == "slow" else MOMENT, self.say, said.Ready())
        if self.does == "crashes":
            self._loop.call_later(0.5, self.die, "killed by SIGSEGV")

    def _hear(self) -> None:
        for body in self._deframer.feed(self.theirs.recv(65_536)):
            if isinstance(said.decode_from_supervisor(bytes(body)), said.Drain) and self.does != "deaf":
                self._loop.call_later(2.0 if self.does == "slow" else MOMENT, self.leave)


class Company:
    """One group of them, and whether it keeps to what a group promises."""

    def __init__(
        self, plan: GroupPlan, tell: Callable[[Event], None] = lambda _event: None, *, preload: bool = False
    ) -> None:
        self.plan = plan
        self.born: dict[WorkerName, Puppet] = {}
        self.templates: dict[WorkerName, Puppet] = {}
        self.does = "well"
        self.forks: float | None = MOMENT
        """After what time whoever is ordered from a template is born; None: it cannot be ordered."""
        self._tell = tell
        self._preload = preload
        self._seat = Seat(plan.name, TEMPLATE)
        self.group = Group(
            plan,
            launch=self._launch,
            greeting=lambda _name: [],
            refresh=self._look,
            tell=tell,
            heard=lambda _worker, _message: None,
            buried=lambda _worker, _begun, _suspects: None,
            template=self._template if preload else None,
        )

    def edition(self) -> Edition:
        """Another version of the group, as after a change of its code."""
        return Edition(self.plan, self._launch, lambda _name: [], self._template if self._preload else None)

    @property
    def warm(self) -> list[Puppet]:
        return [puppet for puppet in self.templates.values() if puppet.alive]

    @property
    def alive(self) -> list[Puppet]:
        return [puppet for puppet in self.born.values() if puppet.alive]

    @property
    def seated(self) -> list[Worker]:
        return self.group.seated

    def puppet(self, worker: Worker) -> Puppet | None:
        """The process that a worker has now."""
        return self.born.get(worker.name) if worker.name is not None and worker.state in RUNNING else None

    def _template(self, spec: Spec, changed: Callable[[], None]) -> Template:
        launcher = cast("Launcher", self)
        return Template(
            self.plan, self._seat, spec, launcher=launcher, log=LogSettings(), tell=self._tell, changed=changed
        )

    # What a template asks of the launcher: its own process, and those of workers.

    def launch(self, name: WorkerName, role: Role, confinement: Confinement) -> Process:
        del role, confinement
        assert name not in self.templates, "two templates had one name"
        if self.does == "is not made":
            raise SpawnError(f"{name} could not be started")
        self.templates[name] = puppet = Puppet(name, self.does)
        return puppet

    def fork(self, name: WorkerName, order: Any, confinement: Confinement, calls_at_once: int) -> Process | None:
        del confinement, calls_at_once
        template: Worker = order.__self__
        if self.forks is None or template.state is not State.UP or template.name is None:
            return None
        self._may_come(name)
        self.born[name] = puppet = Puppet(name, self.does, self.forks)
        self.templates[template.name].unborn.append(puppet)
        return puppet

    def _launch(self, name: WorkerName) -> Process:
        self._may_come(name)
        if self.does == "is not made":
            raise SpawnError(f"{name} could not be started")
        self.born[name] = puppet = Puppet(name, self.does)
        return puppet

    def _may_come(self, name: WorkerName) -> None:
        before = self.born.get(name)
        assert before is None or (before.pid is None and before.ended), "a name was used twice"
        ending = [worker.name for worker in self.seated if worker.life.along and worker.state in RUNNING]
        assert not ending or name not in [worker.name for worker in self.seated], f"{name} starts before {ending} ended"

    def _look(self) -> None:
        names = [worker.name for worker in self.group.everybody() if worker.state in RUNNING]
        assert len(names) == len(set(names)), "two workers under one name"

    def check(self) -> None:
        """Nothing is left of it, and nothing will come."""
        assert not self.alive
        assert not self.warm
        assert all(puppet.ended for puppet in (*self.born.values(), *self.templates.values()))
        assert not any(worker.pid or worker._timer for worker in self.group.everybody())
