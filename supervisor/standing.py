"""How a group stands, from the lives of its workers. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor.life import RUNNING, Child, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HOPELESS = 3
"""Crashes in a row after which a start no longer waits for a worker that never was up."""


def is_hopeless(life: Child) -> bool:
    """Whether waiting for it at the first start would be in vain."""
    if life.verdict:  # judged, but its process has not ended yet
        return False
    return life.state is State.FAILED or life.incurable or life.row >= HOPELESS


def is_settled(lives: Iterable[Child]) -> bool:
    """Whether a first start is over: everybody is up, or will not be soon."""
    return all(life.state is State.UP or is_hopeless(life) for life in lives)


def summary(lives: Sequence[Child], *, stopping: bool, started: bool) -> str:
    """The state of a group, from the states of its workers."""
    states = [life.state for life in lives]
    if stopping:
        return "draining" if RUNNING & set(states) else "down"
    if all(state is State.UP for state in states):
        return "up"
    if all(state is State.DOWN for state in states):
        return "down"
    if State.UP not in states and all(state is State.FAILED for state in states):
        return "failed"
    return "degraded" if started and State.UP in states else "starting"
