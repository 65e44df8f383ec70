"""Every state that a small world can come into, the nearest first: a wrong one comes with the shortest story to it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

State = TypeVar("State")
MOST_STATES = 200_000
"""A model that needs more is not small any more."""


def put(pair: tuple[Any, Any], at: int, value: object) -> tuple[Any, Any]:
    """The pair with one place changed."""
    return (value, pair[1]) if at == 0 else (pair[0], value)


def untrue(asker: str, runs: int) -> str:
    """What is wrong with what the asker of a call was told, which ran so often; nothing if it is the truth."""
    if runs > 1:
        return "ran twice"
    if asker == "not run" and runs:
        return "said not run, and it ran"
    if asker == "done" and not runs:
        return "said done, and it did not run"
    return ""


class Explored(NamedTuple, Generic[State]):
    """What was found. `story` is empty if nothing is wrong anywhere; then `states` are all there are."""

    states: frozenset[State]
    wrong: str
    story: tuple[str, ...]


def explore(
    start: State, moves: Callable[[State], Iterable[tuple[str, State]]], wrong: Callable[[State], str]
) -> Explored[State]:
    """Go everywhere. `moves` names what may happen next, `wrong` says in words what must not be so, or nothing."""
    seen, waiting = {start}, deque([(start, ())])
    while waiting:
        state, story = waiting.popleft()
        for label, after in moves(state):
            if fault := wrong(after):
                return Explored(frozenset(seen), fault, (*story, label))
            if after not in seen:
                seen.add(after)
                waiting.append((after, (*story, label)))
        assert len(seen) <= MOST_STATES
    return Explored(frozenset(seen), "", ())
