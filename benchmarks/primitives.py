"""Sealing and opening frames, beside the bare cryptographic primitive on the same bytes."""

from __future__ import annotations

import hmac
import os
import timeit
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ipc.messages.calls import Kind
from ipc.wire.frame import LARGE
from ipc.wire.keys import session_keys
from ipc.wire.session import Session, Terms
from ipc.wire.signing import ALG_OF

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipc.wire.signing import Mode

REPEAT = 15
SIZES = {"128 B": 128, "256 B": 256, "1 KiB": 1024, "64 KiB": 65_536, "1 MiB": 1 << 20}


META = bytes(60)
"""As much as a small call's meta has."""


class _Way:
    """One direction of a link, and the frames that go it, each in one buffer as a carrier gathers them.

    They are made once: memory that is given back between two turns costs more than what is measured.
    """

    def __init__(self, mode: Mode, body: bytes) -> None:
        self.mode, self.body, self.key = mode, body, os.urandom(32)
        self.number = max(10, 1_000_000 // (len(body) + 2_000))
        client = self._end(client=True)
        made = (client.seal(Kind.REQUEST, 0, meta=META, body=body) for _ in range(self.number))
        self.frames = [bytearray(frame[4:]) for frame in made]

    def _end(self, *, client: bool) -> Session:
        terms = Terms("tcp_local", ALG_OF[self.mode], 1, 1 << 20, 30_000)
        return Session(session_keys(self.key, self.key), terms, client=client, offset_ms=0)

    def ours(self) -> float:
        """Seal and open, us, as a link does it."""
        client, server, coming = self._end(client=True), self._end(client=False), iter(self.frames)

        def seal() -> object:
            parts = client.parts(Kind.REQUEST, 0, meta=META, body=self.body)
            return b"".join(parts) if len(self.body) < LARGE else parts

        return self._each(seal) + self._each(lambda: server.open(next(coming), 0))

    def bare(self) -> float:
        """The primitive, there and back, us."""
        key, body, nonce = self.key, self.body, bytes(12)
        if self.mode == "hmac":
            coming = iter(self.frames)  # what is opened was not in any cache either
            there = self._each(lambda: hmac.digest(key, body, "sha256"))
            return there + self._each(lambda: hmac.digest(key, next(coming), "sha256"))
        cipher = AESGCM(key)
        return self._each(lambda: cipher.decrypt(nonce, cipher.encrypt(nonce, body, None), None))

    def _each(self, run: Callable[[], object]) -> float:
        return timeit.timeit(run, number=self.number) / self.number * 1e6


def measure() -> list[tuple[str, str, float, float]]:
    """(algorithm, size, seal + open in us, the bare primitive both ways in us): each the best of turns they take."""
    modes: tuple[Mode, ...] = ("hmac", "aead")
    told = []
    for mode in modes:
        for name, size in SIZES.items():
            way = _Way(mode, os.urandom(size))
            turns = [(way.ours(), way.bare()) for _ in range(REPEAT)]
            told.append((mode, name, min(ours for ours, _ in turns), min(bare for _, bare in turns)))
    return told


def goals(seen: list[tuple[str, str, float, float]]) -> list[tuple[str, float, str]]:
    """Each goal as (what, figure, goal)."""
    told = []
    for mode, size, ours, bare in seen:
        if size == "1 KiB":
            told.append((f"seal + open ({mode}), 1 KiB, us", ours, "<= 10"))
        if size == "1 MiB":
            told.append((f"seal + open ({mode}) / bare primitive, 1 MiB", ours / bare, "<= 1.2"))
    return told


def table(seen: list[tuple[str, str, float, float]]) -> list[str]:
    """The figures as Markdown."""
    told = ["| seal + open | body | us | bare primitive us | x |", "|---|---|---|---|---|"]
    told += [f"| {mode} | {size} | {ours:.1f} | {bare:.1f} | {ours / bare:.2f} |" for mode, size, ours, bare in seen]
    return told
