"""Strangers at a real worker's port: shown out in silence, cost nothing, and honest clients do not notice."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest
from arena import SOAK
from besieged import Besieged, Honest

from ipc.responder import HANDSHAKE_TIME, MAX_HALF_OPEN

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.soak]
OPENINGS = 1_000 * min(SOAK, 10)
BOMBS = 100
SLOW = 500 if SOAK > 1 else 200
"""More than may be half open at once either way."""
SLACK = 5.0
"""A busy machine's, beyond what the protocol allows, seconds."""
MIB = 1 << 20


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Besieged]:
    made = Besieged(tmp_path_factory.mktemp("state"))
    yield made
    made.end()


def test_whatever_strangers_say_they_are_shown_out_and_nobody_else_notices(service: Besieged) -> None:
    honest = Honest(service.url)
    honest.warm(300)
    before = service.worker()
    asked = len(honest.times)
    with honest, service.attack("garbage", OPENINGS, 1) as strangers:
        told = json.loads(strangers.stdout.read())
    after = service.worker()
    assert told["closed"] == OPENINGS
    assert told["heard"] == 0  # not one byte
    assert told["longest"] < HANDSHAKE_TIME + SLACK
    assert honest.failed == []
    assert after["calls"] - before["calls"] == len(honest.times) - asked  # nothing else was run
    assert after["rss_bytes"] - before["rss_bytes"] < 8 * MIB
    assert after["refused"] > before["refused"]
    assert (after["pid"], after["state"]) == (before["pid"], "up")


def test_a_length_that_is_a_lie_costs_no_memory_and_no_time(service: Besieged) -> None:
    Honest(service.url).warm(100)
    before = service.worker()
    with service.attack("bomb", BOMBS, 1) as strangers:
        told = json.loads(strangers.stdout.read())
    after = service.worker()
    assert (told["closed"], told["heard"]) == (BOMBS, 0)
    assert told["median"] < HANDSHAKE_TIME / 2  # at once, not when its time is over
    assert after["rss_bytes"] - before["rss_bytes"] < 4 * MIB
    assert after["refused"] - before["refused"] == BOMBS


def test_hundreds_who_say_a_byte_a_second_keep_nobody_out(service: Besieged) -> None:
    """Neither the clients of a web worker that is connected nor one that has to connect while they are there."""
    honest = Honest(service.url)
    honest.warm(100)
    before, web = service.worker(), service.worker("web")
    asked = len(honest.times)
    with service.attack("drip", SLOW, HANDSHAKE_TIME + 3.0) as strangers:
        assert json.loads(strangers.stdout.readline())["connected"] == SLOW
        os.kill(web["pid"], signal.SIGKILL)
        successor = Honest(service.url)
        successor.until_served()
        with honest:
            told = json.loads(strangers.stdout.readline())
    after = service.worker()
    assert service.worker("web")["pid"] != web["pid"]
    assert told["heard"] == 0
    assert told["tries"] > SLOW  # they were shown out, and came again
    assert honest.failed == []
    assert after["calls"] - before["calls"] == len(honest.times) - asked + 1
    assert after["refused"] - before["refused"] >= SLOW - MAX_HALF_OPEN
    assert after["rss_bytes"] - before["rss_bytes"] < 8 * MIB
