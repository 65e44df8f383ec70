from __future__ import annotations

from typing import NamedTuple

from ipc.flow.put_off import FIRST, LONGEST, TRIES, PutOff


class Call(NamedTuple):
    id: bytes


ONE, OTHER = Call(b"1"), Call(b"2")


def anybody(_call: Call) -> bool:
    return True


def test_a_call_is_tried_again_a_little_later_and_only_so_often() -> None:
    calls: PutOff[Call] = PutOff()
    time = 10.0
    for tries in range(TRIES):
        assert calls.add(ONE, time)
        wait = min(LONGEST, FIRST * 2**tries)
        assert calls.due(time + 0.9 * wait, anybody) == []
        time += wait
        assert calls.due(time, anybody) == [ONE]
        assert calls.due(time + 100, anybody) == []
    assert time < 20
    assert not calls.add(ONE, time)
    assert len(calls) == 0


def test_calls_are_put_off_each_for_itself_and_forgotten_when_nobody_waits() -> None:
    calls: PutOff[Call] = PutOff()
    calls.add(ONE, 10.0)
    calls.add(OTHER, 11.0)
    assert calls.due(10.5, anybody) == [ONE]
    assert calls.due(12.0, lambda call: call is ONE) == []
    assert len(calls) == 1
    assert calls.due(12.0, lambda _call: False) == []
    assert len(calls) == 0
