"""One type with its validators and encoders: by msgspec, or by pydantic where msgspec cannot."""

# ruff: noqa: ANN401 - these are values of types that are known only at run time

import contextlib
import typing
from typing import Any, Protocol

import msgspec

from exec_worker.finite import check_finite, has_floats
from ipc import shape
from ipc.decoding.jsontext import json_value
from ipc.decoding.msgpacked import inspect_msgpack, msgpack_value

REF = "#/components/schemas/"
_UNFIT = "it is not of the declared type"  # pydantic's own sentence repeats the value, and this may reach a client
_MAX_ERRORS = 5  # of pydantic's complaints about one value that are told
_CLASS_MARKS = ("__struct_fields__", "__dataclass_fields__", "__attrs_attrs__", "__total__", "_fields")
_PYDANTIC_MARKS = ("__pydantic_core_schema__", "__get_pydantic_core_schema__", "__pydantic_validator__")
_PYDANTIC_MODULES = frozenset({"pydantic", "pydantic_core", "annotated_types"})


class Unsupported(TypeError):
    """Neither msgspec nor pydantic can handle the type. The sentence says why."""


class Codec(Protocol):
    """What can be done with values of one type. Everything that reads raises msgspec.DecodeError.

    What web workers have looked at is looked at again here: an exec worker does not take their word for it.
    """

    modules: dict[str, str]
    """Where the classes that become components are defined."""

    def schema(self, *, output: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        """The JSON schema, and the components it refers to."""
        ...

    def shape(self) -> Any:
        """The type as data, or None if only this process can validate it."""
        ...

    def from_json(self, data: Any) -> Any:
        """The value of a JSON document."""
        ...

    def from_msgpack(self, data: Any) -> Any:
        """The value of a msgpack document."""
        ...

    def convert(self, value: Any) -> Any:
        """The value of one parameter: numbers and the like may be written as text."""
        ...

    def to_json(self, value: Any) -> bytes:
        """The value as JSON."""
        ...

    def to_msgpack(self, value: Any) -> bytes:
        """The value as msgpack."""
        ...

    def plain(self, value: Any) -> Any:
        """The value in the terms of JSON, as a schema's default is written."""
        ...


def name_of(cls: type) -> str:
    """A class as people know it."""
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _foreign(value: Any) -> Any:
    """What msgspec is to encode for an object it does not know: a pydantic model inside of something else."""
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"{name_of(type(value))} is no type that can be encoded")
    return dump(mode="json")


_json = msgspec.json.Encoder(enc_hook=_foreign).encode
_msgpack = msgspec.msgpack.Encoder(enc_hook=_foreign).encode


class MsgspecCodec:
    """The fast one: one pass over the bytes validates and builds."""

    def __init__(self, kind: Any) -> None:
        try:
            info = msgspec.inspect.type_info(kind)
            self._read_json = msgspec.json.Decoder(kind).decode
            self._read_msgpack = msgspec.msgpack.Decoder(kind).decode
        except (TypeError, ValueError, NameError, NotImplementedError) as error:
            raise Unsupported(f"{error}") from error
        classes = _classes_in(info)
        if custom := [cls for cls, is_custom in classes.items() if is_custom]:
            raise Unsupported(f"{custom[0]!r} is no type msgspec knows")
        self.modules = {cls.__name__: cls.__module__ for cls in classes}
        self._kind = kind
        self.to_json = _json
        self.to_msgpack = _msgpack

    def schema(self, *, output: bool) -> tuple[dict[str, Any], dict[str, Any]]:  # noqa: ARG002 - one for both
        """The JSON schema, and the components it refers to."""
        (schema,), components = msgspec.json.schema_components([self._kind], ref_template=REF + "{name}")
        return schema, components

    def shape(self) -> Any:
        """The type as data, or None if it has code of its own that takes part."""
        return shape.describe(self._kind)

    def from_json(self, data: Any) -> Any:
        """The value of a JSON document."""
        data = data if type(data) is bytes else bytes(data)
        json_value(data)
        return self._read_json(data)

    def from_msgpack(self, data: Any) -> Any:
        """The value of a msgpack document."""
        data = data if type(data) is bytes else bytes(data)
        inspect_msgpack(data)
        return self._read_msgpack(data)

    def convert(self, value: Any) -> Any:
        """The value of one parameter: numbers and the like may be written as text."""
        return msgspec.convert(value, self._kind, strict=False)

    def plain(self, value: Any) -> Any:
        """The value in the terms of JSON."""
        return msgspec.to_builtins(value, str_keys=True, enc_hook=_foreign)


