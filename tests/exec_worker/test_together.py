"""One item, one answer: whatever a node does with its list."""

from __future__ import annotations

from typing import Any

import pytest

from exec_worker.interrupts import CallCancelled, DeadlineExceeded
from exec_worker.together import run_together
from ipc.errors import BadResult, InvalidRequest, NodeError


def never(_place: int, _error: BaseException) -> None:
    return None


def test_each_has_the_result_in_its_place() -> None:
    assert run_together("f", lambda items: [2 * item for item in items], [1, 2, 3], never) == [2, 4, 6]
    assert run_together("f", tuple, ["a"], never) == ["a"]


def test_an_error_in_a_place_is_that_ones_alone() -> None:
    error = InvalidRequest("no")
    assert run_together("f", lambda items: [items[0], error, items[2]], [1, 2, 3], never) == [1, error, 3]


@pytest.mark.parametrize(
    ("returned", "why"),
    [
        ([1, 2], "f returned 2 results for a batch of 3"),
        ([], "f returned 0 results for a batch of 3"),
        ([1, 2, 3, 4], "f returned 4 results for a batch of 3"),
        (None, "f returned NoneType for a batch, not a list"),
        ("abc", "f returned str for a batch, not a list"),
        ({1: 1, 2: 2, 3: 3}, "f returned dict for a batch, not a list"),
    ],
)
def test_who_returns_not_one_for_each_has_told_nobody_anything(returned: object, why: str) -> None:
    told = run_together("f", lambda _items: returned, [1, 2, 3], never)
    assert [(type(error), str(error)) for error in told] == [(BadResult, why)] * 3


def test_what_is_raised_is_everybodys() -> None:
    error = ValueError("no")

    def run(_items: list[int]) -> None:
        raise error

    assert run_together("f", run, [1, 2], never) == [error, error]


def test_what_is_raised_for_several_makes_no_request_invalid() -> None:
    def run(_items: list[int]) -> None:
        raise InvalidRequest("3 is odd")

    one, other = run_together("f", run, [2, 3], never)
    assert one is other
    assert isinstance(one, NodeError)
    assert "return it in the place of the item" in str(one)
    (alone,) = run_together("f", run, [3], never)
    assert isinstance(alone, InvalidRequest)


class Node:
    """Cannot stand odd numbers, and remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[list[int]] = []

    def run(self, items: list[int]) -> list[int]:
        self.given.append(items)
        if any(item % 2 for item in items):
            raise InvalidRequest("odd")
        return items


def test_those_that_may_run_again_do_so_once_and_alone() -> None:
    node = Node()
    asked: list[int] = []

    def alone(place: int, error: BaseException) -> Any:
        asked.append(place)
        assert isinstance(error, NodeError)
        return node.run if place != 3 else None

    told = run_together("f", node.run, [2, 3, 4, 6], alone)
    assert told[0] == 2
    assert isinstance(told[1], InvalidRequest)
    assert told[2] == 4
    assert isinstance(told[3], NodeError)
    assert node.given == [[2, 3, 4, 6], [2], [3], [4]]
    assert asked == [0, 1, 2, 3]


def test_the_node_may_do_with_its_list_what_it_likes() -> None:
    items = [1, 2]

    def run(given: list[int]) -> list[int]:
        taken = list(given)
        given.clear()
        return taken

    assert run_together("f", run, items, never) == [1, 2]
    assert items == [1, 2]


@pytest.mark.parametrize("error", [CallCancelled, DeadlineExceeded])
def test_what_interrupts_comes_through(error: type[BaseException]) -> None:
    def run(_items: list[int]) -> None:
        raise error

    with pytest.raises(error):
        run_together("f", run, [1, 2], lambda _place, _error: run)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_who_would_end_the_process_for_one_item_ends_no_other(error: type[BaseException]) -> None:
    def run(items: list[int]) -> list[int]:
        if 2 in items:
            raise error
        return items

    one, two, three = run_together("f", run, [1, 2, 3], lambda _place, _error: run)
    assert (one, three) == (1, 3)
    assert isinstance(two, error)
