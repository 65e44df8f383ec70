from __future__ import annotations

import math
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.messages.settings import LogSettings
from supervisor import config as sections
from supervisor import process_group
from supervisor.config import Config, Endpoint, Environment, ExecutionIpc
from supervisor.decode import all_keys, decode, unwrap
from supervisor.document import parse
from supervisor.errors import ConfigError
from supervisor.process_group import ProcessGroup


def read(key: str, value: str) -> Config:
    """The configuration in which one dotted key has the value that stands there as YAML."""
    text = value
    for part in reversed(key.split(".")):
        text = f"{{{part}: {text}}}" if part != "-" else f"[{text}]"
    return decode(parse(text, "shunter.yaml"))


def value_of(config: object, key: str) -> Any:
    for part in key.split("."):
        config = config[0] if part == "-" else getattr(config, part)
    return config


# Every key that bounds or protects something, and the name of a legal value.
GUARDS = {
    "runtime.platform.execution_ipc.transport": "tcp_local",
    "runtime.platform.execution_ipc.bind_host": "127.0.0.1",
    "runtime.platform.execution_ipc.auth.mode": "aead",
    "runtime.platform.execution_ipc.auth.ttl_seconds": "5",
    "runtime.platform.execution_ipc.auth.nonce_cache_size": "64",
    "runtime.platform.execution_ipc.max_payload_bytes": "2048",
    "runtime.platform.kv.backend": "memory",
    "runtime.web.default_timeout_seconds": "3",
    "runtime.web.max_timeout_seconds": "3",
    "runtime.web.drain_timeout_seconds": "3",
    "runtime.web.keep_alive_seconds": "3",
    "runtime.web.queue.calls": "1",
    "runtime.web.queue.bytes": "1024",
    "runtime.web.queue.wait_seconds": "3",
}
OFF = ['""', "0", "-1", "null", "", "[]", "{}", "false", "off", ".nan", ".inf", "-0.0", '"30"', "1e999"]
# As a text any of these is a name; that only a loopback address will do is for the plan to say.
A_NAME = {"0", "-1", "false", "off", ".nan", ".inf", "-0.0", '"30"', "1e999"}


@pytest.mark.parametrize(
    ("key", "value"), [(k, v) for k in GUARDS for v in OFF if not (k.endswith("bind_host") and v in A_NAME)]
)
def test_no_guard_can_be_switched_off(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=r"expected"):
        read(key, value)


@pytest.mark.parametrize("key", GUARDS)
def test_a_guard_that_is_left_out_has_its_default_which_is_on(key: str) -> None:
    assert value_of(Config(), key)


@pytest.mark.parametrize(("key", "value"), GUARDS.items())
def test_a_legal_value_is_taken(key: str, value: str) -> None:
    assert str(value_of(read(key, value), key)) in {value, f"{value}.0"}


