"""The rows and columns of `shunter top`, from statuses that nobody had to run for."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from cli.board import COLUMNS, SORTS, Moment, Row, fitting, gone, heading, rows
from ipc.messages.control import Figures, GroupStatus, Status, SupervisorStatus, WorkerStatus

SUPERVISOR = SupervisorStatus(42, "0.1.0", 100.0, "/srv/shunter.yaml")
ONE = WorkerStatus("cpu-0#1", 10, "up", 1, 0, 900.0, 500, 1, 50 * 2**20, longest=2.5, cpu_seconds=4.0)
TWO = WorkerStatus("cpu-1#4", 11, "draining", 4, 3, 990.0, 20, 0, 60 * 2**20, cpu_seconds=1.0)
WEB = WorkerStatus("web-0#1", 12, "up", 1, 0, 200.0, 1000, 0, 2**20, cpu_seconds=9.0)
FIGURES = Figures(12.5, 0.25, 14.0, 3.0, 120.4, waiting=7)


@dataclass
class Service:
    """Two groups whose workers can be changed."""

    cpu: tuple[WorkerStatus, ...] = (ONE, TWO)
    web: tuple[WorkerStatus, ...] = (WEB,)
    figures: Figures | None = None
    more: dict[str, object] = field(default_factory=dict)

    def at(self, moment: float) -> Moment:
        cpu = GroupStatus("cpu", "degraded", self.cpu, figures=self.figures)
        return Moment(Status(SUPERVISOR, (cpu, GroupStatus("web", "up", self.web))), moment)


def text(row: Row) -> dict[str, str]:
    return {name: cell.text for name, cell in row.cells.items()}


def test_a_first_status_has_states_and_no_rates() -> None:
    group, one, two, *_ = rows(Service().at(5.0), None, 1000.0)
    assert text(group) == {
        "worker": "cpu", "state": "degraded", "runs": "1", "oldest": "2.5s", "calls/s": "-", "wait p50/p99": "-",
        "took p50/p99": "-", "cpu": "-", "memory": "110 M", "restarts": "3",
    }  # fmt: skip
    assert text(one) == {
        "worker": "  cpu-0#1", "state": "up", "for": "1m40s", "pid": "10", "runs": "1", "oldest": "2.5s",
        "calls/s": "-", "cpu": "-", "memory": "50 M", "restarts": "0",
    }  # fmt: skip
    assert text(two)["for"] == "10s"
    assert one.cells["state"].tone == "good"
    assert two.cells["state"].tone == "busy"
    assert one.cells["oldest"].tone == "busy"


def test_rates_are_what_was_done_since_the_status_before() -> None:
    later = Service((replace(ONE, calls=520, cpu_seconds=5.0), replace(TWO, calls=21)), (replace(WEB, calls=1041),))
    group, one, two, _, web = rows(later.at(7.0), Service().at(5.0), 1000.0)
    assert text(one)["calls/s"] == "10"
    assert text(one)["cpu"] == "50 %"
    assert text(two)["calls/s"] == "0.5"
    assert text(two)["cpu"] == "0 %"
    assert (text(group)["calls/s"], text(group)["cpu"]) == ("10", "50 %")
    assert text(web)["calls/s"] == "20"
    first, second = heading(later.at(7.0), Service().at(5.0), 1000.0)
    assert first == "Shunter 0.1.0, pid 42, up 15m0s, /srv/shunter.yaml"
    assert second == "2 of 3 workers up, 20 requests/s, 10 calls/s, cpu 50 %, memory 111 M"


@pytest.mark.parametrize(
    "life",
    [replace(ONE, name="cpu-0#2", calls=3), replace(ONE, pid=99, calls=3), replace(ONE, pid=None, calls=3)],
)
def test_a_life_that_was_not_there_before_has_no_rate_yet(life: WorkerStatus) -> None:
    _, one, two, *_ = rows(Service((life, TWO)).at(6.0), Service().at(5.0), 1000.0)
    assert text(one)["calls/s"] == text(one)["cpu"] == "-"
    assert text(two)["calls/s"] == "0.0"


def test_counts_that_went_backwards_or_a_clock_that_stood_still_give_no_nonsense() -> None:
    backwards = Service((replace(ONE, calls=3, cpu_seconds=0.5), TWO))
    _, one, *_ = rows(backwards.at(6.0), Service().at(5.0), 1000.0)
    assert (text(one)["calls/s"], text(one)["cpu"]) == ("0.0", "0 %")
    _, one, *_ = rows(Service().at(5.0), Service().at(5.0), 1000.0)
    assert text(one)["calls/s"] == "-"


def test_what_callers_saw_of_a_group_is_shown_where_it_is_known() -> None:
    group, *_ = rows(Service(figures=FIGURES).at(6.0), Service().at(5.0), 1000.0)
    found = text(group)
    assert (found["calls/s"], found["wait p50/p99"], found["took p50/p99"]) == ("12", "0.2/14", "3.0/120")
    assert found["runs"] == "1+7"  # and seven wait
    _, all_together = heading(Service(figures=FIGURES).at(6.0), Service().at(5.0), 1000.0)
    assert "0.0 requests/s, 12 calls/s" in all_together, "the same as in the table"


def test_a_group_that_follows_its_load_says_between_which_numbers() -> None:
    status = Service().at(1.0).status
    found = rows(Moment(replace(status, groups=(replace(status.groups[0], between=(1, 3)),)), 1.0), None, 1000.0)
    assert (found[0].key, text(found[0])["worker"]) == ("cpu", "cpu (1 to 3)")


def test_what_is_gone_looks_so() -> None:
    row = gone(rows(Service().at(1.0), None, 1000.0)[1])
    assert (row.key, text(row)["state"], text(row)["pid"]) == ("cpu-0#1", "gone", "10")
    assert {cell.tone for cell in row.cells.values()} == {"quiet"}


def test_workers_that_live_in_one_process_have_its_memory_once() -> None:
    guests = tuple(replace(ONE, name=f"cpu-{n}@web-0#1", pid=12, cpu_seconds=0.0) for n in range(3))
    group, one, *_ = rows(Service(guests).at(6.0), Service(guests).at(5.0), 1000.0)
    assert text(group)["memory"] == text(one)["memory"] == "50 M"
    assert text(one)["cpu"] == "-"


def test_a_template_stands_below_its_workers() -> None:
    status = Service().at(1.0).status
    template = replace(TWO, name="cpu-template#1")
    cpu = replace(status.groups[0], template=template)
    found = rows(Moment(replace(status, groups=(cpu,)), 1.0), None, 1000.0)
    assert [row.key for row in found] == ["cpu", "cpu-0#1", "cpu-1#4", "cpu-template#1"]


@pytest.mark.parametrize(
    ("sort", "first"),
    [("name", "cpu-0#1"), ("cpu", "cpu-1#4"), ("memory", "cpu-1#4"), ("calls/s", "cpu-1#4"), ("oldest", "cpu-0#1")],
)
def test_workers_are_sorted_within_their_group(sort: str, first: str) -> None:
    later = Service((ONE, replace(TWO, calls=900, cpu_seconds=2.0)))
    found = rows(later.at(6.0), Service().at(5.0), 1000.0, sort)
    assert [row.key for row in found if not row.worker] == ["cpu", "web"]
    assert found[1].key == first
    assert sort in SORTS


def test_columns_are_left_out_by_what_they_matter_and_stand_in_their_order() -> None:
    found = rows(Service().at(5.0), None, 1000.0)
    wide = fitting(found, 200)
    assert [column.name for column in wide] == [column.name for column in COLUMNS]
    assert wide[0].width == len("  cpu-0#1")
    names = [[column.name for column in fitting(found, width)] for width in range(200)]
    assert names[0] == ["worker"]
    assert all(len(few) <= width for width, few in enumerate(names) if width)
    assert (
        names[78] == ["worker", "state", "for", "runs", "oldest", "calls/s", "cpu", "memory"]
        or "took p50/p99" in names[78]
    )
    for width in range(12, 200):
        assert sum(column.width + 2 for column in fitting(found, width)) <= width
