from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ipc.messages.settings import ExecSettings, WebSettings
from ipc.names import WorkerName
from ipc.wire.keys import leaf_key
from supervisor.keys import Keys
from supervisor.life import State
from supervisor.peers import Directory
from supervisor.plan import GroupPlan
from supervisor.reach import MAX_UNFINISHED, Reach
from supervisor.rotation import Rotation

WEB, CPU, GPU, NET = (WorkerName(group, 0, 1) for group in ("web", "cpu", "gpu", "net"))


def plans() -> list[GroupPlan]:
    """A pipeline leads from cpu to gpu and back."""
    web: Any = WebSettings((), (), {}, {})
    return [
        GroupPlan("cpu", "exec", 1, (), ExecSettings((), forwards={"b": "gpu"})),
        GroupPlan("gpu", "exec", 1, (), ExecSettings((), forwards={"c": "cpu"})),
        GroupPlan("net", "exec", 1, (), ExecSettings(())),
        GroupPlan("web", "web", 1, (), web),
    ]


def test_a_web_worker_calls_everybody_and_an_exec_worker_those_that_follow_it() -> None:
    reach = Reach(plans())
    covered = {(client.group, server.group) for client in (WEB, CPU, GPU, NET) for server in (CPU, GPU, NET)
               if reach.covers(client, server)}  # fmt: skip
    assert covered == {("web", "cpu"), ("web", "gpu"), ("web", "net"), ("cpu", "gpu"), ("gpu", "cpu")}
    assert [reach.dials(group) for group in ("web", "cpu", "gpu", "net")] == [True, True, True, False]
    assert [reach.role(group) for group in ("web", "cpu", "net")] == ["web", "exec", "exec"]


def test_nobody_is_told_a_key_of_somebody_he_does_not_call() -> None:
    keys = Keys()
    servers = [SimpleNamespace(name=name, address=str(name), room=1, state=State.UP) for name in (CPU, GPU, NET)]
    told: dict[WorkerName, list[Any]] = {CPU: [], WEB: []}
    clients = [SimpleNamespace(name=name, say=said.append) for name, said in told.items()]
    directory = Directory(keys, Rotation(keys.epoch, 30.0), lambda: servers, lambda: clients, Reach(plans()))  # type: ignore[arg-type]
    (peer,) = directory.for_client(CPU).workers
    secret = keys.of_server(GPU, keys.epoch)
    assert (peer.name, peer.key) == (str(GPU), leaf_key(secret, CPU, "exec"))
    assert peer.key != leaf_key(secret, CPU)
    assert [each.name for each in directory.for_client(WEB).workers] == [str(CPU), str(GPU), str(NET)]
    assert directory.for_client(NET).workers == ()
    servers[1].state = State.DRAINING
    directory.refresh()
    assert [[each.name for each in said[-1].workers] for said in told.values()] == [[], [str(CPU), str(NET)]]


def test_versions_call_each_other_only_where_they_are_understood() -> None:
    reach = Reach(plans())
    web, cpu, gpu = (WorkerName(group, 0, 2) for group in ("web", "cpu", "gpu"))
    reach.begin(plans(), ("cpu", "gpu", "web"), 1, before_do=("gpu",), after_do=("cpu",))
    for name in (web, cpu, gpu):
        reach.born(name, 1)

    def called(client: WorkerName) -> list[str]:
        return [str(server) for server in (CPU, cpu, GPU, gpu, NET) if reach.covers(client, server)]

    assert called(web) == ["cpu-0#2", "gpu-0#1", "gpu-0#2", "net-0#1"]
    assert called(WEB) == ["cpu-0#1", "gpu-0#1", "net-0#1"]
    reach.decide()
    assert called(WEB) == ["cpu-0#1", "cpu-0#2", "gpu-0#1", "net-0#1"]
    reach.part()
    assert called(WEB) == ["cpu-0#1", "cpu-0#2", "gpu-0#1", "gpu-0#2", "net-0#1"]
    reach.end(plans())
    assert called(web) == called(WEB)


def test_who_understands_whom_is_remembered_of_a_change_that_was_not_finished_while_others_are_tried() -> None:
    reach, changing = Reach(plans()), ("cpu", "web")
    web, cpu = (WorkerName(group, 1, 2) for group in ("web", "cpu"))
    reach.begin(plans(), changing, 1)
    reach.born(web, 1)
    reach.decide()
    reach.begin(plans(), changing, 2, before_do=("cpu",))
    reach.born(cpu, 2)
    assert not reach.covers(web, CPU)
    assert not reach.covers(web, cpu)  # nor was it decided
    third = WorkerName("web", 2, 3)
    reach.born(third, 2)
    assert reach.covers(third, cpu)
    assert not reach.covers(third, CPU)  # the second version understands it, not the first
    reach.undo()
    reach.died(cpu)
    assert not reach.covers(web, CPU)
    assert reach.covers(WEB, CPU)
    reach.end(plans())
    assert reach.covers(web, CPU)


def test_it_remembers_those_who_live_and_a_bounded_number_of_changes() -> None:
    reach = Reach(plans())
    for number in range(1, 100):
        reach.begin(plans(), ("cpu", "web"), number)
        reach.born(WorkerName("cpu", 0, number), number)
        reach.died(WorkerName("cpu", 0, number - 1))
        reach.decide()
    assert len(reach._passages) == MAX_UNFINISHED + 1
    assert list(reach._editions) == [WorkerName("cpu", 0, 99)]
    reach.end(plans())
    assert not reach._passages
