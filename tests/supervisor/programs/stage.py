"""Where supervision is tested: a directory with stand-ins that do as they are told, and plans that run them."""

from __future__ import annotations

import json
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from ipc.contract import Described
from ipc.control import ask
from ipc.messages.control import AskStatus, Status
from ipc.messages.settings import CommandSettings, ExecSettings, Limits, LogSettings, WebSettings
from supervisor.errors import StartError
from supervisor.plan import GroupPlan, Plan
from supervisor.run import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ipc.messages.control import Answer, GroupStatus, Order
    from supervisor.events import Event

PROGRAMS = {"web": "standin", "exec": "standin", "command": "supervisor.guard"}
PATIENCE = 60.0
"""Far more than anything takes; a test that waits so long has failed."""


def groups(cpu: int = 1, web: int = 1, **times: float) -> tuple[GroupPlan, ...]:
    settings = WebSettings(endpoints=(), nodes=(), components={}, routes={})
    found = []
    if cpu:
        found.append(GroupPlan("cpu", "exec", cpu, (), ExecSettings(nodes=()), **times))
    if web:
        found.append(GroupPlan("web", "web", web, (), settings, **times))
    return tuple(found)


def tool(name: str, *words: object, workers: int = 1, directory: Path = Path("/"), **more: Any) -> GroupPlan:
    """A group that runs `tool.py`; what is said beside of its settings stands there, all else in its plan."""
    argv = (sys.executable, "-I", "-S", str(Path(__file__).with_name("tool.py")), *map(str, words))
    mine = {field: more.pop(field) for field in CommandSettings.__struct_fields__ if field in more}
    settings = CommandSettings(argv, argv[0], str(directory), **mine)
    return GroupPlan(name, "command", workers, (), settings, in_place=not settings.overlap, **more)


class Stage:
    """Behaviour in, notes out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state_dir = path / ".shunter"
        (path / "behaviour").mkdir(exist_ok=True)

    def behave(self, who: str, how: str) -> None:
        """From its next start on `who` (a seat, a group or `all`) does this."""
        (self.path / "behaviour" / who).write_text(how)

    def notes(self, **like: Any) -> list[dict[str, Any]]:
        """What the stand-ins noted, in order."""
        path = self.path / "notes"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines]
        return [note for note in found if like.items() <= note.items()]

    def plan(self, those: tuple[GroupPlan, ...] | None = None, **changes: Any) -> Plan:
        plan = Plan(
            config_path=self.path / "shunter.yaml",
            state_dir=self.state_dir,
            host="127.0.0.1",
            port=0,
            transport="tcp_local",
            auth_mode="hmac",
            limits=Limits(),
            rotate_every=86_400.0,
            log=LogSettings(),
            groups=groups() if those is None else those,
            endpoints=(),
            described=Described((), {}),
            environment_set=(("STANDIN", str(self.path)), ("PYTHONPATH", str(Path(__file__).parent))),
        )
        return replace(plan, **changes)

    @asynccontextmanager
    async def running(self, plan: Plan, **options: Any) -> AsyncIterator[Live]:
        """The service of `plan` in this process; whatever is left of it at the end is stopped by force."""
        live = Live()

        async def go() -> None:
            try:
                await run(plan, on_event=live.events.append, last=False, **({"programs": PROGRAMS} | options))
            except StartError as error:
                live.failure = error
            finally:
                live.over.set()

        with anyio.fail_after(2 * PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(go)
                yield live
                tasks.cancel_scope.cancel()


@dataclass
class Live:
    """A service that runs in this process."""

    events: list[Event] = field(default_factory=list)
    failure: StartError | None = None
    over: anyio.Event = field(default_factory=anyio.Event)

    def seen(self, kind: type, **like: Any) -> list[Any]:
        """The events of one kind so far."""
        found = [event for event in self.events if isinstance(event, kind)]
        return [event for event in found if all(getattr(event, name) == value for name, value in like.items())]

    async def until(self, true: Callable[[], object]) -> None:
        """Wait until `true()`; fail with all that happened if it never is."""
        deadline = time.monotonic() + PATIENCE
        while not true():
            if time.monotonic() > deadline:
                raise AssertionError("\n".join(map(str, self.events)))
            await anyio.sleep(0.01)

    async def sees(self, kind: type, count: int = 1, **like: Any) -> Any:
        """Wait until an event of this kind has come `count` times; returns the last."""
        await self.until(lambda: len(self.seen(kind, **like)) >= count)
        return self.seen(kind, **like)[-1]


async def order(stage: Stage, what: Order) -> Answer:
    """Give it, and wait for what comes of it."""
    return await anyio.to_thread.run_sync(ask, stage.state_dir, what)


async def status(stage: Stage) -> Status:
    """What runs."""
    answer = await order(stage, AskStatus())
    assert isinstance(answer, Status)
    return answer


async def group(stage: Stage, name: str = "cpu") -> GroupStatus:
    """What runs of one group."""
    return next(found for found in (await status(stage)).groups if found.name == name)
