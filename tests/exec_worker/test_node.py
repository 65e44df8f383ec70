import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exec_worker import Batch, InvalidRequest, Response, current, node
from exec_worker.node import Call, NodeInfo, enter, info_of
from ipc import errors


def test_the_decorator_returns_the_same_function_with_and_without_arguments() -> None:
    def bare(x: int) -> int:
        return x

    def told(x: int) -> int:
        return x

    assert node(bare) is bare
    assert info_of(bare) == NodeInfo("core", False, None)
    assert node(stage="heavy", idempotent=True, name="shop.told")(told) is told
    assert info_of(told) == NodeInfo("heavy", True, "shop.told")
    assert bare(3) == told(3) == 3


def test_a_plain_function_says_nothing() -> None:
    assert info_of(len) is None
    assert info_of(object()) is None


@pytest.mark.parametrize("stage", ["", "a b", "1", "x" * 65, "a/b"])
def test_a_stage_that_could_not_stand_in_a_configuration_is_refused(stage: str) -> None:
    with pytest.raises(errors.Misuse, match="stage"):
        node(stage=stage)


@pytest.mark.parametrize("name", ["", "a..b", ".a", "a b", "1a"])
def test_a_name_that_is_not_dotted_words_is_refused(name: str) -> None:
    with pytest.raises(errors.Misuse, match="name"):
        node(name=name)


@pytest.mark.parametrize(
    "batch",
    [
        Batch(0), Batch(257), Batch(-1), Batch(True), Batch(2.0), Batch(8, -1), Batch(8, 1001), Batch(8, float("nan")),
        Batch(8, float("inf")), Batch(8, "5"), 32,
    ],
    ids=str,
)  # fmt: skip
def test_a_batch_that_could_not_be_is_refused(batch: Any) -> None:
    with pytest.raises(errors.Misuse, match="batch"):
        node(batch=batch)


@pytest.mark.parametrize("cancel", ["", "stop", None, True])
def test_what_becomes_of_a_call_without_a_caller_is_one_of_three_words(cancel: Any) -> None:
    with pytest.raises(errors.Misuse, match=r"cancel.*'interrupt', 'kill' or 'ignore'"):
        node(cancel=cancel)


@pytest.mark.parametrize("batch", [None, Batch(), Batch(1, 0), Batch(256, 1000), Batch(max_size=8, max_wait_ms=0.5)])
def test_what_is_said_of_batches_is_kept(batch: Batch | None) -> None:
    def lengths(words: list[str]) -> list[int]:
        return [len(word) for word in words]

    assert info_of(node(batch=batch)(lengths)) == NodeInfo(batch=batch)
    assert lengths(["a", "bc"]) == [1, 2]


@pytest.mark.parametrize("thing", [3, "core", Response])
def test_only_functions_are_marked(thing: Any) -> None:
    with pytest.raises(errors.Misuse, match="functions"):
        node(thing)


def test_invalid_request_is_the_error_that_crosses_processes() -> None:
    assert InvalidRequest is errors.InvalidRequest


@pytest.mark.parametrize(
    "heavy", ["fastapi", "numpy", "pydantic", "starlette", "asyncio", "uvloop", "importlib.metadata"]
)
def test_what_an_application_imports_from_here_is_light(heavy: str) -> None:
    code = f"import exec_worker, sys; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("status", [199, 600, 0, -1, True, 200.0, "200", None])
def test_a_status_outside_of_http_is_refused(status: Any) -> None:
    with pytest.raises(ValueError, match="status"):
        Response(b"", status)


@pytest.mark.parametrize("status", [204, 205, 304])
def test_an_answer_without_a_body_has_none(status: int) -> None:
    assert Response(status=status).body == b""
    with pytest.raises(ValueError, match="no body"):
        Response({}, status)


@pytest.mark.parametrize("media_type", ["", "text", "text/", "text/html\r\nX: y", "text/*", "a/b;", "text/html; é=1"])
def test_a_media_type_that_is_none_is_refused(media_type: str) -> None:
    with pytest.raises(ValueError, match="media type"):
        Response(b"", media_type=media_type)


@pytest.mark.parametrize(
    "media_type", ["text/html", "text/html; charset=utf-8", 'a/b; c="d e"', "application/problem+json"]
)
def test_a_media_type_may_have_parameters(media_type: str) -> None:
    assert Response(b"", media_type=media_type).media_type == media_type


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\n", "é", "(x)", 3])
def test_a_header_name_is_a_token(name: Any) -> None:
    with pytest.raises(ValueError, match="header name"):
        Response(headers={name: "x"})


@pytest.mark.parametrize(
    "name", ["Connection", "TRANSFER-ENCODING", "te", "Upgrade", "Keep-Alive", "Content-Length", "content-type"]
)
def test_what_belongs_to_the_connection_or_the_body_is_not_the_nodes(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be set by a node"):
        Response(headers={name: "x"})


@given(st.text(max_size=8))
def test_no_header_value_breaks_the_line(value: str) -> None:
    try:
        sent = Response(headers={"X-A": value}).headers["X-A"]
    except ValueError:
        return
    assert sent == value == value.strip(" \t")
    assert not set(sent) & {chr(n) for n in (*range(9), *range(10, 32), 127)}
    sent.encode("latin-1")


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: x", "a\n", "\n", " a", "a ", "\0", "\x7f", "€", b"x", 3])
def test_a_header_value_is_one_line_of_text(value: Any) -> None:
    with pytest.raises(ValueError, match="header"):
        Response(headers={"X-A": value})


def test_checked_headers_cannot_be_changed_afterwards() -> None:
    given_headers = {"X-A": "b"}
    response = Response(headers=given_headers)
    given_headers["X-A"] = "a\r\nb"
    assert response.headers == {"X-A": "b"}
    with pytest.raises(TypeError):
        response.headers["X-A"] = "c"  # type: ignore[index]
    with pytest.raises(AttributeError):
        response.status = 999  # type: ignore[misc]


def test_current_is_misuse_outside_of_a_call() -> None:
    with pytest.raises(errors.Misuse):
        current()


def test_current_is_the_running_call_also_in_threads_of_the_node() -> None:
    call = Call(time.monotonic() + 5, "r1", "00-ab-cd-01")
    enter(call)
    seen = []
    try:
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
        assert current() is call
    finally:
        enter(None)
    assert seen == [call]
    assert 4 < call.remaining() <= 5
    assert not call.cancelled
    assert (call.request_id, call.trace) == ("r1", "00-ab-cd-01")


def test_nothing_remains_after_the_deadline() -> None:
    assert Call(time.monotonic() - 1).remaining() == 0.0
