from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ipc.batch import Batch
from ipc.confinement import Confinement
from ipc.contract import Body, Described, Fault, NodeContract, Parameter, Result
from ipc.messages.settings import ExecSettings, WebSettings
from supervisor.decision import make_plan
from supervisor.decode import decode
from supervisor.document import parse
from supervisor.errors import ConfigError
from supervisor.group_plans import ASYNC_SLOTS
from supervisor.summary import summary
from supervisor.users import Identity

if TYPE_CHECKING:
    from supervisor.config import Config
    from supervisor.plan import Plan

HOME = Path("/srv/shop")
IMAGE = Body("image", "bytes", media_type="image/png")
PAGE = Body("page", "json", required=False)


def node(name: str, *parameters: str, stage: str = "core", body: Body | None = None, **more: Any) -> NodeContract:
    taken = tuple(Parameter(parameter, required=True, json_schema={}) for parameter in parameters)
    return NodeContract(f"shop.{name}", stage, taken, body, Result("json", {"type": "integer"}), **more)


NODES = (
    node("thumbnail", "width", "height", body=IMAGE, source="/srv/shop/shop/images.py:7"),
    node("area", "width", "height"),
    node("search", "query", body=PAGE),
    node("train", stage="slow", body=IMAGE),
)
DESCRIBED = Described(NODES, {"Size": {"type": "object"}})
GROUPS = "[{name: web, workers: 2}, {name: cpu, workers: 4, stages: [core]}, {name: batch, stages: [slow]}]"


def config(groups: str = GROUPS, endpoints: str = "[]", *, interface: str = "", web: str = "", ipc: str = "") -> Config:
    text = f"""
    runtime:
      platform: {{process_groups: {groups}, execution_ipc: {{{ipc}}}}}
      web: {{interfaces: [{{kind: http, endpoints: {endpoints}, {interface}}}], {web}}}
    """
    return decode(parse(text, "shunter.yaml"))


def plan(*args: Any, described: Described = DESCRIBED, users: dict[str, Identity] | None = None, **kwargs: Any) -> Plan:
    made = config(*args, **kwargs)
    return make_plan(made, described, config_path=HOME / "shunter.yaml", state_dir=HOME / ".shunter", users=users)


def faults(*args: Any, **kwargs: Any) -> list[tuple[str, str]]:
    """What is wrong, and with which key."""
    with pytest.raises(ConfigError) as caught:
        plan(*args, **kwargs)
    return [(fault.what, fault.key) for fault in caught.value.faults]


