"""What an application says about its functions, and what a running one may ask. Imports nothing heavy."""

import re
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, TypeVar, get_args, overload

from msgspec import Struct
from msgspec.structs import force_setattr

from ipc.batch import Batch
from ipc.contract import Cancel
from ipc.errors import Misuse

AnyFunction = Callable[..., Any]
F = TypeVar("F", bound=AnyFunction)

DEFAULT_STAGE = "core"
_MARK = "__shunter_node__"
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_STAGE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


class NodeInfo(Struct, frozen=True):
    """What the decorator was told. A plain function has the defaults."""

    stage: str = DEFAULT_STAGE
    idempotent: bool = False
    name: str | None = None
    """The name configurations use instead of the function's own dotted name."""
    batch: Batch | None = None
    cancel: Cancel = "interrupt"


@overload
def node(function: F, /) -> F: ...
@overload
def node(
    *,
    stage: str = ...,
    idempotent: bool = ...,
    name: str | None = ...,
    batch: Batch | None = ...,
    cancel: Cancel = ...,
) -> Callable[[F], F]: ...
def node(
    function: F | None = None,
    /,
    *,
    stage: str = DEFAULT_STAGE,
    idempotent: bool = False,
    name: str | None = None,
    batch: Batch | None = None,
    cancel: Cancel = "interrupt",
) -> F | Callable[[F], F]:
    """Mark a function as a node and return the same function: it can be called and tested as it stands.

    `idempotent=True` says that running it twice does no harm: a call whose worker died may be tried again.
    `batch=Batch(max_size=32)` lets calls run together: the function is given a list and returns one as long. What a
    caller sends is one item, and what it gets is the result in that item's place; an exception in its place is that
    caller's error alone.

    `cancel` is what happens to a call whose caller has left. "interrupt": CallCancelled is raised in it, and its worker
    ended if it goes on. "kill": the same, without any grace. "ignore": it goes on until its deadline, at which every
    node is interrupted with DeadlineExceeded. No worker is ended early that runs other calls too.
    """
    if not isinstance(stage, str) or _STAGE.fullmatch(stage) is None:
        raise Misuse(f"@node(stage={stage!r}): a stage is a word such as 'core'")
    if name is not None and _DOTTED.fullmatch(name) is None:
        raise Misuse(f"@node(name={name!r}): a name is dotted words such as 'shop.images.thumbnail'")
    if batch is not None and (fault := batch.fault() if isinstance(batch, Batch) else "write Batch(max_size=32)"):
        raise Misuse(f"@node(batch={batch!r}): {fault}")
    if cancel not in get_args(Cancel):
        raise Misuse(f"@node(cancel={cancel!r}): it is 'interrupt', 'kill' or 'ignore'")
    info = NodeInfo(stage, idempotent, name, batch, cancel)

    def mark(function: F) -> F:
        if isinstance(function, type) or not callable(function):
            raise Misuse(f"@node marks functions, not {function!r}")
        setattr(function, _MARK, info)
        return function

    return mark if function is None else mark(function)


def info_of(function: object) -> NodeInfo | None:
    """What the decorator was told about `function`, or None if it is not decorated."""
    info = getattr(function, _MARK, None)
    return info if isinstance(info, NodeInfo) else None


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"(?:[!-~\x80-\xff](?:[ \t!-~\x80-\xff]*[!-~\x80-\xff])?)?")
_PARAMETER = r"""[ ]*;[ ]*[\w!#$&^.+-]+=(?:[\w!#$&^.+*'-]+|"[ !#-\[\]-~]*")"""
MEDIA_TYPE = re.compile(rf"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?:{_PARAMETER})*", re.ASCII)
"""A full media type, without wildcards: `text/html; charset=utf-8`."""

_NOT_YOURS = {
    "content-type": "say media_type= instead",
    "content-length": "it follows from the body",
} | dict.fromkeys(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ),
    "it belongs to the connection, not to the answer",
)
_BODYLESS = frozenset({204, 205, 304})


