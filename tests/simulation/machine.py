"""The processes of one service in virtual time: the supervisor's, the web and the exec worker's own code.

What is left out: HTTP, the import of nodes, fork and exec. A node's run is a span of virtual time.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from virtual import Process
from witness import DIES, FAILS, HOLDS, NODE, RUNS, TOO_LARGE, Asked, Witness, answer_to

from exec_worker import process as exec_process
from exec_worker.binding import Encoded
from exec_worker.engine import Failure
from exec_worker.service import Service
from ipc.caller import Caller
from ipc.contract import Described
from ipc.errors import BadResult, IpcError, NodeError
from ipc.ledger import Ledger
from ipc.link import terms_of
from ipc.messages.calls import RequestMeta, encode_meta
from ipc.messages.lifeline import Drained, Hardened, Ready
from ipc.messages.settings import ExecSettings, Limits, LogSettings, WebSettings
from ipc.names import WorkerName, parse_worker
from ipc.parent import Parent
from ipc.transport.tcp import dial
from supervisor import service as supervisor_service
from supervisor.hub import Hub
from supervisor.orders import Orders
from supervisor.plan import GroupPlan, Plan
from supervisor.policy import RestartPolicy

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from network import LifelineEnd, Network
    from virtual import World

    from exec_worker.asked import AskedCall
    from supervisor.plan import Role

SPAWNING = 0.05, 0.3
"""How long a process takes from its making to its bootstrap, seconds."""

KILL_GRACE = 0.25
"""How long after its deadline a call may go on, seconds."""
SWITCHES = 0.05
"""How often a thread loses its turn where it could matter."""


class Board:
    """A scoreboard that nobody reads."""

    def begin(self) -> None: ...

    def end(self) -> None: ...

    def refuse(self) -> None: ...

    def close(self) -> None: ...

    def read(self, _slot: int = 0) -> tuple[int, int, int]:
        return 0, 0, 0


class Silent:
    """An `Output` of a process that writes nothing."""

    def __init__(self, *_: object) -> None: ...

    def finish(self) -> None: ...


class Spawned:
    """What the supervisor holds of a process."""

    def __init__(self, process: Process, name: WorkerName, lifeline: LifelineEnd, pidfd: int) -> None:
        self.process, self.name, self.lifeline, self.pidfd = process, name, lifeline, pidfd
        self.pid = process.pid
        self.stdout = self.stderr = -1
        self.page = Board()
        self.ledger = Ledger(-1, 1)
        self.crashed = True

    def dump(self) -> None:
        """It prints nothing."""

    def is_told(self, what: int, patience: float) -> None:
        """How it ends says enough."""

    def kill(self) -> None:
        self.process.exit("was killed by the supervisor")

    def end(self) -> str:
        self.ledger.close()
        return "has ended"


class Seam:
    """Stands where `Service` has its lock: whoever has let go of it may lose its turn to the other thread."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        give_way(self.process)


def give_way(process: Process) -> None:
    """A place where a thread may lose its turn."""
    if process is process.world.current and process.world.rng.random() < SWITCHES:
        process.world.interrupt(process.world.rng.choice([1e-4, 1e-3, 1e-2]))


class MainThread:
    """Stands where `Service` has its lanes, and is the one there is: the main thread."""

    slots = 1

    def __init__(self, worker: ExecWorker) -> None:
        self.worker = worker
        self.waiting: list[AskedCall | None] = []
        self.busy = False

    def close(self) -> None:
        self.put(None)

    def leave(self, call: AskedCall) -> None:
        call.seen.cancelled = True

    def expire(self, call: AskedCall) -> None:
        """Nodes here go on."""

    def put(self, call: AskedCall | None) -> None:
        self.waiting.append(call)
        self.worker.process.post_main(self.worker.thread_switch(), self.turn)

    def turn(self) -> None:
        if self.busy or not self.waiting:
            return
        self.busy = True
        call = self.waiting.pop(0)
        if call is None:
            self.worker.process.spawn(self.worker.leave())
        else:
            self.begin(call)

    def begin(self, call: AskedCall) -> None:
        """What a lane does before it answers."""
        process = self.worker.process
        began = process.now()
        if call.seen.cancelled:
            self.end(call, None, began, held=False)
            return
        call.row = self.worker.ledger.begin(call.id, call.deadline + KILL_GRACE, call.cancel_grace)
        self.worker.witness.begins(process, call.id)
        takes, how = NODE.unpack_from(call.body)
        result: Encoded | Failure = Encoded(1, 0, "", (), answer_to(call.id, call.body))
        if how == FAILS:
            result = Failure(NodeError.code, "it raised")
        elif how == TOO_LARGE:
            result = Encoded(1, 0, "", (), bytes(call.client.max_payload + 1))
        elif how == DIES:
            process.world.after(takes, process.exit, "died in a node")
            return
        elif how == HOLDS:
            process.hold()
        process.post_main(takes, self.end, call, result, began, how == HOLDS)

    def end(self, call: AskedCall, result: Encoded | Failure | None, began: float, held: bool) -> None:
        """The second half."""
        if held:
            self.worker.process.go_on(held=True)
        process = self.worker.process
        if call.row is not None:
            self.worker.ledger.end(call.row)
        process.in_main_thread = True
        try:
            following = self.worker.service.finish(call, result, began)
        finally:
            process.in_main_thread = False
        if following is not None:
            self.begin(following)
        else:
            self.busy = False
            self.turn()


