"""What is refused after it has killed."""

from __future__ import annotations

from ipc.messages.lifeline import Quarantined
from supervisor.quarantine import KILLS, MAX_MARKS, SECONDS, WITHIN, Quarantine


def test_it_takes_more_than_one_death() -> None:
    quarantine = Quarantine()
    assert [quarantine.suspect("shop.pay", b"mark", float(n)) for n in range(KILLS)] == [False] * (KILLS - 1) + [True]
    assert quarantine.inmates(KILLS - 1.0) == [Quarantined("shop.pay", b"mark", SECONDS)]
    assert quarantine.inmates(KILLS + SECONDS) == []


def test_deaths_long_ago_do_not_count() -> None:
    quarantine = Quarantine()
    assert not quarantine.suspect("shop.pay", b"mark", 0.0)
    assert not quarantine.suspect("shop.pay", b"mark", WITHIN)
    assert quarantine.suspect("shop.pay", b"mark", WITHIN + 1)


def test_different_requests_are_not_mixed_up() -> None:
    quarantine = Quarantine()
    assert not quarantine.suspect("shop.pay", b"one", 0.0)
    assert not quarantine.suspect("shop.pay", b"two", 0.0)


def test_it_remembers_so_many_and_no_more() -> None:
    quarantine = Quarantine()
    for number in range(MAX_MARKS + 1):
        for _ in range(KILLS):
            quarantine.suspect("shop.pay", number.to_bytes(4, "big"), 1.0)
    assert len(quarantine.inmates(1.0)) == MAX_MARKS
    for number in range(2 * MAX_MARKS):
        quarantine.suspect("shop.pay", b"once" + number.to_bytes(4, "big"), 1.0)
    assert len(quarantine._deaths) == MAX_MARKS
