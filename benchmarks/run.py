"""`make bench`: everything in one run; prints the tables and writes them to docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import batching
import bodies
import decoding
import dispatch
import kill
import link
import loris
import overload
import preload
import primitives
import reload
import requests
import rotation
import start
import upkeep
from load import have_wrk

DOCUMENT = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def main() -> None:
    """Measure, print, write."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seconds", type=int, default=3)
    arguments.add_argument("--quick", action="store_true", help="one short round, nothing written")
    given = arguments.parse_args()
    rounds, seconds = (1, 1) if given.quick else (given.rounds, given.seconds)
    web = requests.measure(rounds, seconds)
    large = bodies.measure(rounds, seconds)
    wire = link.measure(rounds, min(seconds, 2))
    keys = rotation.measure(1.0 if given.quick else rotation.SECONDS)
    slow = loris.measure(1, 1.0) if given.quick else loris.measure()
    crowd = overload.measure(1, 2.0) if given.quick else overload.measure()
    many = batching.measure(rounds, seconds)
    warm = preload.measure(2 if given.quick else preload.DEATHS)
    kept = upkeep.measure(5.0, 200) if given.quick else upkeep.measure()
    began = start.measure(1 if given.quick else start.ROUNDS)
    spread = dispatch.measure(1, 1.0, 5_000) if given.quick else dispatch.measure()
    anew = reload.measure(1 if given.quick else reload.RELOADS)
    killed = kill.measure(1 if given.quick else kill.ROUNDS)
    sealing = primitives.measure()
    marks = [
        *requests.goals(web),
        *bodies.goals(large),
        *link.goals(wire),
        *primitives.goals(sealing),
        *rotation.goals(keys),
        *loris.goals(slow),
        *overload.goals(crowd),
        *dispatch.goals(spread),
        *batching.goals(many),
        *preload.goals(warm),
        *start.goals(began),
        *upkeep.goals(kept),
        *reload.goals(anew),
        *kill.goals(killed),
    ]
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`. Absolute figures are this machine's and this hour's; the ratios are the point.",
        "",
        (
            f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {os.cpu_count()} cores, "
            f"{'wrk' if have_wrk() else 'a Python client'}, medians of {rounds} interleaved rounds of {seconds:g} s. "
            "One web process alone on core 0; worker and load on core 1."
        ),
        "",
        "## Requests over HTTP",
        "",
        *requests.table(web),
        "",
        "## Goals",
        "",
        "| what | figure | goal |",
        "|---|---|---|",
        *(f"| {what} | {figure:.2f} | {goal} |" for what, figure, goal in marks),
        "",
        "## Large bodies",
        "",
        bodies.READING,
        "",
        *bodies.table(large),
        "",
        "## The link alone",
        "",
        *link.table(wire),
        "",
        "## Key rotation",
        "",
        *rotation.table(keys),
        "",
        "## Slow connections",
        "",
        *loris.table(slow),
        "",
        "## Dispatch",
        "",
        *dispatch.table(spread),
        "",
        "## Three times the load",
        "",
        *overload.table(crowd),
        "",
        "## Batches",
        "",
        "A node that takes 5 ms for a start and 0.1 ms for each call, as a model does; one worker.",
        "",
        *batching.table(many),
        "",
        "## Preload",
        "",
        *preload.table(warm),
        "",
        "## Start",
        "",
        *start.table(began),
        "",
        "## The supervisor itself",
        "",
        *upkeep.table(kept),
        "",
        "## Reloads",
        "",
        *reload.table(anew),
        "",
        "## Jobs that never end, workers that die",
        "",
        *kill.table(killed),
        "",
        "## Sealing",
        "",
        *primitives.table(sealing),
        "",
        "## Limits of what is decoded, us",
        "",
        *decoding.table(decoding.measure()),
    ]
    text = "\n".join(lines) + "\n"
    sys.stdout.write(text)
    if not given.quick:
        DOCUMENT.write_text(text)


if __name__ == "__main__":
    main()
