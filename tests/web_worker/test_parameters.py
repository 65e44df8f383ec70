import decimal
import enum
from datetime import date
from typing import Annotated, Any, Literal
from urllib.parse import quote
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exec_worker.binding import Binding
from exec_worker.signature import contract_of
from ipc.errors import InvalidRequest, TooLarge
from web_worker.endpoints.parameters import MAX_FIELDS, NONE, Parameters


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


def every(
    name: str,
    page: int = 1,
    ratio: float | None = None,
    tags: list[str] | None = None,
    sizes: list[int] = [1, 2],  # noqa: B006 - nobody changes it
    colour: Colour = Colour.RED,
    day: date | None = None,
    key: UUID | None = None,
    exact: bool = False,
    sort: Literal["up", "down"] = "up",
    small: Annotated[int, msgspec.Meta(ge=0, le=9)] = 5,
) -> None: ...


def taken(function: Any, query: str | bytes, **path: str) -> dict[str, Any]:
    """What the function would be called with, on the other side."""
    contract = contract_of(function, name="x")
    raw = query if isinstance(query, bytes) else query.encode()
    packed = Parameters(contract.parameters).pack(raw, path or None)
    return Binding(function, contract).decode(packed, 0, b"")


DEFAULTS = {
    "page": 1, "ratio": None, "tags": None, "sizes": [1, 2], "colour": Colour.RED, "day": None, "key": None,
    "exact": False, "sort": "up", "small": 5,
}  # fmt: skip


def weigh(
    ratio: float = 1.0,
    ratios: list[float] | None = None,
    either: float | None = None,
    word: str = "",
    any_: float | str = 0,
) -> None: ...


def price(amount: decimal.Decimal, others: list[decimal.Decimal] | None = None) -> None: ...


@pytest.mark.parametrize("text", ["NaN", "-sNaN", "nan12", "Infinity", "%2Binf", "%20nan", "i_nf"])
def test_an_exact_number_is_finite_too(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"finite number - at `\$.amount`"):
        taken(price, f"amount={text}")
    with pytest.raises(InvalidRequest, match=r"finite number - at `\$.others`"):
        taken(price, f"amount=1&others=2&others={text}")
    assert taken(price, "amount=1e999")


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-inf", "%2BInfinity", "-INFINITY"])
def test_a_number_is_finite_and_a_word_is_a_word(text: str) -> None:
    for name in ("ratio", "either"):
        with pytest.raises(InvalidRequest, match=rf"finite number - at `\$.{name}`"):
            taken(weigh, f"{name}={text}")
    with pytest.raises(InvalidRequest, match="finite number"):
        taken(weigh, f"ratios=1&ratios={text}")
    with pytest.raises(InvalidRequest, match="finite number"):
        taken(weigh, "", ratio=text.replace("%2B", "+"))
    assert taken(weigh, f"word={text}")["word"] == text.replace("%2B", "+")
    for big in ("1e999", "9" * 400):
        with pytest.raises(InvalidRequest, match="out of range"):
            taken(weigh, f"ratio={big}")


def test_what_is_not_given_is_the_functions_own_default() -> None:
    assert taken(every, "name=tea") == {"name": "tea"} | DEFAULTS


def test_every_type_is_read_from_text() -> None:
    query = (
        "name=tea&page=3&ratio=0.5&tags=a&tags=b%26c&sizes=7&colour=blue&day=2026-08-01"
        "&key=6f9619ff-8b86-d011-b42d-00cf4fc964ff&exact=true&sort=down&small=9"
    )
    assert taken(every, query) == {
        "name": "tea", "page": 3, "ratio": 0.5, "tags": ["a", "b&c"], "sizes": [7], "colour": Colour.BLUE,
        "day": date(2026, 8, 1), "key": UUID("6f9619ff-8b86-d011-b42d-00cf4fc964ff"), "exact": True, "sort": "down",
        "small": 9,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("page=2&page=3&name=a", "a"),
        ("name=a&name=b&page=3", "b"),
        ("name=a+b%2B&page=3", "a b+"),
        ("name=&page=3", ""),
    ],
)
def test_the_last_of_several_counts_as_in_fastapi(query: str, name: str) -> None:
    kwargs = taken(every, query)
    assert (kwargs["name"], kwargs["page"]) == (name, 3)


