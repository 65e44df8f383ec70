"""One call as an exec worker has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exec_worker.node import Call

if TYPE_CHECKING:
    from ipc.link import Link
    from ipc.messages.calls import RequestMeta


class AskedCall:
    """Who asks for what until when, and what the node may see of it."""

    __slots__ = ("arrived", "body", "client", "deadline", "id", "last_resort", "meta", "seen")

    def __init__(
        self,
        link: Link,
        call_id: bytes,
        meta: RequestMeta,
        body: bytes | memoryview,
        deadline: float,
        arrived: float,
        last_resort: bool,
    ) -> None:
        self.client = link
        self.id = call_id
        self.meta = meta
        self.body = body
        self.deadline = deadline
        self.arrived = arrived
        self.last_resort = last_resort
        self.seen = Call(deadline, meta.request_id, meta.trace)
        """What `current()` gives."""
