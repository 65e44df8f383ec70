"""Runs one call: decode, run, encode. Whatever goes wrong becomes a failure that says what the caller may do."""

from __future__ import annotations

import math
from traceback import clear_frames
from typing import TYPE_CHECKING, NamedTuple

from exec_worker.interrupts import CallCancelled, Interrupted
from exec_worker.node import enter
from ipc.errors import BadResult, CallTimeout, Cancelled, InvalidRequest, NodeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exec_worker.asked import AskedCall
    from exec_worker.binding import Binding, Encoded
    from exec_worker.window import Window
    from ipc.log import Log


class Failure(NamedTuple):
    """The answer is no."""

    code: str
    detail: str


class Engine:
    """The nodes of one worker."""

    def __init__(self, nodes: Mapping[str, Binding], log: Log, cancel_grace: float = 0.1) -> None:
        """`cancel_grace` is how long a node may go on after it was told that its caller has left, seconds."""
        self._nodes = nodes
        self._log = log
        graces = {"interrupt": cancel_grace, "kill": 0.0, "ignore": math.inf}
        self._graces = {name: graces[binding.contract.cancel] for name, binding in nodes.items()}

    def cancel_grace(self, node: str) -> float | None:
        """How long a call of `node` may go on once its caller has left, seconds; None: no such node runs here."""
        return self._graces.get(node)

    def run(self, call: AskedCall, window: Window) -> Encoded | Failure:
        """What came of the call. Nothing a node does gets past this but the end of the process."""
        try:
            return self._run(call, window)
        except Interrupted as error:
            return self._interrupted(call, error)
        except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt of a node end a call, not a worker
            if isinstance(error, MemoryError):
                clear_frames(error.__traceback__)  # they hold what the node had, and to answer takes some, too
            self._report("node_failed", call, error)
            return Failure(NodeError.code, f"{call.meta.node} raised {type(error).__name__}")

    def _interrupted(self, call: AskedCall, error: Interrupted) -> Failure:
        if isinstance(error, CallCancelled):
            self._log.debug("call_cancelled", node=call.meta.node, request_id=call.meta.request_id)
            return Failure(Cancelled.code, f"{call.meta.node} was interrupted when its caller left")
        self._report("deadline_exceeded", call, error)
        return Failure(CallTimeout.code, f"{call.meta.node} was not done in time and was interrupted")

    def _run(self, call: AskedCall, window: Window) -> Encoded | Failure:
        binding = self._nodes[call.meta.node]
        try:
            kwargs = binding.decode(call.meta.params, call.meta.encoding, call.body)
            enter(call.seen)
            try:
                result = window.run(call, binding.run, kwargs)
            finally:
                enter(None)
        except InvalidRequest as error:
            return Failure(error.code, str(error))
        try:
            return binding.encode(result, call.meta.reply_as)
        except BadResult as error:
            self._report("bad_result", call, error)
            return Failure(error.code, str(error))

    def _report(self, event: str, call: AskedCall, error: BaseException) -> None:
        self._log.error(event, error, node=call.meta.node, request_id=call.meta.request_id, trace=call.meta.trace)

    def explain_too_large(self, call: AskedCall, what: str) -> Failure:
        """A result that no envelope can carry."""
        detail = f"{call.meta.node} gave {what}"
        self._log.error("bad_result", None, node=call.meta.node, request_id=call.meta.request_id, detail=detail)
        return Failure(BadResult.code, detail)
