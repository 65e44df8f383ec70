import pytest

from ipc import errors
from ipc.errors import Busy, InvalidRequest, IpcError, LinkLost, NoWorker, TooLarge
from web_worker.errors import (
    FAILED,
    MAX_RETRY_AFTER,
    UnsupportedMediaType,
    is_retryable,
    retry_after_of,
    sentence_of,
    status_of,
)


def leaves(kind: type[IpcError]) -> list[type[IpcError]]:
    return [kind, *(leaf for sub in kind.__subclasses__() for leaf in leaves(sub))]


ALL = [kind for kind in leaves(IpcError) if kind is not IpcError]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_has_an_answer(kind: type[IpcError]) -> None:
    error = kind.__new__(kind)
    assert 400 <= status_of(error) <= 504
    assert sentence_of(error)


@pytest.mark.parametrize("kind", ALL)
def test_only_what_is_said_of_the_request_reaches_the_client(kind: type[IpcError]) -> None:
    error = kind.__new__(kind)
    error.args = ("in /srv/app.py, worker cpu-0#7",)
    told = sentence_of(error)
    assert ("cpu-0#7" in told) is issubclass(kind, InvalidRequest | TooLarge)


@pytest.mark.parametrize("kind", ALL)
def test_only_what_was_not_done_and_can_be_done_is_worth_a_retry(kind: type[IpcError]) -> None:
    error = kind.__new__(kind)
    assert is_retryable(error) is (status_of(error) == 503)


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        (Busy("full", retry_after=0.2), 1),
        (Busy("full", retry_after=7.01), 8),
        (Busy("full", retry_after=1e9), MAX_RETRY_AFTER),
        (Busy("full", retry_after=float("inf")), MAX_RETRY_AFTER),
        (NoWorker("nobody"), 1),
        (TooLarge("so much"), None),
        (LinkLost("gone"), None),
    ],
)
def test_who_may_ask_again_is_told_to_wait_for_as_long_as_the_others_take(error: IpcError, wait: int | None) -> None:
    assert retry_after_of(error) == wait


def test_an_error_of_a_later_version_is_a_fault_of_ours() -> None:
    error = errors.from_code("from_the_future", "with a secret")
    assert (status_of(error), sentence_of(error)) == (502, FAILED)


def test_a_wrong_kind_of_body_is_a_kind_of_invalid_request() -> None:
    assert issubclass(UnsupportedMediaType, InvalidRequest)
    assert status_of(UnsupportedMediaType("x")) == 415
