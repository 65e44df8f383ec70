"""`await handoff(render, body, timeout=5)`: a node called from a user's own FastAPI route, with the node's own types."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar, overload

import msgspec
from fastapi import Depends
from starlette.requests import HTTPConnection

from ipc.errors import BadResult, InvalidRequest, Misuse
from ipc.messages.calls import Encoding, RequestMeta, encode_meta
from ipc.names import new_call_id
from web_worker.front import SCOPE_KEY

if TYPE_CHECKING:
    from ipc.caller import Answer, Caller
    from ipc.contract import NodeContract
    from web_worker.correlation import Correlation

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")

_STATE = "shunter_handoff"


class _Target:
    """One node as it is called from here: how its arguments are packed and its result is read."""

    def __init__(self, name: str, contract: NodeContract, function: Callable[..., Any] | None) -> None:
        self.name = name
        self._body = contract.body.name if contract.body is not None else None
        self._raw = contract.body is not None and contract.body.kind == "bytes"
        self._signature = inspect.signature(function) if function is not None else None
        self._names = tuple(p.name for p in contract.parameters)
        self._read = self._reader(function)

    def pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, bytes | memoryview, Encoding]:
        """Parameters, body and the body's encoding; InvalidRequest if they do not fit the node's signature."""
        if self._signature is not None:
            try:
                given = dict(self._signature.bind(*args, **kwargs).arguments)
            except TypeError as error:
                raise InvalidRequest(f"{self.name}: {error}") from None
        elif args:
            raise Misuse(f"{self.name} is called by its name, so its arguments need theirs too")
        else:
            given = dict(kwargs)
        body: bytes | memoryview = b""
        encoding = Encoding.NONE
        if self._body is not None and self._body in given:
            value = given.pop(self._body)
            if self._raw:
                if not isinstance(value, bytes | bytearray | memoryview):
                    raise InvalidRequest(f"{self.name}: {self._body} takes bytes, not {type(value).__name__}")
                body, encoding = bytes(value), Encoding.RAW
            else:
                body, encoding = msgspec.msgpack.encode(value, enc_hook=_foreign), Encoding.MSGPACK
        return (msgspec.msgpack.encode(given, enc_hook=_foreign) if given else b"\x80"), body, encoding

    def read(self, answer: Answer) -> Any:  # noqa: ANN401 - whatever the node declares
        """The result as the node's declared type."""
        if answer.meta.encoding == Encoding.RAW:
            return bytes(answer.body)
        try:
            return self._read(answer.body)
        except msgspec.DecodeError as error:
            raise BadResult(f"{self.name}: {error}") from None

    def _reader(self, function: Callable[..., Any] | None) -> Callable[[Any], Any]:
        if function is None:
            return msgspec.msgpack.decode
        kind = typing.get_type_hints(function, include_extras=True).get("return", Any)
        if hasattr(kind, "model_validate"):
            return lambda body: kind.model_validate(msgspec.msgpack.decode(body))
        try:
            return msgspec.msgpack.Decoder(kind).decode
        except TypeError:
            from pydantic import TypeAdapter  # noqa: PLC0415 - only for the types that msgspec does not know

            adapter: Any = TypeAdapter(kind)
            return lambda body: adapter.validate_python(msgspec.msgpack.decode(body))


class Handoffs:
    """Every node this process may call. One for a web worker."""

    def __init__(self, caller: Caller, nodes: typing.Iterable[NodeContract], default_timeout: float) -> None:
        self.caller = caller
        self.default_timeout = default_timeout
        self._contracts = {contract.name: contract for contract in nodes}
        self._by_origin = {contract.imported_from: contract for contract in nodes}
        self._targets: dict[Any, _Target] = {}
        self.me = str(caller.me)

    def target(self, node: Callable[..., Any] | str) -> _Target:
        """The node a route names, by function or by dotted name; Misuse if no group runs it."""
        target = self._targets.get(node)
        if target is None:
            if isinstance(node, str):
                contract, function = self._contracts.get(node), None
            else:
                origin = f"{node.__module__}:{node.__qualname__}"
                contract = self._by_origin.get(origin) or self._contracts.get(origin.replace(":", "."))
                function = node
            if contract is None:
                raise Misuse(f"{node!r} is no node that a group of this service runs; `shunter check` lists them")
            target = self._targets[node] = _Target(contract.name, contract, function)
        return target


