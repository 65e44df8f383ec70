"""`shunter logs`: what the workers wrote, and what happened. Reads files, for those who wrote them may all be gone."""

from __future__ import annotations

import select
import sys
import time
from contextlib import ExitStack, suppress
from itertools import islice
from typing import TYPE_CHECKING

from cli.lines import inert, moment, pretty
from cli.stderr import say_error
from cli.stdout import forget
from cli.tail import Tail
from cli.wanted import LEVELS, OWN, Wanted, since
from ipc.control import ControlError, ask
from ipc.decoding.jsontext import json_object
from ipc.hints import suggest
from ipc.log import LAG
from ipc.messages.control import AskStatus, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path

LINES = 100
"""How many of the last lines are shown unless that is said, or what is looked for."""
PAUSE = 0.2
"""How long `--follow` sleeps between two looks, seconds."""
USAGE, NOT_RUNNING = 2, 3


def logs(
    state_dir: Path, wanted: Wanted, *, lines: int | None = LINES, follow: bool = False, as_json: bool = False
) -> int:
    """Print the last of the lines that are wanted (None: all), in the order of their times; then go on if asked to."""
    folder = state_dir / "logs"
    known = sorted({*_groups(folder), *_running(state_dir)})
    if not known:
        say_error(f"no logs in {folder}; nothing has run with this state directory")
        return NOT_RUNNING
    for group in filter(None, (wanted.group, wanted.worker.partition("-")[0])):
        if group not in known:
            return _wrong("there is no group", group, known)
    with suppress(BrokenPipeError):
        _show(folder, wanted, lines, follow, _printer(as_json=as_json))
        return 0
    forget(sys.stdout)  # as after `| head`
    return 0


def wanted_of(*, group: str, option: str, worker: str, level: str, text: str, request: str, ago: str) -> Wanted | int:
    """What the options say, or the exit code if that cannot be."""
    if group and option and group != option:
        say_error(f"'{group}' and '{option}': only one group can be asked for")
        return USAGE
    if level and level not in LEVELS:
        return _wrong("there is no level", level, LEVELS)
    begin = since(ago, time.time()) if ago else 0.0
    if begin is None:
        say_error(f"--since {ago!r} is no time; write 90s, 10m, 2h, 1d or 2026-03-01T12:00")
        return USAGE
    return Wanted(group or option, worker, level, text, request, begin)


def _wrong(what: str, given: str, known: Collection[str]) -> int:
    say_error(f"{what} '{given}'; {suggest(given, known, 'there are')}")
    return USAGE


def _show(folder: Path, wanted: Wanted, lines: int | None, follow: bool, show: Callable[[list[str]], None]) -> None:
    with ExitStack() as stack:
        if follow:  # whoever ends it has seen enough, be it of what was there before
            stack.enter_context(suppress(KeyboardInterrupt))
        tails: dict[str, Tail] = {}
        found = [list(islice(_past(tail.past(), wanted), lines))[::-1] for tail in _new(folder, wanted, tails, stack)]
        last = _in_order(found)
        show(last if lines is None else last[max(0, len(last) - lines) :])
        gone = _reader()
        while follow:
            if gone.poll(PAUSE * 1000):
                raise BrokenPipeError
            _new(folder, wanted, tails, stack)
            show(_in_order([raw for raw in tail.more() if wanted.admits(raw)] for tail in tails.values()))


def _new(folder: Path, wanted: Wanted, tails: dict[str, Tail], stack: ExitStack) -> list[Tail]:
    """Those of logs that are not looked at yet; they are from now on."""
    only = wanted.group or wanted.worker.partition("-")[0]
    found = []
    for name in _groups(folder):
        if name not in tails and (not only or name in {only, OWN}):
            tails[name] = Tail(folder / f"{name}.log")
            stack.callback(tails[name].close)
            found.append(tails[name])
    return found


def _past(lines: Iterator[str], wanted: Wanted) -> Iterator[str]:
    """Those that are wanted, the last one first."""
    for raw in lines:
        if wanted.admits(raw):
            yield raw
        elif wanted.since and (moment(json_object(raw) or {}) or wanted.since) < wanted.since - LAG - PAUSE:
            return  # what stands before it is older still


def _reader() -> select.poll:
    """Says whether who read our output has left, even while there is nothing to write."""
    poll = select.poll()
    with suppress(OSError):  # no file at all
        poll.register(sys.stdout.fileno(), 0)
    return poll


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


def _printer(*, as_json: bool) -> Callable[[list[str]], None]:
    """Readable, in a terminal with colour; or the lines as they are."""
    if sys.stdout.isatty() and not as_json:
        from cli.output import out  # noqa: PLC0415 -- slow to import, and a pipe needs none of it

        def show(found: list[str]) -> None:
            for raw in found:
                out.print(pretty(raw), soft_wrap=True)

        return show

    in_form = _plain if not as_json else inert if sys.stdout.isatty() else _as_it_is

    def write(found: list[str]) -> None:
        sys.stdout.write("".join(f"{in_form(raw)}\n" for raw in found))
        sys.stdout.flush()

    return write


def _as_it_is(raw: str) -> str:
    return raw


def _plain(raw: str) -> str:
    return pretty(raw).plain
