"""Nodes that run calls together, in whole services: each caller sends one item and gets one answer."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from detached import Service, application, shunter, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx2 as httpx

pytestmark = pytest.mark.e2e

SHOP = """
import os, time
from dataclasses import dataclass
from pathlib import Path
from fastapi import FastAPI
from exec_worker import Batch, DeadlineExceeded, InvalidRequest, current, node
from web_worker import Handoff

@dataclass
class Job:
    name: str
    seconds: float = 0.0

    def __post_init__(self) -> None:  # of which web workers know nothing
        if self.name == "invalid":
            raise ValueError("no such job")

def note(*said: object) -> None:
    with Path(__file__).with_name("notes").open("a") as notes:
        print(*said, file=notes)

def run(jobs: list[Job]) -> list[str | Exception]:
    assert len(current().items) == len(jobs)
    try:
        note(*(job.name for job in jobs))
        time.sleep(max(job.seconds for job in jobs))
    except DeadlineExceeded:
        note("interrupted")
        raise
    if any(job.name == "dies" for job in jobs):
        os._exit(1)
    if any(job.name == "raises" for job in jobs):
        raise KeyError("one of them")
    answers = {"refused": InvalidRequest("not this one"), "fails": KeyError("this one")}
    return [answers.get(job.name, job.name.upper()) for job in jobs]

@node(batch=Batch(max_size=8, max_wait_ms=20))
def once(jobs: list[Job]) -> list[str | Exception]:
    return run(jobs)

@node(batch=Batch(max_size=8))
def raising(jobs: list[Job]) -> list[str | Exception]:
    return run(jobs)

@node(batch=Batch(max_size=8))
def mixed(jobs: list[Job]) -> list[str | Exception]:
    return run(jobs)

@node(batch=Batch(max_size=8))
def timed(jobs: list[Job]) -> list[str | Exception]:
    return run(jobs)

@node(batch=Batch(max_size=8), idempotent=True)
def again(jobs: list[Job]) -> list[str | Exception]:
    return run(jobs)

@node(batch=Batch(max_size=8))
def short(jobs: list[Job]) -> list[str]:
    return [job.name for job in jobs][1:]

@node(batch=Batch(max_size=8))
def reverse(images: list[bytes]) -> list[bytes]:
    return [image[::-1] for image in images]

@node
def plain(name: str) -> str:
    return name

app = FastAPI()

@app.get("/all")
async def all_of_them(handoff: Handoff, names: str) -> list[str]:
    return await handoff(once, [Job(name) for name in names.split(",")])
"""
GROUPS = """
runtime:
  platform:
    process_groups:
      - {name: web, workers: 1}
      - {name: cpu, workers: 1, stages: [core], kill_grace_seconds: 10}
"""
CONFIG = f"""{GROUPS}
  web:
    app: shop:app
    interfaces:
      - kind: http
        endpoints:
          - {{path: /once, node: shop.once}}
          - {{path: /raising, node: shop.raising}}
          - {{path: /mixed, node: shop.mixed}}
          - {{path: /timed, node: shop.timed}}
          - {{path: /hasty, node: shop.timed, timeout_seconds: 2}}
          - {{path: /again, node: shop.again}}
          - {{path: /short, node: shop.short}}
          - {{path: /reverse, node: shop.reverse}}
          - {{path: /plain, node: shop.plain}}
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("shop")
    made = Service(application(directory, SHOP, CONFIG), directory / "state")
    yield made
    made.end()


@pytest.fixture
def batches(service: Service) -> Notes:
    """What ran together, in order: to be read again after each question."""
    return Notes(service)


