"""What a supervisor and its child say to each other over the inherited socket pair.

    child       -> supervisor   Hardened, Ready | Broken, Installed, Moved, Abandoned, Suspected, Seen, Answered,
                                Drained
    supervisor  -> child        Bootstrap, Admit, Peers, Install, Retire, Ended, Quarantined, Ask, More, Forget, Drain
    supervisor  -> template     Preload, Fork
    supervisor  -> guard        Run, Drain

Possession of the descriptor is the authentication: nobody else can connect to it. A child says HARDENED before any
secret is sent to it, and READY only when it can serve. What Ask, More, Forget and Answered say is in `errand`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from ipc.decoding.limits import careful
from ipc.decoding.msgpacked import inspect_msgpack
from ipc.histogram import BUCKETS
from ipc.messages.errand import Answered, Ask, Forget, More
from ipc.messages.settings import (  # noqa: TC001 - msgspec reads the annotations
    CommandSettings,
    ExecSettings,
    Limits,
    LogSettings,
    WebSettings,
)

MAX_MESSAGE = 16 * 1024 * 1024
"""The largest lifeline message, bytes: a bootstrap carries every contract of the application."""


class Hardened(Struct, frozen=True, tag="hardened"):
    """The child has closed itself to its neighbours; secrets may be sent."""

    pid: int
    missing: tuple[str, ...] = ()
    """Protections this kernel did not grant, in words."""


class Ready(Struct, frozen=True, tag="ready"):
    """The child serves. `address` is where an exec worker listens (`tcp://127.0.0.1:40123`), else empty."""

    address: str = ""
    room: int = 1
    """How many calls an exec worker takes at once from one web worker, until it says otherwise there."""


class Broken(Struct, frozen=True, tag="broken"):
    """The child cannot start, and trying again with the same code would not help. It leaves after this."""

    what: str
    traceback: str = ""


class Installed(Struct, frozen=True, tag="installed"):
    """An exec worker accepts links under the keys of `epoch` too, from now on."""

    epoch: int


class Moved(Struct, frozen=True, tag="moved"):
    """A worker that calls has a link to `server` under the keys of `epoch`, and none under older ones any more."""

    server: str
    epoch: int


class Abandoned(Struct, frozen=True, tag="abandoned"):
    """Nobody waits any more for a call that `server` was sent and does not give up: it may be ended by force."""

    server: str
    call_id: bytes


class Suspected(Struct, frozen=True, tag="suspected"):
    """A call of `node` was running when its worker crashed. `mark` stands for what was asked, and does not say it."""

    node: str
    mark: bytes


Counts = Annotated[tuple[Annotated[int, Meta(ge=0, le=2**40)], ...], Meta(max_length=BUCKETS)]
"""A histogram of seconds, without the empty buckets at its end; see `ipc.histogram`."""


class Seen(Struct, frozen=True, tag="seen"):
    """What this worker saw of a group since it last said so: of one that it calls, or of its own clients' requests."""

    group: str
    waits: Counts
    """How long calls waited for a worker, those that got none too."""
    took: Counts
    """How long it took until they were answered, the wait included."""
    waiting: Annotated[int, Meta(ge=0, le=2**40)] = 0
    """Calls that wait now."""
    oldest: Annotated[float, Meta(ge=0)] = 0.0
    """For how long the first of them has, seconds."""


class Drained(Struct, frozen=True, tag="drained"):
    """The child has finished what it had and leaves."""


FromChild = Hardened | Ready | Broken | Installed | Moved | Abandoned | Suspected | Seen | Answered | Drained


class Bootstrap(Struct, frozen=True, tag="bootstrap"):
    """Who the child is and what it is to do. Carries secrets: never logged, never shown."""

    name: str
    epoch: int
    mode: Literal["hmac", "aead"]
    limits: Limits
    log: LogSettings
    settings: WebSettings | ExecSettings
    server_key: bytes = b""
    """Exec workers: the secret from which the key of each client follows. Empty for web workers."""
    carrier: Literal["memory", "tcp_local", "unix"] = "tcp_local"
    """What carries the links."""
    on_trial: bool = False
    """Web workers: whether it accepts no connection, though it is ready, before it is told Admit."""

    def __repr__(self) -> str:
        return f"Bootstrap(name={self.name!r}, epoch={self.epoch}, ...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Tracebacks that show variables ask for this one."""
        return [("name", self.name), ("epoch", self.epoch)]


