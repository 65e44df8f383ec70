"""`shunter logs`: what the workers wrote. Reads files, for those who wrote them may all be gone."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, suppress
from difflib import get_close_matches
from typing import TYPE_CHECKING

from cli.lines import moment, pretty
from cli.tail import Tail
from ipc.control import ControlError, ask
from ipc.decoding.jsontext import json_object
from ipc.messages.control import AskStatus, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

PAUSE = 0.2
"""How long `--follow` sleeps between two looks, seconds."""


def logs(state_dir: Path, group: str, *, lines: int, follow: bool) -> int:
    """Print the last lines of one group or of all, in the order of their times; then go on if asked to."""
    folder = state_dir / "logs"
    known = sorted({*_groups(folder), *_running(state_dir)})
    if not known:
        sys.stderr.write(f"shunter: no logs in {folder}; nothing has run with this state directory\n")
        return 3
    if group and group not in known:
        near = get_close_matches(group, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}"
        sys.stderr.write(f"shunter: there is no group '{group}'; {hint}\n")
        return 2
    with ExitStack() as stack:
        tails = {name: _tail(folder, name, stack) for name in ([group] if group else known)}
        show = _printer()
        last = _in_order(tail.last(lines) for tail in tails.values())
        show(last[max(0, len(last) - lines) :])
        stack.enter_context(suppress(KeyboardInterrupt))
        while follow:
            time.sleep(PAUSE)
            for name in [] if group else _groups(folder):
                if name not in tails:
                    tails[name] = _tail(folder, name, stack)
            show(_in_order(tail.more() for tail in tails.values()))
    return 0


def _tail(folder: Path, name: str, stack: ExitStack) -> Tail:
    tail = Tail(folder / f"{name}.log")
    stack.callback(tail.close)
    return tail


def _groups(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.log"))


def _running(state_dir: Path) -> list[str]:
    """The groups that run now: one that has written nothing yet has no file, and is no mistake."""
    try:
        answer = ask(state_dir, AskStatus())
    except ControlError:
        return []
    return [group.name for group in answer.groups] if isinstance(answer, Status) else []


def _in_order(files: Iterable[list[str]]) -> list[str]:
    """The lines of several files by time; a line without one stays behind the line it followed."""
    timed: list[tuple[float, str]] = []
    for found in files:
        when = 0.0
        for raw in found:
            when = moment(json_object(raw) or {}) or when
            timed.append((when, raw))
    return [raw for _, raw in sorted(timed, key=lambda pair: pair[0])]


def _printer() -> Callable[[list[str]], None]:
    """Coloured and readable in a terminal; otherwise the lines as they are."""
    if not sys.stdout.isatty():
        return _print_raw
    from cli.output import out  # noqa: PLC0415 -- rich is slow to import, and a pipe needs none of it

    def show(found: list[str]) -> None:
        for raw in found:
            out.print(pretty(raw), soft_wrap=True)

    return show


def _print_raw(found: list[str]) -> None:
    sys.stdout.write("".join(f"{raw}\n" for raw in found))
    sys.stdout.flush()
