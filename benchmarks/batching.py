"""A node with 5 ms for a start and 0.1 ms for each call, in one worker: asked one by one, and in batches."""

from __future__ import annotations

import statistics
from typing import NamedTuple

from load import Figures, load
from requests import SMALL
from systems import OTHER_CPU, shunter

MANY = 64
SYSTEMS = {"each call alone": "/alone", "`batch=Batch(max_size=32, max_wait_ms=5)`": "/together"}


class Row(NamedTuple):
    """One way's medians."""

    name: str
    one: Figures
    many: Figures


def measure(rounds: int, seconds: float) -> list[Row]:
    """Both ways in turn, `rounds` times."""
    with shunter() as url:
        seen: dict[str, list[tuple[Figures, Figures]]] = {name: [] for name in SYSTEMS}
        for _ in range(rounds):
            for name, path in SYSTEMS.items():
                asked = (url + path, SMALL, "application/json")
                seen[name].append(
                    (load(*asked, 1, seconds, OTHER_CPU), load(*asked, MANY, seconds, OTHER_CPU)),
                )
    return [Row(name, _median([r[0] for r in runs]), _median([r[1] for r in runs])) for name, runs in seen.items()]


def _median(runs: list[Figures]) -> Figures:
    rate, p50, p99, _ = (statistics.median(column) for column in zip(*runs, strict=True))
    return Figures(rate, p50, p99, max(run.errors for run in runs))


def table(rows: list[Row]) -> list[str]:
    """The rows as Markdown."""
    base = rows[0]
    return [
        f"| | p50 ms, 1 conn. | x | req/s, {MANY} conn. | x | p50 ms | p99 ms | errors |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {row.name} | {row.one.p50 / 1e3:.2f} | {row.one.p50 / base.one.p50:.2f} | {row.many.rate:,.0f} "
            f"| {row.many.rate / base.many.rate:.1f} | {row.many.p50 / 1e3:.1f} | {row.many.p99 / 1e3:.1f} "
            f"| {row.one.errors + row.many.errors} |"
            for row in rows
        ),
    ]


def goals(rows: list[Row]) -> list[tuple[str, float, str]]:
    """Each goal as (what, figure, goal)."""
    alone, together = rows
    return [
        (f"batched / unbatched at {MANY} connections, throughput", together.many.rate / alone.many.rate, ">= 8"),
        ("batched / unbatched at 1 connection, p50", together.one.p50 / alone.one.p50, "<= 1.1"),
    ]
