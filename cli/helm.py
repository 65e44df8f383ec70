"""Orders that are given from `shunter top`: asked back first, then carried out in the background, one at a time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeAlias

from ipc.control import ControlError, ask
from ipc.messages.control import Refused, Reload, Restart, RestartWorker, Scale, Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ipc.messages.control import Command, GroupStatus

Say: TypeAlias = "Callable[[str, str], object]"
"""Shows a text in a style; may be called from any thread."""


class Helm:
    """`give` carries an order out, and takes as long as that takes."""

    def __init__(self, state_dir: Path, say: Say, give: Callable[..., Any] = ask) -> None:
        self._state_dir = state_dir
        self._say = say
        self._give = give
        self._asked: Command | None = None
        self._busy = threading.Lock()

    @property
    def waits(self) -> bool:
        """Whether a question is open."""
        return self._asked is not None

    def restart(self, group: str) -> None:
        """Replace the workers of `group`, if that is confirmed."""
        self._ask_back(f"replace the workers of {group}, one after another?", Restart(group))

    def drain(self, worker: str) -> None:
        """Give the place of one worker to a successor, if that is confirmed."""
        self._ask_back(f"drain {worker}, once a successor is up?", RestartWorker(worker))

    def reload(self) -> None:
        """Read the configuration again, if that is confirmed."""
        self._ask_back("read the configuration and the application again?", Reload())

    def scale(self, group: GroupStatus, by: int) -> None:
        """Have so many workers more in `group`, if that is confirmed."""
        # A successor sits beside its predecessor for a while, and both have the same seat.
        has = len({worker.name.partition("#")[0] for worker in group.workers})
        if has + by < 1:
            self._say(f"{group.name} has one worker, and keeps it", "yellow")
            return
        least, most = group.between or (1, has + by)
        if not least <= has + by <= most:
            self._say(f"{group.name} follows its load between {least} and {most} workers, and has {has}", "yellow")
            return
        what = "one more worker" if by > 0 else "one worker fewer"
        self._ask_back(f"{what} in {group.name}, {has + by} instead of {has}?", Scale(group.name, has + by))

    def answer(self, *, yes: bool) -> None:
        """The open question is answered."""
        order, self._asked = self._asked, None
        if order is None or not yes:
            self._say("nothing was changed", "")
        elif self._busy.acquire(blocking=False):
            threading.Thread(target=self._carry_out, args=(order,), name="order", daemon=True).start()
        else:
            self._say("an order is being carried out; wait for it", "yellow")

    def _ask_back(self, text: str, order: Command) -> None:
        if self._busy.locked():
            self._say("an order is being carried out; wait for it", "yellow")
        else:
            self._asked = order
            self._say(f"[y/n] {text}", "bold")

    def _carry_out(self, order: Command) -> None:
        try:
            answer = self._give(self._state_dir, order, lambda text: self._say(f"... {text}", ""))
        except ControlError as error:
            told = str(error), "bold red"
        else:
            match answer:
                case Refused(why):
                    told = why, "bold red"
                case Status():
                    told = "done", "green"
                case _:
                    told = answer.text, "green"
        finally:
            self._busy.release()
        self._say(*told)
