"""A whole service in a process of its own: `serving.py STATE_DIR CONFIG JSON`, one event a line on standard output.

It is what `shunter start` starts, but for the patience with workers: tests kill more of them than any service would be
asked to replace.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from supervisor.errors import StartError
from supervisor.planning import load_plan
from supervisor.policy import RestartPolicy
from supervisor.run import run

if TYPE_CHECKING:
    from supervisor.events import Event


_DROP_FROM_BOUNDS, _CAPABILITIES = 24, 0x20080522  # PR_CAPBSET_DROP, _LINUX_CAPABILITY_VERSION_3


def tell(event: Event) -> None:
    said = {"at": time.monotonic(), "kind": type(event).__name__, **asdict(event)}
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def drop_capabilities() -> None:
    """Have none, and get none by starting programs as root. Who has none anyway is refused that, and that is fine."""
    libc = ctypes.CDLL(None)
    for capability in range(64):
        libc.prctl(_DROP_FROM_BOUNDS, ctypes.c_ulong(capability), 0, 0, 0)
    libc.capset((ctypes.c_uint32 * 2)(_CAPABILITIES, 0), (ctypes.c_uint32 * 6)())


def main() -> None:
    options = json.loads(sys.argv[3])
    if options["cgroup"]:
        (Path(options["cgroup"]) / "cgroup.procs").write_text("0")  # which stands for the one who writes it
    if options["bare"]:
        drop_capabilities()
    plan = load_plan(Path(sys.argv[2]), options["settings"], os.environ, Path(sys.argv[1]))
    asyncio.run(run(plan, on_event=tell, policy=RestartPolicy(**options["policy"])))


if __name__ == "__main__":
    try:
        main()
    except StartError as error:
        sys.exit(str(error))
