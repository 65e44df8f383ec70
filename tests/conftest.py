"""Tests that wait do so in the event loop that the workers use; and the whole suite can be run without one guard."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "attacks"))

import guards

if mutant := os.environ.get(guards.VARIABLE):
    guards.switch_off(mutant)  # before any test: it should go red


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}
