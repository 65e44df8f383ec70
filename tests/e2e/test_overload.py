"""More than a service can do: who is refused, who goes first, who has less time. All by what the nodes noted."""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import pytest
from detached import Service, application, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e

NAP, PATIENCE, WORKERS, SECONDS = 0.1, 1.0, 4, 5.0
SHOP = """
import os, time
from pathlib import Path
from exec_worker import current, node

def note(name: str) -> None:
    left = current().deadline - time.monotonic()
    with Path(__file__).with_name("effects").open("a") as effects:
        effects.write(f"{name} {left}\\n")

@node
def nap(name: str, seconds: float) -> str:
    note(name)
    time.sleep(seconds)
    return name

@node
def held(name: str) -> str:
    note(name)
    while not Path(__file__).with_name(f"{name}-may-end").exists():
        time.sleep(0.01)
    return name
"""
CONFIG = """
runtime:
  platform:
    process_groups:
      - {name: web, workers: WEB}
      - {name: cpu, workers: CPU, stages: [core]}
  web:
    keep_alive_seconds: 60
    interfaces:
      - kind: http
        endpoints:
          - {path: /nap, node: shop.nap, timeout_seconds: 20}
          - {path: /short, node: shop.nap, timeout_seconds: 1}
          - {path: /high, node: shop.nap, priority: high}
          - {path: /low, node: shop.nap, priority: low}
          - {path: /held, node: shop.held}
          - {path: /few, node: shop.held, max_concurrency: 1}
"""


def made(directory: Path, web: int, cpu: int) -> Service:
    config = application(directory, SHOP, CONFIG.replace("WEB", str(web)).replace("CPU", str(cpu)))
    return Service(config, directory / "state")


def effects(directory: Path) -> dict[str, float]:
    """What was begun, in order, and how much time it had then."""
    path = directory / "effects"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    assert len({name for name, _ in lines}) == len(lines), "a call was begun twice"
    return {name: float(left) for name, left in lines}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Path]]:
    """One web and one exec worker, so that it is plain who waits for whom."""
    directory = tmp_path_factory.mktemp("one")
    service = made(directory, 1, 1)
    yield service, directory
    service.end()


def waiting(service: Service) -> int:
    """How many calls wait for an exec worker, as far as it was told."""
    return service.group("cpu").get("figures", {"waiting": 0})["waiting"]


def test_the_higher_class_goes_first_and_none_is_left_out(one: tuple[Service, Path]) -> None:
    service, directory = one
    with ThreadPoolExecutor(10) as threads:
        first = threads.submit(service.http.get, "/held", params={"name": "first"})
        until(lambda: "first" in effects(directory))
        asked = []
        for number, path in enumerate(["/low", "/nap", "/high"] * 3):
            name = f"{path[1:]}-{number}"
            asked.append(threads.submit(service.http.get, path, params={"name": name, "seconds": 0.0}))
        until(lambda: waiting(service) == len(asked))
        (directory / "first-may-end").touch()
        assert {call.result().status_code for call in [first, *asked]} == {200}
    begun = [name.partition("-")[0] for name in effects(directory)]
    assert begun[begun.index("first") + 1 :][:9] == ["high"] * 3 + ["nap"] * 3 + ["low"] * 3


def test_an_endpoint_that_has_as_many_calls_as_it_may_refuses_and_the_others_go_on(one: tuple[Service, Path]) -> None:
    service, directory = one
    with ThreadPoolExecutor(2) as threads:
        runs = threads.submit(service.http.get, "/few", params={"name": "runs"})
        until(lambda: "runs" in effects(directory))
        refused = service.http.get("/few", params={"name": "too-many"})
        assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (503, "busy", "1")
        other = threads.submit(service.http.get, "/nap", params={"name": "other", "seconds": 0.0})
        until(lambda: waiting(service) == 1)
        (directory / "runs-may-end").touch()
        assert [each.result().status_code for each in (runs, other)] == [200, 200]
        (directory / "again-may-end").touch()
    assert service.http.get("/few", params={"name": "again"}).status_code == 200
    assert "too-many" not in effects(directory)


def test_a_client_may_have_less_time_than_the_endpoint(one: tuple[Service, Path]) -> None:
    service, directory = one
    query = {"name": "impatient"}
    answer = service.http.get("/held", params=query, headers={"X-Request-Timeout": "1.5"})
    assert (answer.status_code, answer.json()["code"]) == (504, "timeout")
    assert 0 < effects(directory)["impatient"] <= 1.5
    answer = service.http.get("/held", params=query, headers={"X-Request-Timeout": "soon"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "x-request-timeout" in answer.json()["detail"]
    answer = service.http.get("/nap", params={"name": "patient", "seconds": 0}, headers={"X-Request-Timeout": "500"})
    assert answer.status_code == 200
    assert 1 < effects(directory)["patient"] <= 20


class Seen(NamedTuple):
    """One request: when it was due and answered, seconds from the start, and with what."""

    name: str
    due: float
    answered: float
    status: int
    head: bytes


class Crowd:
    """Asks when it is time, whether it was answered or not; as many connections as that takes."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname, parts.port
        self.free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.began = time.monotonic()

    async def ask(self, path: str, name: str, due: float) -> Seen:
        await asyncio.sleep(self.began + due - time.monotonic())
        reader, writer = self.free.pop() if self.free else await asyncio.open_connection(self.host, self.port)
        writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        self.free.append((reader, writer))
        return Seen(name, due, time.monotonic() - self.began, int(head[9:12]), head)

    async def go(self, due: list[tuple[str, str, float]]) -> list[Seen]:
        self.began = time.monotonic()
        try:
            return await asyncio.gather(*(self.ask(*each) for each in due))
        finally:
            for _, writer in self.free:
                writer.close()


def test_at_three_times_the_load_it_works_on_and_begins_nothing_in_vain(tmp_path: Path) -> None:
    service = made(tmp_path, 2, WORKERS)
    try:
        rate = 3 * WORKERS / NAP
        due = [(f"/short?name=n{n}&seconds={NAP}", f"n{n}", n / rate) for n in range(int(SECONDS * rate))]
        due += [("/healthz", "", 0.1 * n) for n in range(int(10 * SECONDS))]
        seen = asyncio.run(Crowd(service.url).go(due))
    finally:
        service.end()
    health = [each for each in seen if not each.name]
    assert {each.status for each in health} == {200}
    assert statistics.median(each.answered - each.due for each in health) < PATIENCE / 4
    calls = [each for each in seen if each.name]
    assert {each.status for each in calls} <= {200, 503, 504}
    done = {each.name for each in calls if each.status == 200}
    refused = [each for each in calls if each.status == 503]
    assert all(re.search(rb"\r\nretry-after: [1-9][0-9]?\r\n", each.head) for each in refused)
    begun = effects(tmp_path)
    assert done <= begun.keys()
    assert not begun.keys() & {each.name for each in refused}
    assert min(begun.values()) > 0, "a call was begun after its time"
    in_time = sum(each.status == 200 and 1 <= each.answered <= SECONDS for each in calls)
    assert in_time >= 0.8 * WORKERS * (SECONDS - 1) / NAP
    assert statistics.median(each.answered - each.due for each in refused) < PATIENCE / 4