def fault(*args: Any, **kwargs: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        plan(*args, **kwargs)
    assert len(caught.value.faults) == 1, str(caught.value)
    return caught.value


def endpoint(**keys: Any) -> str:
    return json.dumps([{"path": "/a", "node": "shop.area", **keys}])


# Groups


def test_exec_groups_come_first_and_web_last() -> None:
    assert [(group.name, group.role, group.workers) for group in plan().groups] == [
        ("cpu", "exec", 4),
        ("batch", "exec", 1),
        ("web", "web", 2),
    ]


def test_an_exec_group_gets_the_contracts_of_its_stages_and_no_others() -> None:
    cpu, batch, web = (group.settings for group in plan().groups)
    assert isinstance(cpu, ExecSettings)
    assert isinstance(batch, ExecSettings)
    assert isinstance(web, WebSettings)
    assert cpu.nodes == NODES[:3]
    assert batch.nodes == NODES[3:]
    assert web.nodes == NODES
    assert web.routes == {"shop.thumbnail": "cpu", "shop.area": "cpu", "shop.search": "cpu", "shop.train": "batch"}
    assert web.components == DESCRIBED.components
    assert cpu.sys_path == web.sys_path == (str(HOME),)


def test_web_exists_with_one_worker_if_nobody_declares_it() -> None:
    (web,) = plan("[]", described=Described((), {})).groups
    assert (web.name, web.role, web.workers) == ("web", "web", 1)


def test_what_the_configuration_says_arrives_where_it_is_needed() -> None:
    made = plan(
        "[{name: web, start_timeout_seconds: 5}, "
        "{name: cpu, stages: [core, slow], start_timeout_seconds: 7, drain_timeout_seconds: 8}]",
        web="drain_timeout_seconds: 9, keep_alive_seconds: 3, default_timeout_seconds: 4, port: 0, title: Shop,"
        " docs: false, app: 'shop.main:app', timeout_header: X-Budget,"
        " queue: {calls: 5, bytes: 65536, wait_seconds: 7}",
        ipc="max_payload_bytes: 2048, bind_host: '::1', auth: {mode: aead, ttl_seconds: 6, nonce_cache_size: 128}",
    )
    cpu, web = made.groups
    assert isinstance(cpu.settings, ExecSettings)
    assert isinstance(web.settings, WebSettings)
    assert (cpu.start_timeout, cpu.drain_timeout, cpu.settings.drain_timeout) == (7, 8, 8)
    assert (web.start_timeout, web.drain_timeout, web.settings.drain_timeout) == (5, 9, 9)
    assert cpu.settings.bind_host == "::1"
    assert (web.settings.keep_alive, web.settings.default_timeout, web.settings.max_body) == (3, 4, 2048)
    assert web.settings.timeout_header == "X-Budget"
    assert (web.settings.app, web.settings.title, web.settings.docs) == ("shop.main:app", "Shop", False)
    limits = made.limits
    assert (limits.max_payload, limits.ttl, limits.window) == (2048, 6, 128)
    assert (limits.queue_calls, limits.queue_bytes, limits.queue_wait) == (5, 65536, 7)
    assert (made.auth_mode, made.port, made.transport) == ("aead", 0, "tcp_local")


@pytest.mark.parametrize(
    ("groups", "what", "key"),
    [
        ("[{name: a, stages: [core]}, {name: a, stages: [slow]}]", "two groups named 'a'", "1.name"),
        ("[{name: web, stages: [x]}, {name: a, stages: [core, slow]}]", "runs no stages", "0.stages"),
        ("[{name: a}, {name: b, stages: [core, slow]}]", "would run nothing", "0.stages"),
        ("[{name: a, stages: [core]}, {name: b, stages: [slow, core]}]", "'core' is listed for 'a'", "1.stages.1"),
        ("[{name: a, stages: [core, slow, core]}]", "and again for 'a'", "0.stages.2"),
        ("[{name: web}, {name: web}, {name: a, stages: [core, slow]}]", "two groups named 'web'", "1.name"),
    ],
)
def test_faults_in_groups(groups: str, what: str, key: str) -> None:
    found = fault(groups)
    assert what in found.what
    assert found.key == f"runtime.platform.process_groups.{key}"


def test_a_worker_has_as_many_slots_as_its_mode_makes_sensible() -> None:
    waits = Described((*NODES[:3], replace(NODES[3], asynchronous=True)), {})

    def slots(cpu: str, io: str) -> list[tuple[str, int, int]]:
        made = plan(
            f"[{{name: cpu, stages: [core]{cpu}}}, {{name: io, stages: [slow], mode: async{io}}}]", described=waits
        )
        settings = [group.settings for group in made.groups if isinstance(group.settings, ExecSettings)]
        return [
            (each.mode, each.slots, group.calls_at_once) for each, group in zip(settings, made.groups, strict=False)
        ]

    assert slots("", "") == [("sync", 1, 1), ("async", ASYNC_SLOTS, ASYNC_SLOTS)]
    assert slots(", slots: 4", ", slots: 7") == [("sync", 4, 4), ("async", 7, 7)]


@pytest.mark.parametrize(
    ("groups", "what", "hint", "key"),
    [
        ("[{name: a, stages: [core, slow]}]", "shop.train is `async def`", "give it", "0.mode"),
        ("[{name: a, stages: [core]}, {name: b, stages: [slow]}]", "'b' runs plain functions", "mode: async", "1.mode"),
        (
            "[{name: a, stages: [slow, core], mode: async}]",
            "shop.thumbnail is a plain function, as 2",
            "async",
            "0.mode",
        ),
    ],
)
def test_plain_functions_and_coroutines_are_told_apart(groups: str, what: str, hint: str, key: str) -> None:
    found = fault(groups, described=Described((*NODES[:3], replace(NODES[3], asynchronous=True)), {}))
    assert what in found.what
    assert hint in found.hint
    assert found.key == f"runtime.platform.process_groups.{key}"


def test_a_worker_can_account_for_all_the_calls_of_its_batches() -> None:
    batched = Described((replace(NODES[0], batch=Batch(32)), replace(NODES[1], batch=Batch(100)), *NODES[2:]), {})
    group = "[{name: a, stages: [core, slow], slots: %d}]"
    assert [each.calls_at_once for each in plan(group % 40, described=batched).groups if each.role == "exec"] == [4000]
    found = fault(group % 41, described=batched)
    assert "41 batches of 100 calls of shop.area" in found.what
    assert "at most 40 slots" in found.hint
    assert found.key == "runtime.platform.process_groups.0.slots"


@pytest.mark.parametrize("more", ["slots: 4", "mode: async"])
def test_the_web_has_no_slots(more: str) -> None:
    found = fault(f"[{{name: web, {more}}}, {{name: a, stages: [core, slow]}}]")
    assert found.key == f"runtime.platform.process_groups.0.{more.partition(':')[0]}"


def test_a_stage_that_nobody_runs_is_named_with_the_way_to_add_a_group() -> None:
    found = fault("[{name: web}, {name: cpu, stages: [core]}]")
    assert found.what == "no group runs the stage 'slow' of the node shop.train"
    assert "{name: cpu_sync, workers: 2, stages: [slow]}" in found.hint
    told = faults("[]")
    assert [what for what, _ in told] == [
        "no group runs the stage 'core' of the node shop.thumbnail and 2 more",
        "no group runs the stage 'slow' of the node shop.train",
    ]


def test_a_stage_that_is_misspelt_in_its_group_is_recognised() -> None:
    assert fault("[{name: cpu, stages: [core, slwo]}]").hint.startswith("did you mean 'slwo'?")


# Links


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "::", "example.com", "0", "-1", "off"])  # noqa: S104
def test_links_stay_on_this_host(host: str) -> None:
    assert "no loopback address" in fault(ipc=f"bind_host: '{host}'").what


