"""In which order may two workers change keys, so that no authentic message is ever refused? Exactly one of four."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import pytest
from explore import Explored, explore, put

if TYPE_CHECKING:
    from collections.abc import Iterator

IN_FLIGHT = 2
NAMES = "AB"


class Rule(NamedTuple):
    """When a worker may seal with the new key, and when it may forget the old one."""

    switch: Literal["at once", "all installed"] = "all installed"
    retire: Literal["at once", "all switched", "drained"] = "drained"


class Worker(NamedTuple):
    """The keys it opens with, and the one it seals with."""

    opens: frozenset[int] = frozenset({0})
    seals: int = 0


class World(NamedTuple):
    """Two workers; `coming[n]` is on its way to worker n, by the key it was sealed with."""

    workers: tuple[Worker, Worker]
    coming: tuple[tuple[int, ...], tuple[int, ...]]
    refused: str = ""


def may_switch(rule: Rule, world: World, at: int) -> bool:
    who_must_have_it = world.workers if rule.switch == "all installed" else (world.workers[at],)
    return world.workers[at].seals == 0 and all(1 in worker.opens for worker in who_must_have_it)


def may_retire(rule: Rule, world: World, at: int) -> bool:
    worker = world.workers[at]
    if worker.seals == 0 or 0 not in worker.opens:
        return False
    switched = all(each.seals == 1 for each in world.workers)
    old_on_its_way = any(0 in messages for messages in world.coming)
    return {"at once": True, "all switched": switched, "drained": switched and not old_on_its_way}[rule.retire]


def carries(world: World, at: int) -> Iterator[tuple[str, World]]:
    """Messages to and from worker `at`."""
    worker, name, other = world.workers[at], NAMES[at], 1 - at
    if len(world.coming[other]) < IN_FLIGHT:
        coming = put(world.coming, other, (*world.coming[other], worker.seals))
        yield f"{name} sends by {worker.seals}", world._replace(coming=coming)
    if world.coming[at]:
        key, *rest = world.coming[at]
        refused = "" if key in worker.opens else f"{name} refuses {key}"
        yield f"{name} receives", World(world.workers, put(world.coming, at, tuple(rest)), refused)


def changes(rule: Rule, world: World, at: int) -> Iterator[tuple[str, World]]:
    """Keys that worker `at` takes, uses and forgets."""
    worker, name = world.workers[at], NAMES[at]

    def become(changed: Worker) -> World:
        return world._replace(workers=put(world.workers, at, changed))

    if 1 not in worker.opens:
        yield f"{name} installs", become(worker._replace(opens=worker.opens | {1}))
    if may_switch(rule, world, at):
        yield f"{name} switches", become(worker._replace(seals=1))
    if may_retire(rule, world, at):
        yield f"{name} retires", become(worker._replace(opens=worker.opens - {0}))


def run(rule: Rule) -> Explored[World]:
    """Everything that can happen while one key follows another."""

    def moves(world: World) -> Iterator[tuple[str, World]]:
        for at in (0, 1):
            yield from carries(world, at)
            yield from changes(rule, world, at)

    return explore(World((Worker(), Worker()), ((), ())), moves, lambda world: world.refused)


@pytest.mark.parametrize(
    ("rule", "steps"),
    [
        (Rule(switch="at once"), 4),  # install, switch, send, refuse
        (Rule(retire="at once"), 6),  # the other still seals by the old key
        (Rule(retire="all switched"), 7),  # what it sealed before it switched is still on its way
    ],
)
def test_every_hastier_order_refuses_an_authentic_message(rule: Rule, steps: int) -> None:
    found = run(rule)
    assert "refuses" in found.wrong
    assert len(found.story) == steps, found.story


def test_install_everywhere_then_switch_then_drain_then_retire_refuses_none() -> None:
    found = run(Rule())
    assert found.story == ()
    assert len(found.states) == 135
    assert World((Worker(frozenset({1}), 1), Worker(frozenset({1}), 1)), ((), ())) in found.states  # and it ends
