"""Draw the life of a worker into docs/supervision.md by trying every event in every state: run `make docs`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from supervisor import life
from supervisor.life import RUNNING, TIMED, Child, Spec, State
from supervisor.lifecycle import step
from supervisor.policy import RestartPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DOCUMENT = Path(__file__).parent.parent / "docs" / "supervision.md"
BEGIN, END = "<!-- lifecycle: drawn by make docs -->\n", "<!-- /lifecycle -->\n"
_ASKED: Mapping[life.Event, str] = {
    life.Start(): "start",
    life.Stop(): "stop",
    life.Stop(calls=1.0): "stop",
    life.Stop(force=True): "stop at once",
    life.TakenAlong("with another", 1.0, 1): "another crashed",
    life.TakenAlong("with another", None, 2): "another was given up",
}
_DONE: Mapping[life.Event, str] = {
    life.Hardened(): "hardened",
    life.Ready(): "ready",
    life.Broke(""): "cannot start",
    life.Drained(): "leaves",
    life.Lost(""): "cannot be spoken to",
    life.Condemned(""): "took too much",
    life.Overran(""): "a call does not end",
    life.Overran("", hung=True): "hangs",
    life.Exited(""): "ended",
    life.Exited("", busy=True): "ended",
}
_RANG: Mapping[life.Event, str] = {
    life.TimerRang(): "time is over",
    life.TimerRang(calls=1.0): "time is over",
    life.TimerRang(held=True): "time is over",
}
_RECOVERED: Mapping[life.Event, str] = {life.TimerRang(recovered=True): "that has ended after all"}
_PLAINER: Mapping[tuple[State, str], str] = {
    (State.DOWN, "ended"): "ended as told",
    (State.FAILED, "ended"): "ended too often",
    (State.KILLING, "ready"): "ready before hardened",
}
"""What is clearer for who knows where it leads."""


def _possible(child: Child) -> Iterator[tuple[life.Event, str]]:
    yield from _ASKED.items()
    if child.state in RUNNING:
        yield from _DONE.items()
    if child.state in TIMED:
        yield from _RANG.items()
    if child.state is State.OVERRUN:
        yield from _RECOVERED.items()


def edges() -> dict[tuple[State, State], list[str]]:
    """From which state to which a worker can go, and upon what."""
    found: dict[tuple[State, State], list[str]] = {}
    first = Child(Spec(policy=RestartPolicy(limit=1)))
    seen, waiting = {first}, [first]
    while waiting:
        child = waiting.pop()
        for event, word in _possible(child):
            after, _ = step(child, event, 0.0)
            if after.state is not child.state:
                words = found.setdefault((child.state, after.state), [])
                words += [told] if (told := _PLAINER.get((after.state, word), word)) not in words else []
            after = replace(after, reason="", traceback="")  # they decide nothing
            if after not in seen:
                seen.add(after)
                waiting.append(after)
    return found


def render() -> str:
    """The diagram, as Mermaid has it."""
    order = list(State)
    words = [word for told in (_ASKED, _DONE, _RANG, _RECOVERED) for word in told.values()] + list(_PLAINER.values())
    lines = ["stateDiagram-v2", f"    [*] --> {State.DOWN.value}"]
    for (before, after), told in sorted(edges().items(), key=lambda edge: [order.index(state) for state in edge[0]]):
        lines.append(f"    {before.value} --> {after.value}: {', '.join(sorted(told, key=words.index))}")
    return "\n".join(["```mermaid", *lines, "```", ""])


def drawn(text: str) -> str:
    """The document with the diagram in its place."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + render() + END + after


if __name__ == "__main__":
    now = DOCUMENT.read_text()
    if "--check" in sys.argv:
        sys.exit(0 if now == drawn(now) else "docs/supervision.md is out of date: make docs")
    DOCUMENT.write_text(drawn(now))
