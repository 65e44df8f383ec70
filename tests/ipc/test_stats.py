import json
import os

import pytest

from ipc import scoreboard, stats
from ipc.log import Log
from ipc.messages.settings import LogSettings
from ipc.wire.frame import Refusal


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> tuple[int, scoreboard.Scoreboard]:
    for name in ("log", "page"):
        monkeypatch.setattr(stats._Report, name, None)
    monkeypatch.setattr(stats._Report, "quiet_until", {})
    read, write = os.pipe()
    os.set_blocking(read, False)
    page = scoreboard.Scoreboard(scoreboard.create("stats"))
    stats.report_to(Log("cpu-0#1", LogSettings(), fd=write), page)
    return read, page


def test_a_flood_is_counted_whole_and_told_once(reported: tuple[int, scoreboard.Scoreboard]) -> None:
    read, page = reported
    before = stats.refusals[Refusal.MAC]
    for _ in range(100):
        stats.refuse(Refusal.MAC)
    stats.refuse(Refusal.VERSION)
    assert stats.refusals[Refusal.MAC] == before + 100
    assert page.read()[2] == 101
    lines = [json.loads(line) for line in os.read(read, 65_536).splitlines()]
    assert [(line["event"], line["reason"]) for line in lines] == [("refused", "mac"), ("refused", "version")]


def test_a_process_that_reports_to_nobody_counts_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats._Report, "log", None)
    monkeypatch.setattr(stats._Report, "page", None)
    before = stats.refusals[Refusal.KIND]
    stats.refuse(Refusal.KIND)
    assert stats.refusals[Refusal.KIND] == before + 1
