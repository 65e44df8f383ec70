"""Which way to remember what was seen holds against somebody who delivers any old envelope any number of times.

The world is one sender, one receiver and a carrier in the attacker's hands: every envelope ever sent may be delivered
now, later, again or never; either end may be restarted and forgets everything. Each must be accepted at most once.
The broken schemes stay: a search that could not find their faults would prove nothing about the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from explore import Explored, explore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CACHE = 2
"""What a cache remembers. A real one is larger, and so is the number of envelopes that go through it."""
WINDOW = 2


class Envelope(NamedTuple):
    """What identifies one: its number among all, and what the key or header binds it to."""

    number: int
    sender: int
    counter: int
    receiver: int


class World(NamedTuple):
    """`accepted[n]` counts how often envelope n was; `sender` and `receiver` are lives, 0 the first."""

    sent: tuple[Envelope, ...]
    accepted: tuple[int, ...]
    sender: int
    counter: int
    receiver: int
    memory: Any


class Scheme(NamedTuple):
    """What a receiver remembers at first, and what after an envelope; None is a refusal."""

    empty: Any
    accept: Callable[[Any, Envelope, int], Any]


def window(seen: frozenset[int], counter: int) -> frozenset[int] | None:
    """The counters near the top, after this one; None if it was seen or is too far behind to tell."""
    top = max(seen, default=-1)
    if counter in seen or counter <= top - WINDOW:
        return None
    top = max(top, counter)
    return frozenset(old for old in (*seen, counter) if old > top - WINDOW)


def evicting(memory: tuple[int, ...], envelope: Envelope, _life: int) -> tuple[int, ...] | None:
    """Random nonces in a cache that forgets the oldest."""
    return None if envelope.number in memory else (*memory, envelope.number)[-CACHE:]


def refusing(memory: tuple[int, ...], envelope: Envelope, _life: int) -> tuple[int, ...] | None:
    """The same, but a full cache refuses. It never forgets, unless it is restarted."""
    return None if envelope.number in memory or len(memory) >= 2 * CACHE else (*memory, envelope.number)


def one_window(memory: frozenset[int], envelope: Envelope, _life: int) -> frozenset[int] | None:
    """A window, and a key that outlives both ends."""
    return window(memory, envelope.counter)


def per_sender(memory: frozenset[Any], envelope: Envelope, _life: int) -> frozenset[Any] | None:
    """A window for each life of the sender; the receiver adds nothing to the key."""
    windows = dict(memory)
    moved = window(windows.get(envelope.sender, frozenset()), envelope.counter)
    return None if moved is None else frozenset({**windows, envelope.sender: moved}.items())


def per_pair(memory: frozenset[Any], envelope: Envelope, life: int) -> frozenset[Any] | None:
    """The key follows from fresh randomness of both ends: an envelope for an earlier life has a wrong tag."""
    return per_sender(memory, envelope, life) if envelope.receiver == life else None


def strict(memory: frozenset[tuple[int, int]], envelope: Envelope, life: int) -> frozenset[tuple[int, int]] | None:
    """The key as before, and exactly the next number: what a stream has."""
    following = dict(memory)
    if envelope.receiver != life or envelope.counter != following.get(envelope.sender, 0):
        return None
    return frozenset({**following, envelope.sender: envelope.counter + 1}.items())


def two_readers(memory: tuple[Any, Any], envelope: Envelope, life: int) -> tuple[Any, Any] | None:
    """The right key, but two receivers share an inbox and each has its own windows."""
    one, two = memory
    if (moved := per_pair(one, envelope, life)) is not None:
        return moved, two
    if (moved := per_pair(two, envelope, life)) is not None:
        return one, moved
    return None


EVICTING = Scheme((), evicting)
REFUSING = Scheme((), refusing)
ONE_WINDOW = Scheme(frozenset(), one_window)
PER_SENDER = Scheme(frozenset(), per_sender)
PER_PAIR = Scheme(frozenset(), per_pair)
STRICT = Scheme(frozenset(), strict)
TWO_READERS = Scheme((frozenset(), frozenset()), two_readers)


def run(scheme: Scheme, envelopes: int = 4, restarts: int = 1) -> Explored[World]:
    """Everything that can happen to so many envelopes while each end is restarted so often."""

    def moves(world: World) -> Iterator[tuple[str, World]]:
        if len(world.sent) < envelopes:
            new = Envelope(len(world.sent), world.sender, world.counter, world.receiver)
            after = world._replace(sent=(*world.sent, new), accepted=(*world.accepted, 0), counter=world.counter + 1)
            yield f"send {new.number}", after
        for old in world.sent:
            memory = scheme.accept(world.memory, old, world.receiver)
            if memory is not None:
                accepted = list(world.accepted)
                accepted[old.number] += 1
                yield f"deliver {old.number}", world._replace(accepted=tuple(accepted), memory=memory)
        if world.receiver < restarts:
            yield "restart receiver", world._replace(receiver=world.receiver + 1, memory=scheme.empty)
        if world.sender < restarts:
            yield "restart sender", world._replace(sender=world.sender + 1, counter=0)

    def wrong(world: World) -> str:
        return "accepted twice" if max(world.accepted, default=0) > 1 else ""

    return explore(World((), (), 0, 0, 0, scheme.empty), moves, wrong)


@pytest.mark.parametrize("scheme", [EVICTING, REFUSING, ONE_WINDOW, PER_SENDER])
def test_whatever_keeps_its_key_over_a_restart_accepts_twice(scheme: Scheme) -> None:
    found = run(scheme)
    assert found.wrong == "accepted twice"
    assert found.story == ("send 0", "deliver 0", "restart receiver", "deliver 0")


def test_a_cache_that_forgets_accepts_twice_without_any_restart() -> None:
    sends, deliveries = [f"send {n}" for n in range(CACHE + 1)], [f"deliver {n}" for n in range(CACHE + 1)]
    story = run(EVICTING, restarts=0).story
    assert len(story) == 2 * (CACHE + 1) + 1
    assert sorted(story) == sorted([*sends, *deliveries, "deliver 0"])


def test_a_shared_inbox_accepts_twice_at_once() -> None:
    assert run(TWO_READERS, restarts=0).story == ("send 0", "deliver 0", "deliver 0")


@pytest.mark.parametrize(("envelopes", "restarts", "states"), [(4, 1, 862), (5, 1, 2430), (4, 2, 9337)])
def test_a_window_under_a_key_of_both_ends_accepts_each_once(envelopes: int, restarts: int, states: int) -> None:
    found = run(PER_PAIR, envelopes, restarts)
    assert found.story == ()
    assert len(found.states) == states
    assert any(world.accepted == (1,) * envelopes for world in found.states)  # it is of use, too


@pytest.mark.parametrize("restarts", [1, 2])
def test_exactly_the_next_number_under_such_a_key_accepts_each_once(restarts: int) -> None:
    found = run(STRICT, restarts=restarts)
    assert found.story == ()
    assert any(world.accepted == (1, 1, 1, 1) for world in found.states)
    for world in found.states:
        taken = [number for number, times in enumerate(world.accepted) if times]
        if world.receiver == world.sender == 0:
            assert taken == list(range(len(taken)))  # and in order, without a gap


class Burning(NamedTuple):
    """An honest sender's frames in order, and an attacker who can number a frame but not seal it."""

    sent: int
    accepted: int
    refused: bool
    seen: frozenset[int]


def burn(*, tag_first: bool) -> Explored[Burning]:
    """Record a number before or after the tag was found right."""

    def moves(world: Burning) -> Iterator[tuple[str, Burning]]:
        if world.sent < 3:
            yield f"send {world.sent}", world._replace(sent=world.sent + 1)
        for number in range(4):
            seen = window(world.seen, number)
            if seen is not None and not tag_first:
                yield f"forge {number}", world._replace(seen=seen)
        if world.accepted < world.sent:
            seen = window(world.seen, world.accepted)
            if seen is None:
                yield f"deliver {world.accepted}", world._replace(refused=True)
            else:
                yield f"deliver {world.accepted}", world._replace(accepted=world.accepted + 1, seen=seen)

    return explore(Burning(0, 0, False, frozenset()), moves, lambda world: "burnt" if world.refused else "")


def test_a_number_that_is_recorded_before_the_tag_is_checked_can_be_burnt() -> None:
    found = burn(tag_first=False)
    assert found.wrong == "burnt"
    assert sorted(found.story) == ["deliver 0", "forge 0", "send 0"]
    assert burn(tag_first=True).story == ()
