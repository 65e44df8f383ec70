"""What may be said of a group that runs a program, what becomes of it in the plan, and where the program is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ipc.contract import Described
from ipc.messages.settings import CommandSettings, LogSettings, ResourceLimits
from supervisor.decision import make_plan
from supervisor.decode import decode
from supervisor.difference import difference
from supervisor.document import parse
from supervisor.errors import ConfigError
from supervisor.programs import programs
from supervisor.reach import Reach
from supervisor.summary import summary
from supervisor.users import Identity, of_everybody

if TYPE_CHECKING:
    from supervisor.plan import Plan


HOME = Path("/srv/shop")
COMMAND = "command: [redis-server, --port, 6379, --save, '']"


def config(*groups: str, transport: str = "tcp_local") -> Any:
    listed = ", ".join(f"{{{group}}}" for group in groups)
    text = f"runtime: {{platform: {{process_groups: [{listed}], execution_ipc: {{transport: {transport}}}}}}}"
    return decode(parse(text, "shunter.yaml"))


def plan(*groups: str, transport: str = "tcp_local") -> Plan:
    made = config(*groups, transport=transport)
    where = {"redis": "/usr/bin/redis-server"}
    return make_plan(
        made, Described((), {}), config_path=HOME / "shunter.yaml", state_dir=HOME / "state", programs=where
    )


def faults(*groups: str, transport: str = "tcp_local") -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        plan(*groups, transport=transport)
    return [(fault.what, fault.key.removeprefix("runtime.platform.process_groups.")) for fault in caught.value.faults]


@pytest.mark.parametrize("transport", ["tcp_local", "unix", "memory"])
def test_commands_come_first_and_are_told_what_is_said(transport: str) -> None:
    made = plan(
        "name: cpu, stages: [core]",
        f"name: redis, {COMMAND}, workers: 2, ready: {{tcp: 6379}}, stop_signal: SIGINT, drain_timeout_seconds: 3,"
        " start_timeout_seconds: 4, environment: {pass: [REDIS_*], set: {A: b}}, nice: 5, limits: {open_files: 100}",
        transport=transport,
    )
    assert [(group.name, group.role, group.embedded) for group in made.groups] == [
        ("redis", "command", False),
        ("cpu", "exec", transport == "memory"),
        ("web", "web", False),
    ]
    redis = made.groups[0]
    assert redis.settings == CommandSettings(
        ("redis-server", "--port", "6379", "--save", ""),
        "/usr/bin/redis-server",
        str(HOME),
        tcp=6379,
        stop_signal="SIGINT",
        nice=5,
        limits=ResourceLimits(open_files=100),
    )
    assert (redis.start_timeout, redis.drain_timeout, redis.in_place) == (4, 3, True)
    assert (redis.passed, redis.added) == (("REDIS_*",), (("A", "b"),))
    told = summary(made)["groups"][0]
    assert (told["command"][0], told["ready"], told["environment"]) == (
        "redis-server",
        {"tcp": 6379},
        {"passed": ["REDIS_*"], "set": ["A"]},
    )


def test_a_program_gets_no_key_and_calls_nobody() -> None:
    reach = Reach(plan("name: cpu, stages: [core]", f"name: redis, {COMMAND}").groups)
    assert not reach.dials("redis")
    assert reach.dials("web")


def test_who_imports_the_application_is_not_who_runs_programs() -> None:
    made = config("name: web, user: shop", f"name: redis, {COMMAND}, user: redis")
    shop, redis = Identity(1, 1), Identity(2, 2)
    assert of_everybody(made, {"redis": redis}) is None
    assert of_everybody(made, {"redis": redis, "web": shop}) == shop


def test_a_reload_replaces_it_for_what_it_is_told_itself_and_for_nothing_else() -> None:
    def kinds(old: Plan, new: Plan) -> dict[str, str]:
        return {change.group: change.kind for change in difference(old, new).changes}

    before = plan("name: cpu, stages: [core]", f"name: redis, {COMMAND}")
    after = replace(before, environment_set=(("A", "b"),), log=LogSettings("debug"))
    assert kinds(before, after) == {"redis": "same", "cpu": "changed", "web": "changed"}
    for more in ("environment: {set: {A: b}}", "ready: {tcp: 6379}", "stop_signal: SIGINT", "overlap: true", "nice: 5"):
        after = plan("name: cpu, stages: [core]", f"name: redis, {COMMAND}, {more}")
        assert kinds(before, after) == {"redis": "changed", "cpu": "same", "web": "same"}


def test_without_a_sign_it_is_ready_after_a_moment() -> None:
    assert summary(plan(f"name: redis, {COMMAND}"))["groups"][0]["ready"] == {"seconds": 0.5}


@pytest.mark.parametrize(
    ("group", "what", "key"),
    [
        (f"name: redis, stages: [core], {COMMAND}", "runs no nodes, so no stage is its own", "0.stages"),
        *(
            (f"name: redis, {COMMAND}, {key}: {value}", f"{key} means nothing to 'redis'", f"0.{key}")
            for key, value in {
                "slots": "2",
                "mode": "async",
                "preload": "true",
                "max_requests": "5",
                "max_memory": "512MiB",
                "kill_grace_seconds": "1",
                "cancel_grace_seconds": "1",
            }.items()
        ),
        *(
            (f"name: cpu, stages: [core], {key}: {value}", f"{key} means nothing to 'cpu'", f"0.{key}")
            for key, value in {
                "ready": "{tcp: 1}",
                "stop_signal": "SIGINT",
                "overlap": "true",
                "environment": "{set: {A: b}}",
            }.items()
        ),
        (f"name: redis, {COMMAND}, workers: {{min: 1, max: 3}}", "cannot follow the load", "0.workers"),
        (f"name: web, {COMMAND}", "is no other program", "0.command"),
        (f"name: redis, {COMMAND}, ready: {{}}", "and here are 0", "0.ready"),
        (f"name: redis, {COMMAND}, ready: {{tcp: 1, log: x}}", "and here are 2", "0.ready"),
        (f"name: redis, {COMMAND}, ready: {{tcp: 65535}}, workers: 2", "no ports 65535 to 65536", "0.ready.tcp"),
        (f"name: redis, {COMMAND}, ready: {{http: 'http://[::1]:65536'}}", "no ports 65536", "0.ready.http"),
    ],
)
def test_what_makes_no_sense_names_its_key(group: str, what: str, key: str) -> None:
    found = faults(group)
    assert any(what in said and place == key for said, place in found), found


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("command", "[]"),
        ("command", "redis-server"),
        ("ready", "{tcp: 0}"),
        ("ready", "{tcp: 65536}"),
        ("ready", "{http: 'https://127.0.0.1/'}"),
        ("ready", "{http: 'http://example.com/'}"),
        ("ready", "{http: 'http://127.0.0.1.example.com/'}"),
        ("ready", "{http: 'http://127.0.0.1/\\r\\nX: y'}"),
        ("ready", "{log: ''}"),
        ("stop_signal", "SIGKILL"),
        ("stop_signal", "9"),
    ],
)
def test_what_has_no_sense_at_all_is_refused(key: str, value: str) -> None:
    keys = {"command": "[sleep]"} | {key: value}
    with pytest.raises(ConfigError, match=key):
        config("name: redis, " + ", ".join(f"{name}: {said}" for name, said in keys.items()))


# Where programs are.


def found(directory: Path, program: str, **environ: str) -> str:
    return programs(config(f"name: redis, command: [{program}]"), directory, environ)["redis"]


def program(path: Path, mode: int = 0o755) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def test_a_bare_name_is_looked_for_in_path_and_another_beside_the_configuration(tmp_path: Path) -> None:
    one, two = program(tmp_path / "bin" / "tool"), program(tmp_path / "tool")
    assert found(tmp_path, "tool", PATH=f".:/nowhere:{one.parent}") == str(one)
    assert found(tmp_path, "./tool", PATH=str(one.parent)) == str(two)
    assert found(tmp_path, str(one), PATH="") == str(one)
    told = config(f"name: redis, command: [tool], environment: {{set: {{PATH: '{one.parent}'}}}}")
    assert programs(told, tmp_path, {"PATH": "/bin"}) == {"redis": str(one)}


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("gone", "there is no program 'gone' in PATH"),
        ("plain", "there is no program 'plain' in PATH"),
        ("''", "there is no program '' in PATH"),
        ("./gone", "there is no file"),
        ("./plain", "is not executable"),
        ("./bin", "is no regular file"),
        ("./planted", "others than its owner have access"),
    ],
)
def test_what_cannot_be_run_is_an_error_with_its_key(tmp_path: Path, name: str, what: str) -> None:
    program(tmp_path / "bin" / "tool")
    program(tmp_path / "bin" / "plain", 0o644)
    program(tmp_path / "plain", 0o644)
    program(tmp_path / "planted", 0o777)
    with pytest.raises(ConfigError, match=what) as caught:
        found(tmp_path, name, PATH=str(tmp_path / "bin"))
    assert caught.value.faults[0].key == "runtime.platform.process_groups.0.command.0"