class ExecWorker:
    """What `exec_worker.process.run` does."""

    def __init__(self, service: SimulatedService, process: Process, parent: Parent) -> None:
        self.process, self.parent, self.witness = process, parent, service.witness
        self._rng = service.world.rng
        self.ledger = service.ledgers[process.name]
        bootstrap = parent.bootstrap()
        assert isinstance(bootstrap.settings, ExecSettings)
        graces = {f"{parse_worker(bootstrap.name).group}.node": 0.1}
        engine = SimpleNamespace(cancel_grace=graces.get, batched={},
                                 explain_too_large=lambda _call, what: Failure(BadResult.code, what))  # fmt: skip
        self.service = Service(engine, Board(), MainThread(self))  # type: ignore[arg-type]
        self.service._lock = self.service._finishing._lock = Seam(process)  # type: ignore[assignment]
        self.responder: Any = None
        self._opening = exec_process._open(
            parent, bootstrap, bootstrap.settings, self.service, lambda _grace: self.service.drain()
        )

    async def run(self) -> None:
        self.responder = await self._opening

    def thread_switch(self) -> float:
        """How long until the main thread takes what it was given, seconds."""
        return self._rng.choice([0.0, 1e-5, 1e-4])

    async def leave(self) -> None:
        await exec_process._leave(self.responder)
        self.parent.say(Drained())
        self.process.world.after(0.001, self.process.exit, "left")


class WebWorker:
    """What `web_worker.process` does, with calls instead of requests."""

    def __init__(self, service: SimulatedService, process: Process, parent: Parent) -> None:
        self.process, self.parent, self.witness = process, parent, service.witness
        self._world = service.world
        bootstrap = parent.bootstrap()
        settings = bootstrap.settings
        assert isinstance(settings, WebSettings)
        self.name = bootstrap.name
        terms = terms_of(bootstrap, "tcp_local")
        self.caller = Caller(
            parse_worker(bootstrap.name), terms, bootstrap.limits, settings.routes, dial, self.parent.say
        )
        self.draining = False

    async def run(self) -> None:
        self.parent.listen(
            self.process.loop,
            on_peers=self.caller.update,
            on_drain=lambda _drain: self.drain(),
            on_fate=self.caller.fate,
        )
        self.parent.say(Ready())

    def drain(self) -> None:
        if not self.draining:
            self.draining = True
            self.process.spawn(self._leave())

    async def _leave(self) -> None:
        while self.caller.waiting:  # noqa: ASYNC110 - time costs nothing here
            await asyncio.sleep(0.05)
        await self.caller.close()
        self.parent.say(Drained())
        self._world.after(0.001, self.process.exit, "left")

    def ask(self, node: str, takes: float, how: int, timeout: float, cancel_after: float | None) -> Asked:
        """One request."""
        call_id = self._world.rng.randbytes(16)
        body = NODE.pack(takes, how) + self._world.rng.randbytes(self._world.rng.choice([0, 20, 3000]))
        meta = encode_meta(RequestMeta(node, "r", "t", self.name))
        asked = self.witness.asked[call_id] = Asked(self.process, call_id, body, self.process.now() + timeout)
        self._world.tell("ask", call_id.hex()[:8], node, f"{timeout:.3f}")
        try:
            call = self.caller.call(node, call_id, meta, body, timeout)
        except IpcError as error:
            self.witness.ends(asked, None, error)
            return asked
        call.future.add_done_callback(partial(self._ended, asked))
        if cancel_after is not None:
            self.process.loop.call_later(cancel_after, self.caller.cancel, call)
        return asked

    def _ended(self, asked: Asked, future: asyncio.Future[Any]) -> None:
        error = future.exception()
        self.witness.ends(asked, None if error else bytes(future.result().body), error)


