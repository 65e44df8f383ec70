"""Where nodes run: lanes that take calls from one inbox, the main thread first, and what ends a call early.

A lane notes each call in the ledger before its node runs, so that the supervisor knows when to end it by force, and
which calls had begun if this process dies. The row is freed before the answer is sealed: the call stays among those
that were begun.
"""

from __future__ import annotations

import math
import os
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

from exec_worker.asked_batch import AskedBatch
from exec_worker.interrupts import CallCancelled, DeadlineExceeded
from exec_worker.window import SignalWindow, ThreadWindow, Window
from ipc.clock import now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exec_worker.asked import AskedCall
    from exec_worker.binding import Encoded
    from exec_worker.engine import Failure
    from exec_worker.hooks import Await
    from ipc.ledger import Ledger

    Answers = Sequence[tuple[AskedCall, Encoded | Failure | None]]


ROUNDING = 0.002
"""By how much a deadline may be later here than where it was set, seconds: a frame tells times in milliseconds."""


class Runs(Protocol):
    """What an engine does for a lane."""

    def run(self, call: AskedCall, window: Window) -> Encoded | Failure:
        """What came of the call, whatever its node did."""
        ...

    def run_batch(self, batch: AskedBatch, window: Window) -> Sequence[Encoded | Failure]:
        """The same for each of several calls."""
        ...

    def lane_died(self, error: BaseException) -> None:
        """Say why this process ends now."""
        ...


class Finish(Protocol):
    """Who answers."""

    def __call__(
        self, run: AskedCall | AskedBatch, result: Encoded | Failure | Answers | None, began: float
    ) -> AskedCall | AskedBatch | None:
        """The call is over, or was not begun (None), and so are those of a batch; returns what is next."""
        ...


class Lane:
    """One thread that runs calls, one at a time."""

    def __init__(self, lanes: Lanes, window: Window) -> None:
        self._lanes, self._window = lanes, window

    def run(self, finish: Finish) -> None:
        """Take calls until there are no more to come."""
        self._window.enter()
        inbox = self._lanes.inbox
        while (call := inbox.get()) is not None:
            following: AskedCall | AskedBatch | None = call
            while following is not None:
                if isinstance(following, AskedBatch):
                    following = self._run_batch(following, finish)
                else:
                    following = self._run(following, finish)
        inbox.put(None)  # for the next lane

    def _run_batch(self, batch: AskedBatch, finish: Finish) -> AskedCall | AskedBatch | None:
        began = now()
        batch.window = self._window
        answers: list[tuple[AskedCall, Encoded | Failure | None]] = [
            (call, None) for call in self._lanes.begin_batch(batch, began)
        ]
        if batch.calls:
            answers += zip(batch.calls, self._lanes.engine.run_batch(batch, self._window), strict=True)
            for call in batch.calls:
                self._lanes.end(call)
        return finish(batch, answers, began)

    def _run(self, call: AskedCall, finish: Finish) -> AskedCall | AskedBatch | None:
        began = now()
        call.window = self._window
        row = self._lanes.begin(call, began)
        result = None if row is None else self._lanes.engine.run(call, self._window)
        if row is not None:
            self._lanes.ledger.end(row)
        return finish(call, result, began)


