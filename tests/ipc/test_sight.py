"""What callers see is told once a second at most, and not at all while nothing happens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from ipc import sight
from ipc.histogram import BUCKETS, quantile
from ipc.messages.lifeline import Seen, decode_from_child, encode
from ipc.sight import Lookout, Sight

if TYPE_CHECKING:
    from ipc.messages.lifeline import FromChild


def test_a_sight_tells_what_was_since_it_last_did() -> None:
    line = [(0, 0.0)]
    seen = Sight("cpu", lambda: line[0])
    assert seen.report(1.0) is None
    seen.answered(1.0, 1.0, 1.1)
    seen.answered(1.0, 1.2, 1.4)
    told = seen.report(2.0)
    assert told is not None
    assert (sum(told.waits), sum(told.took), told.waiting, told.oldest) == (2, 2, 0, 0.0)
    assert quantile(told.took, 1.0) == pytest.approx(0.4, rel=0.25)
    assert quantile(told.waits, 1.0) == pytest.approx(0.2, rel=0.25)
    assert seen.report(3.0) is None
    line[0] = (3, 3.5)
    assert seen.report(4.0) == Seen("cpu", (), (), 3, 0.5)
    line[0] = (0, 0.0)
    assert seen.report(5.0) == Seen("cpu", (), (), 0, 0.0)  # so that nobody goes on believing in the three
    assert seen.report(6.0) is None


def test_a_report_can_be_told_whatever_is_in_it() -> None:
    seen = Sight("cpu", lambda: (2**20, 0.0))
    seen.answered(0.0, 1e9, 1e12)
    seen.gave_up(-1e12)
    told = seen.report(1e9)
    assert told is not None
    assert decode_from_child(encode(told)[4:]) == told


@pytest.mark.parametrize(
    "lie",
    [
        Seen("cpu", (-1,), ()),
        Seen("cpu", (), (2**41,)),
        Seen("cpu", (1,) * (BUCKETS + 1), ()),
        Seen("cpu", (), (), -1),
        Seen("cpu", (), (), 1, -1.0),
        Seen("cpu", (), (), 1, float("nan")),
    ],
)
def test_what_cannot_have_been_seen_is_not_listened_to(lie: Seen) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_from_child(encode(lie)[4:])


def test_silence_costs_nothing_and_a_storm_is_told_in_few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sight, "EVERY", 0.05)
    told: list[FromChild] = []

    async def story() -> int:
        lookout = Lookout(asyncio.get_running_loop(), told.append)
        cpu, gpu = Sight("cpu"), Sight("gpu")
        lookout.add([cpu, gpu])
        began = asyncio.get_running_loop().time()
        for _ in range(100):
            cpu.answered(0.0, 0.0, 0.001)
            lookout.stir()
            await asyncio.sleep(0.001)
        spent = asyncio.get_running_loop().time() - began
        lookout.close()
        return int(spent / 0.05)

    reports = asyncio.run(story())
    assert 1 <= len(told) <= reports + 2
    assert all(isinstance(seen, Seen) and seen.group == "cpu" for seen in told)
    assert sum(sum(seen.took) for seen in told if isinstance(seen, Seen)) == 100
