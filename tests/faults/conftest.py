"""Stand-ins and their stage, for tests that hurt them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path += [str(Path(__file__).parent.parent / suite / "programs") for suite in ("supervisor", "e2e", "attacks")]

from stage import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)