def test_the_path_comes_before_the_query() -> None:
    assert taken(every, "name=query&page=2", name="path", page="7")["name"] == "path"
    assert taken(every, "page=2", name="x", page="7")["page"] == 7


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "Missing parameter `name`"),
        ("name=x&page=one", "$.page"),
        ("name=x&page=", "$.page"),
        ("name=x&page=1.5", "$.page"),
        ("name=x&sizes=1&sizes=x", "$.sizes"),
        ("name=x&colour=green", "$.colour"),
        ("name=x&small=10", "$.small"),
        ("name=x&exact=perhaps", "$.exact"),
        ("name=x&page=" + "9" * 30, "64 bits"),
        ("name=x&page=" + "9" * 5000, "$.page"),
        ("name=%ff", "UTF-8"),
        (b"name=\xff", "UTF-8"),
        ("name=x&" + "a=1&" * MAX_FIELDS, "256 fields"),
    ],
)
def test_what_does_not_fit_is_named(query: str | bytes, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        taken(every, query)
    assert said in str(caught.value)


def test_raw_utf8_is_read_as_such() -> None:
    assert taken(every, "name=Käse")["name"] == taken(every, "name=K%C3%A4se")["name"] == "Käse"


def test_fields_nobody_asked_for_are_ignored() -> None:
    assert taken(every, "name=x&utm_source=mail")["name"] == "x"


def test_parameters_too_large_for_the_head_of_an_envelope_are_refused() -> None:
    with pytest.raises(TooLarge):
        taken(every, "name=" + "x" * 4000)


def test_nothing_is_packed_where_nothing_is_given() -> None:
    def optional(page: int = 1) -> None: ...

    parameters = Parameters(contract_of(optional, name="x").parameters)
    assert parameters.pack(b"", None) == NONE
    assert taken(optional, "") == {"page": 1}


def test_no_name_of_a_parameter_is_in_the_way() -> None:
    def clashing(self: int, cls: int, mro: int, p1: int, p0: int, keys: int = 4, _hidden: int = 7) -> None: ...

    assert taken(clashing, "self=1&cls=2&mro=3&p1=5&p0=6") == {
        "self": 1, "cls": 2, "mro": 3, "p1": 5, "p0": 6, "keys": 4, "_hidden": 7,
    }  # fmt: skip
    with pytest.raises(InvalidRequest, match=r"\$\.cls"):
        taken(clashing, "self=1&cls=x&mro=3&p1=5&p0=6")
    with pytest.raises(InvalidRequest, match="`mro`"):
        taken(clashing, "self=1&cls=2&p1=5&p0=6")


def test_what_only_pydantic_can_check_is_checked_where_the_node_is() -> None:
    def limited(n: Annotated[int, pydantic.Field(ge=3)], tags: list[pydantic.HttpUrl] | None = None) -> None: ...

    assert taken(limited, "n=3")["n"] == 3
    with pytest.raises(InvalidRequest, match="greater than or equal to 3"):
        taken(limited, "n=2")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50), st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_every_text_and_number_arrives(name: str, sizes: list[int]) -> None:
    query = f"name={quote(name)}" + "".join(f"&sizes={n}" for n in sizes[:200])
    kwargs = taken(every, query)
    assert (kwargs["name"], kwargs["sizes"]) == (name, sizes[:200] or [1, 2])


@given(st.binary(max_size=60))
def test_no_query_breaks_it(query: bytes) -> None:
    try:
        taken(every, b"name=x&" + query)
    except InvalidRequest as error:
        assert str(error)  # noqa: PT017
