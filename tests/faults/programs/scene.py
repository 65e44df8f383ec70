"""A service of nodes that hurt, the people who ask it, and somebody who hurts it from outside."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from askers import Crowd
from history import Effect, Violation, effects_in, violations
from watched import PATIENCE, Watched, runs

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipc.messages.control import GroupStatus, WorkerStatus

HERE = Path(__file__).parent
PATIENT = {"limit": 10**6, "base": 0.01, "cap": 0.05}
"""A policy for workers that are killed again and again."""
PRELOADED = "runtime.platform.process_groups.cpu.preload=true"


def limits(config: Path) -> dict[str, float]:
    """The endpoints, and how long each may take."""
    (interface,) = yaml.safe_load(config.read_text())["runtime"]["web"]["interfaces"]
    return {endpoint["path"]: endpoint["timeout_seconds"] for endpoint in interface["endpoints"]}


class Scene(Watched):
    """The service runs from here until `end`."""

    def __init__(
        self,
        path: Path,
        *settings: str,
        workers: int = 2,
        policy: dict[str, float] = PATIENT,
        application: str = "hazards",
        bare: bool = False,
        cgroup: Path | None = None,
    ) -> None:
        """A `bare` service has no privileges, whoever runs the tests. It may be put in a control group."""
        config = HERE / f"{application}.yaml"
        self._limits = limits(config)
        self.effect_log = path / "effects"
        self.effect_log.touch()
        settings = (
            *settings,
            "runtime.web.port=0",
            f"runtime.platform.process_groups.cpu.workers={workers}",
            f"runtime.platform.environment.set.EFFECT_LOG={self.effect_log}",
        )
        place = "" if cgroup is None else str(cgroup)
        options = json.dumps({"settings": settings, "policy": policy, "bare": bare, "cgroup": place})
        super().__init__(path, path / "state", str(HERE / "serving.py"), str(path / "state"), str(config), options)
        self.until(lambda: self.process.poll() is not None or self.events("Serving"))
        self.port: int = self.sees("Serving")["port"]
        self._crowds: list[Crowd] = []
        self._past: set[str] = set()

    def crowd(self, seed: int | None = None) -> Crowd:
        """Somebody to ask."""
        self._crowds.append(Crowd(self.port, self._limits, seed))
        return self._crowds[-1]

    async def hang_up(self) -> None:
        """Close everybody's connections: what they asked is history."""
        for crowd in self._crowds:
            await crowd.close()
            self._past.update(call.ticket for call in crowd.calls)
        self._crowds.clear()
        await asyncio.sleep(0)

    # -- what is seen from outside

    @property
    def groups(self) -> list[GroupStatus]:
        """Those that run nodes."""
        return [group for group in self.status().groups if group.name != "web"]

    def up(self) -> list[WorkerStatus]:
        """The workers of theirs that serve."""
        return [worker for group in self.groups for worker in group.workers if worker.state == "up"]

    def full(self) -> bool:
        """Whether as many serve as there should be."""
        groups = self.groups
        pids = [worker.pid for group in groups for worker in group.workers]
        return all(group.state == "up" for group in groups) and all(pid and runs(pid) for pid in pids)

    async def until_full(self) -> float:
        """Wait for it; returns how long it took, seconds."""
        began = time.monotonic()
        await eventually(self.full)
        return time.monotonic() - began

    def pid_of(self, group: str) -> int:
        """The first worker of a group that serves."""
        workers = next(each for each in self.status().groups if each.name == group).workers
        return next(worker.pid for worker in workers if worker.state == "up" and worker.pid is not None)

    def import_will(self, mood: str) -> None:
        """What the application does when it is imported from now on: `wait`, `raise`, or nothing special."""
        (self.path / "mood").write_text(mood)

    # -- what was done

    def effects(self) -> list[Effect]:
        """The log so far."""
        return effects_in(self.effect_log.read_text())

    async def begun(self, ticket: str) -> Effect:
        """Wait until this call runs."""
        await eventually(lambda: any(effect.ticket == ticket for effect in self.effects()))
        return next(effect for effect in self.effects() if effect.ticket == ticket)

    async def over(self, ticket: str) -> float:
        """Wait until this call, which runs, was cut short or its process is gone; returns when that was."""
        begin = await self.begun(ticket)
        while runs(begin.pid):
            for effect in self.effects():
                if effect.ticket == ticket and effect.what != "begin":
                    return effect.at
            await asyncio.sleep(0.01)
        return time.monotonic()

    def violations(self) -> list[Violation]:
        """Everything said to anybody who is still here that the log does not bear out."""
        calls = chain.from_iterable(crowd.calls for crowd in self._crowds)
        return violations(
            calls, [effect for effect in self.effects() if effect.ticket.partition(".")[0] not in self._past]
        )


async def eventually(true: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait until it is true; AssertionError if it never is."""
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, "it was in vain to wait"
        await asyncio.sleep(0.01)


def cpu_seconds(pid: int) -> float:
    """How long the main thread of a process has run; infinite if it is gone, and so uses no more."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    return float("inf")


class Nemesis:
    """Kills workers at random moments. The seed says which, when and how, as far as they are there to be killed."""

    SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGSTOP)

    def __init__(self, scene: Scene, seed: int) -> None:
        self._scene = scene
        self._dice = random.Random(seed)
        self.kills = 0
        print(f"nemesis with seed {seed}")  # noqa: T201 - shown when a test fails

    async def kill(self, count: int, pause: float) -> None:
        """End so many workers, one after the other, with about `pause` seconds between."""
        while self.kills < count:
            await asyncio.sleep(self._dice.uniform(0, 2 * pause))
            if victims := [worker.pid for worker in self._scene.up() if worker.pid is not None]:
                self.kills += 1
                await self._hurt(self._dice.choice(victims), self._dice.choice(self.SIGNALS))

    async def _hurt(self, pid: int, how: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, how)
            if how == signal.SIGSTOP:
                await asyncio.sleep(self._dice.uniform(0, 0.1))
                os.kill(pid, signal.SIGKILL)
