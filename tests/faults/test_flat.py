"""What a supervisor has after many lives of its workers: as much as after a few."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import stage as staged

pytestmark = [pytest.mark.fault, pytest.mark.soak]

LIVES = 10_000 if int(os.environ.get("SHUNTER_SOAK", "1")) > 1 else 400
WARM = 100
"""Lives until everything that is bounded has been made once."""


@pytest.mark.timeout(300 if LIVES == 400 else 1700)
def test_lives_of_workers_leave_nothing_in_the_supervisor(tmp_path: Path) -> None:
    """Objects are counted, and not weighed alone: something that is left of each life is one more of each at least."""
    program = Path(staged.__file__).with_name("lives.py")
    command = [sys.executable, str(program), str(tmp_path), str(WARM), str(LIVES), "traced"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1600)
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout)
    assert after["descriptors"] <= before["descriptors"] + 6, (before, after)  # those of a life that has just begun
    assert after["objects"] <= before["objects"] + LIVES // 2 + 150, (
        before,
        after,
    )  # some are of what goes on just then
    assert after["traced"] <= before["traced"] + 1024 * LIVES + 65_536, (before, after)
