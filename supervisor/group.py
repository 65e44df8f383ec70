"""The workers of one group, from its start to its end: who there is, and how it stands.

Who there is is changed from outside, by three modules: `restart` gives seats to successors, `resizing` makes more seats
or fewer, `changeover` goes on to another edition. What they and this one keep to:

- Who changes anything has the `turn`; a worker that crashes and starts again in its own seat needs none.
- `seated` has one worker a seat. Everybody else is `beside`: on trial for a seat, or draining after having had one.
- Predecessors are `leaving`. Who has the turn waits a moment for them at each seat, and for the rest at the end; only a
  changeover keeps the turn for that.
- Whoever waits looks again when the bell rings, as it does when anything is new, and gives up when the group is `over`.
"""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import anyio

from ipc.messages.control import GroupStatus
from ipc.messages.settings import CommandSettings
from supervisor import events
from supervisor.child import Worker
from supervisor.edition import on_trial
from supervisor.errors import Stopping
from supervisor.life import RUNNING, Spec, State
from supervisor.nursery import Nursery
from supervisor.seat import Seat
from supervisor.standing import is_hopeless, is_settled, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ipc.ledger import Begun
    from ipc.messages.lifeline import FromChild, FromSupervisor
    from ipc.names import WorkerName
    from supervisor.edition import Edition
    from supervisor.errors import SpawnError
    from supervisor.events import Event
    from supervisor.nursery import MakeTemplate
    from supervisor.plan import GroupPlan
    from supervisor.policy import RestartPolicy
    from supervisor.process import Process


