"""The configuration as types: every key with its meaning, its unit and its bounds. Pure.

A bound is part of the type, so no guard has a value that means "off": leaving a key out gives its default,
and anything outside the bounds (empty, zero, null, of another kind) is an error. All times are seconds.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from ipc.pipeline import MAX_STAGES
from ipc.ports import Port  # noqa: TC001 - read at run time
from ipc.priority import Priority  # noqa: TC001 - as above
from supervisor.fields import (
    App,
    Dotted,
    Function,
    HeaderName,
    Method,
    NodeName,
    Prefix,
    Seconds,
    Text,
    not_yet,
)
from supervisor.process_group import MiB, ProcessGroup
from supervisor.section import Section
from supervisor.variables import Environment

_ONLY_HTTP = "this version has one kind of interface, 'http'; '{}' is not in it yet"
_NO_REDIS = "this version has no Redis carrier yet; "


class Kv(Section, frozen=True):
    """`runtime.platform.kv`: the small store that workers share."""

    backend: Annotated[Literal["memory"], not_yet(redis=_NO_REDIS + "'memory' is the only backend")] = "memory"
    """Where it lives. `memory`: in this host's processes, gone when they end."""


class Auth(Section, frozen=True):
    """`runtime.platform.execution_ipc.auth`: how envelopes are authenticated. There is no "none"."""

    mode: Literal["hmac", "aead"] = "hmac"
    """`hmac`: HMAC-SHA256, authentic but readable. `aead`: AES-256-GCM, also secret, and cheaper for large bodies: 0.1
    instead of 0.6 ms for each MiB at each end."""
    ttl_seconds: Seconds = 30.0
    """The oldest envelope that is accepted, seconds on monotonic clocks; more than 0, at most 3600."""
    nonce_cache_size: Annotated[int, Meta(ge=64, le=10_000_000)] = 100_000
    """How many of the most recent nonces of one session and direction are remembered; 64 to 10,000,000.

    A stream carrier is stricter (each envelope must be the next one) and needs no such memory.
    """
    rotate_seconds: Annotated[float, Meta(ge=60, le=2_592_000)] = 86_400.0
    """How often workers get new keys, seconds; 60 to 2,592,000 (30 days). `shunter keys rotate` does it now."""


class ExecutionIpc(Section, frozen=True):
    """`runtime.platform.execution_ipc`: the links between web and exec workers."""

    transport: Annotated[
        Literal["tcp_local", "unix", "memory"],
        not_yet(redis=_NO_REDIS + "use 'tcp_local'"),
    ] = "tcp_local"
    """The carrier. `tcp_local`: TCP on this host. `unix`: sockets in the state directory, which only one user can
    reach. `memory`: inside one process."""
    bind_host: Text = "127.0.0.1"
    """`tcp_local`: the address exec workers listen on, a loopback address, for this carrier ends at the host."""
    bind_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """`tcp_local`: the port of the one exec worker there is; 0 (with several: always) lets each take a free port."""
    auth: Auth = Auth()
    """Authentication; cannot be left out, only left at its defaults."""
    max_payload_bytes: Annotated[int, Meta(ge=1024, le=64 * MiB)] = MiB
    """The largest body of one envelope, hence of a request or an answer, bytes; 1 KiB to 64 MiB."""


class Hardening(Section, frozen=True):
    """`runtime.platform.hardening`: how workers are closed to their neighbours. All of it is on unless said here."""

    allow_debug: bool = False
    """Whether py-spy, gdb and the like may look into workers; then every process of their user can read their keys."""


class Platform(Section, frozen=True):
    """`runtime.platform`: processes and what connects them."""

    kv: Kv = Kv()
    """The shared store."""
    execution_ipc: ExecutionIpc = ExecutionIpc()
    """The links between processes."""
    process_groups: Annotated[tuple[ProcessGroup, ...], Meta(max_length=64)] = ()
    """The groups, at most 64; `web` with one worker is added if it is missing."""
    secret_file: Text | UnsetType = UNSET
    """A file of at least 32 random bytes, mode 0600, from which all keys follow; without it, fresh keys."""
    environment: Environment = Environment()
    """What workers inherit, and whatever else imports the application. Groups with a `command` have their own."""
    hardening: Hardening = Hardening()
    """How workers are closed to their neighbours."""


class Log(Section, frozen=True):
    """`runtime.log`: what processes write, one JSON object a line."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe message that is written."""
    requests: bool = False
    """Whether every answered request gets a line of its own."""
    max_bytes: Annotated[int, Meta(ge=65_536, le=2**40)] = 10 * MiB
    """The size at which a log file is put aside for a new one, bytes; 64 KiB to 1 TiB."""
    files: Annotated[int, Meta(ge=2, le=100)] = 2
    """How many files each group has, and the supervisor too: the current one and the older ones; 2 to 100."""


