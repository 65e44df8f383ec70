"""Rebuilt types refuse what the originals refuse, in the same words."""

import dataclasses
import datetime as dt
import decimal
import enum
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, Required, TypedDict, TypeVar

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct, UnsetType

from ipc import shape

T = TypeVar("T")


class Point(Struct):
    x: int
    y: Annotated[float, Meta(ge=-1, lt=1)] = 0.0


class Strict(Struct, forbid_unknown_fields=True, rename="camel"):
    first_name: Annotated[str, Meta(min_length=1, max_length=5, pattern="^[a-z]*$")]
    last_name: str | None = None
    point: Point | None = None


class Row(Struct, array_like=True):
    a: int
    b: list[int] = []
    c: str = ""


class StrictRow(Struct, array_like=True, forbid_unknown_fields=True):
    a: int
    b: int = 1


class Cat(Struct, tag="cat"):
    lives: int


class Dog(Struct, tag="dog"):
    name: str
    friend: Cat | None = None


class One(Struct, tag=1, tag_field="kind"):
    value: int


class Two(Struct, tag=2, tag_field="kind"):
    value: str


class RowA(Struct, array_like=True, tag=True):
    a: int


class RowB(Struct, array_like=True, tag=True):
    b: str


class Tree(Struct):
    value: int
    children: list["Tree"] = []


class Left(Struct):
    right: "Right | None" = None
    n: int = 0


class Right(Struct):
    left: Left | None
    names: dict[str, Left] = {}


class Maybe(Struct):
    a: int | UnsetType = msgspec.UNSET
    b: str | UnsetType | None = msgspec.UNSET


class Box(Struct, Generic[T]):
    item: T
    more: list[T] = []


class Movie(TypedDict):
    title: str
    year: int
    aka: NotRequired[list[str]]


class Partial(TypedDict, total=False):
    z: Required[int]
    a: str
    next: "Partial"


class Pair(NamedTuple):
    a: int
    b: str = "x"


@dataclasses.dataclass
class Order:
    id: uuid.UUID
    price: decimal.Decimal
    items: list[Pair] = dataclasses.field(default_factory=list)
    note: str = dataclasses.field(default="", kw_only=True)
    parent: "Order | None" = None


@attrs.define
class Shelf:
    width: int
    books: dict[str, int] = attrs.field(factory=dict)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"
    AZURE = "blue"  # noqa: PIE796 - an alias is what is tried here


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 10


UserId = NewType("UserId", int)

TYPES = [
    Any,
    type(None),
    bool,
    int,
    float,
    str,
    bytes,
    bytearray,
    memoryview,
    dt.datetime,
    dt.date,
    dt.time,
    dt.timedelta,
    uuid.UUID,
    decimal.Decimal,
    msgspec.Raw,
    UserId,
    Annotated[int, Meta(gt=0, le=100)],
    Annotated[int, Meta(ge=1, multiple_of=3)],
    Annotated[float, Meta(gt=0.5)],
    Annotated[float, Meta(le=3, multiple_of=0.5)],
    Annotated[str, Meta(min_length=2, max_length=3)],
    Annotated[str, Meta(pattern=r"^\d+$", title="digits")],
    Annotated[bytes, Meta(max_length=2)],
    Annotated[dt.datetime, Meta(tz=True)],
    Annotated[dt.datetime, Meta(tz=False)],
    Annotated[dt.time, Meta(tz=True)],
    Annotated[list[int], Meta(min_length=1, max_length=2)],
    Annotated[dict[str, int], Meta(max_length=1)],
    Annotated[set[str], Meta(min_length=1)],
    int | None,
    int | str | None,
    float | bool,
    Annotated[int, Meta(ge=3)] | Annotated[str, Meta(max_length=2)] | None,
    list,
    dict,
    tuple,
    list[int],
    list[list[Annotated[int, Meta(ge=0)]]],
    set[int],
    frozenset[str],
    tuple[int, ...],
    tuple[int, str, float],
    tuple[()],
    Sequence[int],
    Mapping[str, float],
    dict[str, list[int]],
    dict[int, str],
    dict[Color, int],
    dict[Literal["a", "b"], int],
    dict[uuid.UUID, Point],
    Literal["a", "b"],
    Literal[1, 2, 3],
    Literal["a", 1] | None,
    Color,
    Level,
    list[Color] | None,
    Point,
    Strict,
    Row,
    StrictRow,
    Cat,
    One,
    Cat | Dog,
    One | Two | None,
    RowA | RowB,
    Tree,
    Left,
    Maybe,
    Box[int],
    Box[Box[str]],
    Box,
    list[Point] | None,
    dict[str, Strict],
    Movie,
    Partial,
    Pair,
    Order,
    Shelf,
    list[Cat | Dog],
]

