"""What became of calls whose worker is gone."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from ipc.flow.fate import FORGET_AFTER, PATIENCE, REMEMBERED, Fate, Fates
from ipc.messages.lifeline import Ended


@dataclass
class Call:
    id: bytes
    sent: float = 10.0


ONE, TWO = Call(b"1" * 16), Call(b"2" * 16)


def test_it_waits_until_the_supervisor_has_spoken() -> None:
    fates: Fates[Call] = Fates()
    assert fates.lost("cpu-0#1", [ONE, TWO], 100.0) == []
    assert fates.ended(Ended("cpu-1#2", (), 0.0), 100.0) == []
    told = fates.ended(Ended("cpu-0#1", (ONE.id,), 0.0), 100.0)
    assert [(call, fate) for call, fate in told] == [(ONE, Fate.BEGUN), (TWO, Fate.NOT_BEGUN)]
    assert len(fates) == 0


def test_it_knows_at_once_what_it_was_told_before() -> None:
    fates: Fates[Call] = Fates()
    fates.ended(Ended("cpu-0#1", (ONE.id, TWO.id), 0.0, (TWO.id,)), 100.0)
    assert [fate for _, fate in fates.lost("cpu-0#1", [ONE, TWO], 100.0)] == [Fate.BEGUN, Fate.SUSPECT]


def test_what_is_older_than_the_ledger_is_unknown() -> None:
    fates: Fates[Call] = Fates()
    fates.ended(Ended("cpu-0#1", (), 10.0), 100.0)
    assert [fate for _, fate in fates.lost("cpu-0#1", [ONE], 100.0)] == [Fate.UNKNOWN]
    assert [fate for _, fate in fates.lost("cpu-0#1", [Call(ONE.id, 10.1)], 100.0)] == [Fate.NOT_BEGUN]


def test_nobody_waits_for_ever() -> None:
    fates: Fates[Call] = Fates()
    fates.lost("cpu-0#1", [ONE], 100.0)
    fates.lost("cpu-0#1", [TWO], 100.0 + PATIENCE)
    assert fates.overdue(100.0 + PATIENCE) == []
    assert [(call, fate) for call, fate in fates.overdue(100.1 + PATIENCE)] == [(ONE, Fate.UNKNOWN)]
    assert [call for call, _ in fates.ended(Ended("cpu-0#1", (), 0.0), 100.0)] == [TWO]


def test_deaths_are_remembered_for_a_while_and_not_for_ever() -> None:
    fates: Fates[Call] = Fates()
    for number in range(REMEMBERED + 1):
        fates.ended(Ended(f"cpu-0#{number}", (), 0.0), 100.0)
    assert fates.lost("cpu-0#0", [ONE], 100.0) == []
    assert len(fates.lost("cpu-0#1", [ONE], 100.0)) == 1
    assert len(fates.lost("cpu-0#2", [ONE], 100.0 + FORGET_AFTER)) == 1
    assert fates.lost("cpu-0#3", [ONE], 100.1 + FORGET_AFTER) == []


@given(st.lists(st.tuples(st.sampled_from(["lose", "end", "wait"]), st.integers(0, 3), st.integers(0, 5)), max_size=30))
def test_each_call_is_told_once(moves: list[tuple[str, int, int]]) -> None:
    fates: Fates[Call] = Fates()
    now, lost, told = 100.0, 0, []
    for what, server, count in moves:
        if what == "lose":
            told += fates.lost(f"cpu-{server}#1", [Call(bytes([n])) for n in range(count)], now)
            lost += count
        elif what == "end":
            told += fates.ended(Ended(f"cpu-{server}#1", (), 0.0), now)
        else:
            now += count / 5
            told += fates.overdue(now)
    told += fates.overdue(now + 10)
    assert len(told) == lost
    assert len(fates) == 0
