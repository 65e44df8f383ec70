"""Errors keep their name on the way, and their kind says what may be done next."""

from __future__ import annotations

import inspect

import pytest

from ipc import errors
from ipc.errors import BY_CODE, CallFailed, IpcError, OutcomeUnknown, Rejected, from_code
from ipc.messages.calls import ERROR_OF, NotStarted

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, IpcError)]


def test_every_error_has_a_code_of_its_own() -> None:
    assert {kind.code for kind in KINDS} == set(BY_CODE)
    assert len({kind.code for kind in KINDS}) == len(KINDS)
    for kind in KINDS:
        assert "code" in vars(kind), f"{kind.__name__} shares the code of its parent"
        assert kind.code.replace("_", "").islower()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_survives_the_way(kind: type[IpcError]) -> None:
    error = from_code(kind.code, "because")
    assert type(error) is kind
    assert str(error) == "because"


@pytest.mark.parametrize("code", ["", "of_a_later_version", "__class__"])
def test_what_is_not_known_is_at_least_an_answer(code: str) -> None:
    assert type(from_code(code, "because")) is CallFailed


def test_what_may_be_done_next_is_one_thing_only() -> None:
    for kind in KINDS:
        assert sum(issubclass(kind, family) for family in (Rejected, OutcomeUnknown, CallFailed)) <= 1


def test_every_reason_for_not_starting_has_its_error() -> None:
    """But two: a call that is given back waits for another place, or for a while, and is no error."""
    assert set(ERROR_OF) == set(NotStarted) - {NotStarted.BUSY, NotStarted.NOT_YET}


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    text = errors.__doc__ or ""
    told = [line.split("\u2500\u2500 ")[-1].split()[0] for line in text.splitlines() if "\u2500\u2500 " in line]
    assert sorted(["IpcError", *told]) == sorted(kind.__name__ for kind in KINDS)
