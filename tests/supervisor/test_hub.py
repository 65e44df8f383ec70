"""Events reach everybody who listens, for as long as they do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor.events import LineWritten, Reloading, Stopped
from supervisor.hub import Hub, in_words

if TYPE_CHECKING:
    from supervisor.events import Event


def broken(_event: Event) -> None:
    raise OSError("the terminal is gone")


def test_a_listener_that_fails_keeps_nobody_from_hearing() -> None:
    heard: list[Event] = []
    Hub(broken, heard.append).tell(Stopped())
    assert heard == [Stopped()]


def test_who_listens_for_a_while_hears_what_happens_meanwhile() -> None:
    heard: list[Event] = []
    hub = Hub()
    hub.tell(Reloading())
    with hub.heard_by(heard.append):
        hub.tell(Stopped())
    hub.tell(Reloading())
    assert heard == [Stopped()]


def test_in_words_tells_sentences_and_not_what_workers_write() -> None:
    said: list[str] = []
    hear = in_words(said.append)
    hear(LineWritten("web-0#1", "stdout", "hello"))
    hear(Stopped())
    assert said == ["stopped"]
