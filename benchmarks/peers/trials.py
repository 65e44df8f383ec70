"""What each system is put through. A trial gives its figures by name: infinite is never, None is that it cannot."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import statistics
import time
from typing import TYPE_CHECKING

from load import load
from stand import body_of, eventually, runs, stand
from systems import OTHER_CPU

if TYPE_CHECKING:
    from collections.abc import Callable

    from stand import Stand, Told

Figure = float | str | tuple[int, int] | None
"""A pair is some of all."""
Figures = dict[tuple[str, str], Figure]
"""By case, and what is looked at."""

WATCHED = 5.0
"""What has not happened by then is said never to happen, seconds."""
BRIEF, OFTEN = 0.01, 0.05
"""Jobs of bystanders: how long each takes, and how long it is from one to the next, seconds."""
OFTENER = 0.03
"""The same of short jobs beside a long one: enough of them for a p99."""
OVERLOAD, CALL, LASTS, SETTLE = 3, 0.05, 8.0, 1.0
DRAIN = 3.0
"""After an overload the log is read for so much longer, seconds."""
BATCHING = ("LitServe", "Shunter")
SECONDS = 2.0


def endless(system: str) -> Figures:
    """Jobs that never end."""
    found: Figures = {}
    for kind, name in (("spin", "`while True: pass`"), ("c", "a C loop that keeps the GIL")):
        with stand(system, deadline=0.5) as made:
            figures = asyncio.run(_endless(made, kind))
        found |= {(f"{name}, deadline 500 ms", what): figure for what, figure in figures.items()}
    return found


async def _endless(made: Stand, kind: str) -> dict[str, Figure]:
    others = asyncio.create_task(made.crowd(BRIEF, OFTEN, WATCHED + 1.0))
    await asyncio.sleep(0.5)
    ticket = made.ticket()
    call = asyncio.create_task(made.ask(kind, patience=WATCHED, ticket=ticket))
    begin = await made.begun(ticket)
    gone, whole = await asyncio.gather(made.over(begin, WATCHED), _whole_after(made, begin.at + 0.3))
    told, bystanders = await call, await others
    return {
        "its client is told after, ms": _since(told.sent, told.answered) if told.status != "hang" else math.inf,
        "its CPU is gone after, ms": _since(told.sent, gone),
        "both workers serve again after, ms": _since(told.sent, whole),
        "bystanders that fail": (sum(each.status != "200" for each in bystanders), len(bystanders)),
    }


async def _whole_after(made: Stand, moment: float) -> float:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))
    return await made.whole(WATCHED)


def leaving(system: str) -> Figures:
    """A client that does not wait."""
    with stand(system) as made:
        return asyncio.run(_leaving(made))


async def _leaving(made: Stand) -> Figures:
    left = await made.ask("nap", 5.0, patience=0.5)
    assert left.status == "hang"
    whole = await made.whole(WATCHED + 1.0)
    return {("a client leaves its 5 s job", "both workers are free after, s"): whole - left.answered}


def killed(system: str) -> Figures:
    """A worker that dies."""
    with stand(system) as made:
        return asyncio.run(_killed(made))


async def _killed(made: Stand) -> Figures:
    tickets = made.ticket(), made.ticket()
    calls = [asyncio.create_task(made.ask("nap", 1.5, patience=WATCHED, ticket=ticket)) for ticket in tickets]
    victim, other = [await made.begun(ticket) for ticket in tickets]
    await asyncio.sleep(0.2)
    os.kill(victim.pid, signal.SIGKILL)
    moment = time.monotonic()

    def whole() -> bool:
        fresh = {note.pid for note in made.notes() if note.at > moment} | {other.pid}
        return sum(runs(pid) for pid in fresh - {victim.pid}) >= 2

    others = asyncio.create_task(made.crowd(BRIEF, OFTEN, WATCHED, patience=WATCHED))
    again = await eventually(whole, WATCHED)
    told, bystanders = await asyncio.gather(*calls), await others
    failed = sum(each.status != "200" for each in bystanders)
    case = "one of 2 workers, each with a job, is killed (`-9`)"
    return {
        (case, "its client gets"): _fate(told[0], moment),
        (case, "the other's client gets"): _fate(told[1], moment),
        (case, "requests after it that fail"): (failed, len(bystanders)),
        (case, "2 workers serve after, s"): again - moment,
    }


def _fate(told: Told, moment: float) -> str:
    if told.status in {"hang", "200"}:
        return {"hang": "nothing", "200": "200"}[told.status]
    return f"{told.status} after {_since(moment, told.answered):.0f} ms"


def overload(system: str) -> Figures:
    """Three times what can be done, for clients who wait a second."""
    with stand(system, deadline=0.9) as made:
        return asyncio.run(_overload(made))


async def _overload(made: Stand) -> Figures:
    before = len(made.notes())
    asked = await made.crowd(CALL, CALL / 2 / OVERLOAD, SETTLE + LASTS, patience=1.0)
    await asyncio.sleep(DRAIN)
    start = asked[0].sent + SETTLE
    done = [told for told in asked if told.status == "200" and start <= told.answered < start + LASTS]
    refused = [told.answered - told.sent for told in asked if told.status not in {"200", "hang"} and told.sent >= start]
    lost = {told.ticket: told.answered for told in asked if told.status != "200"}
    begun = [note for note in made.notes()[before:] if note.what == "begin"]
    vain = sum(note.at > lost.get(note.ticket, math.inf) for note in begun)
    case = f"{OVERLOAD} times the load for {LASTS:.0f} s, clients wait 1 s"
    return {
        (case, "goodput / capacity"): sum(told.took for told in done) / 2 / LASTS,
        (case, "refused"): (len(refused), sum(told.sent >= start for told in asked)),
        (case, "refusals, p99 ms"): _p99(refused) if refused else math.nan,
        (case, "jobs begun after their client had left or was refused"): (vain, len(begun)),
    }


def beside(system: str) -> Figures:
    """Short jobs beside a long one."""
    with stand(system) as made:
        return asyncio.run(_beside(made))


async def _beside(made: Stand) -> Figures:
    alone = await made.crowd(BRIEF, OFTENER, 4.0, patience=WATCHED)
    long = []
    for _ in range(2):
        ticket = made.ticket()
        busy = asyncio.create_task(made.ask("nap", 2.0, patience=WATCHED, ticket=ticket))
        await made.begun(ticket)
        long += await made.crowd(BRIEF, OFTENER, 1.9, patience=WATCHED)
        await busy
    times = [[told.answered - told.sent for told in asked] for asked in (alone, long)]
    return {
        ("10 ms jobs", "both workers idle: p99 ms"): _p99(times[0]),
        ("10 ms jobs", "one worker busy for 2 s: p99 ms"): _p99(times[1]),
    }


def batches(system: str) -> Figures:
    """A model with 5 ms for a start and 0.1 ms for each call."""
    case = "a model of 5 ms + 0.1 ms a call, 64 connections"
    rates: dict[bool, Figure] = {}
    for together in (False, True):
        if together and system not in BATCHING:
            rates[together] = None
            continue
        with stand(system, together=together) as made:
            rates[together] = _load(made, "model", 64)[0]
    return {(case, "one by one, req/s"): rates[False], (case, "in batches, req/s"): rates[True]}


def echo(system: str) -> Figures:
    """Next to no work."""
    with stand(system) as made:
        _, p50, errors = _load(made, "echo", 1)
        rate, _, more = _load(made, "echo", 32)
    return {
        ("echo", "1 connection: p50 us"): p50,
        ("echo", "32 connections: req/s"): rate,
        ("echo", "errors"): errors + more,
    }


def _load(made: Stand, kind: str, connections: int) -> tuple[float, float, int]:
    seen = load(made.url, body_of(kind), "application/json", connections, SECONDS, OTHER_CPU)
    return seen.rate, seen.p50, seen.errors


def _since(moment: float, then: float) -> float:
    return (then - moment) * 1e3


def _p99(times: list[float]) -> float:
    return (statistics.quantiles(times, n=100)[98] if len(times) > 1 else times[0]) * 1e3


TRIALS: dict[Callable[[str], Figures], int] = {
    endless: 1,
    leaving: 1,
    killed: 1,
    overload: 1,
    beside: 1,
    batches: 1,
    echo: 3,
}
"""Each, and how often in a round: what takes a millisecond needs a second look."""
