"""Tests that wait do so in the event loop that the workers use; and the whole suite can be run without one guard."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.append(str(Path(__file__).parent / "attacks"))

import guards

if mutant := os.environ.get(guards.VARIABLE):
    guards.switch_off(mutant)  # before any test: it should go red


# A shell that begins the suite in the background has it ignore Ctrl-C, and all that it starts would do so too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)

# No example is too slow: on a busy machine any may be, and whoever tests for time says so itself.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def _unpickle_nothing(event: str, arguments: tuple[object, ...]) -> None:
    """Whatever a test runs in this process, no bytes of it name a class or a function to be called."""
    if event == "pickle.find_class":
        raise RuntimeError(f"{arguments} was to be unpickled")


sys.addaudithook(_unpickle_nothing)


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}
