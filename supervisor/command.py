"""The configuration of a program that runs as a group: how it is known to be ready. Pure."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from supervisor.fields import LocalUrl, Sign  # noqa: TC001 - read at run time
from supervisor.section import Section

HTTP_PORT = 80
"""Where a URL leads that names no port."""
LAST_PORT = 65535
MOMENT = 0.5
"""How long a program must have run that has no other sign of being ready, seconds."""


class Readiness(Section, frozen=True):
    """`ready` of a group with a `command`: when a worker is up. Exactly one of these.

    With several workers, each is asked at its own port: the one given here plus its number, its `SHUNTER_SLOT`.
    """

    tcp: Annotated[int, Meta(ge=1, le=65535)] | UnsetType = UNSET
    """Once it accepts connections at this port of this host (127.0.0.1 or ::1)."""
    http: LocalUrl | UnsetType = UNSET
    """Once this URL of this host is answered with a status from 200 to 399."""
    log: Sign | UnsetType = UNSET
    """Once it has written a line, to either stream, with this text in it: plain text as it stands, no pattern."""
