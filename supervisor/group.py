"""The workers of one group: as many as planned, replaced one at a time."""

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
from supervisor.edition import Trial, on_trial
from supervisor.errors import SpawnError
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
    from supervisor.events import Event
    from supervisor.nursery import MakeTemplate
    from supervisor.plan import GroupPlan
    from supervisor.policy import RestartPolicy
    from supervisor.process import Process

MAX_BESIDE = 256
"""How many workers a group may have beside those in its seats: newcomers, and those that still finish."""
OVERLAP = 2.0
"""How long a change waits for who drains before it goes on to the next seat, seconds; at the end it waits for all."""
_UNDECIDED = frozenset({State.STARTING, State.KILLING})
_RELOADED = "reloaded"
_STOPPING = "the service is stopping"


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
        self._in_place = plan.in_place
        self._spec = self._spec_of(plan)
        self._on_trial = on_trial(self._spec)
        self._seats = [Seat(plan.name, slot) for slot in range(plan.workers)]
        self._size = plan.workers
        self._workers = [Worker(seat, self._spec, self) for seat in self._seats]
        self._others: list[Worker] = []  # on trial: successors, newcomers; draining: predecessors, whoever is too many
        self._loop = asyncio.get_running_loop()
        self._bell = anyio.Event()
        self._nursery = Nursery(template, self._spec, self._ring, self._until)
        self._turn = anyio.Lock()  # of whoever replaces a worker: one seat at a time
        self._restart_asked = False
        self._restarting = False  # set only by whoever has the turn
        self._trial: Trial | None = None
        self._leaving: list[Worker] = []  # predecessors that whoever has the turn waits for
        self._former: Nursery | None = None  # of the edition before, until it has ended
        self.behind = False
        """Whether some of its workers could not be replaced by those that the plan in force asks for."""
        self._stopping = False
        self._over = SpawnError(_STOPPING)
        self._started = False
        self._said = "down"
        self._not_up_since = time.monotonic()

    def _spec_of(self, plan: GroupPlan) -> Spec:
        sign, told = "", 0
        if isinstance(plan.settings, CommandSettings):
            sign, told = plan.settings.log, signal.Signals[plan.settings.stop_signal].value
        return Spec(plan.start_timeout, plan.drain_timeout, self._policy or plan.policy, plan.hung_timeout, sign, told)

    def everybody(self) -> Iterator[Worker]:
        """Every worker there is, on trial and draining ones too."""
        yield from self._workers
        yield from self._others

    @property
    def pids(self) -> list[int]:
        """The processes it has."""
        templates = (pid for nursery in self._nurseries() for pid in nursery.pids)
        return [*templates, *(worker.pid for worker in self.everybody() if worker.pid is not None)]

    def _nurseries(self) -> Iterator[Nursery]:
        yield self._nursery
        if self._trial is not None:
            yield self._trial.nursery
        if self._former is not None:
            yield self._former

    @property
    def state(self) -> str:
        """Its state in the words of `GroupStatus`."""
        lives = [worker.life for worker in self._workers]
        if not self._started:
            lives += self._nursery.lives
        return summary(lives, stopping=self._stopping, started=self._started)

    def status(self) -> GroupStatus:
        """What can be seen of it from outside."""
        workers = tuple(worker.status() for worker in self.everybody())
        return GroupStatus(self.name, self.state, workers, self._nursery.status())

    async def start(self) -> SpawnError | None:
        """Start everybody and wait until as many are up as can be; returns why nobody is, if so."""
        self._not_up_since = time.monotonic()
        self.tell(events.GroupStarting(self.name, len(self._workers)))
        if (why := await self._nursery.warm_up(is_settled)) is not None:
            return why
        for worker in self._workers if not self._stopping else ():
            worker.start()
        await self._until(lambda: self._stopping or is_settled(worker.life for worker in self._workers))
        self._started = True
        if self._stopping or self._spec.policy.suffices([worker.state is State.UP for worker in self._workers]):
            self._announce()
            return None
        worst = next(worker for worker in self._workers if is_hopeless(worker.life))
        return worst.failure()

    def stop(self, *, force: bool = False, why: str = _STOPPING) -> None:
        """Have everybody end; `why` is said to whoever wants a change of it."""
        self._stopping, self._over = True, SpawnError(why)
        self._ring()
        for nursery in self._nurseries():
            nursery.stop()
        for worker in list(self.everybody()):
            worker.stop(force=force)

    async def gone(self) -> None:
        """Wait until no process is left."""
        await self._until(lambda: not any(worker.state in RUNNING for worker in self.everybody()))
        await self._until(lambda: not any(nursery.is_running for nursery in self._nurseries()))

    async def replace(self, progress: Callable[[str], None]) -> SpawnError | None:
        """Give each seat to a successor that is up before its predecessor drains; returns why not, if so.

        The first successor that does not come up ends it: its predecessor stays, and so do all that follow. With a
        template, successors come from a new one, which has imported the code that is there now.
        """
        if self._restart_asked:
            return SpawnError(f"{self.name} is being restarted already")
        self._restart_asked = True
        try:
            self._queue(progress)
            async with self._turn:  # a worker that is being recycled has its successor first
                self._restarting = True
                try:
                    why = await self._replace_all(progress)
                finally:
                    self._restarting = False
            await self._gone(self._leaving)
        finally:
            self._restart_asked = False
        return why

    def _queue(self, progress: Callable[[str], None]) -> None:
        """Say that there is a wait, if there is."""
        if self._turn.locked():
            progress(f"{self.name}: waits for another change of it to end")

    async def _replace_all(self, progress: Callable[[str], None]) -> SpawnError | None:
        if (why := await self._nursery.renew(self._on_trial)) is not None:
            return why
        for slot in range(len(self._workers)):
            if (why := await self._replace(slot, "replaced", progress)) is not None:
                await self._nursery.keep(new=slot > 0)
                return why
        await self._nursery.keep(new=True)
        return None

    async def try_out(self, edition: Edition, progress: Callable[[str], None]) -> SpawnError | None:
        """Have one worker of another edition up beside the others; returns why not, if so.

        Until `discard`, or `commit` and `roll`, by the same task, nobody else's worker is replaced. What could not be
        beside the others cannot be tried out.
        """
        spec = self._spec_of(edition.plan)
        trial = Trial(edition, spec, self._seats[0], self, self._ring, self._until)
        self._queue(progress)
        await self._turn.acquire()
        self._trial = trial
        if self._stopping:
            return self._over
        if edition.plan.in_place:
            return None
        if (why := await trial.nursery.renew(on_trial(spec))) is not None:
            return why
        await trial.nursery.keep(new=True)
        return await self._try(trial.worker)

    async def discard(self) -> None:
        """End what `try_out` began."""
        trial, self._trial = self._trial, None
        if trial is None:
            return
        try:
            trial.nursery.stop()
            trial.worker.stop(force=True)
            await self._until(lambda: trial.worker.state not in RUNNING and not trial.nursery.is_running)
            if trial.worker in self._others:
                self._others.remove(trial.worker)
        finally:
            self._turn.release()

    def lives(self) -> Iterator[tuple[WorkerName, State]]:
        """Whose code goes on to be used: that of workers that do not leave, and of templates."""
        for worker in self.everybody():
            if worker.name is not None and worker.state in RUNNING - {State.DRAINING}:
                yield worker.name, worker.state
        yield from self._nursery.running()

    @property
    def tried(self) -> SpawnError | None:
        """Why the edition on trial cannot be had any more; None while it can, or if there is none."""
        trial = self._trial
        return None if trial is None or trial.is_up or trial.edition.plan.in_place else trial.worker.failure()

    def commit(self) -> None:
        """The edition on trial is this group's from now on: also who is started again in an old seat is of it."""
        assert self._trial is not None  # noqa: S101 - it is what the caller has waited for
        edition, self._former = self._trial.edition, self._nursery
        self.launch, self.greeting, self._nursery = edition.launch, edition.greeting, self._trial.nursery
        self.behind = True
        self._former.stop()
        self.allow(edition.plan)

    def allow(self, plan: GroupPlan) -> None:
        """What is asked of its workers' lives, and of their starts, is as in this plan from now on."""
        self._in_place = plan.in_place
        self._spec = self._spec_of(plan)
        self._on_trial = on_trial(self._spec)
        for worker in self._workers:
            worker.allow(self._spec)

    async def roll(self, progress: Callable[[str], None]) -> SpawnError | None:
        """After `commit`: give each seat to a successor; returns why one could not have it. The rest goes on.

        Who drains for long keeps the next seat waiting for a moment only; `finish` waits for all.
        """
        assert self._trial is not None  # noqa: S101 - as above
        trial, failures = self._trial, list[SpawnError]()
        self._restarting = True
        if trial.worker in self._others and not trial.is_up:  # it ended while others were tried out
            trial.worker.retire()
            self._leaving.append(trial.worker)
        for slot in range(len(self._workers)):
            tried = trial.worker if slot == 0 and trial.is_up else None
            if (why := await self._succeed(slot, _RELOADED, progress, tried)) is not None:
                failures.append(why)
            with anyio.move_on_after(OVERLAP):
                await self._gone(self._leaving)
        self.behind = bool(failures)
        return failures[0] if failures else None

    async def finish(self) -> None:
        """After `roll`: wait until nobody is left of the edition before."""
        try:
            await self._until(lambda: self._former is None or not self._former.is_running)
            await self._gone(self._leaving)
        finally:
            self._trial = self._former = None
            self._restarting = False
            self._turn.release()

    def recover(self) -> bool:
        """Start those at once who were given up, or wait for their next start; whether there was anybody.

        Those who wait until others have ended go on to do so.
        """
        down = [worker for worker in self._workers if worker.state in {State.FAILED, State.WAITING}]
        for worker in down if self.serves and not self.holds() else ():
            worker.stop()
            worker.start()
        return bool(down)

    async def recycle(
        self, worker: Worker, why: str, progress: Callable[[str], None] = lambda _told: None, *, anyhow: bool = False
    ) -> SpawnError | None:
        """Give the seat of this one worker to a successor; returns why that failed, if so.

        Only if it still serves, or `anyhow` while the seat is its own. Whoever asked can be told to leave it until it
        begins, and not any more then.
        """
        life = worker.name
        self._queue(progress)
        async with self._turn:
            if worker.name != life or not (self.seats(worker) or (anyhow and self.sits(worker))):
                return None  # restarted meanwhile, or dead: whoever sits there now is fresh
            self.tell(events.WorkerRecycled(str(life), why))
            failure = await self._replace(self._workers.index(worker), f"recycled: {why}", progress)
        with anyio.CancelScope(shield=True):
            await self._gone(self._leaving)
        return failure

    def seats(self, worker: Worker) -> bool:
        """Whether this worker serves in a seat of its own: it neither is on trial nor drains."""
        return self.sits(worker) and worker.state is State.UP

    def sits(self, worker: Worker) -> bool:
        """Whether this worker has a seat of its own, serving or not."""
        return worker in self._workers

    @property
    def size(self) -> int:
        """How many workers are wanted."""
        return self._size

    async def resize(
        self,
        workers: int,
        progress: Callable[[str], None],
        reason: str = "",
        still: Callable[[], bool] = lambda: True,
    ) -> SpawnError | None:
        """Have that many workers, if that is `still` wanted once it can be done; returns why not, if so.

        More: they are on trial together, as successors are, and if one does not come up none of them stays. Fewer: the
        last ones take nothing new and leave once they have finished what they have begun. Whoever waits for that keeps
        nobody else from resizing or replacing: the number of those who leave has a bound of its own.
        """
        self._queue(progress)
        async with self._turn:
            await self._until(lambda: self._stopping or len(self._others) + workers - self.size <= MAX_BESIDE)
            if self._stopping:
                return self._over
            if not still():
                return None
            if workers != self.size:
                self.tell(events.GroupScaled(self.name, self.size, workers, reason))
            before, self._size = self.size, workers
            if (why := await self._grow(workers, progress)) is not None:
                self._size = before
            leaving = self._dismiss(progress)
        await self._gone(leaving)
        return why

    async def _grow(self, workers: int, progress: Callable[[str], None]) -> SpawnError | None:
        self._seats += [Seat(self.name, slot) for slot in range(len(self._seats), workers)]
        # A seat that was left keeps its count, so that nobody has the name of somebody who may still be draining.
        newcomers = [Worker(seat, self._on_trial, self) for seat in self._seats[len(self._workers) : workers]]
        self._others += newcomers
        for worker in newcomers:
            worker.start()
        await self._until(lambda: self._stopping or not any(worker.state in _UNDECIDED for worker in newcomers))
        if self._stopping:
            return self._over
        for worker in newcomers:
            self._others.remove(worker)
            self._workers.append(worker)
            if worker.state is not State.FAILED:
                worker.settle(self._spec, "")
                progress(f"{worker.name} is up")
        return next((worker.failure() for worker in newcomers if worker.state is State.FAILED), None)

    def _dismiss(self, progress: Callable[[str], None]) -> list[Worker]:
        """Have those leave who are beyond the number that is wanted."""
        leaving, self._workers[self.size :] = self._workers[self.size :], []
        self._others += leaving
        for worker in leaving:
            if worker.state in RUNNING:
                progress(f"{worker.name} drains")
            worker.retire()
        return leaving

    @property
    def serves(self) -> bool:
        """Whether its first start is over and its end has not begun."""
        return self._started and not self._stopping

    async def _replace(self, slot: int, reason: str, progress: Callable[[str], None]) -> SpawnError | None:
        """Give a seat to a successor. The predecessor may take a moment; for longer it keeps nobody waiting."""
        with anyio.CancelScope(shield=True):  # half done, there would be a worker in no seat, or a seat with nobody
            why = await self._succeed(slot, reason, progress)
            with anyio.move_on_after(OVERLAP):
                await self._gone(self._leaving)
        return why

    async def _succeed(
        self, slot: int, reason: str, progress: Callable[[str], None], tried: Worker | None = None
    ) -> SpawnError | None:
        """Give a seat to a successor: a new one, or one that was `tried` out and is up. The predecessor drains."""
        predecessor = self._workers[slot]
        if self._stopping:
            return self._over
        if self._in_place:
            return await self._begin_anew(predecessor, progress)
        successor = tried or Worker(self._seats[slot], self._on_trial, self)
        if tried is None and (why := await self._try(successor)) is not None:
            return why
        successor.settle(self._spec, reason, self)
        self._workers[slot] = successor
        self._others[self._others.index(successor)] = predecessor
        self._leaving.append(predecessor)
        progress(f"{successor.name} is up; {predecessor.name} drains")
        predecessor.retire()
        return None

    async def _begin_anew(self, worker: Worker, progress: Callable[[str], None]) -> SpawnError | None:
        """End a worker and start it again: what it has, a successor could not have beside it."""
        before = worker.name
        worker.stop()
        await self._until(lambda: worker.state not in RUNNING)
        if not self._stopping:
            worker.start()
        await self._until(lambda: self._stopping or worker.state not in _UNDECIDED)
        if self._stopping:
            return self._over
        if worker.state is not State.UP:
            return worker.failure()
        progress(f"{worker.name} is up; {before} had ended before")
        return None

    async def _gone(self, leaving: list[Worker]) -> None:
        """Wait until they have ended, and forget them."""
        await self._until(lambda: not any(worker.state in RUNNING for worker in leaving))
        for worker in leaving:
            self._others.remove(worker)
        leaving.clear()
        self._ring()  # somebody may wait for there to be fewer

    def take_along(self, worker: Worker, until: float | None, row: int) -> None:
        """Have those end who do not go on without a worker that crashed, the last to start first.

        A group that starts has nobody who relied on it yet; one that is being restarted replaces everybody anyway, and
        the successors are not to end for what the predecessors do.
        """
        if worker not in self._workers or self._restarting or not self.serves:
            return
        why = f"ended with {worker.name}: {worker.reason}"
        slots = self._spec.policy.taken_along(self._workers.index(worker), len(self._workers))
        for other in [self._workers[slot] for slot in reversed(slots)]:
            if other is not worker:
                other.take_along(why, until, row)

    def holds(self) -> bool:
        """Whether nobody is to start for now: somebody who was taken along has not ended yet."""
        return any(worker.life.along and worker.state in RUNNING for worker in self._workers)

    async def _try(self, successor: Worker) -> SpawnError | None:
        """Have it up beside the others; if it does not come up, nothing of it stays."""
        self._others.append(successor)
        successor.start()
        try:
            await self._until(lambda: self._stopping or successor.state not in _UNDECIDED)
        except BaseException:  # nobody waits for it any more
            await self._drop(successor)
            raise
        if self._stopping:
            return self._over
        if successor.state is State.UP:
            return None
        await self._drop(successor)
        return successor.failure()

    async def _drop(self, successor: Worker) -> None:
        successor.stop(force=True)
        with anyio.CancelScope(shield=True):
            await self._until(lambda: successor.state not in RUNNING)
        self._others.remove(successor)

    def fork(self, name: WorkerName) -> Process | None:
        """A process from the template, if there is one that is warm."""
        return self._nursery.fork(name)

    def changed(self, worker: Worker) -> None:
        """A worker's state is new: tell who must know before it is acted upon, and wake who waits."""
        del worker
        self._refresh()
        self._ring()
        self._loop.call_soon(self._announce)  # after what is said of the worker itself

    def _announce(self) -> None:
        if self._stopping or not self._started:
            return
        before, self._said = self._said, (state := self.state)
        if state == before:
            return
        serves = any(worker.state is State.UP for worker in self._workers)
        if state == "up" or (before == "down" and state == "degraded" and serves):
            self.tell(events.GroupUp(self.name, time.monotonic() - self._not_up_since))
        if state == "failed":
            self.tell(events.GroupFailed(self.name, self._workers[0].reason))
        if before == "up":
            self._not_up_since = time.monotonic()

    def _ring(self) -> None:
        bell, self._bell = self._bell, anyio.Event()
        bell.set()

    async def _until(self, true: Callable[[], bool]) -> None:
        while not true():
            await self._bell.wait()
