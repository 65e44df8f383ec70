"""Types as data: described where they can be imported, rebuilt as validators where they must not be.

A rebuilt type accepts and refuses what the original does, with the same messages. What it builds is of no use but for
that. A shape is made of maps, lists and scalars only, so it may travel as msgpack:

    {"root": {"is": "list", "item": {"is": "ref", "to": 0}}, "defs": [{"is": "struct", "fields": [...]}]}

Classes stand in `defs` and are referred to by number; that is what makes recursive types possible.
"""

# ruff: noqa: ANN401 - a type annotation is a value of any kind, and so is a shape

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import typing
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import UNSET, Meta, inspect

MAX_DEPTH = 32
"""How deep lists in lists may be nested; classes start anew, for they are referred to."""
MAX_PARTS = 4096
"""How many types one shape may be made of."""

_PLAIN: dict[type[inspect.Type], tuple[str, Any]] = {
    inspect.AnyType: ("any", Any),
    inspect.NoneType: ("none", None),
    inspect.BoolType: ("bool", bool),
    inspect.IntType: ("int", int),
    inspect.FloatType: ("float", float),
    inspect.StrType: ("str", str),
    inspect.BytesType: ("bytes", bytes),
    inspect.ByteArrayType: ("bytearray", bytearray),
    inspect.MemoryViewType: ("memoryview", memoryview),
    inspect.DateTimeType: ("datetime", dt.datetime),
    inspect.TimeType: ("time", dt.time),
    inspect.DateType: ("date", dt.date),
    inspect.TimeDeltaType: ("timedelta", dt.timedelta),
    inspect.UUIDType: ("uuid", uuid.UUID),
    inspect.DecimalType: ("decimal", decimal.Decimal),
    inspect.RawType: ("raw", msgspec.Raw),
}
_BY_NAME = dict(_PLAIN.values())
_COLLECTIONS: dict[type[inspect.Type], str] = {
    inspect.ListType: "list",
    inspect.SetType: "set",
    inspect.FrozenSetType: "frozenset",
    inspect.VarTupleType: "vartuple",
}
_OF: dict[str, Callable[[Any], Any]] = {
    "list": list.__class_getitem__,
    "set": set.__class_getitem__,
    "frozenset": frozenset.__class_getitem__,
    "vartuple": lambda item: tuple.__class_getitem__((item, ...)),
}
_CONSTRAINTS = ("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern", "tz")


def describe(kind: Any) -> Any:
    """The type as data, or None if it cannot be: it has validating code of its own, or is none msgspec knows."""
    try:
        describer = _Describer()
        shape = {"root": describer.part(inspect.type_info(kind), 0), "defs": describer.defs}
        msgspec.msgpack.encode(shape)
    except (_Opaque, TypeError, ValueError, NameError, NotImplementedError, OverflowError):
        return None
    return shape


def rebuild(shape: Any) -> Any:
    """A type that validates as the described one does; ValueError for what `describe` did not make."""
    try:
        return _Rebuilder(shape["defs"]).part(shape["root"], 0)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"this is no shape of a type: {error!r}") from error


class _Opaque(Exception):
    """The type cannot be described."""


class _Describer:
    """Collects the classes a type is made of."""

    def __init__(self) -> None:
        self.defs: list[dict[str, Any]] = []
        self._numbers: dict[int, int] = {}
        self._parts = 0

    def part(self, info: inspect.Type, depth: int) -> dict[str, Any]:
        self._parts += 1
        if depth > MAX_DEPTH or self._parts > MAX_PARTS:
            raise _Opaque
        kind = type(info)
        if isinstance(info, inspect.Metadata):  # titles and the like: nothing that is validated
            return self.part(info.type, depth)
        if kind in _PLAIN:
            return {"is": _PLAIN[kind][0]} | _constraints(info)
        if kind in _COLLECTIONS:
            item: Any = getattr(info, "item_type", None)
            return {"is": _COLLECTIONS[kind], "item": self.part(item, depth + 1)} | _constraints(info)
        return self._compound(info, depth + 1)

    def _compound(self, info: inspect.Type, deeper: int) -> dict[str, Any]:
        match info:
            case inspect.TupleType():
                return {"is": "tuple", "items": [self.part(item, deeper) for item in info.item_types]}
            case inspect.UnionType():
                return {"is": "union", "items": [self.part(item, deeper) for item in info.types]}
            case inspect.DictType():
                key, value = self.part(info.key_type, deeper), self.part(info.value_type, deeper)
                return {"is": "dict", "key": key, "value": value} | _constraints(info)
            case inspect.LiteralType():
                return {"is": "literal", "values": list(info.values)}
            case inspect.EnumType():
                return {"is": "enum", "values": _values(info.cls)}
        return {"is": "ref", "to": self._class(info)}

    def _class(self, info: Any) -> int:
        """The number of a class; a recursive one gets its number before its fields are looked at."""
        if (number := self._numbers.get(id(info))) is not None:
            return number
        entry = _header(info)
        _refuse_code(typing.get_origin(info.cls) or info.cls)
        number = self._numbers[id(info)] = len(self.defs)
        self.defs.append(entry)
        entry["fields"] = [[field.encode_name, field.required, self.part(field.type, 0)] for field in _ordered(info)]
        return number