WORDS = st.sampled_from(
    ["", "a", "b", "abcdef", "red", "blue", "cat", "dog", "1", "2", "3.5", "-4", "true", "null", "RowA", "RowB",
     "2020-01-01", "2020-01-01T00:00:00Z", "2020-01-01T00:00:00", "10:00:00", "10:00:00Z", "P1D", "YWJj", "YQ==",
     "8b6a6ed6-1b2f-4d0a-8b54-0a3c1e7f6d11"]
)  # fmt: skip
KEYS = st.sampled_from(
    ["x", "y", "firstName", "lastName", "first_name", "point", "a", "b", "c", "type", "kind", "lives", "name",
     "friend", "value", "children", "right", "left", "names", "n", "item", "more", "title", "year", "aka", "z",
     "next", "id", "price", "items", "note", "parent", "width", "books", "1", "red", "other"]
)  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 12), st.just(2**70), st.sampled_from([0.5, -0.25, 1.0, 99.5]), WORDS
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=12
)


def rebuilt(kind: Any) -> Any:
    described = shape.describe(kind)
    assert described is not None
    return shape.rebuild(msgspec.msgpack.decode(msgspec.msgpack.encode(described)))


def outcome(read: Any) -> str:
    try:
        read()
    except msgspec.ValidationError as error:
        return str(error)
    return "taken"


def likely(kind: Any) -> st.SearchStrategy[Any]:
    """Values that are nearly right: the first errors of random ones are all alike."""
    info = msgspec.inspect.type_info(kind)
    return _near(info, 0)


def _near(info: Any, depth: int) -> st.SearchStrategy[Any]:  # noqa: C901 - one case for each kind
    mi = msgspec.inspect
    if depth > 4:
        return SCALARS
    deeper = depth + 1
    match info:
        case mi.Metadata():
            right = _near(info.type, depth)
        case mi.ListType() | mi.SetType() | mi.FrozenSetType() | mi.VarTupleType():
            right = st.lists(_near(info.item_type, deeper), max_size=3)
        case mi.TupleType():
            right = st.tuples(*(_near(item, deeper) for item in info.item_types)).map(list)
        case mi.DictType():
            right = st.dictionaries(KEYS | WORDS, _near(info.value_type, deeper), max_size=2)
        case mi.UnionType():
            right = st.one_of(*(_near(item, deeper) for item in info.types))
        case mi.StructType(array_like=True):
            right = st.lists(st.one_of(SCALARS, *(_near(f.type, deeper) for f in info.fields)), max_size=4)
            if info.tag is not None:
                right = right.map(lambda items: [info.tag, *items])
        case mi.NamedTupleType():
            right = st.lists(st.one_of(*(_near(f.type, deeper) for f in info.fields)), max_size=3)
        case mi.StructType() | mi.DataclassType() | mi.TypedDictType():
            fields = {f.encode_name: _near(f.type, deeper) for f in info.fields}
            if getattr(info, "tag", None) is not None:
                fields[info.tag_field] = st.just(info.tag) | SCALARS
            right = st.fixed_dictionaries({}, optional={**fields, "other": SCALARS})
        case _:
            right = SCALARS
    return st.one_of(right, right, right, SCALARS)


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_what_the_original_refuses_is_refused_in_the_same_words(kind: Any) -> None:
    copy = rebuilt(kind)
    decode, decode_copy = msgspec.json.Decoder(kind).decode, msgspec.json.Decoder(copy).decode

    @settings(max_examples=80, deadline=None)
    @given(likely(kind) | VALUES)
    def check(value: Any) -> None:
        data = json.dumps(value).encode()
        assert outcome(lambda: decode_copy(data)) == outcome(lambda: decode(data))
        assert outcome(lambda: msgspec.convert(value, copy, strict=False)) == outcome(
            lambda: msgspec.convert(value, kind, strict=False)
        )

    check()


