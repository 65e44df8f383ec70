"""Where nodes run that are `async def`: as tasks of one event loop, which has the worker's main thread to itself.

The links have a loop of their own in another thread, so that a node that blocks delays its neighbours, and nobody else.
To interrupt a call is to cancel its task.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import uvloop

from exec_worker.asked_batch import AskedBatch
from exec_worker.engine import Failure
from exec_worker.lane import Lanes
from exec_worker.window import Window
from ipc.clock import now

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from exec_worker.asked import AskedCall
    from exec_worker.binding import Encoded
    from exec_worker.engine import Engine
    from exec_worker.lane import Finish
    from exec_worker.window import Interruptible
    from ipc.ledger import Ledger
    from ipc.messages.settings import ExecSettings

PARTING = 1.0
"""How long tasks that nodes have left behind may take to be cancelled, seconds."""


class _TaskWindow(Window):
    """That of one task: from its first step to its end."""

    __slots__ = ("_loop", "_task")

    def __init__(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
        super().__init__()
        self._loop, self._task = loop, task

    def wake(self, _call: Interruptible) -> None:
        """See there. A task that is done is not cancelled, and no other is."""
        self._loop.call_soon_threadsafe(self._task.cancel)


class Tasks(Lanes):
    """Slots that are tasks. `run` is to be called by the thread whose loop this is to be."""

    def __init__(self, engine: Engine, ledger: Ledger, kill_grace: float, slots: int) -> None:
        super().__init__(engine, ledger, kill_grace, slots)
        self._awaits = engine
        self.await_ = self.wait_for
        self._loop = uvloop.new_event_loop()
        self._live = 0
        self._closing = False

    def run(self, finish: Finish) -> None:
        """See there. What nodes have started and not awaited goes on until then."""
        self._finish = finish
        while not self._is_over:
            with suppress(SystemExit, KeyboardInterrupt):  # a node may raise them, and they end loops
                self._loop.run_forever()

    def wait_for(self, coroutine: Coroutine[Any, Any, object]) -> object:
        """See there: in the loop, while no calls run."""
        return self._loop.run_until_complete(coroutine)

    def dispose(self) -> None:
        """See there: cancel what nodes and hooks have started and not awaited, and close the loop."""
        if self._loop.is_running():  # a stop hook has not come to its end
            return
        if tasks := asyncio.all_tasks(self._loop):
            for task in tasks:
                task.cancel()
            self.wait_for(asyncio.wait(tasks, timeout=PARTING))
        self._loop.close()

    def put(self, run: AskedCall | AskedBatch) -> None:
        """See there."""
        self._loop.call_soon_threadsafe(self._start, run)

    def close(self) -> None:
        """See there."""
        with suppress(RuntimeError):  # the loop is closed: it is over, and was told so before
            self._loop.call_soon_threadsafe(self._close)

    @property
    def _is_over(self) -> bool:
        return self._closing and not self._live

    def _close(self) -> None:
        self._closing = True
        if not self._live:
            self._loop.stop()

    def _start(self, run: AskedCall | AskedBatch) -> None:
        following: AskedCall | AskedBatch | None = run
        try:
            while following is not None:
                assert not isinstance(following, AskedBatch)  # noqa: S101 - no coroutine function is a batched node
                following = self._begin(following)
        except BaseException as error:  # noqa: BLE001 - the loop would only note it, and go on without the slot
            self.die(error)

    def _begin(self, call: AskedCall) -> AskedCall | AskedBatch | None:
        """Make a task of it; returns the call that is next if there is nothing to wait for."""
        began = now()
        if self.begin(call, began) is None:
            return self._finish(call, None, began)
        coroutine = self._awaits.prepare(call)
        if isinstance(coroutine, Failure):
            return self._end(call, coroutine, began)
        task = self._loop.create_task(coroutine, name=call.meta.node)
        call.window = _TaskWindow(self._loop, task)
        if call.interrupt is not None:  # noted by somebody who did not see the window yet
            task.cancel()
        self._live += 1
        task.add_done_callback(partial(self._done, call, began))
        return None

    def _done(self, call: AskedCall, began: float, task: asyncio.Task[Any]) -> None:
        self._live -= 1
        try:
            following = self._end(call, self._awaits.conclude(call, task), began)
        except BaseException as error:  # noqa: BLE001 - as above
            self.die(error)
            return
        if following is not None:
            self._start(following)
        if self._is_over:  # what followed may have been over at once
            self._loop.stop()

    def _end(self, call: AskedCall, result: Encoded | Failure, began: float) -> AskedCall | AskedBatch | None:
        if call.row is not None:
            self.ledger.end(call.row)
        return self._finish(call, result, began)


def lanes_of(settings: ExecSettings, engine: Engine, ledger: Ledger, *, main: bool = True) -> Lanes:
    """Where the nodes of a group run; see `Lanes` for `main`."""
    if settings.mode == "async":
        return Tasks(engine, ledger, settings.kill_grace, settings.slots)
    return Lanes(engine, ledger, settings.kill_grace, settings.slots, main=main)
