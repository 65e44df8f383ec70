"""The whole way: HTTP, links over TCP, an exec worker in a thread. Nothing is put in place of anything."""

import asyncio
import json
import os
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx2
import msgspec
import pydantic
import pytest
from fastapi import FastAPI

from exec_worker import InvalidRequest, Response, current, node
from exec_worker.binding import Binding
from exec_worker.components import Components
from exec_worker.engine import Engine
from exec_worker.lane import Lanes
from exec_worker.service import Service
from exec_worker.signature import contract_of
from ipc import scoreboard
from ipc.caller import Caller
from ipc.errors import Misuse
from ipc.ledger import Ledger
from ipc.log import Log
from ipc.messages.lifeline import Peer, Peers
from ipc.messages.settings import EndpointSettings, Limits, LogSettings, WebSettings
from ipc.names import WorkerName
from ipc.responder import Responder
from ipc.scoreboard import Scoreboard
from ipc.wire.keys import leaf_key
from ipc.wire.session import Terms
from ipc.wire.signing import ALG_OF
from web_worker import Handoff
from web_worker.app import Built, base_app, build, find
from web_worker.endpoints.http import Shared
from web_worker.events import Events
from web_worker.server import Server

CANARY = "hunter2-canary"
ME, WORKER = WorkerName("web", 0, 1), WorkerName("cpu", 0, 1)
BEGUN, GO = threading.Event(), threading.Event()
SEEN: list[str] = []


class Order(msgspec.Struct):
    item: str
    count: Annotated[int, msgspec.Meta(ge=1)] = 1


class Model(pydantic.BaseModel):
    size: Annotated[int, pydantic.Field(ge=3)]


@dataclass
class Report:
    words: int
    request_id: str


def buy(shop: str, order: Order, tags: list[str] | None = None, fast: bool = False) -> dict[str, Any]:
    return {"shop": shop, "item": order.item, "count": order.count, "tags": tags, "fast": fast}


def shrink(image: bytes, width: int = 1_000_000) -> Annotated[bytes, "image/webp"]:
    return image[:width]


def grow(model: Model) -> Model:
    return Model(size=model.size + 1)


def custom(status: int) -> Response:
    return Response({"status": status}, status, headers={"X-Total": "3"})


def count(text: str) -> Report:
    return Report(len(text.split()), current().request_id)


def breaks() -> None:
    raise ZeroDivisionError(CANARY)


def fussy() -> None:
    raise InvalidRequest("not on a Sunday")


@node(cancel="ignore")
def hold() -> bool:
    BEGUN.set()
    while not current().cancelled and not GO.wait(0.001):
        pass
    SEEN.append("cancelled" if current().cancelled else "wanted")
    return True


NODES = {function.__name__: function for function in (buy, shrink, grow, custom, count, breaks, fussy, hold)}
ENDPOINTS = (
    ("/{shop}/orders", "buy", "POST"), ("/images", "shrink", "POST"), ("/models", "grow", "POST"),
    ("/custom", "custom", "GET"), ("/breaks", "breaks", "GET"), ("/fussy", "fussy", "GET"), ("/hold", "hold", "GET"),
)  # fmt: skip


def own_app() -> FastAPI:
    app = FastAPI(title="Shop")

    @app.post("/count")
    async def counted(text: str, handoff: Handoff) -> Report:
        return await handoff(count, text, timeout=20)

    return app


class Stack:
    def __init__(self, built: Built, caller: Caller, log: Path) -> None:
        self.built, self.caller, self._log = built, caller, log

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx2.AsyncClient]:
        transport = httpx2.ASGITransport(app=self.built.front)
        async with httpx2.AsyncClient(transport=transport, base_url="http://site") as client:
            yield client

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]


@asynccontextmanager
async def exec_worker(log: Log, terms: Terms, nodes: dict[str, Binding], page: int) -> AsyncIterator[Peer]:
    """What `exec_worker.process` does, without a process."""
    loop = asyncio.new_event_loop()
    io = threading.Thread(target=loop.run_forever)
    lanes = Lanes(engine := Engine(nodes, log), Ledger(-1), kill_grace=0.25, main=False)
    service = Service(engine, Scoreboard(page, 1), lanes)
    responder = Responder(WORKER, secret := os.urandom(32), terms, service)
    main = threading.Thread(target=lanes.run, args=(service.finish,))
    io.start()
    main.start()

    async def leave() -> None:
        responder.close()
        while responder.links:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.001)

    address = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(responder.listen("127.0.0.1", 0), loop))
    try:
        yield Peer(str(WORKER), address, 1, leaf_key(secret, ME))
    finally:
        GO.set()
        loop.call_soon_threadsafe(service.drain)
        await asyncio.to_thread(main.join)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(leave(), loop))
        loop.call_soon_threadsafe(loop.stop)
        await asyncio.to_thread(io.join)
        loop.close()


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    for event in (BEGUN, GO):
        event.clear()
    SEEN.clear()
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    page = scoreboard.create("test")
    log = Log(str(ME), LogSettings(requests=True), fd)
    components = Components()
    contracts = {
        name: contract_of(each, name=name, imported_from=f"{__name__}:{name}", components=components)
        for name, each in NODES.items()
    }
    limits = Limits()
    terms = Terms("tcp_local", ALG_OF["hmac"], 1, limits.max_payload, int(limits.ttl * 1000))
    bindings = {name: Binding(NODES[name], contract) for name, contract in contracts.items()}
    async with exec_worker(log, terms, bindings, page) as peer:
        caller = Caller(ME, terms, limits, dict.fromkeys(NODES, "cpu"))
        settings = WebSettings(
            endpoints=tuple(
                EndpointSettings(path, (method,), node, "cpu", timeout=30.0) for path, node, method in ENDPOINTS
            ),
            nodes=tuple(contracts.values()),
            components=components.schemas,
            routes=dict.fromkeys(NODES, "cpu"),
        )
        shared = Shared(caller, Events(log, verbose=False), limits.max_payload)
        built = build(own_app(), settings, shared, Scoreboard(page))
        caller.update(Peers((peer,)))
        yield Stack(built, caller, tmp_path / "log")
        await caller.close()
    os.close(fd)
    os.close(page)


