"""Many short lives: `lives.py DIRECTORY WARM LIVES`. Says, as JSON, what the supervisor had after WARM and LIVES more.

The first life in each seat is a stand-in's. Those that follow are of a program that starts in some milliseconds, says
that it is hardened and ready, and ends: for the supervisor as whole a life as any.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from stage import PROGRAMS, Stage, groups

from ipc.messages.lifeline import Hardened, Ready, encode
from supervisor.events import Serving, WorkerSpawned
from supervisor.policy import RestartPolicy
from supervisor.run import run
from supervisor.scoreboard import own_bytes

if TYPE_CHECKING:
    from supervisor.events import Event

PID = 0x7FFFFFFF
MAYFLY = """#!{python} -SE
import os, sys
said = bytes.fromhex("{said}").replace({pid}.to_bytes(4, "big"), os.getpid().to_bytes(4, "big"))
os.write(int(sys.argv[sys.argv.index("--lifeline-fd") + 1]), said)
"""
AT_ONCE = RestartPolicy(limit=10**9, base=0.0, cap=0.0)


class Counted:
    """How many lives there were, and what was found at two of them."""

    def __init__(self, warm: int, lives: int) -> None:
        self.at = [warm, warm + lives]
        self.found: list[dict[str, int]] = []
        self.serving = anyio.Event()
        self.over = anyio.Event()
        self.spawned = 0
        self.first = 0

    def hear(self, event: Event) -> None:
        match event:
            case Serving():
                self.serving.set()
            case WorkerSpawned():
                self.first = self.first or event.pid
                self.spawned += 1
                if self.spawned in self.at:
                    self.found.append(now())
                if self.spawned == self.at[1]:
                    self.over.set()


def now() -> dict[str, int]:
    gc.collect()
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - a count is all that is wanted
        "objects": len(gc.get_objects()),
        "traced": tracemalloc.get_traced_memory()[0],
        "own": own_bytes(os.getpid()),
    }


async def main() -> None:
    stage = Stage(Path(sys.argv[1]))
    counted = Counted(int(sys.argv[2]), int(sys.argv[3]))
    mayfly = stage.path / "mayfly"
    said = encode(Hardened(PID)) + encode(Ready("tcp://127.0.0.1:1"))
    mayfly.write_text(MAYFLY.format(python=sys.executable, said=said.hex(), pid=PID))
    mayfly.chmod(0o700)
    async with anyio.create_task_group() as tasks:

        async def go() -> None:
            plan = stage.plan(groups(cpu=2, web=1))
            await run(plan, on_event=counted.hear, programs=PROGRAMS, policy=AT_ONCE)

        tasks.start_soon(go)
        await counted.serving.wait()
        sys.executable = str(mayfly)
        os.kill(counted.first, signal.SIGKILL)
        await counted.over.wait()
        tasks.cancel_scope.cancel()
    sys.stdout.write(json.dumps(counted.found))


if __name__ == "__main__":
    if sys.argv[4:] == ["traced"]:
        tracemalloc.start()
    anyio.run(main)
