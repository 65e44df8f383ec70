"""What another plan changes, group by group."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs
from stage import Stage

from ipc.contract import Body, Described, Module, NodeContract, Parameter, Result
from ipc.messages.settings import CommandSettings, EndpointSettings, ExecSettings, LogSettings, WebSettings
from supervisor.difference import difference, moved, needed
from supervisor.plan import GroupPlan
from supervisor.recycling import Recycling

if TYPE_CHECKING:
    from supervisor.plan import Plan


def node(name: str, *parameters: Parameter, **more: Any) -> NodeContract:
    return NodeContract(name, "core", parameters, None, Result("json"), **more)


def number(name: str, kind: str = "integer", *, required: bool = True) -> Parameter:
    return Parameter(name, required, {"type": kind})


ASK = node("shop.a.ask", number("n"), source="a.py:3", imported_from="shop.a:ask")
PRICE = node("shop.b.price", source="b.py:1", imported_from="shop.b:price")


def module(name: str, content: str = "", *needs: str) -> Module:
    return Module(name, f"/app/{name.replace('.', '/')}.py", content.encode(), needs)


CODE = (
    module("shop"),
    module("shop.a", "a", "shop.tools.fine"),
    module("shop.b", "b"),
    module("shop.tools"),
    module("shop.tools.fine"),
    module("site_app", "", "shop.b"),
    module("tests"),
)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    endpoints = tuple(
        EndpointSettings(path=f"/{each.name}", methods=("GET",), node=each.name, group="cpu", timeout=1.0)
        for each in (ASK, PRICE)
    )
    web = WebSettings(endpoints=endpoints, nodes=(ASK, PRICE), components={}, routes={}, app="site_app:app")
    return Stage(tmp_path).plan(
        (
            GroupPlan("cpu", "exec", 2, ("core",), ExecSettings(nodes=(ASK,))),
            GroupPlan("till", "exec", 1, ("till",), ExecSettings(nodes=(PRICE,))),
            GroupPlan("web", "web", 1, (), web),
        ),
        described=Described((ASK, PRICE), {}, modules=CODE),
        endpoints=endpoints,
        config_path=Path("/app/shunter.yaml"),
    )


def with_code(plan: Plan, *modules: Module) -> Plan:
    known = {each.name: each for each in plan.described.modules} | {each.name: each for each in modules}
    return replace(plan, described=structs.replace(plan.described, modules=tuple(known.values())))


def with_group(plan: Plan, which: str, **changes: Any) -> Plan:
    return replace(plan, groups=tuple(replace(g, **changes) if g.name == which else g for g in plan.groups))


def said(old: Plan, new: Plan, **more: Any) -> list[str]:
    return list(difference(old, new, **more).lines())


def test_nothing_changes_by_the_same_plan_nor_by_where_a_node_stands(plan: Plan) -> None:
    moved = structs.replace(ASK, source="a.py:30")
    other = with_group(plan, "cpu", settings=ExecSettings(nodes=(moved,)))
    assert said(plan, other) == ["cpu: same", "till: same", "web: same"]


def test_code_concerns_the_groups_that_import_it_on_whatever_way(plan: Plan) -> None:
    assert {each.name for each in needed(plan.groups[0], plan)} == {"shop", "shop.a", "shop.tools", "shop.tools.fine"}
    lines = said(plan, with_code(plan, module("shop.tools.fine", "new")))
    assert lines == ["cpu: code (shop/tools/fine.py) changed: 2 workers are replaced", "till: same", "web: same"]
    lines = said(plan, with_code(plan, module("shop.b", "new")))
    assert lines[0] == "cpu: same"
    assert lines[1] == "till: code (shop/b.py) changed: 1 worker is replaced"
    assert lines[2] == "web: code (shop/b.py) changed: 1 worker is replaced"
    assert [line.count("replaced") for line in said(plan, with_code(plan, module("shop", "new")))] == [1, 1, 1]
    assert said(plan, with_code(plan, module("tests", "new"))) == ["cpu: same", "till: same", "web: same"]


def test_only_files_that_a_group_imports_may_have_been_others_meanwhile(plan: Plan) -> None:
    touched = with_code(plan, structs.replace(CODE[4], stamp=(7, 1)))
    assert moved(plan, touched) == {"cpu"}
    assert said(plan, touched) == ["cpu: same", "till: same", "web: same"]


def test_what_every_worker_is_told_concerns_all(plan: Plan) -> None:
    for other, what in (
        (replace(plan, environment_set=(("A", "B"),)), "environment"),
        (replace(plan, log=LogSettings(level="debug")), "log"),
        (replace(plan, limits=structs.replace(plan.limits, queue_calls=7)), "limits"),
    ):
        assert all(f"{what} changed" in line for line in said(plan, other))


def test_numbers_are_changed_without_replacing_anybody(plan: Plan) -> None:
    assert said(plan, with_group(plan, "cpu", workers=5))[0] == "cpu: 2 workers become 5"
    assert said(plan, plan, sizes={"cpu": 7})[0] == "cpu: 7 workers become 2"
    recycled = with_group(plan, "cpu", recycling=Recycling(max_requests=5))
    assert said(plan, recycled)[0] == "cpu: recycling changed: no worker is replaced"
    both = with_code(with_group(plan, "till", workers=2), module("shop.b", "new"))
    assert said(plan, both)[1] == "till: code (shop/b.py) changed: 1 worker is replaced; 1 becomes 2"


def test_settings_are_named_that_are_not_as_they_were(plan: Plan) -> None:
    other = with_group(plan, "cpu", settings=ExecSettings(nodes=(ASK,), nice=5, slots=2), preload=True)
    assert said(plan, other)[0] == "cpu: preload, slots and nice changed: 2 workers are replaced"


def test_groups_come_and_go(plan: Plan) -> None:
    other = with_group(plan, "cpu", name="gpu")
    found = difference(plan, other)
    assert (found.of("added"), found.of("removed")) == (("gpu",), ("cpu",))
    assert [change.group for change in found.changes] == ["gpu", "till", "web", "cpu"]
    assert "gpu: new: 2 workers are started" in found.lines()
    assert "cpu: gone from the configuration: 2 workers are drained" in found.lines()


def test_a_group_that_is_behind_is_replaced_though_nothing_changed_since(plan: Plan) -> None:
    assert said(plan, plan, behind=["cpu"])[0] == "cpu: may run another version: 2 workers are replaced"


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"port": 1}, "runtime.web.port"),
        ({"host": "::"}, "runtime.web.host"),
        ({"transport": "unix"}, "execution_ipc.transport"),
        ({"auth_mode": "aead"}, "execution_ipc.auth.mode"),
        ({"secret": b"x"}, "secret_file"),
        ({"log_bytes": 1}, "runtime.log.max_bytes"),
        ({"log_files": 1}, "runtime.log.files"),
        ({"state_dir": Path("/elsewhere")}, "state directory"),
    ],
)
def test_what_a_running_service_cannot_change_is_refused_whatever_else_changes(
    plan: Plan, changes: dict[str, Any], what: str
) -> None:
    found = difference(plan, replace(with_group(plan, "cpu", workers=9), **changes))
    assert what in found.refusal
    assert found.refusal.endswith("cannot change while the service runs: stop it and start it again")
    assert found.changes == ()
    assert not difference(plan, plan).refusal


def test_a_group_keeps_its_role(plan: Plan) -> None:
    refusal = difference(
        plan, with_group(plan, "cpu", role="command", settings=CommandSettings(("x",), "x", "/"))
    ).refusal
    assert "the role of cpu" in refusal
    assert "another name" in refusal


@pytest.mark.parametrize(
    ("now", "before_do", "after_do"),
    [
        ((structs.replace(ASK, summary="Better.", source="a.py:7"),), True, True),
        ((ASK, node("shop.a.more")), False, True),
        ((), True, False),
        ((node("shop.a.renamed", number("n")),), False, False),
        ((node("shop.a.ask", number("n"), number("m", required=False)),), False, True),
        ((node("shop.a.ask", number("n"), number("m")),), False, False),
        ((node("shop.a.ask"),), False, False),
        ((node("shop.a.ask", number("n", "string")),), False, False),
        ((structs.replace(ASK, body=Body("b", "bytes")),), False, False),
        ((structs.replace(ASK, result=Result("bytes")),), False, False),
    ],
)
def test_versions_understand_callers_whose_nodes_they_have_whatever_else_they_have(
    plan: Plan, now: tuple[NodeContract, ...], *, before_do: bool, after_do: bool
) -> None:
    other = with_code(with_group(plan, "cpu", settings=ExecSettings(nodes=now, slots=3)), module("shop.a", "new"))
    found = difference(plan, other)
    assert "cpu" in found.of("changed")
    assert ("cpu" in found.before_do, "cpu" in found.after_do) == (before_do, after_do)
    limits = structs.replace(plan.limits, max_payload=1)
    assert not difference(plan, replace(plan, limits=limits)).after_do
