"""Three times what a group can do: how much of that it goes on doing, and how soon the others are refused.

Two web and four exec workers, whose nodes sleep, so that two cores are enough; one client that asks at fixed times,
answered or not, and one that asks how the service is. Goodput is the workers' time that went into answers, against
all there is: what their calls really slept, while the load lasted, by workers and seconds. One is the most there can
be. What is missing is time in which a worker waited for its next call, or slept for somebody who had left.
"""

from __future__ import annotations

import json
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from openloop import client
from systems import service

if TYPE_CHECKING:
    from openloop import Client, Seen

WEBS, EXECS = 2, 4
LOAD = 3
NAP, PATIENCE = 0.05, 1.0
"""What a call takes, and how long its caller waits, seconds."""
HEALTH_EVERY = 0.05
SETTLE = 1.0
"""The line fills first; what is seen in that time does not count, seconds."""
SECONDS, ROUNDS = 8.0, 3


class Figures(NamedTuple):
    """What one run saw. Times are milliseconds."""

    asked: float
    goodput: float
    done_p50: float
    refused_p50: float
    refused_p99: float
    in_vain: float
    """The part of all requests that was neither answered nor refused, but begun and then too late."""
    health_p99: float


def measure(rounds: int = ROUNDS, seconds: float = SECONDS) -> list[Figures]:
    """The same load, several times."""
    webs, execs = (f"runtime.platform.process_groups.{group}.workers" for group in ("web", "cpu_sync"))
    settings = (f"{webs}={WEBS}", f"{execs}={EXECS}", "runtime.web.keep_alive_seconds=60")
    patience = f"runtime.web.default_timeout_seconds={PATIENCE}"
    with service(*settings, patience, pinned=False) as (url, _state):
        found = []
        for _ in range(rounds):
            with client(url, "/declared/nap") as asker, client(url, "/healthz", "GET") as looker:
                found.append(_run(asker, looker, seconds))
        return found


def _run(asker: Client, looker: Client, seconds: float) -> Figures:
    every = NAP / EXECS / LOAD
    calls = [(number * every, b'{"seconds":%.6f}' % NAP) for number in range(int((SETTLE + seconds) / every))]
    looks = [(number * HEALTH_EVERY, b"") for number in range(int((SETTLE + seconds) / HEALTH_EVERY))]
    with ThreadPoolExecutor(1) as threads:
        looking = threads.submit(looker.ask, looks)
        seen, health = asker.ask(calls), looking.result()
    start, end = seen[0].sent + SETTLE, seen[0].sent + SETTLE + seconds
    done = [each for each in seen if each.status == 200 and start <= each.answered < end]
    later = [each for each in seen if each.sent >= start]
    refused = [each for each in later if each.status == 503]
    slept = sum(json.loads(each.body)["seconds"] for each in done)
    return Figures(
        len(later),
        slept / EXECS / seconds,
        _times(done)[0],
        *_times(refused),
        sum(each.status not in {200, 503} for each in later) / len(later),
        _times(health)[1],
    )


def _times(seen: list[Seen]) -> tuple[float, float]:
    """p50 and p99, milliseconds."""
    cuts = statistics.quantiles([(each.answered - each.sent) * 1e3 for each in seen], n=100)
    return cuts[49], cuts[98]


def _middle(found: list[Figures]) -> Figures:
    return Figures(*map(statistics.median, zip(*found, strict=True)))


def table(found: list[Figures]) -> list[str]:
    """The figures as Markdown."""
    middle = _middle(found)
    return [
        (
            f"{WEBS} web and {EXECS} exec workers, calls that sleep {NAP * 1e3:.0f} ms for callers who wait "
            f"{PATIENCE:.0f} s, {LOAD} times as many as can be done, due at fixed times. Goodput 1 would be workers "
            "that do nothing but what is answered."
        ),
        "",
        "| requests | goodput | answered, p50 ms | refused, p50 ms | p99 ms | begun in vain | /healthz, p99 ms |",
        "|---|---|---|---|---|---|---|",
        (
            f"| {middle.asked:.0f} | {middle.goodput:.2f} | {middle.done_p50:.0f} | {middle.refused_p50:.1f} "
            f"| {middle.refused_p99:.1f} | {middle.in_vain:.2%} | {middle.health_p99:.1f} |"
        ),
    ]


def goals(found: list[Figures]) -> list[tuple[str, float, str]]:
    """Each goal as (what, figure, goal)."""
    middle = _middle(found)
    return [
        (f"goodput at {LOAD} times the load / capacity", middle.goodput, ">= 0.9"),
        (f"refusals at {LOAD} times the load, p99 ms", middle.refused_p99, "<= 20"),
        (f"/healthz at {LOAD} times the load, p99 ms", middle.health_p99, "<= 50"),
    ]


if __name__ == "__main__":
    everything = measure(1, 2.0) if "--quick" in sys.argv[1:] else measure()
    marked = (f"{what}: {figure:.2f} ({goal})" for what, figure, goal in goals(everything))
    print("\n".join((*table(everything), "", *marked)))
