"""Runs one call: decode, run, encode. Whatever goes wrong becomes a failure that says what the caller may do."""

from __future__ import annotations

import math
from asyncio import CancelledError
from contextlib import suppress
from traceback import clear_frames
from typing import TYPE_CHECKING, Any, NamedTuple

from exec_worker.interrupts import CallCancelled, Interrupted
from exec_worker.node import BatchCall, enter
from exec_worker.together import run_together
from ipc import printed
from ipc.clock import now
from ipc.errors import BadResult, CallTimeout, Cancelled, InvalidRequest, NodeError, code_of
from ipc.messages.calls import Encoding, sentence

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from exec_worker.asked import AskedCall
    from exec_worker.asked_batch import AskedBatch
    from exec_worker.binding import Binding, Encoded
    from exec_worker.node import Call
    from exec_worker.window import Window
    from ipc.errors import IpcError
    from ipc.log import Log


class Failure(NamedTuple):
    """The answer is no."""

    code: str
    detail: str
    stage: str = ""
    """The node of a pipeline that failed."""


class Engine:
    """The nodes of one worker."""

    def __init__(
        self, nodes: Mapping[str, Binding], log: Log, cancel_grace: float = 0.1, *, alone: bool = True
    ) -> None:
        """`cancel_grace` is how long a node may go on after it was told that its caller has left, seconds.

        `alone`: one call runs at a time.
        """
        self._nodes = nodes
        self._log = log
        self._alone = alone
        self.batched = {name: batch for name, each in nodes.items() if (batch := each.contract.batch) is not None}
        """The nodes that run calls together."""
        graces = {"interrupt": cancel_grace, "kill": 0.0, "ignore": math.inf}
        self._graces = {name: graces[binding.contract.cancel] for name, binding in nodes.items()}

    def cancel_grace(self, node: str) -> float | None:
        """How long a call of `node` may go on once its caller has left, seconds; None: no such node runs here."""
        return self._graces.get(node)

    def run(self, call: AskedCall, window: Window) -> Encoded | Failure:
        """What came of the call. Nothing a node does gets past this but the end of the process."""
        binding = self._nodes[call.meta.node]
        try:
            kwargs = binding.decode(call.meta.params, call.meta.encoding, call.body)
            enter(call.seen, alone=self._alone)
            try:
                result = window.run(call, binding.run, kwargs)
            finally:
                if printed.unended:
                    printed.end_lines()
                enter(None, alone=self._alone)
        except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt of a node end a call, not a worker
            return self._failed(call, error, InvalidRequest)
        return self._encoded(call, result)

    def run_batch(self, batch: AskedBatch, window: Window) -> list[Encoded | Failure]:
        """What came of each of the calls of a batch, in their order."""
        binding = self._nodes[batch.turn.node]
        answers: dict[bytes, Encoded | Failure] = {}
        calls, items = [], []
        for call in batch.calls:
            try:
                items.append(binding.item(binding.decode(call.meta.params, call.meta.encoding, call.body)))
                calls.append(call)
            except BaseException as error:  # noqa: BLE001 - as above
                answers[call.id] = self._failed(call, error, InvalidRequest)
        reported: set[int] = set()
        for call, result in zip(calls, self._results(batch, calls, items, window), strict=True):
            # One error may be the answer to many, and is reported once.
            answers[call.id] = self._one_of_many(call, result, known=id(result) in reported)
            reported.add(id(result))
        return [answers[call.id] for call in batch.calls]

    def _results(self, batch: AskedBatch, calls: Sequence[AskedCall], items: list[Any], window: Window) -> list[Any]:
        """A result for each item, or what is wrong with it."""
        if not items:
            return []
        binding = self._nodes[batch.turn.node]

        def seen_as(seen: Call) -> Callable[[list[Any]], Any]:
            def run(these: list[Any]) -> Any:  # noqa: ANN401 - whatever the node returns
                enter(seen, alone=self._alone)
                try:
                    return window.run(batch, binding.run_batch, these)
                finally:
                    if printed.unended:
                        printed.end_lines()
                    enter(None, alone=self._alone)

            return run

        def alone(place: int, _error: BaseException) -> Callable[[list[Any]], Any] | None:
            call = calls[place]
            again = binding.contract.idempotent and call.deadline > now() and not call.seen.cancelled
            return seen_as(BatchCall((call.seen,))) if again else None

        seen = batch.seen = BatchCall(tuple(call.seen for call in calls))
        seen.cancelled = batch.deserted  # who left last may have looked for it before it was there
        try:
            return run_together(batch.turn.node, seen_as(seen), items, alone)
        except BaseException as error:  # noqa: BLE001 - as above
            return [error] * len(items)

    def _one_of_many(self, call: AskedCall, result: Any, *, known: bool) -> Encoded | Failure:  # noqa: ANN401 - as above
        """The answer to one call of a batch, from what the node gave in its place."""
        kind = type(result)
        if not issubclass(kind, BaseException):
            return self._encoded(call, result)
        if issubclass(kind, BadResult | NodeError):  # of our own making, or no worse than that
            if not known:
                self._report("bad_result" if issubclass(kind, BadResult) else "node_failed", call, result)
            return self._failed(call, result, kind)
        return self._failed(call, result, InvalidRequest, known=known)

    def prepare(self, call: AskedCall) -> Coroutine[Any, Any, Any] | Failure:
        """The same for a node that is `async def`, in two halves: what is to be awaited in a task of its own."""
        try:
            binding = self._nodes[call.meta.node]
            return _await(call.seen, binding, binding.decode(call.meta.params, call.meta.encoding, call.body))
        except BaseException as error:  # noqa: BLE001 - as above
            return self._failed(call, error, InvalidRequest)

    def conclude(self, call: AskedCall, task: Task[Any]) -> Encoded | Failure:
        """The second half: what came of the task."""
        try:
            result = task.result()
        except CancelledError as error:
            told = error if call.interrupt is None else call.interrupt().with_traceback(error.__traceback__)
            return self._failed(call, told, InvalidRequest)
        except BaseException as error:  # noqa: BLE001 - as above
            return self._failed(call, error, InvalidRequest)
        return self._encoded(call, result)

    def _encoded(self, call: AskedCall, result: Any) -> Encoded | Failure:  # noqa: ANN401 - whatever the node returned
        try:
            # What a stage of a pipeline gives stays inside: only of the last one anybody asks how it is written.
            reply_as = Encoding.MSGPACK if call.meta.rest else call.meta.reply_as
            return self._nodes[call.meta.node].encode(result, reply_as)
        except BadResult as error:
            self._report("bad_result", call, error)
            return self._failed(call, error, BadResult)
        except BaseException as error:  # noqa: BLE001 - serializers are the user's, too
            return self._failed(call, error, BadResult)

    def _failed(self, call: AskedCall, error: BaseException, told: type[IpcError], *, known: bool = False) -> Failure:
        """Why there is no result. The words of an error that is `told` are for the caller, all others for the log.

        One that is `known` is in the log already. Of what it is its type is asked, for `__class__` is the user's.
        """
        try:
            if issubclass(type(error), told):
                try:
                    return Failure(code_of(type(error)), sentence(str(error)))  # type: ignore[arg-type] # it is told
                except BaseException as worse:  # noqa: BLE001 - a node may raise one of its own making
                    error = worse
            if issubclass(type(error), Interrupted):
                return self._interrupted(call, error, known=known)
            if issubclass(type(error), MemoryError):
                clear_frames(error.__traceback__)  # they hold what the node had, and to answer takes some, too
            if not known:
                self._report("node_failed", call, error)
            return Failure(NodeError.code, f"{call.meta.node} raised {type(error).__name__}")
        except BaseException as worse:  # noqa: BLE001 - as above
            return self.explain_untold(call, worse)

    def _interrupted(self, call: AskedCall, error: BaseException, *, known: bool) -> Failure:
        if issubclass(type(error), CallCancelled):
            self._log.debug("call_cancelled", node=call.meta.node, request_id=call.meta.request_id)
            return Failure(Cancelled.code, f"{call.meta.node} was interrupted when its caller left")
        if not known:
            self._report("deadline_exceeded", call, error)
        return Failure(CallTimeout.code, f"{call.meta.node} was not done in time and was interrupted")

    def _report(self, event: str, call: AskedCall, error: BaseException) -> None:
        self._log.error(event, error, node=call.meta.node, request_id=call.meta.request_id, trace=call.meta.trace)

    def explain_too_large(self, call: AskedCall, what: str) -> Failure:
        """A result that no envelope can carry."""
        detail = f"{call.meta.node} gave {what}"
        self._log.error("bad_result", None, node=call.meta.node, request_id=call.meta.request_id, detail=detail)
        return Failure(BadResult.code, detail)

    def explain_untold(self, call: AskedCall, error: BaseException) -> Failure:
        """An answer that could not be written: what is wrong with it is in the log, and these words can be."""
        with suppress(BaseException):  # whatever it is, the lane has to go on
            self._report("answer_failed", call, error)
        return Failure(NodeError.code, "no answer could be made of what came of the call")

    def lane_died(self, error: BaseException) -> None:
        """No call runs any more where calls ran."""
        self._log.error("lane_died", error)


async def _await(seen: Call, binding: Binding, kwargs: dict[str, Any]) -> Any:  # noqa: ANN401 - as above
    enter(seen, alone=False)
    try:
        return await binding.run(kwargs)
    finally:
        if printed.unended:
            printed.end_lines()