class Notes(list[list[str]]):
    """What the nodes noted since the test began."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self._path = service.state_dir.with_name("notes")
        self._before = len(self._lines())

    def _lines(self) -> list[str]:
        return self._path.read_text().splitlines() if self._path.exists() else []

    def read(self) -> list[list[str]]:
        self[:] = [line.split() for line in self._lines()[self._before :]]
        return self


def together(service: Service, *asked: tuple[str, str], seconds: float = 0.0) -> list[httpx.Response]:
    """All at once, while the worker is busy, for as long as is usual: they are the next batch."""
    assert service.http.post(asked[0][0], json={"name": "usual", "seconds": 0.6}).status_code == 200
    before = Notes(service)
    with ThreadPoolExecutor(len(asked) + 1) as threads:
        busy = threads.submit(service.http.post, asked[0][0], json={"name": "busy", "seconds": 0.6})
        until(before.read)
        told = list(threads.map(lambda a: service.http.post(a[0], json={"name": a[1], "seconds": seconds}), asked))
        assert busy.result().status_code == 200
    return told


def told(answers: list[httpx.Response]) -> list[tuple[int, str]]:
    return [(a.status_code, a.json() if a.status_code == 200 else a.json()["code"]) for a in answers]


def test_those_who_ask_at_once_run_together_and_get_their_own(service: Service, batches: Notes) -> None:
    names = [f"job-{number}" for number in range(200)]
    with ThreadPoolExecutor(24) as threads:
        answers = list(
            threads.map(lambda name: service.http.post("/once", json={"name": name, "seconds": 0.01}), names)
        )
    assert told(answers) == [(200, name.upper()) for name in names]
    ran = batches.read()
    assert sorted(name for batch in ran for name in batch) == sorted(names)
    assert 2 < max(len(batch) for batch in ran) <= 8
    assert len(ran) < 120


def test_what_is_wrong_with_one_is_its_own(service: Service, batches: Notes) -> None:
    names = ["a", "invalid", "refused", "b", "fails", "c"]
    answers = together(service, *(("/mixed", name) for name in names))
    assert told(answers) == [
        (200, "A"),
        (422, "invalid_request"),
        (422, "invalid_request"),
        (200, "B"),
        (500, "node_error"),
        (200, "C"),
    ]
    assert "no such job" in answers[1].text
    assert "not this one" in answers[2].text
    assert "this one" not in answers[4].text
    assert [sorted(batch) for batch in batches.read()[2:]] == [["a", "b", "c", "fails", "refused"]]


def test_when_the_node_raises_all_have_failed_or_each_is_tried_alone(service: Service, batches: Notes) -> None:
    assert told(together(service, ("/raising", "a"), ("/raising", "raises"))) == [(500, "node_error")] * 2
    assert told(together(service, ("/again", "a"), ("/again", "raises"), ("/again", "b"))) == [
        (200, "A"),
        (500, "node_error"),
        (200, "B"),
    ]
    ran = [sorted(batch) for batch in batches.read() if batch not in (["usual"], ["busy"])]
    assert ran[:2] == [["a", "raises"], ["a", "b", "raises"]]
    assert sorted(ran[2:]) == [["a"], ["b"], ["raises"]]


def test_who_ran_with_one_that_killed_the_worker_is_tried_again_without_it(service: Service, batches: Notes) -> None:
    (kept, killer) = together(service, ("/again", "kept"), ("/again", "dies"))
    assert told([kept]) == [(200, "KEPT")]
    assert killer.status_code >= 500
    ran = [sorted(batch) for batch in batches.read() if batch not in (["usual"], ["busy"])]
    assert ran[0] == ["dies", "kept"]
    assert sorted(ran[1:]) == [["dies"], ["kept"]]


def test_a_list_of_another_length_is_nobodys_answer(service: Service) -> None:
    answer = service.http.post("/short", json={"name": "a"})
    assert told([answer]) == [(500, "bad_result")]


def test_a_batch_of_bytes(service: Service) -> None:
    answer = service.http.post("/reverse", content=b"abc", headers={"content-type": "application/octet-stream"})
    assert (answer.status_code, answer.content) == (200, b"cba")


def test_the_time_of_one_is_not_that_of_the_others(service: Service, batches: Notes) -> None:
    (worker,) = service.workers("cpu")
    answers = together(service, ("/timed", "patient"), ("/hasty", "hasty"), seconds=2.5)
    assert told(answers) == [(200, "PATIENT"), (504, "timeout")]
    assert [sorted(batch) for batch in batches.read()[2:]] == [["hasty", "patient"]]
    answers = together(service, ("/hasty", "one"), ("/hasty", "two"), seconds=20)
    assert told(answers) == [(504, "timeout")] * 2
    assert service.http.get("/plain", params={"name": "x"}).json() == "x"
    assert batches.read()[-1] == ["interrupted"]
    assert [each["pid"] for each in service.workers("cpu")] == [worker["pid"]]


def test_a_list_that_is_handed_off_is_a_call_for_each(service: Service, batches: Notes) -> None:
    assert service.http.get("/all", params={"names": "a,b,c"}).json() == ["A", "B", "C"]
    assert sorted(name for batch in batches.read() for name in batch) == ["a", "b", "c"]
    answer = service.http.get("/all", params={"names": "a,refused,c"})
    assert told([answer]) == [(422, "invalid_request")]


def test_plain_nodes_are_served_beside_batches(service: Service) -> None:
    with ThreadPoolExecutor(12) as threads:
        load = [threads.submit(service.http.post, "/once", json={"name": "a", "seconds": 0.02}) for _ in range(100)]
        answers = [service.http.get("/plain", params={"name": str(number)}) for number in range(10)]
        assert {done.result().status_code for done in load} == {200}
    assert [answer.json() for answer in answers] == [str(number) for number in range(10)]


def test_the_document_shows_what_one_caller_sends(service: Service) -> None:
    operation = service.http.get("/openapi.json").json()["paths"]["/reverse"]["post"]
    assert operation["requestBody"]["content"] == {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
    }


def test_what_cannot_be_batched_is_told_before_anything_starts(tmp_path: Path) -> None:
    source = (
        "from exec_worker import Batch, node\n@node(batch=Batch())\ndef f(a: list[str], b: int) -> list[str]: ...\n"
    )
    config = application(tmp_path, source, f"discovery: {{packages: [shop]}}\n{GROUPS}")
    checked = shunter("check", "-c", str(config))
    assert checked.returncode == 2, checked
    assert "has to take one parameter" in " ".join((checked.stdout + checked.stderr).split())


def test_check_tells_of_batches(tmp_path: Path) -> None:
    source = "from exec_worker import Batch, node\n@node(batch=Batch(4, 2.5))\ndef f(a: list[str]) -> list[str]: ...\n"
    config = application(tmp_path, source, "discovery: {packages: [shop]}\n" + GROUPS)
    (found,) = json.loads(shunter("check", "--json", "-c", str(config)).stdout)["nodes"]
    assert found["batch"] == {"max_size": 4, "max_wait_ms": 2.5}
