"""`shunter start`: from a file to a running service, in the foreground."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from cli.outlet import Outlet
from cli.output import out, show_error
from cli.show import JsonLines, Terminal
from ipc.hardening import seal
from shunter import VERSION
from supervisor.errors import EXIT_CODE, StartError
from supervisor.planning import load_plan
from supervisor.run import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from supervisor.events import Hook
    from supervisor.plan import Plan

FAILED = 1


def start(config: Path, overrides: Sequence[str], state_dir: Path, *, background: bool) -> int:
    """Run the service until it is told to stop; returns the exit code.

    In the background nobody looks: what happens is in the log files.
    """
    seal()  # it will hold the root of all keys
    watched = sys.stdout.isatty() and not background
    try:
        # It takes a while, and somebody who looks wants to know what is waited for.
        with out.status("importing the application") if watched else nullcontext():
            plan = load_plan(config, overrides, os.environ, state_dir)
        with nullcontext() if background else _shown(_terminal(plan) if watched else JsonLines()) as hear:
            asyncio.run(run(plan, on_event=hear, version=VERSION))
    except StartError as error:
        show_error(error)
        return EXIT_CODE
    return 0


@contextmanager
def _shown(show: Hook) -> Iterator[Hook]:
    """A hook that never waits for `show`, until everything it heard was shown."""
    outlet = Outlet(show)
    try:
        yield outlet
    finally:
        if not outlet.close():
            # Output is stuck, and an orderly end of Python would wait for it.
            os._exit(FAILED if sys.exc_info()[0] else 0)


def _terminal(plan: Plan) -> Terminal:
    from cli.banner import banner  # noqa: PLC0415 -- only somebody who looks needs it

    return Terminal(attached=True, title=banner(plan, VERSION))
