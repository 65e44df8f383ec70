"""`shunter start`: from a file to a running service, in the foreground."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING

from ipc import collector
from ipc.hardening import seal
from shunter import VERSION
from supervisor.early import Early
from supervisor.errors import EXIT_CODE, StartError
from supervisor.planning import load_plan
from supervisor.process_group import WEB
from supervisor.statedir import AlreadyRunning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from supervisor.hub import Hook
    from supervisor.outlet import Show
    from supervisor.plan import Plan
    from supervisor.run import Beside

FAILED = 1


def start(config: Path, overrides: Sequence[str], state_dir: Path, *, background: bool) -> int:
    """Run the service until it is told to stop; returns the exit code.

    In the background nobody looks: what happens is in the log files.
    """
    try:
        run_here(config, overrides, state_dir, background=background)
    except StartError as error:
        complain(error, config, state_dir)
        return EXIT_CODE
    return 0


def complain(error: StartError, config: Path, state_dir: Path) -> None:
    """Say why nothing was started."""
    from cli.config_file import another  # noqa: PLC0415 -- hardly anybody errs
    from cli.output import show_error  # noqa: PLC0415 -- as above, and rich is slow to import

    if isinstance(error, AlreadyRunning):
        error = AlreadyRunning(state_dir, error.pid, another(config, state_dir))
    show_error(error)


def run_here(
    config: Path, overrides: Sequence[str], state_dir: Path, *, background: bool = False, beside: Beside | None = None
) -> None:
    """The same; raises StartError if it does not come so far. `beside` is done while the service serves."""
    collector.rest()
    seal()  # it will hold the root of all keys
    _leave_stacks()
    watched = sys.stdout.isatty() and not background
    early = Early()
    with early.interrupting(), _status() if watched else nullcontext():
        plan = load_plan(config, overrides, os.environ, state_dir, meanwhile=_import_the_rest)
    again = partial(load_plan, plan.config_path, overrides, dict(os.environ), state_dir, again=True)
    from supervisor.run import run  # noqa: PLC0415 -- imported meanwhile

    collector.resume()

    with nullcontext() if background else _shown(_terminal(plan) if watched else _json_lines()) as hear:
        last = beside is None
        asyncio.run(run(plan, on_event=hear, version=VERSION, load=again, early=early, beside=beside, last=last))


def _leave_stacks() -> None:
    """A process manager ends what it takes for hung by SIGABRT: then standard error says where it was."""
    with suppress(OSError, ValueError, AttributeError, RuntimeError):  # there may be none
        faulthandler.enable()


def _import_the_rest() -> None:
    """What is needed only once there is a plan: this process has nothing else to do while another one makes it."""
    import cli.show  # noqa: F401, PLC0415 -- that is the point; so with the other
    import supervisor.run  # noqa: F401, PLC0415


def _status() -> AbstractContextManager[object]:
    """It takes a while, and somebody who looks wants to know what is waited for."""
    from cli.output import out  # noqa: PLC0415 -- only somebody who looks needs it

    return out.status("importing the application")


def _json_lines() -> Show:
    from cli.show import JsonLines  # noqa: PLC0415 -- imported meanwhile

    return JsonLines()


@contextmanager
def _shown(show: Show) -> Iterator[Hook]:
    """A hook that never waits for `show`, until everything it heard was shown."""
    from supervisor.outlet import Outlet  # noqa: PLC0415 -- imported meanwhile

    outlet = Outlet(show)
    try:
        yield outlet
    finally:
        if not outlet.close():
            # Output is stuck, and an orderly end of Python would wait for it.
            os._exit(FAILED if sys.exc_info()[0] else 0)


def _terminal(plan: Plan) -> Show:
    from cli.banner import banner  # noqa: PLC0415 -- only somebody who looks needs it
    from cli.show import Terminal  # noqa: PLC0415 -- imported meanwhile

    drains = {group.name: group.drain_timeout for group in plan.groups}
    patience = drains.get(WEB, max(drains.values(), default=None))  # who asks over HTTP is who waits
    return Terminal(attached=True, title=banner(plan, VERSION), patience=patience)
