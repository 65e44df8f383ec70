"""The answering side: an exec worker's listener and the links that were accepted on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from ipc.errors import Misuse
from ipc.fork import wiped_at_fork
from ipc.link import MAX_HANDSHAKE, Link, accepting
from ipc.messages.calls import Kind
from ipc.stats import refuse
from ipc.transport import tcp, unix
from ipc.wire.frame import Refusal, Refuse

if TYPE_CHECKING:
    from threading import Lock

    from ipc.names import WorkerName
    from ipc.transport.base import End
    from ipc.wire.frame import Frame
    from ipc.wire.session import Terms

HANDSHAKE_TIME = 5.0
"""How long somebody who connected may take to prove who it is, seconds."""
LATE = 0.5
"""By so much too late, seconds, a timer says that this process did not run: a node kept the interpreter to itself."""
MAX_HALF_OPEN = 128
"""How many may be proving it at once; one more closes the oldest."""
MAX_LINKS_OF_ONE = 16
"""How many links one web worker may have: one, another for each rotation while calls under old keys are not over."""
MAX_EPOCHS = 2
"""How many epochs' keys are accepted at once: one, and while keys are rotated the next."""


_CLOSED = int(Kind.CLOSED)


class Service(Protocol):
    """Who answers. Called in the responder's loop."""

    def heard(self, link: Link, frame: Frame) -> None:
        """An authentic frame from a web worker."""
        ...

    def stale(self, link: Link, frame: Frame) -> None:
        """The same, but too old: nothing it asks for may be begun."""
        ...

    def ended(self, link: Link) -> None:
        """A web worker's link is gone."""
        ...


class Responder:
    """Accepts links, and keeps nothing about anybody who has not proved itself but a bounded, short-lived place."""

    def __init__(self, me: WorkerName, secret: bytes, terms: Terms, service: Service) -> None:
        """`secret` is that of the epoch in `terms`; others may be installed."""
        self._me, self._terms, self._service = me, terms, service
        self._secrets = {terms.epoch: secret}
        self._half_open: dict[Link, asyncio.TimerHandle] = {}
        self._links: dict[Link, None] = {}  # in the order in which they came
        self._server: asyncio.AbstractServer | None = None
        self._path = ""
        wiped_at_fork(self)

    def wipe(self) -> None:
        """Derive no keys any more; see `ipc.fork`."""
        self._secrets.clear()

    async def listen(self, host: str, port: int) -> str:
        """Start to accept; returns the address to tell others. Raises OSError."""
        server = self._server = await tcp.listen(host, port, self.new_end, MAX_HANDSHAKE)
        bound_host, bound_port = server.sockets[0].getsockname()[:2]
        return f"{tcp.SCHEME}{bound_host}:{bound_port}"

    async def listen_at(self, path: str) -> str:
        """The same at a Unix socket. Raises OSError."""
        self._server = await unix.listen(path, self.new_end, MAX_HANDSHAKE)
        self._path = path
        return f"{unix.SCHEME}{path}"

    def install(self, epoch: int, secret: bytes) -> None:
        """Accept links under the keys of a newer epoch too. Raises Misuse for one that is not newer."""
        if epoch <= max(self._secrets):
            raise Misuse(f"epoch {epoch} comes after epoch {max(self._secrets)}")
        self._secrets[epoch] = secret
        for old in sorted(self._secrets)[:-MAX_EPOCHS]:
            del self._secrets[old]

    def retire(self, epoch: int) -> None:
        """Accept no link under the keys of epochs before this one; what began on one may end there.

        Raises Misuse for an epoch that was not installed: nobody could connect any more.
        """
        if epoch not in self._secrets:
            raise Misuse(f"epoch {epoch} was not installed")
        for old in [old for old in self._secrets if old < epoch]:
            del self._secrets[old]
        for link in self._links:
            link.ending = link.ending or (link.session is not None and link.session.epoch < epoch)

    @property
    def links(self) -> int:
        """How many web workers are connected."""
        return len(self._links)

    def web_link(self, peer: bytes) -> Link | None:
        """The newest link of a web worker, by seat and incarnation as handshakes carry them. From any thread."""
        for link in reversed(tuple(self._links)):
            if link.peer == peer and link.role == "web" and link.open:
                return link
        return None

    def dismiss(self) -> None:
        """Ask everybody to call somebody else, and to end its link when it has its answers."""
        for link in self._links:
            link.ending = True
            link.send(_CLOSED)

    def close(self) -> None:
        """Accept nobody any more and end every link."""
        if self._server is not None:
            self._server.close()
        if self._path:
            unix.remove(self._path)
        for link in (*self._half_open, *self._links):
            link.close()

    def new_end(self) -> tuple[End, Lock]:
        """The end for a connection that was just accepted, and the lock that guards its writing."""
        link = accepting(self, self._me, self._secrets, self._terms)
        if len(self._half_open) >= MAX_HALF_OPEN:
            oldest = next(iter(self._half_open))
            self._let_go(oldest)
        loop = asyncio.get_running_loop()
        self._half_open[link] = loop.call_later(HANDSHAKE_TIME, self._expire, link)
        return link, link.lock

    def established(self, link: Link) -> None:
        """It is who it says it is."""
        if (timer := self._half_open.pop(link, None)) is not None:
            timer.cancel()
        self._links[link] = None
        if link.session is not None and link.session.epoch not in self._secrets:
            raise Refuse(Refusal.EPOCH)  # retired while the handshake went on
        if sum(other.peer == link.peer for other in self._links) > MAX_LINKS_OF_ONE:
            raise Refuse(Refusal.UNAUTHORISED)

    def heard(self, link: Link, frame: Frame) -> None:
        """Pass on what it says."""
        self._service.heard(link, frame)

    def stale(self, link: Link, frame: Frame) -> None:
        """Pass on what it said long ago."""
        self._service.stale(link, frame)

    def ended(self, link: Link) -> None:
        """It is gone."""
        timer = self._half_open.pop(link, None)
        if timer is not None:
            timer.cancel()
        elif link in self._links:
            del self._links[link]
            self._service.ended(link)

    def _expire(self, link: Link) -> None:
        """Its time is over; or it is we who had none, and what it said meanwhile is read first."""
        loop = asyncio.get_running_loop()
        timer = self._half_open.get(link)
        if timer is not None and loop.time() - timer.when() > LATE:
            self._half_open[link] = loop.call_later(LATE, self._expire, link)
        else:
            self._let_go(link)

    def _let_go(self, link: Link) -> None:
        timer = self._half_open.pop(link, None)
        if timer is not None:
            timer.cancel()
            refuse(Refusal.TIMEOUT)
            link.abort()
