"""A pipeline of two nodes in two groups. The second writes its calls down as `TICKET.2`."""

from __future__ import annotations

import time

from hazards import effect
from msgspec import Struct

from exec_worker import node


class Step(Struct):
    """What the first hands to the second."""

    ticket: str


@node(stage="core")
def first(ticket: str, ms: float) -> Step:
    with effect(ticket):
        time.sleep(ms / 1000)
    return Step(ticket)


@node(stage="core", idempotent=True)
def first_again(ticket: str, ms: float) -> Step:
    return first(ticket, ms)


@node(stage="last")
def second(step: Step, ms: float) -> str:
    with effect(f"{step.ticket}.2"):
        time.sleep(ms / 1000)
    return step.ticket


@node(stage="last", idempotent=True)
def second_again(step: Step, ms: float) -> str:
    return second(step, ms)
