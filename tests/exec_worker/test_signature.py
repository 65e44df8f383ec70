"""What a function's annotations make of it. Not `from __future__`: annotations here are read as they stand."""

import asyncio
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import inspect
import re
import typing
import uuid
from collections import abc
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NewType, TypedDict

import attrs
import fastapi
import msgspec
import pydantic
import pytest
from starlette.requests import Request

from exec_worker import Batch, InvalidRequest, Response, node
from exec_worker.components import Components
from exec_worker.reader import ContractError
from exec_worker.signature import contract_of, disagreement
from ipc.contract import NodeContract

if TYPE_CHECKING:
    from somewhere import Unknown  # type: ignore[import-not-found]


class Color(enum.Enum):
    RED = "red"


class Options(msgspec.Struct):
    """How."""

    width: int = 3


@dataclasses.dataclass
class Data:
    width: int


class Dict(TypedDict):
    width: int


class Tuple(NamedTuple):
    width: int


@attrs.define
class Attrs:
    width: int


class Model(pydantic.BaseModel):
    width: int
    inner: "Inner | None" = None


class Inner(pydantic.BaseModel):
    n: int


@pydantic.dataclasses.dataclass
class PydanticData:
    n: Annotated[int, pydantic.Field(ge=1)]


@dataclasses.dataclass
class HalfPydantic:
    n: Annotated[int, pydantic.Field(ge=1)]


UserId = NewType("UserId", int)


def contract(function: Any, **more: Any) -> NodeContract:
    return contract_of(function, name="shop.f", **more)


def annotated(returns: Any = None, /, **kinds: Any) -> Any:
    """A function with parameters of these types; a pair is a type and a default."""

    def function() -> None: ...

    parameters = []
    for name, kind in kinds.items():
        default = kind[1] if type(kind) is tuple else inspect.Parameter.empty
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default))
    function.__annotations__ = {name: kind[0] if type(kind) is tuple else kind for name, kind in kinds.items()}
    function.__annotations__["return"] = returns
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return function


def taking(kind: Any) -> NodeContract:
    return contract(annotated(x=kind))


def returning(kind: Any) -> NodeContract:
    return contract(annotated(kind))


SCALARS = [
    str, int, float, bool, decimal.Decimal, dt.datetime, dt.date, dt.time, dt.timedelta, uuid.UUID, Color,
    Literal["a", "b"], Literal[1], int | None, Color | None, int | str, UserId, Annotated[int, msgspec.Meta(ge=1)],
    Annotated[int, pydantic.Field(ge=1)], Annotated[str, "a word"], pydantic.HttpUrl, pydantic.SecretStr,
]  # fmt: skip
MANY = [list[int], set[str], frozenset[Color], tuple[int, ...], tuple[int, str], list[int] | None, list[UserId],
        list[Annotated[int, pydantic.Field(ge=1)]]]  # fmt: skip
BODIES = [
    Options, Data, Dict, Tuple, Attrs, Model, PydanticData, HalfPydantic, dict[str, int], dict, list, list[Options],
    list[list[int]], list[Model], Any, Options | None, Model | None, msgspec.Raw, list[bytes], Data | Model,
]  # fmt: skip


@pytest.mark.parametrize("kind", SCALARS, ids=str)
def test_scalars_are_parameters(kind: Any) -> None:
    made = taking(kind)
    assert made.body is None
    assert [(p.name, p.required, p.many) for p in made.parameters] == [("x", True, False)]


@pytest.mark.parametrize("kind", MANY, ids=str)
def test_lists_of_scalars_are_repeated_parameters(kind: Any) -> None:
    made = taking(kind)
    assert made.body is None
    assert made.parameters[0].many


@pytest.mark.parametrize("kind", BODIES, ids=str)
def test_what_has_structure_is_the_body(kind: Any) -> None:
    made = taking(kind)
    assert made.parameters == ()
    assert made.body is not None
    assert (made.body.name, made.body.kind, made.body.required) == ("x", "json", True)
    assert made.body.media_type == "application/json"


