"""Sealing and opening frames, beside the bare cryptographic primitive on the same bytes."""

from __future__ import annotations

import hmac
import os
import timeit
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ipc.messages.calls import Kind
from ipc.wire.keys import session_keys
from ipc.wire.session import Session, Terms
from ipc.wire.signing import ALG_OF

if TYPE_CHECKING:
    from collections.abc import Callable

    from ipc.wire.signing import Mode

SIZES = {"256 B": 256, "1 KiB": 1024, "64 KiB": 65_536, "1 MiB": 1 << 20}


def _best(run: Callable[[], object], size: int) -> float:
    number = max(20, 2_000_000 // (size + 2_000))
    return min(timeit.repeat(run, number=number, repeat=7)) / number * 1e6


def measure() -> list[tuple[str, str, float, float]]:
    """(algorithm, size, seal + open in us, the bare primitive both ways in us)."""
    told = []
    modes: tuple[Mode, ...] = ("hmac", "aead")
    for mode in modes:
        terms = Terms("tcp_local", ALG_OF[mode], 1, 1 << 20, 30_000)
        for name, size in SIZES.items():
            body, key = os.urandom(size), os.urandom(32)
            ends = session_keys(key, key)
            client = Session(ends, terms, client=True, offset_ms=0)
            server = Session(ends, terms, client=False, offset_ms=0)

            def both(client: Session = client, server: Session = server, body: bytes = body) -> None:
                server.open(client.seal(Kind.REQUEST, 0, body=body)[4:], 0)

            if mode == "hmac":

                def bare(key: bytes = key, body: bytes = body) -> None:
                    hmac.digest(key, body, "sha256")
                    hmac.digest(key, body, "sha256")
            else:
                cipher, nonce = AESGCM(key), bytes(12)

                def bare(cipher: AESGCM = cipher, nonce: bytes = nonce, body: bytes = body) -> None:  # type: ignore[misc]
                    cipher.decrypt(nonce, cipher.encrypt(nonce, body, None), None)

            told.append((mode, name, _best(both, size), _best(bare, size)))
    return told


def table(seen: list[tuple[str, str, float, float]]) -> list[str]:
    """The figures as Markdown."""
    told = ["| seal + open | body | us | bare primitive us | x |", "|---|---|---|---|---|"]
    told += [f"| {mode} | {size} | {ours:.1f} | {bare:.1f} | {ours / bare:.2f} |" for mode, size, ours, bare in seen]
    return told
