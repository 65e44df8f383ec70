"""On a stream exactly the next number is new; elsewhere each is, once, that is not too far behind the newest."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ipc.wire.frame import Refusal
from ipc.wire.replay import LAST, BitmapWindow, StrictCounter


@given(st.lists(st.integers(0, 12), max_size=60))
def test_each_number_is_accepted_once_and_in_order(offered: list[int]) -> None:
    """Against somebody who remembers everything."""
    counter, accepted = StrictCounter(), []
    for number in offered:
        reason = counter.check(number)
        assert counter.check(number) is reason  # looking changes nothing
        if number in accepted:
            assert reason is Refusal.REPLAY
        elif number == len(accepted):
            assert reason is None
            counter.commit(number)
            accepted.append(number)
        else:
            assert reason is Refusal.GAP
    assert accepted == list(range(len(accepted)))


def test_numbers_end() -> None:
    counter = StrictCounter()
    counter.commit(LAST - 2)
    assert counter.check(LAST - 1) is None
    counter.commit(LAST - 1)
    assert counter.check(LAST) is Refusal.EXHAUSTED


@pytest.mark.parametrize("number", [-1, -LAST])
def test_nothing_comes_before_zero(number: int) -> None:
    assert StrictCounter().check(number) is not None
    assert BitmapWindow(64).check(number) is not None


class Elephant:
    """Remembers every number for ever."""

    def __init__(self, size: int) -> None:
        self.size, self.seen = size, set[int]()

    def check(self, number: int) -> Refusal | None:
        if number < max(self.seen, default=0) - self.size:
            return Refusal.TOO_OLD
        return Refusal.REPLAY if number in self.seen else None


STEPS = st.one_of(
    st.integers(-300, 300),  # around the newest
    st.integers(-7, 7).map(lambda words: 64 * words),  # on the same bits again and again
    st.sampled_from([-193, -191, -129, -127, -65, -63, 63, 65, 127, 129, 191, 193]),
    st.integers(-(10**6), 10**6),
)


@given(st.sampled_from([64, 65, 128, 192]), st.lists(st.tuples(STEPS, st.booleans()), max_size=80))
@example(64, [(0, True), (64, True), (-64, True), (1, True), (-65, True)])
@example(64, [(0, True), (65, True), (64, True), (-1, True)])  # the ring has come round to the bit of 0
@example(64, [(0, True), (129, True), (-1, True)])
def test_the_window_agrees_with_somebody_who_remembers_everything(size: int, moves: list[tuple[int, bool]]) -> None:
    """Numbers are offered around the newest; some turn out to be forged, and leave no mark."""
    window, elephant = BitmapWindow(size), Elephant(-(-size // 64) * 64)
    for step, authentic in moves:
        number = max(0, max(elephant.seen, default=0) + step)
        reason = window.check(number)
        assert reason is elephant.check(number)
        assert window.check(number) is reason  # looking changes nothing
        if reason is None and authentic:
            window.commit(number)
            elephant.seen.add(number)
            assert window.check(number) is Refusal.REPLAY


@given(st.lists(st.integers(0, LAST + 3), max_size=60))
def test_the_window_never_says_yes_twice(numbers: list[int]) -> None:
    window, accepted = BitmapWindow(64), []
    for number in numbers + numbers:
        if window.check(number) is None:
            window.commit(number)
            accepted.append(number)
    assert len(accepted) == len(set(accepted))
    assert max(accepted, default=0) < LAST


@given(st.permutations(range(150)))
def test_in_whatever_order_they_come_each_is_new_once(order: list[int]) -> None:
    window = BitmapWindow(150)
    for number in order:
        assert window.check(number) is None
        window.commit(number)
    assert {window.check(number) for number in order} == {Refusal.REPLAY}


@pytest.mark.parametrize("size", [63, 1, 0, -1, -64])
def test_a_window_cannot_be_switched_off(size: int) -> None:
    with pytest.raises(ValueError, match="at least 64"):
        BitmapWindow(size)


def test_a_window_takes_a_bit_a_counter() -> None:
    window = BitmapWindow(100_000)
    window.commit(10**12)
    assert 12_500 <= len(window._words) * window._words.itemsize < 12_600


# The self-test of WireGuard's counter, its numbers taken over. `W` is its window, `END` the number from which on it
# refuses every frame; ours is another number, and the cases are about what happens beside it.
W = 8128
LIM = W + 1
END = LAST
SEQUENCE = [
    (0, True), (1, True), (1, False), (9, True), (8, True), (7, True), (7, False),
    (LIM, True), (LIM - 1, True), (LIM - 1, False), (LIM - 2, True),
    (2, True), (2, False), (LIM + 16, True), (3, False), (LIM + 16, False),
    (LIM * 4, True), (LIM * 4 - (LIM - 1), True), (10, False), (LIM * 4 - LIM, False),
    (LIM * 4 - (LIM + 1), False), (LIM * 4 - (LIM - 2), True), (LIM * 4 + 1 - LIM, False), (0, False),
    (END, False), (END - 1, True), (END, False), (END - 1, False), (END - 2, True),
    (END + 1, False), (END + 2, False), (END - 2, False), (END - 3, True), (0, False),
]  # fmt: skip
SWEEPS = {
    "up, then the one before": ([*range(1, W + 1)], [(0, True), (0, False)]),
    "up to the edge, and one too many": ([*range(2, W + 2)], [(1, True), (0, False)]),
    "down to the last that fits": ([*range(W, -1, -1)], []),
    "down, and one too many": ([*range(W + 1, 0, -1)], [(0, False)]),
    "down, then ahead": ([*range(W, 0, -1)], [(W + 1, True), (0, False)]),
    "down, then both": ([*range(W, 0, -1)], [(0, True), (W + 1, True)]),
}


def accepts(window: BitmapWindow, number: int) -> bool:
    if window.check(number) is not None:
        return False
    window.commit(number)
    return True


def test_the_sequence_of_wireguard() -> None:
    window = BitmapWindow(W)
    assert len(SEQUENCE) == 34
    for case, (number, new) in enumerate(SEQUENCE, 1):
        assert accepts(window, number) is new, f"case {case}: {number}"


@pytest.mark.parametrize("sweep", SWEEPS)
def test_the_sweeps_of_wireguard(sweep: str) -> None:
    window = BitmapWindow(W)
    new, after = SWEEPS[sweep]
    assert all(accepts(window, number) for number in new)
    assert [accepts(window, number) for number, _ in after] == [answer for _, answer in after]
