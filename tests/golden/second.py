"""The wire once more, from docs/wire.md and the standard library alone, in as few lines as it takes.

    python tests/golden/second.py          write down what it says, as link.json beside it

It shares no code with `ipc`: what both agree on, byte for byte, is what the document says. It is slow, and its AES
leaks its key through its timing; it is for tests.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).with_name("link.json")
HMAC, GCM = 1, 2
WEB, EXEC = 1, 2
ROLES = {WEB: b"web", EXEC: b"exec"}
CARRIERS = {"memory": 1, "tcp_local": 2, "unix": 3, "redis": 4}


# -- keys


def lp(*parts: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def expand(key: bytes, info: bytes, size: int = 32) -> bytes:
    made, block, number = b"", b"", 0
    while len(made) < size:
        number += 1
        block = mac(key, block + info + bytes([number]))
        made += block
    return made[:size]


def identity(group: str, slot: int, incarnation: int) -> tuple[bytes, bytes]:
    return hashlib.sha256(f"{group}-{slot}".encode()).digest()[:16], incarnation.to_bytes(16, "big")


def leaf_of(
    root: bytes, epoch: int, server: tuple[bytes, bytes], client: tuple[bytes, bytes], role: int
) -> tuple[bytes, bytes]:
    """The server's secret, and the leaf below it that is the client's."""
    epoch_root = mac(b"envelope/1/epoch/" + struct.pack(">I", epoch), root)
    secret = expand(epoch_root, lp(b"server", b"exec", *server))
    return secret, expand(secret, lp(b"client", ROLES[role], *client))


def session_of(leaf: bytes, transcript: bytes) -> dict[str, bytes]:
    prk = mac(transcript, leaf)
    keys = {"confirm_c": expand(prk, b"confirm|c"), "confirm_s": expand(prk, b"confirm|s")}
    for way in ("c2s", "s2c"):
        keys["key_" + way] = expand(prk, b"key|" + way.encode())
        keys["iv_" + way] = expand(prk, b"iv|" + way.encode(), 4)
        keys["sid_" + way] = expand(prk, b"sid|" + way.encode(), 8)
    return keys


# -- handshake


def shake(case: dict[str, Any]) -> dict[str, bytes]:
    """The three messages, and everything that is derived on the way."""
    client, server = identity(*case["client"]), identity(*case["server"])
    secret, leaf = leaf_of(bytes.fromhex(case["root"]), case["epoch"], server, client, case["role"])
    nonce_c, nonce_s = bytes.fromhex(case["nonce_c"]), bytes.fromhex(case["nonce_s"])
    head = b"\xe5\x4e\x01"
    carrier, alg, epoch = case["carrier"], case["alg"], case["epoch"]
    hello = head + bytes([32, alg, CARRIERS[carrier], case["role"], EXEC])
    hello += struct.pack(">IIIQ", epoch, case["max_payload"], 0, case["ttl_ms"])
    hello += b"".join(client) + b"".join(server) + nonce_c
    hello += mac(expand(leaf, b"hello"), hello)
    limits = struct.pack(">BIQ", alg, case["max_payload"], case["ttl_ms"])
    said = lp(
        b"envelope/1",
        carrier.encode(),
        ROLES[case["role"]],
        b"".join(client),
        b"exec",
        b"".join(server),
        struct.pack(">I", epoch),
        nonce_c,
        nonce_s,
        limits,
    )
    transcript = hashlib.sha256(said).digest()
    keys = session_of(leaf, transcript)
    accept = head + bytes([33]) + struct.pack(">Q", case["server_ms"]) + nonce_s
    accept += mac(keys["confirm_s"], transcript + accept)
    finish = head + bytes([34]) + struct.pack(">Q", case["client_ms"])
    finish += mac(keys["confirm_c"], transcript + finish)
    messages = {"hello": hello, "accept": accept, "finish": finish}
    return {"secret": secret, "leaf": leaf, "transcript": transcript, **keys, **messages}


# -- frames


def seal(case: dict[str, Any], keys: dict[str, bytes], frame: dict[str, Any], counter: int) -> bytes:
    """One frame with its length in front."""
    way, meta, body = frame["way"], bytes.fromhex(frame["meta"]), bytes.fromhex(frame["body"])
    header = struct.pack(
        ">2sBBBBHIIQQQ16sII",
        b"\xe5\x4e",
        1,
        frame["kind"],
        frame["flags"],
        case["alg"],
        len(meta),
        len(body),
        case["epoch"],
        int.from_bytes(keys["sid_" + way], "big"),
        counter,
        frame["now_ms"],
        bytes.fromhex(frame["call_id"]),
        0,
        frame["budget_ms"],
    )
    if case["alg"] == HMAC:
        sealed = header + meta + body + mac(keys["key_" + way], header + meta + body)
    else:
        iv = keys["iv_" + way] + struct.pack(">Q", counter)
        sealed = header + gcm(keys["key_" + way], iv, meta + body, header)
    return struct.pack(">I", len(sealed)) + sealed


# -- AES-256-GCM (FIPS 197, NIST SP 800-38D)


def _double(byte: int) -> int:
    return (byte << 1 ^ 0x11B) & 0xFF if byte & 0x80 else byte << 1


def _sbox() -> list[int]:
    box, p, q = [0x63] * 256, 1, 1
    while True:
        p ^= _double(p)
        q ^= q << 1 & 0xFF
        q ^= q << 2 & 0xFF
        q ^= q << 4 & 0xFF
        if q & 0x80:
            q ^= 0x09
        turned = q * 0x101
        box[p] = (q ^ turned >> 7 ^ turned >> 6 ^ turned >> 5 ^ turned >> 4) & 0xFF ^ 0x63
        if p == 1:
            return box


SBOX = _sbox()


def _schedule(key: bytes) -> list[list[int]]:
    words = [list(key[at : at + 4]) for at in range(0, 32, 4)]
    round_constant = 1
    while len(words) < 60:
        word = words[-1]
        if len(words) % 8 == 0:
            word = [SBOX[byte] for byte in word[1:] + word[:1]]
            word[0] ^= round_constant
            round_constant = _double(round_constant)
        elif len(words) % 8 == 4:
            word = [SBOX[byte] for byte in word]
        words.append([a ^ b for a, b in zip(words[-8], word, strict=True)])
    return [[byte for word in words[at : at + 4] for byte in word] for at in range(0, 60, 4)]


def _encrypt(rounds: list[list[int]], block: bytes) -> bytes:
    state = [a ^ b for a, b in zip(block, rounds[0], strict=True)]
    for number, key in enumerate(rounds[1:], 1):
        state = [SBOX[state[(at + 4 * (at % 4)) % 16]] for at in range(16)]
        if number < len(rounds) - 1:
            mixed = []
            for at in range(0, 16, 4):
                column = state[at : at + 4]
                whole = column[0] ^ column[1] ^ column[2] ^ column[3]
                mixed += [column[i] ^ whole ^ _double(column[i] ^ column[(i + 1) % 4]) for i in range(4)]
            state = mixed
        state = [a ^ b for a, b in zip(state, key, strict=True)]
    return bytes(state)


def _times(x: int, y: int) -> int:
    product = 0
    for bit in range(127, -1, -1):
        if y >> bit & 1:
            product ^= x
        x = x >> 1 ^ (0xE1 << 120 if x & 1 else 0)
    return product


def gcm(key: bytes, iv: bytes, plain: bytes, associated: bytes) -> bytes:
    """The ciphertext and its tag."""
    rounds = _schedule(key)
    stream = b"".join(
        _encrypt(rounds, iv + struct.pack(">I", number)) for number in range(2, 2 + (len(plain) + 15) // 16)
    )
    cipher = bytes(a ^ b for a, b in zip(plain, stream, strict=False))
    hash_key = int.from_bytes(_encrypt(rounds, bytes(16)), "big")
    padded = b"".join(part + bytes(-len(part) % 16) for part in (associated, cipher))
    padded += struct.pack(">QQ", 8 * len(associated), 8 * len(cipher))
    tag = 0
    for at in range(0, len(padded), 16):
        tag = _times(tag ^ int.from_bytes(padded[at : at + 16], "big"), hash_key)
    first = int.from_bytes(_encrypt(rounds, iv + struct.pack(">I", 1)), "big")
    return cipher + (tag ^ first).to_bytes(16, "big")


# -- the golden file


def _frames() -> list[dict[str, Any]]:
    call, other = bytes(range(16)).hex(), bytes(range(16, 32)).hex()
    meta = "94a873686f702e696d61" + "a0" * 3
    said: list[tuple[str, int, str, int, int, str, str]] = [
        ("c2s", 1, call, 8, 2500, meta, b"a picture".hex()),
        ("s2c", 19, call, 0, 0, "9101", ""),
        ("s2c", 20, "00" * 16, 0, 0, "", ""),
        ("c2s", 1, call, 0, 2400, meta, b"a picture".hex()),
        ("s2c", 16, call, 16, 0, "93010a14", (bytes(range(256)) * 3).hex()),
        ("c2s", 5, "00" * 16, 0, 0, "", ""),
        ("c2s", 3, other, 0, 0, "", ""),
        ("s2c", 18, other, 0, 0, "9301aa6e6f64655f6572726f72a0", ""),
        ("c2s", 7, "00" * 16, 0, 0, "", ""),
        ("s2c", 23, "00" * 16, 0, 0, "", ""),
        ("c2s", 9, call, 0, 0, "", ""),
        ("s2c", 24, call, 16, 0, "9201a8" + b"gpu-0#12".hex(), ""),
    ]
    return [
        {
            "way": way,
            "kind": kind,
            "call_id": call_id,
            "flags": flags,
            "budget_ms": budget,
            "now_ms": 5_000_100 + number,
            "meta": meta,
            "body": body,
        }
        for number, (way, kind, call_id, flags, budget, meta, body) in enumerate(said)
    ]


def _cases() -> list[dict[str, Any]]:
    common = {
        "root": bytes(range(32)).hex(),
        "client": ["web", 0, 3],
        "role": WEB,
        "server": ["cpu_sync", 1, 7],
        "nonce_c": bytes(range(100, 132)).hex(),
        "nonce_s": bytes(range(200, 232)).hex(),
        "client_ms": 5_000_000,
        "server_ms": 5_000_000,
        "ttl_ms": 30_000,
        "max_payload": 1_048_576,
        "frames": _frames(),
    }
    return [
        {**common, "carrier": "tcp_local", "alg": HMAC, "epoch": 0},
        {**common, "carrier": "tcp_local", "alg": GCM, "epoch": 0},
        {**common, "carrier": "memory", "alg": HMAC, "epoch": 258, "client": ["web", 12, 4_000_000_000]},
        {**common, "carrier": "tcp_local", "alg": HMAC, "epoch": 1},  # the first case after a rotation
        {**common, "carrier": "memory", "alg": GCM, "epoch": 2**32 - 1, "ttl_ms": 3_600_000, "max_payload": 2**26},
        {**common, "carrier": "unix", "alg": GCM, "epoch": 1},
        {**common, "carrier": "unix", "alg": HMAC, "epoch": 1, "client": ["cpu_async", 0, 3], "role": EXEC},
    ]


def answers(case: dict[str, Any]) -> dict[str, Any]:
    """What follows from a case: every key and message, and its frames in the order they are sent."""
    made = shake(case)
    counters = {"c2s": 0, "s2c": 0}
    frames = []
    for frame in case["frames"]:
        frames.append(seal(case, made, frame, counters[frame["way"]]).hex())
        counters[frame["way"]] += 1
    return {**{name: value.hex() for name, value in made.items()}, "frames": frames}


if __name__ == "__main__":
    golden = [{"given": case, "follows": answers(case)} for case in _cases()]
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")
