"""The work that every system under test does: add one to a number, hand bytes back, or take a while."""

import time

import msgspec

from exec_worker import Batch, node

START, EACH = 0.005, 0.0001
"""What a model costs that is asked for one answer or for many: so much at all, and so much for each; seconds."""


class Ask(msgspec.Struct):
    """A small request."""

    n: int
    text: str


class Got(msgspec.Struct):
    """A small answer."""

    n: int
    text: str


@node
def echo(ask: Ask) -> Got:
    """Next to nothing, so that what is measured is the way there and back."""
    return Got(ask.n + 1, ask.text)


@node
def blob(body: bytes) -> bytes:
    """Hand a large body back."""
    return body


class Nap(msgspec.Struct):
    """How long a call keeps a worker, seconds: asked, and as it came."""

    seconds: float


@node
def nap(ask: Nap) -> Nap:
    """Keep this worker and no core. It is always somewhat longer than was asked."""
    began = time.perf_counter()
    time.sleep(ask.seconds)
    return Nap(time.perf_counter() - began)


@node
def alone(ask: Ask) -> Got:
    """A model that is asked by one caller at a time."""
    time.sleep(START + EACH)
    return echo(ask)


@node(batch=Batch(max_size=32, max_wait_ms=5))
def together(asks: list[Ask]) -> list[Got]:
    """The same, asked by all who are there."""
    time.sleep(START + EACH * len(asks))
    return [echo(ask) for ask in asks]
