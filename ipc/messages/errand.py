"""A call that an operator makes, as supervisor and web worker speak of it over the lifeline."""

from __future__ import annotations

from msgspec import Struct


class Outcome(Struct, frozen=True):
    """What came of a call that an operator had made."""

    size: int = 0
    """Bytes of the result."""
    code: str = ""
    """Of the error, if there was one: see `ipc.errors`."""
    detail: str = ""
    stage: str = ""
    """The node of a pipeline that failed."""
    status: int = 0
    """An HTTP-like status the node asked for; 0 for none."""
    media_type: str = ""
    request_id: str = ""


MAX_PART = 32 * 1024
"""Bytes of a result in one message: with as many calls as may be under way they fit into the lifeline's buffer, so
that no worker ever waits for its supervisor to read."""


class Answered(Struct, frozen=True, tag="answered"):
    """A web worker: how the call `number` ended, and the next part of its result. More comes for each `More`."""

    number: int
    part: bytes
    outcome: Outcome | None = None
    """With the first part only."""


class Ask(Struct, frozen=True, tag="ask"):
    """Web workers: call `node` for an operator, over the same links as every request. Answered with Answered."""

    number: int
    node: str
    arguments: bytes
    """The parameters, a JSON object."""
    body: bytes | None
    """The bytes of the parameter that is taken from a request's body, if they are not among the arguments."""
    timeout: float


class More(Struct, frozen=True, tag="more"):
    """Web workers: the next part of the result of call `number`."""

    number: int


class Forget(Struct, frozen=True, tag="forget"):
    """Web workers: nobody waits for call `number` any more."""

    number: int