async def test_a_request_goes_all_the_way_and_back(stack: Stack) -> None:
    async with stack.client() as client:
        answer = await client.post("/tea/orders?tags=a&tags=b&fast=true", json={"item": "green", "count": 2})
        assert answer.status_code == 200
        assert answer.json() == {"shop": "tea", "item": "green", "count": 2, "tags": ["a", "b"], "fast": True}
        answer = await client.get("/custom?status=202")
        assert (answer.status_code, answer.headers["x-total"], answer.json()) == (202, "3", {"status": 202})
        answer = await client.post("/images?width=2", content=b"abc")
        assert (answer.content, answer.headers["content-type"]) == (b"ab", "image/webp")
        assert (await client.get("/readyz")).status_code == 200
    assert stack.caller.waiting == 0


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 1_000_000])
async def test_bodies_of_every_size_come_back_as_they_were(stack: Stack, size: int) -> None:
    body = os.urandom(size)
    async with stack.client() as client:
        assert (await client.post("/images", content=body)).content == body


async def test_what_only_the_node_can_check_is_refused_the_same(stack: Stack) -> None:
    async with stack.client() as client:
        assert (await client.post("/models", json={"size": 3})).json() == {"size": 4}
        for answer in (await client.post("/models", json={"size": 2}), await client.get("/fussy")):
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_a_node_that_raises_is_told_to_the_log_alone(stack: Stack) -> None:
    async with stack.client() as client:
        answer = await client.get("/breaks", headers={"x-request-id": "r-1"})
    assert (answer.status_code, answer.json()["code"]) == (500, "node_error")
    assert CANARY not in answer.text
    assert {line["event"] for line in stack.lines() if line["request_id"] == "r-1"} == {"node_failed", "failed"}


async def test_a_route_of_the_apps_own_hands_off_under_the_same_id(stack: Stack) -> None:
    async with stack.client() as client:
        answer = await client.post("/count?text=a+b+c", headers={"x-request-id": "r-1"})
    assert answer.json() == {"words": 3, "request_id": "r-1"}


async def test_many_at_once_get_their_own_answers(stack: Stack) -> None:
    async with stack.client() as client:
        answers = await asyncio.gather(*(client.get(f"/custom?status={210 + n % 80}") for n in range(200)))
    assert [answer.json()["status"] for answer in answers] == [210 + n % 80 for n in range(200)]
    assert stack.caller.waiting == 0


async def test_a_client_that_hangs_up_takes_its_call_with_it(stack: Stack) -> None:
    """Once through a real server: what runs is told so, and what waits behind it is never begun."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = asyncio.Event()
        settings = WebSettings((), (), {}, {}, keep_alive=30.0)
        server = Server(stack.built.front, settings, started.set)
        serving = asyncio.create_task(server.serve([listener]))
        await started.wait()
        writers = []
        for _ in range(2):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"GET /hold HTTP/1.1\r\nhost: x\r\n\r\n")
            writers.append(writer)
            await asyncio.to_thread(BEGUN.wait)
        while stack.caller.waiting < 2:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.001)
        for left, writer in enumerate(reversed(writers)):
            writer.transport.abort()
            while stack.caller.waiting > 1 - left:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.001)
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
            assert (await client.get("/custom?status=200")).json() == {"status": 200}
        server.drain()
        await serving
    assert SEEN == ["cancelled"]
    assert [line["event"] for line in stack.lines()].count("abandoned") == 2


def test_an_app_has_to_be_one_of_fastapi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "shop_apps.py").write_text("from fastapi import FastAPI\napp = FastAPI()\nasync def bare(*a): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(base_app(WebSettings((), (), {}, {}, app="shop_apps:app")), FastAPI)
    with pytest.raises(Misuse, match="has to be a FastAPI app"):
        base_app(WebSettings((), (), {}, {}, app="shop_apps:bare"))
    assert base_app(WebSettings((), (), {}, {}, title="Mine")).title == "Mine"


def test_names_are_found_with_a_colon_and_without() -> None:
    assert find("os.path.join") is find("os.path:join") is os.path.join
    assert find("pathlib:Path.cwd") == Path.cwd
