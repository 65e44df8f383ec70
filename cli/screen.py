"""The screen of `shunter top`: what `board` says of each status that comes, and the keys that give orders."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.app import App
from textual.binding import Binding
from textual.message import Message
from textual.widgets import DataTable, Footer, RichLog, Static

from cli.board import RIGHT, SORTS, Moment, fitting, gone, heading, rows
from cli.events import missed
from cli.feed import Feed, Gone, Seen, Skipped, Told
from cli.helm import Helm
from cli.lines import moment
from cli.orders import shown
from cli.show import told
from ipc.control import ask
from ipc.decoding.jsontext import json_object
from supervisor.chronicle import from_json
from supervisor.errors import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from textual.app import ComposeResult
    from textual.events import Key, Resize

    from cli.board import Cell, Column, Row
    from cli.feed import News
    from ipc.messages.control import GroupStatus

MAX_EVENTS = 500
"""Events that can be scrolled back to."""
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_STYLES = {"": "", "good": "green", "busy": "yellow", "bad": "bold red", "quiet": "dim"}


class Heard(Message):
    """Something came from the service."""

    def __init__(self, news: News) -> None:
        super().__init__()
        self.news = news


class Report(Message):
    """A text for the line for orders."""

    def __init__(self, text: str, style: str = "") -> None:
        super().__init__()
        self.text, self.style = text, style


class Screen(App[None]):
    """One screen; `give` carries out an order, `feed` makes what hears of the service."""

    CSS = """
    Screen { layout: vertical; }
    #head { height: 2; text-wrap: nowrap; text-overflow: ellipsis; }
    DataTable { height: 1fr; min-height: 4; }
    DataTable > .datatable--header { text-style: bold; background: ansi_default; color: ansi_default; }
    DataTable > .datatable--cursor { text-style: reverse; }
    #events { height: 30%; max-height: 12; border-top: solid ansi_bright_black; }
    #status { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    """
    TITLE = "shunter top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar = [
        Binding("q", "quit", "quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("s", "sort", "sort"),
        Binding("d", "drain", "drain"),
        Binding("r", "restart", "restart"),
        Binding("R", "reload", "reload"),
        Binding("plus", "scale(1)", "more", key_display="+"),
        Binding("minus", "scale(-1)", "fewer", key_display="-"),
    ]

    def __init__(
        self,
        state_dir: Path,
        give: Callable[..., Any] = ask,
        feed: Callable[..., Feed] = Feed,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"
        self._give = give
        self._feed = feed(state_dir, lambda news: self.post_message(Heard(news)))
        self._wall = wall
        self._now: Moment | None = None
        self._before: Moment | None = None
        self._gone = ""
        self._sort = 0
        self._columns: list[Column] = []
        self._rows: list[Row] = []
        self._events: deque[Text] = deque(maxlen=MAX_EVENTS)
        self._seen = wall()
        self._helm = Helm(state_dir, self.say, give)

    def compose(self) -> ComposeResult:
        """Head, table, events, a line for orders, keys."""
        yield Static("waiting for the service ...", id="head", markup=False)
        yield DataTable(cursor_type="row", zebra_stripes=False)
        events = RichLog(id="events", max_lines=MAX_EVENTS, min_width=0, wrap=True, markup=False)
        events.can_focus = False
        yield events
        yield Static("", id="status", markup=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to hear."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            with suppress(ValueError, RuntimeError):  # not in the main thread: somebody else looks after signals
                loop.add_signal_handler(number, self.exit)
        self._feed.start()

    def on_unmount(self) -> None:
        """Hear no more."""
        for number in _SIGNALS:
            with suppress(ValueError, RuntimeError):
                asyncio.get_running_loop().remove_signal_handler(number)
        self._feed.stop()

    def on_heard(self, heard: Heard) -> None:
        """Show what came."""
        match heard.news:
            case Seen(status, at):
                if self._gone:
                    self._gone, self._before, self._now = "", None, None
                    self.say("the service is there again", "green")
                self._before, self._now, self._seen = self._now, Moment(status, at), self._wall()
                self.draw()
            case Gone(why):
                if why != self._gone:
                    self.say(f"{why}; waiting for it", "bold red")
                self._gone = why
                self.draw()
            case Told(line):
                self._tell(_event(line))
            case Skipped(count):
                self._tell(Text(missed(count), "yellow"))

    def on_report(self, report: Report) -> None:
        """On the line for orders."""
        self.query_one("#status", Static).update(Text(shown(report.text), report.style))

    def on_resize(self, _resize: Resize) -> None:
        """Other columns may fit, and lines break elsewhere."""
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        self.draw()
        log = self.query_one(RichLog)
        log.clear()
        for text in self._events:
            log.write(text)

    def _tell(self, text: Text) -> None:
        self._events.append(text)
        self.query_one(RichLog).write(text)

    def say(self, text: str, style: str = "") -> None:
        """Show it on the line for orders, in its turn; from any thread."""
        self.post_message(Report(text, style))

    def draw(self) -> None:
        """Everything but the events."""
        if self._now is None:
            self.query_one("#head", Static).update(Text(self._gone, "bold red"))
            return
        first, second = heading(self._now, self._before, self._seen)
        if self._gone:
            second = f"gone: {self._gone}"
        self.query_one("#head", Static).update(
            Text.assemble((f"{first}\n", "bold"), (second, "bold red" if self._gone else ""))
        )
        found = rows(self._now, self._before, self._seen, SORTS[self._sort])
        self._rows_changed([gone(row) for row in found] if self._gone else found)

    def _rows_changed(self, found: list[Row]) -> None:
        table = self.query_one(DataTable)
        columns = fitting(found, self.size.width - 2)  # the table's own scroll bar
        same = [row.key for row in self._rows] == [row.key for row in found] and columns == self._columns
        selected = self._selected()
        self._rows, self._columns = found, columns
        if same:
            for at, row in enumerate(found):
                for across, cell in enumerate(_cells(row, columns)):
                    if table.get_cell_at((at, across)) != cell:  # type: ignore[arg-type]
                        table.update_cell_at((at, across), cell)  # type: ignore[arg-type]
            return
        table.clear(columns=True)
        for column in columns:
            label = Text(column.name, justify="right" if column.name in RIGHT else "left")
            table.add_column(label, width=column.width, key=column.name)
        for row in found:
            table.add_row(*_cells(row, columns), key=row.key)
        if selected is not None:
            table.move_cursor(row=_again(selected, found), animate=False)

    def _selected(self) -> Row | None:
        at = self.query_one(DataTable).cursor_row
        return self._rows[at] if 0 <= at < len(self._rows) else None

    # Keys.

    def action_sort(self) -> None:
        """Sort the workers of each group by something else."""
        self._sort = (self._sort + 1) % len(SORTS)
        self.say(f"sorted by {SORTS[self._sort]}")
        self.draw()

    def action_drain(self) -> None:
        """Have the selected worker finish and leave, once a successor is up."""
        if self._chosen() is not None and (row := self._selected()) is not None:
            if row.worker:
                self._helm.drain(row.worker)
            else:
                self.say(f"{row.group} is a group: select one of its workers, or press r for all of them", "yellow")

    def action_restart(self) -> None:
        """Replace the workers of the selected group."""
        if (group := self._chosen()) is not None:
            self._helm.restart(group.name)

    def action_reload(self) -> None:
        """Read the configuration again."""
        if self._chosen() is not None:
            self._helm.reload()

    def action_scale(self, by: int) -> None:
        """One worker more in the selected group, or one fewer."""
        if (group := self._chosen()) is not None:
            self._helm.scale(group, by)

    def _chosen(self) -> GroupStatus | None:
        """The group that is selected, or that of the selected worker; None if nobody could be given an order."""
        if self._gone or self._now is None or (row := self._selected()) is None:
            self.say("the service is gone: nobody can carry that out", "bold red")
            return None
        return next(group for group in self._now.status.groups if group.name == row.group)

    def on_key(self, key: Key) -> None:
        """The answer to a question; any key but `y` is a no."""
        if self._helm.waits:
            self._helm.answer(yes=key.key == "y")


def _cells(row: Row, columns: list[Column]) -> Iterator[Text]:
    for column in columns:
        cell: Cell | None = row.cells.get(column.name)
        style = "" if cell is None else _STYLES[cell.tone]
        justify = "right" if column.name in RIGHT else "left"
        text = Text("" if cell is None else cell.text, style, justify=justify, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
        if not row.worker:
            text.stylize("bold")
        yield text


def _again(selected: Row, found: list[Row]) -> int:
    """Where the selected row is now: the same life, else who has its seat, else its group."""
    names = [row.key for row in found]
    seat = selected.key.partition("#")[0]
    for at, name in enumerate(names):
        if name == selected.key:
            return at
    for at, name in enumerate(names):
        if name.partition("#")[0] == seat:
            return at
    return next((at for at, row in enumerate(found) if row.group == selected.group), 0)


def _event(line: str) -> Text:
    said, event = json_object(line) or {}, from_json(line)
    return Text(printable(line)) if event is None else told(event, moment(said) or 0.0)
