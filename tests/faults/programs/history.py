"""Does what clients were told agree with what was done? Pure: two records in, the disagreements out.

The one record is the clients': when each call was asked, how long it was allowed to take, and every verdict it got. The
other is the effect log that nodes append to, which survives any death. Times are seconds on the host's monotonic clock.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LATE = 1.0
"""How long after its deadline a verdict may come, and a call that nobody waits for may still be begun."""
ATTEMPTS = 2
"""How often a call that is idempotent may be begun."""

UNREACHED = "stage_unreached"
"""Of two stages the first was done."""
NOTHING_DONE = frozenset(
    {"rejected", "no_worker", "worker_gone", "busy", "draining", "expired", "too_large", "quarantined"}
)
BEGUN = frozenset({"worker_died", "node_error", "bad_result", UNREACHED})
UNKNOWN = frozenset({"timeout", "link_lost", "outcome_unknown", "invalid_request"})
NEVER_BEGUN = "said to have failed, and was never begun"
"""The one untruth that harms nobody: a worker that is killed after it noted a call and before it ran it."""
LEFT = "left"
"""The client went away before it was told anything."""
DONE = "done"


class Verdict(NamedTuple):
    """What a client was told, and of which call. Status 0: it was told nothing."""

    at: float
    status: int
    code: str
    ticket: str = ""


@dataclass
class Asked:
    """One call, as its client saw it."""

    ticket: str
    at: float
    limit: float
    idempotent: bool = False
    verdicts: list[Verdict] = field(default_factory=list)
    relayed: bool = False
    """Whether a second node goes on with what a first one made; the log has it as `TICKET.2`."""

    @property
    def code(self) -> str:
        """The one thing it was told."""
        (verdict,) = self.verdicts
        return verdict.code

    @property
    def took(self) -> float:
        """How long it waited for it."""
        return self.verdicts[0].at - self.at


class Effect(NamedTuple):
    """One line of the log: `begin`, `end`, or `cut` for a call that something interrupted."""

    what: str
    ticket: str
    pid: int
    at: float


class Violation(NamedTuple):
    """A disagreement, in words that are the same for all of its kind."""

    kind: str
    ticket: str
    detail: str = ""


def effects_in(lines: str) -> list[Effect]:
    """The log, read."""
    split = (line.split() for line in lines.splitlines())
    return [Effect(what, ticket, int(pid), float(at)) for what, ticket, pid, at in split]


def violations(calls: Iterable[Asked], effects: Iterable[Effect]) -> list[Violation]:
    """Every disagreement between the two."""
    begins: dict[str, list[Effect]] = defaultdict(list)
    ends: dict[str, list[Effect]] = defaultdict(list)
    cuts: dict[str, list[Effect]] = defaultdict(list)
    for effect in effects:
        {"begin": begins, "end": ends, "cut": cuts}[effect.what][effect.ticket].append(effect)
    calls = list(calls)
    asked = {call.ticket for call in calls} | {f"{call.ticket}.2" for call in calls if call.relayed}
    unasked = begins.keys() - asked
    found = [Violation("run, and nobody had asked", ticket) for ticket in sorted(unasked)]
    for call in calls:
        found += (
            Violation(kind, call.ticket, f"{call} {begins[call.ticket]} {ends[call.ticket]}")
            for kind in _of(call, begins[call.ticket], ends[call.ticket])
        )
        if call.relayed:
            second = call.ticket + ".2"
            found += (
                Violation(kind, second, f"{call} {begins[second]} {ends[second]}")
                for kind in _of_second(call, ends[call.ticket], begins[second], ends[second])
            )
    return found


def _of(call: Asked, begins: list[Effect], ends: list[Effect]) -> Iterator[str]:
    if len(begins) > (ATTEMPTS if call.idempotent else 1):
        yield "run too often"
    if len({begin.pid for begin in begins}) < len(begins):
        yield "tried again where it had failed"
    if len(ends) > len(begins):
        yield "ended more often than begun"
    if not call.verdicts:
        yield "no verdict"
        return
    if len(call.verdicts) > 1:
        yield "more than one verdict"
    verdict = call.verdicts[0]
    over = verdict.at if verdict.code == LEFT else call.at + call.limit
    if verdict.at > call.at + call.limit + LATE:
        yield "verdict too late"
    if any(begin.at > over + LATE for begin in begins):
        yield "begun when it was over"
    yield from _truth(call.ticket, verdict, begins, ends)


def _of_second(call: Asked, before: list[Effect], begins: list[Effect], ends: list[Effect]) -> Iterator[str]:
    """The same of the second stage of a call, where it differs from the first."""
    if len(begins) > (ATTEMPTS if call.idempotent else 1):
        yield "run too often"
    if begins and not before:
        yield "begun before the first stage was done"
    code = call.verdicts[0].code if call.verdicts else ""
    if code == DONE and not ends:
        yield "said to be done, and was not"
    if code == UNREACHED and begins:
        yield "said not to be begun, and was"


def _truth(ticket: str, verdict: Verdict, begins: list[Effect], ends: list[Effect]) -> Iterator[str]:
    if verdict.status and verdict.ticket != ticket:
        yield "another call's answer"
    if verdict.code == DONE:
        if not ends:
            yield "said to be done, and was not"
    elif verdict.code in NOTHING_DONE:
        if begins:
            yield "said not to be begun, and was"
    elif verdict.code in BEGUN:
        if not begins:
            yield NEVER_BEGUN
    elif verdict.code not in UNKNOWN and verdict.code != LEFT:
        yield "a verdict that means nothing"
