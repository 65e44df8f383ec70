"""Requests that are refused because the like of them have crashed worker after worker."""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from typing import NamedTuple

from ipc.errors import Quarantined
from ipc.messages.calls import decode_request
from ipc.wire.keys import lp

MAX_MARKS = 1024
"""Marks that are remembered; beyond it the oldest is forgotten."""


class Inmate(NamedTuple):
    """What a mark is remembered with."""

    node: str
    until: float


class Quarantine:
    """What the supervisor says is in it. Looked at only while it is not empty, and calls of other nodes pay nothing."""

    __slots__ = ("_inmates", "_nodes")

    def __init__(self) -> None:
        self._inmates: OrderedDict[bytes, Inmate] = OrderedDict()  # who leaves first stands in front
        self._nodes: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._inmates)

    def add(self, node: str, mark: bytes, until: float) -> None:
        """Refuse what has this mark, a call of `node`, until then: no sooner than any that was added before."""
        if mark in self._inmates:
            self._release(mark)
        self._inmates[mark] = Inmate(node, until)
        self._nodes[node] += 1
        if len(self._inmates) > MAX_MARKS:
            self._release(next(iter(self._inmates)))

    def check(self, node: str, meta: bytes, body: bytes | memoryview, now: float) -> None:
        """Raise Quarantined if a call of `node` like this one is not to be begun."""
        if node not in self._nodes:
            return
        while self._inmates and next(iter(self._inmates.values())).until <= now:
            self._release(next(iter(self._inmates)))
        if node in self._nodes and mark_of(meta, body) in self._inmates:
            raise Quarantined("requests like this one have crashed the workers that had them")

    def _release(self, mark: bytes) -> None:
        node = self._inmates.pop(mark).node
        self._nodes[node] -= 1
        if not self._nodes[node]:
            del self._nodes[node]


def mark_of(meta: bytes, body: bytes | memoryview) -> bytes:
    """What stands for the node, the parameters and the body of a call: the same for the same, and nothing to read."""
    asked = decode_request(meta)
    parts = lp(asked.node.encode(), bytes([asked.encoding]), bytes(asked.params))
    digest = hashlib.blake2b(parts, digest_size=16)
    digest.update(body)
    return digest.digest()
