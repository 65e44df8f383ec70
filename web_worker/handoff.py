"""`await handoff(render, body, timeout=5)`: a node called from a route of one's own, with the node's own types."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable  # noqa: TC003 - FastAPI reads the annotations below
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar, overload

import msgspec
from fastapi import Depends
from starlette.requests import HTTPConnection  # noqa: TC002 - as above

from ipc.errors import Misuse
from ipc.messages.calls import Encoding, RequestMeta, encode_meta
from ipc.names import new_call_id
from ipc.priority import RANK
from web_worker.inside import inside_of
from web_worker.patience import HEADER, beyond_ms, shortened
from web_worker.target import NO_PARAMETERS, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipc.call import Call
    from ipc.caller import Caller
    from ipc.contract import NodeContract
    from ipc.priority import Priority
    from web_worker.inside import Inbox, Inside

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")


class Handoffs:
    """Every node this process may call. One for a web worker."""

    def __init__(
        self, caller: Caller, nodes: Sequence[NodeContract], default_timeout: float, timeout_header: bytes = HEADER
    ) -> None:
        self.caller = caller
        self.timeout_header = timeout_header
        self.default_timeout = default_timeout
        self.me = str(caller.me)
        self._contracts = {contract.name: contract for contract in nodes}
        self._by_origin = {contract.imported_from or contract.name: contract for contract in nodes}
        self._targets: dict[Any, Target] = {}

    def target(self, node: Callable[..., Any] | str) -> Target:
        """The node a route names, by function or by dotted name; Misuse if no group runs it."""
        try:
            target = self._targets.get(node)
        except TypeError:  # it cannot be a key
            target = None
        if target is None:
            contract = self._contracts.get(node) if isinstance(node, str) else self._contract_of(node)
            if contract is None:
                raise Misuse(f"{node!r} is no node that a group of this service runs; `shunter check` lists them")
            target = self._targets[node] = Target(contract, None if isinstance(node, str) else node)
        return target

    def _contract_of(self, function: Callable[..., Any]) -> NodeContract | None:
        module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
        found = self._by_origin.get(f"{module}:{name}") or self._by_origin.get(f"{module}.{name}")
        if found is None:  # it may be known by another name than its own
            found = next((each for each in self._by_origin.values() if _imported(each) is function), None)
        return found


def _imported(contract: NodeContract) -> object:
    """The node's function, if its module happens to be imported here."""
    module, _, path = contract.imported_from.partition(":")
    value: object = sys.modules.get(module)
    for part in path.split("."):
        value = getattr(value, part, None)
    return value


