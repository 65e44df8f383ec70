"""What may be said of one worker's life and limits, and what becomes of it in the plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ipc.contract import Described, HookContract, NodeContract, Result
from ipc.messages.settings import ExecSettings, ResourceLimits
from supervisor.decision import make_plan
from supervisor.decode import decode
from supervisor.document import parse
from supervisor.errors import ConfigError
from supervisor.machine import Machine, look_around
from supervisor.policy import RestartPolicy
from supervisor.process_group import ProcessGroup
from supervisor.recycling import Recycling
from supervisor.scaling import Scaling
from supervisor.summary import summary
from supervisor.worker_checks import check_hooks

if TYPE_CHECKING:
    from supervisor.plan import Plan


MACHINE = Machine(cores=(0, 2, 3), open_files=4096, root=False)
HOME = Path("/srv/shop")
MiB = 2**20


def plan(cpu: str = "", web: str = "", *, transport: str = "tcp_local", machine: Machine | None = MACHINE) -> Plan:
    groups = f"[{{name: web, {web}}}, {{name: cpu, stages: [core], {cpu}}}]"
    text = f"runtime: {{platform: {{process_groups: {groups}, execution_ipc: {{transport: {transport}}}}}}}"
    config = decode(parse(text, "shunter.yaml"))
    return make_plan(config, Described((), {}), config_path=HOME / "x.yaml", state_dir=HOME / "state", machine=machine)


def settings(made: Plan) -> ExecSettings:
    (found,) = (group.settings for group in made.groups if isinstance(group.settings, ExecSettings))
    return found


def group(made: Plan, name: str) -> dict[str, Any]:
    return next(each for each in summary(made)["groups"] if each["name"] == name)


def test_nothing_is_bounded_unless_it_is_said() -> None:
    made = plan()
    assert [each.recycling for each in made.groups] == [Recycling(), Recycling()]
    told = settings(made)
    assert (told.nice, told.cores, told.spread, told.limits) == (0, (), False, ResourceLimits())
    assert group(made, "cpu")["recycling"] == group(made, "cpu")["kernel"] == {}


def test_what_is_said_reaches_the_workers_and_the_summary() -> None:
    made = plan(
        "nice: 5, cpu_affinity: [2, 0], max_requests: 1000, max_memory: 512MiB,"
        " limits: {address_space: 2 GiB, open_files: 256, processes: 64, file_size: 1048576}",
        "max_requests: 50, max_requests_jitter: 0.5, max_memory: 104857600, max_memory_kill: 200MiB",
    )
    cpu, web = made.groups
    assert cpu.recycling == Recycling(1000, 0.1, 512 * MiB, 640 * MiB)
    assert web.recycling == Recycling(50, 0.5, 100 * MiB, 200 * MiB)
    told = settings(made)
    assert (told.nice, told.cores, told.spread) == (5, (2, 0), False)
    assert told.limits == ResourceLimits(2048 * MiB, 256, 64, MiB)
    assert group(made, "cpu")["recycling"] == {
        "max_requests": [900, 1000],
        "max_memory": 512 * MiB,
        "max_memory_kill": 640 * MiB,
    }
    assert group(made, "cpu")["kernel"] == {
        "nice": 5,
        "address_space": 2048 * MiB,
        "open_files": 256,
        "processes": 64,
        "file_size": MiB,
        "cpu_affinity": [2, 0],
    }


def test_a_group_may_follow_its_load() -> None:
    made = plan("workers: {min: 2, max: 6, target_wait_ms: 20}")
    cpu, web = made.groups
    assert (cpu.workers, cpu.most, cpu.scaling) == (2, 6, Scaling(2, 6, 0.02))
    assert (web.workers, web.most, web.scaling) == (1, 1, None)
    assert group(made, "cpu")["workers"] == {"min": 2, "max": 6, "target_wait_ms": 20}
    assert plan("workers: {max: 3}").groups[0].scaling == Scaling(1, 3, 0.05)
    assert made.resized("cpu", 4) == made
    assert [each.workers for each in plan("workers: 2").resized("cpu", 4).groups] == [4, 1]


@pytest.mark.parametrize(
    ("cpu", "web", "transport", "what"),
    [
        ("workers: {min: 5, max: 4}", "", "tcp_local", "min (5) is more than max (4)"),
        ("workers: {min: 2}", "", "tcp_local", "the key 'max' is missing"),
        ("workers: {max: 0}", "", "tcp_local", "expected a whole number from 1 to 256, got 0"),
        ("workers: {max: 257}", "", "tcp_local", "expected a whole number from 1 to 256, got 257"),
        ("workers: {max: 2, target_wait_ms: 0}", "", "tcp_local", "expected a time in milliseconds"),
        ("workers: {max: 2, most: 3}", "", "tcp_local", "unknown key 'most'"),
        ("workers: [1, 4]", "", "tcp_local", "expected a whole number from 1 to 256, got a list"),
        ("workers: 2", "workers: {max: 4}", "tcp_local", "the workers of 'web' cannot follow the load: what waits"),
        ("workers: {max: 4}", "", "memory", "the workers of 'cpu' cannot follow the load: 'memory' makes threads"),
    ],
)
def test_a_range_of_workers_that_makes_no_sense_is_refused(cpu: str, web: str, transport: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(cpu, web, transport=transport)
    assert what in caught.value.faults[0].what
    assert caught.value.faults[0].key.startswith("runtime.platform.process_groups.")


def test_spread_takes_the_cores_there_are() -> None:
    made = plan("cpu_affinity: spread")
    assert (settings(made).cores, settings(made).spread) == ((0, 2, 3), True)
    assert group(made, "cpu")["kernel"] == {"cpu_affinity": "spread"}


@pytest.mark.parametrize(
    ("cpu", "what", "key"),
    [
        ("cpu_affinity: [0, 1, 7]", "this process may not use core 1, 7", "cpu_affinity"),
        ("limits: {open_files: 5000}", "5000 open files are more than the 4096", "limits.open_files"),
        ("limits: {address_space: 100MiB}", "100MiB is no sensible address_space", "limits.address_space"),
        ("limits: {address_space: 99999999TiB}", "is no sensible address_space", "limits.address_space"),
        ("limits: {file_size: 0}", "0 is no sensible file_size", "limits.file_size"),
        ("max_memory: 0", "0 is no sensible max_memory", "max_memory"),
        ("max_memory: 10MiB", "10MiB is no sensible max_memory", "max_memory"),
        ("max_memory_kill: 100MiB", "max_memory_kill needs max_memory", "max_memory_kill"),
        ("max_memory: 100MiB, max_memory_kill: 102400 KiB", "is not more than max_memory", "max_memory_kill"),
    ],
)
def test_what_no_worker_could_keep_to_is_refused(cpu: str, what: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(cpu)
    (fault,) = caught.value.faults
    assert what in fault.what
    assert fault.key == f"runtime.platform.process_groups.1.{key}"


@pytest.mark.parametrize(
    ("cpu", "what"),
    [
        ("max_memory: 512 MB", "expected a size such as 536870912, 512MiB or 2GiB, got '512 MB'"),
        ("max_memory: 1.5GiB", "expected a size"),
        ("max_memory: -1", "expected a size"),
        ("max_memory: []", "expected a size"),
        ("max_requests: 0", "expected a whole number from 1 to 1000000000, got 0"),
        ("max_requests_jitter: 0.6", "expected a fraction from 0 to 0.5, got 0.6"),
        ("nice: -1", "expected a whole number from 0 to 19, got -1"),
        ("nice: 20", "expected a whole number from 0 to 19, got 20"),
        ("cpu_affinity: spred", "expected a list of cores such as [0, 1], or 'spread', got 'spred'"),
        ("cpu_affinity: 1", "expected a list of cores such as [0, 1], or 'spread', got 1"),
        ("cpu_affinity: []", "expected at least one item, got an empty list"),
        ("cpu_affinity: [one]", "expected the number of a processor core such as 0, got 'one'"),
        ("cpu_affinity: {0: 1}", "or 'spread', got a mapping"),
        ("limits: {open_files: 3}", "expected a whole number from 64 to 1048576, got 3"),
        ("limits: {processes: 0}", "expected a whole number from 16"),
        ("limits: {memory: 1GiB}", "unknown key 'memory'"),
    ],
)
def test_a_value_out_of_bounds_is_refused_in_words(cpu: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(cpu)
    assert what in caught.value.faults[0].what


@pytest.mark.parametrize("key", ["nice: 1", "cpu_affinity: spread", "limits: {open_files: 256}"])
def test_the_kernel_is_told_of_exec_workers_alone(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key.partition(':')[0]} means nothing to 'web'"):
        plan(web=key)


@pytest.mark.parametrize(
    "key",
    [
        "nice: 1",
        "limits: {open_files: 256}",
        "max_requests: 5",
        "max_memory: 1GiB",
        "restart: {strategy: one_for_all}",
    ],
)
def test_threads_have_no_life_or_limits_of_their_own(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key.partition(':')[0]} means nothing to 'cpu': 'memory' makes threads"):
        plan(key, transport="memory")
    if key.startswith(("max", "restart")):
        assert plan(web=key, transport="memory")


def test_what_is_said_of_restarts_is_kept_to() -> None:
    assert plan().groups[0].policy == RestartPolicy()
    keys = "strategy: rest_for_one, limit: 3, stable_seconds: 5, backoff_seconds: 1, backoff_max_seconds: 8, jitter: 0"
    (cpu, web) = plan(f"restart: {{{keys}}}").groups
    assert cpu.policy == RestartPolicy(3, 5.0, 1.0, 8.0, 0.0, "rest_for_one")
    assert web.policy == RestartPolicy()


def test_waits_do_not_grow_to_less_than_they_were() -> None:
    with pytest.raises(ConfigError, match=r"backoff_max_seconds \(1\) is less than backoff_seconds \(2\)"):
        plan("restart: {backoff_seconds: 2, backoff_max_seconds: 1}")


def test_a_limit_that_root_does_not_keep_to_is_noted() -> None:
    root = MACHINE._replace(root=True)
    noted = [note for note in summary(plan("limits: {processes: 50}", machine=root))["notes"] if "root" in note]
    assert noted == ["limits.processes does not hold for root, and 'cpu' runs as root: give it a user"]
    assert not any("root" in note for note in summary(plan("limits: {processes: 50}"))["notes"])


def test_this_machine_can_be_looked_at() -> None:
    here = look_around()
    assert here.cores
    assert here.open_files >= 64


def described(*hooks: HookContract) -> Described:
    nodes = [
        NodeContract(f"shop.{name}.f", name, (), None, Result("json"), imported_from=f"shop.{name}:f")
        for name in ("plain", "looped")
    ]
    return Described(tuple(nodes), {}, hooks=hooks)


@pytest.mark.parametrize(
    ("module", "asynchronous", "wrong"),
    [
        ("shop.plain", ("looped",), "'plain', whose nodes its module has, runs its nodes without an event loop"),
        ("shop.plain", (), "'plain', whose nodes its module has"),
        ("shop.pool", (), "every group runs its nodes without"),
        ("shop.pool", ("looped",), ""),  # it is for the group that imports it, and its workers will know
        ("shop.looped", ("looped",), ""),
    ],
)
def test_async_hooks_are_for_groups_with_an_event_loop(module: str, asynchronous: tuple[str, ...], wrong: str) -> None:
    groups = [ProcessGroup(name=name, stages=(name,)) for name in ("plain", "looped")]
    for kind in ("on_worker_start", "on_worker_stop"):
        hook = HookContract(f"{module}.connect", module, kind, asynchronous=True)
        faults = list(check_hooks(groups, described(hook), asynchronous))
        assert [f"{module}.connect ({kind}) is `async def`" in fault.what for fault in faults] == [True] * bool(wrong)
        assert all(wrong in fault.what for fault in faults)
        plain = HookContract(f"{module}.connect", module, kind)
        assert not list(check_hooks(groups, described(plain), asynchronous))
