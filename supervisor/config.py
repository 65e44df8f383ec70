"""The configuration as types: every key with its meaning, its unit and its bounds. Pure.

A bound is part of the type, so no guard has a value that means "off": leaving a key out gives its default,
and anything outside the bounds (empty, zero, null, of another kind) is an error. All times are seconds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from ipc.pipeline import MAX_STAGES
from ipc.ports import Port  # noqa: TC001 - read at run time
from ipc.priority import Priority  # noqa: TC001 - as above
from supervisor.fields import (
    App,
    Core,
    Dotted,
    Function,
    GroupName,
    HeaderName,
    Method,
    NodeName,
    Prefix,
    Seconds,
    Size,
    Spread,
    Stage,
    Text,
    Umask,
    UserName,
    VariableName,
    VariablePattern,
    VariableValue,
    not_yet,
)

WEB = "web"
"""The name of the one group that speaks HTTP; it exists whether it is declared or not."""

MiB = 1024 * 1024


_ONLY_HTTP = "this version has one kind of interface, 'http'; '{}' is not in it yet"
_NO_REDIS = "this version has no Redis carrier yet; "


class _Section(Struct, frozen=True, forbid_unknown_fields=True):
    """The base of every section: immutable, and without a place for keys nobody knows."""


class Kv(_Section, frozen=True):
    """`runtime.platform.kv`: the small store that workers share."""

    backend: Annotated[Literal["memory"], not_yet(redis=_NO_REDIS + "'memory' is the only backend")] = "memory"
    """Where it lives. `memory`: in this host's processes, gone when they end."""


class Auth(_Section, frozen=True):
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


class ExecutionIpc(_Section, frozen=True):
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


class WorkerLimits(_Section, frozen=True):
    """`limits` of a group: what the kernel allows each of its workers, for good.

    Unless given, what it allows Shunter. They hold for whatever the worker starts, too, each process by itself.
    """

    address_space: Size | UnsetType = UNSET
    """Virtual memory, at least 256MiB: beyond it, memory is refused and the node has a MemoryError (RLIMIT_AS)."""
    open_files: Annotated[int, Meta(ge=64, le=1_048_576)] | UnsetType = UNSET
    """Descriptors, 64 to 1,048,576; a worker itself has about 20 and one for each web worker (RLIMIT_NOFILE)."""
    processes: Annotated[int, Meta(ge=16, le=1_048_576)] | UnsetType = UNSET
    """Processes and threads of the worker's *user*, all together, 16 to 1,048,576; no limit for root (RLIMIT_NPROC)."""
    file_size: Size | UnsetType = UNSET
    """The longest file it can write: beyond it, a write fails with OSError (RLIMIT_FSIZE)."""


