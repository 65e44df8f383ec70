import dataclasses
import datetime as dt
import decimal
import enum
import math
import uuid
from typing import Annotated, Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exec_worker import Batch, InvalidRequest, Response, node
from exec_worker.binding import JSON, MSGPACK, NONE, RAW, Binding, Encoded
from exec_worker.signature import contract_of
from ipc.errors import BadResult

pack = msgspec.msgpack.encode


def bind(function: Any) -> Binding:
    return Binding(function, contract_of(function, name="shop.f"))


def answer(function: Any, *args: Any, reply_as: int = JSON, **params: Any) -> Encoded:
    """One call from bytes to bytes: its parameters by name, then encoding and body."""
    binding = bind(function)
    encoding, body = args or (NONE, b"")
    return binding.encode(binding.run(binding.decode(pack(params) if params else b"", encoding, body)), reply_as)


def refusal(function: Any, params: bytes = b"", encoding: int = NONE, body: bytes = b"") -> str:
    with pytest.raises(InvalidRequest) as caught:
        bind(function).decode(params, encoding, body)
    return str(caught.value)


class Options(msgspec.Struct):
    width: Annotated[int, msgspec.Meta(ge=1)] = 3


class Model(pydantic.BaseModel):
    n: Annotated[int, pydantic.Field(ge=1)]
    when: dt.date | None = None


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Explodes:
    n: int

    def __post_init__(self) -> None:
        if self.n == 1:
            raise KeyError("secret")
        if self.n == 2:
            raise InvalidRequest("two is too many")
        if self.n == 3:
            raise ValueError("not three")
        if self.n == 4:
            raise RecursionError


def thumbnail(image: bytes, width: int = 256, height: int = 128) -> Annotated[bytes, "image/webp"]:
    return image[:width] + b"%d" % height


def scalars(
    n: int, when: dt.datetime, who: uuid.UUID, price: decimal.Decimal, color: Color, tags: set[str], on: bool = False
) -> list[Any]:
    return [n, when.year, who.int, str(price), color, sorted(tags), on]


def structured(options: Options, more: int = 1) -> Options:
    return Options(options.width + more)


def modelled(model: Model, n: Annotated[int, pydantic.Field(ge=3)] = 4) -> Model:
    return Model(n=model.n + n)


def optional(options: Options | None = None) -> bool:
    return options is None


def nothing() -> None:
    return None


def optional_bytes(data: bytes | None) -> bool:
    return data is None


def short(data: Annotated[bytes, msgspec.Meta(max_length=2)]) -> int:
    return len(data)


def explodes(value: Explodes) -> int:
    return value.n


def anything(value: Any) -> Any:
    return value


def test_bytes_in_bytes_out() -> None:
    assert answer(thumbnail, RAW, b"abc", width=2) == Encoded(RAW, 0, "image/webp", (), b"ab128")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_raw_body_arrives_as_bytes(kind: Any) -> None:
    decoded = bind(thumbnail).decode(b"", RAW, kind(b"abc"))
    assert decoded == {"image": b"abc", "width": 256, "height": 128}
    assert type(decoded["image"]) is bytes


def test_an_empty_raw_body_is_empty_bytes() -> None:
    assert bind(thumbnail).decode(b"", RAW, b"")["image"] == b""


@pytest.mark.parametrize("as_text", [False, True])
def test_scalars_may_arrive_as_values_or_as_text(as_text: bool) -> None:
    when, who = dt.datetime(2020, 1, 2, tzinfo=dt.UTC), uuid.UUID(int=7)
    params: dict[str, Any] = {
        "n": 3, "when": when, "who": who, "price": decimal.Decimal("1.5"), "color": Color.RED, "tags": {"b", "a"},
    }  # fmt: skip
    if as_text:
        params = {name: str(value) for name, value in params.items()}
        params |= {"when": when.isoformat(), "color": "red", "tags": ["b", "a"], "on": "true"}
    encoded = answer(scalars, **params)
    assert msgspec.json.decode(encoded.body) == [3, 2020, 7, "1.5", "red", ["a", "b"], as_text]


def test_params_may_be_any_buffer() -> None:
    binding = bind(thumbnail)
    packed = pack({"width": 1})
    for kind in (bytes, bytearray, memoryview, msgspec.Raw):
        assert binding.decode(kind(packed), RAW, b"")["width"] == 1
        assert binding.decode(kind(b""), RAW, b"")["width"] == 256


