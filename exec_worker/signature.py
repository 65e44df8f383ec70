"""What a function takes and gives, read off its annotations. Imports nothing of the user's, runs nothing."""

# ruff: noqa: ANN401 - these are values of types that are known only at run time

import contextlib
import inspect
import re
import types
import typing
from collections import abc
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import msgspec

from exec_worker.codec import REF, Codec, UnsupportedError, codec_of
from exec_worker.components import Components
from exec_worker.node import MEDIA_TYPE, AnyFunction, NodeInfo, Response, info_of
from ipc.contract import Body, NodeContract, Parameter, Result

REQUIRED: Any = inspect.Parameter.empty
"""The default of what has none."""
OCTETS = "application/octet-stream"

_STREAMS = frozenset(
    {
        abc.Iterator,
        abc.Iterable,
        abc.Generator,
        abc.AsyncIterator,
        abc.AsyncIterable,
        abc.AsyncGenerator,
        abc.Awaitable,
        abc.Coroutine,
    }
)
_WEB = frozenset({"fastapi", "starlette"})
_MEDIA_RANGE = re.compile(r"\*/\*|[\w!#$&^.+-]+/(?:\*|[\w!#$&^.+-]+)", re.ASCII)


class ContractError(ValueError):
    """The function cannot be a node as it is written. The sentence says where, what and what to do."""


@dataclass(frozen=True, slots=True)
class Taken:
    """One parameter."""

    name: str
    kind: Any
    default: Any
    codec: Codec
    place: Literal["parameter", "body"]
    many: bool = False
    raw: bool = False
    """Whether it takes the body's bytes as they are."""
    media_type: str = "application/json"

    @property
    def required(self) -> bool:
        """Whether the caller has to give it."""
        return self.default is REQUIRED


@dataclass(frozen=True, slots=True)
class Signature:
    """A function's parameters and result, with what validates and encodes them."""

    parameters: tuple[Taken, ...]
    body: Taken | None
    result: Literal["bytes", "json", "response"]
    gives: Any
    codec: Codec | None
    media_type: str