class Lanes:
    """All lanes of a worker. What is said of a call may come from any thread."""

    def __init__(self, engine: Runs, ledger: Ledger, kill_grace: float, slots: int = 1, *, main: bool = True) -> None:
        """`slots` calls run at once. Unless `main` is false the first lane is the process's main thread."""
        self.engine, self.ledger, self.slots = engine, ledger, slots
        # Admission puts no more in than there are lanes.
        self.inbox: SimpleQueue[AskedCall | AskedBatch | None] = SimpleQueue()
        self.await_: Await | None = None
        """What runs a coroutine where nodes run, and waits for it; None if they do not run in an event loop."""
        self._kill_grace = kill_grace
        self._main = main

    def run(self, finish: Finish) -> None:
        """Run calls until `close`; this thread is the first lane."""
        others = [
            threading.Thread(target=self._lane, args=(ThreadWindow(), finish), name=f"lane-{number}", daemon=True)
            for number in range(1, self.slots)
        ]
        for thread in others:
            thread.start()
        self._lane(SignalWindow() if self._main else ThreadWindow(), finish)
        for thread in others:
            thread.join()

    def _lane(self, window: Window, finish: Finish) -> None:
        try:
            Lane(self, window).run(finish)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it must not be silent
            self.die(error)

    def die(self, error: BaseException) -> None:
        """A lane is dead, which is a fault of ours: end the process, or its slot would look busy for ever."""
        try:
            self.engine.lane_died(error)
        finally:
            os._exit(1)

    def put(self, run: AskedCall | AskedBatch) -> None:
        """Have the next free lane run it."""
        self.inbox.put(run)

    def close(self) -> None:
        """Nothing more will be put: `run` returns once every lane is idle."""
        self.inbox.put(None)

    def dispose(self) -> None:
        """Nothing is called any more, hooks neither."""

    def begin(self, call: AskedCall, time: float) -> int | None:
        """Note that it runs from now on; None if nobody waits for it any more, or it is too late. In its lane."""
        deadline = call.deadline
        if deadline <= time:  # whatever ran here before took its time
            if call.row is None:
                return None
            deadline, call.interrupt = time, call.interrupt or DeadlineExceeded  # a pipeline's: a part of it was done
        kill_at = deadline + self._kill_grace
        if call.meta.beyond_ms:  # who will not wait as long as others does not have it ended sooner
            kill_at += call.meta.beyond_ms / 1000
        row = call.row = self.ledger.begin(call.id, kill_at, call.cancel_grace)
        if call.seen.cancelled:  # who said so may have looked for the row before it was there
            self.ledger.end(row)
            return None
        return row

    def begin_batch(self, batch: AskedBatch, time: float) -> list[AskedCall]:
        """Note that they run from now on, all until the last of them has no more time.

        Those for whom nobody waits any more, or that have no more time, are taken out of the batch, and returned.
        """
        calls = batch.calls
        waiting = [call for call in calls if call.deadline > time and not call.seen.cancelled]
        kill_at = max((call.deadline + call.meta.beyond_ms / 1000 for call in waiting), default=time) + self._kill_grace
        several = len(waiting) > 1
        for call in waiting:
            # That one has left is nothing to the others.
            call.row = self.ledger.begin(call.id, kill_at, math.inf if several else call.cancel_grace)
            if call.seen.cancelled:  # who said so may have looked for the row before it was there
                self.end(call)
        batch.calls = tuple(call for call in waiting if call.row is not None)
        return [call for call in calls if call.row is None]

    def end(self, call: AskedCall) -> None:
        """A call of a batch is over."""
        if call.row is not None:
            self.ledger.end(call.row)
            call.row = None

    def leave(self, call: AskedCall) -> None:
        """Its caller has left: its node is interrupted unless it says no, in a batch once all have left.

        Nobody is killed from here: others may run beside it, and the supervisor knows. A caller also leaves because
        the time is over, and where there is much to do that may be heard before the clock is looked at.
        """
        call.seen.cancelled = True
        batch = call.batch
        if batch is not None and batch.deserted and batch.seen is not None:
            batch.seen.cancelled = True
        if call.cancel_grace < math.inf and (batch is None or batch.deserted):
            run = call if batch is None else batch
            _interrupt(run, DeadlineExceeded if run.deadline <= now() + ROUNDING else CallCancelled)

    def expire(self, run: AskedCall | AskedBatch) -> None:
        """Its deadline has come."""
        _interrupt(run, DeadlineExceeded)


def _interrupt(call: AskedCall | AskedBatch, error: type[CallCancelled | DeadlineExceeded]) -> None:
    if call.interrupt is None:
        call.interrupt = error  # noted first: a lane that comes to it from here on looks for the note
        if (window := call.window) is not None:
            window.wake(call)
