"""Mutants of frames and handshakes that know where the fields are, and what they are thrown at.

    python tests/attacks/fuzzing.py SECONDS [SEED]     throw for so long; what is new goes into frames.corpus

Everything is made of fixed nonces and seeds, so a mutant is the same in every run and its seed tells it.
"""

from __future__ import annotations

import itertools
import random
import struct
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import arena
from arena import CALL, NOW, TERMS

from ipc.messages.calls import Kind
from ipc.wire.frame import LARGE, Refuse
from ipc.wire.framing import Deframer
from ipc.wire.signing import Alg

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CORPUS = Path(__file__).with_name("frames.corpus")
"""One line a finding: the target, how it answered, and the bytes in hex."""
_FRAME_FIELDS = [(0, 2), (2, 1), (3, 1), (4, 1), (5, 1), (6, 2), (8, 4), (12, 4), (16, 8), (24, 8), (32, 8), (40, 16),
                 (56, 4), (60, 4)]  # fmt: skip
_HELLO_FIELDS = [(0, 2), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1), (8, 4), (12, 4), (16, 4), (20, 8), (28, 16),
                 (44, 16), (60, 16), (76, 16), (92, 32), (124, 32)]  # fmt: skip
_ACCEPT_FIELDS = [(0, 2), (2, 1), (3, 1), (4, 8), (12, 32), (44, 32)]
_FINISH_FIELDS = [(0, 2), (2, 1), (3, 1), (4, 8), (12, 32)]
_EDGES = [0, 1, 2, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**63, 2**64 - 1]


class Target(NamedTuple):
    """Something that hears bytes of anybody, and the genuine ones that it still must accept afterwards."""

    name: str
    fields: list[tuple[int, int]]
    hear: Callable[[bytes], object]
    genuine: bytes
    others: tuple[bytes, ...]
    """Genuine bytes too, but of other places: for splices."""
    honest: frozenset[bytes] = frozenset()
    """What it may accept beside: a HELLO that was said before is still authentic, and leads nowhere."""


def targets() -> list[Target]:
    """Fresh ones, every time the same."""
    made = []
    for alg in Alg:
        terms, name = TERMS._replace(alg=alg), alg.name.lower()
        fixed = arena.shake(arena.dialer(terms=terms), arena.acceptor(terms=terms))
        other = arena.shake(arena.dialer(terms=terms, nonce=bytes(32)), arena.acceptor(terms=terms))
        for way, sender, receiver, kinds in (
            ("server", fixed.client, fixed.server, (Kind.CANCEL, Kind.REQUEST)),
            ("client", fixed.server, fixed.client, (Kind.READY, Kind.REPLY)),
        ):
            past = [arena.seal(sender, kinds[0]) for _ in range(2)]
            for frame in past:
                receiver.open(frame, NOW)
            genuine = arena.seal(sender, kinds[1], call_id=CALL, meta=b"\x94" * 9, body=b"a body of some length")
            foreign = arena.seal(other.client if way == "server" else other.server, kinds[1], body=b"foreign")
            hear = lambda data, receiver=receiver: receiver.open(data, NOW)  # noqa: E731
            made.append(Target(f"{way}.{name}", _FRAME_FIELDS, hear, genuine, (*past, foreign)))
        near, far = arena.dialer(terms=terms), arena.acceptor(terms=terms)
        hello = near.hello()
        accept = far.hello(hello, NOW)
        finish, _ = near.accept(accept, NOW)
        messages = (hello, accept, finish)
        # Each HELLO meets a server of its own, as each connection does.
        hear_hello = lambda data, terms=terms: arena.acceptor(terms=terms).hello(data, NOW)  # noqa: E731
        made += [
            Target(f"hello.{name}", _HELLO_FIELDS, hear_hello, hello, (*messages, *other.messages),
                   frozenset(other.messages[:1])),
            Target(f"accept.{name}", _ACCEPT_FIELDS, lambda data, near=near: near.accept(data, NOW), accept,
                   (*messages, *other.messages)),
            Target(f"finish.{name}", _FINISH_FIELDS, lambda data, far=far: far.finish(data, NOW), finish,
                   (*messages, *other.messages)),
        ]  # fmt: skip
    return made


def mutant(target: Target, rng: random.Random) -> bytes:
    """Something that resembles what the target waits for."""
    data = bytearray(target.genuine)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        rng.choice([_set_field, _set_field, _move_field, _flip, _cut, _extend, _splice, _fill])(target, data, rng)
    return bytes(data)


