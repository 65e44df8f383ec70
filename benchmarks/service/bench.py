"""The work that every system under test does: add one to a number, and hand bytes back."""

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
