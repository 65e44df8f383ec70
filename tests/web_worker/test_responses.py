import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.errors import BadMessage, Busy, TooLarge
from web_worker.responses import answer, failure, media_type_of, problem, sendable

REFUSABLE = st.text(max_size=12)


class Sent:
    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    async def __call__(self, message: Any) -> None:
        self.messages.append(message)

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])


async def test_an_answer_says_its_length_and_whose_it_is() -> None:
    sent = Sent()
    await answer(sent, 201, b"text/plain", b"abc", "r-1", [(b"x-a", b"b")])
    start, body = sent.messages
    assert start["status"] == 201
    assert sent.headers == {
        b"content-type": b"text/plain", b"content-length": b"3", b"x-request-id": b"r-1", b"x-a": b"b",
    }  # fmt: skip
    assert body == {"type": "http.response.body", "body": b"abc"}


@pytest.mark.parametrize("status", [204, 205, 304])
async def test_some_answers_have_no_body(status: int) -> None:
    sent = Sent()
    await answer(sent, status, b"application/json", b"null", "r-1")
    assert sent.headers == {b"x-request-id": b"r-1"}
    assert sent.messages[1]["body"] == b""


async def test_a_problem_has_four_fields() -> None:
    sent = Sent()
    await problem(sent, 405, "method_not_allowed", "No", "r-1", [(b"allow", b"GET")])
    assert json.loads(sent.messages[1]["body"]) == {
        "detail": "No", "status_code": 405, "code": "method_not_allowed", "request_id": "r-1",
    }  # fmt: skip
    assert sent.headers[b"allow"] == b"GET"
    assert b"connection" not in sent.headers


async def test_who_may_ask_again_is_told_when() -> None:
    sent = Sent()
    assert await failure(sent, Busy("full", retry_after=2.5), "r-1") == 503
    assert sent.headers[b"retry-after"] == b"3"


async def test_a_connection_with_an_unread_body_is_closed() -> None:
    sent = Sent()
    assert await failure(sent, TooLarge("much"), "r-1") == 413
    assert sent.headers[b"connection"] == b"close"
    assert b"retry-after" not in sent.headers


@given(st.lists(st.tuples(REFUSABLE | st.just("x-a"), REFUSABLE), max_size=3))
def test_no_header_can_begin_another(headers: list[tuple[str, str]]) -> None:
    try:
        kept = sendable(headers)
    except BadMessage:
        return
    for name, value in kept:
        assert name
        assert not {*b"\r\n\0 :"} & {*name}
        assert not {*b"\r\n\0"} & {*value}


@given(st.text(max_size=12))
def test_no_media_type_can_begin_a_header(text: str) -> None:
    try:
        told = media_type_of(text)
    except BadMessage:
        return
    assert not {*b"\r\n\0"} & {*told}
