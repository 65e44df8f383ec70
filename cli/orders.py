"""One order to the running supervisor: its progress as lines, its outcome as an exit code."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ipc.control import ControlError, NotRunning, Unwilling, ask
from ipc.messages.control import Refused, Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ipc.messages.control import Order

DONE, FAILED, USAGE, NOT_RUNNING = 0, 1, 2, 3


def give(state_dir: Path, order: Order) -> int:
    """Give it, show what happens until it is carried out, and return the exit code."""
    say = _teller()
    try:
        answer = ask(state_dir, order, say)
    except ControlError as error:
        return complain(error)
    except KeyboardInterrupt:
        sys.stderr.write("shunter: no longer waiting; the order stands\n")
        return FAILED
    if isinstance(answer, Refused):
        return complain(answer)
    if not isinstance(answer, Status):
        say(answer.text)
    return DONE


def complain(reason: ControlError | Refused) -> int:
    """Say on standard error why an order was not carried out, and return the exit code."""
    match reason:
        case NotRunning():
            sys.stderr.write(f"shunter: {reason}\n")
            return NOT_RUNNING
        case Unwilling():
            return complain(reason.answer)
        case Refused():
            sys.stderr.write(f"{shown(reason.why)}\n" if reason.report else f"shunter: {shown(reason.why)}\n")
            return USAGE if reason.usage else FAILED
        case _:
            sys.stderr.write(f"shunter: {shown(str(reason))}\n")
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
            sys.stdout.write(f"{shown(text)}\n")
            sys.stdout.flush()
        last = text

    return say
