"""The batched nodes of one worker, in front of its admission. Pure: time is an argument.

What is gathered for a node has one turn, and to the admission that turn is a call like any other: it starts, it is held
behind what runs, or it goes back. A call that finds a turn of its node waiting joins it. So batched nodes and plain
ones share a worker; but whoever waits behind a batch is in the next one, and is not given back as soon as others are.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from exec_worker.admission import Asked, Next, Verdict
from exec_worker.batching import Gathering, Item

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exec_worker.admission import Admission
    from ipc.batch import Batch

LET_GO_AFTER = 0.1
"""What runs for longer than this, seconds, and for more than `TOO_LONG` times as long as is expected of a full batch,
lets go of the batch behind it."""
TOO_LONG = 2.0


class Single(Asked, Item, Protocol):
    """One call."""


C = TypeVar("C", bound=Single)


class Turn(Generic[C]):
    """What is gathered for a node, as the admission sees it; once it runs, the batch."""

    __slots__ = ("calls", "client", "deadline", "has_slot", "last_resort", "node", "patience")

    def __init__(self, node: str, first: C, patience: float) -> None:
        self.node = node
        self.client: object = first.client
        """Whose it is: everybody's as soon as it waits, so that it does not go when one of them goes."""
        self.deadline = first.deadline
        """Infinite while it waits, for its calls have theirs; then that of the last of them."""
        self.last_resort = first.last_resort
        self.patience = patience
        self.has_slot = False
        """Whether it could run now, and only waits for company."""
        self.calls: tuple[C, ...] = ()
        """Those that run together, once they do."""


class Outcome(NamedTuple, Generic[C]):
    """What follows: what runs now, which calls are too late for that, and who is to be told READY."""

    start: C | Turn[C] | None = None
    expired: tuple[C, ...] = ()
    offer: object | None = None


class Batches(Generic[C]):
    """Who is gathered for which node, and which of them could run now."""

    def __init__(self, admission: Admission[C | Turn[C]], batched: Mapping[str, Batch]) -> None:
        """`batched` are the nodes that run calls together."""
        self._admission, self._batched = admission, batched
        self._gatherings: dict[str, Gathering[C]] = {node: Gathering(batch) for node, batch in batched.items()}
        self._turns: dict[str, Turn[C]] = {}  # one for a node at most; those that run are not among them

    def __contains__(self, node: str) -> bool:
        """Whether calls of `node` run together."""
        return node in self._batched

    def room(self, node: str, clients: int) -> int:
        """How many calls one of `clients` web workers may have here at once: of those that run, and of the next."""
        return max(1, (self._admission.slots + 1) * self._batched[node].max_size // max(1, clients))

    def due(self, now: float) -> float:
        """When to `look`, monotonic seconds; infinite if nobody waits for company."""
        return min((self._due(turn, now) for turn in self._turns.values() if turn.has_slot), default=math.inf)

    def arrive(self, node: str, call: C, now: float) -> Verdict:
        """Judge a call. START: `look` says whether to wait for more; HOLD: it is kept; anything else: it goes back."""
        gathering, turn = self._gatherings[node], self._turns.get(node)
        if turn is None:
            expected = gathering.cost.of(self._batched[node].max_size)
            turn = Turn(node, call, max(LET_GO_AFTER, TOO_LONG * expected))
            verdict = self._admission.arrive(turn, now)
            if verdict not in (Verdict.START, Verdict.HOLD):
                return verdict
            turn.client, turn.deadline = None, math.inf
            turn.has_slot = verdict is Verdict.START
            self._turns[node] = turn
        else:
            verdict = self._admission.join(call, now, expected=turn.has_slot)
            if verdict is not Verdict.HOLD:
                return verdict
        if not gathering.offer(call, now):
            self._admission.refuse(call.client, now)
            return Verdict.BUSY
        return Verdict.START if turn.has_slot else Verdict.HOLD

    def look(self, now: float) -> Outcome[C] | None:
        """Have one run that has waited for company for long enough. To be asked again until it says None."""
        for turn in self._turns.values():
            if turn.has_slot and self._due(turn, now) <= now:
                return self._begin(turn, now)
        return None

    def follow(self, following: Next[C | Turn[C]], now: float) -> Outcome[C]:
        """What follows the end of a call in truth: a turn that is next may wait for company, or be too late."""
        start = following.start
        if isinstance(start, Turn):
            start.has_slot = True
            if self._due(start, now) <= now:
                after = self._begin(start, now)
                return after._replace(
                    expired=(*_calls(following.expired), *after.expired), offer=following.offer or after.offer
                )
            start = None
        return Outcome(start, _calls(following.expired), following.offer)

    def ran(self, node: str, size: int, took: float) -> None:
        """A batch of so many calls is over."""
        self._gatherings[node].ran(size, took)

    def withdraw(self, node: str, call: C, now: float) -> Outcome[C]:
        """Forget a call that does not run yet."""
        self._gatherings[node].withdraw(call)
        return self._drop_if_empty(node, now)

    def gone(self, client: object, now: float) -> tuple[Outcome[C], ...]:
        """A link ended: forget what came over it and does not run yet."""
        for gathering in self._gatherings.values():
            gathering.gone(client)
        return tuple(self._drop_if_empty(node, now) for node in tuple(self._turns))

    def disband(self, turn: Turn[C], now: float) -> tuple[C, ...]:
        """A turn goes back: returns its calls, all of which go elsewhere."""
        del self._turns[turn.node]
        calls, expired = self._gatherings[turn.node].take(now)
        for call in (*calls, *expired):
            self._admission.refuse(call.client, now)
        return *calls, *expired

    def drain(self, now: float) -> tuple[C, ...]:
        """Take nothing more; returns what has not begun."""
        return tuple(call for turn in tuple(self._turns.values()) for call in self.disband(turn, now))

    def _due(self, turn: Turn[C], now: float) -> float:
        """A slot for which others wait is not left idle for company."""
        due = self._gatherings[turn.node].due(now)
        return due if not self._admission.held else now

    def _begin(self, turn: Turn[C], now: float) -> Outcome[C]:
        """It has a slot: run what is gathered for it, or whatever is next."""
        del self._turns[turn.node]
        turn.calls, expired = self._gatherings[turn.node].take(now)
        if not turn.calls:
            after = self.follow(self._admission.finished(turn, now), now)
            return after._replace(expired=(*expired, *after.expired))
        turn.deadline = max(call.deadline for call in turn.calls)
        self._admission.begins(turn, now)
        return Outcome(turn, expired)

    def _drop_if_empty(self, node: str, now: float) -> Outcome[C]:
        turn = self._turns.get(node)
        if turn is None or len(self._gatherings[node]):
            return Outcome()
        if turn.has_slot:
            return self._begin(turn, now)
        del self._turns[node]
        self._admission.cancel(turn)
        return Outcome()


def _calls(expired: tuple[C | Turn[C], ...]) -> tuple[C, ...]:
    """Without turns, which are never too late: they have no deadline of their own."""
    return tuple(call for call in expired if not isinstance(call, Turn))
