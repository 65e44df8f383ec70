"""Names of workers (`cpu_sync-0#7`: group, slot, incarnation) and identifiers of calls."""

from __future__ import annotations

import hashlib
import os
import re
from typing import NamedTuple

GROUP_PATTERN = r"[a-z][a-z0-9_]{0,31}"
"""A group's name: it stands in worker names, log lines, file names and environment variables."""

_WORKER = re.compile(rf"({GROUP_PATTERN})-(0|[1-9][0-9]{{0,3}})#(0|[1-9][0-9]{{0,9}})")


TEMPLATE = -1
"""The slot of the warm process that the workers of its group are forked from. It never speaks on a link."""


class WorkerName(NamedTuple):
    """One life of one worker. No name comes twice while a supervisor lives: incarnations only grow."""

    group: str
    slot: int
    incarnation: int

    def __str__(self) -> str:
        return f"{self.seat}#{self.incarnation}"

    @property
    def seat(self) -> str:
        """The part that stays when the worker is replaced: `cpu_sync-0`."""
        return f"{self.group}-{'template' if self.slot == TEMPLATE else self.slot}"

    @property
    def socket(self) -> str:
        """The file it listens at, of this life alone: a successor that fails costs its predecessor nothing."""
        return f"{self.seat}.{self.incarnation}.sock"

    @property
    def wire_id(self) -> bytes:
        """16 bytes that stand for the seat in a handshake."""
        return hashlib.sha256(self.seat.encode()).digest()[:16]

    @property
    def wire_incarnation(self) -> bytes:
        """16 bytes that stand for this life in a handshake."""
        return self.incarnation.to_bytes(16, "big")


def parse_worker(text: str) -> WorkerName:
    """The name that `str()` wrote; ValueError for anything else."""
    found = _WORKER.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:64]!r} is not a worker's name such as 'cpu_sync-0#7'")
    return WorkerName(found[1], int(found[2]), int(found[3]))


_BATCH = 256
_fresh: list[bytes] = []


def new_call_id() -> bytes:
    """A random 128-bit identifier of one call. Asking the kernel for many at once costs as much as asking for one."""
    try:
        return _fresh.pop()
    except IndexError:
        drawn = os.urandom(16 * _BATCH)
        _fresh.extend(drawn[at : at + 16] for at in range(16, len(drawn), 16))
        return drawn[:16]


os.register_at_fork(after_in_child=_fresh.clear)  # or a child would give out the same