@pytest.mark.parametrize(
    ("kind", "media_type", "required"),
    [
        (bytes, "application/octet-stream", True),
        (Annotated[bytes, "image/*"], "image/*", True),
        (Annotated[bytes | None, "image/png"], "image/png", False),
        (Annotated[bytes, "image/png"] | None, "image/png", False),
        (Annotated[bytes, msgspec.Meta(max_length=3)], "application/octet-stream", True),
    ],
    ids=str,
)
def test_bytes_are_a_raw_body(kind: Any, media_type: str, required: bool) -> None:
    body = taking(kind).body
    assert body is not None
    assert (body.kind, body.media_type, body.required, body.shape) == ("bytes", media_type, required, None)


def test_defaults_make_parameters_optional_and_stand_in_the_schema() -> None:
    made = contract(
        annotated(
            a=int, b=(int, 3), c=(Color, Color.RED), d=(list[dt.date], [dt.date(2020, 1, 1)]), o=(Options, Options(5))
        )
    )
    assert [p.required for p in made.parameters] == [True, False, False, False]
    assert "default" not in made.parameters[0].json_schema
    assert made.parameters[1].json_schema == {"type": "integer", "default": 3}
    assert made.parameters[2].json_schema == {"$ref": "#/components/schemas/Color", "default": "red"}
    assert made.parameters[3].json_schema["default"] == ["2020-01-01"]
    assert made.body is not None
    assert not made.body.required
    assert made.body.json_schema["default"] == {"width": 5}


def test_a_default_without_a_plain_form_is_left_out_of_the_schema() -> None:
    assert taking((int, object())).parameters[0].json_schema == {"type": "integer"}


def test_constraints_are_in_schema_and_shape() -> None:
    (made,) = taking(Annotated[int, msgspec.Meta(ge=1, description="how wide")]).parameters
    assert made.json_schema == {"type": "integer", "minimum": 1, "description": "how wide"}
    assert made.shape == {"root": {"is": "int", "ge": 1}, "defs": []}
    (made,) = taking(Annotated[int, pydantic.Field(ge=1)]).parameters
    assert (made.json_schema, made.shape) == ({"type": "integer", "minimum": 1}, None)


def test_only_what_pydantic_takes_part_in_has_no_shape() -> None:
    for kind in BODIES:
        body = taking(kind).body
        assert body is not None
        foreign = any(word in str(kind) for word in ("Model", "Pydantic"))
        assert (body.shape is None) is foreign, kind


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [(bytes, "application/octet-stream"), (Annotated[bytes, "image/webp"], "image/webp"),
     (Annotated[bytes, "text/html; charset=utf-8"], "text/html; charset=utf-8")],
    ids=str,
)  # fmt: skip
def test_bytes_come_back_as_they_are(kind: Any, media_type: str) -> None:
    made = returning(kind).result
    assert (made.kind, made.media_type, made.json_schema) == ("bytes", media_type, {})


@pytest.mark.parametrize("kind", [None, int, Options, list[Model], dict[str, Any], Any, Color | None], ids=str)
def test_everything_else_comes_back_as_json(kind: Any) -> None:
    made = returning(kind).result
    assert (made.kind, made.media_type) == ("json", "application/json")


def test_json_may_have_a_name_of_its_own() -> None:
    assert returning(Annotated[Options, "application/problem+json"]).result.media_type == "application/problem+json"


def test_a_response_decides_itself() -> None:
    assert returning(Response).result.kind == "response"


def test_none_is_null() -> None:
    assert returning(None).result.json_schema == {"type": "null"}


def test_texts_and_metadata() -> None:
    @node(stage="heavy", idempotent=True, cancel="kill")
    def function(a: int) -> int:
        """Say it short.

        And then at length,
        on two lines.
        """
        return a

    made = contract(function, imported_from="shop:f")
    assert (made.summary, made.description) == ("Say it short.", "And then at length,\non two lines.")
    assert (made.name, made.stage, made.idempotent, made.imported_from) == ("shop.f", "heavy", True, "shop:f")
    assert made.cancel == "kill"
    assert re.fullmatch(r".*test_signature\.py:\d+", made.source)


def batched(item: Any, result: Any) -> NodeContract:
    @node(batch=Batch(max_size=4))
    def function(items: Any) -> Any: ...

    function.__annotations__ = {"items": item, "return": result}
    return contract(function)


Words = NewType("Words", list[str])


