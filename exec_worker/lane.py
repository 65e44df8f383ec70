"""Where nodes run: lanes that take calls from one inbox, the main thread first, and what ends a call early.

A lane notes each call in the ledger before its node runs, so that the supervisor knows when to end it by force, and
which calls had begun if this process dies. The row is freed before the answer is sealed: the call stays among those
that were begun.
"""

from __future__ import annotations

import math
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

from exec_worker.interrupts import CallCancelled, DeadlineExceeded
from exec_worker.window import SignalWindow, ThreadWindow, Window
from ipc.clock import now

if TYPE_CHECKING:
    from exec_worker.asked import AskedCall
    from exec_worker.binding import Encoded
    from exec_worker.engine import Failure
    from exec_worker.hooks import Await
    from ipc.ledger import Ledger


class Runs(Protocol):
    """What an engine does for a lane."""

    def run(self, call: AskedCall, window: Window) -> Encoded | Failure:
        """What came of the call, whatever its node did."""
        ...


class Finish(Protocol):
    """Who answers."""

    def __call__(self, call: AskedCall, result: Encoded | Failure | None, began: float) -> AskedCall | None:
        """The call is over, or was not begun (None); returns the one that is next."""
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
            following: AskedCall | None = call
            while following is not None:
                following = self._run(following, finish)
        inbox.put(None)  # for the next lane

    def _run(self, call: AskedCall, finish: Finish) -> AskedCall | None:
        began = now()
        call.window = self._window
        row = self._lanes.begin(call)
        result = None if row is None else self._lanes.engine.run(call, self._window)
        if row is not None:
            self._lanes.ledger.end(row)
        return finish(call, result, began)


class Lanes:
    """All lanes of a worker. What is said of a call may come from any thread."""

    def __init__(self, engine: Runs, ledger: Ledger, kill_grace: float, slots: int = 1, *, main: bool = True) -> None:
        """`slots` calls run at once. Unless `main` is false the first lane is the process's main thread."""
        self.engine, self.ledger, self.slots = engine, ledger, slots
        self.inbox: SimpleQueue[AskedCall | None] = SimpleQueue()  # admission puts no more in than there are lanes
        self.await_: Await | None = None
        """What runs a coroutine where nodes run, and waits for it; None if they do not run in an event loop."""
        self._kill_grace = kill_grace
        self._main = main

    def run(self, finish: Finish) -> None:
        """Run calls until `close`; this thread is the first lane."""
        others = [
            threading.Thread(target=Lane(self, ThreadWindow()).run, args=(finish,), name=f"lane-{number}", daemon=True)
            for number in range(1, self.slots)
        ]
        for thread in others:
            thread.start()
        Lane(self, SignalWindow() if self._main else ThreadWindow()).run(finish)
        for thread in others:
            thread.join()

    def put(self, call: AskedCall) -> None:
        """Have the next free lane run it."""
        self.inbox.put(call)

    def close(self) -> None:
        """Nothing more will be put: `run` returns once every lane is idle."""
        self.inbox.put(None)

    def dispose(self) -> None:
        """Nothing is called any more, hooks neither."""

    def begin(self, call: AskedCall) -> int | None:
        """Note that it runs from now on; None if nobody waits for it any more. In its lane."""
        row = call.row = self.ledger.begin(call.id, call.deadline + self._kill_grace, call.cancel_grace)
        if call.seen.cancelled:  # who said so may have looked for the row before it was there
            self.ledger.end(row)
            return None
        return row

    def leave(self, call: AskedCall) -> None:
        """Its caller has left: what its node says is to happen then happens."""
        call.seen.cancelled = True
        grace = call.cancel_grace
        if grace == math.inf:
            return
        if call.row is not None:
            self.ledger.limit(call.row, call.id, now() + grace)
        if grace:
            _interrupt(call, CallCancelled)

    def expire(self, call: AskedCall) -> None:
        """Its deadline has come."""
        _interrupt(call, DeadlineExceeded)


def _interrupt(call: AskedCall, error: type[CallCancelled | DeadlineExceeded]) -> None:
    if call.window is None:  # no lane has come to it, and the one that does will look
        call.interrupt = call.interrupt or error
    else:
        call.window.interrupt(call, error)
