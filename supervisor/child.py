"""One worker: carries out what `lifecycle` decides, and tells it what happened. Decides nothing."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from ipc.clock import now
from ipc.messages import lifeline as said
from ipc.messages.control import WorkerStatus
from ipc.messages.errand import Answered
from ipc.names import WorkerName
from supervisor import events, life
from supervisor.errors import SpawnError
from supervisor.lastwords import LastWords
from supervisor.life import RUNNING, Child, Spec, State
from supervisor.lifecycle import step
from supervisor.scoreboard import cpu_seconds, is_stopped, own_bytes, rss_bytes
from supervisor.standing import is_hopeless
from supervisor.telling import told
from supervisor.tether import Tether
from supervisor.timer import Timer

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipc.birth import Belongings
    from ipc.ledger import Ledger
    from ipc.messages.lifeline import FromChild, FromSupervisor
    from supervisor.events import Stream
    from supervisor.home import Home
    from supervisor.output import Line
    from supervisor.process import Process
    from supervisor.seat import Seat

LAST_CHARACTERS = 4096
"""How much of that, or of a traceback, is shown of a worker that was given up: its end, which says most."""
MAX_WHAT, MAX_TRACEBACK = 256, 16 * 1024
"""Characters that are kept of why a worker cannot go on, as it says: the first, and of its traceback the last."""
MAX_MISSING = 16
"""Of how many protections that it lacks."""
_dice = random.SystemRandom()


class Worker:
    """One worker through its lives: at most one process, one timer, one lifeline at a time.

    `reason` and `last_words` tell why its last life ended, and what it said about it; `planned`, whether it was to.

    Whatever it hears from a process is bound to that process and dropped when a later one runs.
    """

    def __init__(self, seat: Seat, spec: Spec, home: Home) -> None:
        self.life = Child(spec)
        self.name: WorkerName | None = None
        self.address, self.room = "", 1
        self.reason, self.planned = "", False
        self.last_words = ""
        self._seat = seat
        self._home = home
        self._loop = asyncio.get_running_loop()
        self._tether: Tether | None = None
        self._timer: Timer | None = None
        self._spawned = 0.0
        self.start_took = 0.0
        """How long its last start took until it was ready, seconds."""
        self._still_due: Callable[[], bool] = _always
        self._since = time.time()
        self._heard_last = LastWords()

    @property
    def state(self) -> State:
        """Where it stands."""
        return self.life.state

    @property
    def seat(self) -> str:
        """The name of its place, which its successor has as well."""
        return WorkerName(self._seat.group, self._seat.slot, 0).seat

    @property
    def pid(self) -> int | None:
        """Its process, if it has one."""
        return self._tether.process.pid if self._tether is not None else None

    def start(self) -> None:
        """Have it run."""
        self._happen(life.Start())

    def stop(self, *, force: bool = False) -> None:
        """Have it end: when it has finished, or at once."""
        self._happen(life.Stop(force))

    def retire(self) -> None:
        """Have it end once it has finished what it has begun: another has its place."""
        self._happen(life.Stop(calls=self._calls_left()))

    def say(self, message: FromSupervisor) -> None:
        """Tell it something; nothing happens if it has not been greeted or is gone."""
        if self._tether is not None and self.life.hardened:
            self._tether.lifeline.send(message)

    def hand_over(self, belongings: Belongings) -> bool:
        """It is a template: order a worker from it; whether that was possible."""
        tether = self._tether
        return self.life.state is State.UP and tether is not None and tether.lifeline.hand_over(belongings)

    def lose(self, why: str) -> None:
        """It does not do what it is for."""
        self._happen(life.Lost(why))

    def take_along(self, why: str, until: float | None, row: int) -> None:
        """Have it end when it has finished, and start again with another without which it does not go on."""
        self._happen(life.TakenAlong(why, until, row))

    def condemn(self, why: str) -> None:
        """Have it end at once, for what it has taken."""
        self._happen(life.Condemned(why))

    @property
    def used(self) -> tuple[int, int]:
        """Calls it has finished in this life, and bytes of memory that nobody has back before it ends."""
        return self.counts()[0], own_bytes(self.pid) if self.pid is not None else 0

    def overrun(self, why: str, still: Callable[[], bool], *, hung: bool = False) -> None:
        """A call of its does not end by itself, or it is `hung`: have it print its stacks and die.

        `still` is asked once they are printed; if it is so no longer, the worker goes on.
        """
        self._still_due = still
        self._happen(life.Overran(why, hung))

    @property
    def turned(self) -> float:
        """When its event loop last turned, as far as that can be seen; monotonic seconds."""
        beat = self._tether.process.page.last_beat() if self._tether is not None else 0.0
        return max(beat, self.life.up_since or 0.0)

    def settle(self, spec: Spec, reason: str, home: Home | None = None) -> None:
        """It was on trial and has the seat now: from here on `spec` holds, and if it moves, `home` is its home."""
        self.life = replace(self.life, spec=spec, row=0)
        self.reason, self.planned = reason, True
        self._home = home or self._home

    def allow(self, spec: Spec) -> None:
        """From here on it is allowed that."""
        self.life = replace(self.life, spec=spec)

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
            planned=self.planned,
            longest=self._longest(),
            refused=refused,
            cpu_seconds=cpu_seconds(self.pid) if self.pid is not None else 0.0,
            crashes=self.life.row,
            last_words=self.last_words[-LAST_CHARACTERS:] if self.state is State.FAILED else "",
        )

    def failure(self) -> SpawnError:
        """Why it is not there."""
        return SpawnError(f"{self.name} {self.reason}", last_words=self.last_words)

    def _longest(self) -> float:
        since = () if self.ledger is None else tuple(call.since for call in self.ledger.running())
        return now() - min(since) if since else 0.0

    def _calls_left(self) -> float:
        """How long calls of its may still run, seconds."""
        ends = () if self.ledger is None else tuple(call.kill_at for call in self.ledger.running())
        return max(0.0, max(ends) - now()) if ends else 0.0

    @property
    def ledger(self) -> Ledger | None:
        """What its process has begun, if it has one."""
        return self._tether.process.ledger if self._tether is not None else None

    def counts(self, slot: int = 0) -> tuple[int, int, int]:
        """Calls finished, running, messages refused: its own, or those of a worker that is a thread of it."""
        return (0, 0, 0) if self._tether is None else self._tether.process.page.read(slot)

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
            case life.Greet() if self.name is not None and self._tether is not None:
                for message in self._home.greeting(self.name):
                    self._tether.lifeline.send(message)
            case life.Drain(grace, replaced) if self._tether is not None:
                self._tether.lifeline.send(said.Drain(grace, replaced))
                self._tether.process.is_told(self.life.spec.stop_signal, grace)
            case life.Dump() if self._tether is not None:
                self._dump(self._tether.process)
            case life.Kill() if self._tether is not None:
                self._tether.kill()
            case life.TakeAlong(until, row):
                # It is told of this one's end before anything is of theirs.
                self._loop.call_soon(self._home.take_along, self, until, row)
            case life.SetTimer(seconds):
                self._set_timer(seconds)

    def _report(self, before: Child, event: life.Event) -> None:
        words: tuple[str, ...] = ()
        if isinstance(event, life.Exited) and before.state in RUNNING:
            words = self._heard_last.told(self._loop.time(), served=before.up_since is not None)
            self.reason, self.planned = self.life.reason, not before.wanted
            self.last_words = self.life.traceback or "\n".join(words)
        if (before.state, self.state) == (State.STARTING, State.UP):
            self.start_took = self._loop.time() - self._spawned
        after = self._timer.left if self._timer is not None else 0.0
        for said_of_it in told(
            str(self.name),
            before,
            self.life,
            event,
            took=self.start_took,
            after=after,
            words=words,
            begins=self._home.begins(),
        ):
            self._home.tell(said_of_it)

    def tell_of_wait(self) -> None:
        """Its group has begun without it: it is started again after all, and that was not said yet."""
        if self.state is State.WAITING and self._timer is not None and is_hopeless(self.life):
            self._home.tell(events.WorkerRestarting(str(self.name), self._timer.left))

    def _dump(self, process: Process) -> None:
        if process.pid is not None and is_stopped(process.pid):
            self._home.tell(events.Trouble(f"{process.name}: is stopped, so it cannot print where it stands"))
        process.dump()

    def _set_timer(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            self._timer = Timer(self._loop, seconds, self._ring)

    def _ring(self) -> None:
        self._timer = None
        recovered = self.state is State.OVERRUN and not self._still_due()
        self._happen(life.TimerRang(recovered, self._home.holds(), self._calls_left()))

    def _spawn(self) -> None:
        self.name = name = self._seat.next_name()
        self.address, self.room = "", 1
        self._heard_last.clear()
        self._spawned = self._loop.time()
        if (process := self._home.fork(name)) is None:
            self._launch(name)
        else:
            self._tether = Tether(self._loop, process, self)

    def _launch(self, name: WorkerName) -> None:
        try:
            process = self._home.launch(name)
        except SpawnError as error:
            self._loop.call_soon(self._ended, error.what)
            return
        self._tether = Tether(self._loop, process, self)
        self._tether.watch()

    # What comes over the tether; see `Holder`. Of a process that was let go nothing counts any more.

    def expects(self, process: Process) -> bool:
        """Whether it waits for a process that was ordered from a template."""
        return self._has(process) and self.state is State.STARTING

    def met(self, process: Process) -> None:
        """It is known who its process is."""
        self._home.tell(events.WorkerSpawned(str(process.name), process.pid or 0))

    def heard(self, process: Process, message: FromChild) -> None:
        """Its process said something."""
        if not self._has(process):
            return
        match message:
            case said.Hardened(pid, missing):
                if missing:
                    self._home.tell(events.WorkerExposed(str(process.name), _short(missing)))
                if pid == process.pid:
                    self._happen(life.Hardened())
                else:
                    self._happen(life.Lost("said that it was another process"))
            case said.Ready(address, room):
                self.address, self.room = address, room
                self._happen(life.Ready())
            case said.Broken(what, traceback):
                self._happen(life.Broke(what[:MAX_WHAT], traceback[-MAX_TRACEBACK:]))
            case said.Drained():
                self._happen(life.Drained())
            case said.Installed() | said.Moved() | said.Abandoned() | said.Suspected() | said.Seen() | Answered():
                self._home.heard(self, message)

    def wrote(self, process: Process, stream: Stream, line: Line) -> None:
        """Its process wrote a line."""
        if stream == "stderr":
            self._heard_last.hear(line.text, self._loop.time())
        self._home.tell(events.LineWritten(str(process.name), stream, line.text, line.requests))
        sign = self.life.spec.sign
        if sign and self.life.state is State.STARTING and sign in line.text and self._has(process):
            self._happen(life.Ready())

    def lost(self, process: Process, why: str) -> None:
        """Its process can no longer be spoken to. If it was not there yet, that is its template's death."""
        if self.expects(process) and process.pid is None:
            self._let_go()
            self._launch(process.name)
        elif self._has(process):
            self._happen(life.Lost(why))

    def exited(self, process: Process) -> None:
        """Its process has ended."""
        if self._has(process):
            begun, running = process.ledger.begun(), tuple(call.call_id for call in process.ledger.running())
            how = self._let_go()
            # Of several nobody can say which it was, and whoever knew which calls are frequent could have them refused.
            blamed = process.crashed and not self.life.verdict and len(running) == 1
            self._home.buried(self, begun, running if blamed else ())
            self._ended(how, busy=bool(running))

    def _has(self, process: Process) -> bool:
        return self._tether is not None and self._tether.process is process

    def _let_go(self) -> str:
        how = self._tether.let_go() if self._tether is not None else ""
        self._tether = None
        return how

    def _ended(self, how: str, *, busy: bool = False) -> None:
        self._happen(life.Exited(how, _dice.random(), busy))


def _short(missing: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(what[:MAX_WHAT] for what in missing[:MAX_MISSING])


def _always() -> bool:
    return True