def test_omitted_parameters_are_the_functions_own_defaults() -> None:
    given_tags: list[str] = ["a"]

    def function(tags: list[str] = given_tags, n: int = 1) -> bool:
        return tags is given_tags

    for params in (b"", pack({}), pack({"n": 2})):
        decoded = bind(function).decode(params, NONE, b"")
        assert function(**decoded)


@pytest.mark.parametrize(("encoding", "write"), [(JSON, msgspec.json.encode), (MSGPACK, pack)])
def test_structured_bodies_are_read_in_both_encodings(encoding: int, write: Any) -> None:
    for kind in (bytes, memoryview):
        assert answer(structured, encoding, kind(write({"width": 4})), more=2).body == b'{"width":6}'
        assert answer(modelled, encoding, kind(write({"n": 4, "when": "2020-01-01"})), n="3").body == (
            b'{"n":7,"when":null}'
        )


def test_an_absent_optional_body_is_the_default_or_none() -> None:
    assert answer(optional).body == b"true"
    assert answer(optional, JSON, b"null").body == b"true"
    assert answer(optional, JSON, b"{}").body == b"false"
    assert answer(optional_bytes).body == b"true"
    assert answer(optional_bytes, RAW, b"").body == b"false"


@pytest.mark.parametrize(
    ("function", "request_", "told"),
    [
        (scalars, (b"",), "Missing parameter `n`"),
        (thumbnail, (pack({"width": "x"}), RAW), "Expected `int`, got `str` - at `$.width`"),
        (thumbnail, (pack({"depth": 1}), RAW), "Unknown parameter `depth`"),
        (thumbnail, (b"",), "The request has no body, and `image` is required"),
        (thumbnail, (b"", JSON, b'"x"'), "The body, `image`, has to be raw bytes"),
        (thumbnail, (b"", 77, b"x"), "The body, `image`, has to be raw bytes"),
        (short, (b"", RAW, b"abc"), "Expected `bytes` of length <= 2"),
        (structured, (b"", JSON, b'{"width":0}'), "Expected `int` >= 1 - at `$.width`"),
        (structured, (b"", MSGPACK, pack({"width": 0})), "Expected `int` >= 1 - at `$.width`"),
        (structured, (b"", JSON, b'{"width":'), "Input data was truncated"),
        (structured, (b"", JSON, b""), "Input data was truncated"),
        (structured, (b"", RAW, b"{}"), "The body, `options`, has to be JSON"),
        (structured, (b"", JSON, b"{1:2}"), "JSON is malformed: object keys must be strings (byte 1)"),
        (modelled, (b"", JSON, b'{"n":0}'), "Input should be greater than or equal to 1 - at `$.n`"),
        (modelled, (b"", MSGPACK, pack({"n": 0})), "Input should be greater than or equal to 1 - at `$.n`"),
        (modelled, (pack({"n": 1}), JSON, b'{"n":1}'), "Input should be greater than or equal to 3 - at `$.n`"),
        (nothing, (b"", JSON, b"{}"), "The request has a body, and no parameter takes one"),
        (nothing, (pack({"x": 1}),), "Unknown parameter `x`"),
        (nothing, (pack([1]),), "Expected `object`, got `array`"),
        (nothing, (b"\x81",), "Input data was truncated"),
        (nothing, (pack({1: 1}),), "Expected `str`, got `int` - at `key` in `$`"),
        (explodes, (b"", JSON, b'{"n":1}'), "KeyError"),
        (explodes, (b"", JSON, b'{"n":2}'), "two is too many"),
        (explodes, (b"", JSON, b'{"n":3}'), "not three"),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_what_is_wrong_with_a_request_is_said(function: Any, request_: tuple[Any, ...], told: str) -> None:
    assert refusal(function, *request_) == told


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"width":' * 100_000, b'"\xff"', b"\xff", b"\xc1", b"{" + b"\x00" * 9]
)
@pytest.mark.parametrize("encoding", [JSON, MSGPACK])
@pytest.mark.parametrize("function", [anything, structured, modelled, explodes])
def test_no_body_brings_anything_but_an_invalid_request(function: Any, encoding: int, body: bytes) -> None:
    try:
        bind(function).decode(b"", encoding, body)
    except InvalidRequest as error:
        assert str(error)  # noqa: PT017 - a body may also be right


@pytest.mark.parametrize("function", [anything, modelled])
@pytest.mark.parametrize(
    ("encoding", "body", "told"),
    [
        (JSON, b'{"width": 1, "width": 2}', "same key stands twice"),
        (JSON, b'{"width": NaN}', "malformed"),
        (JSON, b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}", "deeper than 64 levels"),
        (JSON, b"[" + b"0," * 65_536 + b"0]", "more than 65536 elements"),
        (MSGPACK, b"\x82\xa1a\x01\xa1a\x02", "same key stands twice"),
        (MSGPACK, b"\xd4\x05\x00", "extension type"),
        (MSGPACK, b"\xdd\x00\x01\x00\x00" + b"\x80" * 65_536, "more than 65536 elements"),
    ],
)
def test_a_body_beyond_the_limits_is_refused_whatever_is_declared(
    function: Any, encoding: int, body: bytes, told: str
) -> None:
    assert told in refusal(function, b"", encoding, body)


def test_parameters_are_not_taken_on_trust_either() -> None:
    assert "same key stands twice" in refusal(scalars, b"\x82\xa1a\x01\xa1a\x02")
    assert "a text or a whole number" in refusal(scalars, b"\x81\x90\x01")


def test_deep_msgpack_is_an_invalid_request() -> None:
    assert "nested deeper than 32 levels" in refusal(anything, b"", MSGPACK, b"\x91" * 100_000)
    assert "nested deeper than 32 levels" in refusal(modelled, b"", MSGPACK, b"\x91" * 100_000)
    assert refusal(nothing, b"\x91" * 100_000)


BINDINGS = [bind(each) for each in (thumbnail, scalars, structured, modelled, optional, anything, nothing, explodes)]


@given(st.sampled_from(BINDINGS), st.binary(max_size=40), st.integers(0, 5), st.binary(max_size=40))
def test_any_bytes_give_arguments_or_an_invalid_request(
    binding: Binding, params: bytes, encoding: int, body: bytes
) -> None:
    try:
        binding.decode(params, encoding, body)
    except InvalidRequest:
        return


@pytest.mark.parametrize(
    ("declared", "value", "json"),
    [
        (dict[str, int], {"a": 1}, b'{"a":1}'),
        (None, None, b"null"),
        (Options, Options(4), b'{"width":4}'),
        (list[dt.date], [dt.date(2020, 1, 1)], b'["2020-01-01"]'),
        (Model, Model(n=1), b'{"n":1,"when":null}'),
        (list[Model], [Model(n=1)], b'[{"n":1,"when":null}]'),
        (Any, [Model(n=1, when=dt.date(2020, 1, 1))], b'[{"n":1,"when":"2020-01-01"}]'),
        (dict[str, Any], {"m": Model(n=2)}, b'{"m":{"n":2,"when":null}}'),
        (dict[str, bytes], {"a": b"abc"}, b'{"a":"YWJj"}'),
    ],
)
def test_results_are_json_or_msgpack_as_asked(declared: Any, value: Any, json: bytes) -> None:
    def function() -> None: ...

    function.__annotations__ = {"return": declared}
    binding = bind(function)
    assert binding.encode(value, JSON) == Encoded(JSON, 0, "application/json", (), json)
    packed = binding.encode(value, MSGPACK)
    assert (packed.encoding, packed.media_type) == (MSGPACK, "")
    assert msgspec.to_builtins(msgspec.msgpack.decode(packed.body)) == msgspec.json.decode(json)


def test_json_of_another_media_type_says_so() -> None:
    def function() -> Annotated[dict[str, int], "application/problem+json"]: ...

    assert bind(function).encode({}, JSON).media_type == "application/problem+json"


@pytest.mark.parametrize("value", [b"abc", bytearray(b"abc"), memoryview(b"abc"), memoryview(b"a-b-c-")[::2]])
def test_bytes_of_any_kind_are_sent_raw(value: Any) -> None:
    for reply_as in (JSON, MSGPACK):
        encoded = bind(thumbnail).encode(value, reply_as)
        assert (encoded.encoding, encoded.body, type(encoded.body)) == (RAW, b"abc", bytes)


@pytest.mark.parametrize(
    ("function", "value", "told"),
    [
        (thumbnail, "text", "returned str, but `bytes` are declared"),
        (thumbnail, None, "returned NoneType, but `bytes` are declared"),
        (structured, b"x", "returned bytes, but"),
        (structured, Response(), "returned exec_worker.node.Response, but"),
        (structured, object(), "returned object, which cannot be encoded: object"),
        (structured, [lambda: 0], "cannot be encoded: function"),
        (structured, "\ud800", "returned str, which cannot be encoded"),
        (modelled, Options(), "Options, which cannot be encoded: it is not of the declared type"),
        (modelled, {"n": "secret"}, "returned dict, which cannot be encoded: it is not of the declared type"),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)  # fmt: skip
@pytest.mark.parametrize("reply_as", [JSON, MSGPACK])
def test_what_is_not_declared_or_has_no_form_is_a_bad_result(
    function: Any, value: Any, told: str, reply_as: int
) -> None:
    with pytest.raises(BadResult) as caught:
        bind(function).encode(value, reply_as)
    assert str(caught.value).startswith("shop.f returned ")
    assert told in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_result_that_contains_itself_is_a_bad_result() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(BadResult, match="ecursion"):
        bind(anything).encode(endless, JSON)


def respond() -> Response: ...


@pytest.mark.parametrize(
    ("response", "reply_as", "told"),
    [
        (Response(b"abc"), JSON, (RAW, 200, "application/octet-stream", (), b"abc")),
        (Response(b"abc", 201, "a/b", {"X": "y"}), JSON, (RAW, 201, "a/b", (("X", "y"),), b"abc")),
        (Response({"a": 1}), JSON, (JSON, 200, "application/json", (), b'{"a":1}')),
        (Response({"a": 1}), MSGPACK, (MSGPACK, 200, "", (), b"\x81\xa1a\x01")),
        (Response([1], 400, "application/problem+json"), JSON, (JSON, 400, "application/problem+json", (), b"[1]")),
        (Response("hi", media_type="text/html"), JSON, (RAW, 200, "text/html", (), b"hi")),
        (Response("hi"), JSON, (JSON, 200, "application/json", (), b'"hi"')),
        (Response("hi", media_type="application/json"), JSON, (JSON, 200, "application/json", (), b'"hi"')),
        (Response(Model(n=1)), JSON, (JSON, 200, "application/json", (), b'{"n":1,"when":null}')),
        (Response(status=204), JSON, (RAW, 204, "application/octet-stream", (), b"")),
    ],
    ids=str,
)
def test_a_response_is_sent_as_it_says(response: Response, reply_as: int, told: tuple[Any, ...]) -> None:
    assert bind(respond).encode(response, reply_as) == Encoded(*told)


@pytest.mark.parametrize("value", [b"x", {"a": 1}, None, Response(object()), Response("\ud800", media_type="a/b")])
def test_what_is_no_response_is_a_bad_result(value: Any) -> None:
    with pytest.raises(BadResult, match=r"^shop\.f returned "):
        bind(respond).encode(value, JSON)


def test_run_lets_everything_through() -> None:
    class OwnError(Exception):
        pass

    def function() -> int:
        raise OwnError

    with pytest.raises(OwnError):
        bind(function).run({})


Weight = Annotated[float, pydantic.Field(description="kg")]


class Measured(pydantic.BaseModel):
    f: float = math.inf
    fs: list[dict[str, float]] = []
    inner: "Measured | None" = None


@pydantic.dataclasses.dataclass
class Weighed:
    f: float = math.inf


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(allow_inf_nan=True)
    f: float
    inner: Measured | None = None


class OpenInOne(pydantic.BaseModel):
    f: Annotated[float, pydantic.Field(allow_inf_nan=True)]
    fs: list[Annotated[float, pydantic.Field(allow_inf_nan=True)]] = []
    g: float = 0.0


class OpenRoot(pydantic.RootModel[float]):
    model_config = pydantic.ConfigDict(allow_inf_nan=True)


def weighs(
    x: Weight | None = math.inf,
    xs: list[Weight] = [],  # noqa: B006 - nobody changes it
    y: Annotated[float, pydantic.Field(allow_inf_nan=True)] = 0.0,
    z: OpenRoot = OpenRoot(0.0),  # noqa: B008 - nor this one
) -> None: ...


@pytest.mark.parametrize("endless", ["1e999", "inf", "+Infinity", math.inf])
@pytest.mark.parametrize(("name", "many"), [("x", False), ("xs", True), ("y", False), ("z", False)])
def test_a_number_of_a_request_has_an_end_whoever_reads_it(name: str, many: bool, endless: Any) -> None:
    told = refusal(weighs, pack({name: [endless] if many else endless}))
    assert told == f"Expected a finite number - at `$.{name}{'[0]' if many else ''}`"
    assert bind(weighs).decode(pack({"xs": ["1.5"]}), NONE, b"") == {"xs": [1.5]}


@pytest.mark.parametrize("endless", [b'"NaN"', b'"-inf"', b'"1e999"'])
@pytest.mark.parametrize(
    ("kind", "body", "path"),
    [
        (Measured, b'{"f":%b}', ".f"),
        (Measured, b'{"f":1,"inner":{"fs":[{"a":1},{"b":%b}]}}', ".inner.fs[1].b"),
        (Weighed, b'{"f":%b}', ".f"),
        (Open, b'{"f":1,"inner":{"f":%b}}', ".inner.f"),
        (OpenInOne, b'{"f":1,"g":%b}', ".g"),
        (dict[str, Weight], b'{"f":%b}', ".f"),
    ],
)
def test_text_is_no_way_to_a_number_without_end(kind: Any, body: bytes, path: str, endless: bytes) -> None:
    def function(body: kind) -> None: ...

    assert refusal(function, b"", JSON, body % endless) == f"Expected a finite number - at `${path}`"
    assert bind(function).decode(b"", JSON, body % b'"1.5"')


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Measured, b"{}"),
        (Weighed, b"{}"),
        (Open, b'{"f":"inf"}'),
        (OpenInOne, b'{"f":"inf"}'),
        (OpenInOne, b'{"f":1,"fs":["inf"]}'),
    ],
)
def test_a_model_has_the_numbers_without_end_that_it_asks_for(kind: Any, body: bytes) -> None:
    def function(body: kind) -> None: ...

    assert "inf" in str(bind(function).decode(b"", JSON, body)["body"])