@pytest.mark.parametrize(
    ("item", "result", "schema", "told"),
    [
        (list[str], list[int], {"type": "string"}, {"type": "integer"}),
        (list[int], list[int | InvalidRequest], {"type": "integer"}, {"type": "integer"}),
        (
            list[int],
            list[int | ValueError | KeyError | None],
            {"type": "integer"},
            {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        ),
        (list[list[str]], list[None], {"type": "array", "items": {"type": "string"}}, {"type": "null"}),
        (Words, list[str], {"type": "string"}, {"type": "string"}),
        (
            list[Options],
            list[Options],
            {"$ref": "#/components/schemas/Options"},
            {"$ref": "#/components/schemas/Options"},
        ),
    ],
    ids=str,
)
def test_a_batched_node_is_described_as_one_caller_sees_it(item: Any, result: Any, schema: Any, told: Any) -> None:
    made = batched(item, result)
    assert made.body is not None
    assert (made.body.name, made.body.kind, made.body.required, made.parameters) == ("items", "json", True, ())
    assert made.body.json_schema == schema
    assert (made.result.kind, made.result.json_schema) == ("json", told)
    assert made.batch == Batch(4, 5.0)


def test_a_batch_of_bytes_is_raw_for_each_caller() -> None:
    made = batched(list[Annotated[bytes, "image/*"]], list[Annotated[bytes, "image/webp"] | ValueError])
    assert made.body is not None
    assert (made.body.kind, made.body.media_type) == ("bytes", "image/*")
    assert (made.result.kind, made.result.media_type) == ("bytes", "image/webp")
    assert batched(list[bytes], list[Response]).result.kind == "response"


@pytest.mark.parametrize(
    ("item", "result", "told"),
    [
        (str, list[str], r"`items` is a list of what they send: `list\[str\]`"),
        (list, list[str], "`items` is a list of what they send"),
        (tuple[str, ...], list[str], "`items` is a list of what they send"),
        (list[str], str, "returns a list with a result for each"),
        (list[str], list, "returns a list with a result for each"),
        (list[str], None, "returns a list with a result for each"),
        (list[str], list[ValueError], "returns a list with a result for each"),
        (list[str], list[ValueError | KeyError], "returns a list with a result for each"),
        (list[Request], list[str], "uses FastAPI"),
        (list[abc.Iterator[int]], list[str], "has a stream"),
        (list[str], list[abc.Iterator[int]], "returns a stream"),
    ],
    ids=str,
)
def test_what_cannot_be_batched_is_one_clear_sentence(item: Any, result: Any, told: str) -> None:
    with pytest.raises(ContractError, match=told):
        batched(item, result)


def two(items: list[str], language: str) -> list[str]: ...


def none() -> list[str]: ...


def starred(*items: list[str]) -> list[str]: ...


def default(items: list[str] = []) -> list[str]: ...  # noqa: B006 - what is refused


def unsaid(items: list[str]): ...  # type: ignore[no-untyped-def]  # noqa: ANN201 - what is refused


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (two, "one parameter, a list of what the callers send, not `items`, `language`; put what belongs together"),
        (none, "one parameter, a list of what the callers send, not none"),
        (starred, r"takes `\*items`"),
        (default, "remove the default of `items`"),
        (unsaid, "returns a list with a result for each"),
    ],
)
def test_a_batched_node_takes_one_list(function: Any, told: str) -> None:
    marked = node(batch=Batch())(lambda: None)
    function.__shunter_node__ = vars(marked)["__shunter_node__"]
    with pytest.raises(ContractError, match=told):
        contract(function)


def test_wrapped_functions_are_read_through_their_wrappers() -> None:
    @functools.cache
    def cached(a: int) -> int:
        return a

    assert [p.name for p in contract(cached).parameters] == ["a"]


def test_text_annotations_are_resolved() -> None:
    def function(a: "int", o: "Options") -> "Annotated[bytes, 'a/b']": ...

    made = contract(function)
    assert made.result.media_type == "a/b"
    assert made.body is not None


def plus(function: Any) -> Any:
    return function


async def is_async(a: int) -> int:
    return a


@functools.wraps(is_async)
def hides_async(a: int) -> Any:
    return is_async(a)


@node(batch=Batch())
async def is_async_batch(a: list[int]) -> list[int]:
    return a


