"""`shunter events`: what happened to the service, told by its supervisor. What workers write is in `shunter logs`."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from cli.lines import clock, inert, moment
from cli.orders import DONE, complain
from cli.stdout import put
from ipc.control import ControlError, watching
from ipc.decoding.jsontext import json_object
from ipc.messages.control import Happened, Missed, Watch
from supervisor.errors import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ipc.messages.control import Answer


def events(state_dir: Path, *, last: int, follow: bool, as_json: bool) -> int:
    """Print the last events, then those that come if asked to, until the service has stopped; the exit code."""
    show = _raw if as_json else _coloured() if sys.stdout.isatty() else _plain
    try:
        with suppress(KeyboardInterrupt), watching(state_dir, Watch(last, follow)) as answers:
            for answer in answers:
                show(answer)
                if not put(""):
                    break
    except ControlError as error:
        return complain(error)
    return DONE


def _raw(answer: Answer) -> None:
    match answer:
        case Happened(line):
            sys.stdout.write(f"{inert(line) if sys.stdout.isatty() else line}\n")
        case Missed(count):
            sys.stdout.write(f'{{"event":"missed","count":{count}}}\n')


def _plain(answer: Answer) -> None:
    from supervisor.chronicle import from_json  # noqa: PLC0415 -- JSON needs none of it

    match answer:
        case Happened(line):
            said, event = json_object(line) or {}, from_json(line)
            lines = str(event).split("\n") if event is not None else [line]
            told = "\n    ".join(map(printable, lines))
            level = printable(str(said.get("level", "")))
            sys.stdout.write(f"{clock(moment(said))} {level:<7} {told}\n")
        case Missed(count):
            sys.stdout.write(f"{missed(count)}\n")


def _coloured() -> Callable[[Answer], None]:
    from cli.output import out  # noqa: PLC0415 -- rich is slow to import
    from cli.show import told  # noqa: PLC0415 -- as above
    from supervisor.chronicle import from_json  # noqa: PLC0415 -- as above

    def show(answer: Answer) -> None:
        match answer:
            case Happened(line) if (event := from_json(line)) is not None:
                when = moment(json_object(line) or {}) or 0.0
                out.print(told(event, when), soft_wrap=True)
            case Happened(line):  # of a later version
                out.print(printable(line), soft_wrap=True)
            case Missed(count):
                out.print(missed(count), style="yellow", soft_wrap=True)

    return show


def missed(count: int) -> str:
    """What is said in the place of events that were left out."""
    return f"... {count:,} event{'s' if count != 1 else ''} left out: they came faster than they were read"
