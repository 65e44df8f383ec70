"""One web worker's view of a group: who gets which call, and that no call is lost in between."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.errors import Busy, Expired, Rejected
from ipc.flow.dispatch import DOUBTS, Dispatch, Seat, Send
from ipc.priority import HIGH, LOW, NORMAL


@dataclass(eq=False)
class Call:
    size: int = 1
    left: bool = False
    priority: int = NORMAL
    node: str = "render"
    deadline: float = float("inf")
    sent: float = 0.0
    refused: list[Rejected] = field(default_factory=list)


NOW = 0.0
"""Where time does not matter: for who gets which call."""


def dispatch(max_calls: int = 100, max_bytes: int = 1000) -> Dispatch[Call]:
    return Dispatch(random.Random(7), max_calls, max_bytes, lambda call, error: call.refused.append(error))


def group(count: int, max_calls: int = 100, max_bytes: int = 1000) -> tuple[Dispatch[Call], list[Seat]]:
    made = dispatch(max_calls, max_bytes)
    return made, [made.up(f"cpu-{number}#1", NOW)[0] for number in range(count)]


def test_a_free_worker_gets_the_call_at_once() -> None:
    made, (seat,) = group(1)
    call = Call()
    assert made.submit(call, NOW) == Send(seat, call, last_resort=True)
    assert (seat.outstanding, made.waiting) == (1, 0)


def test_every_free_worker_gets_one_and_only_the_last_is_told_that_it_is() -> None:
    made, seats = group(3)
    sends = [made.submit(Call(), NOW) for _ in range(3)]
    assert {send.seat for send in sends} == set(seats)
    assert [send.last_resort for send in sends] == [False, False, True]
    assert made.submit(Call(), NOW) is None
    assert made.waiting == 1


def test_what_waits_goes_in_the_order_it_came() -> None:
    made, (seat,) = group(1)
    made.submit(Call(), NOW)
    calls = [Call() for _ in range(3)]
    for call in calls:
        made.submit(call, NOW)
    got = []
    for _ in range(3):
        (send,) = made.answered(seat, 1, None, NOW)
        got.append(send.call)
    assert got == calls
    assert made.answered(seat, 1, None, NOW) == []
    assert made.waiting == made.waiting_bytes == 0


def test_both_bounds_hold_and_refuse_without_a_trace() -> None:
    made, _ = group(1, max_calls=3, max_bytes=100)
    made.submit(Call(10_000), NOW)  # sent at once, so it does not wait
    made.submit(Call(99), NOW)
    with pytest.raises(Busy):
        made.submit(Call(2), NOW)
    made.submit(Call(1), NOW)
    made.submit(Call(0), NOW)
    with pytest.raises(Busy):
        made.submit(Call(0), NOW)
    assert (made.waiting, made.waiting_bytes) == (3, 100)


def test_who_gave_a_call_back_is_not_asked_again_before_it_is_ready() -> None:
    made, (seat,) = group(1)
    call = Call()
    made.submit(call, NOW)
    assert made.given_back(seat, call, NOW) == []
    assert made.submit(Call(), NOW) is None
    send = made.offered(seat, NOW)
    assert send == Send(seat, call, last_resort=False)
    assert made.waiting == 1


def test_a_call_given_back_goes_to_who_is_free_and_in_front_of_others() -> None:
    made, (one, two) = group(2)
    first, second = made.submit(Call(), NOW), made.submit(Call(), NOW)
    third = Call()
    made.submit(third, NOW)
    assert made.given_back(first.seat, first.call, NOW) == []
    (send,) = made.answered(second.seat, 1, None, NOW)
    assert (send.seat, send.call) == (second.seat, first.call)
    assert {one, two} == {first.seat, second.seat}
    (send,) = made.answered(second.seat, 1, None, NOW)
    assert send.call is third


def test_a_call_that_left_is_given_back_to_nobody() -> None:
    made, (seat,) = group(1)
    made.submit(Call(), NOW)
    assert made.given_back(seat, None, NOW) == []
    assert made.waiting == 0
    assert made.offered(seat, NOW) is None
    assert made.submit(Call(), NOW) is not None


def test_ready_without_need_makes_the_worker_free() -> None:
    made, (seat,) = group(1)
    call = Call()
    made.submit(call, NOW)
    made.given_back(seat, call, NOW)
    made.withdraw(call)
    assert made.offered(seat, NOW) is None
    assert made.submit(Call(), NOW).seat is seat


def test_room_for_more_is_filled_at_the_emptiest_worker() -> None:
    made, (one, two) = group(2)
    sends = [made.submit(Call(), NOW), made.submit(Call(), NOW)]
    assert made.submit(Call(), NOW) is None
    (more,) = made.answered(one, 3, None, NOW)
    assert more.seat is one
    assert [made.submit(Call(), NOW).seat for _ in range(2)] == [one, one]
    assert made.submit(Call(), NOW) is None
    assert one.outstanding == 3
    (more,) = made.answered(two, 3, None, NOW)
    assert more.seat is two
    assert made.submit(Call(), NOW).seat is two
    assert {send.seat for send in sends} == {one, two}


def test_an_answer_says_that_a_worker_is_not_busy_any_more() -> None:
    made, (seat,) = group(1)
    made.submit(Call(), NOW)
    made.answered(seat, 2, None, NOW)
    sends = [made.submit(Call(), NOW), made.submit(Call(), NOW)]
    made.given_back(seat, sends[1].call, NOW)
    assert seat.blocked
    (send,) = made.answered(seat, 1, None, NOW)
    assert (send.seat, send.call, seat.blocked) == (seat, sends[1].call, False)


def test_room_goes_with_the_worker_that_had_it() -> None:
    made, (one, two) = group(2)
    made.submit(Call(), NOW)
    made.submit(Call(), NOW)
    made.answered(one, 5, None, NOW)
    made.down(one)
    assert made._deep == 0
    assert made.submit(Call(), NOW) is None
    assert two.outstanding == 1


def test_a_withdrawn_call_is_never_sent() -> None:
    made, (seat,) = group(1)
    made.submit(Call(), NOW)
    gone, stays = Call(5), Call(7)
    made.submit(gone, NOW)
    made.submit(stays, NOW)
    made.withdraw(gone)
    assert (made.waiting, made.waiting_bytes) == (1, 7)
    (send,) = made.answered(seat, 1, None, NOW)
    assert send.call is stays


def test_what_left_does_not_pile_up() -> None:
    made, _ = group(1, max_calls=10)
    made.submit(Call(), NOW)
    for _ in range(1000):
        call = Call()
        made.submit(call, NOW)
        made.withdraw(call)
    assert len(made._line._classes[NORMAL].queue) < 100
    assert made.waiting == 0


def test_evicting_leaves_an_empty_queue() -> None:
    made = dispatch()
    calls = [Call(), Call(), Call()]
    for call in calls:
        made.submit(call, NOW)
    made.withdraw(calls[1])
    assert made.evict() == [calls[0], calls[2]]
    assert (made.waiting, made.waiting_bytes) == (0, 0)
    _, sends = made.up("cpu-0#1", NOW)
    assert sends == []


def test_a_worker_that_comes_up_is_given_what_waits() -> None:
    made = dispatch()
    call = Call()
    assert made.submit(call, NOW) is None
    seat, (send,) = made.up("cpu-0#1", NOW)
    assert (send.seat, send.call, send.last_resort) == (seat, call, True)


def test_a_worker_that_is_down_gets_nothing_and_may_still_answer() -> None:
    made, (one, two) = group(2)
    made.submit(Call(), NOW)
    made.submit(Call(), NOW)
    made.down(one)
    waiting = Call()
    assert made.submit(waiting, NOW) is None
    assert made.answered(one, 9, None, NOW) == []
    assert one.outstanding == 0
    assert made.offered(one, NOW) is None
    made.down(one)
    assert made.seats == (two,)
    (send,) = made.answered(two, 1, None, NOW)
    assert (send.seat, send.call) == (two, waiting)


def test_a_worker_that_is_down_may_still_give_back() -> None:
    made, (one, two) = group(2)
    sends = {send.seat: send.call for send in (made.submit(Call(), NOW), made.submit(Call(), NOW))}
    made.down(one)
    assert made.given_back(one, sends[one], NOW) == []
    (send,) = made.answered(two, 1, None, NOW)
    assert send.call is sends[one]
    assert made.given_back(two, None, NOW) == []


def test_a_successor_of_the_same_name_is_somebody_else() -> None:
    made, (old,) = group(1)
    made.submit(Call(), NOW)
    made.down(old)
    new, _ = made.up(old.name, NOW)
    assert made.answered(old, 5, None, NOW) == []
    assert (old.outstanding, new.outstanding) == (0, 0)
    made.down(old)
    assert made.seats == (new,)
    assert made.submit(Call(), NOW).seat is new


def test_silence_is_doubted_and_then_ended() -> None:
    made, (seat,) = group(1)
    call = Call()
    made.submit(call, NOW)
    made.given_back(seat, call, NOW)
    for _ in range(DOUBTS - 1):
        assert made.doubt(NOW) == []
    (send,) = made.doubt(NOW)
    assert (send.seat, send.call) == (seat, call)
    assert made.doubt(NOW) == []


def busy(runs: float, count: int = 40, priority: int = NORMAL) -> tuple[Dispatch[Call], Seat, float]:
    """One worker that has answered `count` calls of `runs` seconds while others waited, and has one more now."""
    made, (seat,) = group(1)
    now = 0.0
    made.submit(Call(priority=priority), now)
    for _ in range(count):
        made.submit(Call(priority=priority), now)
    running = Call()
    for _ in range(count):
        now += runs
        (send,) = made.answered(seat, 1, running, now)
        running = send.call
        running.sent = now
    assert made.waiting == 0
    return made, seat, now


def test_who_would_wait_longer_than_it_has_time_is_refused_at_once_and_told_how_long() -> None:
    made, _, now = busy(0.1)
    made.submit(Call(), now)
    made.submit(Call(deadline=now + 0.4), now)
    with pytest.raises(Busy) as refused:
        made.submit(Call(deadline=now + 0.4), now)
    assert refused.value.retry_after == pytest.approx(0.3)
    made.submit(Call(deadline=now + 0.6), now)
    assert made.waiting == 3


def test_a_line_that_would_be_too_long_takes_nobody_however_much_time_they_have() -> None:
    made, _, now = busy(0.1)
    made._entry._max_wait = 0.35
    for _ in range(3):
        made.submit(Call(), now)
    with pytest.raises(Busy):
        made.submit(Call(), now)


@pytest.mark.parametrize("left", [False, True])
def test_calls_that_were_ended_early_do_not_make_the_node_look_quick(left: bool) -> None:
    """Or somebody with no time could make the others' calls start too late."""
    made, seat, now = busy(1.0)
    running = Call()
    for _ in range(30):
        made.submit(Call(), now)
    for _ in range(30):
        running.sent, running.left, running.deadline = now, left, float("inf") if left else now + 0.01
        now += 0.01
        (send,) = made.answered(seat, 1, running, now)
        running = send.call
    late, fine = Call(deadline=now + 0.5), Call()
    made.submit(late, now)
    made.submit(fine, now)
    (send,) = made.answered(seat, 1, None, now)
    assert send.call is fine
    assert [type(error) for error in late.refused] == [Expired]


