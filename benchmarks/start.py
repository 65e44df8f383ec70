"""How soon a service answers: from the start of the command to the first answer, beside uvicorn with the same app.

The quickstart, with two web and two exec workers, against `uvicorn` with the quickstart's FastAPI app in one process,
which is the least that any way to serve it costs. `serving` is the event that says that all four workers are ready.
CPU seconds are those of all processes from the start to their orderly end: on a machine with few cores they decide.
Beside both, what the imports of such a start take alone if every process is forked from one that has made them
(`forked_imports.py`): nothing that starts four workers without having imported the application before can be quicker.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from systems import free_port, serving

ROOT = Path(__file__).parent.parent
QUICKSTART = ROOT / "examples" / "quickstart"
BIN = Path(sys.executable).parent
ROUNDS = 7
_PATIENCE = 120.0
_GLANCE = 0.002
_REQUEST = b"GET /hello HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"


class Figures(NamedTuple):
    """Of one start, seconds: until the first answer, until everything is up, and of processor time in all."""

    answer: float
    serving: float
    cpu: float


class Starts(NamedTuple):
    """Medians of all three."""

    uvicorn: Figures
    shunter: Figures
    imports: Figures
    """Of the imports alone; `answer` and `serving` are when the last was made."""


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE) as asked:
            asked.sendall(_REQUEST)
            return asked.recv(64).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


def _used() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _start(argv: list[str], port: int) -> Figures:
    before, began = _used(), time.monotonic()
    process = subprocess.Popen(argv, cwd=QUICKSTART, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        answer = _until_it_answers(process, port) - began
        serving = max(answer, _until_it_serves(process) - began)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=_PATIENCE)
    return Figures(answer, serving, _used() - before)


def _until_it_answers(process: subprocess.Popen[str], port: int) -> float:
    until = time.monotonic() + _PATIENCE
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > until:
            raise OSError(f"{process.args} does not serve")
        time.sleep(_GLANCE)
    return time.monotonic()


def _until_it_serves(process: subprocess.Popen[str]) -> float:
    """When the last worker was ready; uvicorn says nothing here, and is then."""
    if Path(process.args[0]).name == "shunter":
        serving(process)
    return time.monotonic()


def _uvicorn() -> Figures:
    port = free_port()
    return _start([str(BIN / "uvicorn"), "quickstart.main:app", "--port", str(port), "--app-dir", "."], port)


def _shunter() -> Figures:
    port = free_port()
    with tempfile.TemporaryDirectory() as state:
        return _start([str(BIN / "shunter"), "start", "--state-dir", state, "--set", f"runtime.web.port={port}"], port)


def _imports() -> Figures:
    before, began = _used(), time.monotonic()
    subprocess.run([sys.executable, "-m", "benchmarks.forked_imports"], cwd=ROOT, check=True, timeout=_PATIENCE)
    took = time.monotonic() - began
    return Figures(took, took, _used() - before)


def measure(rounds: int = ROUNDS) -> Starts:
    """All in turn, again and again; the first of each warms the file cache and does not count."""
    _uvicorn(), _shunter(), _imports()
    turns = [(_uvicorn(), _shunter(), _imports()) for _ in range(rounds)]
    return Starts(*(_median(list(starts)) for starts in zip(*turns, strict=True)))


def _median(starts: list[Figures]) -> Figures:
    return Figures(*(statistics.median(column) for column in zip(*starts, strict=True)))


def goals(found: Starts) -> list[tuple[str, float, str]]:
    """What was promised of it."""
    return [
        ("start of the quickstart until all 2 + 2 workers are ready / uvicorn, one process", _ratio(found), "<= 1.5"),
    ]


def _ratio(found: Starts) -> float:
    return found.shunter.serving / found.uvicorn.serving


def table(found: Starts) -> list[str]:
    """As Markdown."""
    lines = [
        (
            "From the start of the command. `shunter start` has the application described by a process of its own, and "
            f"then starts two exec and two web workers; {os.cpu_count()} cores share that work, so CPU seconds matter."
        ),
        "",
        "| | first answer, s | x | all ready, s | x | CPU, s |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in (("uvicorn, one process", found.uvicorn), ("Shunter, 2 web + 2 exec", found.shunter)):
        first, all_up = row.answer / found.uvicorn.answer, row.serving / found.uvicorn.serving
        lines.append(f"| {name} | {row.answer:.2f} | {first:.2f} | {row.serving:.2f} | {all_up:.2f} | {row.cpu:.2f} |")
    floor = found.imports
    all_made = floor.serving / found.uvicorn.serving
    lines.append(f"| the imports of that alone, forked | | | {floor.serving:.2f} | {all_made:.2f} | {floor.cpu:.2f} |")
    return lines


if __name__ == "__main__":
    measured = measure(int(sys.argv[1]) if sys.argv[1:] else ROUNDS)
    sys.stdout.write("\n".join(table(measured)) + "\n")
    for what, figure, goal in goals(measured):
        sys.stdout.write(f"{what}: {figure:.2f} ({goal})\n")
