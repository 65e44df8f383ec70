"""A web worker's application on a caller that runs nodes at once, in this process, or does as it is told."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

import httpx2
import pytest
from fastapi import FastAPI

from exec_worker.binding import Binding
from exec_worker.components import Components
from exec_worker.signature import contract_of
from ipc import scoreboard
from ipc.call import Answer
from ipc.errors import Cancelled, InvalidRequest, IpcError
from ipc.log import Log
from ipc.messages.calls import ReplyMeta, RequestMeta, decode_request
from ipc.messages.settings import EndpointSettings, LogSettings, WebSettings
from ipc.names import WorkerName
from ipc.priority import NORMAL
from web_worker.app import Built, build
from web_worker.endpoints.http import Shared
from web_worker.events import Events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path


class FakeCall:
    def __init__(
        self, node: str, meta: RequestMeta, body: bytes, timeout: float, slow: Any, priority: int = NORMAL
    ) -> None:
        self.node, self.meta, self.body, self.timeout, self.slow = node, meta, bytes(body), timeout, slow
        self.priority = priority
        self.future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.cancelled = self.runs_on = False

    def reply(self, body: bytes | memoryview = b"null", **meta: Any) -> None:
        self.future.set_result(Answer(ReplyMeta(1, 10, 20, **meta), body))


class FakeCaller:
    """Runs a node the moment it is called. `does` may be set to something else: what to do with a call."""

    me = WorkerName("web", 0, 1)

    def __init__(self) -> None:
        self.calls: list[FakeCall] = []
        self.bindings: dict[str, Binding] = {}
        self.does: Callable[[FakeCall], None] = self.run
        self.gone: list[str] = []
        self.running_on: list[Callable[[], object]] = []
        self.lookout = SimpleNamespace(add=list, stir=lambda: None)

    def call(
        self,
        node: str,
        call_id: bytes,
        meta: bytes,
        body: bytes,
        timeout: float,
        slow: Any = None,
        priority: int = NORMAL,
        way: object = (),
    ) -> FakeCall:
        assert len(call_id) == 16
        assert not way
        call = FakeCall(node, decode_request(meta), body, timeout, slow, priority)
        assert call.meta.node == node
        self.calls.append(call)
        self.does(call)
        return call

    def cancel(self, call: FakeCall) -> None:
        call.cancelled = True
        if not call.future.done():
            call.future.set_exception(Cancelled("the caller went away"))

    def when_gone(self, call: FakeCall, then: Callable[[], object]) -> None:
        assert call.future.done()
        if call.runs_on:
            self.running_on.append(then)
        else:
            then()

    def missing(self) -> list[str]:
        return self.gone

    def run(self, call: FakeCall) -> None:
        binding = self.bindings[call.node]
        try:
            kwargs = binding.decode(call.meta.params, call.meta.encoding, call.body)
            result = binding.encode(binding.run(kwargs), call.meta.reply_as)
        except IpcError as error:
            call.future.set_exception(error if not isinstance(error, InvalidRequest) else InvalidRequest(str(error)))
            return
        call.reply(
            result.body,
            encoding=result.encoding,
            status=result.status,
            media_type=result.media_type,
            headers=result.headers,
        )

    def hold(self, call: FakeCall) -> None:
        """Never answer, and be slow at once."""
        if call.slow is not None:
            call.slow(call)


class Site:
    """One web worker's application, and what it said and did."""

    def __init__(self, built: Built, caller: FakeCaller, app: FastAPI, log_path: Path) -> None:
        self.front, self.health = built
        self.caller, self.app, self._log_path = caller, app, log_path

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.front(scope, receive, send)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx2.AsyncClient]:
        transport = httpx2.ASGITransport(app=self.front)
        async with httpx2.AsyncClient(transport=transport, base_url="http://site") as client:
            yield client

    async def ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        async with self.client() as client:
            return await client.request(method, path, **more)

    async def raw(self, messages: list[dict[str, Any]], **scope: Any) -> list[dict[str, Any]]:
        """Talk ASGI; after the last message nothing more comes. Returns what was sent."""
        sent: list[dict[str, Any]] = []
        waiting = iter(messages)

        async def receive() -> dict[str, Any]:
            if (message := next(waiting, None)) is not None:
                return message
            return await asyncio.get_running_loop().create_future()

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        whole = {
            "type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [], "http_version": "1.1",
            "scheme": "http", "server": ("site", 80), "client": ("127.0.0.1", 1), "root_path": "",
        }  # fmt: skip
        await self.front({**whole, **scope}, receive, send)
        return sent

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log_path.read_text().splitlines()]

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines()]


class MakeSite(Protocol):
    def __call__(
        self, *endpoints: EndpointSettings, nodes: Any = (), app: FastAPI | None = None, **more: Any
    ) -> Site: ...


def endpoint(path: str, function: Callable[..., Any], *methods: str, **more: Any) -> EndpointSettings:
    """A declared endpoint for a node named after its function."""
    more.setdefault("timeout", 5.0)
    return EndpointSettings(
        path=path, methods=methods or ("GET",), node=f"shop.{function.__name__}", group="cpu", **more
    )


@pytest.fixture
def declare() -> Callable[..., EndpointSettings]:
    return endpoint


@pytest.fixture
def caller() -> FakeCaller:
    return FakeCaller()


@pytest.fixture
def make_site(tmp_path: Path, caller: FakeCaller) -> Iterator[MakeSite]:
    path = tmp_path / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    page = scoreboard.create("test")

    def make(
        *endpoints: EndpointSettings,
        nodes: Any = (),
        app: FastAPI | None = None,
        level: Any = "info",
        requests: bool = True,
        max_body: int = 1_048_576,
        docs: bool = True,
        timeout_header: str = "X-Request-Timeout",
    ) -> Site:
        components = Components()
        contracts = []
        for function in nodes:
            contract = contract_of(
                function,
                name=f"shop.{function.__name__}",
                imported_from=f"{function.__module__}:{function.__qualname__}",
                components=components,
            )
            caller.bindings[contract.name] = Binding(function, contract)
            contracts.append(contract)
        settings = WebSettings(
            endpoints=endpoints,
            nodes=tuple(contracts),
            components=components.schemas,
            routes={contract.name: "cpu" for contract in contracts},
            docs=docs,
            default_timeout=30.0,
        )
        log = Log("web-0#1", LogSettings(level=level, requests=requests), fd)
        app = FastAPI(title="Shop") if app is None else app
        shared = Shared(caller, Events(log, verbose=level == "debug"), max_body, timeout_header.lower().encode())
        return Site(build(app, settings, shared, scoreboard.Scoreboard(page)), caller, app, path)

    yield make
    os.close(fd)
    os.close(page)
