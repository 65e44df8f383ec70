"""What a supervisor and its child say to each other over the inherited socket pair.

    child       -> supervisor   Hardened, Ready | Broken, Installed, Moved, Abandoned, Suspected, Pong, Drained
    supervisor  -> child        Bootstrap, Peers, Install, Retire, Ended, Quarantined, Ping, Drain
    supervisor  -> template     Preload, Fork

Possession of the descriptor is the authentication: nobody else can connect to it. A child says HARDENED before any
secret is sent to it, and READY only when it can serve.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from ipc.contract import NodeContract  # noqa: TC001 - msgspec reads the annotations
from ipc.decoding.limits import careful
from ipc.decoding.msgpacked import inspect_msgpack
from ipc.priority import Priority  # noqa: TC001 - as above

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


class Pong(Struct, frozen=True, tag="pong"):
    """The answer to Ping."""


class Drained(Struct, frozen=True, tag="drained"):
    """The child has finished what it had and leaves."""


FromChild = Hardened | Ready | Broken | Installed | Moved | Abandoned | Suspected | Pong | Drained


class Limits(Struct, frozen=True):
    """Bounds that both ends of a link must agree on, and those of the tables behind it."""

    max_payload: int = 1_048_576
    """The largest body of one envelope, bytes."""
    ttl: float = 30.0
    """The oldest envelope that is accepted, seconds on a monotonic clock."""
    window: int = 100_000
    """How many of the most recent counters are remembered (`nonce_cache_size`); streams are stricter."""
    queue_calls: int = 1024
    """Calls of one group that may wait in one web worker."""
    queue_bytes: int = 64 * 1024 * 1024
    """Bytes of bodies that may wait there."""
    queue_wait: float = 3600.0
    """The longest expected wait there, seconds."""


class LogSettings(Struct, frozen=True):
    """What a worker writes to its standard error, one JSON object a line."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    requests: bool = False
    """Whether every answered request gets a line of its own."""


class EndpointSettings(Struct, frozen=True):
    """One declared endpoint, as a web worker needs it."""

    path: str
    """With the interface's prefix: `/api/v1/thumbnails/{size}`."""
    methods: tuple[str, ...]
    node: str
    """The node that answers, or the first of a pipeline."""
    group: str
    timeout: float
    through_app: bool = False
    """Whether it takes the way through the FastAPI app: its middleware and dependencies."""
    dependencies: tuple[str, ...] = ()
    """Dotted names of FastAPI dependencies its route group shares, in order."""
    tags: tuple[str, ...] = ()
    status: int = 200
    priority: Priority = "normal"
    max_concurrency: int = 0
    """How many of its calls may be under way in one web worker; 0 for any number."""
    pipeline: tuple[str, ...] = ()
    """All nodes of a pipeline, in order; empty for a single node."""


class ResourceLimits(Struct, frozen=True):
    """What the kernel allows one exec worker at most; None: whatever it allows the supervisor."""

    address_space: int | None = None
    """Bytes of virtual memory."""
    open_files: int | None = None
    processes: int | None = None
    """Processes and threads of the worker's whole user."""
    file_size: int | None = None
    """Bytes of one file that it writes."""


class ExecSettings(Struct, frozen=True, tag="exec"):
    """What an exec worker is told."""

    nodes: tuple[NodeContract, ...]
    """The nodes of its stages; it runs no other."""
    bind_host: str = "127.0.0.1"
    bind_port: int = 0
    socket_dir: str = ""
    """Where its Unix socket is made (`transport: unix`)."""
    sys_path: tuple[str, ...] = ()
    drain_timeout: float = 30.0
    kill_grace: float = 0.25
    """How long after its deadline a call may go on before its worker is killed, seconds."""
    cancel_grace: float = 0.1
    """The same for a call whose caller has left."""
    slots: int = 1
    """How many calls it runs at once."""
    mode: Literal["sync", "async"] = "sync"
    """Whether they run in threads, or as tasks of an event loop."""
    nice: int = 0
    """By how much less than its supervisor the worker insists on being run."""
    cores: tuple[int, ...] = ()
    """The cores it may run on; none: those of its supervisor."""
    spread: bool = False
    """Whether each worker of the group has one of these to itself, in turn."""
    limits: ResourceLimits = ResourceLimits()
    forwards: dict[str, str] = {}
    """To whom calls of pipelines are sent on: the group of each node that follows one of these."""
    repeatable: tuple[str, ...] = ()
    """Those of these nodes that may be tried again when their worker died."""
    rows: tuple[tuple[str, ...], ...] = ()
    """What workers of other groups may send on to this one: one of its nodes, and what follows."""


class EmbeddedGroup(Struct, frozen=True):
    """An exec group whose workers are threads of each web worker (`transport: memory`)."""

    name: str
    workers: int
    settings: ExecSettings


class WebSettings(Struct, frozen=True, tag="web"):
    """What a web worker is told."""

    endpoints: tuple[EndpointSettings, ...]
    nodes: tuple[NodeContract, ...]
    """Every node, declared as an endpoint or not: a `Handoff` may call them all."""
    components: dict[str, object]
    routes: dict[str, str]
    """Which group runs a node: `{"shop.images.thumbnail": "cpu_sync"}`."""
    app: str = ""
    """The user's own FastAPI app, `shop.main:app`; empty for none."""
    title: str = "Shunter"
    docs: bool = True
    sys_path: tuple[str, ...] = ()
    max_body: int = 1_048_576
    default_timeout: float = 30.0
    timeout_header: str = "X-Request-Timeout"
    """In which header a client says that it has less time."""
    drain_timeout: float = 30.0
    keep_alive: float = 5.0
    embedded: tuple[EmbeddedGroup, ...] = ()
    """Exec groups that live in this process (`transport: memory`); empty for all other transports."""
    embedded_by: str = "exec_worker.embedded:Embedded"
    """What runs them. Named, not imported: web workers know of no exec workers."""


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


class Fork(Struct, frozen=True, tag="fork"):
    """A template: fork a worker, to which the descriptors belong that come with this. See `ipc.birth`."""


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


class Ping(Struct, frozen=True, tag="ping"):
    """Say Pong: the thread that hears this is the one that takes calls."""


class Drain(Struct, frozen=True, tag="drain"):
    """Finish what you have, take nothing new, leave within `grace` seconds."""

    grace: float


FromSupervisor = Bootstrap | Preload | Fork | Peers | Install | Retire | Ended | Quarantined | Ping | Drain

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
