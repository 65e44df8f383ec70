"""How exec workers come to new keys while calls go on, as a decision: events in, what is to be said out.

For each exec worker by itself, because no two share a key:

    install     it is given the next epoch's key and accepts links under both
    announce    it has said so: who calls it is told the new keys, dials anew, and lets old links finish
    retire      nobody has an old link any more: it forgets the old key

So nobody ever uses a key that its peer does not have yet or has no more. One worker that is busy for long keeps no
other waiting, nor the next rotation: it goes on to that when it is through with this one. A worker that dies on the way
drops out; its successor is born with the newest keys.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ipc.names import WorkerName


@dataclass(frozen=True, slots=True)
class Install:
    """Give `server` the key of `epoch` beside the one it has."""

    server: WorkerName
    epoch: int


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell everybody who calls who is called under which epoch."""


@dataclass(frozen=True, slots=True)
class Retire:
    """Have `server` forget all keys before those of `epoch`."""

    server: WorkerName
    epoch: int


@dataclass(frozen=True, slots=True)
class Over:
    """Everybody has only the newest keys."""


Action: TypeAlias = Install | Announce | Retire | Over


@dataclass(slots=True)
class _Server:
    """One life of an exec worker."""

    epoch: int
    """Under which it is called."""
    asked: int
    """The newest it was given; until it says that it has it, the same as `epoch` or one after it."""
    moving: bool = False
    """Whether it is called under `epoch` and may still have links under the one before."""
    waiting: set[WorkerName] = field(default_factory=set)
    """Those who may still have such a link."""
    deadline: float = 0.0


class Rotation:
    """Which epoch each exec worker is called under, and what is left to do until that is the newest.

    `patience` is how long callers may keep links under an old key, seconds: what they sent before that would be
    too old to be begun by then.
    """

    def __init__(self, epoch: int, patience: float) -> None:
        self._newest = epoch
        self._patience = patience
        self._servers: dict[WorkerName, _Server] = {}

    @property
    def left(self) -> tuple[WorkerName, ...]:
        """Exec workers that do not have the newest keys alone yet."""
        return tuple(name for name, server in self._servers.items() if server.moving or server.epoch != self._newest)

    @property
    def epochs(self) -> set[int]:
        """Those of which keys are in use or under way."""
        used = {self._newest}
        for server in self._servers.values():
            used |= {server.epoch, server.asked}
        return used

    def epoch_of(self, server: WorkerName) -> int:
        """Under which epoch's key it is to be called."""
        known = self._servers.get(server)
        return self._newest if known is None else known.epoch

    def born(self, server: WorkerName) -> None:
        """A new life of an exec worker was given the newest key."""
        self._servers[server] = _Server(self._newest, self._newest)

    def begin(self, epoch: int) -> list[Action]:
        """There are new keys."""
        self._newest = epoch
        return [action for name, server in self._servers.items() for action in self._next(name, server)]

    def installed(self, server: WorkerName, epoch: int, clients: Iterable[WorkerName], now: float) -> list[Action]:
        """`server` accepts the key of `epoch`; `clients` are all who call it."""
        known = self._servers.get(server)
        if known is None or epoch != known.asked or known.epoch == epoch:
            return []
        known.epoch, known.moving = epoch, True
        known.waiting, known.deadline = set(clients), now + self._patience
        return [Announce(), *self._settle(server, known)]

    def moved(self, server: WorkerName, client: WorkerName, epoch: int) -> list[Action]:
        """`client` has a link to `server` under `epoch` and none under older keys."""
        known = self._servers.get(server)
        if known is None or epoch != known.epoch:
            return []
        known.waiting.discard(client)
        return self._settle(server, known)

    def seen(self, servers: Collection[WorkerName], clients: Collection[WorkerName], now: float) -> list[Action]:
        """These are all that live now, and this is the time: who is gone, or too late, is not waited for."""
        was_left = bool(self.left)
        for gone in [name for name in self._servers if name not in servers]:
            del self._servers[gone]
        actions: list[Action] = []
        for name, server in self._servers.items():
            server.waiting = set() if server.deadline <= now else server.waiting.intersection(clients)
            actions += self._settle(name, server)
        if was_left and not self.left and Over() not in actions:
            actions.append(Over())
        return actions

    def _settle(self, name: WorkerName, server: _Server) -> list[Action]:
        """It has done with its older key if nobody has a link under it any more."""
        if not server.moving or server.waiting:
            return []
        server.moving = False
        following = self._next(name, server)
        return [Retire(name, server.epoch), *following, *([] if self.left else [Over()])]

    def _next(self, name: WorkerName, server: _Server) -> list[Action]:
        """One key at a time: the next is given only when it is through with the last."""
        if server.moving or server.asked != server.epoch or server.epoch == self._newest:
            return []
        server.asked = self._newest
        return [Install(name, self._newest)]