def _set_field(target: Target, data: bytearray, rng: random.Random) -> None:
    at, size = rng.choice(target.fields)
    old = int.from_bytes(data[at : at + size], "big")
    new = rng.choice([*_EDGES, old + 1, old - 1, old ^ 1 << rng.randrange(8 * size), rng.getrandbits(8 * size)])
    data[at : at + size] = (new % (1 << 8 * size)).to_bytes(size, "big")


def _move_field(target: Target, data: bytearray, rng: random.Random) -> None:
    at, size = rng.choice(target.fields)
    other = rng.choice(target.others)
    data[at : at + size] = other[at : at + size]


def _flip(_target: Target, data: bytearray, rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _cut(_target: Target, data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    del data[at : at + rng.choice([1, 2, 16, 32, 10_000])]


def _extend(_target: Target, data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.randbytes(rng.choice([1, 2, 16, 32, 5000]))


def _splice(target: Target, data: bytearray, rng: random.Random) -> None:
    other = rng.choice(target.others)
    data[rng.randrange(len(data) + 1) :] = other[rng.randrange(len(other) + 1) :]


def _fill(_target: Target, data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    size = rng.choice([1, 4, 8, 32])
    data[at : at + size] = bytes([rng.choice([0, 0xFF, 0x20, 0xE5])]) * len(data[at : at + size])


def answer(target: Target, data: bytes) -> str:
    """How it took that: `accepted`, or the reason of its refusal. Anything else that is raised goes on."""
    try:
        target.hear(data)
    except Refuse as refused:
        return refused.reason.value
    return "accepted"


# -- streams of frames


def stream(rng: random.Random, limit: int) -> bytes:
    """Frames with their lengths in front, some of which lie."""
    parts = []
    for _ in range(rng.randrange(1, 6)):
        body = rng.randbytes(rng.choice([1, 3, 80, limit]))
        told = rng.choice([len(body)] * 9 + [0, limit + 1, 2**31, 2**32 - 1, len(body) + 1])
        parts.append(struct.pack(">I", told) + body)
    whole = b"".join(parts)
    return whole[: rng.randrange(len(whole) + 1)] if rng.random() < 0.3 else whole


def deframed(chunks: Iterator[bytes], limit: int) -> tuple[list[bytes], str, bool]:
    """What came of it: the frames, why it ended, and whether a frame was under way."""
    deframer, frames = Deframer(limit), []
    try:
        for chunk in chunks:
            for frame in deframer.feed(chunk):
                assert len(frame) <= limit
                frames.append(bytes(frame))
    except Refuse as refused:
        return frames, refused.reason.value, False
    return frames, "", deframer.partial


def received(data: bytes, rng: random.Random, limit: int) -> tuple[list[bytes], str, bool]:
    """The same, read as a carrier reads: the rest of a large frame goes right into its place."""
    deframer, frames, at = Deframer(limit), list[bytes](), 0
    try:
        while at < len(data):
            room = deframer.room
            assert room is None or len(room) <= limit
            most = LARGE if room is None else len(room)
            piece = data[at : at + min(rng.choice([1, 3, 5, 1000, LARGE, 3 * LARGE]), most)]
            at += len(piece)
            if room is None:
                for whole in deframer.feed(piece):
                    frames.append(bytes(whole))  # each by itself: those before a refusal count
                continue
            room[: len(piece)] = piece
            if (frame := deframer.filled(len(piece))) is not None:
                frames.append(bytes(frame))
    except Refuse as refused:
        return frames, refused.reason.value, False
    return frames, "", deframer.partial


def in_pieces(data: bytes, rng: random.Random) -> Iterator[bytes]:
    """The same bytes, cut anywhere."""
    at = 0
    while at < len(data):
        size = rng.choice([1, 2, 3, 4, 5, 7, 60, 1000])
        yield data[at : at + size]
        at += size


# -- the corpus


def corpus() -> list[tuple[str, str, bytes]]:
    """Everything that was ever interesting."""
    lines = [line.split() for line in CORPUS.read_text().splitlines()] if CORPUS.exists() else []
    return [(target, answered, bytes.fromhex("".join(rest))) for target, answered, *rest in lines]


def main() -> None:
    """Throw; keep the shortest mutant for each answer of each target."""
    until, seed = time.monotonic() + float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    known = {(target, answered): data for target, answered, data in corpus()}
    aims = targets()
    for number in itertools.count():
        if time.monotonic() > until:
            break
        rng = random.Random(seed * 1_000_003 + number)
        for target in aims:
            data = mutant(target, rng)
            if data == target.genuine or data in target.honest:
                continue
            found = answer(target, data)
            assert found != "accepted", (target.name, data.hex())
            if len(data) < len(known.get((target.name, found), bytes(20_000))):
                known[target.name, found] = data
    lines = (f"{target} {found} {data.hex()}".rstrip() for (target, found), data in sorted(known.items()))
    CORPUS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
