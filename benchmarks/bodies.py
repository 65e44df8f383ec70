"""Large bodies: handed off and back in each mode over each carrier, beside FastAPI that hands them back itself.

Times are of one client that waits for each answer. CPU time is that of all processes but the client's, a request:
it says what a body costs where the machine is not idle, and is steadier than time on a machine that is shared.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from load import load
from systems import OTHER_CPU, listener_of, service, uvicorn

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES = {"64 KiB": 1 << 16, "1 MiB": 1 << 20, "4 MiB": 1 << 22}
MODES, CARRIERS = ("hmac", "aead"), ("tcp_local", "unix")
BASE = "FastAPI, answered in the web process"
READING = (
    "A body is handed back as it came. The x are against FastAPI that answers by itself. With hmac SHA-256 passes over "
    "a body four times on its way there and back, which is most of the difference to aead; use `auth.mode: aead` where "
    "bodies are large, and `transport: unix` where all workers are one user's. CPU is that of all processes but the "
    "client's."
)
_IPC = "runtime.platform.execution_ipc"


class System(NamedTuple):
    """Where to ask, and who works for it."""

    url: str
    pids: list[int]


class Seen(NamedTuple):
    """Of one system and size: p50 in us, CPU us a request, errors."""

    p50: float
    cpu: float
    errors: int


Figures = dict[tuple[str, str], Seen]
"""By system and size."""


def measure(rounds: int, seconds: float) -> Figures:
    """Every system and size in turn, `rounds` times; medians."""
    runs: dict[tuple[str, str], list[Seen]] = {}
    with contextlib.ExitStack() as stack:
        systems = {BASE: stack.enter_context(_fastapi())}
        for mode in MODES:
            for carrier in CARRIERS:
                systems[f"Shunter, {mode}, {carrier}"] = stack.enter_context(_shunter(mode, carrier))
        for _ in range(rounds):
            for name, system in systems.items():
                for size, count in SIZES.items():
                    runs.setdefault((name, size), []).append(_ask(system, bytes(count), seconds))
    return {
        key: Seen(
            statistics.median(run.p50 for run in seen),
            statistics.median(run.cpu for run in seen),
            sum(run.errors for run in seen),
        )
        for key, seen in runs.items()
    }


@contextlib.contextmanager
def _fastapi() -> Iterator[System]:
    with uvicorn() as url:
        yield System(f"{url}/inprocess/blob", [listener_of(url)])


@contextlib.contextmanager
def _shunter(mode: str, carrier: str) -> Iterator[System]:
    with service(f"{_IPC}.auth.mode={mode}", f"{_IPC}.transport={carrier}") as (url, state):
        command = [str(Path(sys.executable).with_name("shunter")), "status", "--state-dir", str(state), "--json"]
        told = subprocess.run(command, check=True, capture_output=True, timeout=30)
        groups = json.loads(told.stdout)["groups"]
        yield System(f"{url}/declared/blob", [worker["pid"] for group in groups for worker in group["workers"]])


def _ask(system: System, body: bytes, seconds: float) -> Seen:
    before = _cpu(system.pids)
    figures = load(system.url, body, "application/octet-stream", 1, seconds, OTHER_CPU)
    return Seen(figures.p50, (_cpu(system.pids) - before) / max(1.0, figures.rate * seconds), figures.errors)


def _cpu(pids: list[int]) -> float:
    """What these processes have run until now, us."""
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e3


def table(seen: Figures) -> list[str]:
    """The figures as Markdown."""
    told = [
        f"| there and back | {' | '.join(f'{size}, p50 ms | x | CPU us | x' for size in SIZES)} |",
        f"|---|{'---|' * 4 * len(SIZES)}",
    ]
    for name in dict.fromkeys(name for name, _ in seen):
        cells = []
        for size in SIZES:
            one, base = seen[name, size], seen[BASE, size]
            cells += [
                f"{one.p50 / 1e3:.2f}",
                f"{one.p50 / base.p50:.2f}",
                f"{one.cpu:,.0f}",
                f"{one.cpu / base.cpu:.2f}",
            ]
        told.append(f"| {name} | {' | '.join(cells)} |")
    errors = sum(one.errors for one in seen.values())
    return [*told, "", f"Errors: {errors}."]


def goals(seen: Figures) -> list[tuple[str, float, str]]:
    """Each goal as (what, figure, goal)."""
    base = seen[BASE, "1 MiB"].p50
    return [
        (
            f"1 MiB body ({mode}, {carrier}) / FastAPI, p50",
            seen[f"Shunter, {mode}, {carrier}", "1 MiB"].p50 / base,
            "<= 1.5",
        )
        for mode in MODES
        for carrier in CARRIERS
    ]


if __name__ == "__main__":
    sys.stdout.write("\n".join(table(measure(3, 3))) + "\n")
