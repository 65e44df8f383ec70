"""The configuration file that a command names, and the one of the service that it speaks to."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from cli.orders import USAGE
from cli.stderr import say_error
from ipc.control import ControlError, ask
from ipc.messages.control import AskStatus, Status


def refusal(config: Path, state_dir: Path) -> int | None:
    """The exit code for a file that was named but is not that of the service, once that was said; None if it is."""
    runs = running(state_dir)
    if runs is not None and _same(runs, config):
        return None  # also if it has been removed since
    if not config.exists():
        say_error(f"there is no file {config}")
        return USAGE
    if runs is not None:
        say_error(f"{state_dir} runs {runs.name}, not {config.name}")
        return USAGE
    return None


def another(config: Path, state_dir: Path) -> str:
    """The file of a service that runs there, unless it is this one."""
    runs = running(state_dir)
    return "" if runs is None or _same(runs, config) else str(runs)


def running(state_dir: Path) -> Path | None:
    """The file of the service that runs there; None if none does, or it does not say."""
    with suppress(ControlError):
        answer = ask(state_dir, AskStatus())
        return Path(answer.supervisor.config) if isinstance(answer, Status) else None
    return None


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
