"""How much time a request has: its endpoint's, or less where its client says so in a header."""

from __future__ import annotations

import re

from ipc.errors import InvalidRequest
from ipc.messages.calls import MAX_BEYOND_MS

HEADER = b"x-request-timeout"
"""The header, unless the configuration names another one; lower case, as ASGI has them."""
_SECONDS = re.compile(rb"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_SHOWN = 40


def shortened(limit: float, said: bytes, header: bytes) -> float:
    """The client's time, and never more than `limit`; seconds. InvalidRequest if it says no time."""
    if _SECONDS.fullmatch(said) is None or not (seconds := float(said)):
        name, shown = header.decode("latin-1"), said[:_SHOWN].decode("latin-1")
        raise InvalidRequest(f"the header {name} takes a number of seconds, more than 0, such as 2.5, not {shown!r}")
    return min(limit, seconds)


def beyond_ms(limit: float, seconds: float) -> int:
    """What a node may take beyond a client's time before its worker is ended: clients end nobody early."""
    return min(int((limit - seconds) * 1000), MAX_BEYOND_MS)
