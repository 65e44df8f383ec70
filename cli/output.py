"""What commands print: colour and the terminal's width where somebody looks, plain lines where a program reads."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.stdout import forget
from supervisor.errors import ConfigError, printable, quoted

if TYPE_CHECKING:
    from supervisor.errors import StartError

UNBOUNDED = 10_000
"""The width of what is no terminal, columns: a program that reads lines wants them whole."""


class _Output(Console):
    def on_broken_pipe(self) -> None:
        """Nobody reads any more, as after `| head`: whether the command has failed does not depend on that."""
        self.quiet = True
        forget(self.file)


def _console(stream: TextIO, *, stderr: bool = False) -> Console:
    return _Output(stderr=stderr, width=None if stream.isatty() else UNBOUNDED, highlight=False, markup=False)


out = _console(sys.stdout)
"""Answers. Looks at each `print` for the standard output of that moment."""
err = _console(sys.stderr, stderr=True)
"""Complaints."""


def show(rows: Table) -> None:
    """Print a table; without a terminal also without the spaces that fill its last column."""
    if out.is_terminal:
        out.print(rows)
        return
    with out.capture() as printed:
        out.print(rows)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in printed.get().splitlines())


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table without lines; the columns in `right` hold numbers."""
    empty = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
    for name in columns:
        empty.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return empty


def show_error(error: StartError) -> None:
    """Print an error as people read it: where and what first, then what to do, then what others said of it."""
    faults = error.faults if isinstance(error, ConfigError) else ()
    for fault in faults:
        err.print(_told(fault), soft_wrap=True)
    if not faults:
        err.print(Text("error: ", "bold red").append(str(error), "not bold default"), soft_wrap=True)
    if len(faults) > 1:
        err.print(f"{len(faults)} faults", style="bold", soft_wrap=True)


def _told(fault: ConfigError) -> Text:
    """`str(fault)` with colours."""
    text = Text()
    if fault.where:
        text.append(f"{printable(fault.where)}: ", "bold")
    text.append("error: ", "bold red").append(printable(fault.what))
    if fault.key:
        text.append("\n  key: ", "dim").append(printable(fault.key))
    if fault.hint:
        text.append("\n  hint: ", "cyan").append(printable(fault.hint))
    for line in quoted(fault.detail):
        text.append(f"\n{line}", "dim")
    return text
