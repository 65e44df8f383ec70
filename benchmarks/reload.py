"""What a reload costs those who ask meanwhile: latency while four workers are replaced, beside latency before it.

One client asks at fixed times over connections that stay open, answered or not, and one thread edits the code and
reloads, again and again. The node sleeps, so the workers themselves need no core; but a successor's imports do, and so
do the command and the process that describes the application. On a machine with few cores those compete with the load,
which is part of what a reload costs there.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

from openloop import Seen, client
from systems import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openloop import Client

SERVICE = Path(__file__).parent / "service"
SHUNTER = Path(sys.executable).with_name("shunter")
RATE = 200.0
"""Requests a second: a quarter of what four workers can do."""
CALM, RELOADS = 3.0, 6
"""How long nothing happens before each reload, seconds, and how many there are."""
SETTLE = 0.5
"""What is asked so soon after a reload counts neither as calm nor as during it, seconds."""
_PATIENCE = 120.0


class Figures(NamedTuple):
    """Of one way to start workers. Times in seconds."""

    calm: list[float]
    during: list[float]
    """Latencies, sorted."""
    took: list[float]
    """Each reload, by the command."""
    resets: int
    errors: int
    """Answers that were not 200."""


class Reload(NamedTuple):
    """Both ways."""

    launched: Figures
    forked: Figures


class _Edited:
    """A running service whose code is edited."""

    def __init__(self, place: Path, url: str) -> None:
        self._module, self._state, self.url = place / "edition.py", place / "state", url
        self._text, self.edition = self._module.read_text(), 0

    def reload(self) -> tuple[float, float]:
        """A new edition; when the command began and when it had ended."""
        self.edition += 1
        self._module.write_text(self._text.replace("EDITION = 0", f"EDITION = {self.edition}"))
        began = time.monotonic()
        argv = [str(SHUNTER), "reload", "--state-dir", str(self._state)]
        subprocess.run(argv, check=True, capture_output=True, timeout=_PATIENCE)
        return began, time.monotonic()


@contextmanager
def _service(*, preload: bool) -> Iterator[_Edited]:
    place = Path(tempfile.mkdtemp())
    for name in ("reload.yaml", "edition.py"):
        shutil.copy(SERVICE / name, place)
    argv = [str(SHUNTER), "start", "-c", str(place / "reload.yaml"), "--state-dir", str(place / "state")]
    argv += ["--set", f"runtime.platform.process_groups.cpu.preload={str(preload).lower()}"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        yield _Edited(place, f"http://127.0.0.1:{serving(process)['port']}")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=_PATIENCE)
        shutil.rmtree(place)


def _load(asker: Client, enough: Event) -> list[Seen]:
    return asker.ask([(number / RATE, b"") for number in range(int(RATE * _PATIENCE))], enough)


def _measure(*, preload: bool, reloads: int) -> Figures:
    seen, windows = list[Seen](), []
    with _service(preload=preload) as edited, client(edited.url, "/nap") as asker, ThreadPoolExecutor(1) as threads:
        asker.ask([(number / RATE, b"") for number in range(int(RATE))])  # everything is warm
        for _ in range(reloads):
            enough = Event()
            asking = threads.submit(_load, asker, enough)
            try:
                time.sleep(CALM)
                windows.append(edited.reload())
                time.sleep(SETTLE)
            finally:
                enough.set()
            seen += asking.result()
            told = json.loads(asker.one(b"").body)
            assert told == edited.edition, f"edition {told} answers after that of edition {edited.edition}"
    during = [each for each in seen if any(began <= each.sent <= ended for began, ended in windows)]
    calm = [each for each in seen if not any(began <= each.sent <= ended + SETTLE for began, ended in windows)]
    return Figures(
        _latencies(calm),
        _latencies(during),
        [ended - began for began, ended in windows],
        sum(each.status == 0 for each in seen),
        sum(each.status not in {0, 200} for each in seen),
    )


def _latencies(seen: list[Seen]) -> list[float]:
    return sorted(each.answered - each.sent for each in seen)


def _of(latencies: list[float], part: float) -> float:
    """Milliseconds; the longest of all if `part` is one."""
    return latencies[min(int(len(latencies) * part), len(latencies) - 1)] * 1e3


def measure(reloads: int = RELOADS) -> Reload:
    """Both ways, one after the other."""
    return Reload(_measure(preload=False, reloads=reloads), _measure(preload=True, reloads=reloads))


def goals(found: Reload) -> list[tuple[str, float, str]]:
    """What was promised of it."""
    return [
        ("p99 while 4 workers are reloaded / before", _ratio(found.launched), "<= 2"),
        ("the same, with preload", _ratio(found.forked), "<= 2"),
        ("requests lost or refused in reloads", sum(each.resets + each.errors for each in found), "0"),
    ]


def _ratio(figures: Figures) -> float:
    return _of(figures.during, 0.99) / _of(figures.calm, 0.99)


def table(found: Reload) -> list[str]:
    """As Markdown."""
    lines = [
        (
            f"{RATE:g} requests a second, due at fixed times over connections that stay open, to a node that sleeps "
            f"for 5 ms in 4 workers; {len(found.launched.took)} reloads, before each of which a constant in the "
            f"application was edited. {os.cpu_count()} cores are shared by the load, the command, the process that "
            "describes the application and the imports of one successor after the other. Lost is what was reset, "
            "refused or failed in calm or reload; the last column is how long the command took, the median."
        ),
        "",
        "| workers are | p50 before, ms | during | p99 before | during | x | longest before | during | lost | s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for how, figures in (("started by exec", found.launched), ("forked (`preload: true`)", found.forked)):
        times = [_of(each, part) for part in (0.5, 0.99, 1.0) for each in (figures.calm, figures.during)]
        told = [f"{each:.1f}" for each in times]
        told.insert(4, f"{_ratio(figures):.2f}")
        told += [f"{figures.resets + figures.errors}", f"{statistics.median(figures.took):.1f}"]
        lines.append(f"| {how} | {' | '.join(told)} |")
    return lines


if __name__ == "__main__":
    measured = measure(int(sys.argv[1]) if sys.argv[1:] else RELOADS)
    sys.stdout.write("\n".join(table(measured)) + "\n")
    for what, figure, goal in goals(measured):
        sys.stdout.write(f"{what}: {figure:.2f} ({goal})\n")
