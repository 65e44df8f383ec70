"""What supervision itself costs: processor time while nothing happens, and memory after many lives of workers.

The first with 64 exec workers, forked from a template, and one web worker that has a link to each. The second with
workers that say that they are ready and end, so that ten thousand lives take minutes and not hours.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from systems import serving

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
PROGRAM = HERE.parent / "tests" / "supervisor" / "programs" / "lives.py"
SECONDS = 20.0
LIVES = 10_000
WARM = 500
_SETTLING = 3.0
_PATIENCE = 1800.0


class Upkeep(NamedTuple):
    """Of a core, as a fraction; of memory, bytes after WARM lives and after so many more."""

    idle: float
    before: int
    after: int
    lives: int


def _ran(pid: int) -> float:
    """Processor time of all threads of a process, seconds. Its clock ticks are too coarse for so little."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def _idle(seconds: float) -> float:
    with tempfile.TemporaryDirectory() as state:
        argv = [str(BIN / "shunter"), "start", "-c", str(HERE / "service" / "upkeep.yaml"), "--state-dir", state]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            try:
                serving(process)
                time.sleep(_SETTLING)
                ran, began = _ran(process.pid), time.monotonic()
                time.sleep(seconds)
                return (_ran(process.pid) - ran) / (time.monotonic() - began)
            finally:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=_PATIENCE)


def measure(seconds: float = SECONDS, lives: int = LIVES) -> Upkeep:
    """One after the other."""
    idle = _idle(seconds)
    with tempfile.TemporaryDirectory() as stage:
        argv = [sys.executable, str(PROGRAM), stage, str(WARM), str(lives)]
        said = subprocess.run(argv, stdout=subprocess.PIPE, check=True, timeout=_PATIENCE).stdout
    before, after = json.loads(said)
    return Upkeep(idle, before["own"], after["own"], lives)


def goals(found: Upkeep) -> list[tuple[str, float, str]]:
    """What was promised of it."""
    return [
        ("supervisor's processor time with 64 idle workers, % of a core", found.idle * 100, "<= 0.5"),
        (f"supervisor's memory after {found.lives:,} restarts / before", found.after / found.before, "<= 1.05"),
    ]


def table(found: Upkeep) -> list[str]:
    """As Markdown."""
    return [
        "64 exec workers and one web worker that are asked nothing; then workers that become ready and die at once.",
        "",
        "| idle, % of a core | restarts | memory before, MiB | after, MiB |",
        "|---|---|---|---|",
        f"| {found.idle * 100:.2f} | {found.lives:,} | {found.before / 2**20:.1f} | {found.after / 2**20:.1f} |",
    ]


if __name__ == "__main__":
    measured = measure(*map(float, sys.argv[1:2]), *map(int, sys.argv[2:3]))
    sys.stdout.write("\n".join(table(measured)) + "\n")
    for what, figure, goal in goals(measured):
        sys.stdout.write(f"{what}: {figure:.2f} ({goal})\n")