def test_one_may_always_wait_so_that_nobody_is_refused_for_ever() -> None:
    made, seat, now = busy(0.1)
    late = Call(deadline=now + 0.11)
    assert made.submit(late, now) is None
    (send,) = made.answered(seat, 1, Call(sent=now - 0.1), now + 0.001)
    assert send.call is late


def test_who_cannot_be_done_in_time_makes_place_for_who_can() -> None:
    made, seat, now = busy(0.1)
    late, fine = Call(deadline=now + 0.15), Call(deadline=now + 5)
    made.submit(late, now)
    made.submit(fine, now)
    (send,) = made.answered(seat, 1, Call(sent=now), now + 0.1)
    assert send.call is fine
    assert [type(error) for error in late.refused] == [Expired]
    assert made.waiting == 0


def test_who_waits_in_vain_is_told_when_the_next_one_comes() -> None:
    made, _, now = busy(0.1)
    late = Call(deadline=now + 0.15)
    made.submit(late, now)
    assert made.submit(Call(deadline=now + 1), now + 0.1) is None
    assert [type(error) for error in late.refused] == [Expired]
    assert made.waiting == 1


def test_a_worker_that_is_free_gets_a_call_however_little_time_it_has() -> None:
    made, seat, now = busy(0.1)
    made.answered(seat, 1, Call(sent=now), now + 0.1)
    assert made.submit(Call(deadline=now + 0.1001), now + 0.1) is not None


