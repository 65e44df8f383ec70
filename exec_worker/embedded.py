"""Exec workers as threads of another process: the `memory` transport, where everything runs in one place.

Same sessions, same dispatch, same admission; only the bytes go through memory. What a process of its own gives (a
second interpreter, a worker that can be killed) is not here: for tests, small machines and functions that live for
one request. A call is interrupted at its deadline with the next bytecode of its node; one that waits in the kernel or
in C, or goes on all the same, keeps its thread until it returns, and nobody can end it.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING

import uvloop

from exec_worker import hooks
from exec_worker.engine import Engine
from exec_worker.loader import load
from exec_worker.onward import Onward
from exec_worker.rows import Rows
from exec_worker.service import Service
from exec_worker.tasks import lanes_of
from ipc.fork import wiped_at_fork
from ipc.ledger import Ledger
from ipc.messages.lifeline import Peer, Peers
from ipc.names import WorkerName, parse_worker
from ipc.responder import Responder
from ipc.scoreboard import Scoreboard
from ipc.transport.memory import connect
from ipc.wire.keys import leaf_key

if TYPE_CHECKING:
    from collections.abc import Collection

    from ipc.log import Log
    from ipc.messages.settings import EmbeddedGroup, ExecSettings, Limits
    from ipc.transport.base import End
    from ipc.wire.session import Terms

_SCHEME = "memory://"
_GLANCE = 0.01


def _nobody(_message: object) -> None:
    """There is no supervisor to tell: these keys are never replaced, and nobody can end a thread."""


class _Worker:
    """One thread that runs calls."""

    def __init__(
        self, name: WorkerName, engine: Engine, scoreboard: Scoreboard, terms: Terms, settings: ExecSettings
    ) -> None:
        self.name, self.settings = name, settings
        self.secret = os.urandom(32)
        self.lanes = lanes = lanes_of(settings, engine, Ledger(-1), main=False)  # a ledger that nobody reads
        self.rows = Rows(engine, settings.rows)
        self.service = Service(engine, scoreboard, lanes, self.rows)
        self.responder = Responder(name, self.secret, terms, self.service)
        self.thread = threading.Thread(target=lanes.run, args=(self.service.finish,), name=str(name), daemon=True)
        wiped_at_fork(self)

    def wipe(self) -> None:
        """Have no secret any more; see `ipc.fork`."""
        self.secret = b""


class Embedded:
    """All exec workers of one process, and one I/O thread for their links."""

    def __init__(
        self, me: str, groups: tuple[EmbeddedGroup, ...], terms: Terms, limits: Limits, log: Log, page: int
    ) -> None:
        """`me` is the process they live in, `page` its scoreboard. Raises LoadError."""
        self._host = parse_worker(me)
        self._terms, self._limits = terms, limits
        self._loop = uvloop.new_event_loop()
        self._io = threading.Thread(target=self._loop.run_forever, name="io", daemon=True)
        self._log = log
        self._workers: dict[str, _Worker] = {}
        for group in groups:
            settings = group.settings
            engine = Engine(
                load(settings.nodes, settings.sys_path), log, settings.cancel_grace, alone=settings.slots == 1
            )
            for slot in range(group.workers):
                name = WorkerName(group.name, slot, self._host.incarnation)
                board = Scoreboard(page, len(self._workers) + 1)
                self._workers[str(name)] = _Worker(name, engine, board, terms, settings)
        # Once in the process, for all workers that live in it.
        self._await = next((worker.lanes.await_ for worker in self._workers.values() if worker.lanes.await_), None)
        hooks.begin(self._await)

    def start(self) -> None:
        """Be ready for calls."""
        self._io.start()
        asyncio.run_coroutine_threadsafe(self._introduce(), self._loop).result()
        for worker in self._workers.values():
            worker.thread.start()

    def peers(self) -> Peers:
        """What a supervisor would say of them."""
        return self._peers(self._host, "web", {worker.name.group for worker in self._workers.values()})

    def _peers(self, client: WorkerName, role: str, groups: Collection[str]) -> Peers:
        workers = (
            Peer(name, _SCHEME + name, self._terms.epoch, leaf_key(worker.secret, client, role), worker.lanes.slots)
            for name, worker in self._workers.items()
            if worker.name.group in groups
        )
        return Peers(tuple(workers))

    async def _introduce(self) -> None:
        """Have those know each other between whom a pipeline leads."""
        for worker in self._workers.values():
            onward, settings = None, worker.settings
            if settings.forwards:
                onward = Onward(worker.name, self._terms, self._limits, settings, self.connect, _nobody)
                onward.update(self._peers(worker.name, "exec", set(settings.forwards.values())))
            worker.rows.open(worker.responder, onward)

    async def connect(self, address: str, end: End, largest: int) -> None:
        """Connect `end` to the worker at `address`: what `dial` is for other transports."""
        worker = self._workers[address.removeprefix(_SCHEME)]
        loop = asyncio.get_running_loop()

        async def accept() -> None:
            far, _lock = worker.responder.new_end()
            connect(end, loop, far, self._loop, largest)

        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(accept(), self._loop))

    async def drain(self) -> None:
        """Let every thread finish the call it has."""
        for worker in self._workers.values():
            self._loop.call_soon_threadsafe(worker.service.drain)
        for worker in self._workers.values():
            await asyncio.to_thread(worker.thread.join)
        closing = (worker.rows.close(hooks.LEAST) for worker in self._workers.values())
        await asyncio.gather(*(asyncio.wrap_future(asyncio.run_coroutine_threadsafe(c, self._loop)) for c in closing))
        if hooks.registered("on_worker_stop"):
            await self._say_goodbye()
        for worker in self._workers.values():
            await asyncio.to_thread(worker.lanes.dispose)

    async def _say_goodbye(self) -> None:
        """Run the stop hooks, in a thread: the server of this process has its last answers to send."""
        departure = hooks.Departure()
        thread = threading.Thread(target=departure.run, args=(self._log, self._await), name="stop-hooks", daemon=True)
        thread.start()
        for _ in range(round(hooks.STOP_TIMEOUT / _GLANCE)):
            if not thread.is_alive():
                return
            await asyncio.sleep(_GLANCE)
        departure.give_up(self._log)
