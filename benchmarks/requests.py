"""Requests over HTTP: a declared endpoint and a `Handoff`, beside FastAPI alone and with a ProcessPoolExecutor.

All systems run at the same time and are asked in turn, so that whatever else the machine does hits them alike. What
counts are the ratios.
"""

from __future__ import annotations

import statistics
from typing import NamedTuple

from load import Figures, load
from systems import OTHER_CPU, shunter, uvicorn

SMALL = b'{"n":1,"text":"' + b"0123456789abcdef" * 4 + b'"}'
LARGE = bytes(1 << 20)


class Row(NamedTuple):
    """One system's medians."""

    name: str
    one: Figures
    many: Figures
    large: Figures | None


def measure(rounds: int, seconds: float) -> list[Row]:
    """Every system in turn, `rounds` times."""
    with uvicorn() as peer, shunter() as ours, shunter("runtime.platform.execution_ipc.auth.mode=aead") as sealed:
        systems = {
            "FastAPI, answered in the web process": (f"{peer}/inprocess", f"{peer}/inprocess/blob"),
            "FastAPI + ProcessPoolExecutor": (f"{peer}/executor", f"{peer}/executor/blob"),
            "Shunter, declared endpoint (hmac)": (f"{ours}/declared", f"{ours}/declared/blob"),
            "Shunter, declared endpoint (aead)": (f"{sealed}/declared", f"{sealed}/declared/blob"),
            "Shunter, Handoff in a FastAPI route": (f"{ours}/handoff", ""),
        }
        seen: dict[str, list[tuple[Figures, Figures, Figures | None]]] = {name: [] for name in systems}
        for _ in range(rounds):
            for name, (small, large) in systems.items():
                json = "application/json"
                seen[name].append(
                    (
                        load(small, SMALL, json, 1, seconds, OTHER_CPU),
                        load(small, SMALL, json, 32, seconds, OTHER_CPU),
                        load(large, LARGE, "application/octet-stream", 1, seconds, OTHER_CPU) if large else None,
                    )
                )
    return [Row(name, *(_median([r[i] for r in runs]) for i in range(3))) for name, runs in seen.items()]  # type: ignore[arg-type]


def _median(figures: list[Figures | None]) -> Figures | None:
    runs = [f for f in figures if f is not None]
    if not runs:
        return None
    middle = [statistics.median(column) for column in zip(*runs, strict=True)]
    return Figures(middle[0], middle[1], middle[2], max(f.errors for f in runs))


def table(rows: list[Row]) -> list[str]:
    """The rows as Markdown, with ratios against FastAPI in-process."""
    base = rows[0]
    told = [
        "| system | p50 us, 1 conn. | x | req/s, 32 conn. | x | p99 ms, 32 conn. | 1 MiB body, p50 ms | x | errors |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        large, large_ratio = "", ""
        if row.large is not None and base.large is not None:
            large, large_ratio = f"{row.large.p50 / 1e3:.2f}", f"{row.large.p50 / base.large.p50:.2f}"
        errors = row.one.errors + row.many.errors + (row.large.errors if row.large else 0)
        told.append(
            f"| {row.name} | {row.one.p50:.0f} | {row.one.p50 / base.one.p50:.2f} | {row.many.rate:,.0f} "
            f"| {row.many.rate / base.many.rate:.2f} | {row.many.p99 / 1e3:.1f} | {large} | {large_ratio} | {errors} |"
        )
    return told


def goals(rows: list[Row]) -> list[tuple[str, float, str]]:
    """Each goal as (what, figure, goal)."""
    plain, pool, declared, _, handoff = rows
    return [
        ("declared endpoint / FastAPI in-process, throughput", declared.many.rate / plain.many.rate, ">= 2.0"),
        ("declared endpoint / ProcessPoolExecutor, throughput", declared.many.rate / pool.many.rate, ">= 4.0"),
        ("declared endpoint / FastAPI in-process, p50 at 1 connection", declared.one.p50 / plain.one.p50, "<= 2.0"),
        ("declared endpoint / ProcessPoolExecutor, p50 at 1 connection", declared.one.p50 / pool.one.p50, "<= 0.55"),
        ("declared endpoint / ProcessPoolExecutor, p99 at 32", declared.many.p99 / pool.many.p99, "<= 0.15"),
        ("Handoff in a route / ProcessPoolExecutor, throughput", handoff.many.rate / pool.many.rate, ">= 1.4"),
        ("Handoff in a route / ProcessPoolExecutor, p50", handoff.one.p50 / pool.one.p50, "<= 0.8"),
    ]
