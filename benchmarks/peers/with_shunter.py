"""Shunter: declared endpoints."""

import msgspec
from jobs import BATCH, WAIT, job, model

from exec_worker import Batch, node


class Ask(msgspec.Struct):
    """A request."""

    kind: str
    ticket: str
    seconds: float


class Answer(msgspec.Struct):
    """Who did it, and how long it took."""

    pid: int
    took: float


@node(stage="jobs")
def ask(body: Ask) -> Answer:
    """Do it."""
    return Answer(*job(body.kind, body.ticket, body.seconds))


@node(stage="jobs", batch=Batch(max_size=BATCH, max_wait_ms=WAIT * 1000))
def together(asked: list[Ask]) -> list[Answer]:
    """Ask the model for all of them."""
    took = model(len(asked))
    return [Answer(0, took) for _ in asked]