def _header(info: Any) -> dict[str, Any]:
    """A class without its fields."""
    match info:
        case inspect.StructType():
            options = ("tag", "tag_field", "array_like", "forbid_unknown_fields")
            return {"is": "struct"} | {name: getattr(info, name) for name in options}
        case inspect.DataclassType():
            return {"is": "dataclass"}
        case inspect.TypedDictType():
            return {"is": "typeddict"}
        case inspect.NamedTupleType():
            return {"is": "namedtuple"}
    raise _Opaque


def _ordered(info: Any) -> list[inspect.Field]:
    """The fields in the order in which a missing one is complained of."""
    fields: list[inspect.Field] = list(info.fields)
    if isinstance(info, inspect.TypedDictType):  # the others are not sorted by name
        order = list((typing.get_origin(info.cls) or info.cls).__annotations__)
        fields.sort(key=lambda field: order.index(field.name))
    return fields


def _refuse_code(cls: type) -> None:
    """A class that checks or changes values in code of its own stays where that code is."""
    if any(getattr(cls, name, None) for name in ("__post_init__", "__attrs_post_init__", "__attrs_pre_init__")):
        raise _Opaque
    if any(attribute.validator is not None for attribute in getattr(cls, "__attrs_attrs__", ())):
        raise _Opaque


def _values(cls: type[enum.Enum]) -> list[Any]:
    if getattr(cls._missing_, "__func__", None) is not getattr(enum.Enum._missing_, "__func__", None):
        raise _Opaque
    return list(cls._value2member_map_)


def _constraints(info: Any) -> dict[str, Any]:
    given = {name: getattr(info, name, None) for name in _CONSTRAINTS}
    return {name: value for name, value in given.items() if value is not None}


class _Rebuilder:
    """Makes the classes first, bare, and gives them the types of their fields once all of them exist."""

    def __init__(self, defs: list[Any]) -> None:
        if len(defs) > MAX_PARTS:
            raise ValueError(f"a shape of {len(defs)} classes, {MAX_PARTS} are allowed")
        self._classes = [_BARE[entry["is"]](entry) for entry in defs]
        for cls, entry in zip(self._classes, defs, strict=True):
            # msgspec reads these when it first decodes the class, not when the class is made.
            cls.__annotations__ = {
                name: self.part(part, 0)
                for name, (_, _, part) in zip(cls.__annotations__, entry["fields"], strict=True)
            }

    def part(self, part: Any, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError(f"a shape deeper than {MAX_DEPTH}")
        name = part["is"]
        if name == "ref":
            return self._classes[part["to"]]
        if name == "literal":
            return Literal.__getitem__(tuple(part["values"]))
        if name == "enum":
            return enum.Enum("Values", {f"value_{number}": value for number, value in enumerate(part["values"])})
        kind = self._compound(name, part, depth + 1)
        meta = {key: part[key] for key in _CONSTRAINTS if key in part}
        return Annotated[kind, Meta(**meta)] if meta else kind

    def _compound(self, name: str, part: Any, depth: int) -> Any:
        if name in _BY_NAME:
            return _BY_NAME[name]
        if name in _OF:
            return _OF[name](self.part(part["item"], depth))
        if name == "dict":
            return dict.__class_getitem__((self.part(part["key"], depth), self.part(part["value"], depth)))
        parts = tuple(self.part(item, depth) for item in part["items"])
        if name == "tuple":
            return tuple.__class_getitem__(parts)
        if name == "union":
            return Union.__getitem__(parts)
        raise ValueError(f"a shape of an unknown kind, {name!r}")


def _struct(entry: Any) -> Any:
    names = {f"field_{number}": field[0] for number, field in enumerate(entry["fields"])}
    return msgspec.defstruct(
        "Struct",
        [(name, Any) if field[1] else (name, Any, UNSET) for name, field in zip(names, entry["fields"], strict=True)],
        rename=names,
        tag=entry["tag"],
        tag_field=entry["tag_field"],
        array_like=entry["array_like"],
        forbid_unknown_fields=entry["forbid_unknown_fields"],
        kw_only=True,
    )


def _dataclass(entry: Any) -> Any:
    fields = [
        (name, Any) if required else (name, Any, dataclasses.field(default=None))
        for name, required, _ in entry["fields"]
    ]
    return dataclasses.make_dataclass("Dataclass", fields, init=False, repr=False, eq=False)


def _typeddict(entry: Any) -> Any:
    fields = {name: Any if required else typing.NotRequired[Any] for name, required, _ in entry["fields"]}
    return typing.TypedDict("Dict", fields)  # type: ignore[operator]


def _namedtuple(entry: Any) -> Any:
    names = [name for name, _, _ in entry["fields"]]
    optional = sum(not required for _, required, _ in entry["fields"])
    cls: Any = collections.namedtuple("Tuple", names, defaults=(None,) * optional)  # type: ignore[misc]  # noqa: PYI024 - the fields follow
    cls.__annotations__ = dict.fromkeys(names, Any)
    return cls


_BARE: dict[str, Callable[[Any], Any]] = {
    "struct": _struct,
    "dataclass": _dataclass,
    "typeddict": _typeddict,
    "namedtuple": _namedtuple,
}