def test_a_late_parameter_has_its_path_in_every_complaint() -> None:
    def function(ns: list[Annotated[int, pydantic.Field(ge=1)]]) -> int: ...

    told = refusal(function, pack({"ns": [0, 5, "x"]}))
    assert told.count("`$.ns[") == 2
    assert refusal(function, pack({"ns": 3})).endswith("- at `$.ns`")


# -- batched nodes


@node(batch=Batch(max_size=4))
def lengths(words: list[str]) -> list[int | InvalidRequest]:
    return [len(word) or InvalidRequest("an empty word") for word in words]


@node(batch=Batch(max_size=4))
def backwards(images: list[bytes]) -> list[bytes]:
    return [image[::-1] for image in images]


def test_a_batched_node_can_be_run_for_one_call() -> None:
    assert answer(lengths, JSON, b'"abc"').body == b"3"
    assert answer(lengths, MSGPACK, pack("abc"), reply_as=MSGPACK).body == pack(3)
    assert answer(backwards, RAW, b"abc") == Encoded(RAW, 0, "application/octet-stream", (), b"cba")
    with pytest.raises(InvalidRequest, match="an empty word"):
        answer(lengths, JSON, b'""')


def test_an_item_is_validated_as_any_body() -> None:
    assert "Expected `str`" in refusal(lengths, encoding=JSON, body=b"3")
    assert "Expected `str`" in refusal(lengths, encoding=JSON, body=b'["abc"]')
    assert "has no body" in refusal(lengths)
    assert "Unknown parameter" in refusal(lengths, pack({"words": ["a"]}), JSON, b'"a"')


def test_a_batched_node_that_returns_not_one_for_each_is_told() -> None:
    @node(batch=Batch())
    def short(words: list[str]) -> list[str]:
        return words[1:]

    with pytest.raises(BadResult, match="0 results for a batch of 1"):
        answer(short, JSON, b'"abc"')
