"""What a worker is told of its work when it is born: the parts of a bootstrap that come from the plan."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ipc.contract import NodeContract  # noqa: TC001 - msgspec reads the annotations
from ipc.priority import Priority  # noqa: TC001 - as above


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


class CommandSettings(Struct, frozen=True, tag="command"):
    """What a guard is told of the program that it holds."""

    argv: tuple[str, ...]
    """The first is what the program is called by."""
    program: str
    """The file that is run."""
    directory: str
    """Where it runs."""
    tcp: int = 0
    """The port at which it accepts connections once it is ready; 0 for none."""
    http: str = ""
    """The URL that is answered well once it is ready; empty for none."""
    log: str = ""
    """What is in a line that it writes once it is ready; empty for none. Its supervisor reads the lines."""
    overlap: bool = False
    """Whether there may be another one of it already, at the same port."""
    stop_signal: str = "SIGTERM"
    nice: int = 0
    cores: tuple[int, ...] = ()
    spread: bool = False
    limits: ResourceLimits = ResourceLimits()
