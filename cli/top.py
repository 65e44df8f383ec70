"""`shunter top`: the service, live. Textual is imported by this command only."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from cli.orders import DONE, USAGE, complain
from cli.stderr import say_error
from ipc.control import ControlError, ask
from ipc.messages.control import AskStatus, Refused

if TYPE_CHECKING:
    from pathlib import Path


def top(state_dir: Path) -> int:
    """Show it until `q` is pressed; returns the exit code."""
    a_terminal = all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))  # Textual writes to the last
    if not a_terminal or os.environ.get("TERM", "dumb") == "dumb":
        say_error("top needs a terminal; `shunter status --json` is for programs")
        return USAGE
    try:
        answer = ask(state_dir, AskStatus())
    except ControlError as error:
        return complain(error)
    if isinstance(answer, Refused):
        return complain(answer)
    from cli.screen import Screen  # noqa: PLC0415 -- slow to import, and whoever is refused needs none of it

    Screen(state_dir).run()
    return DONE
