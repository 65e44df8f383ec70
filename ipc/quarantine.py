"""Requests that are refused because the like of them have crashed worker after worker."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from ipc.errors import Quarantined
from ipc.messages.calls import decode_request
from ipc.wire.keys import lp

MAX_MARKS = 1024
"""Marks that are remembered; beyond it the oldest is forgotten."""


class Quarantine:
    """What the supervisor says is in it. Looked at only while it is not empty."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def add(self, mark: bytes, until: float) -> None:
        """Refuse what has this mark, until then."""
        self._until.pop(mark, None)
        self._until[mark] = until
        if len(self._until) > MAX_MARKS:
            self._until.popitem(last=False)

    def check(self, meta: bytes, body: bytes | memoryview, now: float) -> None:
        """Raise Quarantined if a call like this is not to be begun."""
        for mark in [mark for mark, until in self._until.items() if until <= now]:
            del self._until[mark]
        if self._until and mark_of(meta, body) in self._until:
            raise Quarantined("requests like this one have crashed the workers that had them")


def mark_of(meta: bytes, body: bytes | memoryview) -> bytes:
    """What stands for the node, the parameters and the body of a call: the same for the same, and nothing to read."""
    asked = decode_request(meta)
    parts = lp(asked.node.encode(), bytes([asked.encoding]), bytes(asked.params))
    digest = hashlib.blake2b(parts, digest_size=16)
    digest.update(body)
    return digest.digest()
