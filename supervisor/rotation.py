"""How exec workers come to new keys while calls go on, as a decision: events in, what is to be said out.

For each exec worker by itself, because no two share a key:

    install     it is given the next epoch's key and accepts links under both
    announce    it has said so: web workers are told the new keys, dial anew, and let old links finish
    retire      no web worker has an old link any more: it forgets the old key

So nobody ever uses a key that its peer does not have yet or has no more, and one worker that is busy for long keeps
no other waiting. A worker that dies on the way drops out; its successor is born with the newest keys.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ipc.names import WorkerName


@dataclass(frozen=True, slots=True)
class Install:
    """Give `server` the newest epoch's key beside the one it has."""

    server: WorkerName


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell every web worker who is called under which epoch."""


@dataclass(frozen=True, slots=True)
class Retire:
    """Have `server` forget all keys but the newest."""

    server: WorkerName


@dataclass(frozen=True, slots=True)
class Over:
    """Everybody has only the newest keys."""


Action: TypeAlias = Install | Announce | Retire | Over


@dataclass(slots=True)
class _Server:
    """One life of an exec worker. `waiting`: the web workers that may still have a link under the old key."""

    epoch: int
    accepts: int
    waiting: set[WorkerName] = field(default_factory=set)
    deadline: float = 0.0
    settled: bool = True


class Rotation:
    """Which epoch each exec worker is called under, and what is left to do until that is the newest.

    `patience` is how long web workers may keep links under an old key, seconds: what they sent before that would be
    too old to be accepted by then.
    """

    def __init__(self, epoch: int, patience: float) -> None:
        self._epoch = epoch
        self._patience = patience
        self._servers: dict[WorkerName, _Server] = {}

    @property
    def left(self) -> tuple[WorkerName, ...]:
        """Exec workers that do not have the newest keys alone yet."""
        return tuple(name for name, server in self._servers.items() if not server.settled)

    def epoch_of(self, server: WorkerName) -> int:
        """Under which epoch's key it is to be called."""
        known = self._servers.get(server)
        return self._epoch if known is None else known.epoch

    def born(self, server: WorkerName) -> None:
        """A new life of an exec worker was given the newest key."""
        self._servers[server] = _Server(self._epoch, self._epoch)

    def begin(self, epoch: int) -> list[Action]:
        """There are new keys. To be called only when nothing is `left`."""
        self._epoch = epoch
        for server in self._servers.values():
            server.settled = False
        return [*(Install(name) for name in self._servers), *self._over(bool(self._servers))]

    def installed(self, server: WorkerName, epoch: int, clients: Iterable[WorkerName], now: float) -> list[Action]:
        """`server` accepts the key of `epoch`; `clients` are all web workers there are."""
        known = self._servers.get(server)
        if known is None or epoch != self._epoch or known.accepts == epoch:
            return []
        known.epoch = known.accepts = epoch
        known.waiting = set(clients)
        known.deadline = now + self._patience
        return [Announce(), *self._settle(server, known)]

    def moved(self, server: WorkerName, client: WorkerName, epoch: int) -> list[Action]:
        """`client` has a link to `server` under `epoch` and none under older keys."""
        known = self._servers.get(server)
        if known is None or epoch != self._epoch:
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
        return actions if Over() in actions else [*actions, *self._over(was_left)]

    def _settle(self, name: WorkerName, server: _Server) -> list[Action]:
        if server.settled or server.accepts != self._epoch or server.waiting:
            return []
        server.settled = True
        return [Retire(name), *self._over(was_left=True)]

    def _over(self, was_left: bool) -> list[Action]:
        return [Over()] if was_left and not self.left else []
