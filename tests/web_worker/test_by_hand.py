"""What an operator types as arguments, against a node's contract."""

from __future__ import annotations

import msgspec
import pytest

from exec_worker.signature import contract_of
from ipc.errors import InvalidRequest
from ipc.messages.calls import Encoding
from web_worker.by_hand import packed


class Size(msgspec.Struct):
    width: int
    height: int = 1


def area(width: int, factor: float = 1.0, tags: list[str] | None = None) -> float: ...
def scaled(size: Size, factor: float = 1.0) -> float: ...
def maybe(size: Size | None = None) -> float: ...
def thumbnail(image: bytes, width: int = 8) -> bytes: ...
def nothing() -> None: ...


AREA, SCALED, MAYBE, THUMBNAIL, NOTHING = (
    contract_of(function, name=f"shop.{function.__name__}") for function in (area, scaled, maybe, thumbnail, nothing)
)


def unpacked(params: bytes) -> object:
    return msgspec.msgpack.decode(params)


def test_parameters_are_values_of_their_types_and_what_is_not_given_stays_out() -> None:
    params, body, encoding = packed(AREA, b'{"width": 3, "factor": 2, "tags": ["a", "b"]}', None)
    assert unpacked(params) == {"width": 3, "factor": 2.0, "tags": ["a", "b"]}
    assert (body, encoding) == (b"", Encoding.NONE)
    assert unpacked(packed(AREA, b'{"width": "3"}', None)[0]) == {"width": 3}  # as in a query
    assert unpacked(packed(NOTHING, b"{}", None)[0]) == {}


def test_the_body_goes_as_it_was_typed() -> None:
    params, body, encoding = packed(SCALED, b'{"size": {"width": 3 }, "factor": 2}', None)
    assert unpacked(params) == {"factor": 2.0}
    assert (body, encoding) == (b'{"width": 3 }', Encoding.JSON)
    assert packed(SCALED, b"{}", b'{"width": 4}')[1:] == (b'{"width": 4}', Encoding.JSON)
    assert packed(MAYBE, b"{}", None)[1:] == (b"", Encoding.NONE)
    assert packed(THUMBNAIL, b"{}", b"\x89PNG")[1:] == (b"\x89PNG", Encoding.RAW)
    assert packed(THUMBNAIL, b"{}", b"")[1:] == (b"", Encoding.RAW)


@pytest.mark.parametrize(
    ("contract", "arguments", "body", "why"),
    [
        (AREA, b"{", None, "truncated"),
        (AREA, b"[1]", None, "JSON object"),
        (AREA, b'{"width": 1, "width": 2}', None, "twice"),
        (AREA, b"[" * 9999 + b"]" * 9999, None, "nested"),
        (AREA, b"{}", None, "Missing parameter `width`"),
        (AREA, b'{"width": "x"}', None, "width"),
        (AREA, b'{"widht": 1}', None, "did you mean 'width'"),
        (AREA, b'{"zzz": 1}', None, "it has width, factor, tags"),
        (AREA, b'{"width": 1}', b"x", "takes no body"),
        (NOTHING, b'{"x": 1}', None, "it has none"),
        (SCALED, b"{}", None, "`size` is required"),
        (SCALED, b'{"size": {"width": "x"}}', None, "`size`: Expected `int`"),
        (SCALED, b'{"size": {"width": 1}}', b"{}", "given twice"),
        (SCALED, b"{}", b"\xff", "size"),
        (THUMBNAIL, b"{}", None, "give its bytes as the body"),
        (THUMBNAIL, b'{"image": "abc"}', None, "which JSON cannot say"),
    ],
)
def test_what_does_not_fit_is_said(contract: object, arguments: bytes, body: bytes | None, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        packed(contract, arguments, body)  # type: ignore[arg-type]
