"""F44: the number of a process that has ended may be anybody's, and no stranger gets a signal that was meant for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.fault

LIVES = 400 if "SHUNTER_SOAK" in os.environ else 50
AGAIN = Path(__file__).parent / "programs" / "again.py"
APART = (
    ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"],
    ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"],
)
"""In a PID namespace of its own one may say which number is next: root, and others where the machine lets them."""


def is_possible(apart: list[str]) -> bool:
    trial = ["sh", "-c", "echo 1000 > /proc/sys/kernel/ns_last_pid"]
    try:
        return subprocess.run([*apart, *trial], stderr=subprocess.DEVNULL, check=False).returncode == 0
    except FileNotFoundError:
        return False


def strangers(path: Path, apart: list[str]) -> dict[str, Any]:
    argv = [*apart, sys.executable, str(AGAIN), str(path), str(LIVES)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(argv, capture_output=True, env=environment, timeout=240, check=False, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["real", "played"])
def test_whoever_gets_the_number_of_a_dead_worker_is_none_of_ours(tmp_path: Path, how: str) -> None:
    """At its end, at a stop, and after `kill -9`. Where the kernel lets nobody choose numbers, both are played."""
    possible = [apart for apart in APART if how == "real" and is_possible(apart)]
    found = strangers(tmp_path, possible[0] if possible else [])
    assert found["harmed"] == []
    assert found["strangers"] > LIVES / 2
    assert found["real"] == bool(possible)
    if possible:
        assert found["given"] == found["strangers"]
