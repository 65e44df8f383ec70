"""The service's keys: one root for each epoch in this process's memory, and what each life of each worker is given."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from ipc.wire.keys import KEY_SIZE, leaf_key, root_for_epoch, server_secret

if TYPE_CHECKING:
    from collections.abc import Collection

    from ipc.names import WorkerName


class Keys:
    """Derives every key of one start of the service.

    Without a secret from outside the root is fresh for each epoch. With one it is not, and incarnations begin at
    one again with each start: so the epoch, which is in every key, is then at least the time of the start.
    """

    def __init__(self, secret: bytes | None = None) -> None:
        self.epoch = 1 if secret is None else int(time.time()) % 2**32
        """The newest: what a worker that starts now is given."""
        self._secret = secret
        self._roots = {self.epoch: self._root()}

    def __repr__(self) -> str:
        return f"Keys(epoch={self.epoch})"

    def renew(self) -> int:
        """Begin a new epoch; returns its number. Those before can still be derived until `forget`."""
        self.epoch += 1
        self._roots[self.epoch] = self._root()
        return self.epoch

    def forget(self, all_but: Collection[int]) -> None:
        """Only the keys of these epochs, and the newest, can be derived from now on."""
        self._roots = {epoch: root for epoch, root in self._roots.items() if epoch in all_but or epoch == self.epoch}

    def of_server(self, worker: WorkerName, epoch: int) -> bytes:
        """What one life of an exec worker is given: it derives the key of every client from it. KeyError."""
        return server_secret(self._roots[epoch], worker)

    def of_client(self, server: WorkerName, client: WorkerName, epoch: int, role: str = "web") -> bytes:
        """What one life of a worker is given to call one life of an exec worker; good for nothing else. KeyError."""
        return leaf_key(self.of_server(server, epoch), client, role)

    def _root(self) -> bytes:
        return root_for_epoch(os.urandom(KEY_SIZE) if self._secret is None else self._secret, self.epoch)
