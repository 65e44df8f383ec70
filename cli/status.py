"""`shunter status`: what runs, as a table for people or as JSON for programs."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec

from cli.lines import inert
from cli.orders import DONE, FAILED, complain
from cli.spans import age
from cli.stderr import say_error
from ipc.control import ControlError, ask
from ipc.messages.control import AskStatus, Refused, Status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.table import Table

    from ipc.messages.control import Figures, GroupStatus, WorkerStatus

_COLOURS = {"up": "green", "ready": "green", "failed": "bold red", "down": "red"}
"""States that are not named here are on their way to another one: yellow."""
_GIVEN_UP = "failed"
DEBUG = "hardening.allow_debug is on: every process of this user can read the workers' memory, and their keys"
NOTICEABLE = 1.0
"""How long a call has to run until people are told of it, seconds."""
WEB = "web"
"""The group that waits for nobody: its clients wait for it."""


def status(state_dir: Path, *, as_json: bool) -> int:
    """Print what the supervisor says of itself, its groups and their workers."""
    try:
        answer = ask(state_dir, AskStatus())
    except ControlError as error:
        return complain(error)
    match answer:
        case Status():
            _print_json(answer) if as_json else _print_table(answer)
            return DONE
        case Refused():
            return complain(answer)
        case _:
            say_error("the supervisor answered something else than its status")
            return FAILED


def _print_json(answer: Status) -> None:
    text = msgspec.json.format(msgspec.json.encode(as_data(answer))).decode() + "\n"
    sys.stdout.write(inert(text) if sys.stdout.isatty() else text)


def as_data(answer: Status) -> dict[str, Any]:
    """The status as programs get it: without the conversation's tag, and without empty reasons."""
    data: dict[str, Any] = msgspec.to_builtins(answer)
    del data["answer"]
    for group in data["groups"]:
        for worker in group["workers"]:
            if not worker["reason"]:
                del worker["planned"]
            for name in ("reason", "last_words"):
                if not worker[name]:
                    del worker[name]
        if group["template"] is None:
            del group["template"]
        for name in ("figures", "between"):
            if group[name] is None:
                del group[name]
    return data


def _print_table(answer: Status) -> None:
    from cli.output import out  # noqa: PLC0415 -- rich is slow to import, and JSON needs none of it
    from supervisor.errors import printable  # noqa: PLC0415 -- as above

    one, now = answer.supervisor, time.time()
    if one.allow_debug:
        out.print(f"WARNING: {DEBUG}\n", style="bold red", soft_wrap=True)
    out.print(f"Shunter {one.version}, pid {one.pid}, up {age(now - one.since)}, {one.config}\n", soft_wrap=True)
    out.print(rows(answer, now))
    if seen := [_seen(group.name, group.figures) for group in answer.groups if group.figures is not None]:
        out.print("", *seen, sep="\n")
    for n, (style, line) in enumerate(line for group in answer.groups for line in ends(group)):
        out.print("" if n else "\n", printable(line), sep="", style=style, soft_wrap=True)


def ends(group: GroupStatus) -> Iterator[tuple[str, str]]:
    """Why workers ended that were not to, and what to do about those that do not start again; lines with a style."""
    for worker in group.workers:
        if worker.reason and not worker.planned and worker.state != _GIVEN_UP:
            yield "yellow", f"{worker.name}: the one before: {worker.reason}"
    given_up = [worker for worker in group.workers if worker.state == _GIVEN_UP]
    told: set[str] = set()
    for worker in given_up:
        after = f" after {worker.crashes} crashes in a row" if worker.crashes > 1 else ""
        yield _COLOURS[_GIVEN_UP], f"{worker.name}: given up{after}: {worker.reason}"
        if worker.last_words not in told:
            yield from (("dim", f"    {line}") for line in worker.last_words.splitlines())
        told.add(worker.last_words)
    if given_up:
        yield "bold", f"When that is mended: shunter restart {group.name}"


def rows(answer: Status, now: float) -> Table:
    """A line for each group, and below it one for each of its workers."""
    from rich.text import Text  # noqa: PLC0415 -- as above

    from cli.output import table  # noqa: PLC0415 -- as above

    refused = any(worker.refused for group in answer.groups for worker in group.workers)
    figures = ("for", "pid", "calls", "running", *(("refused",) if refused else ()), "restarts", "memory")
    made = table("worker", "state", *figures, right=figures)
    made.padding = (0, 2, 0, 0)
    made.columns[0].no_wrap = True
    for group in answer.groups:
        size = "" if group.between is None else " ({} to {})".format(*group.between)
        made.add_row(Text.assemble((group.name, "bold"), size), Text(group.state, _COLOURS.get(group.state, "yellow")))
        for worker in (*group.workers, *((group.template,) if group.template is not None else ())):
            state = Text(worker.state, _COLOURS.get(worker.state, "yellow"))
            made.add_row(Text(f"  {worker.name}"), state, *_figures(worker, now, refused=refused))
    return made


def _seen(group: str, seen: Figures) -> str:
    """What those who call a group see of it, in a line."""
    told = f"{group}: {seen.calls_per_second:,.1f}/s, answered in {seen.latency_p50_ms:,.1f} ms"
    told += f" (p99 {seen.latency_p99_ms:,.1f} ms)"
    if group != WEB:
        told += f", after a wait of {seen.wait_p50_ms:,.1f} ms (p99 {seen.wait_p99_ms:,.1f} ms), {seen.waiting} waiting"
    return told


def _figures(worker: WorkerStatus, now: float, *, refused: bool) -> tuple[str, ...]:
    return (
        age(now - worker.since),
        str(worker.pid or "-"),
        f"{worker.calls:,}",
        f"{worker.running} ({worker.longest:.1f} s)" if worker.longest >= NOTICEABLE else str(worker.running),
        *((f"{worker.refused:,}",) if refused else ()),
        str(worker.restarts),
        f"{worker.rss_bytes / 2**20:.0f} MiB" if worker.rss_bytes else "-",
    )
