"""Pipelines over several groups, in whole services: right answers, named failures, deadlines, cancels and deaths."""

from __future__ import annotations

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx2 as httpx
import psutil
import pytest
from detached import Service, application, shunter, under_load, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e

SHOP = """
import os, time
from pathlib import Path
from msgspec import Struct
from exec_worker import CallCancelled, current, node

class Words(Struct):
    text: str
    seen: list[str] = []

class Seen(Struct):
    text: str
    seen: list[str]

def note(what: str) -> None:
    with Path(__file__).with_name("notes").open("a") as notes:
        notes.write(what + "\\n")

@node(stage="first")
def decode(text: bytes, tag: str) -> Words:
    return Words(text.decode(), [tag])

@node(stage="first")
def count(words: Words) -> Words:
    return Words(words.text, [*words.seen, str(os.getpid()), current().trace])

@node(stage="second")
def render(words: Words, sleep: float = 0.0) -> Seen:
    note(f"render {os.getpid()} {words.text}")
    try:
        time.sleep(sleep)
    except CallCancelled:
        note(f"cancelled {words.text}")
        raise
    if words.text == "broken":
        raise RuntimeError("no picture")
    return Seen(words.text, [*words.seen, current().trace])

@node(stage="third")
def encode(words: Words, tag: str = "") -> bytes:
    if words.text == "late":
        raise RuntimeError("too late")
    return "|".join([words.text, *words.seen, tag, current().request_id]).encode()

@node(stage="first")
def last(words: Words) -> str:
    return words.text.upper()
"""
CONFIG = """
runtime:
  platform:
    execution_ipc: {transport: TRANSPORT}
    process_groups:
      - {name: web, workers: 2}
      - {name: one, workers: 2, stages: [first]}
      - {name: two, workers: 2, stages: [second]}
      - {name: three, workers: 2, stages: [third]}
  web:
    interfaces:
      - kind: http
        endpoints:
          - {path: '/row/{tag}', pipeline: [shop.decode, shop.count, shop.render, shop.encode]}
          - {path: '/short/{tag}', pipeline: [shop.decode, shop.render, shop.encode], timeout_seconds: 1}
          - {path: '/back/{tag}', pipeline: [shop.decode, shop.render, shop.last]}
          - {path: '/one/{tag}', pipeline: [shop.decode, shop.last]}
          - {path: '/fast/{tag}', pipeline: [shop.decode, shop.render, shop.encode], timeout_seconds: 0.2}
"""