def test_memory_puts_the_exec_groups_into_the_web_workers() -> None:
    made = plan("[{name: cpu, workers: 3, stages: [core, slow]}]", ipc="transport: memory")
    assert [(group.name, group.embedded) for group in made.groups] == [("cpu", True), ("web", False)]
    (group,) = made.groups[-1].settings.embedded  # type: ignore[union-attr]
    assert (group.name, group.workers) == ("cpu", 3)
    assert group.settings == made.groups[0].settings


def test_one_process_has_room_for_so_many_threads_only() -> None:
    told = fault("[{name: cpu, workers: 64, stages: [core, slow]}]", ipc="transport: memory")
    assert told.key == "runtime.platform.execution_ipc.transport"


CONFINED = "[{name: cpu, stages: [core, slow], user: '1234', umask: 027}, {name: web, user: '1235'}]"
USERS = {"cpu": Identity(1234, 5678), "web": Identity(1235, 1235)}


def test_workers_are_told_whom_to_become_and_what_others_may_not_do() -> None:
    made = plan(CONFINED, users=USERS)
    cpu, web = made.groups
    assert (cpu.confinement, cpu.user) == (Confinement(0o027, 1234, 5678), "1234")
    assert (web.confinement, web.user) == (Confinement(0o077, 1235, 1235), "1235")
    told = {group["name"]: (group["user"], group["umask"]) for group in summary(made)["groups"]}
    assert told == {"cpu": ("1234", "027"), "web": ("1235", "077")}
    unchanged = plan(CONFINED, users={})  # they are that user already
    assert [group.user for group in unchanged.groups] == ["", ""]


