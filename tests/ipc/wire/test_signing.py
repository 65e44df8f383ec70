"""The two seals: the standards' own examples, and that they refuse the same things."""

from __future__ import annotations

import hmac

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from ipc.wire.frame import HEADER_SIZE, LARGE, Refusal, Refuse
from ipc.wire.keys import DirectionKeys
from ipc.wire.signing import ALG_OF, AeadSeal, Alg, HmacSeal, Seal, seal_for

KEYS = DirectionKeys(bytes(range(32)), b"salt", 7)
HEADER = bytes(range(64))


@pytest.fixture(params=Alg)
def seal(request: pytest.FixtureRequest) -> Seal:
    return seal_for(request.param, KEYS)


def closed(seal: Seal, header: bytes, meta: bytes, body: bytes, counter: int = 0) -> bytes:
    return b"".join(seal.close(header, meta, body, counter))


@pytest.mark.parametrize(
    ("key", "data", "digest"),
    [  # RFC 4231, test cases 1, 2, 6, 3, 4 and 7 (5 is about tags that are cut short, which ours never are)
        ("0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            b"Jefe".hex(),
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            "aa" * 131,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        ("aa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (
            bytes(range(1, 26)).hex(),
            b"\xcd" * 50,
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
        ),
        (
            "aa" * 131,
            (
                b"This is a test using a larger than block-size key and a larger than block-size data. "
                b"The key needs to be hashed before being used by the HMAC algorithm."
            ),
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
        ),
    ],
)
def test_the_hmac_is_the_standards(key: str, data: bytes, digest: str) -> None:
    seal = HmacSeal(DirectionKeys(bytes.fromhex(key), b"", 0))
    assert closed(seal, data, b"", b"")[len(data) :].hex() == digest


@given(st.binary(max_size=100), st.binary(max_size=300), st.integers(0, 2**63 - 1))
def test_what_was_closed_opens(meta: bytes, body: bytes, counter: int) -> None:
    for alg in Alg:
        seal = seal_for(alg, KEYS)
        frame = closed(seal, HEADER, meta, memoryview(body), counter)
        assert len(frame) == HEADER_SIZE + len(meta) + len(body) + seal.tag_size
        plain = seal.open(frame, counter)
        assert bytes(plain[seal.offset : seal.offset + len(meta) + len(body)]) == meta + body
        assert bytes(seal.open(bytearray(frame), counter)[seal.offset :])[: len(meta) + len(body)] == meta + body


def test_the_iv_is_salt_and_counter_and_the_header_is_authenticated() -> None:
    frame = closed(AeadSeal(KEYS), HEADER, b"meta", b"body", 258)
    plain = AESGCM(KEYS.key).decrypt(b"salt" + (258).to_bytes(8, "big"), frame[64:], HEADER)
    assert plain == b"metabody"
    assert frame[:64] == HEADER


def test_only_aead_hides_what_is_said() -> None:
    assert b"metabody" in closed(HmacSeal(KEYS), HEADER, b"meta", b"body")
    assert b"metabody" not in closed(AeadSeal(KEYS), HEADER, b"meta", b"body")


def test_every_bit_counts(seal: Seal) -> None:
    frame = closed(seal, HEADER, b"meta", b"body", 3)
    for bit in range(8 * len(frame)):
        spoiled = bytearray(frame)
        spoiled[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Refuse) as refused:
            seal.open(spoiled, 3)
        assert refused.value.reason is Refusal.MAC
    for size in range(HEADER_SIZE + seal.tag_size, len(frame)):
        with pytest.raises(Refuse):
            seal.open(frame[:size], 3)
    with pytest.raises(Refuse):
        seal.open(frame + b"\x00", 3)
    seal.open(frame, 3)


def test_the_border_between_meta_and_body_is_the_headers_to_say(seal: Seal) -> None:
    """It is not in the sealed bytes themselves, so the header has to be."""
    assert closed(seal, HEADER, b"ab", b"c") == closed(seal, HEADER, b"a", b"bc")


@pytest.mark.parametrize("alg", Alg)
def test_another_key_opens_nothing(alg: Alg) -> None:
    frame = closed(seal_for(alg, KEYS), HEADER, b"meta", b"body")
    with pytest.raises(Refuse) as refused:
        seal_for(alg, KEYS._replace(key=bytes(32))).open(frame, 0)
    assert refused.value.reason is Refusal.MAC


def test_another_counter_opens_nothing_where_it_is_the_iv() -> None:
    frame = closed(AeadSeal(KEYS), HEADER, b"meta", b"body", 1)
    with pytest.raises(Refuse):
        AeadSeal(KEYS).open(frame, 2)


def test_there_are_two_and_no_third() -> None:
    assert set(ALG_OF) == {"hmac", "aead"}
    assert set(ALG_OF.values()) == set(Alg) == {1, 2}


@pytest.mark.parametrize("alg", Alg)
@pytest.mark.parametrize("meta", [b"", b"meta", bytes(4096)])
@pytest.mark.parametrize("size", [LARGE - 1, LARGE, LARGE + 1, 3 * LARGE])
def test_a_large_body_is_sealed_as_a_small_one_is(alg: Alg, meta: bytes, size: int) -> None:
    """Though it takes another way: in parts."""
    body = bytes(range(251)) * (size // 251) + bytes(size % 251)
    seal = seal_for(alg, KEYS)
    frame = closed(seal, HEADER, meta, body, 258)
    if alg is Alg.HMAC_SHA256:
        assert frame == HEADER + meta + body + hmac.digest(KEYS.key, HEADER + meta + body, "sha256")
    else:
        assert frame[64:] == AESGCM(KEYS.key).encrypt(b"salt" + (258).to_bytes(8, "big"), meta + body, HEADER)
    plain = seal.open(bytearray(frame), 258)
    assert bytes(plain[seal.offset : seal.offset + len(meta) + size]) == meta + body
