"""One worker: carries out what `lifecycle` decides, and tells it what happened. Decides nothing."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ipc.messages import lifeline as said
from ipc.messages.control import WorkerStatus
from ipc.names import WorkerName
from supervisor import events, life
from supervisor.errors import SpawnError
from supervisor.life import RUNNING, Child, Spec, State
from supervisor.lifecycle import step
from supervisor.lifeline import Lifeline
from supervisor.output import Output
from supervisor.scoreboard import own_bytes, rss_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ipc.birth import Belongings
    from ipc.ledger import Begun, Ledger
    from ipc.messages.lifeline import FromChild, FromSupervisor
    from supervisor.events import Event, Stream
    from supervisor.group import Seat
    from supervisor.spawn import Process

LAST_WORDS = 20
"""Lines of standard error that are kept for the report of an end."""
_dice = random.SystemRandom()


class Home(Protocol):
    """What a worker needs of the world around it."""

    def fork(self, name: WorkerName) -> Process | None:
        """Have its process forked from a warm template; None if there is none."""

    def launch(self, name: WorkerName) -> Process:
        """Make its process; SpawnError if that fails."""

    def greeting(self, name: WorkerName) -> Iterable[FromSupervisor]:
        """The first it is told, with its secrets."""

    def changed(self, worker: Worker) -> None:
        """Take note of its new state; called before anything is done about it."""

    def heard(self, worker: Worker, message: FromChild) -> None:
        """Take note of something it said that is not about its own life."""

    def buried(self, worker: Worker, begun: Begun, suspects: tuple[bytes, ...]) -> None:
        """Take note of the calls that a process of its had begun, which is dead, and which it may have died of."""

    def tell(self, event: Event) -> None:
        """Say to everybody what happened."""


class Worker:
    """One worker through its lives: at most one process, one timer, one lifeline at a time.

    `reason` and `last_words` tell why its last life ended, and what it said about it.

    Whatever it hears from a process is bound to that process and dropped when a later one runs.
    """

    def __init__(self, seat: Seat, spec: Spec, home: Home) -> None:
        self.life = Child(spec)
        self.name: WorkerName | None = None
        self.address, self.room = "", 1
        self.reason = ""
        self.last_words = ""
        self._seat = seat
        self._home = home
        self._loop = asyncio.get_running_loop()
        self._process: Process | None = None
        self._lifeline: Lifeline | None = None
        self._outputs: tuple[Output, ...] = ()
        self._timer: asyncio.TimerHandle | None = None
        self._spawned = 0.0
        self._since = time.time()
        self._heard_last: deque[str] = deque(maxlen=LAST_WORDS)

    @property
    def state(self) -> State:
        """Where it stands."""
        return self.life.state

    @property
    def pid(self) -> int | None:
        """Its process, if it has one."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Have it run."""
        self._happen(life.Start())

    def stop(self, *, force: bool = False) -> None:
        """Have it end: when it has finished, or at once."""
        self._happen(life.Stop(force))

    def say(self, message: FromSupervisor) -> None:
        """Tell it something; nothing happens if it has not been greeted or is gone."""
        if self._lifeline is not None and self.life.hardened:
            self._lifeline.send(message)

    def hand_over(self, belongings: Belongings) -> bool:
        """It is a template: order a worker from it; whether that was possible."""
        return self.life.state is State.UP and self._lifeline is not None and self._lifeline.hand_over(belongings)

    def lose(self, why: str) -> None:
        """It does not do what it is for."""
        self._happen(life.Lost(why))

    def condemn(self, why: str) -> None:
        """Have it end at once, for what it has taken."""
        self._happen(life.Condemned(why))

    @property
    def used(self) -> tuple[int, int]:
        """Calls it has finished in this life, and bytes of memory that nobody has back before it ends."""
        return self.counts()[0], own_bytes(self.pid) if self.pid is not None else 0

    def overrun(self, why: str) -> None:
        """A call of its does not end by itself, or it hears nobody: have it print its stacks and die."""
        self._happen(life.Overran(why))

    def settle(self, spec: Spec, reason: str) -> None:
        """It was on trial and has the seat now: from here on `spec` holds."""
        self.life = replace(self.life, spec=spec, row=0)
        self.reason = reason

    def status(self) -> WorkerStatus:
        """What can be seen of it from outside."""
        calls, running, refused = self.counts()
        return WorkerStatus(
            name=str(self.name or WorkerName(self._seat.group, self._seat.slot, 0)),
            pid=self.pid,
            state=self.state.value,
            incarnation=self.name.incarnation if self.name is not None else 0,
            restarts=max(0, self._seat.lives - 1),
            since=self._since,
            calls=calls,
            running=running,
            rss_bytes=rss_bytes(self.pid) if self.pid is not None else 0,
            reason=self.reason,
            longest=self._longest(),
            refused=refused,
        )

    def _longest(self) -> float:
        since = () if self._process is None else tuple(call.since for call in self._process.ledger.running())
        return time.monotonic() - min(since) if since else 0.0

    @property
    def ledger(self) -> Ledger | None:
        """What its process has begun, if it has one."""
        return self._process.ledger if self._process is not None else None

    def counts(self, slot: int = 0) -> tuple[int, int, int]:
        """Calls finished, running, messages refused: its own, or those of a worker that is a thread of it."""
        if self._process is None:
            return 0, 0, 0
        return self._process.page.read(slot)

    def _happen(self, event: life.Event) -> None:
        before = self.life
        self.life, actions = step(before, event, self._loop.time())
        if self.life.state is not before.state:
            self._since = time.time()
            self._home.changed(self)  # so that nobody is sent to a worker that drains
        for action in actions:
            self._act(action)
        self._report(before, event)

    def _act(self, action: life.Action) -> None:
        match action:
            case life.Spawn():
                self._spawn()
            case life.Greet() if self.name is not None and self._lifeline is not None:
                for message in self._home.greeting(self.name):
                    self._lifeline.send(message)
            case life.Drain(grace) if self._lifeline is not None:
                self._lifeline.send(said.Drain(grace))
            case life.Dump() if self._process is not None:
                self._process.dump()
            case life.Kill() if self._process is not None:
                self._process.kill()
                if self._process.pid is None:  # nobody to kill, and no end to hear of
                    self._loop.call_soon(self._exited, self._process)
            case life.SetTimer(seconds):
                self._set_timer(seconds)

    def _report(self, before: Child, event: life.Event) -> None:
        name, now = str(self.name), self.life
        if isinstance(event, life.Exited) and before.state in RUNNING:
            self.reason, words = now.reason, tuple(self._heard_last)
            self.last_words = now.traceback or "\n".join(words)
            expected = not before.wanted or before.state is State.DRAINING
            self._home.tell(events.WorkerExited(name, now.reason, expected, now.traceback, words))
        match now.state, event:
            case State.UP, life.Ready() if before.state is State.STARTING:
                self._home.tell(events.WorkerReady(name, self._loop.time() - self._spawned))
            case State.DRAINING, _ if before.state is State.UP:
                self._home.tell(events.WorkerDraining(name))
            case State.WAITING, life.Exited() if self._timer is not None:
                self._home.tell(events.WorkerRestarting(name, self._timer.when() - self._loop.time()))
            case State.FAILED, life.Exited():
                self._home.tell(events.WorkerFailed(name, now.reason))

    def _set_timer(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            self._timer = self._loop.call_later(seconds, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._happen(life.TimerRang())

    def _spawn(self) -> None:
        self.name = name = self._seat.next_name()
        self.address, self.room = "", 1
        self._heard_last.clear()
        self._spawned = self._loop.time()
        if (process := self._home.fork(name)) is None:
            self._launch(name)
        else:
            self._attend(process)

    def _launch(self, name: WorkerName) -> None:
        try:
            process = self._home.launch(name)
        except SpawnError as error:
            self._loop.call_soon(self._ended, error.what)
            return
        self._attend(process)
        self._watch(process)

    def _attend(self, process: Process) -> None:
        self._process, name = process, process.name
        on_message, on_lost = partial(self._heard, process), partial(self._lost, process)
        is_it = partial(self._met, process)
        self._lifeline = Lifeline(self._loop, process.lifeline, process.pid, on_message, on_lost, is_it)
        self._outputs = (
            Output(self._loop, process.stdout, partial(self._wrote, str(name), "stdout")),
            Output(self._loop, process.stderr, partial(self._wrote, str(name), "stderr")),
        )

    def _watch(self, process: Process) -> None:
        self._loop.add_reader(process.pidfd, self._exited, process)
        self._home.tell(events.WorkerSpawned(str(process.name), process.pid or 0))

    def _met(self, process: Process, pid: int) -> bool:
        """Whether process `pid`, the first to speak for one that was ordered from a template, is that one."""
        if process is not self._process or self.state is not State.STARTING or not process.is_born_as(pid):
            return False
        self._watch(process)
        return True

    def _heard(self, process: Process, message: FromChild) -> None:
        if process is not self._process:
            return
        match message:
            case said.Hardened(pid, missing):
                if missing:
                    self._home.tell(events.WorkerExposed(str(process.name), missing))
                if pid == process.pid:
                    self._happen(life.Hardened())
                else:
                    self._happen(life.Lost("said that it was another process"))
            case said.Ready(address, room):
                self.address, self.room = address, room
                self._happen(life.Ready())
            case said.Broken(what, traceback):
                self._happen(life.Broke(what, traceback))
            case said.Drained():
                self._happen(life.Drained())
            case said.Installed() | said.Moved() | said.Abandoned() | said.Suspected() | said.Pong():
                self._home.heard(self, message)

    def _lost(self, process: Process, why: str) -> None:
        if process is not self._process:
            return
        if process.pid is None and self.state is State.STARTING:  # its template has died: that is no crash of its own
            self._forget(process)
            self._launch(process.name)
        else:
            self._happen(life.Lost(why))

    def _wrote(self, worker: str, stream: Stream, text: str) -> None:
        if stream == "stderr":
            self._heard_last.append(text)
        self._home.tell(events.LineWritten(worker, stream, text))

    def _exited(self, process: Process) -> None:
        if process is self._process:
            running = tuple(call.call_id for call in process.ledger.running())
            self._home.buried(self, process.ledger.begun(), () if self.life.verdict else running)
            self._ended(self._forget(process), busy=bool(running))

    def _forget(self, process: Process) -> str:
        """Let go of a process that has ended, or never was; how it ended."""
        if process.pid is not None:
            self._loop.remove_reader(process.pidfd)
        if self._lifeline is not None:  # the last it said comes before its end
            self._lifeline.close()
        for output in self._outputs:
            output.finish()
        how = process.end()
        self._process, self._lifeline, self._outputs = None, None, ()
        return how

    def _ended(self, how: str, *, busy: bool = False) -> None:
        self._happen(life.Exited(how, _dice.random(), busy))
