"""Reads a function's annotations: which parameter comes from where, and what comes back. Runs nothing of it."""

# ruff: noqa: ANN401 - these are annotations, values of any kind

import inspect
import re
import typing
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from exec_worker.annotations import JSON, holds_bytes, is_json, place_of, streams, unwrapped
from exec_worker.codec import Codec, Unsupported, codec_of
from exec_worker.node import MEDIA_TYPE, AnyFunction, Response, info_of
from ipc.batch import item_of, result_of

REQUIRED: Any = inspect.Parameter.empty
"""The default of what has none."""
OCTETS = "application/octet-stream"

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
    media_type: str = JSON

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


class _Reader:
    """Reads one function; every complaint names it."""

    def __init__(self, function: AnyFunction, name: str) -> None:
        self._function = function
        self._name = name
        info = info_of(function)
        self._batched = info is not None and info.batch is not None

    def read(self) -> Signature:
        function = inspect.unwrap(self._function)
        for each in (self._function, function):
            if inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each):
                self._fail("is a generator, and streams are not supported in this version; return a list")
        if inspect.iscoroutinefunction(function) and not inspect.iscoroutinefunction(self._function):
            self._fail("is `async def`, and what wraps it is not; write `async def` there, too")
        if self._batched and inspect.iscoroutinefunction(self._function):
            self._fail(
                "is `async def`, and calls run together in plain functions only; write `def`, or leave out batch="
            )
        hints = self._hints(function)
        try:
            parameters = inspect.signature(self._function).parameters
        except (TypeError, ValueError) as error:
            self._fail(f"has no signature that could be read ({error}); wrap it in a function with annotations")
        if self._batched:
            self._unpack(list(parameters.values()), hints)
        taken = [self._take(parameter, hints) for parameter in parameters.values()]
        bodies = [item for item in taken if item.place == "body"]
        if len(bodies) > 1:
            both = " and ".join(f"`{item.name}`" for item in bodies)
            self._fail(f"takes {both} from the request's body, which is one; put them into one Struct or dataclass")
        if "return" not in hints:
            self._fail("does not say what it returns; add an annotation such as `-> dict[str, Any]` or `-> None`")
        result, codec, media_type = self._result(hints["return"])
        return Signature(
            parameters=tuple(item for item in taken if item.place == "parameter"),
            body=bodies[0] if bodies else None,
            result=result,
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

    def _unpack(self, parameters: list[inspect.Parameter], hints: dict[str, Any]) -> None:
        """Have a batched node read as what one caller sends and gets: the items of its lists."""
        if len(parameters) != 1:
            names = ", ".join(f"`{parameter.name}`" for parameter in parameters) or "none"
            self._fail(
                f"runs calls in batches and has to take one parameter, a list of what the callers send, not {names}; "
                "put what belongs together into one Struct or dataclass"
            )
        (parameter,) = parameters
        self._check_form(parameter, hints)
        item, result = item_of(hints[parameter.name]), result_of(hints.get("return"))
        if item is None:
            self._fail(f"runs calls in batches, so `{parameter.name}` is a list of what they send: `list[str]`")
        if parameter.default is not REQUIRED:
            self._fail(f"runs calls in batches, of which there is always one: remove the default of `{parameter.name}`")
        if result is None:
            self._fail("runs calls in batches, so it returns a list with a result for each: `-> list[float]`")
        hints |= {parameter.name: item, "return": result}

    def _check_form(self, parameter: inspect.Parameter, hints: dict[str, Any]) -> None:
        """Refuse what a caller could not give by name, or not know how to write."""
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

    def _take(self, parameter: inspect.Parameter, hints: dict[str, Any]) -> Taken:
        self._check_form(parameter, hints)
        name, where = parameter.name, f"parameter `{parameter.name}`"
        kind, default = hints[name], parameter.default
        self._refuse_web(where, kind, default)
        if streams(kind):
            self._fail(f"has a stream as {where}, which this version does not support; take a list")
        bare, optional, media_type = unwrapped(kind)
        if media_type is not None and _MEDIA_RANGE.fullmatch(media_type) is None:
            self._fail(f"says the media type {media_type!r} for {where}; write one such as 'image/*'")
        codec = self._codec(kind, where)
        if bare is bytes:
            if optional and default is REQUIRED:
                default = None  # who sends bytes cannot send None but by sending nothing
            return Taken(name, kind, default, codec, "body", raw=True, media_type=media_type or OCTETS)
        if holds_bytes(bare):
            self._fail(f"has bytes in a union or as another type than `bytes` in {where}; write `bytes`")
        if media_type is not None and not is_json(media_type):
            self._fail(f"says the media type {media_type!r} for {where}, which is read as JSON; write `bytes`")
        place = self._place(codec, where)
        if place == "body" or self._batched:
            return Taken(name, kind, default, codec, "body", media_type=media_type or JSON)
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
        except Unsupported as error:
            self._fail(
                f"has a type in {where} that cannot be validated: {error}. Use builtins, dataclasses, "
                "TypedDicts, msgspec Structs, attrs classes or pydantic models",
                error,
            )
        return codec

    def _place(self, codec: Codec, where: str) -> Literal["parameter", "many", "body"]:
        schema, components = codec.schema(output=False)
        try:
            return place_of(schema, components)
        except ValueError as error:
            self._fail(f"has a union in {where} of {error}; choose one of them", error)

    def _result(self, kind: Any) -> tuple[Literal["bytes", "json", "response"], Codec | None, str]:
        self._refuse_web("its result", kind, None)
        if streams(kind):
            self._fail("returns a stream, which this version does not support; return a list or `bytes`")
        bare, optional, media_type = unwrapped(kind)
        if Response in (bare, *typing.get_args(bare)):
            if bare is not Response or optional:
                self._fail("returns a `Response` only sometimes; return one always")
            return "response", None, OCTETS
        if media_type is not None and MEDIA_TYPE.fullmatch(media_type) is None:
            self._fail(f"says the media type {media_type!r} for its result; write one such as 'image/webp'")
        if bare is bytes and not optional:
            return "bytes", None, media_type or OCTETS
        if bare is bytes or holds_bytes(bare):
            self._fail("returns bytes only sometimes, or as another type than `bytes`; return a `Response`")
        if media_type is not None and not is_json(media_type):
            self._fail(f"says the media type {media_type!r} for what is sent as JSON; return `bytes`")
        try:
            codec = codec_of(kind)
            codec.schema(output=True)
        except Unsupported as error:
            self._fail(
                f"returns a type that cannot be described: {error}. Return a type msgspec or pydantic knows",
                error,
            )
        return "json", codec, media_type or JSON
