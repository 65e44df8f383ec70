"""What sessions accept on a carrier that keeps no promise: each genuine frame once, and nothing else ever."""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.append(str(Path(__file__).parent))

from lossy import lossy
from virtual import Violation

from ipc.wire import handshake, keys
from ipc.wire.frame import Refusal
from ipc.wire.replay import BitmapWindow
from ipc.wire.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

SEED = os.environ.get("SHUNTER_SEED")
SOAK = "SHUNTER_SOAK" in os.environ
SEEDS, CHUNK = (10_000, 100) if SOAK else (200, 25)


@pytest.mark.soak
@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK) if SEED is None else [int(SEED)], ids="seed{}".format)
def test_every_genuine_frame_is_accepted_once_and_nothing_else_ever(first: int) -> None:
    stories = [lossy(seed) for seed in range(first, first + (CHUNK if SEED is None else 1))]
    if SEED is None:
        assert min(story.accepted for story in stories) > 20
        assert sum(story.refused for story in stories) > 50 * len(stories)
        assert any(story.stale for story in stories)


# -- faults of ours that it must find


def numbers_are_burnt_before_the_tag_is_looked_at(patch: pytest.MonkeyPatch) -> None:
    check = BitmapWindow.check

    def burning(window: BitmapWindow, counter: int) -> Refusal | None:
        reason = check(window, counter)
        if reason is None:
            window.commit(counter)
        return reason

    patch.setattr(BitmapWindow, "check", burning)


def the_oldest_numbers_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    caches: dict[int, OrderedDict[int, None]] = {}

    def check(window: BitmapWindow, counter: int) -> Refusal | None:
        return Refusal.REPLAY if counter in caches.setdefault(id(window), OrderedDict()) else None

    def commit(window: BitmapWindow, counter: int) -> None:
        cache = caches.setdefault(id(window), OrderedDict())
        cache[counter] = None
        while len(cache) > 64:
            cache.popitem(last=False)

    patch.setattr(BitmapWindow, "check", check)
    patch.setattr(BitmapWindow, "commit", commit)


def numbers_are_never_committed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(BitmapWindow, "commit", lambda *_: None)


def keys_are_the_same_in_every_session(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(handshake, "session_keys", lambda leaf, _transcript: keys.session_keys(leaf, b""))


def age_does_not_matter(patch: pytest.MonkeyPatch) -> None:
    init = Session.__init__

    def ageless(session: Any, *args: Any, **kwargs: Any) -> None:
        init(session, *args, **kwargs)
        session._ttl *= 1000

    patch.setattr(Session, "__init__", ageless)


FAULTS: list[Callable[[pytest.MonkeyPatch], None]] = [
    numbers_are_burnt_before_the_tag_is_looked_at,
    the_oldest_numbers_are_forgotten,
    numbers_are_never_committed,
    keys_are_the_same_in_every_session,
    age_does_not_matter,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_of_ours_is_found(fault: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    fault(monkeypatch)
    with pytest.raises(Violation):
        all(lossy(seed) for seed in range(100))
