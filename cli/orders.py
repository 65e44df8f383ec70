"""One order to the running supervisor: its progress as lines, its outcome as an exit code."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from cli.stderr import say_error, say_report
from cli.stdout import put
from ipc.control import ControlError, NotRunning, Unwilling, ask
from ipc.messages.control import Done, Progress, Refused, encode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ipc.messages.control import Answer, Order

DONE, FAILED, USAGE, NOT_RUNNING = 0, 1, 2, 3


def give(state_dir: Path, order: Order, *, as_json: bool = False) -> int:
    """Give it, show what happens until it is carried out, and return the exit code."""
    say = (lambda text: _show(Progress(text))) if as_json else _teller()
    try:
        answer = ask(state_dir, order, say)
    except ControlError as error:
        return complain(error)
    except KeyboardInterrupt:
        return complain(ControlError("no longer waiting; the order stands"))
    if as_json:
        _show(answer)
    elif isinstance(answer, Done):
        say(answer.text)
    return complain(answer, told=as_json) if isinstance(answer, Refused) else DONE


def _show(answer: Answer) -> None:
    """As the supervisor said it, a line of JSON."""
    from cli.lines import inert  # noqa: PLC0415 -- programs only

    text = encode(answer).decode()
    put(inert(text) if sys.stdout.isatty() else text)


def complain(reason: ControlError | Refused, *, told: bool = False) -> int:
    """Say on standard error why an order was not carried out, unless it was `told`, and return the exit code."""
    match reason:
        case NotRunning():
            say_error(f"{shown(str(reason))}; start it with shunter start, or name another service with -c FILE")
            return NOT_RUNNING
        case Unwilling():
            return complain(reason.answer)
        case Refused(why, usage, report):
            if report and not told:
                say_report(shown(why))
            elif not told:
                say_error(shown(why))
            return USAGE if usage else FAILED
        case _:
            say_error(shown(str(reason)))
            return FAILED


def shown(text: str) -> str:
    """The text with nothing in it that could do something to a terminal, line by line."""
    from supervisor.errors import printable  # noqa: PLC0415 -- who only asks for help needs none of it

    return "\n".join(map(printable, text.split("\n")))


def _teller() -> Callable[[str], None]:
    """Prints lines; the outcome is often what the last progress has said already, and is not said again."""
    last = ""

    def say(text: str) -> None:
        nonlocal last
        if text != last:
            put(f"{shown(text)}\n")
        last = text

    return say
