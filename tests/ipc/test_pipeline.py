from __future__ import annotations

import pytest

from ipc.contract import Body, NodeContract, Parameter, Result
from ipc.pipeline import Hops, Leg, hops, joined, legs, same_kind

ROUTES = {"a": "cpu", "b": "cpu", "c": "gpu", "d": "cpu", "e": "net"}
INTEGER = {"type": "integer"}


def node(name: str, *parameters: Parameter, body: Body | None = None, **more: object) -> NodeContract:
    return NodeContract(name, "core", parameters, body, Result("bytes", media_type=f"image/{name}"), **more)  # type: ignore[arg-type]


def test_stages_that_follow_each_other_in_one_group_are_one_leg() -> None:
    assert legs("abcd", ROUTES) == (Leg("cpu", ("a", "b")), Leg("gpu", ("c",)), Leg("cpu", ("d",)))
    assert legs("a", ROUTES) == (Leg("cpu", ("a",)),)
    with pytest.raises(KeyError):
        legs("ax", ROUTES)


def test_groups_call_only_those_that_follow_them() -> None:
    assert hops(["abcd", "ae"], ROUTES) == {
        "cpu": Hops({"c": "gpu", "e": "net"}, (("d",),), ()),
        "gpu": Hops({"d": "cpu"}, (("c", "d"),), ()),
        "net": Hops({}, (("e",),), ()),
    }
    assert hops(["ab"], ROUTES) == {}


def test_a_node_may_be_tried_again_if_all_that_follows_it_may_be() -> None:
    assert hops(["ced"], ROUTES, "ced")["gpu"].repeatable == ("e",)
    assert hops(["ced"], ROUTES, "cd")["gpu"].repeatable == ()
    assert hops(["abcd"], ROUTES, "cd")["cpu"].repeatable == ("c",)
    assert hops(["abcd"], ROUTES, "abc")["cpu"].repeatable == ()
    assert hops(["eab"], ROUTES, "ab")["net"].repeatable == ("a",)
    assert hops(["eab"], ROUTES, "a")["net"].repeatable == ()
    for row in (["ea", "eab"], ["eab", "ea"]):
        assert hops(row, ROUTES, "a")["net"].repeatable == ()


def test_a_row_has_the_body_of_its_first_the_result_of_its_last_and_the_parameters_of_all() -> None:
    first = node("first", Parameter("size", False, {**INTEGER, "default": 3}), body=Body("image", "bytes"))
    last = node("last", Parameter("size", True, INTEGER), Parameter("deep", False, {"default": 1}), idempotent=True)
    row = joined([first, last])
    assert (row.name, row.body, row.result, row.idempotent) == ("first", first.body, last.result, False)
    assert [(each.name, each.required, each.json_schema) for each in row.parameters] == [
        ("size", True, INTEGER),
        ("deep", False, {"default": 1}),
    ]
    assert joined([last]) is last
    assert joined([last, last]).idempotent


def test_parameters_of_one_name_may_differ_in_their_defaults_alone() -> None:
    one = Parameter("size", False, {**INTEGER, "default": 3})
    assert same_kind(one, Parameter("size", True, INTEGER))
    assert not same_kind(one, Parameter("size", True, {"type": "string"}))
    assert not same_kind(one, Parameter("size", False, {**INTEGER, "default": 3}, many=True))
    assert [joined([node("a", one), node("b", other)]).parameters[0].json_schema for other in (one, one)] == [
        {**INTEGER, "default": 3}
    ] * 2
    other = Parameter("size", False, {**INTEGER, "default": 4})
    assert joined([node("a", one), node("b", other)]).parameters[0].json_schema == INTEGER
