"""Everything that a service's processes say to each other, in virtual time, against one seeded enemy.

It delays, cuts, bends, repeats and swaps what they say, speaks in their place, takes the ports of those who died;
it kills, stops and restarts them, and lets their clocks differ. What must hold then is written in `witness`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.append(str(Path(__file__).parent))

from machine import MainThread
from story import live
from virtual import Violation

from exec_worker.service import Service
from ipc import caller as caller_module
from ipc import responder as responder_module
from ipc import verdicts
from ipc.caller import Caller
from ipc.errors import Expired
from ipc.flow.fate import Fate, Fates, Told
from ipc.flow.pending import Pending
from ipc.ledger import Ledger
from ipc.mesh import Mesh
from ipc.stats import refusals
from ipc.wire import handshake, signing
from ipc.wire.frame import Refusal
from ipc.wire.replay import StrictCounter
from supervisor.rotation import Announce, Rotation

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.rotation import Action

SEED = os.environ.get("SHUNTER_SEED")
SOAK = "SHUNTER_SOAK" in os.environ
SEEDS = 10_000 if SOAK else 200
CHUNK = 50 if SOAK else 10
FIRST = range(0, SEEDS, CHUNK)


@pytest.mark.soak
@pytest.mark.parametrize("first", FIRST if SEED is None else [int(SEED)], ids="seed{}".format)
def test_no_enemy_on_the_network_or_at_the_switch_breaks_what_was_promised(first: int) -> None:
    verdicts: Counter[str] = Counter()
    for seed in range(first, first + (CHUNK if SEED is None else 1)):
        verdicts += live(seed).witness.verdicts
    if SEED is None:
        assert verdicts["done"] > 30 * CHUNK
        assert {"done", "Expired", "CallTimeout", "WorkerDied", "LinkLost", "Cancelled", "NodeError"} <= verdicts.keys()


def test_the_same_seed_is_the_same_story_to_the_letter() -> None:
    program = Path(__file__).with_name("story.py")
    told = [
        subprocess.run(
            [sys.executable, program, "3", "16", "29", "47"],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(program.parents[2])},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert told[0] == told[1]
    assert len(set(told[0].split())) == 4


def test_the_enemy_has_every_way_of_being_refused() -> None:
    wanted = {
        Refusal.SHORT, Refusal.VERSION, Refusal.TOO_LARGE, Refusal.LENGTH, Refusal.KIND, Refusal.SESSION,
        Refusal.REPLAY, Refusal.GAP, Refusal.MAC, Refusal.EXPIRED, Refusal.TIMEOUT,
    }  # fmt: skip
    for seed in range(200):
        live(seed)
        wanted -= refusals.keys()
        if not wanted:
            return
    assert not wanted


# -- faults of ours that it must find: they guard the witness


def any_number_will_do(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StrictCounter, "check", lambda *_: None)


def tags_are_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(signing.HmacSeal, "open", lambda _self, frame, _counter: frame)


def nonces_are_always_the_same(patch: pytest.MonkeyPatch) -> None:
    class Os:
        urandom = bytes

    patch.setattr("ipc.link.os", Os)


def the_oldest_call_gets_the_answer(patch: pytest.MonkeyPatch) -> None:
    def settle(pending: Pending[Any], _call_id: bytes) -> Any:
        oldest = next(iter(pending._waiting), b"")
        return pending._waiting.pop(oldest, None)

    patch.setattr(Pending, "settle", settle)


def lost_calls_are_sent_again(patch: pytest.MonkeyPatch) -> None:
    ended = Caller.ended

    def again(caller: Caller, link: Any) -> None:
        lost = list(link.state.outstanding.values())
        for call in lost:
            if caller._pending.peek(call.id) is not None:
                del link.state.outstanding[call.id]
                call.seat = None
                call.group.dispatch._line.prepend(call, call.since)
        ended(caller, link)

    patch.setattr(Caller, "ended", again)


def silence_means_not_begun(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(caller_module, "CallTimeout", Expired)


def loss_means_not_begun(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(verdicts, "verdict", lambda *_: Expired())


def a_link_that_ends_is_word_enough(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Fates, "lost", lambda _fates, _server, calls, _now: [Told(call, Fate.NOT_BEGUN) for call in calls])


def calls_are_noted_when_they_are_over(patch: pytest.MonkeyPatch) -> None:
    begin = Ledger.begin
    patch.setattr(Ledger, "begin", lambda *_: None)
    patch.setattr(MainThread, "end", _noting(begin, MainThread.end))


def _noting(begin: Any, end: Any) -> Any:
    def ends(thread: Any, call: Any, *args: Any, **kwargs: Any) -> None:
        thread.worker.ledger.end(begin(thread.worker.ledger, call.id, call.deadline, 0.1))
        end(thread, call, *args, **kwargs)

    return ends


def nobody_looks_at_deadlines(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pending, "expire", lambda *_: [])


def age_does_not_matter(patch: pytest.MonkeyPatch) -> None:
    init = handshake.Session.__init__

    def ageless(session: Any, *args: Any, **kwargs: Any) -> None:
        init(session, *args, **kwargs)
        session._ttl *= 1000

    patch.setattr(handshake.Session, "__init__", ageless)


def what_is_too_old_is_begun(patch: pytest.MonkeyPatch) -> None:
    def stale(service: Service, link: Any, frame: Any) -> None:
        service.heard(link, frame._replace(age_ms=0))  # else its own time is over, which is another guard

    patch.setattr(Service, "stale", stale)


def anybody_may_wait_to_prove_himself(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(responder_module, "MAX_HALF_OPEN", 10_000)


def nobody_dials_twice(patch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> None: ...

    patch.setattr(Mesh, "_dial_again", never)


def keys_are_used_before_they_are_there(patch: pytest.MonkeyPatch) -> None:
    begin = Rotation.begin

    def too_early(rotation: Rotation, epoch: int) -> list[Action]:
        actions = begin(rotation, epoch)
        for server in rotation._servers.values():
            server.epoch = epoch
        return [Announce(), *actions]

    patch.setattr(Rotation, "begin", too_early)


def keys_are_forgotten_while_they_are_used(patch: pytest.MonkeyPatch) -> None:
    installed = Rotation.installed

    def at_once(rotation: Rotation, server: Any, epoch: int, _clients: Any, now: float) -> list[Action]:
        return installed(rotation, server, epoch, (), now)

    patch.setattr(Rotation, "installed", at_once)


def broken_in(seed: int, mood: dict[str, Any]) -> str:
    try:
        live(seed, **mood)
    except Violation as violation:
        return str(violation)
    return ""


BROKEN: list[tuple[Callable[[pytest.MonkeyPatch], None], str]] = [
    (any_number_will_do, "I1"),
    (tags_are_not_looked_at, "I2"),
    (nonces_are_always_the_same, "I1"),
    (the_oldest_call_gets_the_answer, "I4"),
    (lost_calls_are_sent_again, "I3"),
    (silence_means_not_begun, "I4"),
    (loss_means_not_begun, "I4"),
    (a_link_that_ends_is_word_enough, "I3"),
    (calls_are_noted_when_they_are_over, "I3"),
    (nobody_looks_at_deadlines, "I4"),
    (age_does_not_matter, "I2"),
    (what_is_too_old_is_begun, "I2"),
    (anybody_may_wait_to_prove_himself, "I5"),
    (nobody_dials_twice, "I6"),
    (keys_are_used_before_they_are_there, "I6"),
    (keys_are_forgotten_while_they_are_used, "I6"),
]


MOODS: dict[str, dict[str, Any]] = {
    "age_does_not_matter": {"violence": 2.0, "only": ("sleep",)},
    "what_is_too_old_is_begun": {"violence": 2.0, "only": ("sleep",)},
    "keys_are_used_before_they_are_there": {"peaceful": True, "rate": 0.0, "violence": 0.0},
    "keys_are_forgotten_while_they_are_used": {"peaceful": True, "rate": 0.0, "violence": 0.0},
}
"""What the enemy does most in stories that are to show one fault, to be done soon."""


@pytest.mark.parametrize(("fault", "broken"), BROKEN, ids=lambda each: getattr(each, "__name__", each))
def test_a_fault_of_ours_is_found(
    fault: Callable[[pytest.MonkeyPatch], None], broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    mood = MOODS.get(fault.__name__, {})
    for seed in range(200):
        found = broken_in(seed, mood)
        if found:
            break
    assert found[:2] == broken
    assert found == broken_in(seed, mood)  # to the letter
    assert f"SHUNTER_SEED={seed} " in found