def test_some_transports_tie_workers_to_one_user() -> None:
    found = faults(CONFINED, ipc="transport: unix", users=USERS)
    assert [key for _, key in found] == [f"runtime.platform.process_groups.{n}.user" for n in (0, 1)]
    assert "a directory that is open to the user who starts Shunter alone" in found[0][0]
    assert plan(CONFINED, ipc="transport: unix", users={})
    found = faults(CONFINED, ipc="transport: memory", users=USERS)
    assert [key for _, key in found] == [f"runtime.platform.process_groups.0.{name}" for name in ("user", "umask")]


def test_workers_of_a_group_are_preloaded_where_there_are_processes_to_fork() -> None:
    groups = "[{name: cpu, stages: [core], preload: true}, {name: slow, stages: [slow]}]"
    for carrier in ("tcp_local", "unix"):
        made = plan(groups, ipc=f"transport: {carrier}")
        assert [group.preload for group in made.groups] == [True, False, False]
        assert [group["preload"] for group in summary(made)["groups"]] == [True, False, False]
    assert fault(groups, ipc="transport: memory").key == "runtime.platform.process_groups.0.preload"
    told = fault("[{name: web, preload: true}, {name: cpu, stages: [core, slow]}]")
    assert (told.key, told.what) == (
        "runtime.platform.process_groups.0.preload",
        "workers of 'web' cannot be preloaded: they run no nodes",
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_a_loopback_address_will_do(host: str) -> None:
    assert plan(ipc=f"bind_host: '{host}'").groups


def test_one_port_is_enough_for_one_worker_only() -> None:
    assert "5 exec workers cannot all listen on port 9100" in fault(ipc="bind_port: 9100").what
    made = plan("[{name: cpu, stages: [core, slow]}]", ipc="bind_port: 9100")
    assert any("port 9100" in note for note in summary(made)["notes"])


def test_the_queue_has_room_for_one_body_at_least() -> None:
    assert fault(web="queue: {bytes: 1024}").key == "runtime.web.queue.bytes"


# Endpoints


def test_an_endpoint_is_bound_to_its_node_and_its_group() -> None:
    made = plan(
        GROUPS,
        "[{path: '/images/{width}', node: shop.thumbnail, timeout_seconds: 5, status: 201, tags: [b],"
        "  priority: low, max_concurrency: 3},"
        " {path: /areas, node: shop.area, methods: [GET, HEAD]}]",
        interface="prefix: /api/v1, tags: [a]",
    )
    first, second = made.endpoints
    assert (first.path, first.methods, first.group, first.timeout) == ("/api/v1/images/{width}", ("POST",), "cpu", 5)
    assert (first.status, first.tags, first.through_app) == (201, ("a", "b"), False)
    assert (first.priority, first.max_concurrency) == ("low", 3)
    assert (second.priority, second.max_concurrency) == ("normal", 0)
    assert (second.methods, second.timeout, second.tags) == (("GET", "HEAD"), 30, ("a",))
    assert isinstance(made.groups[-1].settings, WebSettings)
    assert made.groups[-1].settings.endpoints == made.endpoints


def test_the_method_follows_from_the_body_where_none_is_declared() -> None:
    made = plan(GROUPS, "[{path: /a, node: shop.area}, {path: /t, node: shop.train}, {path: /s, node: shop.search}]")
    assert [endpoint.methods for endpoint in made.endpoints] == [("GET",), ("POST",), ("POST",)]


def test_shared_dependencies_take_requests_through_the_app() -> None:
    made = plan(GROUPS, endpoint(), interface="dependencies: [shop.security.user]")
    assert made.endpoints[0].through_app
    assert made.endpoints[0].dependencies == ("shop.security.user",)
    found = fault(GROUPS, endpoint(through_app=False), interface="dependencies: [shop.security.user]")
    assert found.key.endswith("through_app")


@pytest.mark.parametrize(
    ("keys", "what", "name"),
    [
        ({"path": "a"}, "does not start with '/'", "path"),
        ({"path": "/healthz"}, "/healthz is taken", "path"),
        ({"path": "/readyz"}, "/readyz is taken", "path"),
        ({"path": "/docs"}, "taken by the API's documentation", "path"),
        ({"path": "/openapi.json"}, "taken by the API's documentation", "path"),
        ({"path": "/a/{width}{height}"}, "cannot be a part of a path", "path"),
        ({"path": "/a/x{width}"}, "cannot be a part of a path", "path"),
        ({"path": "/a/{width:int}"}, "cannot be a part of a path", "path"),
        ({"path": "/a/{width"}, "cannot be a part of a path", "path"),
        ({"path": "/a/../b"}, "'..' cannot be a part of a path", "path"),
        ({"path": "/a?b"}, "cannot be a part of a path", "path"),
        ({"path": "/a b"}, "cannot be a part of a path", "path"),
        ({"path": "/a/%2e"}, "cannot be a part of a path", "path"),
        ({"path": "/{width}/{width}"}, "two parameters named 'width'", "path"),
        ({"path": "/a/{depth}"}, "'depth', which is no parameter of shop.area", "path"),
        ({"path": "/a/{image}", "node": "shop.thumbnail"}, "comes from the body, not from the path", "path"),
        ({"node": "shop.thumbnail", "methods": ["GET", "POST"]}, "GET requests carry no body", "methods"),
        ({"node": "shop.thumbnail", "methods": ["DELETE", "HEAD"]}, "DELETE and HEAD requests", "methods"),
        ({"methods": ["GET", "GET"]}, "a method is listed twice", "methods"),
        ({"node": "shop.aera"}, "there is no node shop.aera", "node"),
        ({"timeout_seconds": 301}, "301 s is longer than any endpoint may take", "timeout_seconds"),
        ({"status": 204}, "an answer with status 204 has no body", "status"),
    ],
)
def test_faults_in_an_endpoint(keys: dict[str, Any], what: str, name: str) -> None:
    found = fault(GROUPS, endpoint(**keys))
    assert what in found.what
    assert found.key == f"runtime.web.interfaces.0.endpoints.0.{name}"


@pytest.mark.parametrize(
    "keys",
    [
        {"path": "/"},
        {"path": "/a/"},
        {"path": "/a/{width}/{height}"},
        {"path": "/a/{width}", "methods": ["DELETE"]},
        {"path": "/bücher/~x.y-z_(1)"},
        {"node": "shop.search", "methods": ["GET"]},
        {"node": "shop.thumbnail", "methods": ["PUT", "PATCH"]},
        {"timeout_seconds": 300},
        {"path": "/healthz/x"},
    ],
)
def test_these_endpoints_are_fine(keys: dict[str, Any]) -> None:
    assert plan(GROUPS, endpoint(**keys)).endpoints


def test_the_documentations_paths_are_free_without_it() -> None:
    assert plan(GROUPS, endpoint(path="/docs"), web="docs: false").endpoints


def test_an_answer_without_a_body_needs_a_node_that_returns_nothing() -> None:
    nothing = NodeContract("shop.forget", "core", (), None, Result("json", {"type": "null"}))
    described = Described((nothing,), {})
    made = plan("[{name: a, stages: [core]}]", endpoint(node="shop.forget", status=204), described=described)
    assert made.endpoints[0].status == 204


def test_a_list_cannot_come_from_one_part_of_a_path() -> None:
    tagged = NodeContract("shop.tagged", "core", (Parameter("tag", True, {}, many=True),), None, Result("json"))
    described = Described((tagged,), {})
    found = fault("[{name: a, stages: [core]}]", endpoint(path="/{tag}", node="shop.tagged"), described=described)
    assert "is a list" in found.what


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("/a", "/a", True),
        ("/a/{width}", "/a/{height}", True),
        ("/a/{width}/b", "/a/{height}/c", False),
        ("/a/{width}", "/a/b", False),
        ("/a", "/a/", False),
        ("/a", "/A", False),
    ],
)
def test_two_endpoints_in_one_place_are_a_fault(one: str, other: str, *, clash: bool) -> None:
    both = json.dumps([{"path": path, "node": "shop.area"} for path in (one, other)])
    if clash:
        found = fault(GROUPS, both)
        assert "declared for the second time" in found.what
        assert found.hint == "the first is runtime.web.interfaces.0.endpoints.0"
    else:
        assert plan(GROUPS, both).endpoints