async def is_async_stream(a: int) -> abc.AsyncIterator[int]:
    yield a


def is_stream(a: int) -> abc.Iterator[int]:
    yield a


def gives_stream(a: int) -> typing.Iterator[int]:
    return iter([a])


def gives_awaitable(a: int) -> abc.Awaitable[int]:
    return asyncio.sleep(0, a)


def takes_stream(a: abc.Iterator[int]) -> int: ...
def two_bodies(first: Options, second: dict[str, int]) -> int: ...
def two_bytes(first: bytes, second: bytes) -> int: ...
def stars(*args: int) -> int: ...
def more_stars(**kwargs: int) -> int: ...
def by_position(a: int, /) -> int: ...
def unnoted(a) -> int: ...  # type: ignore[no-untyped-def]  # noqa: ANN001 - what is refused
def result_unnoted(a: int): ...  # type: ignore[no-untyped-def]  # noqa: ANN201 - the same
def underscored(__a: int) -> int: ...  # noqa: PYI063 - the same
def hidden_name(a: "Unknown") -> int: ...
def broken_text(a: "1 +") -> int: ...  # type: ignore[valid-type]  # noqa: F722 - the same
def some_object(a: asyncio.Lock) -> int: ...
def gives_object() -> asyncio.Lock: ...
def odd_union(a: int | Options) -> int: ...
def odd_list(a: int | list[int]) -> int: ...
def maybe_bytes(a: bytes | str) -> int: ...
def byte_array(a: bytearray) -> int: ...
def gives_maybe_bytes() -> bytes | None: ...
def gives_byte_array() -> bytearray: ...
def gives_maybe_response() -> Response | None: ...
def gives_this_or_that() -> Response | Options: ...
def odd_media(a: Annotated[bytes, "image/"]) -> int: ...
def odd_media_body(a: Annotated[Options, "image/png"]) -> int: ...
def gives_wildcard() -> Annotated[bytes, "image/*"]: ...
def gives_html_text() -> Annotated[str, "text/html"]: ...
def with_query(a: Annotated[int, fastapi.Query(ge=1)]) -> int: ...
def with_query_default(a: int = fastapi.Query(1)) -> int: ...
def with_depends(a: int = fastapi.Depends(plus)) -> int: ...
def with_request(a: Request) -> int: ...
def with_upload(a: fastapi.UploadFile) -> int: ...
def field_default(a: int = pydantic.Field(ge=1)) -> int: ...
def struct_of_model(a: list[Options | Model]) -> int: ...


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (hides_async, "what wraps it is not"), (is_async_batch, "plain functions only"),
        (is_async_stream, "generator"), (is_stream, "generator"),
        (gives_stream, "returns a stream"), (gives_awaitable, "returns a stream"),
        (takes_stream, "stream as parameter `a`"),
        (two_bodies, "`first` and `second`"), (two_bytes, "`first` and `second`"), (stars, r"`\*args`"),
        (more_stars, r"`\*\*kwargs`"), (by_position, "by position only"), (unnoted, "no annotation for parameter `a`"),
        (result_unnoted, "does not say what it returns"), (underscored, "parameter `__a`"),
        (hidden_name, "'Unknown' is not defined.*TYPE_CHECKING"), (broken_text, "cannot be resolved"),
        (some_object, "parameter `a` that cannot be validated"),
        (gives_object, "returns a type that cannot be described"),
        (odd_union, "union in parameter `a`"), (odd_list, "union in parameter `a`"), (maybe_bytes, "bytes in a union"),
        (byte_array, "write `bytes`"), (gives_maybe_bytes, "only sometimes"),
        (gives_byte_array, "another type than `bytes`"),
        (gives_maybe_response, "only sometimes"), (gives_this_or_that, "only sometimes"),
        (odd_media, "media type 'image/'"), (odd_media_body, "read as JSON"),
        (gives_wildcard, r"media type 'image/\*'"),
        (gives_html_text, "return `bytes`"), (with_query, "uses FastAPI in parameter `a`"),
        (with_query_default, "uses FastAPI"), (with_depends, "uses FastAPI"), (with_request, "uses FastAPI"),
        (with_upload, "uses FastAPI"), (field_default, "pydantic Field as the default"),
        (struct_of_model, "parameter `a` that cannot be validated"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_what_cannot_be_a_node_is_one_clear_sentence(function: Any, told: str) -> None:
    with pytest.raises(ContractError, match=told) as caught:
        contract(function)
    assert re.match(r".*test_signature\.py:\d+: shop\.f ", str(caught.value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("builtin", [len, print, dict.fromkeys])
def test_what_has_no_annotations_at_all_is_refused(builtin: Any) -> None:
    with pytest.raises(ContractError):
        contract(builtin)


def twin(module: str, **fields: Any) -> Any:
    return msgspec.defstruct("Options", list(fields.items()), module=module)


def test_two_types_of_one_name_get_two_schemas() -> None:
    components = Components()
    first, second = twin("shop.a", x=int), twin("shop.b", y=str)
    outer = msgspec.defstruct("Outer", [("inner", second)], module="shop.c")
    refs = []
    for kind in (first, second, outer, second, first, outer):
        function = annotated(None, x=kind)
        body = contract(function, components=components).body
        assert body is not None
        refs.append(body.json_schema["$ref"].removeprefix("#/components/schemas/"))
    assert refs == ["Options", "Options_shop_b", "Outer_shop_c", "Options_shop_b", "Options", "Outer_shop_c"]
    assert set(components.schemas) == set(refs)
    assert list(components.schemas["Options_shop_b"]["properties"]) == ["y"]
    assert components.schemas["Outer_shop_c"]["properties"]["inner"] == {"$ref": "#/components/schemas/Options_shop_b"}


def test_three_types_of_one_name_in_one_module_are_counted() -> None:
    components = Components()
    for n in range(3):
        function = annotated(None, x=twin("shop", **{f"f{n}": int}))
        contract(function, components=components)
    assert list(components.schemas) == ["Options", "Options_shop", "Options_shop_2"]


def test_the_same_type_is_described_once_and_a_model_twice_only_if_it_differs() -> None:
    def function(a: Model) -> Model: ...

    components = Components()
    made = contract(function, components=components)
    assert made.body is not None
    assert made.body.json_schema == made.result.json_schema == {"$ref": "#/components/schemas/Model"}
    assert set(components.schemas) == {"Model", "Inner"}


def test_a_models_schema_for_output_may_differ() -> None:
    class WithComputed(pydantic.BaseModel):
        n: int

        @pydantic.computed_field  # type: ignore[prop-decorator]
        @property
        def twice(self) -> int:
            return 2 * self.n

    function = annotated(WithComputed, a=WithComputed)
    components = Components()
    made = contract(function, components=components)
    assert made.body is not None
    assert made.body.json_schema != made.result.json_schema
    assert len(components.schemas) == 2


def test_every_reference_leads_somewhere() -> None:
    components = Components()
    for kind in BODIES:
        function = annotated(kind, x=kind)
        contract(function, components=components)
    text = msgspec.json.encode(components.schemas).decode()
    for name in re.findall(r'"#/components/schemas/([^"]+)"', text):
        assert name in components.schemas
    assert "$defs" not in text


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"a": str}, "parameter `a`"),
        ({"b": (int, 1)}, "parameter `b`"),
        ({"o": Data}, "the body"),
        ({"return": bytes}, "the result"),
    ],
)
def test_disagreement_names_the_part(change: dict[str, Any], part: str) -> None:
    kinds = {"a": int, "o": Options} | {name: kind for name, kind in change.items() if name != "return"}
    first, function = annotated(int, a=int, o=Options), annotated(change.get("return", int), **kinds)
    assert disagreement(contract(first), contract(function)) == part
    assert disagreement(contract(first), contract(first)) is None


def test_disagreement_about_batches_is_one_too() -> None:
    made = batched(list[str], list[int])
    assert disagreement(made, msgspec.structs.replace(made, batch=Batch(5))) == "`batch`"
    assert disagreement(made, msgspec.structs.replace(made, batch=None)) == "`batch`"


def test_a_contract_that_travelled_still_agrees() -> None:
    def function(a: int, c: Color, o: list[Options | None], t: tuple[int, str] = (1, "a")) -> Options: ...

    for made in (contract(function), batched(list[Options], list[int])):
        travelled = msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=NodeContract)
        assert disagreement(travelled, made) is None