class HandoffCaller:
    """Calls nodes in other processes for one request: its id, its trace. If its client leaves, they are cancelled."""

    def __init__(
        self,
        handoffs: Handoffs,
        inside: Inside | None = None,
        limit: float | None = None,
        priority: Priority = "normal",
    ) -> None:
        self._handoffs, self._inside, self._limit, self._priority = handoffs, inside, limit, priority

    def within(self, seconds: float | None = None, *, priority: Priority | None = None) -> HandoffCaller:
        """The same with another time limit: for keyword arguments, and for nodes that have a `timeout` of their own.

        `priority` says who goes first where calls wait: "high", "normal" or "low".
        """
        if priority is not None and priority not in RANK:
            raise Misuse(f"a priority is one of {', '.join(RANK)}, not {priority!r}")
        limit = self._limit if seconds is None else seconds
        return HandoffCaller(self._handoffs, self._inside, limit, priority or self._priority)

    @overload
    async def __call__(self, node: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def __call__(self, node: Callable[[A], R], a: A, /, *, timeout: float) -> R: ...  # noqa: ASYNC109 - the call's own
    @overload
    async def __call__(self, node: Callable[[A, B], R], a: A, b: B, /, *, timeout: float) -> R: ...  # noqa: ASYNC109
    @overload
    async def __call__(self, node: Callable[[A, B, C], R], a: A, b: B, c: C, /, *, timeout: float) -> R: ...  # noqa: ASYNC109
    @overload
    async def __call__(self, node: Callable[[A, B, C, D], R], a: A, b: B, c: C, d: D, /, *, timeout: float) -> R: ...  # noqa: ASYNC109
    @overload
    async def __call__(self, node: str, /, *, timeout: float = ..., **kwargs: Any) -> Any: ...  # noqa: ANN401, ASYNC109
    async def __call__(  # type: ignore[misc]  # a node may have a `timeout` of its own: `within` is for those
        self,
        node: Any,
        /,
        *args: Any,
        timeout: float | None = None,  # noqa: ASYNC109 - it travels with the call
        **kwargs: Any,
    ) -> Any:
        """Run `node` in a worker of its group and return what it returns.

        `timeout` is in seconds; without it the service's default holds. Raises the errors of `ipc.errors`: `Rejected`
        (nothing was done), `OutcomeUnknown` (it may have been), `CallFailed` (the answer is no). Left alone they become
        the same HTTP answers as those of a declared endpoint.

        A batched node (`@node(batch=...)`) takes a list, and each item is a call of its own: they run together with
        each other and with those of other requests. The first error is raised and is that of one item; the other calls
        are cancelled, and some of them may have been done.
        """
        handoffs = self._handoffs
        target = handoffs.target(node)
        if timeout is not None and target.has_timeout:
            kwargs["timeout"], timeout = timeout, None
        limit = timeout if timeout is not None else self._limit
        if limit is None:
            limit = handoffs.default_timeout
        elif not 0 < limit < math.inf:
            raise Misuse(f"{target.name}: a time limit is more than 0 seconds, not {limit}")
        if target.batched:
            return await self._each(target, target.pack_each(args, kwargs), limit)
        call = self._begin(target, *target.pack(args, kwargs), limit)
        try:
            answer = await call.future
        except BaseException:
            handoffs.caller.cancel(call)  # of a route that was ended; for everything else it is over already
            raise
        return target.read(answer)

    async def _each(self, target: Target, bodies: list[tuple[bytes, Encoding]], limit: float) -> list[Any]:
        """One result for each body, in their order."""
        calls: list[Call] = []
        try:
            for body, encoding in bodies:
                calls.append(self._begin(target, NO_PARAMETERS, body, encoding, limit))
            answers = await asyncio.gather(*(call.future for call in calls))
        except BaseException:
            for call in calls:
                self._handoffs.caller.cancel(call)
                if call.future.done() and not call.future.cancelled():
                    call.future.exception()  # or asyncio complains that nobody has asked for it
            raise
        return [target.read(answer) for answer in answers]

    def _begin(self, target: Target, params: bytes, body: bytes, encoding: Encoding, limit: float) -> Call:
        """Send one call on its way."""
        handoffs, inside = self._handoffs, self._inside
        call_id, whole = new_call_id(), limit
        if inside is not None:
            request_id, trace = inside.who.request_id, inside.who.trace
            if inside.who.timeout:
                limit = shortened(limit, inside.who.timeout, handoffs.timeout_header)
        else:
            request_id = call_id.hex()
            trace = f"00-{request_id}-{request_id[:16]}-00"
        meta = RequestMeta(
            target.name,
            request_id,
            trace,
            handoffs.me,
            encoding,
            Encoding.MSGPACK,
            msgspec.Raw(params),
            beyond_ms=beyond_ms(whole, limit) if limit < whole else 0,
        )
        inbox = inside.inbox if inside is not None else None
        slow = None if inbox is None or inbox.answered else _watcher(handoffs.caller, inbox)
        return handoffs.caller.call(target.name, call_id, encode_meta(meta), body, limit, slow, RANK[self._priority])


def _watcher(caller: Caller, inbox: Inbox) -> Callable[[Call], None]:
    """What looks after a call that takes its time: it is cancelled if the client leaves."""

    async def until_gone(call: Call) -> None:
        if await inbox.departed():
            caller.cancel(call)

    def watch(call: Call) -> None:
        task = asyncio.get_running_loop().create_task(until_gone(call))
        call.future.add_done_callback(lambda _: task.cancel())

    return watch


async def get_handoff(connection: HTTPConnection) -> HandoffCaller:
    """The dependency behind `Handoff`, for `app.dependency_overrides` in tests."""
    inside = inside_of(connection.scope)
    if inside is None:
        raise Misuse("Handoff works inside of a service that Shunter runs; in tests override `get_handoff`")
    return HandoffCaller(inside.handoffs, inside)


Handoff = Annotated[HandoffCaller, Depends(get_handoff)]
"""What a route of your own FastAPI app asks for: `async def report(body: Ask, handoff: Handoff) -> Report`."""
