"""What a node takes and gives, as data: made where the node is imported, used where it is not.

The *describe* process reads signatures and answers with these; the plan, the web workers (which rebuild their
validators and the OpenAPI document) and the exec workers (which check that they agree) read them.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from ipc.batch import Batch  # noqa: TC001 - read at run time
from ipc.decoding.limits import careful
from ipc.decoding.msgpacked import inspect_msgpack

BodyKind = Literal["none", "bytes", "json"]
"""What a body is made of: nothing, raw bytes, or a value of a declared type."""

Cancel = Literal["interrupt", "kill", "ignore"]
"""What happens to a call whose caller has left."""


class Parameter(Struct, frozen=True, omit_defaults=True):
    """One scalar (or list of scalars) parameter: taken from the path if the path names it, else from the query."""

    name: str
    required: bool
    json_schema: dict[str, Any]
    """Its JSON schema, its default included; `#/components/schemas/...` references allowed."""
    shape: Any = None
    """Its type as data (`ipc.shape`), or None if only the exec worker can check it."""
    many: bool = False
    """Whether it is a list, so that `?tag=a&tag=b` gives two items."""


class Body(Struct, frozen=True, omit_defaults=True):
    """The one parameter that is taken from the request's body."""

    name: str
    kind: BodyKind
    required: bool = True
    json_schema: dict[str, Any] = {}
    shape: Any = None
    """Its type as data, or None for `bytes` and for what only the exec worker can check."""
    media_type: str = "application/json"


class Result(Struct, frozen=True, omit_defaults=True):
    """What comes back. `response` means that the node decides status, headers and media type as it runs."""

    kind: Literal["bytes", "json", "response"]
    json_schema: dict[str, Any] = {}
    media_type: str = "application/json"


class NodeContract(Struct, frozen=True, omit_defaults=True):
    """One node: a plain function, its name and its signature."""

    name: str
    """Where it is imported from: `shop.images.thumbnail`."""
    stage: str
    parameters: tuple[Parameter, ...]
    body: Body | None
    result: Result
    idempotent: bool = False
    summary: str = ""
    """The first line of its docstring."""
    description: str = ""
    source: str = ""
    """`file:line`, for messages to people."""
    imported_from: str = ""
    """`module:attribute`: what an exec worker imports, whatever name the decorator gave the node."""
    batch: Batch | None = None
    """How many of its calls run together; None: each alone. Body and result are those of one call."""
    cancel: Cancel = "interrupt"
    asynchronous: bool = False
    """Whether it is `async def`, and runs in groups of `mode: async`."""


class HookContract(Struct, frozen=True):
    """A function that workers run at their start or end."""

    name: str
    """`shop.images.load_model`."""
    module: str
    kind: str
    """`on_worker_start` or `on_worker_stop`."""
    asynchronous: bool = False


class Describe(Struct, frozen=True):
    """What the describe process is asked to look at."""

    sys_path: tuple[str, ...] = ()
    """Directories that are importable before all others."""
    packages: tuple[str, ...] = ()
    """Packages in which decorated functions are looked for."""
    nodes: tuple[str, ...] = ()
    """Dotted names of functions that are nodes without being found so."""
    app: str = ""
    """The user's own FastAPI app, `shop.main:app`; empty for none."""
    needs: bool = False
    """Whether it is asked which modules each module needs."""


class AppRoute(Struct, frozen=True):
    """A route of the user's own FastAPI app, as `shunter routes` shows it."""

    path: str
    methods: tuple[str, ...] = ()
    kind: str = "http"
    """`http`, `websocket`, `mount` (an app below that path), `docs` (FastAPI's own pages), `other`."""


class Module(Struct, frozen=True):
    """A file of the application's code."""

    name: str
    path: str
    digest: bytes
    """Of its content."""
    needs: tuple[str, ...] = ()
    """The modules of the application that its import statements name; only if that was asked."""
    stamp: tuple[int, int] = (0, 0)
    """Its inode and when that last changed: after an edit that was taken back it is another, though all else is not."""


class Described(Struct, frozen=True):
    """What the describe process found: every node, every schema they refer to, and what could not be used."""

    nodes: tuple[NodeContract, ...]
    components: dict[str, Any]
    """JSON schemas by name, the `components/schemas` of an OpenAPI document."""
    faults: tuple[Fault, ...] = ()
    hooks: tuple[HookContract, ...] = ()
    """In the order of their definition."""
    routes: tuple[AppRoute, ...] = ()
    """Those of the user's own app, in its order."""
    modules: tuple[Module, ...] = ()
    """What its code consists of."""


class Fault(Struct, frozen=True):
    """One thing in the application that keeps it from being started."""

    what: str
    """One sentence: what is wrong and what to do."""
    traceback: str = ""


MAX_DESCRIBED = 1_000_000
"""Elements of a description: an application has as many schemas as it likes, within reason."""
DESCRIBED_DEPTH = 256
"""Levels of a description: a schema is nested twice as deep as what it describes, and shapes once more."""
_described = msgspec.msgpack.Decoder(Described)


def encode_request(request: Describe) -> bytes:
    """The request as msgpack, as the describe process reads it from its standard input."""
    return msgspec.msgpack.encode(request)


def decode_request(data: bytes) -> Describe:
    """The request that `encode_request` wrote; msgspec.ValidationError for anything else."""
    return msgspec.msgpack.decode(data, type=Describe)


def encode(described: Described) -> bytes:
    """The description as msgpack, as the describe process writes it."""
    return msgspec.msgpack.encode(described)


def decode(data: bytes) -> Described:
    """The description that `encode` wrote; msgspec.ValidationError for anything else."""
    inspect_msgpack(data, MAX_DESCRIBED, DESCRIBED_DEPTH)
    return careful(_described.decode)(data)
