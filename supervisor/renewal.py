"""Gives the workers new keys: carries out what `rotation` decides, by lifeline, and tells how it went."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio

from ipc.messages import lifeline as said
from ipc.messages.control import Done, Refused
from supervisor import events, rotation
from supervisor.life import State
from supervisor.rotation import Rotation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ipc.messages.lifeline import FromChild
    from ipc.names import WorkerName
    from supervisor.child import Worker
    from supervisor.events import Event
    from supervisor.keys import Keys
    from supervisor.reach import Reach

PATIENCE = 10.0
"""How much longer than envelopes are good an order to rotate waits for who is too busy for new keys, seconds."""
_LATER = 0.1
_SERVE = frozenset({State.STARTING, State.UP, State.OVERRUN})  # the last may go on after all
_LIVE = _SERVE | {State.DRAINING}


class Renewal:
    """Rotates when asked, and by the clock."""

    def __init__(
        self,
        keys: Keys,
        servers: Callable[[], Iterable[Worker]],
        clients: Callable[[], Iterable[Worker]],
        tell: Callable[[Event], None],
        ttl: float,
        reach: Reach,
    ) -> None:
        """`servers` and `clients` yield the exec workers there are, and who calls any."""
        self.rotation = Rotation(keys.epoch, ttl)
        self.announce: Callable[[], None] = lambda: None
        """Has those told of what is new who call; set by whoever keeps them informed."""
        self._reach = reach
        self._keys, self._servers, self._clients, self._tell, self._ttl = keys, servers, clients, tell, ttl
        self._patience = ttl + PATIENCE
        self._loop = asyncio.get_running_loop()
        self._began = 0.0
        self._over, self._anew = anyio.Event(), anyio.Event()

    async def order(self) -> Done | Refused:
        """Rotate because somebody asks; returns when it is done, or has not been for too long."""
        if not self._anybody():
            return Refused("there is no worker that has keys: exec groups live in the web workers or are down")
        self.begin()
        with anyio.move_on_after(self._patience):
            while self.rotation.left:
                await self._over.wait()
        if left := [str(name) for name in self.rotation.left]:
            has = f"{', '.join(left)} still {'has' if len(left) == 1 else 'have'} keys before that"
            return Refused(f"{has}, for somebody is busy; epoch {self._keys.epoch} follows by itself")
        return Done(f"every worker has the keys of epoch {self._keys.epoch}, and nobody those before")

    async def every(self, seconds: Callable[[], float]) -> None:
        """Rotate again and again, until cancelled."""
        while True:
            with anyio.move_on_after(seconds()) as pause:
                await self._anew.wait()
            if pause.cancelled_caught and self._anybody():
                self.begin()

    def count_anew(self) -> None:
        """How often is another number from now on."""
        anew, self._anew = self._anew, anyio.Event()
        anew.set()

    def begin(self) -> None:
        """Make new keys and hand them out; whoever has not done with the last ones will take these afterwards."""
        self._began = self._loop.time()
        self._act(self.rotation.begin(self._keys.renew()))
        self._keys.forget(self.rotation.epochs)

    def heard(self, worker: Worker, message: FromChild) -> None:
        """What a worker said about keys."""
        assert worker.name is not None  # noqa: S101 - it has just spoken
        match message:
            case said.Installed(epoch):
                clients = [
                    name for name in self._named(self._clients(), _LIVE) if self._reach.covers(name, worker.name)
                ]
                if actions := self.rotation.installed(worker.name, epoch, clients, self._loop.time()):
                    self._act(actions)
                    self._loop.call_later(self._ttl + _LATER, self.look)
            case said.Moved(server, epoch):
                for name in list(self._named(self._servers(), _LIVE)):
                    if str(name) == server:
                        self._act(self.rotation.moved(name, worker.name, epoch))

    def look(self) -> None:
        """See who is still there. To be called whenever a worker's state is new."""
        servers = set(self._named(self._servers(), _SERVE))
        clients = set(self._named(self._clients(), _LIVE))
        self._act(self.rotation.seen(servers, clients, self._loop.time()))

    def _act(self, actions: Iterable[rotation.Action]) -> None:
        for action in actions:
            match action:
                case rotation.Install(server, epoch):
                    self._say(server, said.Install(epoch, self._keys.of_server(server, epoch)))
                case rotation.Announce():
                    self.announce()
                case rotation.Retire(server, epoch):
                    self._say(server, said.Retire(epoch))
                case rotation.Over():
                    self._tell(events.KeysRotated(self._keys.epoch, self._loop.time() - self._began))
                    over, self._over = self._over, anyio.Event()
                    over.set()
        self._keys.forget(self.rotation.epochs)

    def _anybody(self) -> bool:
        """Whether any worker has keys of the supervisor's."""
        return any(True for _ in self._named(self._servers(), _SERVE))

    def _say(self, server: WorkerName, message: said.Install | said.Retire) -> None:
        for worker in self._servers():
            if worker.name == server:
                worker.say(message)

    def _named(self, workers: Iterable[Worker], states: frozenset[State]) -> Iterator[WorkerName]:
        for worker in workers:
            if worker.name is not None and worker.life.hardened and worker.state in states:
                yield worker.name