def test_one_path_may_answer_different_methods() -> None:
    both = json.dumps([{"path": "/a", "node": "shop.area"}, {"path": "/a", "node": "shop.train"}])
    assert len(plan(GROUPS, both).endpoints) == 2


def test_an_http_interface_binds_request_and_response() -> None:
    for binds in ("[stream]", "[request]", "[request, response, stream]"):
        assert fault(interface=f"binds: {binds}").key == "runtime.web.interfaces.0.binds"
    assert plan(interface="binds: [response, request]").groups


def test_the_default_timeout_stays_within_the_longest() -> None:
    assert fault(web="max_timeout_seconds: 10").key == "runtime.web.default_timeout_seconds"


def test_an_unknown_node_is_met_with_the_nearest_or_with_all() -> None:
    assert fault(GROUPS, endpoint(node="shop.aera")).hint == "did you mean 'shop.area'?"
    assert "shop.thumbnail" in fault(GROUPS, endpoint(node="other.thing")).hint
    assert "discovery.packages" in fault("[]", endpoint(), described=Described((), {})).hint


# The application


def test_faults_of_the_application_are_told_with_those_of_the_configuration() -> None:
    described = Described(
        NODES,
        {},
        (Fault("shop.extra cannot be imported: SyntaxError", "Traceback\n  ..."), Fault("shop.gone: no such thing")),
    )
    with pytest.raises(ConfigError) as caught:
        plan(GROUPS, endpoint(node="shop.gone", path="b"), described=described)
    first, second, third = caught.value.faults
    assert "Traceback" in str(first)
    assert second.key == "runtime.web.interfaces.0.endpoints.0.node"  # it names a node that is named there
    assert "does not start" in third.what  # and not that there is no such node, for that was said