def test_while_no_worker_is_up_nobody_knows_how_long_it_will_take() -> None:
    made, seat, now = busy(0.1)
    made.down(seat)
    for _ in range(10):
        assert made.submit(Call(deadline=now + 0.5), now + 0.2) is None
    assert made.waiting == 10


def test_what_is_known_of_one_node_says_nothing_about_another() -> None:
    made, seat, now = busy(0.1)
    short = Call(node="other", deadline=now + 0.15)
    made.submit(short, now)
    (send,) = made.answered(seat, 1, Call(sent=now), now + 0.1)
    assert send.call is short


def test_a_full_queue_makes_room_for_a_higher_class() -> None:
    made, _ = group(1, max_calls=2)
    made.submit(Call(), NOW)
    old, young = Call(priority=LOW), Call(priority=LOW)
    for call in (old, young):
        made.submit(call, NOW)
    made.submit(Call(priority=HIGH), NOW)
    assert [type(error) for error in young.refused] == [Busy]
    assert old.refused == []
    with pytest.raises(Busy):
        made.submit(Call(priority=LOW), NOW)
    assert made.waiting == 2


def test_a_higher_class_goes_first_and_what_is_given_back_goes_before_its_own() -> None:
    made, (seat,) = group(1)
    first = made.submit(Call(), NOW).call
    waiting = [Call(), Call(priority=HIGH)]
    for call in waiting:
        made.submit(call, NOW)
    made.given_back(seat, first, NOW)
    order = [made.offered(seat, NOW).call] + [made.answered(seat, 1, None, NOW)[0].call for _ in range(2)]
    assert order == [waiting[1], first, waiting[0]]


