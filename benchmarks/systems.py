"""The systems under test, each one web and one worker process, started and pinned the same way."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

WEB_CPU, OTHER_CPU = 0, 1
"""The web process alone on one core; worker and load share the other."""
SERVICE = Path(__file__).parent / "service"
_START = 60.0


def free_port() -> int:
    """A port nobody uses right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serving(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What a service in the foreground says when all of it serves; what it says later is little enough for the pipe."""
    assert process.stdout is not None
    for line in process.stdout:
        if (said := json.loads(line))["event"] == "serving":
            return dict(said)
    raise OSError("the service did not start")


def _wait(url: str) -> None:
    until = time.monotonic() + _START
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1):  # noqa: S310 - our own loopback
            return
        if time.monotonic() > until:
            raise TimeoutError(url)
        time.sleep(0.1)


def _pin(pid: int, cpu: int) -> None:
    for thread in psutil.Process(pid).threads():
        os.sched_setaffinity(thread.id, {cpu % (os.cpu_count() or 1)})


@contextlib.contextmanager
def shunter(*settings: str) -> Iterator[str]:
    """Shunter by its own command line; gives the base URL."""
    with service(*settings) as (url, _):
        yield url


@contextlib.contextmanager
def service(*settings: str, pinned: bool = True) -> Iterator[tuple[str, Path]]:
    """The same; gives the base URL and the state directory. `pinned`: each process stays on its core."""
    port, state = free_port(), tempfile.mkdtemp()
    command = [str(Path(sys.executable).with_name("shunter"))]
    where = ["-c", str(SERVICE / "shunter.yaml"), "--state-dir", state]
    extra = [word for setting in (f"runtime.web.port={port}", *settings) for word in ("--set", setting)]
    subprocess.run([*command, "start", *where, *extra, "--detach"], check=True, capture_output=True, timeout=_START)
    try:
        _wait(f"http://127.0.0.1:{port}/readyz")
        told = subprocess.run(
            [*command, "status", "--state-dir", state, "--json"], check=True, capture_output=True, timeout=30
        )
        for group in json.loads(told.stdout)["groups"] if pinned else ():
            for worker in group["workers"]:
                _pin(worker["pid"], WEB_CPU if group["name"] == "web" else OTHER_CPU)
        yield f"http://127.0.0.1:{port}", Path(state)
    finally:
        subprocess.run([*command, "stop", "--state-dir", state], check=False, capture_output=True, timeout=_START)
        shutil.rmtree(state, ignore_errors=True)


def listener_of(url: str) -> int:
    """The process that listens at this URL."""
    port = int(url.rpartition(":")[2])
    found = (one for one in psutil.net_connections("tcp") if one.laddr.port == port and one.status == "LISTEN")
    return int(next(one.pid for one in found if one.pid))


@contextlib.contextmanager
def uvicorn() -> Iterator[str]:
    """FastAPI under uvicorn, with and without a pool; gives the base URL."""
    port = free_port()
    argv = [sys.executable, "-m", "uvicorn", "peers:app", "--app-dir", str(SERVICE), "--port", str(port)]
    process = subprocess.Popen(
        [*argv, "--no-access-log", "--log-level", "warning", "--loop", "uvloop", "--http", "httptools"],
        start_new_session=True,
    )
    try:
        _wait(f"http://127.0.0.1:{port}/openapi.json")
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/executor", b'{"n":1,"text":""}', {"content-type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=_START).read()  # noqa: S310 - starts the pool's process
        _pin(process.pid, WEB_CPU)
        for child in psutil.Process(process.pid).children(recursive=True):
            _pin(child.pid, OTHER_CPU)
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait(10)