def test_a_plan_shows_no_secret() -> None:
    text = "runtime: {platform: {environment: {pass: [AWS_*], set: {TOKEN: hunter2}}}}"
    made = make_plan(decode(parse(text, "x")), Described((), {}), config_path=HOME / "x", state_dir=HOME)
    told = json.dumps(summary(made)) + repr(made)
    assert made.environment_set == (("TOKEN", "hunter2"),)
    assert "hunter2" not in told
    assert "TOKEN" in told


def test_over_unix_sockets_workers_are_told_where_to_make_theirs() -> None:
    made = plan("[{name: cpu, workers: 64, stages: [core, slow]}]", ipc="transport: unix")
    assert made.transport == "unix"
    assert made.groups[0].settings.socket_dir == str(made.state_dir / "links")
    assert summary(made)["notes"] == ["there is no endpoint and no app: nothing is served but /healthz and /readyz"]
    assert plan().groups[0].settings.socket_dir == ""


@pytest.mark.parametrize("key", ["bind_port: 9100", "bind_host: '::1'"])
@pytest.mark.parametrize("transport", ["unix", "memory"])
def test_an_address_that_nobody_listens_on_is_noted(transport: str, key: str) -> None:
    told = summary(plan("[{name: cpu, workers: 2, stages: [core, slow]}]", ipc=f"transport: {transport}, {key}"))
    assert f"bind_host and bind_port mean nothing to '{transport}': no worker listens on an address" in told["notes"]


def test_a_summary_is_data_for_programs() -> None:
    told = summary(plan(GROUPS, endpoint(path="/a/{width}")))
    assert json.loads(json.dumps(told)) == told
    assert told["links"]["ttl_seconds"] == 30
    assert "30 s old" in told["links"]["ttl_means"]
    assert "not needed on tcp_local" in told["links"]["nonce_cache_means"]
    assert "100,032 of each session and direction in 12,504 bytes" in told["links"]["nonce_cache_means"]
    assert "30 s more" in told["links"]["ttl_means"]
    assert [node["endpoints"] for node in told["nodes"]] == [[], ["/a/{width}"], [], []]
    assert told["notes"] == []


def test_what_was_probably_not_meant_is_noted() -> None:
    told = summary(plan("[{name: cpu, stages: [core, slow, sloow]}]"))
    assert told["notes"] == [
        "there is no endpoint and no app: nothing is served but /healthz and /readyz",
        "no node has the stage 'sloow', which the group 'cpu' runs",
    ]


