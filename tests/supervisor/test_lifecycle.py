"""The life of one worker, told every story there is; the world around it is played here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.ending import LEFT
from supervisor.life import (
    RUNNING,
    TIMED,
    Action,
    Broke,
    Child,
    Condemned,
    Drain,
    Drained,
    Dump,
    Event,
    Exited,
    Greet,
    Hardened,
    Kill,
    Lost,
    Overran,
    Ready,
    SetTimer,
    Spawn,
    Spec,
    Start,
    State,
    Stop,
    TakeAlong,
    TakenAlong,
    TimerRang,
)
from supervisor.lifecycle import DUMP_TIME, HELD, LATE_DUMP_TIME, LEAVE_TIMEOUT, MAX_PATIENCE, step
from supervisor.policy import RestartPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervisor.policy import Strategy


class World:
    """Plays the outside of one child: at most one process, at most one timer."""

    def __init__(self, spec: Spec | None = None) -> None:
        self.child = Child(spec or Spec())
        self.now = 0.0
        self.alive = self.greeted = False
        self.rings: float | None = None
        self.spawned = self.killed = self.dumped = 0
        self.grace = 0.0
        self.along: list[TakeAlong] = []

    def happen(self, event: Event) -> None:
        before = self.child.state
        if isinstance(event, Exited):
            self.alive = self.greeted = False
        if isinstance(event, TimerRang):
            self.rings = None
        self.child, actions = step(self.child, event, self.now)
        for action in actions:
            self.act(action, event)
        state = self.child.state
        assert self.alive == (state in RUNNING)
        assert before is not State.KILLING or (state is State.KILLING) == (not isinstance(event, Exited))
        assert (self.rings is not None) == (state in TIMED)
        assert self.greeted <= self.child.hardened
        assert (self.child.up_since is not None) <= (state in RUNNING - {State.STARTING})
        assert self.child.wanted or state not in {State.WAITING, State.FAILED, State.UP, State.STARTING}

    def act(self, action: Action, event: Event) -> None:
        match action:
            case Spawn():
                assert not self.alive, "two processes under one name"
                self.alive = True
                self.spawned += 1
            case Greet():
                assert self.alive
                assert not self.greeted, "secrets were sent twice"
                self.greeted = True
            case Kill():
                assert self.alive
                self.killed += 1
            case Drain(grace):
                assert self.alive
                self.grace = grace
            case Dump():
                assert self.alive
                self.dumped += 1
            case TakeAlong():
                assert isinstance(event, Exited)
                self.along.append(action)
            case SetTimer(seconds):
                self.rings = None if seconds is None else self.now + seconds

    def ring(self, calls: float = 0.0) -> None:
        """Let time pass until the timer rings."""
        assert self.rings is not None
        self.now = self.rings
        self.happen(TimerRang(calls=calls))

    def come_up(self) -> None:
        for event in (Start(), Hardened(), Ready()):
            self.happen(event)
        assert self.child.state is State.UP

    def possible(self) -> Iterator[Event]:
        yield from (Start(), Stop(), Stop(calls=5.0), Stop(force=True))
        yield from (TakenAlong("ended with cpu-1#1", self.now + 5.0, 2), TakenAlong("ended with cpu-1#1", None, 4))
        if self.alive:
            yield from (Hardened(), Ready(), Broke("no"), Drained(), Lost("hung up"), Exited("died"))
            yield from (Overran("a call does not end"), Condemned("too fat"), Exited("died", busy=True))
        if self.rings is not None:
            yield from (TimerRang(), TimerRang(recovered=True), TimerRang(calls=9.0), TimerRang(held=True))


ALL = (
    *(Start(), Stop(), Stop(calls=5.0), Stop(force=True), Hardened(), Ready(), Broke("no"), Drained(), Lost("hung up")),
    *(Condemned("too fat"), Overran("a call"), Exited("died"), Exited("died", busy=True), TakenAlong("x", 9.0, 2)),
    *(TakenAlong("x", None, 4), TimerRang(), TimerRang(recovered=True), TimerRang(calls=9.0), TimerRang(held=True)),
)
STORIES = st.lists(st.integers(0, 99), max_size=80)


def told(story: list[int]) -> World:
    world = World(Spec(policy=RestartPolicy(limit=3)))
    for pick in story:
        options = list(world.possible())
        event = options[pick % len(options)]
        world.now = world.rings if isinstance(event, TimerRang) and world.rings else world.now + 1.0
        world.happen(event)
    return world


@given(st.sampled_from(["one_for_one", "one_for_all"]), st.lists(st.sampled_from(ALL), max_size=60))
def test_whatever_comes_in_whatever_order_stop_and_its_end_leave_nothing(
    strategy: Strategy, events: list[Event]
) -> None:
    """Also what cannot come, for whoever tells it may err: of a process or a timer that is gone."""
    world = World(Spec(policy=RestartPolicy(limit=3, strategy=strategy)))
    for event in events:
        world.now += 1.0
        if isinstance(event, Exited) and not world.alive:
            assert step(world.child, event, world.now) == (world.child, ())
        else:
            world.happen(event)
            if world.rings is None and world.child.state in TIMED:
                raise AssertionError("nothing would ever end this")
    world.happen(Stop())
    if world.alive:
        world.happen(Exited("exited with code 0"))
    assert (world.child.state, world.rings, world.alive) == (State.DOWN, None, False)


@given(STORIES)
def test_whatever_happened_stop_ends_it(story: list[int]) -> None:
    world = told(story)
    world.happen(Stop())
    if world.rings is not None:
        world.ring()
    if world.alive:
        world.happen(Exited("killed"))
    assert world.child.state is State.DOWN


@given(STORIES)
def test_whatever_happened_force_needs_no_timer(story: list[int]) -> None:
    world = told(story)
    alive, killed, was = world.alive, world.killed, world.child.state
    world.happen(Stop(force=True))
    assert world.child.state is (State.KILLING if alive else State.DOWN)
    assert world.killed - killed == (alive and was is not State.KILLING)
    assert world.rings is None


@given(STORIES)
def test_whatever_happened_it_can_come_up_again(story: list[int]) -> None:
    world = told(story)
    world.happen(Stop(force=True))
    if world.alive:
        world.happen(Exited("killed"))
    world.come_up()
    assert world.greeted


@given(st.floats(0.1, 100), st.integers(0, 8), st.booleans())
def test_a_child_that_hangs_at_start_is_given_up(timeout: float, limit: int, was_well_once: bool) -> None:
    world = World(Spec(start_timeout=timeout, policy=RestartPolicy(limit=limit)))
    if was_well_once and limit:
        world.come_up()
        world.now += 1000.0
        world.happen(Exited("died"))
        world.ring()
    else:
        world.happen(Start())
    for _ in range(limit + 1):
        world.ring()
        assert world.child.state is State.KILLING
        world.happen(Exited("killed by SIGKILL"))
        assert "did not become ready" in world.child.reason
        if world.child.state is State.FAILED:
            return
        world.ring()
    raise AssertionError("restarted for ever")


def test_a_child_that_dies_soon_after_ready_is_given_up() -> None:
    world = World(Spec(policy=RestartPolicy(limit=3)))
    world.happen(Start())
    while world.child.state is not State.FAILED:
        world.happen(Hardened())
        world.happen(Ready())
        world.now += 1.0
        world.happen(Exited("exited with code 1"))
        if world.child.state is State.WAITING:
            world.ring()
    assert world.spawned == 4
    world.happen(Start())
    assert world.child.state is State.STARTING


def test_a_child_that_broke_tells_why_and_is_tried_again() -> None:
    world = World()
    world.happen(Start())
    world.happen(Hardened())
    world.happen(Broke("ModuleNotFoundError: no module named 'shop'", "Traceback ..."))
    world.happen(Ready())
    assert world.child.state is State.STARTING
    assert world.rings == LEAVE_TIMEOUT
    world.happen(Exited("exited with code 1"))
    assert world.child.state is State.WAITING
    assert world.child.reason == "ModuleNotFoundError: no module named 'shop'"
    assert world.child.traceback == "Traceback ..."
    assert world.child.incurable
    world.ring()
    world.happen(Exited("killed by SIGSEGV"))
    assert (world.child.reason, world.child.traceback) == ("killed by SIGSEGV", "")
    assert not world.child.incurable


def test_a_broken_child_that_stays_is_killed_and_keeps_its_reason() -> None:
    world = World()
    world.happen(Start())
    world.happen(Broke("no"))
    world.ring()
    assert world.child.state is State.KILLING
    world.happen(Exited("killed by SIGKILL"))
    assert world.child.reason == "no"


def test_secrets_are_not_sent_and_readiness_not_believed_before_it_is_hardened() -> None:
    world = World()
    world.happen(Start())
    world.happen(Ready())
    assert world.child.state is State.KILLING
    assert not world.greeted


def test_leaving_by_its_own_word_is_no_crash() -> None:
    world = World(Spec(policy=RestartPolicy(limit=0)))
    world.come_up()
    for _ in range(5):
        world.happen(Drained())
        assert world.child.state is State.DRAINING
        world.happen(Exited("exited with code 0"))
        assert world.child.state is State.WAITING
        world.ring()
        world.happen(Hardened())
        world.happen(Ready())


def test_to_exit_without_a_word_is_a_crash_whatever_the_code() -> None:
    world = World(Spec(policy=RestartPolicy(limit=0)))
    world.come_up()
    world.happen(Exited("exited with code 0"))
    assert world.child.state is State.FAILED


def test_a_drain_that_takes_too_long_is_ended() -> None:
    world = World(Spec(drain_timeout=7.0))
    world.come_up()
    world.happen(Stop())
    assert world.rings is not None
    assert 7.0 < world.rings < 8.0
    world.ring()
    world.happen(Exited("killed by SIGKILL"))
    assert "7 s" in world.child.reason


def test_who_starts_or_drains_for_too_long_tells_where_it_stands_before_it_is_killed() -> None:
    for events, verdict in (
        ((Start(), Hardened()), "killed: did not become ready in 120 s"),
        ((Start(), Hardened(), Ready(), Stop()), "killed: had not finished after 30 s"),
    ):
        world = World()
        for event in events:
            world.happen(event)
        world.ring()
        assert (world.dumped, world.killed, world.rings) == (1, 0, world.now + LATE_DUMP_TIME)
        world.happen(Ready())
        assert world.child.state is not State.UP, "that is too late"
        world.ring()
        assert (world.dumped, world.killed) == (1, 1)
        assert world.child.verdict == verdict


def test_who_leaves_while_it_tells_why_it_is_late_was_not_killed() -> None:
    world = World()
    world.come_up()
    world.happen(Stop())
    world.ring()
    world.happen(Drained())
    world.happen(Exited("exited with code 0"))
    assert (world.killed, world.child.reason) == (0, "exited with code 0")


def test_who_is_not_hardened_yet_is_killed_unasked() -> None:
    world = World()
    world.happen(Start())
    world.ring()
    assert (world.dumped, world.killed) == (0, 1)


def test_who_hangs_has_more_time_to_tell_where_than_a_call_that_others_wait_for() -> None:
    world = World()
    world.come_up()
    world.happen(Overran("its event loop stood still for 11.0 s", hung=True))
    assert world.rings == world.now + LATE_DUMP_TIME


def test_a_draining_child_that_hangs_up_first_is_left_alone() -> None:
    world = World()
    world.come_up()
    world.happen(Stop())
    world.happen(Lost("hung up"))
    assert world.child.state is State.DRAINING


def test_who_has_taken_too_much_is_ended_wherever_it_stands() -> None:
    for events in ([Start()], [Start(), Hardened(), Ready()], [Start(), Hardened(), Ready(), Stop()]):
        world = World()
        for event in (*events, Condemned("900 MiB of memory")):
            world.happen(event)
        assert (world.child.state, world.killed) == (State.KILLING, 1)
        world.happen(Exited("killed by SIGKILL"))
        assert world.child.reason == "killed: 900 MiB of memory"


def drains(calls: float | None) -> World:
    """One that has been told to."""
    world = World(Spec(drain_timeout=7.0))
    world.come_up()
    world.happen(Stop(calls=calls))
    return world


def test_who_is_replaced_may_finish_its_calls_also_those_that_began_late() -> None:
    world = drains(3.0)
    assert world.rings is not None
    assert 7.0 < world.rings < 8.0
    world = drains(60.0)
    assert world.grace == 60.0
    world.ring(calls=20.0)
    assert world.child.state is State.DRAINING
    assert world.rings is not None
    assert 80.0 < world.rings < 82.0
    world.ring()
    world.happen(Exited("killed by SIGKILL"))
    assert world.child.reason == "killed: had not finished after 7 s, nor when the time of its calls was over"
    assert world.child.state is State.DOWN


def test_a_stop_of_all_has_a_replaced_worker_end_in_its_time_to_drain() -> None:
    world = drains(600.0)
    world.now += 100.0
    world.happen(Stop())
    rings = world.rings
    assert rings is not None
    assert 107.0 < rings < 108.0
    world.now += 3.0
    world.happen(Stop())
    assert world.rings == rings, "to be told again is no more time"
    world.ring(calls=400.0)
    world.ring(calls=400.0)
    assert world.child.state is State.KILLING


def test_no_ledger_keeps_a_worker_for_ever() -> None:
    world = drains(math.inf)
    for _ in range(3):
        if world.rings is not None:
            world.ring(calls=math.inf)
    assert world.child.state is State.KILLING
    assert world.now < MAX_PATIENCE + 2.0


def test_who_leaves_is_not_waited_for_whatever_its_ledger_says() -> None:
    for stop in (Stop(), Stop(calls=60.0)):
        world = World()
        world.come_up()
        world.happen(stop)
        world.happen(Drained())
        world.ring(calls=60.0)
        world.ring(calls=60.0)
        assert world.child.state is State.KILLING


def test_start_takes_a_stop_back_while_it_drains() -> None:
    world = World()
    world.come_up()
    world.happen(Stop())
    world.happen(Start())
    world.happen(Exited("exited with code 0"))
    assert world.child.state is State.WAITING


@pytest.mark.parametrize("draining", [False, True])
def test_a_call_that_does_not_end_costs_a_worker_and_no_patience(draining: bool) -> None:
    world = World(Spec(policy=RestartPolicy(limit=0)))
    world.come_up()
    if draining:
        world.happen(Stop())
    world.happen(Overran("a call still ran"))
    assert (world.child.state, world.killed, world.rings) == (State.OVERRUN, 0, world.now + DUMP_TIME)
    world.ring()
    assert (world.child.state, world.killed) == (State.KILLING, 1)
    world.happen(Exited("killed by SIGKILL", busy=True))
    assert world.child.reason == "killed: a call still ran"
    if draining:
        assert world.child.state is State.DOWN
    else:
        assert (world.child.state, world.rings) == (State.WAITING, world.now), "at once, and without blame"
        world.ring()
        assert world.child.state is State.STARTING


@pytest.mark.parametrize(
    ("before", "meanwhile", "state"),
    [
        ((), (), State.UP),
        ((), (Stop(),), State.DRAINING),
        ((), (Stop(), Start()), State.UP),
        ((), (Drained(),), State.DRAINING),
        ((Stop(),), (), State.DRAINING),
    ],
)
def test_a_worker_whose_call_has_ended_while_it_printed_its_stacks_goes_on(
    before: tuple[Event, ...], meanwhile: tuple[Event, ...], state: State
) -> None:
    world = World(Spec(drain_timeout=3.0, policy=RestartPolicy(limit=0)))
    world.come_up()
    for event in (*before, Overran("a call still ran"), *meanwhile, TimerRang(recovered=True)):
        world.happen(event)
    assert (world.child.state, world.killed, world.child.overran, world.child.verdict) == (state, 0, False, "")
    if state is State.DRAINING:
        world.ring()
        assert world.child.verdict == "killed: had not finished after 3 s"
    else:
        world.happen(Exited("killed by SIGSEGV"))
        assert world.child.state is State.FAILED, "this time it is to blame"


def test_a_child_that_dies_of_a_call_is_not_to_blame() -> None:
    world = World(Spec(policy=RestartPolicy(limit=1)))
    world.happen(Start())
    for _ in range(5):
        world.happen(Hardened())
        world.happen(Ready())
        world.happen(Exited("killed by SIGSEGV", busy=True))
        assert world.child.state is State.WAITING
        world.ring()
    assert world.spawned == 6


@pytest.mark.parametrize("end", [Condemned("too fat"), Lost("said nonsense")])
def test_a_child_that_is_ended_for_its_own_sake_is_to_blame_also_while_a_call_runs(end: Event) -> None:
    world = World(Spec(policy=RestartPolicy(limit=0)))
    world.come_up()
    world.happen(end)
    world.happen(Exited("killed by SIGKILL", busy=True))
    assert world.child.state is State.FAILED


def shared(limit: int = 3) -> World:
    """One that does not stand for itself alone."""
    return World(Spec(drain_timeout=7.0, policy=RestartPolicy(limit=limit, jitter=0.0, strategy="one_for_all")))


def test_who_crashes_takes_others_along_until_it_is_given_up() -> None:
    world = shared(limit=2)
    world.come_up()
    for _ in range(3):
        world.happen(Exited("killed by SIGSEGV"))
        if world.rings is not None:
            assert world.along[-1] == TakeAlong(world.rings, world.child.row), "they are to start together"
            world.ring()
    assert (world.child.state, world.along[-1]) == (State.FAILED, TakeAlong(None, 3))


@pytest.mark.parametrize("end", [(Stop(),), (Drained(),), (Overran("a call"), TimerRang()), ()])
def test_who_does_not_crash_takes_nobody_along(end: tuple[Event, ...]) -> None:
    world = shared()
    world.come_up()
    for event in (*end, Exited("exited with code 0", busy=not end)):
        world.happen(event)
    assert not world.along


@pytest.mark.parametrize("end", [Exited("exited with code 0"), Exited("killed by SIGSEGV")])
def test_who_is_taken_along_finishes_and_starts_with_the_other(end: Exited) -> None:
    world = shared()
    world.come_up()
    world.happen(TakenAlong("ended with cpu-1#1: x", world.now + 60.0, 2))
    assert (world.child.state, world.grace, world.child.wanted) == (State.DRAINING, 7.0, True)
    world.now += 5.0
    world.happen(end)
    assert (world.child.state, world.rings, world.child.row) == (State.WAITING, 60.0, 2)
    assert world.child.reason == "ended with cpu-1#1: x"
    assert not world.along, "it has not crashed"
    world.now = 60.0
    world.happen(TimerRang(held=True))
    assert (world.child.state, world.rings) == (State.WAITING, 60.0 + HELD), "another has not ended yet"
    world.ring()
    assert (world.child.state, world.child.along) == (State.STARTING, "")


def test_who_is_taken_along_tells_if_it_was_not_finished_in_time() -> None:
    world = shared()
    world.come_up()
    world.happen(TakenAlong("ended with cpu-1#1", None, 4))
    world.ring()
    world.happen(Exited("killed by SIGKILL"))
    assert world.child.reason == "ended with cpu-1#1; killed: had not finished after 7 s"
    assert (world.child.state, world.child.row) == (State.FAILED, 4)


@pytest.mark.parametrize("until", [50.0, None])
@pytest.mark.parametrize("before", [(Start(),), (Start(), Exited("x", busy=True)), (Start(), Lost("x"))])
def test_nobody_who_is_not_up_serves_before_the_one_it_was_taken_along_with(
    before: tuple[Event, ...], until: float | None
) -> None:
    world = shared()
    for event in (*before, TakenAlong("ended with cpu-1#1", until, 1)):
        world.happen(event)
    if world.alive:
        assert world.child.state is State.KILLING, "it serves nobody, so there is nothing to wait for"
        world.happen(Exited("killed by SIGKILL"))
    assert (world.child.state, world.rings) == (State.FAILED if until is None else State.WAITING, until)


def test_who_could_not_start_anyway_says_so_and_a_later_end_says_nothing_of_it() -> None:
    world = shared()
    world.happen(Start())
    for event in (Hardened(), Broke("no shop", "Traceback"), TakenAlong("ended with cpu-1#1: x", 5.0, 1), Exited("x")):
        world.happen(event)
    assert (world.child.reason, world.child.traceback) == ("no shop", "Traceback")
    world.ring()
    for event in (Hardened(), Ready(), Drained(), Exited("exited with code 0")):
        world.happen(event)
    assert (world.child.reason, world.child.traceback) == (LEFT, "")
    world.ring()
    for event in (TakenAlong("ended with cpu-1#1: x", 5.0, 1), Exited("killed by SIGKILL")):
        world.happen(event)
    assert world.child.reason == "ended with cpu-1#1: x; stopped before it was ready"


def test_who_is_to_end_for_good_is_not_taken_along() -> None:
    world = shared()
    world.come_up()
    world.happen(Stop())
    world.happen(TakenAlong("ended with cpu-1#1", 50.0, 1))
    world.happen(Exited("exited with code 0"))
    assert (world.child.state, world.child.reason) == (State.DOWN, "exited with code 0")


@pytest.mark.parametrize("state", State)
def test_what_no_longer_matters_changes_nothing(state: State) -> None:
    child = Child(Spec(), state=state, wanted=True)
    if state not in RUNNING:
        for event in (Hardened(), Ready(), Broke("no"), Drained(), Lost("x"), Exited("y")):
            assert step(child, event, 0.0) == (child, ())
    if state not in TIMED:
        assert step(child, TimerRang(), 0.0) == (child, ())