class Response(Struct, frozen=True):
    """A result that decides its own status, media type and headers.

    `bytes` are sent as they are; any other body as JSON, except text whose `media_type` is not JSON. A header
    or status that could not be sent as it stands is a ValueError here, where the traceback shows who made it.
    """

    body: Any = b""
    status: int = 200
    media_type: str | None = None
    headers: Mapping[str, str] = MappingProxyType({})

    def __post_init__(self) -> None:
        if type(self.status) is not int or not 200 <= self.status <= 599:  # noqa: PLR2004 - HTTP's own bounds
            raise ValueError(f"status {self.status!r} is not between 200 and 599")
        if self.status in _BODYLESS and self.body != b"":
            raise ValueError(f"an answer of status {self.status} has no body")
        if self.media_type is not None and MEDIA_TYPE.fullmatch(self.media_type) is None:
            raise ValueError(f"media type {self.media_type!r} is not of the form 'image/webp'")
        for name, value in self.headers.items():
            _check_header(name, value)
        # A copy that nobody can change, of plain texts, for no other can be written: what was checked is what is sent.
        headers = {_plain(name): _plain(value) for name, value in self.headers.items()}
        force_setattr(self, "headers", MappingProxyType(headers))
        if self.media_type is not None:
            force_setattr(self, "media_type", _plain(self.media_type))


def _plain(text: str) -> str:
    """The same characters, whatever subclass of `str` they come as: `str()` of an enumeration's member is its name."""
    return text if type(text) is str else str.__str__(text)


def _check_header(name: str, value: str) -> None:
    if not isinstance(name, str) or _TOKEN.fullmatch(name) is None:
        raise ValueError(f"header name {name!r} is not a token such as 'X-Total'")
    if (why := _NOT_YOURS.get(name.lower())) is not None:
        raise ValueError(f"header {name!r} cannot be set by a node: {why}")
    if not isinstance(value, str) or _VALUE.fullmatch(value) is None:
        raise ValueError(f"header {name!r} has the value {value!r}: one line of printable Latin-1 is allowed")


class Call:
    """The call that is being run, as the node sees it."""

    __slots__ = ("cancelled", "deadline", "request_id", "trace")

    def __init__(self, deadline: float, request_id: str = "", trace: str = "") -> None:
        self.deadline = deadline
        """When the caller stops waiting, on `time.monotonic()`'s clock."""
        self.request_id = request_id
        self.trace = trace
        """A W3C traceparent, to be handed on to what the node calls; empty if there is none."""
        self.cancelled = False
        """Whether the caller left: whatever is returned now goes nowhere."""

    @property
    def items(self) -> tuple["Call", ...]:
        """In a node that runs calls in batches: each of them, in the order of the list. Else empty."""
        return ()

    def remaining(self) -> float:
        """Seconds until the deadline, never less than zero."""
        return max(0.0, self.deadline - time.monotonic())


class BatchCall(Call):
    """The calls of a batch as one: over when the last of them is, cancelled when all of them are."""

    __slots__ = ("_items",)

    def __init__(self, items: tuple[Call, ...]) -> None:
        one = len(items) == 1
        super().__init__(
            max(item.deadline for item in items), items[0].request_id if one else "", items[0].trace if one else ""
        )
        self._items = items

    @property
    def items(self) -> tuple[Call, ...]:
        """See above."""
        return self._items


class _Last:
    """The call that was begun last. Where one runs at a time, threads that a node starts find theirs here."""

    call: Call | None = None


_running: ContextVar[Call | None] = ContextVar("shunter_call", default=None)
"""The call that this thread, or this task, runs."""
_last = _Last()


def current() -> Call:
    """The call this worker is running; Misuse outside of one."""
    call = _running.get() or _last.call
    if call is None:
        raise Misuse("current() was called while no call is running: it is for nodes, not for imports or tests")
    return call


def enter(call: Call | None, *, alone: bool = True) -> None:
    """Make `call` the one that `current()` gives; None when it is over. For the engine, and for tests of nodes.

    Unless it is `alone` in its worker, threads that its node starts have none: nobody could say whose they are.
    """
    _running.set(call)
    if alone:
        _last.call = call