def test_calls_that_a_stop_would_cut_short_are_noted() -> None:
    groups = "[{name: cpu, stages: [core, slow], drain_timeout_seconds: 5}, {name: web, drain_timeout_seconds: 9}]"
    told = summary(plan(groups, endpoint(timeout_seconds=5)))
    assert told["notes"] == []
    told = summary(plan(groups, endpoint(timeout_seconds=8)))
    assert [note[:41] for note in told["notes"]] == ["/a may take 8 s, 'cpu' drains for 5 s: at"]
    told = summary(plan(groups, endpoint(timeout_seconds=10)))
    assert ["'web' drains for 9 s: at a restart" in note for note in told["notes"]] == [False, True]
    told = summary(plan(groups, endpoint(timeout_seconds=10), ipc="transport: memory"))
    assert ["'web' drains for 9 s" in note for note in told["notes"]] == [True]


# In general

_stage = st.sampled_from(["core", "slow", "io"])
_name = st.sampled_from(["web", "a", "b", "c"])
_groups = st.lists(
    st.fixed_dictionaries({"name": _name, "workers": st.integers(1, 3), "stages": st.lists(_stage, max_size=2)}),
    max_size=4,
)
_nodes = st.lists(st.tuples(st.sampled_from("fgh"), _stage), max_size=3, unique_by=lambda pair: pair[0])
_endpoints = st.lists(
    st.fixed_dictionaries({"path": st.sampled_from(["/x", "/{p}", "/{q}"]), "node": st.sampled_from(["s.f", "s.g"])}),
    max_size=3,
)


@given(_groups, _nodes, _endpoints)
def test_a_plan_is_whole_or_it_is_none(
    groups: list[dict[str, Any]], nodes: list[tuple[str, str]], endpoints: list[dict[str, str]]
) -> None:
    parameters = (Parameter("p", False, {}), Parameter("q", False, {}))
    described = Described(
        tuple(NodeContract(f"s.{name}", stage, parameters, None, Result("json")) for name, stage in nodes), {}
    )
    try:
        made = plan(json.dumps(groups), json.dumps(endpoints), described=described)
    except ConfigError as error:
        assert all(found.key.startswith("runtime.") for found in error.faults)  # noqa: PT017 -- some plans are whole
        return
    *workers, web = made.groups
    assert web.role == "web"
    assert len({group.name for group in made.groups}) == len(made.groups)
    run = [contract.name for group in workers for contract in group.settings.nodes]
    assert sorted(run) == sorted(contract.name for contract in described.nodes)  # each by exactly one group
    taken = [(re.sub(r"\{.*?\}", "{}", e.path), method) for e in made.endpoints for method in e.methods]
    assert len(set(taken)) == len(taken)
    where = {contract.name: group.name for group in workers for contract in group.settings.nodes}
    assert all(where[e.node] == e.group for e in made.endpoints)


@pytest.mark.parametrize(
    "module",
    ["config", "fields", "decode", "plan", "group_plans", "decision", "checks", "endpoints", "summary", "errors"],
)
def test_what_decides_touches_nothing(module: str) -> None:
    path = Path(__file__).parents[2] / "supervisor" / f"{module}.py"
    imported = {
        name.split(".")[0]
        for statement in ast.walk(ast.parse(path.read_text()))
        if isinstance(statement, ast.Import | ast.ImportFrom)
        for name in (
            [statement.module or ""] if isinstance(statement, ast.ImportFrom) else [a.name for a in statement.names]
        )
    }
    assert not imported & {"os", "sys", "time", "random", "socket", "subprocess", "asyncio", "logging", "threading"}


# Pipelines


def row(*stages: str, **keys: Any) -> str:
    return json.dumps([{"path": "/row", "pipeline": [f"shop.{stage}" for stage in stages], **keys}])


def picture(name: str, stage: str, *parameters: Parameter) -> NodeContract:
    return NodeContract(f"shop.{name}", stage, parameters, IMAGE, Result("bytes", media_type="image/webp"))