class Group:
    """Interchangeable workers, each with a seat; a successor sits beside its predecessor until it is up."""

    def __init__(
        self,
        plan: GroupPlan,
        *,
        launch: Callable[[WorkerName], Process],
        greeting: Callable[[WorkerName], Iterable[FromSupervisor]],
        refresh: Callable[[], None],
        tell: Callable[[Event], None],
        heard: Callable[[Worker, FromChild], None],
        buried: Callable[[Worker, Begun, tuple[bytes, ...]], None],
        policy: RestartPolicy | None = None,
        template: MakeTemplate | None = None,
    ) -> None:
        self.name = plan.name
        self.role = plan.role
        self.launch = launch
        self.greeting = greeting
        self.tell = tell
        self.heard = heard
        self.buried = buried
        self._refresh = refresh
        self._policy = policy
        self.in_place = plan.in_place
        """Whether a successor could not be beside its predecessor."""
        self.spec = self.spec_of(plan)
        self.size = plan.workers
        """How many workers are wanted."""
        self._seats: list[Seat] = []
        self.seated = [Worker(self.seat(slot), self.spec, self) for slot in range(plan.workers)]
        self.beside: list[Worker] = []
        """On trial: successors, newcomers. Draining: predecessors, whoever is too many."""
        self.leaving: list[Worker] = []
        """Of those beside, the predecessors that somebody waits for."""
        self.turn = anyio.Lock()
        """Of whoever changes who there is."""
        self.over: Stopping | None = None
        """Why nothing is begun any more, once that is so."""
        self.restart_asked = False
        self.all_anew = False
        """Whether everybody is being replaced; set only by whoever has the turn."""
        self.behind = False
        """Whether some of its workers could not be replaced by those that the plan in force asks for."""
        self._loop = asyncio.get_running_loop()
        self._bell = anyio.Event()
        self.nurseries = [Nursery(template, self.spec, self.ring, self.until)]
        """Where its workers are forked and, during a changeover, the one on trial or that of the edition before."""
        self._started = False
        self._said = "down"
        self._not_up_since = time.monotonic()

    def spec_of(self, plan: GroupPlan) -> Spec:
        """What its workers are allowed by this plan."""
        sign, told = "", 0
        if isinstance(plan.settings, CommandSettings):
            sign, told = plan.settings.log, signal.Signals[plan.settings.stop_signal].value
        return Spec(plan.start_timeout, plan.drain_timeout, self._policy or plan.policy, plan.hung_timeout, sign, told)

    def everybody(self) -> Iterator[Worker]:
        """Every worker there is, on trial and draining ones too."""
        yield from self.seated
        yield from self.beside

    @property
    def pids(self) -> list[int]:
        """The processes it has."""
        templates = (pid for nursery in self.nurseries for pid in nursery.pids)
        return [*templates, *(worker.pid for worker in self.everybody() if worker.pid is not None)]

    @property
    def nursery(self) -> Nursery:
        """Where its workers are forked."""
        return self.nurseries[0]

    @property
    def state(self) -> str:
        """Its state in the words of `GroupStatus`."""
        lives = [worker.life for worker in self.seated]
        if not self._started:
            lives += self.nursery.lives
        return summary(lives, stopping=self.over is not None, started=self._started)

    def status(self) -> GroupStatus:
        """What can be seen of it from outside."""
        workers = tuple(worker.status() for worker in self.everybody())
        return GroupStatus(self.name, self.state, workers, self.nursery.status())

    async def start(self) -> SpawnError | None:
        """Start everybody and wait until as many are up as can be; returns why nobody is, if so."""
        self._not_up_since = time.monotonic()
        self.tell(events.GroupStarting(self.name, len(self.seated)))
        if (why := await self.nursery.warm_up(is_settled)) is not None:
            return why
        for worker in self.seated if self.over is None else ():
            worker.start()
        over = await self.unless_over(lambda: is_settled(worker.life for worker in self.seated))
        self._started = True
        if over is not None or self.spec.policy.suffices([worker.state is State.UP for worker in self.seated]):
            for worker in self.seated if over is None else ():
                worker.tell_of_wait()
            self._announce()
            return None
        worst = next(worker for worker in self.seated if is_hopeless(worker.life))
        return worst.failure()

    def stop(self, *, force: bool = False, why: str = "") -> None:
        """Have everybody end; `why` is said to whoever wants a change of it."""
        self.over = Stopping(why)
        self.ring()
        for nursery in self.nurseries:
            nursery.stop()
        for worker in list(self.everybody()):
            worker.stop(force=force)

    async def gone(self) -> None:
        """Wait until no process is left."""
        await self.until(lambda: not any(worker.state in RUNNING for worker in self.everybody()))
        await self.until(lambda: not any(nursery.is_running for nursery in self.nurseries))

    def lives(self) -> Iterator[tuple[WorkerName, State]]:
        """Whose code goes on to be used: that of workers that do not leave, and of templates."""
        for worker in self.everybody():
            if worker.name is not None and worker.state in RUNNING - {State.DRAINING}:
                yield worker.name, worker.state
        yield from self.nursery.running()

    def adopt(self, edition: Edition) -> None:
        """It is of the edition on trial from now on: also who is started again in an old seat is."""
        self.launch, self.greeting = edition.launch, edition.greeting
        self.nurseries.reverse()
        self.behind = True
        self.allow(edition.plan)

    def allow(self, plan: GroupPlan) -> None:
        """What is asked of its workers' lives, and of their starts, is as in this plan from now on."""
        self.in_place = plan.in_place
        self.spec = self.spec_of(plan)
        for worker in self.seated:
            worker.allow(self.spec)

    def recover(self) -> bool:
        """Start those at once who were given up, or wait for their next start; whether there was anybody.

        Those who wait until others have ended go on to do so.
        """
        down = [worker for worker in self.seated if worker.state in {State.FAILED, State.WAITING}]
        for worker in down if self.serves and not self.holds() else ():
            worker.stop()
            worker.start()
        return bool(down)

    def seats(self, worker: Worker) -> bool:
        """Whether this worker serves in a seat of its own: it neither is on trial nor drains."""
        return worker in self.seated and worker.state is State.UP

    @property
    def serves(self) -> bool:
        """Whether its first start is over and its end has not begun."""
        return self._started and self.over is None

    def seat(self, slot: int) -> Seat:
        """A place. One that was left keeps its count: nobody has the name of somebody who may still be draining."""
        self._seats += [Seat(self.name, new) for new in range(len(self._seats), slot + 1)]
        return self._seats[slot]

    def newcomer(self, slot: int) -> Worker:
        """Somebody for this seat, on trial and not started yet."""
        return Worker(self.seat(slot), on_trial(self.spec), self)

    async def part_from(self, leaving: list[Worker]) -> None:
        """Wait until they have ended, and forget them."""
        await self.until(lambda: not any(worker.state in RUNNING for worker in leaving))
        for worker in leaving:
            self.beside.remove(worker)
        leaving.clear()
        self.ring()  # somebody may wait for there to be fewer

    def take_along(self, worker: Worker, until: float | None, row: int) -> None:
        """Have those end who do not go on without a worker that crashed, the last to start first.

        A group that starts has nobody who relied on it yet; one that is being restarted replaces everybody anyway, and
        the successors are not to end for what the predecessors do.
        """
        if worker not in self.seated or self.all_anew or not self.serves:
            return
        why = f"ended with {worker.name}: {worker.reason}"
        slots = self.spec.policy.taken_along(self.seated.index(worker), len(self.seated))
        for other in [self.seated[slot] for slot in reversed(slots)]:
            if other is not worker:
                other.take_along(why, until, row)

    def holds(self) -> bool:
        """Whether nobody is to start for now: somebody who was taken along has not ended yet."""
        return any(worker.life.along and worker.state in RUNNING for worker in self.seated)

    def begins(self) -> bool:
        """Whether its first start is not over."""
        return not self._started

    def fork(self, name: WorkerName) -> Process | None:
        """A process from the template, if there is one that is warm."""
        return self.nursery.fork(name)

    def changed(self, worker: Worker) -> None:
        """A worker's state is new: tell who must know before it is acted upon, and wake who waits."""
        del worker
        self._refresh()
        self.ring()
        self._loop.call_soon(self._announce)  # after what is said of the worker itself

    def _announce(self) -> None:
        if not self.serves:
            return
        before, self._said = self._said, (state := self.state)
        if state == before:
            return
        serves = any(worker.state is State.UP for worker in self.seated)
        if state == "up" or (before == "down" and state == "degraded" and serves):
            self.tell(events.GroupUp(self.name, time.monotonic() - self._not_up_since))
        if state == "failed":
            self.tell(events.GroupFailed(self.name, self.seated[0].reason))
        if before == "up":
            self._not_up_since = time.monotonic()

    def queue(self, progress: Callable[[str], None]) -> None:
        """Say that there is a wait for the turn, if there is."""
        if self.turn.locked():
            progress(f"{self.name}: waits for another change of it to end")

    def ring(self) -> None:
        """Something is new: have all who wait look whether it is what they wait for."""
        bell, self._bell = self._bell, anyio.Event()
        bell.set()

    async def unless_over(self, true: Callable[[], bool]) -> SpawnError | None:
        """Wait for this to be true, or for the group to be over; returns why it is, if so."""
        await self.until(lambda: self.over is not None or true())
        return self.over

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for this to be true."""
        while not true():
            await self._bell.wait()
