"""Never another caller's answer: very many calls with short patience, cancels and kills, each with its own answer.

On `tcp_local` the workers are processes that a supervisor's group starts again, and the kills are SIGKILL. Threads
cannot be killed, so on `memory` it is the links that are cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections import Counter
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from exec_worker.components import Components
from exec_worker.embedded import Embedded
from exec_worker.loader import contract_at, find
from ipc.caller import Caller
from ipc.errors import IpcError, Rejected
from ipc.flow.pending import Pending
from ipc.link import terms_of
from ipc.log import Log
from ipc.messages.calls import RequestMeta, encode_meta
from ipc.messages.lifeline import Bootstrap, Ended
from ipc.messages.settings import EmbeddedGroup, ExecSettings, Limits, LogSettings
from ipc.names import WorkerName
from ipc.scoreboard import create
from supervisor.environment import scrub
from supervisor.group import Group
from supervisor.keys import Keys
from supervisor.peers import Directory
from supervisor.plan import GroupPlan
from supervisor.policy import RestartPolicy
from supervisor.reach import Reach
from supervisor.rotation import Rotation
from supervisor.spawn import Launcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from ipc.contract import NodeContract
    from ipc.ledger import Begun
    from supervisor.child import Worker

SOAK = "SHUNTER_SOAK" in os.environ
CALLS = 1_000_000 if SOAK else 50_000
"""On each transport."""
STRICT = 100_000 if SOAK else 2_000
AT_ONCE = 24
WORKERS = 2
NODES = str(Path(__file__).parent / "nodes")
ROUTES = dict.fromkeys(("parrot.echo", "parrot.strict", "parrot.patient"), "cpu")
ME = WorkerName("web", 0, 1)
LIMITS = Limits(max_payload=4096)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> ExecSettings:
    monkeypatch.syspath_prepend(NODES)
    return ExecSettings(contracts("parrot.echo", "parrot.strict"), sys_path=(NODES,))


def contracts(*names: str) -> tuple[NodeContract, ...]:
    return tuple(contract_at(find(name), Components())[1] for name in names)


def bootstrap(name: WorkerName, settings: ExecSettings, epoch: int, secret: bytes) -> Bootstrap:
    return Bootstrap(str(name), epoch, "hmac", LIMITS, LogSettings(level="error"), settings, secret)


class Crowd:
    """Those who ask, and what they were told."""

    def __init__(self, caller: Caller, patience: float) -> None:
        self.caller, self.patience = caller, patience
        self.node, self.at_once = "parrot.echo", AT_ONCE
        self.rng = random.Random()
        self.verdicts: Counter[str] = Counter()
        self.mismatches: list[str] = []

    async def ask(self, count: int) -> None:
        """So many calls, and many of them at once."""
        left = iter(range(count))
        await asyncio.gather(*(self._one_after_the_other(left) for _ in range(self.at_once)))

    async def _one_after_the_other(self, left: Iterator[int]) -> None:
        for _ in left:
            try:
                await self._one()
            except Rejected:
                await asyncio.sleep(0.005)

    async def _one(self) -> None:
        rng = self.rng
        slow = rng.random() < 0.003
        call_id, token = rng.randbytes(16), bytes([slow]) + rng.randbytes(rng.choice([16, 16, 16, 1000]))
        meta = encode_meta(RequestMeta(self.node, call_id.hex(), "t", str(ME), 1))
        hurries = rng.random() < (0.5 if slow else 0.04)
        timeout = rng.uniform(0.0005, 0.02) if hurries else self.patience
        if self.node != "parrot.echo":
            token, timeout = rng.randbytes(32), rng.uniform(0.001, 0.012)
        verdict = "done"
        try:
            call = self.caller.call(self.node, call_id, meta, token, timeout)
            if rng.random() < 0.03:
                asyncio.get_running_loop().call_later(rng.uniform(0, 0.01), self.caller.cancel, call)
            async with asyncio.timeout(3 * self.patience or 30.0):
                answer = await call.future
            if answer.body != sha256(call_id.hex().encode() + token).digest():
                self.mismatches.append(call_id.hex())
        except TimeoutError:
            verdict = "never"
        except IpcError as error:
            verdict = type(error).__name__
            if isinstance(error, Rejected):
                raise
        finally:
            self.verdicts[verdict] += 1


@asynccontextmanager
async def processes(settings: ExecSettings) -> AsyncIterator[tuple[Caller, Callable[[], object]]]:
    """Exec workers as a supervisor has them; and how one of them is killed."""
    keys = Keys()
    launcher = Launcher(scrub(os.environ, (), ()))
    groups: list[Group] = []

    def servers() -> Iterator[Worker]:
        for group in groups:
            yield from group.everybody()

    terms = terms_of(bootstrap(ME, settings, keys.epoch, b""), "tcp_local")
    caller = Caller(ME, terms, LIMITS, ROUTES)
    me = SimpleNamespace(name=ME, say=caller.update)

    def buried(worker: Worker, begun: Begun, suspects: tuple[bytes, ...]) -> None:
        caller.fate(Ended(str(worker.name), begun.ids, begun.since, suspects))

    directory = Directory(keys, Rotation(keys.epoch, 30.0), servers, lambda: [me], Reach([]))  # type: ignore[list-item]
    group = Group(
        GroupPlan("cpu", "exec", WORKERS, (), settings, calls_at_once=settings.slots),
        launch=lambda name: launcher.launch(name, "exec"),
        greeting=lambda name: [bootstrap(name, settings, keys.epoch, keys.of_server(name, keys.epoch))],
        refresh=directory.refresh,
        tell=lambda _event: None,
        heard=lambda _worker, _message: None,
        buried=buried,
        policy=RestartPolicy(limit=10**6, base=0.02, cap=0.05),
    )
    groups.append(group)

    def kill() -> None:
        busy = [each.pid for each in servers() if each.ledger is not None and any(each.ledger.running())]
        if pids := [pid for pid in busy if pid is not None] or group.pids:
            os.kill(random.choice(pids), signal.SIGKILL)

    try:
        await group.start()
        yield caller, kill
    finally:
        await caller.close()
        group.stop(force=True)
        await group.gone()


@asynccontextmanager
async def threads(settings: ExecSettings) -> AsyncIterator[tuple[Caller, Callable[[], object]]]:
    """Exec workers that are threads; and how a link to one of them is cut."""
    terms = terms_of(bootstrap(ME, settings, 1, b""), "memory")
    log = Log(str(ME), LogSettings(level="error"))
    page = create("answers")
    embedded = Embedded(str(ME), (EmbeddedGroup("cpu", WORKERS, settings),), terms, LIMITS, log, page)
    os.close(page)
    caller = Caller(ME, terms, LIMITS, ROUTES, embedded.connect)

    def cut() -> None:
        links = [peer.link for peer in caller._mesh._peers.values() if peer.link is not None]
        if links:
            random.choice(links).abort()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    embedded.start()
    caller.update(embedded.peers())
    try:
        yield caller, cut
    finally:
        sys.setswitchinterval(interval)
        await caller.close()
        await embedded.drain()
        embedded._loop.call_soon_threadsafe(embedded._loop.stop)
        embedded._io.join()
        embedded._loop.close()


async def every(seconds: float, what: Callable[[], object]) -> None:
    while True:
        await asyncio.sleep(random.uniform(0.5, 1.5) * seconds)
        what()


async def ask(
    workers: Any, settings: ExecSettings, count: int, pause: float, patience: float = 10.0
) -> tuple[Crowd, Caller]:
    async with workers(settings) as (caller, hurt):
        crowd = Crowd(caller, patience)
        hurting = asyncio.create_task(every(pause, hurt))
        await crowd.ask(count)
        hurting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await hurting
        assert caller.waiting == 0
    print(dict(crowd.verdicts), "late:", caller.late)  # noqa: T201
    return crowd, caller


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("workers", "pause"), [(threads, 0.2), (processes, 0.6)], ids=["memory", "tcp_local"])
async def test_nobody_gets_the_answer_to_another_call(workers: Any, pause: float, settings: ExecSettings) -> None:
    crowd, caller = await ask(workers, settings, CALLS, pause)
    assert crowd.mismatches == []
    assert crowd.verdicts.total() == CALLS
    assert crowd.verdicts["done"] > 0.7 * CALLS
    assert crowd.verdicts["never"] == 0
    lost = "WorkerDied" if workers is processes else "LinkLost"
    assert {"CallTimeout", "Cancelled", lost, "Expired"} <= crowd.verdicts.keys()
    assert 0 < caller.late <= crowd.verdicts["CallTimeout"] + crowd.verdicts["Cancelled"]


async def test_an_answer_to_another_call_would_be_seen(settings: ExecSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    def settle(pending: Pending[Any], _call_id: bytes) -> Any:
        return pending._waiting.pop(next(iter(pending._waiting), b""), None)

    monkeypatch.setattr(Pending, "settle", settle)
    crowd, _ = await ask(threads, settings, 1000, 1.0, patience=0.5)
    assert crowd.mismatches


@pytest.mark.parametrize("workers", [threads, processes], ids=["memory", "tcp_local"])
@pytest.mark.parametrize(("node", "slots"), [("parrot.strict", 1), ("parrot.strict", 3), ("parrot.patient", 5)])
async def test_only_who_is_late_or_left_alone_is_interrupted(
    workers: Any, node: str, slots: int, settings: ExecSettings
) -> None:
    """Calls whose deadline or whose caller's leaving comes just while they run, or just before, or just after."""
    settings = replace(settings, slots=slots)
    if node == "parrot.patient":
        settings = replace(settings, nodes=contracts(node), mode="async")
    async with workers(settings) as (caller, _hurt):
        crowd = Crowd(caller, 0.0)
        crowd.node, crowd.at_once = node, 3 * WORKERS * slots
        await crowd.ask(STRICT)
        before = crowd.verdicts.copy()
    print(dict(before), "late:", caller.late)  # noqa: T201
    assert crowd.mismatches == [], "interrupted for no reason"
    assert {"done", "CallTimeout", "Cancelled"} <= before.keys()
    assert not {"LinkLost", "WorkerDied", "NodeError", "never"} & before.keys(), "a worker or a call was lost"
