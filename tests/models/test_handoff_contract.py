"""When may a call be tried again? One call that must not run twice, two workers, one retry, and any of them may die.

A carrier keeps order, and a dead worker's end of stream comes after all it said; a lossy one may also lose anything.
Every call must end in a verdict that is true. The broken rules stay, as a check of the search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pytest
from explore import Explored, explore, put, untrue

if TYPE_CHECKING:
    from collections.abc import Iterator

TRIES = 2


class Rule(NamedTuple):
    """What the workers and the asker hold to."""

    started: Literal["before", "after"] = "before"
    """Whether STARTED is said before the node is run or only after it."""
    retry: Literal["never", "unless started", "always"] = "unless started"
    """What to do when a worker's stream ends without an answer."""
    timeout: Literal["", "unknown", "retry"] = "unknown"
    """What to do when it takes too long."""
    lossy: bool = False


class World(NamedTuple):
    """The asker is queued for or waits for worker `at`, or has its verdict."""

    asker: Literal["queued", "waits", "done", "not run", "unknown"]
    at: int
    heard_started: bool
    workers: tuple[str, str]
    """idle, sent (a request is on its way), got, started, ran unsaid, ran, replied, dead."""
    said: tuple[tuple[str, ...], tuple[str, ...]]
    """What is on its way from each worker: STARTED, REPLY, END."""
    runs: int
    tries: int


def verdict(world: World, asker: Any) -> World:
    return world._replace(asker=asker, at=0, heard_started=False)


def queue(world: World, at: int) -> World:
    return world._replace(asker="queued", at=at, heard_started=False)


def asks(rule: Rule, world: World) -> Iterator[tuple[str, World]]:
    """What the asker may do next."""
    if world.asker == "queued":
        at, other = world.at, 1 - world.at
        if world.workers[at] != "dead":
            sent = world._replace(asker="waits", workers=put(world.workers, at, "sent"), tries=world.tries + 1)
            yield f"ask {at}", sent
        elif world.workers[other] != "dead":
            yield f"{at} is dead", queue(world, other)
        else:
            yield "all are dead", verdict(world, "not run")
    if world.asker == "waits":
        if rule.timeout == "retry" and world.tries < TRIES:
            yield "timeout", queue(world, 1 - world.at)
        elif rule.timeout == "unknown":
            yield "timeout", verdict(world, "unknown")


def works(rule: Rule, world: World, at: int) -> Iterator[tuple[str, World]]:
    """What worker `at` may do next."""

    def step(phase: str, *says: str, runs: int = 0) -> World:
        said = put(world.said, at, (*world.said[at], *says))
        return world._replace(workers=put(world.workers, at, phase), said=said, runs=world.runs + runs)

    steps = {
        "sent": (f"{at} gets it", step("got")),
        "got": (f"{at} runs it", step("ran unsaid", runs=1)),
        "started": (f"{at} runs it", step("ran", runs=1)),
        "ran unsaid": (f"{at} says STARTED", step("ran", "STARTED")),
        "ran": (f"{at} replies", step("replied", "REPLY")),
    }
    if rule.started == "before":
        steps["got"] = f"{at} says STARTED", step("started", "STARTED")
    if world.workers[at] in steps:
        yield steps[world.workers[at]]
    if world.workers[at] != "dead":
        yield f"{at} dies", step("dead", "END")


def hears(rule: Rule, world: World, at: int) -> Iterator[tuple[str, World]]:
    """What becomes of the next thing that worker `at` said."""
    what, *rest = world.said[at]
    world = world._replace(said=put(world.said, at, tuple(rest)))
    if rule.lossy:
        yield f"{what} of {at} is lost", world
    if world.asker == "waits" and world.at == at:
        if what == "STARTED":
            world = world._replace(heard_started=True)
        elif what == "REPLY":
            world = verdict(world, "done")
        elif rule.retry == "never" or (rule.retry == "unless started" and world.heard_started):
            world = verdict(world, "unknown")
        elif world.tries < TRIES:
            world = queue(world, 1 - at)
        else:
            world = verdict(world, "not run")
    yield f"hear {what} of {at}", world


def wrong(world: World) -> str:
    return untrue(world.asker, world.runs)


def run(rule: Rule) -> Explored[World]:
    """Everything that can happen."""

    def moves(world: World) -> Iterator[tuple[str, World]]:
        yield from asks(rule, world)
        for at in (0, 1):
            yield from works(rule, world, at)
            if world.said[at]:
                yield from hears(rule, world, at)

    return explore(World("queued", 0, False, ("idle", "idle"), ((), ()), 0, 0), moves, wrong)


@pytest.mark.parametrize(
    ("rule", "steps"),
    [
        (Rule(retry="always", timeout=""), 9),  # a link that ends says nothing about what was begun
        (Rule(timeout="retry"), 8),  # and neither does silence
        (Rule(started="after"), 7),  # said too late, it may die unsaid
        (Rule(lossy=True), 9),  # what was said may be lost before the end is heard
    ],
)
def test_every_looser_rule_lies_or_runs_it_twice(rule: Rule, steps: int) -> None:
    found = run(rule)
    assert found.wrong in {"ran twice", "said not run, and it ran"}
    assert len(found.story) == steps, found.story


@pytest.mark.parametrize(("rule", "states"), [(Rule(), 226), (Rule(retry="never", lossy=True), 237)])
def test_our_rule_ends_in_the_truth(rule: Rule, states: int) -> None:
    found = run(rule)
    assert found.story == ()
    assert len(found.states) == states
    ends = {(world.asker, world.runs) for world in found.states if world.asker not in {"queued", "waits"}}
    assert ends >= {("done", 1), ("unknown", 0), ("unknown", 1)}
    assert ("not run", 1) not in ends
