"""The imports of a start alone, arranged as well as forking can: what no way to start the same processes can go below.

One process has imported what web workers need, another what exec workers need, while a third imports what the
supervisor needs. From the first is forked who describes the application, and then the web workers; from the second the
exec workers. There are no keys, no links, no server, and nobody is looked after.
"""

from __future__ import annotations

import os
import sys
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

QUICKSTART = Path(__file__).parent.parent / "examples" / "quickstart"
NODES = ("quickstart.fractal", "quickstart.images", "quickstart.passwords")
APP = "quickstart.main"
WORKERS = 2


def base(kind: str, orders: Connection) -> None:
    """Import what every worker of a kind needs; then fork one for each order, which imports what it is told."""
    __import__(f"{kind}_worker.process")
    if kind == "web":
        __import__("fastapi")
    orders.send("warm")
    while modules := orders.recv():
        if os.fork() == 0:
            for module in modules:
                __import__(module)
            orders.send("up")
            os._exit(0)


def main() -> None:
    """Return when all of them have imported everything."""
    sys.path.insert(0, str(QUICKSTART))
    processes, ours, bases = get_context("fork"), {}, []
    for kind in ("web", "exec"):
        ours[kind], theirs = processes.Pipe()
        bases.append(processes.Process(target=base, args=(kind, theirs)))
        bases[-1].start()
    import cli.start  # noqa: F401, PLC0415 - beside the others, as the command itself would
    import supervisor.run  # noqa: F401, PLC0415 - as above

    ours["web"].recv()
    ours["web"].send((APP, *NODES))  # the description, before which nobody knows who needs what
    ours["web"].recv()
    ours["exec"].recv()
    for kind, modules in (("exec", NODES), ("web", (APP,))):
        for _ in range(WORKERS):
            ours[kind].send(modules)
    for told in ours.values():
        for _ in range(WORKERS):
            told.recv()
        told.send(())
    for process in bases:
        process.join()


if __name__ == "__main__":
    main()
