"""A client may give a request less time than its endpoint, and never more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.errors import InvalidRequest
from ipc.messages.calls import MAX_BEYOND_MS
from web_worker.patience import HEADER, beyond_ms, shortened


@pytest.mark.parametrize(
    ("said", "seconds"),
    [(b"2.5", 2.5), (b"3", 3.0), (b"0.001", 0.001), (b"10", 10.0), (b"10.5", 10.0), (b"999999999", 10.0)],
)
def test_the_shorter_of_the_two_holds(said: bytes, seconds: float) -> None:
    assert shortened(10.0, said, HEADER) == seconds


@pytest.mark.parametrize(
    "said",
    [
        b"0",
        b"0.0",
        b"-1",
        b"+1",
        b"1e3",
        b"inf",
        b"nan",
        b"soon",
        b"5s",
        b" 5",
        b"1_0",
        b".5",
        b"5.",
        b"\xd9\xa3",
        b"9" * 10,
    ],
)
def test_what_is_no_time_is_refused_with_a_sentence(said: bytes) -> None:
    with pytest.raises(InvalidRequest, match="x-request-timeout takes a number of seconds, more than 0, such as"):
        shortened(10.0, said, HEADER)


@given(st.floats(0.001, 3600), st.binary(min_size=1, max_size=200))
def test_nothing_makes_it_longer_or_breaks_it(limit: float, said: bytes) -> None:
    try:
        assert 0 < shortened(limit, said, HEADER) <= limit
    except InvalidRequest as error:
        assert len(str(error)) < 300  # noqa: PT017 - most of what is tried is refused


@pytest.mark.parametrize(("limit", "said", "beyond"), [(10.0, 2.5, 7500), (1.0, 1.0, 0), (1e9, 1.0, MAX_BEYOND_MS)])
def test_what_a_client_does_not_wait_a_node_may_take(limit: float, said: float, beyond: int) -> None:
    assert beyond_ms(limit, said) == beyond