class ProcessGroup(_Section, frozen=True):
    """An item of `runtime.platform.process_groups`: workers that are interchangeable."""

    name: GroupName
    """Its name; `web` is the group that speaks HTTP, all others run nodes."""
    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    """How many processes; 1 to 256."""
    stages: tuple[Stage, ...] = ()
    """The stages whose nodes it runs. One stage belongs to one group; `web` has none."""
    start_timeout_seconds: Seconds = 120.0
    """How long a worker may take from its start until it is ready, imports included, seconds."""
    drain_timeout_seconds: Seconds | UnsetType = UNSET
    """How long a worker may take to finish what it has, seconds; 30, or for `web` what `runtime.web` says."""
    kill_grace_seconds: Seconds = 0.25
    """How long after its deadline a call may go on before its worker is killed, seconds. Its caller is not waiting."""
    cancel_grace_seconds: Seconds = 0.1
    """The same for a call whose caller has left, seconds."""
    mode: Literal["sync", "async"] = "sync"
    """`sync`: plain functions, each call in a thread; `async`: `async def`, each call a task of one event loop.

    In an event loop a function that blocks keeps all others of its worker waiting; beyond its deadline it is killed,
    and they with it.
    """
    slots: Annotated[int, Meta(ge=1, le=256)] | UnsetType = UNSET
    """How many calls a worker runs at once, 1 to 256; one unless given, or 64 with `mode: async`.

    More than one is of use to plain functions that wait, or let other threads run while they compute (NumPy, Pillow,
    hashlib); and a worker that is ended by force takes all its calls with it.
    """
    preload: bool = False
    """Whether the application is imported once, in a process of its own that all workers are then forked from: a
    replacement is ready in a moment, and workers share memory. Imports must not start threads or connect anywhere."""
    max_requests: Annotated[int, Meta(ge=1, le=1_000_000_000)] | UnsetType = UNSET
    """After so many requests (`web`) or calls a worker is replaced: its successor is ready before it drains.

    It is looked at once a second, so a busy worker will have answered some more.
    """
    max_requests_jitter: Annotated[float, Meta(ge=0, le=0.5, extra={"says": "a fraction from 0 to 0.5"})] = 0.1
    """By which fraction of `max_requests` a worker may be replaced earlier, so that not all are at once; 0 to 0.5."""
    max_memory: Size | UnsetType = UNSET
    """Beyond it a worker is replaced in the same way: bytes, or such as 512MiB; at least 64MiB.

    It is the memory that nobody has back before the worker ends: without files that are mapped, with what was swapped
    out.
    """
    max_memory_kill: Size | UnsetType = UNSET
    """Beyond it a worker is killed at once; a quarter more than `max_memory` unless given."""
    nice: Annotated[int, Meta(ge=0, le=19)] = 0
    """How far its workers stand back for other processes: the niceness that is added to Shunter's own, 0 to 19."""
    cpu_affinity: Annotated[tuple[Core, ...], Meta(min_length=1)] | Spread | UnsetType = UNSET
    """The processor cores its workers may run on, such as `[0, 1]`; `spread`: each has one, in turn."""
    limits: WorkerLimits = WorkerLimits()
    """What the kernel allows each worker."""
    user: UserName | UnsetType = UNSET
    """The user its workers become, by name or number, with that user's own group and no other; not root.

    Only a supervisor started as root can do that. Unless given, workers are the user who started it.
    """
    umask: Umask = "077"
    """What others may not do with files that workers make: three octal digits, as the shell has it."""


class Hardening(_Section, frozen=True):
    """`runtime.platform.hardening`: how workers are closed to their neighbours. All of it is on unless said here."""

    allow_debug: bool = False
    """Whether py-spy, gdb and the like may look into workers; then every process of their user can read their keys."""


class Environment(_Section, frozen=True):
    """`runtime.platform.environment`: what children find in their environment beside the harmless."""

    passed: tuple[VariablePattern, ...] = field(default=(), name="pass")
    """Variables of the supervisor's environment to hand on, by name; `*` stands for any characters."""
    set: dict[VariableName, VariableValue] = {}
    """Variables to set. Values may be secrets: they are never printed."""

    def __repr__(self) -> str:
        return f"Environment(passed={self.passed!r}, set={list(self.set)!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Tracebacks that show variables ask for this one."""
        return [("passed", self.passed), ("set", list(self.set))]


class Platform(_Section, frozen=True):
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
    """What children inherit."""
    hardening: Hardening = Hardening()
    """How workers are closed to their neighbours."""


class Log(_Section, frozen=True):
    """`runtime.log`: what processes write, one JSON object a line."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe message that is written."""
    requests: bool = False
    """Whether every answered request gets a line of its own."""


class Endpoint(_Section, frozen=True):
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


class Interface(_Section, frozen=True):
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


class Queue(_Section, frozen=True):
    """`runtime.web.queue`: what may wait in one web worker for one group; beyond it, 503 at once.

    So is a call whose expected wait is longer than the time it has.
    """

    calls: Annotated[int, Meta(ge=1, le=1_000_000)] = 1024
    """Calls; 1 to 1,000,000."""
    bytes: Annotated[int, Meta(ge=1024, le=64 * 1024 * MiB)] = 64 * MiB
    """Bytes of their bodies; at least one of the largest allowed, at most 64 GiB."""
    wait_seconds: Seconds = 3600.0
    """The longest wait that may be expected, seconds. However much time a call has, it is refused beyond this."""


class Web(_Section, frozen=True):
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


class Runtime(_Section, frozen=True):
    """`runtime`: everything about running."""

    platform: Platform = Platform()
    """Processes and what connects them."""
    web: Web = Web()
    """What clients reach."""
    log: Log = Log()
    """What is written down."""


class Discovery(_Section, frozen=True):
    """`discovery`: where nodes are looked for."""

    packages: tuple[Dotted, ...] = ()
    """Packages whose modules are all imported in search of `@node`."""


class Config(_Section, frozen=True):
    """The whole file."""

    runtime: Runtime = Runtime()
    """Everything about running."""
    discovery: Discovery = Discovery()
    """Where nodes are looked for."""
