"""One call of a pipeline as an exec worker has it: which stage is next, and who waits for what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exec_worker.asked import AskedCall
from ipc.messages.calls import RequestMeta

if TYPE_CHECKING:
    from exec_worker.binding import Encoded
    from ipc.link import Link


class StagedCall(AskedCall):
    """`client` is who sent it here, and is told when its place is free; `origin` is who gets what comes of it."""

    __slots__ = ("origin",)

    def __init__(self, origin: Link, *more: Any) -> None:  # noqa: ANN401 - those of every call
        """`origin` is the client's own link on the first leg, else that of the web worker named in `reply_to`."""
        super().__init__(*more)
        self.origin = origin

    def waits(self, link: Link) -> bool:
        """Whether it is for `link` that it runs."""
        return self.origin is link

    def advance(self, result: Encoded) -> None:
        """The next stage takes what the one before gave."""
        meta, following = self.meta, self.meta.rest[0]
        self.meta = RequestMeta(
            following.node,
            meta.request_id,
            meta.trace,
            meta.reply_to,
            result.encoding,
            meta.reply_as,
            following.params,
            meta.rest[1:],
            meta.beyond_ms,
        )
        self.body = result.body
