"""The same question where the supervisor keeps a ledger: what may be said of a call whose worker died?

Two workers, one call that must not run twice, one retry. A worker notes the call, runs it, replies. When it dies its
link ends and what it said last may be lost; the supervisor reads the ledger, in which other calls may have taken the
place of this one, and says what it found. Both come at any time, in any order. The broken rules stay, as a check of the
search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import pytest
from explore import Explored, explore, put, untrue

if TYPE_CHECKING:
    from collections.abc import Iterator

TRIES = 2


class Rule(NamedTuple):
    """What everybody holds to."""

    noted: Literal["before", "after"] = "before"
    """Whether a call is noted before it runs or after it."""
    waits: bool = True
    """Whether a link's end is nothing without the supervisor's word."""
    doubts: bool = True
    """Whether a ledger that has forgotten something is asked for nothing it may have forgotten."""


class Worker(NamedTuple):
    """`phase`: idle, sent, got, noted, ran, replied. `book`: what the ledger says of the call."""

    phase: str = "idle"
    alive: bool = True
    link: bool = True
    reply: bool = False
    """Whether a reply is on its way."""
    book: Literal["", "begun", "forgotten"] = ""


class World(NamedTuple):
    """The asker is queued for or waits for worker `at`, or has its verdict. `word`: what the supervisor said."""

    asker: Literal["queued", "waits", "done", "not run", "died", "unknown"]
    at: int
    workers: tuple[Worker, Worker]
    word: tuple[str, str]
    runs: int
    tries: int


def concludes(rule: Rule, world: World) -> World:
    """The link to the worker ended, and if the rule says so its fate is known."""
    at, word = world.at, world.word[world.at]
    if rule.waits and not word:
        return world
    if word == "forgotten" and rule.doubts:
        return world._replace(asker="unknown")
    if word == "begun":
        return world._replace(asker="died")
    return world._replace(asker="queued", at=1 - at) if world.tries < TRIES else world._replace(asker="not run")


def works(rule: Rule, worker: Worker) -> tuple[str, dict[str, object]]:
    """What a worker that lives does next, and what it makes of it."""
    match worker.phase:
        case "sent":
            return "gets it", {"phase": "got"}
        case "got" if rule.noted == "before":
            return "notes it", {"phase": "noted", "book": "begun"}
        case "got" | "noted":
            return "runs it", {"phase": "ran"}
        case "ran":
            return "replies", {"phase": "replied", "reply": True, "book": "begun"}
        case "replied" if worker.book == "begun":
            return "runs many others", {"book": "forgotten"}
    return "", {}


def moves_of(rule: Rule, world: World, at: int) -> Iterator[tuple[str, World]]:
    """What worker `at`, its link and its supervisor may do next."""
    worker = world.workers[at]

    def step(**changes: object) -> World:
        return world._replace(workers=put(world.workers, at, worker._replace(**changes)))

    if worker.alive:
        what, changes = works(rule, worker)
        if what:
            yield f"{at} {what}", step(**changes)._replace(runs=world.runs + (changes.get("phase") == "ran"))
        yield f"{at} dies", step(alive=False)
    elif not world.word[at]:
        found = worker.book or "not begun"
        yield f"the supervisor says {found} of {at}", world._replace(word=put(world.word, at, found))
    if worker.reply and worker.link:
        heard = step(reply=False)
        if world.asker == "waits" and world.at == at:
            heard = heard._replace(asker="done")
        yield f"the reply of {at} comes", heard
    if not worker.alive and worker.link:
        yield f"the link to {at} ends", step(link=False, reply=False)


def run(rule: Rule) -> Explored[World]:
    """Everything that can happen."""

    def moves(world: World) -> Iterator[tuple[str, World]]:
        if world.asker == "queued":
            at = world.at
            worker = world.workers[at]
            if worker.link:
                sent = worker._replace(phase="sent") if worker.phase == "idle" else worker
                workers = put(world.workers, at, sent)
                yield f"ask {at}", world._replace(asker="waits", workers=workers, tries=world.tries + 1)
            else:
                yield f"{at} is gone", world._replace(asker="not run")
        if world.asker == "waits" and not world.workers[world.at].link:
            yield "conclude", concludes(rule, world)
        for at in (0, 1):
            yield from moves_of(rule, world, at)

    return explore(World("queued", 0, (Worker(), Worker()), ("", ""), 0, 0), moves, wrong)


def wrong(world: World) -> str:
    return untrue(world.asker, world.runs)


@pytest.mark.parametrize("rule", [Rule(noted="after"), Rule(waits=False), Rule(doubts=False)])
def test_every_looser_rule_lies_or_runs_it_twice(rule: Rule) -> None:
    found = run(rule)
    assert found.wrong in {"ran twice", "said not run, and it ran"}, found.story


def test_our_rule_ends_in_the_truth() -> None:
    found = run(Rule())
    assert found.story == ()
    ends = {(world.asker, world.runs) for world in found.states if world.asker not in {"queued", "waits"}}
    assert ends == {("done", 1), ("not run", 0), ("died", 0), ("died", 1), ("unknown", 1)}
