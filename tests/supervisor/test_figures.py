"""What callers of a group told, put together: over ten seconds, by whom it may be told, and in how much memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.histogram import BUCKETS, bucket
from ipc.messages.lifeline import Seen
from ipc.messages.settings import ExecSettings, WebSettings
from supervisor.figures import MAX_CALLERS, WINDOW, Sightings
from supervisor.plan import GroupPlan
from supervisor.reach import Reach


def seen(*times: float, wait: float = 0.0, waiting: int = 0, oldest: float = 0.0) -> Seen:
    took, waits = [0] * BUCKETS, [0] * BUCKETS
    for time in times:
        took[bucket(time)] += 1
        waits[bucket(wait)] += 1
    return Seen("cpu", tuple(waits), tuple(took), waiting, oldest)


def test_a_steady_load_is_told_as_it_is_from_the_first_second_on() -> None:
    sightings = Sightings()
    assert sightings.figures(1000.0) is None
    for second in range(1, 30):
        for worker in ("web-0#1", "web-1#1"):
            sightings.add(worker, seen(*[0.02] * 25, wait=0.004, waiting=2), 1000.0 + second)
        told = sightings.figures(1000.0 + second)
        assert told is not None
        assert told.calls_per_second == pytest.approx(50.0, rel=0.11)
        assert told.latency_p50_ms == pytest.approx(20.0, rel=0.2)
        assert told.wait_p99_ms == pytest.approx(4.0, rel=0.2)
        assert told.waiting == 4


def test_what_was_is_forgotten() -> None:
    sightings = Sightings()
    sightings.add("web-0#1", seen(0.5, waiting=3, oldest=2.0), 50.0)
    assert sightings.wait(0.9, 5.0, 50.5) == 2.0
    told = sightings.figures(55.0)
    assert told is not None
    assert told.waiting == 0  # it would have said so again
    assert sightings.figures(50.0 + WINDOW + 1) is None


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0.0, 100.0), st.floats(0.0, 3.0)), max_size=60))
def test_figures_are_in_order_and_memory_has_an_end(told: list[tuple[int, float, float]]) -> None:
    sightings, now = Sightings(), 100.0
    for caller, took, pause in told:
        now += pause
        sightings.add(f"web-{caller}#1", seen(took, wait=took / 2, waiting=1), now)
        found = sightings.figures(now)
        assert found is not None
        assert found.calls_per_second > 0
        assert found.wait_p50_ms <= found.wait_p99_ms
        assert found.latency_p50_ms <= found.latency_p99_ms
    assert len(sightings._lines) <= MAX_CALLERS
    assert len(sightings._seconds) == WINDOW + 1


def test_nobody_is_believed_about_groups_that_it_does_not_call() -> None:
    web = WebSettings(endpoints=(), nodes=(), components={}, routes={})
    reach = Reach(
        [
            GroupPlan("decode", "exec", 1, (), ExecSettings(nodes=(), forwards={"shop.resize": "resize"})),
            GroupPlan("resize", "exec", 1, (), ExecSettings(nodes=())),
            GroupPlan("web", "web", 1, (), web),
        ]
    )
    assert reach.sees("web", "web")
    assert reach.sees("web", "resize")
    assert not reach.sees("web", "anything")
    assert reach.sees("decode", "resize")
    assert not reach.sees("decode", "decode")
    assert not reach.sees("decode", "web")
    assert not reach.sees("resize", "resize")
