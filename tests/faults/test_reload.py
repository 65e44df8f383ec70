"""Nobody loses a request while everything is replaced: reloads, recycling, more workers and fewer, also with one."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2 as httpx
import pytest
import websockets

sys.path += [str(Path(__file__).parents[1] / s / "programs") for s in ("faults", "e2e")]

from detached import Service, application, shunter
from keeping import Keeping
from scene import eventually

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator

SOAK = "SHUNTER_SOAK" in os.environ
RELOADS = 20 if SOAK else 2
pytestmark = [pytest.mark.fault, pytest.mark.timeout(900 if SOAK else 300), pytest.mark.anyio]

SHOP = """
from exec_worker import node

@node
def ask() -> str:
    return "VERSION"
"""
NODE = """
@node
def {0}() -> str:
    return "{0}"
"""
WIDE = 2
SITE = """
import asyncio
from fastapi import FastAPI, WebSocket
from fastapi.responses import StreamingResponse

app = FastAPI()

@app.get("/page")
def page() -> str:
    return "VERSION"

@app.websocket("/talk")
async def talk(socket: WebSocket) -> None:
    await socket.accept()
    while True:
        await socket.send_text(await socket.receive_text())

@app.get("/count")
async def count(to: int) -> StreamingResponse:
    async def numbers():
        for number in range(to):
            yield f"{number}\\n"
            await asyncio.sleep(0.05)
    return StreamingResponse(numbers())
"""
CONFIG = """
runtime:
  platform:
    process_groups:
      - {name: cpu, workers: 1, stages: [core], max_requests: REQUESTS}
      - {name: web, workers: 1, max_requests: REQUESTS}
  web:
    app: site_app:app
    drain_timeout_seconds: 60
    interfaces: [{kind: http, endpoints: [{path: /ask, node: shop.ask}]}]
