"""Workers that run nothing and do not answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest

from ipc.ledger import Ledger
from ipc.messages.lifeline import Ping
from ipc.names import WorkerName
from supervisor.life import State
from supervisor.pulse import BEAT, SILENCE, Pulse

if TYPE_CHECKING:
    from supervisor.child import Worker

FIRST = WorkerName("cpu", 0, 1)
LONG = int(3 * SILENCE / BEAT)


@dataclass
class Patient:
    """A worker as far as its pulse is taken."""

    name: WorkerName = FIRST
    state: State = State.UP
    ledger: Ledger = field(default_factory=lambda: Ledger(-1))
    asked: int = 0
    ends: list[str] = field(default_factory=list)

    def say(self, message: object) -> None:
        assert message == Ping()
        self.asked += 1

    def overrun(self, why: str) -> None:
        self.ends.append(why)
        self.state = State.OVERRUN


def taking(patient: Patient) -> Pulse:
    return Pulse(lambda: cast("list[Worker]", [patient]))


def test_whoever_answers_is_asked_again_and_left_alone() -> None:
    patient = Patient()
    pulse = taking(patient)
    for beat in range(LONG):
        pulse.look(beat * BEAT)
        pulse.heard(cast("Worker", patient))
    assert patient.asked == LONG
    assert patient.ends == []


def test_whoever_does_not_is_asked_once_and_ended_once_in_good_time() -> None:
    patient = Patient()
    pulse = taking(patient)
    ended = [beat * BEAT for beat in range(LONG) if pulse.look(beat * BEAT) or patient.ends]
    assert patient.asked == len(patient.ends) == 1
    assert SILENCE < ended[0] <= SILENCE + BEAT


def test_whoever_runs_a_call_may_be_silent_until_it_is_over() -> None:
    patient = Patient()
    pulse = taking(patient)
    row = patient.ledger.begin(b"c" * 16, 1e9, 0.1)
    for beat in range(LONG):
        pulse.look(beat * BEAT)
    assert patient.ends == []
    patient.ledger.end(row)
    for beat in range(LONG, 2 * LONG):
        pulse.look(beat * BEAT)
    assert len(patient.ends) == 1


def test_a_supervisor_that_was_away_itself_blames_nobody() -> None:
    patient = Patient()
    pulse = taking(patient)
    pulse.look(0.0)
    pulse.look(BEAT)
    pulse.look(1000.0)
    pulse.look(1000.0 + SILENCE / 2)
    assert patient.ends == []


@pytest.mark.parametrize("state", set(State) - {State.UP})
def test_who_does_not_serve_is_not_asked(state: State) -> None:
    patient = Patient(state=state)
    pulse = taking(patient)
    for beat in range(LONG):
        pulse.look(beat * BEAT)
    assert patient.asked == len(patient.ends) == 0


def test_a_later_life_is_not_blamed_for_the_one_before() -> None:
    patient = Patient()
    pulse = taking(patient)
    for beat in range(5):
        pulse.look(beat * BEAT)
    patient.name = WorkerName("cpu", 0, 2)
    pulse.look(SILENCE + BEAT)
    assert patient.ends == []
    assert patient.asked == 2
