from __future__ import annotations

from typing import Any

import pytest

from ipc.contract import Body, NodeContract, Result
from supervisor.fit import misfit

COMPONENTS = {
    "Image": {"type": "object", "properties": {"width": {"type": "integer"}, "name": {"type": "string"}}},
    "Size": {"type": "object", "properties": {"width": {"type": "number"}}, "required": ["width"]},
    "Strict": {"type": "object", "properties": {"width": {"type": "integer"}}, "additionalProperties": False},
    "Deep": {"type": "object", "properties": {"of": {"$ref": "#/components/schemas/Deep"}}, "required": ["of"]},
    "Other": {"type": "object", "properties": {"of": {"$ref": "#/components/schemas/Other"}}, "title": "Other"},
}


def ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def told(given: Any, taken: Any) -> str:
    before = NodeContract("before", "core", (), None, Result("json", given))
    after = NodeContract("after", "core", (), Body("it", "json", json_schema=taken), Result("bytes"))
    return misfit(before, after, COMPONENTS)


def test_the_kinds_have_to_be_the_same() -> None:
    raw, plain = Result("bytes"), Result("json")
    before = NodeContract("before", "core", (), None, raw)
    assert misfit(before, NodeContract("after", "core", (), Body("it", "bytes"), plain), {}) == ""
    wrong = misfit(before, NodeContract("after", "core", (), Body("it", "json"), plain), {})
    assert wrong == "before returns bytes, and 'it' of after takes JSON"
    assert "takes no body" in misfit(before, NodeContract("after", "core", (), None, plain), {})
    response = NodeContract("before", "core", (), None, Result("response"))
    assert "only the last stage" in misfit(response, NodeContract("after", "core", (), Body("it", "bytes"), raw), {})


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({}, {"type": "integer"}),
        ({"type": "integer"}, {}),
        ({"type": "integer"}, {"type": "number"}),
        ({"type": "integer"}, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, {"type": "integer"}),
        ({"type": ["integer", "string"]}, {"type": "number"}),
        ({"enum": [1, 2]}, {"type": "integer"}),
        ({"const": "a"}, {"type": ["string", "null"]}),
        (ref("Image"), ref("Size")),
        (ref("Image"), ref("Image")),
        (ref("Deep"), ref("Other")),
        ({"type": "array", "items": ref("Image")}, {"type": "array", "items": ref("Size")}),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, ref("Size")),
        (ref("Unknown"), ref("Size")),
        ({"type": "integer", "title": "A"}, {"type": "integer", "minimum": 3}),
    ],
)
def test_what_fits_or_might_is_let_through(given: Any, taken: Any) -> None:
    assert told(given, taken) == ""


@pytest.mark.parametrize(
    ("given", "taken", "why"),
    [
        ({"type": "string"}, {"type": "integer"}, "string where integer is expected"),
        ({"type": "number"}, {"type": "integer"}, "number where integer is expected"),
        (
            {"anyOf": [{"type": "string"}, {"type": "null"}]},
            {"type": "integer"},
            "null or string where integer is expected",
        ),
        (ref("Image"), {"type": "array"}, "object where array is expected"),
        ({"type": "object", "properties": {"name": {}}}, ref("Size"), "there is no `width`"),
        (ref("Image"), ref("Strict"), "`name` is not known there"),
        ({"type": "array", "items": {"type": "string"}}, {"type": "array", "items": ref("Size")}, "at `[]`"),
        (
            {"type": "object", "properties": {"width": {"type": "string"}}},
            ref("Size"),
            "string where number is expected at `width`",
        ),
    ],
)
def test_what_cannot_fit_is_said_with_its_place(given: Any, taken: Any, why: str) -> None:
    assert why in told(given, taken)
    assert told(given, taken).startswith("what before returns is not what 'it' of after takes: ")
