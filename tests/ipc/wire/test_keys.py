"""Each key is its own, follows from what is above it, and cannot be read off anything that is printed."""

from __future__ import annotations

import hashlib
import hmac
import itertools

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from ipc.names import WorkerName
from ipc.wire.keys import client_key, expand, extract, leaf_key, lp, root_for_epoch, server_secret, session_keys

ROOT = bytes(range(32))
WEBS = [WorkerName("web", 0, 1), WorkerName("web", 0, 2), WorkerName("web", 1, 1)]
EXECS = [WorkerName("cpu", 0, 1), WorkerName("cpu", 0, 2), WorkerName("cpu", 1, 1), WorkerName("gpu", 0, 1)]


@pytest.mark.parametrize(
    ("ikm", "salt", "info", "size", "prk", "okm"),
    [
        (  # RFC 5869, appendix A.1
            "0b" * 22,
            "000102030405060708090a0b0c",
            "f0f1f2f3f4f5f6f7f8f9",
            42,
            "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (  # A.2
            bytes(range(0x50)).hex(),
            bytes(range(0x60, 0xB0)).hex(),
            bytes(range(0xB0, 0x100)).hex(),
            82,
            "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
            (
                "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
                "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
                "cc30c58179ec3e87c14c01d5c1f3434f1d87"
            ),
        ),
        (  # A.3
            "0b" * 22,
            "",
            "",
            42,
            "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ],
)
def test_hkdf_is_the_standards(ikm: str, salt: str, info: str, size: int, prk: str, okm: str) -> None:
    extracted = extract(bytes.fromhex(salt), bytes.fromhex(ikm))
    assert extracted.hex() == prk
    assert expand(extracted, bytes.fromhex(info), size).hex() == okm


@given(st.binary(min_size=1, max_size=80), st.binary(max_size=80), st.binary(max_size=80), st.integers(1, 200))
def test_hkdf_agrees_with_the_librarys_whole(ikm: bytes, salt: bytes, info: bytes, size: int) -> None:
    assert expand(extract(salt, ikm), info, size) == HKDF(SHA256(), size, salt, info).derive(ikm)


@given(st.lists(st.binary(max_size=6), max_size=4), st.lists(st.binary(max_size=6), max_size=4))
def test_no_two_lists_read_the_same(one: list[bytes], two: list[bytes]) -> None:
    assert (lp(*one) == lp(*two)) == (one == two)


def test_every_pair_of_lives_in_every_epoch_has_a_key_of_its_own() -> None:
    leaves = {
        leaf_key(server_secret(root_for_epoch(root, epoch), server), client)
        for root, epoch, server, client in itertools.product([ROOT, ROOT[::-1]], [0, 1, 256], EXECS, WEBS)
    }
    assert len(leaves) == 2 * 3 * len(EXECS) * len(WEBS)


def test_both_ends_derive_the_same_leaf() -> None:
    secret = server_secret(root_for_epoch(ROOT, 0), EXECS[0])
    assert leaf_key(secret, WEBS[0]) == client_key(secret, WEBS[0].wire_id, WEBS[0].wire_incarnation)


def test_a_session_has_six_secrets_and_two_ids_none_of_them_alike() -> None:
    keys = session_keys(ROOT, hashlib.sha256(b"said").digest())
    c2s, s2c = keys.client_to_server, keys.server_to_client
    assert len({c2s.key, s2c.key, keys.confirm_client, keys.confirm_server}) == 4
    assert c2s.salt != s2c.salt
    assert c2s.sid != s2c.sid
    other = session_keys(ROOT, hashlib.sha256(b"said otherwise").digest())
    assert other.client_to_server.key != c2s.key


@pytest.mark.parametrize("root", [b"", b"short", bytes(31)])
def test_a_root_that_is_no_secret_is_an_error(root: bytes) -> None:
    with pytest.raises(ValueError, match="32 are needed"):
        root_for_epoch(root, 0)


def test_keys_are_not_printed() -> None:
    keys = session_keys(ROOT, hashlib.sha256(b"said").digest())
    secrets = [keys.client_to_server.key, keys.server_to_client.key, keys.confirm_client, keys.confirm_server]
    for text in (repr(keys), str(keys), f"{keys.client_to_server}", repr(keys.server_to_client)):
        for secret in secrets:
            assert secret.hex() not in text
            assert repr(secret)[2:-1] not in text


def test_extract_is_a_plain_hmac() -> None:
    assert extract(b"salt", b"secret") == hmac.new(b"salt", b"secret", hashlib.sha256).digest()
