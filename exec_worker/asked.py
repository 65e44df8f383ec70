"""One call as an exec worker has it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from exec_worker.node import Call

if TYPE_CHECKING:
    from exec_worker.asked_batch import AskedBatch
    from exec_worker.interrupts import Interrupted
    from exec_worker.window import Window
    from ipc.link import Link
    from ipc.messages.calls import RequestMeta


class AskedCall:
    """Who asks for what until when, and what the node may see of it."""

    __slots__ = (
        "arrived",
        "batch",
        "body",
        "cancel_grace",
        "client",
        "deadline",
        "id",
        "interrupt",
        "last_resort",
        "meta",
        "row",
        "seen",
        "window",
    )

    patience = 0.0
    """A call alone is held only behind short ones."""

    def __init__(
        self,
        link: Link,
        call_id: bytes,
        meta: RequestMeta,
        body: bytes | memoryview,
        deadline: float,
        arrived: float,
        last_resort: bool,
        cancel_grace: float = math.inf,
    ) -> None:
        self.client = link
        self.id = call_id
        self.meta = meta
        self.body = body
        self.deadline = deadline
        self.arrived = arrived
        self.last_resort = last_resort
        self.cancel_grace = cancel_grace
        """How long it may go on once its caller has left, seconds; infinite if that is nothing to its node."""
        self.row: int | None = None
        """Its row in the ledger, once it has begun."""
        self.window: Window | None = None
        """That of the lane it runs in."""
        self.interrupt: type[Interrupted] | None = None
        """What is raised in its node, or was."""
        self.batch: AskedBatch | None = None
        """Those that it runs with, once it has begun, in a node that runs calls together."""
        self.seen = Call(deadline, meta.request_id, meta.trace)
        """What `current()` gives."""

    @property
    def size(self) -> int:
        """Bytes of its body."""
        return len(self.body)

    def waits(self, link: Link) -> bool:
        """Whether it is for `link` that it runs."""
        return self.client is link