WIDTH = Parameter("width", required=True, json_schema={"type": "integer"})
ROW = Described(
    (
        picture("decode", "core"),
        picture("crop", "core", WIDTH),
        picture("render", "slow", WIDTH),
        picture("encode", "core", Parameter("width", required=True, json_schema={"type": "string"})),
        node("area", "width"),
    ),
    {},
)


def test_a_pipeline_is_bound_like_one_node_and_its_groups_know_each_other() -> None:
    made = plan(GROUPS, row("decode", "crop", "render", "crop"), described=ROW)
    (bound,) = made.endpoints
    assert (bound.node, bound.group, bound.methods) == ("shop.decode", "cpu", ("POST",))
    assert bound.pipeline == ("shop.decode", "shop.crop", "shop.render", "shop.crop")
    cpu, batch, _ = (group.settings for group in made.groups)
    assert isinstance(cpu, ExecSettings)
    assert isinstance(batch, ExecSettings)
    assert (cpu.forwards, cpu.rows) == ({"shop.render": "batch"}, (("shop.crop",),))
    assert (batch.forwards, batch.rows) == ({"shop.crop": "cpu"}, (("shop.render", "shop.crop"),))
    told = summary(made)
    assert told["endpoints"][0]["pipeline"] == list(bound.pipeline)
    assert {each["name"]: each["endpoints"] for each in told["nodes"]}["shop.render"] == ["/row"]


def test_without_pipelines_exec_workers_have_nobody_to_call() -> None:
    made = plan(GROUPS, row("decode", "crop"), described=ROW)
    for group in made.groups[:2]:
        assert isinstance(group.settings, ExecSettings)
        assert (group.settings.forwards, group.settings.rows) == ({}, ())


@pytest.mark.parametrize(
    ("stages", "keys", "what", "key"),
    [
        (("decode", "rendre"), {}, "there is no node shop.rendre", ".pipeline.1"),
        (("decode", "area"), {}, "shop.area takes no body", ".pipeline.1"),
        (("decode", "crop", "encode"), {}, "'width' of shop.encode is of another type", ".pipeline.2"),
        (("decode", "crop"), {"node": "shop.area"}, "names a node and a pipeline", ""),
        (("decode", "crop"), {"methods": ["GET"]}, "GET requests carry no body", ".methods"),
        (("decode", "crop"), {"path": "/{height}"}, "which is no parameter of the pipeline", ".path"),
    ],
)
def test_faults_in_a_pipeline(stages: tuple[str, ...], keys: dict[str, Any], what: str, key: str) -> None:
    found = fault(GROUPS, row(*stages, **keys), described=ROW)
    assert what in found.what
    assert found.key == f"runtime.web.interfaces.0.endpoints.0{key}"


def test_a_node_that_runs_in_batches_has_its_part_of_the_way_to_itself() -> None:
    first, crop, render, *_ = ROW.nodes
    described = Described((first, replace(crop, batch=Batch(max_size=4)), render), {})
    assert plan(GROUPS, row("crop", "render"), described=described)
    assert "shop.crop runs in batches" in fault(GROUPS, row("decode", "crop"), described=described).what


def test_an_endpoint_without_node_and_pipeline_answers_nothing() -> None:
    assert "names neither a node nor a pipeline" in fault(GROUPS, '[{"path": "/a"}]').what


@pytest.mark.parametrize(
    "name", ["Host", "content-length", "Content-Type", "Authorization", "X-Request-Id", "Sec-Fetch-Mode"]
)
def test_a_header_that_means_something_else_says_no_time(name: str) -> None:
    wrong = fault(web=f"timeout_header: {name}")
    assert (wrong.key, name in wrong.what) == ("runtime.web.timeout_header", True)


@pytest.mark.parametrize("name", ["X-Request-Timeout", "Budget", "Grpc-Timeout", "Hosts", "X-Content"])
def test_any_other_may(name: str) -> None:
    web = plan(web=f"timeout_header: {name}").groups[-1]
    assert isinstance(web.settings, WebSettings)
    assert web.settings.timeout_header == name