@pytest.mark.parametrize("section", ["auth", "execution_ipc", "queue", "runtime.log", "web", "platform", "kv"])
@pytest.mark.parametrize("value", ["null", "[]", '""', "0", "false"])
def test_no_section_can_be_emptied(section: str, value: str) -> None:
    full = next(key for key in all_keys() if key.endswith(section))
    with pytest.raises(ConfigError, match="expected a mapping"):
        read(full, value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("runtime.platform.process_groups.-.workers", "0"),
        ("runtime.platform.process_groups.-.workers", "257"),
        ("runtime.platform.process_groups.-.workers", "true"),
        ("runtime.platform.process_groups.-.start_timeout_seconds", "0"),
        ("runtime.platform.process_groups.-.drain_timeout_seconds", "null"),
        ("runtime.platform.process_groups.-.name", "Web"),
        ("runtime.platform.process_groups.-.name", "../etc"),
        ("runtime.platform.execution_ipc.auth.ttl_seconds", "3600.1"),
        ("runtime.platform.execution_ipc.max_payload_bytes", "67108865"),
        ("runtime.platform.execution_ipc.bind_port", "65536"),
        ("runtime.platform.secret_file", '""'),
        ("runtime.platform.environment.pass", '["*"]'),
        ("runtime.platform.environment.pass", '["**"]'),
        ("runtime.platform.environment.pass", "AWS_*"),
        ("runtime.platform.environment.set", '{"A=B": x}'),
        ("runtime.platform.environment.set", '{A: "\\0"}'),
        ("runtime.platform.environment.set", "{A: null}"),
        ("runtime.log.level", "off"),
        ("runtime.log.requests", "1"),
        ("runtime.web.docs", '"yes"'),
        ("runtime.web.app", "../shop.main:app"),
        ("runtime.web.app", "shop/main:app"),
        ("runtime.web.app", "shop.main"),
        ("runtime.web.interfaces.-.endpoints.-.methods", "[]"),
        ("runtime.web.interfaces.-.endpoints.-.methods", "null"),
        ("runtime.web.interfaces.-.endpoints.-.timeout_seconds", "0"),
        ("runtime.web.interfaces.-.endpoints.-.status", "404"),
        ("runtime.web.interfaces.-.endpoints.-.priority", "urgent"),
        ("runtime.web.interfaces.-.endpoints.-.priority", "0"),
        ("runtime.web.interfaces.-.endpoints.-.max_concurrency", "0"),
        ("runtime.web.interfaces.-.endpoints.-.max_concurrency", "null"),
        ("runtime.web.timeout_header", '""'),
        ("runtime.web.timeout_header", '"X Timeout"'),
        ("runtime.web.timeout_header", '"X-Timeout: 1"'),
        ("runtime.web.interfaces.-.prefix", "api"),
        ("discovery.packages", "[shop/main]"),
        ("discovery.packages", "[..shop]"),
    ],
)
def test_values_outside_of_their_bounds_are_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match="expected") as caught:
        read(key, value)
    told = [fault.key for fault in caught.value.faults]
    assert any(key.replace("-", "0") in name for name in told)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("runtime.platform.kv.backend", "redis", "no Redis carrier yet"),
        ("runtime.platform.execution_ipc.transport", "redis", "no Redis carrier yet"),
        ("runtime.web.interfaces.-.kind", "websocket", "one kind of interface, 'http'"),
        ("runtime.web.interfaces.-.kind", "graphql", "one kind of interface, 'http'"),
    ],
)
def test_what_comes_in_a_later_version_is_refused_with_a_sentence(key: str, value: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        read(key, value)
    assert len(caught.value.faults) == 1


def test_keys_of_an_interface_of_another_kind_are_not_picked_at() -> None:
    text = "{kind: graphql, path: /graphql, queries: [shop.catalog.search], mutations: []}"
    with pytest.raises(ConfigError) as caught:
        read("runtime.web.interfaces.-", text)
    assert [fault.key for fault in caught.value.faults] == ["runtime.web.interfaces.0.kind"]


def test_the_contract_of_the_platform_keys_holds() -> None:
    platform = read(
        "runtime.platform",
        "{kv: {backend: memory}, execution_ipc: {transport: tcp_local, bind_host: 127.0.0.1, bind_port: 0,"
        " auth: {mode: hmac, ttl_seconds: 30, nonce_cache_size: 100000}, max_payload_bytes: 1048576},"
        " process_groups: [{name: web, workers: 2}, {name: cpu_sync, workers: 4, stages: [core]}]}",
    ).runtime.platform
    assert platform.execution_ipc == ExecutionIpc()
    assert platform.process_groups[1] == ProcessGroup(name="cpu_sync", workers=4, stages=("core",))


@pytest.mark.parametrize(
    ("written", "meant"), [("1", "1"), ("no", "no"), ("010", "010"), ("1.50", "1.50"), ("'x'", "x")]
)
def test_a_text_is_what_stands_there_whatever_yaml_makes_of_it(written: str, meant: str) -> None:
    environment = read("runtime.platform.environment.set", f"{{VALUE: {written}}}").runtime.platform.environment
    assert environment == Environment(set={"VALUE": meant})


def test_every_key_has_its_meaning_in_writing() -> None:
    source = {
        kind: kind.__doc__
        for kind in [*vars(sections).values(), *vars(process_group).values()]
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind is not msgspec.Struct
    }
    assert all(source.values())


def test_the_levels_are_those_that_workers_know() -> None:
    ours, _ = unwrap(next(f.type for f in msgspec.structs.fields(sections.Log) if f.name == "level"))
    theirs = next(f.type for f in msgspec.structs.fields(LogSettings) if f.name == "level")
    assert get_args(ours) == get_args(theirs)


def test_the_configuration_cannot_be_changed_once_it_is_read() -> None:
    with pytest.raises(AttributeError):
        Config().runtime = sections.Runtime()  # type: ignore[misc]


@given(st.floats())
def test_a_time_is_positive_bounded_and_a_number_or_it_is_refused(seconds: float) -> None:
    written = {math.inf: ".inf", -math.inf: "-.inf"}.get(seconds, ".nan" if math.isnan(seconds) else f"{seconds:.20f}")
    try:
        taken = read("runtime.platform.execution_ipc.auth.ttl_seconds", written)
    except ConfigError:
        assert not 0 < float(written.replace(".nan", "nan").replace(".inf", "inf")) <= 3600
    else:
        assert 0 < taken.runtime.platform.execution_ipc.auth.ttl_seconds <= 3600


_words = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
_anything = st.recursive(
    _words,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["runtime", "web", "port", "platform", "name", "kind", "x"]), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@given(_anything)
def test_any_document_becomes_a_configuration_or_a_fault(document: object) -> None:
    try:
        config = decode(parse(msgspec.json.encode(document).decode(), "shunter.yaml"))
    except ConfigError as error:
        assert all(fault.where for fault in error.faults)  # noqa: PT017 -- most documents have faults, some none
    else:
        assert isinstance(config, Config)


def test_an_endpoint_needs_a_path_and_names_its_nodes() -> None:
    with pytest.raises(ConfigError) as caught:
        read("runtime.web.interfaces", "[{kind: http, endpoints: [{}]}]")
    assert [fault.what for fault in caught.value.faults] == ["the key 'path' is missing"]
    one, row = (
        read(
            "runtime.web.interfaces",
            "[{kind: http, endpoints: [{path: /a, node: a.b}, {path: /b, pipeline: [a.b, c.d]}]}]",
        )
        .runtime.web.interfaces[0]
        .endpoints
    )
    assert (one.stages, one.key_of(0)) == (("a.b",), "node")
    assert (row.stages, row.key_of(1)) == (("a.b", "c.d"), "pipeline.1")
    for few_or_many in ("[a.b]", "[" + "a.b," * 17 + "]"):
        with pytest.raises(ConfigError):
            read("runtime.web.interfaces", f"[{{kind: http, endpoints: [{{path: /a, pipeline: {few_or_many}}}]}}]")
    assert msgspec.structs.fields(Endpoint)[0].required
