"""The two ways to seal a frame. A session has exactly one; nothing a peer sends chooses it, and there is no third."""

from __future__ import annotations

import enum
import hashlib
import hmac
from typing import TYPE_CHECKING, Literal, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import GCM

from ipc.errors import Misuse
from ipc.wire.frame import HEADER_SIZE, LARGE, Refusal, Refuse

if TYPE_CHECKING:
    from ipc.wire.keys import DirectionKeys

Mode = Literal["hmac", "aead"]


class Alg(enum.IntEnum):
    """The algorithm's number in header and handshake."""

    HMAC_SHA256 = 1
    AES_256_GCM = 2


ALG_OF: dict[Mode, Alg] = {"hmac": Alg.HMAC_SHA256, "aead": Alg.AES_256_GCM}


class Seal(Protocol):
    """One direction's key in the form that its algorithm wants."""

    tag_size: int
    offset: int
    """Where meta begins in what `open` returns."""

    def close(self, header: bytes, meta: bytes, body: bytes | memoryview, counter: int) -> list[bytes | memoryview]:
        """The frame's parts, ready to be joined."""
        ...

    def open(self, frame: bytes | bytearray, counter: int) -> bytes | bytearray | memoryview:
        """What holds meta and body, from `offset` on, once the tag was found right; else Refuse."""
        ...


_INNER, _OUTER = bytes(x ^ 0x36 for x in range(256)), bytes(x ^ 0x5C for x in range(256))
_BLOCK = 64


class HmacSeal:
    """HMAC-SHA256 (RFC 2104) over every byte before the tag.

    Both passes begin from a hash state that already has the padded key in it, so no raw key is kept and a tag costs
    two copies: half the price of `hmac.new(...).copy()`. The vectors of RFC 4231 are among the tests.
    """

    __slots__ = ("_inner", "_outer")
    tag_size = 32
    offset = HEADER_SIZE

    def __init__(self, keys: DirectionKeys) -> None:
        key = keys.key if len(keys.key) <= _BLOCK else hashlib.sha256(keys.key).digest()
        padded = key.ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(padded.translate(_INNER))
        self._outer = hashlib.sha256(padded.translate(_OUTER))

    def close(self, header: bytes, meta: bytes, body: bytes | memoryview, counter: int) -> list[bytes | memoryview]:  # noqa: ARG002 - the counter is in the header
        """Header, meta and body as they are, and their tag."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(header + meta)
        inner.update(body)
        outer.update(inner.digest())
        return [header, meta, body, outer.digest()]

    def open(self, frame: bytes | bytearray, counter: int) -> bytes | bytearray | memoryview:  # noqa: ARG002 - as above
        """The frame itself."""
        inner, outer = self._inner.copy(), self._outer.copy()
        view = memoryview(frame)
        inner.update(view[:-32])
        outer.update(inner.digest())
        if not hmac.compare_digest(outer.digest(), view[-32:]):
            raise Refuse(Refusal.MAC)
        return frame


class AeadSeal:
    """AES-256-GCM: the header is authenticated, meta and body are secret as well.

    The 96-bit IV is a derived salt and the counter, which a session never repeats (NIST SP 800-38D 8.2.1).
    """

    __slots__ = ("_aes", "_gcm", "_salt")
    tag_size = 16
    offset = 0

    def __init__(self, keys: DirectionKeys) -> None:
        self._aes, self._gcm = AES256(keys.key), AESGCM(keys.key)
        self._salt = keys.salt

    def close(self, header: bytes, meta: bytes, body: bytes | memoryview, counter: int) -> list[bytes | memoryview]:
        """The header as it is, then the encrypted rest with its tag."""
        iv = self._salt + counter.to_bytes(8, "big")
        if len(body) >= LARGE:  # in two steps, which cost less than joining the two
            encryptor = Cipher(self._aes, GCM(iv)).encryptor()
            encryptor.authenticate_additional_data(header)
            secret = encryptor.update(meta), encryptor.update(body)
            encryptor.finalize()
            return [header, *secret, encryptor.tag]
        return [header, self._gcm.encrypt(iv, b"".join((meta, body)), header)]

    def open(self, frame: bytes | bytearray, counter: int) -> bytes | bytearray | memoryview:
        """Meta and body. In one step: nothing that was not found authentic is ever seen."""
        view = memoryview(frame)
        iv = self._salt + counter.to_bytes(8, "big")
        try:
            plain = self._gcm.decrypt(iv, view[HEADER_SIZE:], view[:HEADER_SIZE])
        except InvalidTag:
            raise Refuse(Refusal.MAC) from None
        return plain


class NoSeal:
    """What is left of a seal after a fork."""

    __slots__ = ()
    tag_size = offset = 0

    def close(self, *_: object, **__: object) -> list[bytes | memoryview]:
        """Misuse."""
        raise Misuse(_FORKED)

    def open(self, *_: object, **__: object) -> bytes:
        """Misuse."""
        raise Misuse(_FORKED)


_FORKED = (
    "this process was forked from a worker and may not speak for it: end it with os._exit when its work is done, or"
    " start a program instead (multiprocessing's 'spawn', subprocess)"
)


def seal_for(alg: Alg, keys: DirectionKeys) -> Seal:
    """The seal of a session's algorithm."""
    return HmacSeal(keys) if alg is Alg.HMAC_SHA256 else AeadSeal(keys)
