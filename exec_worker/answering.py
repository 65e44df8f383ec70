"""Says what came of a call, whatever it is: an answer that cannot be written costs nobody but its own caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exec_worker.answers import fail, not_begun, not_started, reply
from exec_worker.engine import Engine, Failure
from exec_worker.staged import StagedCall

if TYPE_CHECKING:
    from exec_worker.asked import AskedCall
    from exec_worker.binding import Encoded
    from exec_worker.rows import Rows


class Answering:
    """To be called in the call's lane, once per call. Raises nothing: the slot is free, and what is next has to run."""

    def __init__(self, engine: Engine, rows: Rows) -> None:
        self._engine, self._rows = engine, rows

    def __call__(
        self, call: AskedCall, result: Encoded | Failure | None, room: int, span: tuple[float, float], flags: int
    ) -> None:
        """Answer it; None: it was not begun. `span` is when it was begun and when it was over, monotonic seconds."""
        try:
            self._answer(call, result, room, span, flags)
        except BaseException as error:  # noqa: BLE001 - see above
            self._answer_plainly(call, error, room, flags)

    def _answer(
        self, call: AskedCall, result: Encoded | Failure | None, room: int, span: tuple[float, float], flags: int
    ) -> None:
        link, (began, ended) = call.client, span
        times = int((began - call.arrived) * 1e6), int((ended - began) * 1e6)
        if isinstance(call, StagedCall):
            self._rows.answer(call, result, room, times, flags)
        elif result is None:
            not_started(link, call.id, not_begun(call))
        elif isinstance(result, Failure):
            fail(link, call.id, result, room, flags)
        else:
            reply(link, self._engine, call, result, room, times, flags)

    def _answer_plainly(self, call: AskedCall, error: BaseException, room: int, flags: int) -> None:
        """The answer could not be written: say that instead, in words that can."""
        failure = self._engine.explain_untold(call, error)
        try:
            self._answer(call, failure, room, (call.arrived, call.arrived), flags)
        except BaseException as worse:  # noqa: BLE001 - then its caller waits in vain, but nobody else
            self._engine.explain_untold(call, worse)
