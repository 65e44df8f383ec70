"""One node as it is called from a route: how its arguments are packed, and how its result is read."""

# ruff: noqa: ANN401 - arguments and results are of whatever types the node declares

from __future__ import annotations

import functools
import inspect
import typing
from typing import TYPE_CHECKING, Any

import msgspec
from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from ipc.batch import result_of
from ipc.decoding.jsontext import json_value
from ipc.decoding.limits import UNREADABLE, told
from ipc.decoding.msgpacked import inspect_msgpack, msgpack_value
from ipc.errors import BadResult, Misuse
from ipc.messages.calls import Encoding

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipc.call import Answer
    from ipc.contract import NodeContract

NO_PARAMETERS = b"\x80"
"""An empty map."""


class Target:
    """Knows the node's contract, and the function itself where the route has imported it."""

    def __init__(self, contract: NodeContract, function: Callable[..., Any] | None) -> None:
        self.name = contract.name
        self.batched = contract.batch is not None
        """Whether the node takes a list, of which each item is a call."""
        body = contract.body
        self._body = body.name if body is not None else None
        self._raw = body is not None and body.kind == "bytes"
        self._names = {p.name for p in contract.parameters} | ({body.name} if body is not None else set())
        self.has_timeout = "timeout" in self._names
        """Whether the node itself takes a parameter of that name."""
        self._signature = inspect.signature(function) if function is not None else None
        self._kind = contract.result.kind
        declared = Any if function is None else _result_of(function)
        if self.batched and function is not None:
            declared = result_of(declared)
        self._response: Callable[..., Any] | None = declared if self._kind == "response" and function else None
        self._read = _reader(declared) if self._kind == "json" else _anything

    def pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes, bytes, Encoding]:
        """Parameters, body and the body's encoding; Misuse if they do not fit the node's signature."""
        given = self._bind(args, kwargs)
        body, encoding = b"", Encoding.NONE
        if self._body is not None and self._body in given:
            body, encoding = self._pack_body(given.pop(self._body))
        return self._pack(given) if given else NO_PARAMETERS, body, encoding

    def pack_each(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[bytes, Encoding]]:
        """The same for a batched node: a body for each call that its list stands for."""
        items = self._bind(args, kwargs).get(str(self._body))
        if not isinstance(items, list | tuple):
            raise Misuse(f"{self.name}: `{self._body}` takes a list, not {type(items).__name__}")
        return [self._pack_body(item) for item in items]

    def _pack_body(self, value: Any) -> tuple[bytes, Encoding]:
        if not self._raw:
            return self._pack(value), Encoding.MSGPACK
        if isinstance(value, bytes | bytearray | memoryview):
            return bytes(value), Encoding.RAW
        if value is not None:
            raise Misuse(f"{self.name}: `{self._body}` takes bytes, not {type(value).__name__}")
        return b"", Encoding.NONE

    def _pack(self, value: Any) -> bytes:
        try:
            return msgspec.msgpack.encode(value, enc_hook=to_jsonable_python)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise Misuse(f"{self.name}: an argument cannot be sent to another process: {error}") from error

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if self._signature is not None:
            try:
                return dict(self._signature.bind(*args, **kwargs).arguments)
            except TypeError as error:
                raise Misuse(f"{self.name}: {error}") from None
        if args:
            raise Misuse(f"{self.name} is called by its name, so its arguments need theirs too")
        if unknown := kwargs.keys() - self._names:
            raise Misuse(f"{self.name} has no parameter {', '.join(sorted(unknown))}")
        return dict(kwargs)

    def read(self, answer: Answer) -> Any:
        """The result as the node's declared type; BadResult if it is none."""
        meta, body = answer.meta, answer.body
        try:
            if self._kind == "json":
                return self._read(body)
            value: Any = bytes(body)
            if meta.encoding == Encoding.MSGPACK:
                value = _anything(body)
            elif meta.encoding == Encoding.JSON:
                value = json_value(body)
            if self._response is None:
                return value
            return self._response(value, meta.status or 200, meta.media_type or None, dict(meta.headers))
        except (*UNREADABLE, ValueError, TypeError) as error:
            raise BadResult(f"{self.name}: what came back is not what it declares: {told(error)}") from None


_anything = msgpack_value


def _result_of(function: Callable[..., Any]) -> Any:
    try:
        return typing.get_type_hints(function, include_extras=True).get("return", Any)
    except Exception as error:
        raise Misuse(f"{function!r} has an annotation that cannot be resolved here: {error}") from error


def _reader(kind: Any) -> Callable[[Any], Any]:
    try:
        decode = msgspec.msgpack.Decoder(kind, dec_hook=_revived).decode
    except (TypeError, NotImplementedError):  # a type that msgspec does not know, and pydantic does
        validate = TypeAdapter(kind).validate_python
        return lambda body: validate(_anything(body))

    def read(body: bytes | memoryview) -> Any:
        inspect_msgpack(body)
        return decode(body)

    return read


@functools.lru_cache(maxsize=256)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _revived(kind: Any, value: Any) -> Any:
    """A pydantic model, or another type only pydantic knows, from plain data."""
    return _adapter(kind).validate_python(value)
