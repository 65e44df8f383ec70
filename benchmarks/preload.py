"""What a warm template is worth: how soon a worker that died is replaced, and what one more worker costs in memory.

The application is a price list of Python objects, some 45 MiB. Before memory is looked at, each worker has answered
calls all over it: reading an object writes its reference count, so pages that were shared become private. Memory is
counted as PSS: what several processes share is divided among them. That of the template itself is paid once and not in
the figure, which is the difference between one worker and several.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anyio

from supervisor import events
from supervisor.planning import load_plan
from supervisor.policy import RestartPolicy
from supervisor.run import run

if TYPE_CHECKING:
    from supervisor.events import Event
    from supervisor.plan import Plan

SERVICE = Path(__file__).parent / "service"
DEATHS = 10
WORKERS = 4
"""So many, and one, to see what each more costs."""
CALLS = 300
_PATIENCE = 120.0
_GROUP = "runtime.platform.process_groups.cpu"


class Figures(NamedTuple):
    """Of one way to start workers: seconds from the order to READY, one for each death, and bytes for one more."""

    ready: tuple[float, ...]
    each: float


class Preload(NamedTuple):
    """Both ways."""

    launched: Figures
    forked: Figures


def _plan(directory: Path, *, preload: bool, workers: int) -> Plan:
    how = [f"{_GROUP}.workers={workers}", f"{_GROUP}.preload={str(preload).lower()}"]
    return load_plan(SERVICE / "preload.yaml", how, os.environ, directory)


class _Live:
    """A service in this process."""

    def __init__(self) -> None:
        self.seen: list[Event] = []
        self.pids: dict[str, int] = {}

    def hear(self, event: Event) -> None:
        self.seen.append(event)
        if isinstance(event, events.WorkerSpawned):
            self.pids[event.worker] = event.pid

    async def sees(self, kind: type[Event], worker: str = "") -> Event:
        with anyio.fail_after(_PATIENCE):
            while True:
                for event in self.seen:
                    if isinstance(event, kind) and getattr(event, "worker", "") == worker:
                        return event
                await anyio.sleep(0.01)


def _ask(url: str) -> None:
    for n in range(CALLS):
        urllib.request.urlopen(f"{url}/find?n={n}", timeout=_PATIENCE).read()  # noqa: S310 - our own loopback


def _pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"the kernel does not tell the memory of process {pid}")


async def _run(plan: Plan, deaths: int) -> tuple[tuple[float, ...], int]:
    """Seconds to READY for each death, and then the memory of all workers and their template."""
    live = _Live()
    patient = RestartPolicy(limit=1_000_000, base=0.05, cap=0.05)
    ready = []
    async with anyio.create_task_group() as tasks:

        async def go() -> None:
            await run(plan, on_event=live.hear, policy=patient, last=False)

        tasks.start_soon(go)
        serving = await live.sees(events.Serving)
        assert isinstance(serving, events.Serving)
        for life in range(1, deaths + 1):
            os.kill(live.pids[f"cpu-0#{life}"], signal.SIGKILL)
            event = await live.sees(events.WorkerReady, f"cpu-0#{life + 1}")
            assert isinstance(event, events.WorkerReady)
            ready.append(event.seconds)
        await asyncio.to_thread(_ask, f"http://127.0.0.1:{serving.port}")
        ended = {event.worker for event in live.seen if isinstance(event, events.WorkerExited)}
        memory = sum(_pss(pid) for name, pid in live.pids.items() if name.startswith("cpu") and name not in ended)
        tasks.cancel_scope.cancel()
    return tuple(ready), memory


def _measure(*, preload: bool, deaths: int) -> Figures:
    with tempfile.TemporaryDirectory() as state:
        _, one = anyio.run(_run, _plan(Path(state) / "one", preload=preload, workers=1), 0)
        ready, several = anyio.run(_run, _plan(Path(state) / "all", preload=preload, workers=WORKERS), deaths)
    return Figures(ready, (several - one) / (WORKERS - 1))


def measure(deaths: int = DEATHS) -> Preload:
    """Both ways, one after the other."""
    return Preload(_measure(preload=False, deaths=deaths), _measure(preload=True, deaths=deaths))


def goals(found: Preload) -> list[tuple[str, float, str]]:
    """What was promised of it."""
    return [
        ("worker READY after a death, with preload, median ms", statistics.median(found.forked.ready) * 1e3, "<= 100"),
        ("memory of one more worker, with preload / without", found.forked.each / found.launched.each, "<= 0.4"),
    ]


def table(found: Preload) -> list[str]:
    """As Markdown."""
    slow, most = statistics.median(found.launched.ready), found.launched.each
    lines = [
        (
            "A group whose application is a price list of Python objects; each worker has answered calls all over it. "
            "READY is counted from the order to make the process, without the restart policy's wait before it. Memory "
            "is PSS, in which pages that several processes share count in parts; the template itself is paid once and "
            "is not in the figure."
        ),
        "",
        "| workers are | READY after a death, median ms | longest | x | memory of one more, MiB | x |",
        "|---|---|---|---|---|---|",
    ]
    for how, figures in (("started by exec", found.launched), ("forked (`preload: true`)", found.forked)):
        median, longest = statistics.median(figures.ready), max(figures.ready)
        lines.append(
            f"| {how} | {median * 1e3:.0f} | {longest * 1e3:.0f} | {median / slow:.2f} "
            f"| {figures.each / 2**20:.1f} | {figures.each / most:.2f} |"
        )
    return lines


if __name__ == "__main__":
    measured = measure()
    sys.stdout.write("\n".join(table(measured)) + "\n")
    for what, figure, goal in goals(measured):
        sys.stdout.write(f"{what}: {figure:.2f} ({goal})\n")
