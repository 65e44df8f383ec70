"""`make bench-peers`: what else people hand CPU work to, put through the same as Shunter. Writes docs/peers.md.

Each trial starts each system in turn, so that whatever else the machine does hits them alike, and only one runs at a
time. The peers live in an environment of their own, which the target makes.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(1, str(Path(__file__).parent / "peers"))

from jobs import BATCH, WAIT
from load import have_wrk
from stand import PEERS, SYSTEMS
from trials import TRIALS, WATCHED, echo

if TYPE_CHECKING:
    from trials import Figure, Figures

DOCUMENT = Path(__file__).parent.parent / "docs" / "peers.md"
NOTES = """
Each system has one web process and two workers, and does the same work (`benchmarks/peers/jobs.py`); jobs sleep, so
that two cores are enough. Clients have a connection for each request, except for the throughputs. What was begun, and
what is over, is read from a log that the jobs write. "never": not in the {watched:.0f} s in which it was looked for.
"cannot": there is no such thing. A deadline is told to each system in its own way:

- **ProcessPoolExecutor** in FastAPI under uvicorn with uvloop and httptools: `asyncio.wait_for`, for the pool has no
  deadlines. A pool that is broken is made anew by the application; without that code every later request fails.
- **LitServe**: `timeout=`, which covers the wait in its queue and not the job; `restart_workers=True` and
  `api_server_worker_type="thread"`, without which clients of dead workers hear nothing; `max_batch_size={batch}`,
  `batch_timeout={wait}` where there are batches.
- **Gunicorn** with `-k asgi`, uvloop and `--dirty-workers 2`: the client's timeout, and `--dirty-timeout`, which counts
  whole seconds and is rounded up. The application keeps its clients: `get_dirty_client_async` leaks one connection for
  each request. Without its optional parser in C.
- **Shunter**: `runtime.web.default_timeout_seconds`, declared endpoints, `preload: true`
  (`benchmarks/peers/with_shunter.yaml`), and for batches `batch=Batch(max_size={batch}, max_wait_ms={wait_ms:.0f})`.

The deadline is 30 s where nothing else is said. A job that never ends, and a death, have bystanders who ask for 10 ms
20 times a second. Clients of the overload wait for 1 s; the systems are told 0.9 s, so that those that can refuse do so
before their clients leave. A client that leaves closes its connection. The 5 s job of the one who leaves sleeps, which
Shunter interrupts; one that cannot be interrupted would cost its worker, as the C loop does.
"""


def measure(chosen: list[str], rounds: int) -> dict[tuple[str, str], dict[str, list[Figure]]]:
    """Each trial with each system in turn."""
    found: dict[tuple[str, str], dict[str, list[Figure]]] = {}
    for trial in (each for each in TRIALS if not chosen or each.__name__ in chosen):
        for _ in range(rounds * TRIALS[trial]):
            for system in SYSTEMS:
                figures: Figures = trial(system)
                for what, figure in figures.items():
                    found.setdefault(what, {}).setdefault(system, []).append(figure)
                sys.stderr.write(f"{trial.__name__}, {system}: {[_said(*item) for item in figures.items()]}\n")
    return found


def _said(what: tuple[str, str], figure: Figure) -> str:
    """One cell."""
    if figure is None:
        return "cannot"
    if isinstance(figure, tuple):
        return f"{figure[0]} of {figure[1]}" if figure[0] else "0"
    if isinstance(figure, str):
        return figure
    if math.isinf(figure):
        return "never"
    if math.isnan(figure):
        return "-"
    return f"{figure:.2f}" if what[1].endswith((", s", "capacity")) else f"{figure:,.0f}"


def _together(figures: list[Figure]) -> Figure:
    """Of several rounds: medians of numbers, sums of counts, everything else as it was."""
    if all(isinstance(figure, float | int) for figure in figures):
        return statistics.median(figures)  # type: ignore[type-var]
    if all(isinstance(figure, tuple) for figure in figures):
        return sum(figure[0] for figure in figures), sum(figure[1] for figure in figures)  # type: ignore[index, misc]
    return None if None in figures else "; ".join(dict.fromkeys(map(str, figures)))


def table(found: dict[tuple[str, str], dict[str, list[Figure]]]) -> list[str]:
    """The figures as Markdown."""
    lines = [f"| | | {' | '.join(SYSTEMS)} |", "|---|---|" + "---|" * len(SYSTEMS)]
    last = ""
    for (case, what), figures in found.items():
        cells = [_said((case, what), _together(figures[system])) for system in SYSTEMS]
        lines.append(f"| {case if case != last else ''} | {what} | {' | '.join(cells)} |")
        last = case
    return lines


def versions() -> str:
    """What was measured."""
    names = "fastapi", "uvicorn", "litserve", "gunicorn"
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    told = subprocess.run([str(PEERS), "-c", code, *names], check=True, capture_output=True, text=True).stdout.split()
    return ", ".join(f"{name} {number}" for name, number in zip(names, told, strict=True))


def main() -> None:
    """Measure, print, write."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("trials", nargs="*", help="only these; nothing is written then")
    arguments.add_argument("--rounds", type=int, default=1)
    given = arguments.parse_args()
    load, cores = os.getloadavg()[0], os.cpu_count()
    found = measure(given.trials, given.rounds)
    text = "\n".join(
        [
            "# Beside others",
            "",
            "Written by `make bench-peers`. Absolute figures are this machine's and this hour's.",
            "",
            (
                f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {cores} cores, load average "
                f"{load:.1f} before the start, {'wrk' if have_wrk() else 'a Python client'} for throughputs. "
                f"Rounds: {given.rounds}, of echo {given.rounds * TRIALS[echo]}. "
                f"Shunter {version('shunter')}, {versions()}."
            ),
            "",
            *table(found),
            NOTES.format(watched=WATCHED, batch=BATCH, wait=WAIT, wait_ms=WAIT * 1000),
        ]
    )
    sys.stdout.write(text)
    if not given.trials:
        DOCUMENT.write_text(text)


if __name__ == "__main__":
    main()