class HandoffCaller:
    """Calls nodes in other processes for one request: its id, its trace."""

    def __init__(self, handoffs: Handoffs, who: Correlation | None, timeout: float | None = None) -> None:
        self._handoffs, self._who, self._timeout = handoffs, who, timeout

    def within(self, seconds: float) -> HandoffCaller:
        """The same with another time limit, for nodes that are called with keyword arguments."""
        return HandoffCaller(self._handoffs, self._who, seconds)

    @overload
    async def __call__(self, node: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def __call__(self, node: Callable[[A], R], a: A, /, *, timeout: float) -> R: ...
    @overload
    async def __call__(self, node: Callable[[A, B], R], a: A, b: B, /, *, timeout: float) -> R: ...
    @overload
    async def __call__(self, node: Callable[[A, B, C], R], a: A, b: B, c: C, /, *, timeout: float) -> R: ...
    @overload
    async def __call__(self, node: Callable[[A, B, C, D], R], a: A, b: B, c: C, d: D, /, *, timeout: float) -> R: ...
    @overload
    async def __call__(self, node: str, /, *, timeout: float = ..., **kwargs: Any) -> Any: ...
    async def __call__(  # type: ignore[misc]  # a node may have a `timeout` of its own: `within` is for those
        self, node: Any, /, *args: Any, timeout: float | None = None, **kwargs: Any
    ) -> Any:
        """Run `node` in a worker of its group and return what it returns.

        `timeout` is in seconds; without it the service's default holds. Raises the errors of `ipc.errors`: `Rejected`
        (nothing was done), `OutcomeUnknown` (it may have been), `CallFailed` (the answer is no). Left alone they become
        the same HTTP answers as those of a declared endpoint.
        """
        handoffs, who = self._handoffs, self._who
        target = handoffs.target(node)
        params, body, encoding = target.pack(args, kwargs)
        call_id = new_call_id()
        if who is not None:
            request_id, trace = who.request_id, who.trace
        else:
            request_id = call_id.hex()
            trace = f"00-{request_id}-{request_id[:16]}-00"
        meta = RequestMeta(target.name, request_id, trace, handoffs.me, encoding, Encoding.MSGPACK, msgspec.Raw(params))
        limit = timeout if timeout is not None else self._timeout or handoffs.default_timeout
        call = handoffs.caller.call(target.name, call_id, encode_meta(meta), body, limit)
        try:
            answer = await call.future
        except BaseException:
            handoffs.caller.cancel(call)  # of a route that was cancelled; for everything else it is over already
            raise
        return target.read(answer)


def _foreign(value: Any) -> Any:  # noqa: ANN401 - anything msgspec does not know
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} cannot be sent to another process")


def provide(app_state: Any, handoffs: Handoffs) -> None:  # noqa: ANN401 - Starlette's State
    """Make `Handoff` work in the routes of an app."""
    setattr(app_state, _STATE, handoffs)


def _handoff(connection: HTTPConnection) -> HandoffCaller:
    handoffs = getattr(connection.app.state, _STATE, None)
    if handoffs is None:
        raise Misuse("Handoff works inside of a service that Shunter runs; in tests override the dependency")
    return HandoffCaller(handoffs, connection.scope.get(SCOPE_KEY))


get_handoff = _handoff
"""The dependency behind `Handoff`, for `app.dependency_overrides` in tests."""

Handoff = Annotated[HandoffCaller, Depends(get_handoff)]
"""What a route of your own FastAPI app asks for: `async def report(body: Ask, handoff: Handoff) -> Report`."""