def test_the_first_missing_field_is_the_same() -> None:
    class Late(TypedDict):
        zebra: int
        ant: int

    for kind in (Late, Movie, Order, Pair):
        with pytest.raises(msgspec.ValidationError) as copied:
            msgspec.convert([] if kind is Pair else {}, rebuilt(kind))
        with pytest.raises(msgspec.ValidationError) as original:
            msgspec.convert([] if kind is Pair else {}, kind)
        assert str(copied.value) == str(original.value)


class Checked(Struct):
    n: int

    def __post_init__(self) -> None:
        if self.n == 3:
            raise ValueError("three")


@dataclasses.dataclass
class CheckedToo:
    n: int

    def __post_init__(self) -> None:
        self.n += 1


@attrs.define
class Validated:
    n: int = attrs.field(validator=attrs.validators.gt(0))


class Lenient(enum.Enum):
    A = "a"

    @classmethod
    def _missing_(cls, value: object) -> "Lenient":  # noqa: ARG003 - it takes anything
        return cls.A


class Bits(enum.IntFlag):
    A = 1


class Model(pydantic.BaseModel):
    n: int


def nested(depth: int) -> Any:
    kind: Any = int
    for _ in range(depth):
        kind = list[kind]
    return kind


@pytest.mark.parametrize(
    "kind",
    [Checked, CheckedToo, Validated, Lenient, Bits, Model, list[Model], dict[str, Checked | None], complex, object,
     msgspec.msgpack.Ext, Literal[2**80], nested(shape.MAX_DEPTH + 1), Point | Strict, "no type", 7],
    ids=str,
)  # fmt: skip
def test_what_has_code_of_its_own_or_cannot_travel_is_not_described(kind: Any) -> None:
    assert shape.describe(kind) is None


def test_depth_and_number_are_bounded_but_a_recursive_type_is_neither_deep_nor_large() -> None:
    assert shape.describe(nested(shape.MAX_DEPTH)) is not None
    assert len(shape.describe(Tree)["defs"]) == 1
    wide = msgspec.defstruct("Wide", [(f"f{n}", int) for n in range(shape.MAX_PARTS)])
    assert shape.describe(wide) is None


def test_a_shape_imports_nothing_of_the_application() -> None:
    text = repr(shape.describe(list[Order | None]))
    assert __name__ not in text
    assert "Order" not in text


JUNK = st.recursive(
    st.none() | st.integers() | st.sampled_from(["int", "ref", "list", "dict", "struct", "union", "literal", "enum"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["is", "item", "items", "to", "fields", "values", "key", "value", "ge"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@given(root=JUNK, defs=st.lists(JUNK, max_size=3) | JUNK)
def test_what_is_no_shape_is_a_value_error_or_a_type(root: Any, defs: Any) -> None:
    try:
        shape.rebuild({"root": root, "defs": defs})
    except ValueError:
        return


def test_a_shape_that_is_too_deep_is_refused() -> None:
    root: Any = {"is": "int"}
    for _ in range(5000):
        root = {"is": "list", "item": root}
    with pytest.raises(ValueError, match="deeper"):
        shape.rebuild({"root": root, "defs": []})