"""


class Shop(Service):
    """A service of which there is a new version again and again."""

    def __init__(self, directory: Path, requests: int, *more: str) -> None:
        self.directory = directory
        config = application(directory, "", CONFIG.replace("REQUESTS", str(requests)))
        self.version(0)
        super().__init__(config, directory / "state", *more)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def version(self, number: int) -> None:
        # Another length each time: two versions of one size within a second are one to Python's cache of bytecode.
        said = f"{number} {'+' * number}"
        (self.directory / "shop.py").write_text(SHOP.replace("VERSION", said))
        (self.directory / "site_app.py").write_text(SITE.replace("VERSION", said))

    async def order(self, *words: str) -> subprocess.CompletedProcess[str]:
        done = await asyncio.to_thread(shunter, *words, *self.state)
        assert done.returncode == 0, done
        return done


@asynccontextmanager
async def under_load(shop: Shop, clients: int = 6) -> AsyncIterator[Keeping]:
    """Those who ask without end, and those who ask once a second, as monitors do; all is to have been answered."""
    busy = Keeping(shop.port, ("/ask", "/page"), clients=clients)
    regular = Keeping(shop.port, ("/ask", "/page"), clients=40, pause=1.02)
    tasks = [asyncio.create_task(each.go()) for each in (busy, regular)]
    try:
        yield busy
    finally:
        busy.over = regular.over = True
        await asyncio.gather(*tasks)
    assert (busy.lost, regular.lost) == ([], [])
    assert (busy.bad, regular.bad) == ([], [])


@pytest.mark.soak
async def test_no_request_is_lost_while_everything_is_replaced_also_with_one_worker(tmp_path: Path) -> None:
    shop = Shop(tmp_path, requests=2_000 if SOAK else 400)
    try:
        async with under_load(shop) as load:
            for number in range(1, RELOADS + 1):
                shop.version(number)
                done = await shop.order("reload")
                assert "cpu: code (shop.py) changed: 1 worker is replaced" in done.stdout
                assert "web: code (site_app.py) changed: 1 worker is replaced" in done.stdout
            for workers in ("4", "1", "4") if SOAK else ("3", "1"):
                for group in ("cpu", "web"):
                    await shop.order("scale", group, workers)
            for _ in range(300):
                lives = [(await asyncio.to_thread(shop.workers, group))[0]["incarnation"] for group in ("cpu", "web")]
                if min(lives) > RELOADS + 1:
                    break
                await asyncio.sleep(0.2)
        answers = {body.strip('"').split()[0] for _, body in load.answers}
        assert answers == {str(number) for number in range(RELOADS + 1)}
        assert min(lives) > RELOADS + 1  # both have been recycled, too
    finally:
        shop.end()


async def test_no_request_is_lost_while_single_workers_are_drained_by_hand(tmp_path: Path) -> None:
    shop, rounds = Shop(tmp_path, requests=1_000_000), RELOADS if SOAK else 1
    try:
        async with under_load(shop, clients=2) as load:
            for number in range(1, 1 + rounds):
                for seat in ("cpu-0", "web-0"):
                    asked = load.count
                    done = await shop.order("restart", seat)
                    assert f"{seat}#{number}: is being replaced (drained by hand)" in done.stdout
                    assert done.stdout.endswith(f"{seat}#{number + 1} has the place of {seat}#{number}\n")
                    await eventually(lambda asked=asked: load.count >= asked + 20)
        wrong = await asyncio.to_thread(shunter, "restart", "cpu-l", *shop.state)
        assert (wrong.returncode, wrong.stderr) == (2, "error: there is no worker 'cpu-l'; did you mean 'cpu-0'?\n")
        told = (await shop.order("restart", "cpu-0", "--json")).stdout.splitlines()
        assert {json.loads(line)["answer"] for line in told[:-1]} == {"progress"}
        last = {"answer": "done", "text": f"cpu-0#{rounds + 2} has the place of cpu-0#{rounds + 1}"}
        assert json.loads(told[-1]) == last
    finally:
        shop.end()


@pytest.mark.parametrize("change", ["renamed", "fewer"])
async def test_nobody_asks_for_a_node_that_is_not_there_yet_or_not_any_more(tmp_path: Path, change: str) -> None:
    shop = Shop(tmp_path, requests=1_000_000)
    nodes = ("ask_1" if change == "renamed" else "ask_1 ask_2", "ask_2")

    def version(number: int) -> None:
        names = nodes[number].split()
        (tmp_path / "shop.py").write_text("from exec_worker import node\n" + "".join(map(NODE.format, names)))
        ends = CONFIG.replace("REQUESTS", "1000000").replace("name: web, workers: 1", f"name: web, workers: {WIDE}")
        ends = ends.replace("name: cpu, workers: 1", f"name: cpu, workers: {WIDE}")
        (tmp_path / "shunter.yaml").write_text(ends.replace("shop.ask", f"shop.ask_{number + 1}"))

    try:
        version(0)
        await shop.order("reload")
        async with under_load(shop) as load:
            version(1)
            done = await shop.order("reload")
            assert "web: " in done.stdout
            asked = load.count
            while load.count < asked + 20:  # noqa: ASYNC110 - clients tell nobody
                await asyncio.sleep(0.05)
        assert {body.strip('"').strip() for _, body in load.answers} == {"ask_1", "ask_2", "0"}  # the page says "0"
    finally:
        shop.end()


async def test_streams_are_finished_quiet_clients_heard_and_websockets_told_that_the_service_restarts(
    tmp_path: Path,
) -> None:
    shop = Shop(tmp_path, 1_000_000, "--set", "runtime.web.keep_alive_seconds=60")
    quiet = Keeping(shop.port, ())
    try:
        async with (
            websockets.connect(f"ws://127.0.0.1:{shop.port}/talk") as talk,
            httpx.AsyncClient(base_url=shop.url, timeout=60) as http,
            http.stream("GET", "/count?to=100") as stream,
        ):
            await talk.send("hello")
            assert await talk.recv() == "hello"
            reader, writer = await asyncio.open_connection("127.0.0.1", shop.port)
            assert await quiet.ask(reader, writer, "/page")
            numbers = stream.aiter_lines()
            assert await anext(numbers) == "0"
            shop.version(1)
            reload = asyncio.create_task(shop.order("reload"))
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await talk.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
            async with websockets.connect(f"ws://127.0.0.1:{shop.port}/talk") as again:  # at once, and the new one
                await again.send("hello")
                assert await again.recv() == "hello"
            await asyncio.sleep(1.5)  # longer than a worker waits that nobody replaces
            assert not await quiet.ask(reader, writer, "/page")  # it hangs up now, having said so
            writer.close()
            assert [line async for line in numbers] == [str(number) for number in range(1, 100)]
            await reload
        assert [worker["name"] for worker in shop.workers("web")] == ["web-0#2"]
    finally:
        shop.end()
