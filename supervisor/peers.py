"""Who is up, as those are told who call: each gets the addresses of its exec workers and a key of its own for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipc.messages.lifeline import Peer, Peers
from supervisor.life import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ipc.names import WorkerName
    from supervisor.child import Worker
    from supervisor.keys import Keys
    from supervisor.reach import Reach
    from supervisor.rotation import Rotation


class Directory:
    """Keeps those informed who call. `servers` and `clients` yield the exec workers there are, and who calls any."""

    def __init__(
        self,
        keys: Keys,
        rotation: Rotation,
        servers: Callable[[], Iterable[Worker]],
        clients: Callable[[], Iterable[Worker]],
        reach: Reach,
    ) -> None:
        self._keys = keys
        self._reach = reach
        self._rotation = rotation
        self._servers = servers
        self._clients = clients
        self._told = self._up()

    def refresh(self, *, anyhow: bool = False) -> None:
        """Tell everybody, if anything is new, or `anyhow`. To be called before a worker that leaves is told to."""
        if (up := self._up()) == self._told and not anyhow:
            return
        self._told = up
        for client in self._clients():
            if client.name is not None:
                client.say(self.for_client(client.name))

    def for_client(self, client: WorkerName) -> Peers:
        """What one life of a worker is told now."""
        role = self._reach.role(client.group)
        return Peers(
            tuple(
                Peer(str(server), address, epoch, self._keys.of_client(server, client, epoch, role), room)
                for server, address, epoch, room in self._told
                if self._reach.covers(client, server)
            )
        )

    def _up(self) -> tuple[tuple[WorkerName, str, int, int], ...]:
        return tuple(
            (worker.name, worker.address, self._rotation.epoch_of(worker.name), worker.room)
            for worker in self._servers()
            if worker.state is State.UP and worker.name is not None
        )
