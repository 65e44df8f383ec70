"""An application that a template imports, and that notes what it finds; as a program, a supervisor that runs it.

`preloaded.py DIRECTORY` starts it with its workers alone, one event a line on standard output.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from stage import Stage

from supervisor.planning import load_plan
from supervisor.run import run
from supervisor.spawn import PROGRAMS

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from stage import Live

    from supervisor.events import Event
    from supervisor.plan import Plan

APPLICATION = """
import json, os
from exec_worker import node, on_worker_start

HERE = os.path.dirname(__file__)

def note(said, **what):
    with open(f"{HERE}/notes", "a") as notes:
        notes.write(json.dumps({"said": said, "pid": os.getpid(), "version": VERSION, **what}) + chr(10))

def look():
    fds = {fd: f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")}
    os.umask(umask := os.umask(0))
    return {
        "parent": os.getppid(),
        "session": os.getsid(0),
        "umask": umask,
        "uid": os.getresuid(),
        "threads": len(os.listdir("/proc/self/task")),
        "fds": {fd: os.readlink(path) for fd, path in fds.items() if os.path.lexists(path)},
    }

VERSION = 1
note("imported")

@on_worker_start
def tell():
    note("started", **look())

@node(stage="core")
def answer() -> int:
    return 42
"""
CONFIG = """
runtime:
  platform:
    process_groups: [{name: cpu, workers: %d, stages: [core], preload: true}]
discovery: {packages: [shop]}
"""


class Shop:
    """The application in `path`: how it is run, and what it noted."""

    def __init__(self, path: Path, more: str = "", workers: int = 1) -> None:
        self.path = path
        self.state_dir = path / ".shunter"
        self.config = path / "shunter.yaml"
        self.config.write_text(CONFIG % workers)
        self.write(more)

    def write(self, more: str) -> None:
        """The application, with this at its end."""
        (self.path / "shop.py").write_text(f"{APPLICATION}\n{more}\n")

    def plan(self) -> Plan:
        """What runs: the workers alone."""
        made = workers_of(self.path)
        (self.path / "notes").unlink()  # of who described it
        return made

    def running(self, plan: Plan | None = None) -> AbstractAsyncContextManager[Live]:
        """It runs, with this process as its supervisor."""
        return Stage(self.path).running(plan or self.plan(), programs=PROGRAMS)

    def notes(self, said: str) -> list[dict[str, Any]]:
        """What was noted, in order."""
        path = self.path / "notes"
        lines = path.read_text().splitlines() if path.exists() else []
        return [note for line in lines if (note := json.loads(line))["said"] == said]


def workers_of(path: Path) -> Plan:
    """What the configuration in `path` says, without a web worker."""
    made = load_plan(path / "shunter.yaml", (), os.environ, None)
    return replace(made, groups=tuple(group for group in made.groups if group.role == "exec"))


def tell(event: Event) -> None:
    sys.stdout.write(type(event).__name__ + "\n")
    sys.stdout.flush()


async def main() -> None:
    await run(workers_of(Path(sys.argv[1])), on_event=tell)


if __name__ == "__main__":
    anyio.run(main)
