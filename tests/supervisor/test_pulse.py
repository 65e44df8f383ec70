"""Workers whose event loop stands still."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest

from ipc.beat import BEAT
from ipc.ledger import Ledger
from ipc.names import WorkerName
from supervisor.life import Child, Spec, State
from supervisor.pulse import LOOK, Pulse

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.child import Worker

FIRST = WorkerName("cpu", 0, 1)
TIMEOUT = 10.0
LONG = int(3 * TIMEOUT / LOOK)


@dataclass
class Patient:
    """A worker as far as its pulse is taken."""

    name: WorkerName = FIRST
    state: State = State.UP
    ledger: Ledger = field(default_factory=lambda: Ledger(-1))
    life: Child = field(default_factory=lambda: Child(Spec(hung_timeout=TIMEOUT)))
    turned: float = 0.0
    ends: list[str] = field(default_factory=list)

    def overrun(self, why: str, still: Callable[[], bool], *, hung: bool) -> None:
        assert hung
        self.ends.append(why)
        self.still = still
        self.state = State.OVERRUN


def taking(patient: Patient) -> Pulse:
    return Pulse(lambda: cast("list[Worker]", [patient]))


def test_whoever_s_loop_turns_is_left_alone() -> None:
    patient = Patient()
    pulse = taking(patient)
    for look in range(LONG):
        patient.turned = look * LOOK - BEAT
        pulse.look(look * LOOK)
    assert patient.ends == []


def test_whoever_s_does_not_is_ended_once_and_no_later_than_a_second_after_its_time() -> None:
    patient = Patient()  # its loop stopped just after it had said that it turned
    pulse = taking(patient)
    ended = [look * LOOK for look in range(LONG) if pulse.look(look * LOOK) or patient.ends]
    assert patient.ends == ["its event loop stood still for 11.0 s"]
    assert TIMEOUT < ended[0] <= TIMEOUT + 1.0
    assert patient.still()
    patient.turned = ended[0]
    assert not patient.still()


def test_whoever_stands_still_for_less_than_its_time_is_left_alone() -> None:
    patient = Patient(turned=0.0)
    pulse = taking(patient)
    for look in range(int((TIMEOUT + BEAT) / LOOK) + 1):  # it last said so just before
        pulse.look(look * LOOK)
    assert patient.ends == []


def test_whoever_runs_a_call_may_be_silent_until_it_is_over() -> None:
    patient = Patient()
    pulse = taking(patient)
    row = patient.ledger.begin(b"c" * 16, 1e9, 0.1)
    for look in range(LONG):
        pulse.look(look * LOOK)
    assert patient.ends == []
    patient.ledger.end(row)
    pulse.look(LONG * LOOK)
    assert patient.ends == [], "from the end of the call on it has its whole time"
    for look in range(LONG, 2 * LONG):
        pulse.look(look * LOOK)
    assert len(patient.ends) == 1


def test_a_supervisor_that_was_away_itself_blames_nobody() -> None:
    patient = Patient()
    pulse = taking(patient)
    pulse.look(0.0)
    pulse.look(LOOK)
    pulse.look(1000.0)
    pulse.look(1000.0 + LOOK)
    assert patient.ends == []


@pytest.mark.parametrize("state", set(State) - {State.UP})
def test_who_does_not_serve_is_not_looked_at(state: State) -> None:
    patient = Patient(state=state)
    pulse = taking(patient)
    for look in range(LONG):
        pulse.look(look * LOOK)
    assert patient.ends == []


def test_a_later_life_is_not_excused_by_the_one_before() -> None:
    patient = Patient()
    pulse = taking(patient)
    row = patient.ledger.begin(b"c" * 16, 1e9, 0.1)
    for look in range(LONG):
        pulse.look(look * LOOK)
    patient.ledger.end(row)
    patient.name = WorkerName("cpu", 0, 2)
    pulse.look(LONG * LOOK)
    assert len(patient.ends) == 1