class PydanticCodec:
    """The one for pydantic's models and constraints, and for the many types only pydantic knows."""

    def __init__(self, kind: Any) -> None:
        # Half of an exec worker's start-up time, so only those pay that have such a type.
        import pydantic  # noqa: PLC0415
        import pydantic_core  # noqa: PLC0415

        try:
            self._adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(kind)
        except Exception as error:
            raise Unsupported(str(error).split("\n", 1)[0]) from error
        self._kind = kind
        self._floats = has_floats(self._adapter.core_schema)
        parts = (kind, *typing.get_args(kind))
        self.modules = {part.__name__: part.__module__ for part in parts if isinstance(part, type)}
        self._invalid = pydantic.ValidationError
        self._unfit = pydantic_core.PydanticSerializationError

    def schema(self, *, output: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        """The JSON schema, and the components it refers to; a model is always a component."""
        mode: typing.Literal["serialization", "validation"] = "serialization" if output else "validation"
        try:
            schema = self._adapter.json_schema(ref_template=REF + "{model}", mode=mode)
        except Exception as error:
            raise Unsupported(str(error).split("\n", 1)[0]) from error
        components = schema.pop("$defs", {})
        if isinstance(self._kind, type) and schema.get("type") == "object" and "title" in schema:
            name = self._kind.__name__.translate(str.maketrans("[], ", "____"))
            components[name] = schema
            schema = {"$ref": REF + name}
        return schema, components

    def shape(self) -> Any:
        """None: only pydantic, in this process, can validate it."""
        return None

    def from_json(self, data: Any) -> Any:
        """The value of a JSON document."""
        data = data if type(data) is bytes else bytes(data)  # pydantic reads no memoryview
        json_value(data)
        try:
            value = self._adapter.validate_json(data)
        except self._invalid as error:
            raise msgspec.ValidationError(_sentence(error)) from error
        if self._floats:  # it takes "NaN" and "1e999", which are text in JSON, for numbers
            check_finite(value, ever=True)
        return value

    def from_msgpack(self, data: Any) -> Any:
        """The value of a msgpack document."""
        return self._validate(msgpack_value(data))

    def convert(self, value: Any) -> Any:
        """The value of one parameter: numbers and the like may be written as text, and are finite."""
        value = self._validate(value)
        check_finite(value, ever=False)
        return value

    def _validate(self, value: Any) -> Any:
        try:
            return self._adapter.validate_python(value)
        except self._invalid as error:
            raise msgspec.ValidationError(_sentence(error)) from error

    def to_json(self, value: Any) -> bytes:
        """The value as JSON; an error if it is not what was declared."""
        try:
            return self._adapter.dump_json(value, warnings="error")
        except self._unfit as error:
            raise TypeError(_UNFIT) from error

    def to_msgpack(self, value: Any) -> bytes:
        """The value as msgpack; an error if it is not what was declared."""
        try:
            return _msgpack(self._adapter.dump_python(value, mode="json", warnings="error"))
        except self._unfit as error:
            raise TypeError(_UNFIT) from error

    def plain(self, value: Any) -> Any:
        """The value in the terms of JSON."""
        return self._adapter.dump_python(value, mode="json", warnings=False)


def _classes_in(info: msgspec.inspect.Type) -> dict[type, bool]:
    """Every class within the type, and whether it is one that msgspec does not know."""
    found: dict[type, bool] = {}
    seen, waiting = set[int](), list[Any]([info])
    while waiting:
        item = waiting.pop()
        if isinstance(item, tuple):
            waiting.extend(item)
        elif isinstance(item, msgspec.inspect.Type | msgspec.inspect.Field) and id(item) not in seen:
            seen.add(id(item))
            waiting.extend(getattr(item, name) for name in item.__struct_fields__)
            if (cls := getattr(item, "cls", None)) is not None:
                found[typing.get_origin(cls) or cls] = isinstance(item, msgspec.inspect.CustomType)
    return found


def codec_of(kind: Any) -> Codec:
    """The codec of a type; Unsupported if there is none."""
    if _wants_pydantic(kind, set()):
        return PydanticCodec(kind)
    try:
        return MsgspecCodec(kind)
    except Unsupported as by_msgspec:
        try:
            return PydanticCodec(kind)
        except Unsupported as by_pydantic:
            raise Unsupported(f"msgspec says: {by_msgspec}; pydantic says: {by_pydantic}") from by_pydantic


def _wants_pydantic(kind: Any, seen: set[int]) -> bool:
    """Whether pydantic takes part anywhere in the type: msgspec would ignore its constraints in silence."""
    if id(kind) in seen:
        return False
    seen.add(id(kind))
    if any(hasattr(kind, mark) for mark in _PYDANTIC_MARKS):
        return True
    metadata = getattr(kind, "__metadata__", ())
    if any(type(item).__module__.partition(".")[0] in _PYDANTIC_MODULES for item in metadata):
        return True
    if any(_wants_pydantic(part, seen) for part in typing.get_args(kind)):
        return True
    owner = typing.get_origin(kind) or kind
    if not any(hasattr(owner, mark) for mark in _CLASS_MARKS):
        return False
    hints: dict[str, Any] = {}
    with contextlib.suppress(Exception):  # what cannot be resolved is complained of by who builds the validator
        hints = typing.get_type_hints(owner, include_extras=True)
    return any(_wants_pydantic(part, seen) for part in hints.values())


def _sentence(error: Any) -> str:
    """Pydantic's complaints in one line, in the form msgspec's have; the refused values stay out of it."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    told = []
    for problem in problems[:_MAX_ERRORS]:
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in problem["loc"])
        told.append(f"{problem['msg']} - at `${path}`" if path else problem["msg"])
    if len(problems) > _MAX_ERRORS:
        told.append(f"and {len(problems) - _MAX_ERRORS} more")
    return "; ".join(told)
