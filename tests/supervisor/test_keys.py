"""Who is given which key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.names import WorkerName
from ipc.wire.keys import leaf_key
from supervisor.keys import Keys

NAMES = st.builds(WorkerName, st.sampled_from(["cpu", "web", "io"]), st.integers(0, 3), st.integers(1, 4))


@given(st.lists(st.tuples(NAMES, NAMES), unique=True))
def test_every_pair_of_lives_has_a_key_of_its_own(pairs: list[tuple[WorkerName, WorkerName]]) -> None:
    keys = Keys()
    assert len({keys.of_client(server, client, keys.epoch) for server, client in pairs}) == len(pairs)


@given(NAMES, NAMES)
def test_a_server_derives_the_key_of_its_client(server: WorkerName, client: WorkerName) -> None:
    keys = Keys()
    assert leaf_key(keys.of_server(server, keys.epoch), client) == keys.of_client(server, client, keys.epoch)


def test_each_start_has_keys_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    server = WorkerName("cpu", 0, 1)
    assert Keys().of_server(server, 1) != Keys().of_server(server, 1)
    first = Keys(b"s" * 32)
    monkeypatch.setattr("time.time", lambda: first.epoch + 1.5)
    second = Keys(b"s" * 32)
    assert second.epoch == first.epoch + 1
    assert second.of_server(server, second.epoch) != first.of_server(server, first.epoch)


@pytest.mark.parametrize("secret", [None, b"s" * 32])
def test_a_new_epoch_has_other_keys_and_the_old_ones_can_be_forgotten(secret: bytes | None) -> None:
    server, keys = WorkerName("cpu", 0, 1), Keys(secret)
    first = keys.epoch
    old = keys.of_server(server, first)
    assert keys.renew() == keys.epoch == first + 1
    assert keys.of_server(server, first) == old != keys.of_server(server, first + 1)
    keys.forget({first, first + 1})
    assert keys.of_server(server, first) == old
    keys.forget(set())
    with pytest.raises(KeyError):
        keys.of_server(server, first)
    assert keys.of_server(server, first + 1)


def test_nothing_of_a_secret_shows() -> None:
    assert repr(Keys(b"s" * 32)) == f"Keys(epoch={Keys(b's' * 32).epoch})"


@pytest.mark.parametrize("secret", [b"", b"short", bytes(31)])
def test_a_short_secret_is_refused(secret: bytes) -> None:
    with pytest.raises(ValueError, match="32"):
        Keys(secret)
