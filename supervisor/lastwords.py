"""What a worker wrote to its standard error shortly before it ended, as people read it. Pure."""

from __future__ import annotations

import json
from collections import deque

from ipc.decoding.jsontext import json_object

MOST = 20
"""Lines that are kept."""
LAST = 3.0
"""How long before its end a worker that had served wrote them, seconds: what is older belongs to other calls."""
_LONG = 200
"""Characters of one field that are shown."""
_HEAD = ("time", "level", "event", "text")
_ELSEWHERE = ("worker", "group", "stream")


class LastWords:
    """The last lines of one life."""

    def __init__(self) -> None:
        self._heard: deque[tuple[float, str]] = deque(maxlen=MOST)

    def clear(self) -> None:
        """Another life begins."""
        self._heard.clear()

    def hear(self, text: str, now: float) -> None:
        """It wrote these lines."""
        self._heard.extend((now, line) for line in text.split("\n"))

    def told(self, now: float, *, served: bool) -> tuple[str, ...]:
        """What may say why it ended; all it wrote if it never served."""
        last = [line for when, line in self._heard if not served or now - when <= LAST]
        return tuple(part for line in last for part in readable(line).split("\n"))[-MOST:]


def readable(line: str) -> str:
    """A line of a log without the quotes and braces; any other as it is. What had several lines has them again.

    When it was is left out: that is told with the end, in the reader's own time.
    """
    said = json_object(line)
    if said is None or not ("event" in said or "text" in said):
        return line
    shown = [str(said.get(name) or "") for name in _HEAD[1:]]
    below = []
    for name, value in said.items():
        if name in (*_HEAD, *_ELSEWHERE) or value in (None, ""):
            continue
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if "\n" in text:
            below.append(text.rstrip())
        else:
            shown.append(f"{name}={text[:_LONG]}")
    return "\n".join([" ".join(filter(None, shown)), *below])
