"""Load on one URL: wrk where it is installed, else a bounded client of our own (slower, so ratios are smaller)."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

_UNIT = {"us": 1.0, "ms": 1e3, "s": 1e6}


class Figures(NamedTuple):
    """What one run of load saw. Times are microseconds."""

    rate: float
    p50: float
    p99: float
    errors: int


def have_wrk() -> bool:
    """Whether wrk is installed."""
    return shutil.which("wrk") is not None


def load(url: str, body: bytes, media_type: str, connections: int, seconds: float, cpu: int) -> Figures:
    """POST `body` over `connections` keep-alive connections for `seconds`, from the given core."""
    return (_wrk if have_wrk() else _own)(url, body, media_type, connections, seconds, cpu)


def _wrk(url: str, body: bytes, media_type: str, connections: int, seconds: float, cpu: int) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        data, script = Path(folder, "body"), Path(folder, "post.lua")
        data.write_bytes(body)
        script.write_text(
            f'local f = io.open("{data}", "rb")\nwrk.body = f:read("*a")\nf:close()\n'
            f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "{media_type}"\n'
        )
        argv = ["taskset", "-c", str(cpu), "wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency"]
        told = subprocess.run(
            [*argv, "-s", str(script), url], capture_output=True, text=True, check=True, timeout=seconds + 30
        ).stdout
    errors = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", told))
    errors += sum(int(n) for line in re.findall(r"Socket errors: (.*)", told) for n in re.findall(r"\d+", line))
    rate = re.search(r"Requests/sec:\s+([\d.]+)", told)
    return Figures(float(rate[1]) if rate else 0.0, _latency(told, "50%"), _latency(told, "99%"), errors)


def _latency(told: str, percentile: str) -> float:
    found = re.search(rf"{re.escape(percentile)}\s+([\d.]+)(us|ms|s)", told)
    return float(found[1]) * _UNIT[found[2]] if found else float("nan")


def _own(url: str, body: bytes, media_type: str, connections: int, seconds: float, cpu: int) -> Figures:
    import os  # noqa: PLC0415
    import sys  # noqa: PLC0415

    client = Path(__file__).with_name("client.py")
    argv = [sys.executable, str(client), url, media_type, str(connections), str(seconds)]
    told = subprocess.run(
        argv,
        input=body,
        capture_output=True,
        check=True,
        timeout=seconds + 30,
        preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),
    ).stdout.split()
    return Figures(float(told[0]), float(told[1]), float(told[2]), int(told[3]))
