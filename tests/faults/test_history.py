"""The checker itself: it finds each lie in a history that has one, and none in those that have none."""

from __future__ import annotations

import pytest
from history import Asked, Effect, Verdict, effects_in, violations


def asked(code: str, at: float = 10.1, *, ticket: str = "a", idempotent: bool = False) -> Asked:
    return Asked("a", 10.0, 1.0, idempotent, [Verdict(at, 0 if code == "left" else 200, code, ticket)])


def begin(at: float = 10.01, pid: int = 7, ticket: str = "a") -> Effect:
    return Effect("begin", ticket, pid, at)


def end(at: float = 10.02, pid: int = 7) -> Effect:
    return Effect("end", "a", pid, at)


@pytest.mark.parametrize(
    ("call", "effects"),
    [
        (asked("done"), [begin(), end()]),
        (asked("done", idempotent=True), [begin(), begin(10.05, 8), end(10.06, 8)]),
        (asked("busy"), []),
        (asked("worker_died"), [begin()]),
        (asked("worker_died"), [begin(), end()]),  # it died before it could answer
        (asked("node_error"), [begin()]),
        (asked("timeout", 11.0), []),
        (asked("timeout", 11.0), [begin(10.9)]),
        (asked("timeout", 11.0), [begin(), end(12.5)]),  # nobody waited, and it could not be ended
        (asked("link_lost"), [begin(), end()]),
        (asked("left"), []),
        (asked("left"), [begin(), end()]),
    ],
)
def test_what_is_true_is_left_alone(call: Asked, effects: list[Effect]) -> None:
    assert violations([call], effects) == []


@pytest.mark.parametrize(
    ("call", "effects", "kind"),
    [
        (asked("done"), [begin(), begin(10.05, 8), end(10.06, 8)], "run too often"),
        (asked("link_lost"), [begin(), begin(10.05, 8)], "run too often"),
        (asked("done", idempotent=True), [begin(), begin(pid=8), begin(pid=9), end()], "run too often"),
        (asked("done", idempotent=True), [begin(), begin(), end()], "tried again where it had failed"),
        (asked("done"), [begin(), end(), end()], "ended more often than begun"),
        (asked("done"), [], "said to be done, and was not"),
        (asked("done"), [begin()], "said to be done, and was not"),
        (asked("done", ticket="b"), [begin(), end()], "another call's answer"),
        (asked("busy", ticket="b"), [], "another call's answer"),
        (asked("worker_died"), [], "said to have failed, and was never begun"),
        (asked("node_error"), [], "said to have failed, and was never begun"),
        (asked("timeout", 12.1), [], "verdict too late"),
        (asked("timeout", 11.0), [begin(12.5)], "begun when it was over"),
        (asked("left"), [begin(11.5)], "begun when it was over"),
        (asked("http_418"), [], "a verdict that means nothing"),
        (Asked("a", 10.0, 1.0), [begin()], "no verdict"),
        (asked("done"), [begin(), end(), begin(ticket="b")], "run, and nobody had asked"),
        *(
            (asked(code), [begin()], "said not to be begun, and was")
            for code in ("busy", "no_worker", "expired", "draining", "rejected", "too_large", "worker_gone")
        ),
    ],
)
def test_a_lie_is_found(call: Asked, effects: list[Effect], kind: str) -> None:
    assert [violation.kind for violation in violations([call], effects)] == [kind]


def test_two_verdicts_are_one_too_many() -> None:
    call = asked("done")
    call.verdicts *= 2
    assert [violation.kind for violation in violations([call], [begin(), end()])] == ["more than one verdict"]


def test_one_lie_among_many_truths_is_found() -> None:
    calls = [Asked(str(number), 10.0, 1.0, verdicts=[Verdict(10.1, 200, "done", str(number))]) for number in range(100)]
    effects = [Effect(what, str(number), 7, 10.01) for number in range(100) for what in ("begin", "end")]
    assert violations(calls, effects) == []
    (found,) = violations(calls, effects[:-1])
    assert found.ticket == "99"


def second(what: str, at: float = 10.03) -> Effect:
    return Effect(what, "a.2", 9, at)


@pytest.mark.parametrize(
    ("call", "effects", "kinds"),
    [
        (asked("done"), [begin(), end(), second("begin"), second("end")], []),
        (asked("worker_died"), [begin(), end(), second("begin")], []),
        (asked("stage_unreached"), [begin(), end()], []),
        (asked("done"), [begin(), end(), second("begin")], ["said to be done, and was not"]),
        (asked("done"), [begin(), end(), second("begin"), second("begin"), second("end")], ["run too often"]),
        (asked("worker_died"), [begin(), second("begin")], ["begun before the first stage was done"]),
        (asked("stage_unreached"), [begin(), end(), second("begin")], ["said not to be begun, and was"]),
        (asked("busy"), [begin(), end()], ["said not to be begun, and was"]),
    ],
)
def test_a_lie_about_either_stage_of_a_pipeline_is_found(call: Asked, effects: list[Effect], kinds: list[str]) -> None:
    call.relayed = True
    assert [violation.kind for violation in violations([call], effects)] == kinds


def test_the_log_is_read_as_nodes_write_it() -> None:
    assert effects_in("begin a 7 10.010000\nend a 7 10.020000\n") == [begin(), end()]
