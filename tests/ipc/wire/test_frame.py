"""The header's size, and that every refusal has a name of its own."""

from __future__ import annotations

from ipc.messages.calls import Flag
from ipc.wire.frame import (
    HEADER,
    HEADER_SIZE,
    KNOWN_FLAGS,
    MAGIC,
    MAX_META,
    MAX_TAG,
    MIN_FRAME,
    Refusal,
    Refuse,
    max_frame,
)
from ipc.wire.signing import AeadSeal, HmacSeal


def test_the_header_has_its_size() -> None:
    assert HEADER.size == HEADER_SIZE == 64


def test_the_bounds_of_a_frame_follow_from_its_parts() -> None:
    assert HEADER_SIZE + min(HmacSeal.tag_size, AeadSeal.tag_size) == MIN_FRAME
    assert max(HmacSeal.tag_size, AeadSeal.tag_size) == MAX_TAG
    assert max_frame(1000) == HEADER_SIZE + MAX_META + 1000 + MAX_TAG


def test_every_flag_that_is_sent_is_known() -> None:
    for flag in Flag:
        assert flag & KNOWN_FLAGS == flag
    assert KNOWN_FLAGS < 256


def test_the_magic_opens_no_other_protocol() -> None:
    """Neither text nor a TLS record, a pickle, a msgpack map or a Redis answer begins so."""
    assert not MAGIC.isascii()
    assert MAGIC[0] not in b"\x80\x16+-:$*"
    try:
        MAGIC.decode()
    except UnicodeDecodeError:
        pass
    else:
        raise AssertionError("this is UTF-8")


def test_a_refusal_says_why_and_nothing_else() -> None:
    for reason in Refusal:
        assert str(Refuse(reason)) == reason.value
        assert Refuse(reason).reason is reason
    assert len({reason.value for reason in Refusal}) == len(Refusal)
