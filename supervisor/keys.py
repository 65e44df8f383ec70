"""The service's keys: one root in this process's memory, and what each life of each worker is given of it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from ipc.wire.keys import KEY_SIZE, leaf_key, root_for_epoch, server_secret

if TYPE_CHECKING:
    from ipc.names import WorkerName


class Keys:
    """Derives every key of one start of the service.

    Without a secret from outside the root is fresh for each start. With one it is not, and incarnations begin at
    one again: so the epoch, which is in every key, is then the time of the start.
    """

    def __init__(self, secret: bytes | None = None) -> None:
        self.epoch = 1 if secret is None else int(time.time()) % 2**32
        self._root = root_for_epoch(os.urandom(KEY_SIZE) if secret is None else secret, self.epoch)

    def __repr__(self) -> str:
        return f"Keys(epoch={self.epoch})"

    def of_server(self, worker: WorkerName) -> bytes:
        """What one life of an exec worker is given: it derives the key of every client from it."""
        return server_secret(self._root, worker)

    def of_client(self, server: WorkerName, client: WorkerName) -> bytes:
        """What one life of a web worker is given for one life of an exec worker; good for nothing else."""
        return leaf_key(self.of_server(server), client)
