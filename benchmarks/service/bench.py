"""The work that every system under test does: add one to a number, and hand bytes back."""

import time

import msgspec

from exec_worker import node


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
