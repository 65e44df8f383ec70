"""A supervisor as a process of its own: `supervised.py DIRECTORY JSON`, one event a line on standard output."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from stage import PROGRAMS, Stage, groups, tool

from supervisor.errors import StartError
from supervisor.run import run

if TYPE_CHECKING:
    from supervisor.events import Event


def tell(event: Event) -> None:
    sys.stdout.write(json.dumps({"kind": type(event).__name__, **asdict(event)}) + "\n")
    sys.stdout.flush()


async def main() -> None:
    options = json.loads(sys.argv[2])
    port = options.pop("port", 0)
    path = Path(sys.argv[1])
    tools = tuple(tool(*words, directory=path) for words in options.pop("tools", ()))
    plan = Stage(path).plan((*tools, *groups(**options)), port=port)
    await run(plan, on_event=tell, programs=PROGRAMS, load=lambda: plan)


if __name__ == "__main__":
    try:
        anyio.run(main)
    except StartError as error:
        sys.exit(str(error))