class Endpoint(Section, frozen=True):
    """An item of an interface's `endpoints`: a path bound to a node, or to nodes in a row."""

    path: Text
    """The path below the interface's prefix, `{name}` for a parameter: `/thumbnails/{size}`."""
    node: NodeName | UnsetType = UNSET
    """The node that answers: the dotted name of a function, or the name its decorator gave it."""
    pipeline: Annotated[tuple[NodeName, ...], Meta(min_length=2, max_length=MAX_STAGES)] | UnsetType = UNSET
    """Instead of `node`: 2 to 16 nodes in a row, of any groups. Each takes what the one before returns as its body;
    the last one's result is the answer. Parameters of all of them are taken from path and query by name."""
    methods: Annotated[tuple[Method, ...], Meta(min_length=1)] | UnsetType = UNSET
    """HTTP methods; unless given, POST for a node that takes a body and GET for one that does not."""
    timeout_seconds: Seconds | UnsetType = UNSET
    """How long a call may take; `runtime.web.default_timeout_seconds` unless given."""
    through_app: bool | UnsetType = UNSET
    """Whether requests take the way through the FastAPI app, its middleware and dependencies."""
    status: Annotated[int, Meta(ge=200, le=299)] = 200
    """The status of a successful answer."""
    priority: Priority = "normal"
    """Who goes first where calls wait for a worker: `high`, `normal` or `low`. While all three wait, a web worker takes
    16 high calls for 4 normal and 1 low one: none waits for ever. A full queue refuses the youngest of the lowest."""
    max_concurrency: Annotated[int, Meta(ge=1, le=1_000_000)] | UnsetType = UNSET
    """How many of its calls may be under way from one web worker, those that wait included, and those whose client has
    left until their worker has given them up; beyond that, 503 at once. Any number unless given."""
    tags: tuple[Text, ...] = ()
    """Groups in the API's documentation, after the interface's own."""

    @property
    def stages(self) -> tuple[str, ...]:
        """The nodes that it names, in order."""
        return self.pipeline or () if self.node is UNSET else (self.node,)

    def key_of(self, stage: int) -> str:
        """The key under which that node is named."""
        return f"pipeline.{stage}" if self.node is UNSET else "node"


class Interface(Section, frozen=True):
    """An item of `runtime.web.interfaces`: endpoints that share a protocol, a prefix and dependencies."""

    kind: Annotated[
        Literal["http"],
        not_yet(websocket=_ONLY_HTTP.format("websocket"), graphql=_ONLY_HTTP.format("graphql")),
    ]
    """The protocol."""
    binds: Annotated[tuple[Port, ...], Meta(min_length=1)] = (
        "request",
        "response",
    )
    """The ports it speaks to; for `http` in this version: request and response."""
    prefix: Prefix = ""
    """What stands before the path of each of its endpoints."""
    tags: tuple[Text, ...] = ()
    """Groups in the API's documentation, for all its endpoints."""
    dependencies: tuple[Function, ...] = ()
    """FastAPI dependencies that all its endpoints share, in order; their requests go through the app."""
    endpoints: tuple[Endpoint, ...] = ()
    """The endpoints."""


class Queue(Section, frozen=True):
    """`runtime.web.queue`: what may wait in one web worker for one group; beyond it, 503 at once.

    So is a call whose expected wait is longer than the time it has.
    """

    calls: Annotated[int, Meta(ge=1, le=1_000_000)] = 1024
    """Calls; 1 to 1,000,000."""
    bytes: Annotated[int, Meta(ge=1024, le=64 * 1024 * MiB)] = 64 * MiB
    """Bytes of their bodies; at least one of the largest allowed, at most 64 GiB."""
    wait_seconds: Seconds = 3600.0
    """The longest wait that may be expected, seconds. However much time a call has, it is refused beyond this."""


class Web(Section, frozen=True):
    """`runtime.web`: the group that speaks HTTP."""

    host: Text = "127.0.0.1"
    """The address to listen on."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    """The port to listen on; 0 takes a free one."""
    app: App = ""
    """Your own FastAPI app, to which the declared endpoints are added; empty for none."""
    title: Text = "Shunter"
    """The API's title in its documentation."""
    docs: bool = True
    """Whether `/docs`, `/redoc` and `/openapi.json` are served."""
    interfaces: Annotated[tuple[Interface, ...], Meta(max_length=256)] = ()
    """The declared interfaces."""
    default_timeout_seconds: Seconds = 30.0
    """How long a call may take where nothing else is said."""
    max_timeout_seconds: Seconds = 300.0
    """The longest time an endpoint may declare."""
    timeout_header: HeaderName = "X-Request-Timeout"
    """The header in which a client may say how much time it has, seconds (`2.5`): never more than the endpoint's. None
    that has a meaning already, as `Host`."""
    drain_timeout_seconds: Seconds = 30.0
    """How long a web worker may take to finish its requests."""
    keep_alive_seconds: Seconds = 5.0
    """How long an idle connection of a client is kept open."""
    queue: Queue = Queue()
    """What may wait for a free worker."""


class Runtime(Section, frozen=True):
    """`runtime`: everything about running."""

    platform: Platform = Platform()
    """Processes and what connects them."""
    web: Web = Web()
    """What clients reach."""
    log: Log = Log()
    """What is written down."""


class Discovery(Section, frozen=True):
    """`discovery`: where nodes are looked for."""

    packages: tuple[Dotted, ...] = ()
    """Packages whose modules are all imported in search of `@node`."""


class Config(Section, frozen=True):
    """The whole file."""

    runtime: Runtime = Runtime()
    """Everything about running."""
    discovery: Discovery = Discovery()
    """Where nodes are looked for."""
