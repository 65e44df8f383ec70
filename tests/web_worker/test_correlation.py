import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web_worker.correlation import correlate

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def test_what_the_client_says_of_itself_is_kept() -> None:
    who = correlate([(b"host", b"x"), (b"x-request-id", b"abc-1"), (b"traceparent", TRACE)])
    assert (who.request_id, who.trace) == ("abc-1", TRACE.decode())
    assert len(who.call_id) == 16


def test_what_it_does_not_say_is_made_from_one_number() -> None:
    who = correlate([])
    assert who.request_id == who.call_id.hex()
    assert who.trace == f"00-{who.request_id}-{who.request_id[:16]}-00"
    assert correlate([]).call_id != who.call_id


@pytest.mark.parametrize(
    "value", [b"", b"a b", b"a\r\nb", b"x" * 129, b"\xc3\xbc", b'"', b"<script>", b"a;b", b"a\x00", b"a\n"]
)
def test_a_bad_request_id_is_replaced(value: bytes) -> None:
    who = correlate([(b"x-request-id", value)])
    assert who.request_id == who.call_id.hex()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01",
        b"00-0af7651916cd43dd8448eb211c80319c-" + b"0" * 16 + b"-01",
        TRACE.upper(),
        b"ff" + TRACE[2:],
        TRACE + b"-x",
        TRACE + b"\n",
        TRACE[:-1],
    ],
)
def test_a_bad_trace_is_replaced(value: bytes) -> None:
    who = correlate([(b"traceparent", value)])
    assert who.trace[3:35] == who.call_id.hex()


@pytest.mark.parametrize(
    ("value", "length"),
    [(b"0", 0), (b"12", 12), (b"-1", -1), (b"+1", -1), (b"1_0", -1), (b"", -1), (b"9" * 5000, -1), (b"\xb2", -1)],
)
def test_a_length_is_read_only_if_it_is_one(value: bytes, length: int) -> None:
    assert correlate([(b"content-length", value)]).content_length == length


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"x-request-id", b"traceparent", b"content-length", b"content-type", b"other"]),
            st.binary(max_size=80) | st.just(TRACE),
        ),
        max_size=6,
    )
)
def test_no_header_breaks_it_or_gets_through_unread(headers: list[tuple[bytes, bytes]]) -> None:
    who = correlate(headers)
    assert re.fullmatch(r"[A-Za-z0-9._~+/=-]{1,128}", who.request_id)
    assert TRACEPARENT.fullmatch(who.trace)
    assert who.content_length >= -1