class Preload(Struct, frozen=True, tag="preload"):
    """A template: what to import. Holds no secret, and so does no template ever."""

    name: str
    log: LogSettings
    settings: ExecSettings


class Run(Struct, frozen=True, tag="run"):
    """A guard: which program to hold. It gets no key, but its variables may be secrets: never logged, never shown."""

    name: str
    log: LogSettings
    settings: CommandSettings
    environment: dict[str, str]

    def __repr__(self) -> str:
        return f"Run(name={self.name!r}, settings={self.settings!r}, ...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Tracebacks that show variables ask for this one."""
        return [("name", self.name), ("settings", self.settings)]


class Fork(Struct, frozen=True, tag="fork"):
    """A template: fork a worker, to which the descriptors belong that come with this. See `ipc.birth`."""


class Admit(Struct, frozen=True, tag="admit"):
    """A web worker on trial: accept connections from now on."""


class Peer(Struct, frozen=True):
    """An exec worker that is up, with the leaf key for the one worker that is told of it."""

    name: str
    address: str
    epoch: int
    """The epoch of `key`. A newer one than before: make a new link, and let the old one end when it has finished."""
    key: bytes
    room: int = 1
    """How many calls it takes at once from one web worker, until it says otherwise there."""

    def __repr__(self) -> str:
        return f"Peer({self.name!r}, {self.address!r}, epoch={self.epoch})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """As above."""
        return [("name", self.name), ("address", self.address)]


class Peers(Struct, frozen=True, tag="peers"):
    """Everybody a worker may call from now on; who is not in it is gone."""

    workers: tuple[Peer, ...]


class Install(Struct, frozen=True, tag="install"):
    """Exec workers: accept links under the keys of this epoch too. Answered with Installed."""

    epoch: int
    key: bytes

    def __repr__(self) -> str:
        return f"Install(epoch={self.epoch})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """As above."""
        return [("epoch", self.epoch)]


class Retire(Struct, frozen=True, tag="retire"):
    """Exec workers: forget the keys of all epochs before this one. Links made under them may finish, not begin."""

    epoch: int


class Ended(Struct, frozen=True, tag="ended"):
    """An exec worker is dead. A call that was sent to it after `since` and is not among `begun` was not begun."""

    server: str
    begun: tuple[bytes, ...]
    since: float
    """Monotonic seconds; 0 if `begun` is whole."""
    suspects: tuple[bytes, ...] = ()
    """The call it died of, if it died of itself and ran one alone."""


class Quarantined(Struct, frozen=True, tag="quarantined"):
    """What `mark` stands for, a call of `node`, has killed too many workers: it is refused for so many seconds."""

    node: str
    mark: bytes
    seconds: float


class Drain(Struct, frozen=True, tag="drain"):
    """Finish what you have, take nothing new, leave within `grace` seconds."""

    grace: float
    replaced: bool = False
    """Whether another serves in your place, so that nobody needs to notice."""


FromSupervisor = (
    Bootstrap
    | Preload
    | Run
    | Fork
    | Admit
    | Peers
    | Install
    | Retire
    | Ended
    | Quarantined
    | Ask
    | More
    | Forget
    | Drain
)

_encoder = msgspec.msgpack.Encoder()
_from_child: msgspec.msgpack.Decoder[FromChild] = msgspec.msgpack.Decoder(FromChild)
_from_supervisor: msgspec.msgpack.Decoder[FromSupervisor] = msgspec.msgpack.Decoder(FromSupervisor)


def encode(message: FromChild | FromSupervisor) -> bytes:
    """One message with its length in front, as it goes into the socket pair."""
    body = _encoder.encode(message)
    return len(body).to_bytes(4, "big") + body


def decode_from_child(body: bytes) -> FromChild:
    """What a child said; msgspec.DecodeError for anything else."""
    inspect_msgpack(body)
    return careful(_from_child.decode)(body)


def decode_from_supervisor(body: bytes) -> FromSupervisor:
    """What the supervisor said; msgspec.DecodeError for anything else."""
    return careful(_from_supervisor.decode)(body)
