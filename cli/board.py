"""What `shunter top` shows of two statuses, one after the other: rows of cells. Pure; knows no terminal.

A rate is what a life of a worker did between the two. Columns that a terminal has no room for are left out, those that
matter least first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from cli.spans import MINUTE, span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ipc.messages.control import Figures, GroupStatus, Status, WorkerStatus

Tone: TypeAlias = Literal["", "good", "busy", "bad", "quiet"]
NONE = "-"
LONG_AGO = 1.0
"""A call that runs for longer is shown in another colour, seconds."""
PRECISE = 10
"""Smaller figures have a decimal."""


class Column(NamedTuple):
    """One column: its heading, how wide it is, and how soon it is left out (the larger, the sooner)."""

    name: str
    width: int
    rank: int


COLUMNS = (
    Column("worker", 0, 0),
    Column("state", 8, 1),
    Column("for", 7, 9),
    Column("pid", 7, 11),
    Column("runs", 4, 2),
    Column("oldest", 6, 4),
    Column("calls/s", 7, 3),
    Column("wait p50/p99", 12, 8),
    Column("took p50/p99", 12, 7),
    Column("cpu", 5, 5),
    Column("memory", 6, 6),
    Column("restarts", 8, 10),
)
"""In the order in which they stand. The first is as wide as the longest name."""
RIGHT = frozenset(column.name for column in COLUMNS[2:])
"""Those that hold numbers."""
SORTS = ("name", "cpu", "memory", "calls/s", "oldest")
"""By what workers of a group can be sorted; `name` is the order of their seats."""


class Cell(NamedTuple):
    """A text, and what it means."""

    text: str = ""
    tone: Tone = ""


class Row(NamedTuple):
    """A group, or a worker below it."""

    key: str
    """Who it is about; of a worker the name of its life."""
    group: str
    worker: str
    """Empty for a group."""
    cells: Mapping[str, Cell]


class Moment(NamedTuple):
    """A status, and when it came, on a clock that nobody sets."""

    status: Status
    at: float


class _Usage(NamedTuple):
    """What one worker did since the moment before."""

    calls: float | None = None
    """A second."""
    cpu: float | None = None
    """Percent of one core."""


def rows(now: Moment, before: Moment | None, wall: float, sort: str = "name") -> list[Row]:
    """A row for each group, and below it one for each of its workers. `wall` is the time of day, Unix seconds."""
    usage = _usages(now, before)
    made: list[Row] = []
    for group in now.status.groups:
        everybody = [*group.workers, *((group.template,) if group.template is not None else ())]
        made.append(_group_row(group, [usage[worker.name] for worker in group.workers]))
        made += [
            _worker_row(group.name, worker, usage[worker.name], wall) for worker in _sorted(everybody, usage, sort)
        ]
    return made


def fitting(found: Sequence[Row], width: int) -> list[Column]:
    """As many columns as there is room for, with a blank on each side, as wide as they have to be."""
    longest = max((len(row.cells["worker"].text) for row in found), default=0)
    columns = [COLUMNS[0]._replace(width=max(longest, len("worker"))), *COLUMNS[1:]]
    kept: list[Column] = []
    for column in sorted(columns, key=lambda each: each.rank):
        if not kept or sum(each.width + 2 for each in (*kept, column)) <= width:
            kept.append(column)
    return [column for column in columns if column in kept]


def heading(now: Moment, before: Moment | None, wall: float) -> tuple[str, str]:
    """Two lines: who runs since when, and what all of it does together."""
    one, groups = now.status.supervisor, now.status.groups
    usage = _usages(now, before)
    workers = [worker for group in groups for worker in group.workers]
    ready = sum(worker.state in {"up", "ready"} for worker in workers)
    web, others = (
        _sum(
            _rate_of(group, [usage[worker.name] for worker in group.workers])
            for group in groups
            if (group.name == "web") is is_web
        )
        for is_web in (True, False)
    )
    cpu = _sum(each.cpu for each in usage.values())
    parts = [
        f"{ready} of {len(workers)} workers up",
        f"{_rate(web)} requests/s",
        f"{_rate(others)} calls/s",
        f"cpu {_percent(cpu)}",
        f"memory {_size(sum(worker.rss_bytes for worker in _processes(workers)))}",
    ]
    return f"Shunter {one.version}, pid {one.pid}, up {span(wall - one.since)}, {one.config}", ", ".join(parts)


def _usages(now: Moment, before: Moment | None) -> dict[str, _Usage]:
    """By name: a life that was not there before has done nothing that can be told yet."""
    old = {worker.name: worker for group in before.status.groups for worker in group.workers} if before else {}
    seconds = now.at - before.at if before else 0.0
    found: dict[str, _Usage] = {}
    for group in now.status.groups:
        for worker in (*group.workers, *((group.template,) if group.template is not None else ())):
            last = old.get(worker.name)
            if last is None or seconds <= 0 or last.pid != worker.pid:
                found[worker.name] = _Usage()
                continue
            cpu = 100 * max(0.0, worker.cpu_seconds - last.cpu_seconds) / seconds if worker.cpu_seconds else None
            found[worker.name] = _Usage(max(0, worker.calls - last.calls) / seconds, cpu)
    return found


def _sorted(workers: list[WorkerStatus], usage: Mapping[str, _Usage], sort: str) -> list[WorkerStatus]:
    keys: dict[str, Callable[[WorkerStatus], float]] = {
        "cpu": lambda worker: usage[worker.name].cpu or 0.0,
        "memory": lambda worker: worker.rss_bytes,
        "calls/s": lambda worker: usage[worker.name].calls or 0.0,
        "oldest": lambda worker: worker.longest,
    }
    return sorted(workers, key=keys[sort], reverse=True) if sort in keys else workers


def _group_row(group: GroupStatus, usage: Sequence[_Usage]) -> Row:
    workers, figures = group.workers, group.figures
    between = "" if group.between is None else " ({} to {})".format(*group.between)
    running = str(sum(worker.running for worker in workers))
    cells = {
        "worker": Cell(f"{group.name}{between}"),
        "state": Cell(group.state, _tone(group.state)),
        "runs": Cell(f"{running}+{figures.waiting}" if figures is not None and figures.waiting else running),
        "oldest": _oldest(max((worker.longest for worker in workers), default=0.0)),
        "calls/s": Cell(_rate(_rate_of(group, usage))),
        "wait p50/p99": Cell(_pair(figures, "wait")),
        "took p50/p99": Cell(_pair(figures, "latency")),
        "cpu": Cell(_percent(_sum(each.cpu for each in usage))),
        "memory": Cell(_size(sum(worker.rss_bytes for worker in _processes(workers)))),
        "restarts": _restarts(sum(worker.restarts for worker in workers)),
    }
    return Row(group.name, group.name, "", cells)


def _rate_of(group: GroupStatus, usage: Iterable[_Usage]) -> float | None:
    """What its callers saw in the last seconds; else what its workers did since the moment before."""
    return group.figures.calls_per_second if group.figures is not None else _sum(each.calls for each in usage)


def gone(row: Row) -> Row:
    """As it was when the service was last heard of, and is no more."""
    cells = {name: Cell(cell.text, "quiet") for name, cell in row.cells.items()}
    return row._replace(cells=cells | {"state": Cell("gone", "quiet")})


def _worker_row(group: str, worker: WorkerStatus, usage: _Usage, wall: float) -> Row:
    cells = {
        "worker": Cell(f"  {worker.name}"),
        "state": Cell(worker.state, _tone(worker.state)),
        "for": Cell(span(wall - worker.since)),
        "pid": Cell(str(worker.pid or NONE)),
        "runs": Cell(str(worker.running), "" if worker.running else "quiet"),
        "oldest": _oldest(worker.longest),
        "calls/s": Cell(_rate(usage.calls)),
        "cpu": Cell(_percent(usage.cpu)),
        "memory": Cell(_size(worker.rss_bytes)),
        "restarts": _restarts(worker.restarts),
    }
    return Row(worker.name, group, worker.name, cells)


def _processes(workers: Iterable[WorkerStatus]) -> Iterable[WorkerStatus]:
    """Each process once: with `transport: memory` several workers live in one."""
    return {worker.pid: worker for worker in workers if worker.pid is not None}.values()


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _tone(state: str) -> Tone:
    tones: dict[str, Tone] = {"up": "good", "ready": "good", "failed": "bad", "down": "bad"}
    return tones.get(state, "busy")


def _oldest(seconds: float) -> Cell:
    if not seconds:
        return Cell(NONE, "quiet")
    return Cell(f"{seconds:.1f}s" if seconds < MINUTE else span(seconds), "busy" if seconds >= LONG_AGO else "")


def _restarts(count: int) -> Cell:
    return Cell(str(count), "" if count else "quiet")


def _rate(rate: float | None) -> str:
    return NONE if rate is None else f"{rate:,.1f}" if rate < PRECISE else f"{rate:,.0f}"


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{share:.0f} %"


def _size(size: int) -> str:
    if not size:
        return NONE
    return f"{size / 2**20:.0f} M" if size < 10 * 2**30 else f"{size / 2**30:.0f} G"


def _pair(figures: Figures | None, what: Literal["wait", "latency"]) -> str:
    """The median and what one of a hundred exceeds, milliseconds."""
    if figures is None:
        return NONE
    pair = (
        (figures.wait_p50_ms, figures.wait_p99_ms)
        if what == "wait"
        else (figures.latency_p50_ms, figures.latency_p99_ms)
    )
    return "/".join(f"{ms:.1f}" if ms < PRECISE else f"{ms:.0f}" for ms in pair)