class Ledger:
    """The workers' side, and everything that must be true."""

    def __init__(self, max_calls: int) -> None:
        self.made = Dispatch(random.Random(7), max_calls, 50, self.turned_away)
        self.now = 0.0
        self.max_calls = max_calls
        self.calls: list[Call] = []
        self.where: dict[Call, Seat] = {}
        self.over: set[Call] = set()
        self.seats: list[Seat] = []
        self.up_now: list[Seat] = []
        self.names = 0

    def turned_away(self, call: Call, error: Rejected) -> None:
        assert call in self.calls
        assert call not in self.where
        assert call not in self.over
        call.refused.append(error)
        self.over.add(call)

    def later(self, seconds: float) -> None:
        self.now += seconds

    def sent(self, sends: list[Send[Call]], offered: Seat | None = None) -> None:
        for seat, call, _ in sends:
            assert call not in self.where, "sent while it is elsewhere"
            assert call not in self.over
            assert not call.left
            assert call.deadline > self.now
            call.sent = self.now
            assert seat in self.up_now
            assert seat is offered or seat.outstanding <= seat.room
            assert seat is offered or not seat.blocked
            self.where[call] = seat

    def at(self, seat: Seat) -> list[Call]:
        return [call for call, where in self.where.items() if where is seat]

    def waiting(self) -> list[Call]:
        return [call for call in self.calls if call not in self.where and call not in self.over]

    def submit(self, size: int, priority: int = NORMAL, patience: float = float("inf")) -> None:
        call = Call(size, priority=priority, deadline=self.now + patience)
        try:
            send = self.made.submit(call, self.now)
        except Busy:
            full = self.made.waiting >= self.max_calls or self.made.waiting_bytes + size > 50
            assert full or any(other.priority == priority for other in self.waiting())
            assert full or patience < float("inf")
            return
        self.calls.append(call)
        self.sent([send] if send else [])

    def withdraw(self, index: int) -> None:
        if waiting := self.waiting():
            call = waiting[index % len(waiting)]
            self.made.withdraw(call)
            self.over.add(call)

    def pick(self, index: int) -> tuple[Seat, Call] | None:
        if not self.where:
            return None
        call = list(self.where)[index % len(self.where)]
        return self.where.pop(call), call

    def answer(self, index: int, room: int) -> None:
        if (found := self.pick(index)) is not None:
            seat, call = found
            self.over.add(call)
            self.sent(self.made.answered(seat, room, call, self.now))

    def give_back(self, index: int, left: bool) -> None:
        if (found := self.pick(index)) is not None:
            seat, call = found
            if left:
                self.over.add(call)
            self.sent(self.made.given_back(seat, None if left else call, self.now))

    def offer(self, index: int) -> None:
        if self.seats:
            seat = self.seats[index % len(self.seats)]
            send = self.made.offered(seat, self.now)
            self.sent([send] if send else [], seat)

    def up(self) -> None:
        self.names += 1
        seat, sends = self.made.up(f"cpu-{self.names}#1", self.now)
        self.seats.append(seat)
        self.up_now.append(seat)
        self.sent(sends)

    def down(self, index: int, ends: bool) -> None:
        if self.up_now:
            seat = self.up_now.pop(index % len(self.up_now))
            self.made.down(seat)
            if ends:
                for call in self.at(seat):
                    del self.where[call]
                    self.over.add(call)

    def doubt(self) -> None:
        self.sent(self.made.doubt(self.now))

    def evict(self) -> None:
        calls = self.made.evict()
        assert set(calls) == set(self.waiting())
        self.over.update(calls)

    def check(self) -> None:
        waiting = self.waiting()
        assert self.made.waiting == len(waiting)
        assert self.made.waiting_bytes == sum(call.size for call in waiting)
        assert set(self.made.seats) == set(self.up_now)
        for seat in self.up_now:
            assert seat.outstanding == len(self.at(seat)) >= 0
            assert seat.room >= 1
            idle = seat.index >= 0
            assert not idle or self.made._idle[seat.index] is seat
            assert idle == (not seat.outstanding and not seat.blocked)
            if waiting:
                assert seat.blocked or seat.outstanding >= seat.room, "a call waits and this worker is free"
        assert len(self.made._idle) == sum(seat.index >= 0 for seat in self.up_now)
        assert self.made._deep == sum(seat.room > 1 for seat in self.up_now)


INDEX = st.integers(0, 7)
STEPS = st.one_of(
    st.tuples(st.just("submit"), st.integers(0, 20)),
    st.tuples(st.just("submit"), st.integers(0, 3), st.sampled_from([HIGH, LOW]), st.sampled_from([0.5, 5.0])),
    st.tuples(st.just("later"), st.sampled_from([0.01, 0.3])),
    st.tuples(st.just("withdraw"), INDEX),
    st.tuples(st.just("answer"), INDEX, st.sampled_from([1, 1, 2, 5])),
    st.tuples(st.just("give_back"), INDEX, st.booleans()),
    st.tuples(st.just("offer"), INDEX),
    st.tuples(st.just("up")),
    st.tuples(st.just("down"), INDEX, st.booleans()),
    st.tuples(st.just("doubt")),
    st.tuples(st.just("evict")),
)


@given(st.integers(0, 3), st.lists(STEPS, max_size=80))
def test_whatever_happens_the_books_are_right_and_no_worker_is_free_while_a_call_waits(
    workers: int, steps: list[tuple]
) -> None:
    ledger = Ledger(max_calls=6)
    for _ in range(workers):
        ledger.up()
    for name, *args in steps:
        getattr(ledger, name)(*args)
        ledger.check()