class SimulatedService:
    """The supervisor's own code, and what it starts. It is the `Launcher` too."""

    def __init__(self, world: World, network: Network, witness: Witness, webs: int, groups: dict[str, int]) -> None:
        self.world, self.network, self.witness = world, network, witness
        self.supervisor = Process(world, "supervisor", 1)
        self.workers: dict[str, tuple[Process, WebWorker | ExecWorker]] = {}
        self.ledgers: dict[str, Ledger] = {}
        self.limits = Limits(
            max_payload=4096, ttl=world.rng.choice([1.0, 5.0, 30.0]), queue_calls=24, queue_bytes=40_000
        )
        witness.ttl = self.limits.ttl
        self.mode = world.rng.choice(["hmac", "aead"])
        self._pids = 100
        self._groups = groups
        self.plan = Plan(
            config_path=Path("shunter.yaml"), state_dir=Path("state"), host="", port=0, transport="tcp_local",
            auth_mode=self.mode, limits=self.limits, rotate_every=world.rng.choice([1.5, 4.0, 86_400.0]),
            log=LogSettings(), endpoints=(), described=Described((), {}),
            groups=(
                *(GroupPlan(name, "exec", count, (), ExecSettings(nodes=()), drain_timeout=4.0, start_timeout=5.0)
                  for name, count in groups.items()),
                GroupPlan("web", "web", webs, (), drain_timeout=4.0, start_timeout=5.0, settings=WebSettings(
                    endpoints=(), nodes=(), components={}, routes={f"{name}.node": name for name in groups})),
            ),
        )  # fmt: skip
        self.real: Any = None
        self.orders: Any = None
        self.supervisor.post(self._start)

    def _start(self) -> None:
        policy = RestartPolicy(limit=10**6, cap=0.8)
        self.real = supervisor_service.Service(self.plan, Hub(self._event), None, {}, policy)
        self.orders = Orders(self.real, "")
        self.supervisor.spawn(self.real.tree.start())
        self.supervisor.spawn(self.real.renewal.every(lambda: self.plan.rotate_every))
        self.supervisor.spawn(self.real.watchdog.watch())

    def _event(self, event: object) -> None:
        self.world.tell("event", str(event))

    @property
    def started(self) -> bool:
        return self.real is not None and bool(self.real.tree.started)

    @property
    def complete(self) -> bool:
        """Whether every seat is taken by somebody who serves."""
        return self.started and all(group.state == "up" and not group.beside for group in self.real.roster.groups)

    def living(self, kind: type) -> list[Any]:
        """The web or the exec workers that run their own code, draining ones too."""
        return [worker for process, worker in self.workers.values() if process.alive and isinstance(worker, kind)]

    def processes(self) -> list[Process]:
        """Every worker's process."""
        return [process for process in self.world.processes if process.alive and process.pid >= 100]

    def supervise(self, what: Coroutine[Any, Any, Any]) -> None:
        """Have the supervisor do something that takes a while."""
        self.supervisor.spawn(what)

    # -- what a launcher does

    def launch(self, name: WorkerName, role: Role, *_: object) -> Spawned:
        self._pids += 1
        process = Process(self.world, str(name), self._pids)
        theirs, ours = self.network.pair(process, self.supervisor)
        pidfd = self.network.new_fd()

        def exited() -> None:
            self.network.exited.add(pidfd)
            self.world.after(self.network.latency(), self.supervisor.loop.readable, pidfd)

        process.on_exit.append(exited)
        self.world.after(self.world.rng.uniform(*SPAWNING), self._hardened, process, theirs, role)
        spawned = Spawned(process, name, ours, pidfd)
        self.ledgers[process.name] = spawned.ledger
        return spawned

    def _hardened(self, process: Process, lifeline: LifelineEnd, role: Role) -> None:
        def greet() -> None:
            process.loop.remove_reader(lifeline.fd)
            worker = (WebWorker if role == "web" else ExecWorker)(self, process, parent)
            self.workers[process.name] = process, worker
            process.loop.create_task(worker.run())

        if process.alive:
            parent = Parent(lifeline)  # type: ignore[arg-type]
            process.post(parent.say, Hardened(process.pid))
            process.loop.add_reader(lifeline.fd, greet)


__all__ = ["RUNS", "ExecWorker", "SimulatedService", "WebWorker"]
