"""Calls that an operator makes by way of the supervisor: over the same links, with the same checks, as a request's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from ipc.errors import IpcError, Misuse, TooLarge, code_of
from ipc.messages.calls import Encoding, RequestMeta, encode_meta
from ipc.messages.control import MAX_RESULT
from ipc.messages.errand import MAX_PART, Answered, Ask, Forget, More, Outcome
from ipc.names import new_call_id
from web_worker.by_hand import packed
from web_worker.errors import sentence_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ipc.call import Answer
    from ipc.caller import Caller
    from ipc.contract import NodeContract
    from ipc.log import Log


class Errands:
    """Those of one web worker. How many there may be at once the supervisor sees to."""

    def __init__(
        self, caller: Caller, nodes: Iterable[NodeContract], say: Callable[[Answered], object], max_body: int, log: Log
    ) -> None:
        self._caller = caller
        self._contracts = {contract.name: contract for contract in nodes}
        self._say = say
        self._max_body = max_body
        self._log = log
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._wanted: dict[int, asyncio.Event] = {}

    def hear(self, message: Ask | More | Forget) -> None:
        """What the supervisor says about them."""
        match message:
            case Ask(number):
                task = asyncio.get_running_loop().create_task(self._run(message))
                self._tasks[number] = task
                self._wanted[number] = asyncio.Event()
                task.add_done_callback(lambda _: self._over(number))
            case More(number) if number in self._wanted:
                self._wanted[number].set()
            case Forget(number) if number in self._tasks:
                self._tasks[number].cancel()

    async def finish(self, within: float) -> None:
        """Wait for those that are under way, so many seconds at most; then end them."""
        if self._tasks:
            _, left = await asyncio.wait(self._tasks.values(), timeout=within)
            for task in left:
                task.cancel()

    def _over(self, number: int) -> None:
        del self._tasks[number], self._wanted[number]

    async def _run(self, ask: Ask) -> None:
        call_id = new_call_id()
        request_id = call_id.hex()
        result: bytes | memoryview = b""
        try:
            answer = await self._call(ask, call_id)
            if len(answer.body) > MAX_RESULT:
                raise TooLarge(f"the result has {len(answer.body)} bytes; at most {MAX_RESULT} are shown")  # noqa: TRY301 - as every other refusal
            result = answer.body
            media_type = answer.meta.media_type or self._contracts[ask.node].result.media_type
            outcome = Outcome(len(result), "", "", "", answer.meta.status, media_type, request_id)
        except IpcError as error:
            code = code_of(type(error))
            outcome = Outcome(0, code, str(error) or sentence_of(error), error.stage, request_id=request_id)
        except Exception as error:  # noqa: BLE001 - whatever it is, the operator is told
            self._log.error("operator_call_failed", error, node=ask.node, request_id=request_id)
            outcome = Outcome(0, "internal", sentence_of(Misuse()), request_id=request_id)
        self._log.info("operator_call", node=ask.node, request_id=request_id, code=outcome.code)
        await self._send(ask.number, outcome, bytes(result))

    async def _call(self, ask: Ask, call_id: bytes) -> Answer:
        contract = self._contracts.get(ask.node)
        if contract is None:
            raise Misuse(f"no group runs {ask.node}")
        if len(ask.body or ask.arguments) > self._max_body:
            raise TooLarge(f"a body has at most {self._max_body} bytes")
        params, body, encoding = packed(contract, ask.arguments, ask.body)
        request_id = call_id.hex()
        trace = f"00-{request_id}-{request_id[:16]}-00"
        me = str(self._caller.me)
        meta = RequestMeta(ask.node, request_id, trace, me, encoding, Encoding.JSON, msgspec.Raw(params))
        call = self._caller.call(ask.node, call_id, encode_meta(meta), body, ask.timeout)
        try:
            return await call.future
        except asyncio.CancelledError:
            self._caller.cancel(call)
            raise

    async def _send(self, number: int, outcome: Outcome, result: bytes) -> None:
        """Part by part, each when the one before has been read: to speak to the supervisor never waits."""
        wanted = self._wanted[number]
        self._say(Answered(number, result[:MAX_PART], outcome))
        for at in range(MAX_PART, len(result), MAX_PART):
            await wanted.wait()
            wanted.clear()
            self._say(Answered(number, result[at : at + MAX_PART]))