def source_of(function: AnyFunction) -> str:
    """`file:line` of a function, or its module's name where it has no source."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return str(getattr(function, "__module__", ""))
    return f"{code.co_filename}:{code.co_firstlineno}"


def read(function: AnyFunction, *, name: str) -> Signature:
    """The signature of a node; ContractError if it cannot be one."""
    reader = _Reader(function, name)
    return reader.read()


def contract_of(
    function: AnyFunction,
    *,
    name: str,
    imported_from: str = "",
    components: Components | None = None,
    signature: Signature | None = None,
) -> NodeContract:
    """The contract of a node; ContractError if it cannot be one.

    The schemas it refers to go into `components`, which the nodes of one application share. Who has read the
    signature already may hand it in.
    """
    signature = signature or read(function, name=name)
    components = Components() if components is None else components
    info = info_of(function) or NodeInfo()
    summary, _, description = (inspect.getdoc(function) or "").partition("\n")
    result_schema: dict[str, Any] = {}
    if signature.codec is not None:
        result_schema = _schema(signature.codec, signature.gives, components, output=True)
    return NodeContract(
        name=name,
        stage=info.stage,
        parameters=tuple(
            Parameter(
                name=taken.name,
                required=taken.required,
                json_schema=_schema_of(taken, components),
                shape=taken.codec.shape(),
                many=taken.many,
            )
            for taken in signature.parameters
        ),
        body=None if signature.body is None else _body(signature.body, components),
        result=Result(kind=signature.result, json_schema=result_schema, media_type=signature.media_type),
        idempotent=info.idempotent,
        summary=summary.strip(),
        description=description.strip(),
        source=source_of(function),
        imported_from=imported_from,
    )


def _body(taken: Taken, components: Components) -> Body:
    return Body(
        name=taken.name,
        kind="bytes" if taken.raw else "json",
        required=taken.required,
        json_schema={} if taken.raw else _schema_of(taken, components),
        shape=None if taken.raw else taken.codec.shape(),
        media_type=taken.media_type,
    )


class _Reader:
    """Reads one function; every complaint names it."""

    def __init__(self, function: AnyFunction, name: str) -> None:
        self._function = function
        self._name = name

    def read(self) -> Signature:
        function = inspect.unwrap(self._function)
        for each in (self._function, function):
            if inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each):
                self._fail("is `async def`, which this version does not support; write `def`")
            if inspect.isgeneratorfunction(each):
                self._fail("is a generator, and streams are not supported in this version; return a list")
        hints = self._hints(function)
        try:
            parameters = inspect.signature(self._function).parameters
        except (TypeError, ValueError) as error:
            self._fail(f"has no signature that could be read ({error}); wrap it in a function with annotations")
        taken = [self._take(parameter, hints) for parameter in parameters.values()]
        bodies = [item for item in taken if item.place == "body"]
        if len(bodies) > 1:
            both = " and ".join(f"`{item.name}`" for item in bodies)
            self._fail(f"takes {both} from the request's body, which is one; put them into one Struct or dataclass")
        if "return" not in hints:
            self._fail("does not say what it returns; add an annotation such as `-> dict[str, Any]` or `-> None`")
        result, gives, codec, media_type = self._result(hints["return"])
        return Signature(
            parameters=tuple(item for item in taken if item.place == "parameter"),
            body=bodies[0] if bodies else None,
            result=result,
            gives=gives,
            codec=codec,
            media_type=media_type,
        )

    def _fail(self, what: str, cause: BaseException | None = None) -> NoReturn:
        raise ContractError(f"{source_of(self._function)}: {self._name} {what}") from cause

    def _hints(self, function: AnyFunction) -> dict[str, Any]:
        try:
            return typing.get_type_hints(function, include_extras=True)
        except NameError as error:
            self._fail(
                f"has an annotation that cannot be resolved ({error}); import that name when the program "
                "runs, not only under `if TYPE_CHECKING:`",
                error,
            )
        except Exception as error:  # noqa: BLE001 - annotations are the user's expressions
            self._fail(f"has an annotation that cannot be resolved ({type(error).__name__}: {error})", error)

    def _take(self, parameter: inspect.Parameter, hints: dict[str, Any]) -> Taken:
        name, where = parameter.name, f"parameter `{parameter.name}`"
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else "**"
            self._fail(f"takes `{stars}{name}`; name each parameter, for a caller can only give what has a name")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            self._fail(f"takes {where} by position only; remove the `/`, for callers give parameters by name")
        if name.startswith("__"):
            self._fail(f"has {where}; choose a name without two leading underscores")
        if name not in hints:
            self._fail(f"has no annotation for {where}; add one, such as `{name}: int`")
        kind, default = hints[name], parameter.default
        self._refuse_web(where, kind, default)
        if _streams(kind):
            self._fail(f"has a stream as {where}, which this version does not support; take a list")
        bare, optional, media_type = _unwrapped(kind)
        if media_type is not None and _MEDIA_RANGE.fullmatch(media_type) is None:
            self._fail(f"says the media type {media_type!r} for {where}; write one such as 'image/*'")
        codec = self._codec(kind, where)
        if bare is bytes:
            # An explicit None and an absent body are the same to a caller who sends bytes.
            return Taken(name, kind, None if optional and default is REQUIRED else default, codec, "body",
                         raw=True, media_type=media_type or OCTETS)  # fmt: skip
        if _holds_bytes(bare):
            self._fail(f"has bytes in a union or as another type than `bytes` in {where}; write `bytes`")
        place = self._place(codec, where)
        if place == "body":
            return Taken(name, kind, default, codec, "body", media_type=media_type or "application/json")
        return Taken(name, kind, default, codec, "parameter", many=place == "many")

    def _refuse_web(self, where: str, kind: Any, default: Any) -> None:
        parts = [*getattr(kind, "__metadata__", ()), default]
        if any(type(part).__module__.partition(".")[0] in _WEB for part in parts) or (
            getattr(kind, "__module__", "").partition(".")[0] in _WEB
        ):
            self._fail(
                f"uses FastAPI in {where}; a node knows no HTTP: write the plain type, and constraints as "
                "`Annotated[int, msgspec.Meta(ge=1)]`"
            )
        if type(default).__module__.partition(".")[0] == "pydantic" and type(default).__name__ == "FieldInfo":
            self._fail(f"has a pydantic Field as the default of {where}; write `Annotated[type, Field(...)]`")

    def _codec(self, kind: Any, where: str) -> Codec:
        try:
            codec = codec_of(kind)
            codec.schema(output=False)
        except UnsupportedError as error:
            self._fail(
                f"has a type in {where} that cannot be validated: {error}. Use builtins, dataclasses, "
                "TypedDicts, msgspec Structs, attrs classes or pydantic models",
                error,
            )
        return codec

    def _place(self, codec: Codec, where: str) -> Literal["parameter", "many", "body"]:
        schema, components = codec.schema(output=False)
        try:
            return _place_of(schema, components)
        except ValueError as error:
            self._fail(f"has a union in {where} of {error}; choose one of them", error)

    def _result(self, kind: Any) -> tuple[Literal["bytes", "json", "response"], Any, Codec | None, str]:
        self._refuse_web("its result", kind, None)
        if _streams(kind):
            self._fail("returns a stream, which this version does not support; return a list or `bytes`")
        bare, optional, media_type = _unwrapped(kind)
        if bare is Response or Response in typing.get_args(bare):
            return "response", kind, None, OCTETS
        if bare is bytes and not optional:
            if media_type is not None and MEDIA_TYPE.fullmatch(media_type) is None:
                self._fail(f"says the media type {media_type!r} for its result; write one such as 'image/webp'")
            return "bytes", kind, None, media_type or OCTETS
        if bare is bytes or _holds_bytes(bare):
            self._fail("returns bytes only sometimes, or as another type than `bytes`; return a `Response` instead")
        try:
            codec = codec_of(kind)
            codec.schema(output=True)
        except UnsupportedError as error:
            self._fail(
                f"returns a type that cannot be described: {error}. Return a type msgspec or pydantic knows",
                error,
            )
        return "json", kind, codec, "application/json"


def _unwrapped(kind: Any) -> tuple[Any, bool, str | None]:
    """The type without `Annotated` and `| None`, whether None is allowed, and the media type it names."""
    optional, media_type = False, None
    while True:
        if typing.get_origin(kind) is typing.Annotated:
            named = [item for item in kind.__metadata__ if isinstance(item, str) and "/" in item]
            media_type = named[0] if named else media_type
            kind = kind.__origin__
        elif isinstance(kind, typing.NewType):
            kind = kind.__supertype__
        elif typing.get_origin(kind) in (typing.Union, types.UnionType) and type(None) in typing.get_args(kind):
            rest = [part for part in typing.get_args(kind) if part is not type(None)]
            if len(rest) != 1:
                return kind, True, media_type
            kind, optional = rest[0], True
        else:
            return kind, optional, media_type


def _streams(kind: Any) -> bool:
    bare, _, _ = _unwrapped(kind)
    parts = typing.get_args(bare) if typing.get_origin(bare) in (typing.Union, types.UnionType) else (bare,)
    return any((typing.get_origin(part) or part) in _STREAMS for part in parts if isinstance(part, abc.Hashable))


def _holds_bytes(bare: Any) -> bool:
    """Whether it is, or may be, bytes where only text and numbers can stand."""
    if typing.get_origin(bare) in (typing.Union, types.UnionType):
        return any(_unwrapped(part)[0] is bytes or _holds_bytes(part) for part in typing.get_args(bare))
    return bare in (bytearray, memoryview) if isinstance(bare, type) else False


def _place_of(schema: dict[str, Any], components: dict[str, Any]) -> Literal["parameter", "many", "body"]:
    """Where a value of this schema comes from; ValueError for one that could come from two places."""
    if (name := schema.get("$ref")) is not None:
        target = components[name.removeprefix(REF)]
        return "parameter" if "enum" in target else "body"
    if "enum" in schema or "const" in schema:
        return "parameter"
    if (options := schema.get("anyOf") or schema.get("oneOf")) is not None:
        places = {_place_of(option, components) for option in options if option.get("type") != "null"}
        if len(places) > 1:
            raise ValueError("values that have to come from different places (query, body)")
        return places.pop() if places else "parameter"
    kinds = schema.get("type", "object")
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)
    if "array" in kinds:
        items = [*schema.get("prefixItems", ()), *([schema["items"]] if schema.get("items") else ())]
        flat = items and all(_place_of(item, components) == "parameter" for item in items)
        return "many" if flat else "body"
    if "object" in kinds or schema.get("contentEncoding"):
        return "body"
    return "parameter"


def _schema(codec: Codec, kind: Any, components: Components, *, output: bool) -> dict[str, Any]:
    schema, parts = codec.schema(output=output)
    bare, _, _ = _unwrapped(kind)
    named: dict[str, Any] = components.add(schema, parts, str(getattr(bare, "__module__", "")))
    return named


def _schema_of(taken: Taken, components: Components) -> dict[str, Any]:
    schema = _schema(taken.codec, taken.kind, components, output=False)
    if not taken.required:
        # A default without a plain form is still the function's; the document just does not show it.
        with contextlib.suppress(Exception):
            schema = {**schema, "default": taken.codec.plain(taken.default)}
    return schema


def disagreement(given: NodeContract, here: NodeContract) -> str | None:
    """What in a node's signature is not as it was described, or None. Texts and schemas may differ."""

    def essence(contract: NodeContract) -> dict[str, Any]:
        parts: dict[str, Any] = {
            f"parameter `{item.name}`": (item.required, item.many, item.shape) for item in contract.parameters
        }
        body, result = contract.body, contract.result
        parts["the body"] = body and (body.name, body.kind, body.required, body.shape)
        parts["the result"] = (result.kind, result.media_type)
        return parts

    # As they look after a way through msgpack, which has no tuples.
    before, now = (msgspec.msgpack.decode(msgspec.msgpack.encode(essence(item))) for item in (given, here))
    return next((part for part in [*before, *now] if before.get(part, 0) != now.get(part, 0)), None)
