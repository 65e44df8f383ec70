from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ipc.flow.track import MAX_NAMES, Standing, Track
from ipc.pipeline import Leg

WAY = (Leg("cpu", ("a",)), Leg("gpu", ("b", "c")), Leg("cpu", ("d",)), Leg("net", ("e",)))


def track(*said: tuple[str, str], way: tuple[Leg, ...] = WAY) -> Track[str]:
    made: Track[str] = Track(way)
    for worker, to in said:
        assert made.sent_on(worker, to)
    return made


def test_only_who_was_named_holds_a_call_and_only_who_named_it_may_name_another() -> None:
    on = track(("cpu-0#1", "gpu-0#1"))
    assert on.standing("gpu-0#1") is Standing.HOLDS
    assert on.standing("cpu-0#1") is Standing.NAMES
    assert on.standing("gpu-1#1") is Standing.EARLY
    assert on.stage == "b or c"
    assert on.sent_on("cpu-0#1", "gpu-1#1")
    assert (on.standing("gpu-0#1"), on.standing("gpu-1#1")) == (Standing.EARLY, Standing.HOLDS)
    assert on.sent_on("gpu-1#1", "")
    assert (on.by, on.at, on.stage, on.standing("gpu-0#1")) == ("gpu-1#1", "", "d", Standing.PAST)
    assert on.sent_on("gpu-1#1", "cpu-0#1")
    assert on.standing("cpu-0#1") is Standing.HOLDS


def test_a_call_goes_on_only_to_the_group_that_is_next() -> None:
    for to in ("cpu-1#1", "net-0#1", "web-0#1", "gpu", "gpu-0", "gpu-0#1 ", "\u0430"):
        assert not Track[str](WAY).sent_on("cpu-0#1", to)
    last = track(("cpu-0#1", "gpu-0#1"), way=WAY[:2])
    assert not last.sent_on("gpu-0#1", "cpu-0#1")
    assert not last.sent_on("gpu-0#1", "")


def test_who_is_in_no_leg_that_is_left_is_a_stranger() -> None:
    on = track(("cpu-0#1", "gpu-0#1"), ("gpu-0#1", "cpu-1#1"))
    assert on.standing("web-0#1") is Standing.STRANGER
    assert on.standing("gpu-1#1") is Standing.STRANGER
    assert on.standing("net-0#1") is Standing.EARLY
    assert Track[str](WAY[:2]).standing("cpu-7#1") is Standing.STRANGER


def test_what_is_said_early_is_kept_until_its_speaker_is_named() -> None:
    on = Track[str](WAY)
    assert on.keep("gpu-0#1", "sent it on")
    assert on.keep("gpu-0#1", "sent it to another")
    assert on.kept() is None
    assert on.sent_on("cpu-0#1", "gpu-0#1")
    assert on.kept() == "sent it to another"
    assert on.kept() is None


def test_little_is_kept() -> None:
    on = Track[str](WAY)
    assert [on.keep(f"gpu-{n}#1", "liar") for n in range(6)] == [True] * 4 + [False] * 2


def test_who_was_never_named_is_known_when_the_call_is_over() -> None:
    on = Track[str](WAY)
    for worker in ("gpu-0#1", "gpu-1#1", "gpu-2#1"):
        assert on.keep(worker, worker)
    assert on.sent_on("cpu-0#1", "gpu-0#1")
    assert on.kept() == "gpu-0#1"
    assert on.sent_on("cpu-0#1", "gpu-1#1")
    assert on.sent_on("cpu-0#1", "gpu-0#1")
    assert on.unheard() == ["gpu-2#1"]  # the second was named, and had no more to say


def test_names_are_not_remembered_without_end() -> None:
    on = Track[str](WAY)
    assert not all(on.sent_on("cpu-0#1", f"gpu-0#{n}") for n in range(MAX_NAMES + 2))


def test_a_call_is_lost_when_neither_who_has_it_nor_who_sent_it_is_left() -> None:
    def after(on: Track[str], *dead: str) -> tuple[bool, bool]:
        for worker in dead:
            on.died(worker)
        return on.orphaned, on.stranded

    assert after(Track[str](WAY), "cpu-0#1") == (False, False)
    assert after(track(("cpu-0#1", "")), "cpu-0#1") == (True, True)
    assert after(track(("cpu-0#1", "gpu-0#1")), "gpu-0#1") == (False, False)
    assert after(track(("cpu-0#1", "gpu-0#1")), "cpu-0#1") == (True, False)
    for dead in (("cpu-0#1", "gpu-0#1"), ("gpu-0#1", "cpu-0#1")):
        assert after(track(("cpu-0#1", "gpu-0#1")), *dead) == (True, True)
    on = track(("cpu-0#1", "gpu-0#1"))
    on.died("gpu-0#1")
    assert on.sent_on("cpu-0#1", "gpu-1#1")
    assert after(on, "cpu-0#1") == (True, False)
    late = Track[str](WAY)  # its last words are read after the news of its death
    late.died("cpu-0#1")
    assert late.sent_on("cpu-0#1", "")
    assert late.stranded


WORKERS = st.builds("{}-{}#1".format, st.sampled_from(["cpu", "gpu", "net", "web"]), st.integers(0, 2))


@given(st.lists(st.tuples(WORKERS, st.one_of(st.just(""), WORKERS))))
def test_whatever_strangers_say_only_those_who_were_named_move_a_call(said: list[tuple[str, str]]) -> None:
    """The rule once more, word for word: `trusted` is everybody whom the chain of names reaches."""
    on = Track[str](WAY)
    assert on.sent_on("cpu-0#1", "")
    trusted = {"cpu-0#1"}
    for worker, to in said:
        if on.standing(worker) in {Standing.HOLDS, Standing.NAMES}:
            assert worker in trusted
            if on.sent_on(worker, to):
                trusted.add(to)
        assert on.by in trusted
        assert on.at in trusted | {""}
