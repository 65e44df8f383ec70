"""Calls that an operator makes: given to a web worker over its lifeline, and answered from there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from msgspec import structs

from ipc.hints import nearest
from ipc.messages.control import MAX_RESULT, Called, Refused
from ipc.messages.errand import Ask, Forget, More
from supervisor.life import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ipc.messages.control import CallNode
    from ipc.messages.errand import Answered, Outcome
    from supervisor.child import Worker

MAX_CALLS = 4
"""How many may be under way at once."""
MARGIN = 5.0
"""How much longer than a call's own time its answer is waited for, seconds."""
_NO_ANSWER = "unknown", "the web worker did not answer in time; it may or may not have been done"
_DIED = "worker_died", "the web worker that asked has ended; it may or may not have been done"


class _Errand:
    """One that is under way."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.name = str(worker.name)
        self.over = anyio.Event()
        self.outcome: Outcome | None = None
        self.result = bytearray()
        self.left = True
        """Whether its worker has ended, or never answered."""


class Errands:
    """A bounded number at a time, each by a web worker that serves and has the fewest."""

    def __init__(self, web: Callable[[], Iterator[Worker]], nodes: Callable[[], Sequence[str]]) -> None:
        self._web = web
        self._nodes = nodes
        self._under_way: dict[int, _Errand] = {}
        self._number = 0

    def refusal(self, node: str) -> Refused | None:
        """Why this cannot be asked now."""
        if node not in (nodes := self._nodes()):
            word = nearest(node, nodes)
            hint = "`shunter check` lists them" if word is None else f"did you mean {word!r}?"
            return Refused(f"there is no node {node!r}; {hint}", usage=True)
        if len(self._under_way) >= MAX_CALLS:
            return Refused(f"{MAX_CALLS} calls are under way already, and no more are allowed; nothing was done")
        return None

    async def call(self, order: CallNode, arguments: bytes, body: bytes | None) -> tuple[Called | Refused, bytes]:
        """Have it called; returns what came of it, and the result."""
        if (refused := self.refusal(order.node)) is not None:
            return refused, b""
        if (worker := self._idlest()) is None:
            return Refused("no web worker is up; nothing was done"), b""
        self._number += 1
        number, errand = self._number, _Errand(worker)
        self._under_way[number] = errand
        try:
            worker.say(Ask(number, order.node, arguments, body, order.timeout))
            with anyio.move_on_after(order.timeout + MARGIN) as patience:
                await errand.over.wait()
        finally:
            del self._under_way[number]
            if not errand.over.is_set():
                worker.say(Forget(number))
        if errand.left or errand.outcome is None:
            code, detail = _NO_ANSWER if patience.cancelled_caught else _DIED
            return Called(0, code, detail, worker=errand.name), b""
        return Called(**structs.asdict(errand.outcome), worker=errand.name), bytes(errand.result)

    def heard(self, worker: Worker, message: Answered) -> None:
        """A worker says what came of one; of others' it knows nothing."""
        errand = self._under_way.get(message.number)
        if errand is None or str(worker.name) != errand.name:
            return
        errand.outcome = errand.outcome or message.outcome
        errand.result += message.part
        whole = 0 if errand.outcome is None else errand.outcome.size
        if errand.outcome is None or len(errand.result) > min(whole, MAX_RESULT):
            errand.over.set()  # that is no answer
        elif len(errand.result) == whole:
            errand.left = False
            errand.over.set()
        elif not message.part:
            errand.over.set()  # nor is that: it would be asked for more for ever
        else:
            worker.say(More(message.number))

    def lost(self, worker: Worker) -> None:
        """A web worker's process has ended."""
        for errand in self._under_way.values():
            if errand.worker is worker:
                errand.over.set()

    def _idlest(self) -> Worker | None:
        busy = [errand.worker for errand in self._under_way.values()]
        serving = [worker for worker in self._web() if worker.state is State.UP]
        return min(serving, key=busy.count, default=None)