SOAK = int(os.environ.get("SHUNTER_SOAK", "1"))
KILLS = 5 * SOAK
TOLD = {"": 200} | dict.fromkeys(("worker_died", "link_lost", "stage_unreached"), 502)
TOLD |= dict.fromkeys(("no_worker", "busy", "expired", "worker_gone"), 503)
"""How a call may end whose workers are killed: done, or with words that are true."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("row")
    (directory / "notes").touch()
    made = Service(application(directory, SHOP, CONFIG.replace("TRANSPORT", "tcp_local")), directory / "state")
    yield made
    made.end()


def notes(service: Service) -> list[str]:
    return (service.state_dir.parent / "notes").read_text().splitlines()


def ask(http: httpx.Client, path: str, text: str, **query: Any) -> httpx.Response:
    headers = {"content-type": "application/octet-stream"}
    return http.post(path, content=text.encode(), params=query, headers=headers)


def test_a_call_goes_through_all_groups_and_its_trace_with_it(service: Service) -> None:
    answer = ask(service.http, "/row/x", "hello")
    assert answer.status_code == 200, answer.text
    text, tag, pid, trace, again, twice, request = answer.text.split("|")
    assert (text, tag, twice, request) == ("hello", "x", "x", answer.headers["x-request-id"])
    assert int(pid) in {worker["pid"] for worker in service.workers("one")}
    assert trace == again != ""
    assert ask(service.http, "/back/x", "hello").json() == "HELLO"
    assert ask(service.http, "/one/x", "hello").json() == "HELLO"


def test_everybody_gets_the_answer_to_what_he_asked(service: Service) -> None:
    def ask_many(client: int) -> None:
        with httpx.Client(base_url=service.url, timeout=30) as http:
            for number in range(40):
                text = f"{client}.{number}"
                assert ask(http, "/row/t", text).text.split("|")[0] == text

    with ThreadPoolExecutor(8) as clients:
        for asked in [clients.submit(ask_many, client) for client in range(8)]:
            asked.result()


def test_whoever_is_killed_nobody_gets_the_answer_of_another(service: Service) -> None:
    """Eight clients, workers of all groups killed at random moments, and calls whose time is too short for them."""
    ended = False
    rng = random.Random(7)
    told: list[tuple[str, int]] = []

    def ask_on(client: int) -> None:
        number = client
        with httpx.Client(base_url=service.url, timeout=30) as http:
            while not ended:
                text, hurry = f"{client}.{number}", number % 4 == 0
                answer = ask(http, "/fast/t" if hurry else "/row/t", text, sleep=0.4 if hurry else 0.002)
                if answer.status_code == 200:
                    assert answer.text.split("|")[0] == text
                    told.append(("", 200))
                elif (answer.status_code, answer.json()["code"]) != (504, "timeout") or not hurry:
                    told.append((answer.json()["code"], answer.status_code))
                number += 1

    supervisor = psutil.Process(service.pid)
    with ThreadPoolExecutor(8) as clients:
        asked = [clients.submit(ask_on, client) for client in range(8)]
        try:
            for _ in range(KILLS):
                enough = told.count(("", 200)) + 3
                until(lambda enough=enough: told.count(("", 200)) >= enough)
                time.sleep(rng.uniform(0, 0.02))
                rng.choice([each for each in supervisor.children() if "exec_worker" in each.cmdline()]).kill()
        finally:
            ended = True
    for client in asked:
        client.result()
    assert set(told) <= TOLD.items()
    until(lambda: ask(service.http, "/row/x", "again").status_code == 200)


def test_new_keys_and_new_workers_cost_no_call(service: Service) -> None:
    def ask_once(http: httpx.Client) -> httpx.Response:
        return ask(http, "/row/t", "steady", sleep=0.005)

    with under_load(service, 4, ask_once):
        assert shunter("keys", "rotate", *service.state).returncode == 0
        for group in ("two", "one"):
            assert shunter("restart", group, *service.state).returncode == 0
        assert shunter("keys", "rotate", *service.state).returncode == 0


@pytest.mark.parametrize(("text", "stage"), [("broken", "shop.render"), ("late", "shop.encode")])
def test_a_failing_stage_names_itself(service: Service, text: str, stage: str) -> None:
    answer = ask(service.http, "/row/x", text)
    assert (answer.status_code, answer.json()["code"], answer.json()["stage"]) == (500, "node_error", stage)


def test_a_parameter_of_a_later_stage_is_checked_before_the_first_runs(service: Service) -> None:
    before = notes(service)
    answer = ask(service.http, "/row/x", "hello", sleep="long")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert notes(service) == before


def test_the_deadline_travels_along(service: Service) -> None:
    began = time.monotonic()
    answer = ask(service.http, "/short/x", "deadline", sleep=20)
    assert (answer.status_code, answer.json()["stage"]) == (504, "shop.render")
    assert time.monotonic() - began < 10
    until(lambda: sum(worker["running"] for worker in service.workers("two")) == 0)


def test_a_client_that_leaves_ends_the_stage_that_runs(service: Service) -> None:
    with httpx.Client(base_url=service.url, timeout=0.5) as http, pytest.raises(httpx.TimeoutException):
        ask(http, "/row/x", "abandoned", sleep=20)
    until(lambda: "cancelled abandoned" in notes(service))


def test_a_worker_that_dies_in_a_later_stage_is_told_with_it(service: Service) -> None:
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(ask, service.http, "/row/x", "doomed", sleep=20)
        until(lambda: any("doomed" in line for line in notes(service)))
        pid = int(next(line for line in notes(service) if "doomed" in line).split()[1])
        os.kill(pid, signal.SIGKILL)
        answer = asked.result()
    assert (answer.status_code, answer.json()["code"]) == (502, "worker_died")
    assert answer.json()["stage"] == "shop.render"
    assert ask(service.http, "/row/x", "hello").status_code == 200


@pytest.mark.parametrize("transport", ["unix", "memory"])
def test_other_carriers_pass_calls_on_as_well(tmp_path: Path, transport: str) -> None:
    service = Service(application(tmp_path, SHOP, CONFIG.replace("TRANSPORT", transport)), tmp_path / "state")
    try:
        answer = ask(service.http, "/row/x", "hello")
        assert answer.text.split("|")[:2] == ["hello", "x"], answer.text
        assert ask(service.http, "/row/x", "broken").json()["stage"] == "shop.render"
        assert ask(service.http, "/back/x", "hello").json() == "HELLO"
    finally:
        service.end()
