"""What is small on the wire and large in memory, or never ends: refused before it is built, and nobody is hurt.

The audit hook that the service's own code sets up in its workers sees to it that nothing they read is unpickled,
compiled or run: from the import of the application on, through every call and every bomb.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2 as httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).parent / "programs" / "bombs.py"
MIB = 1 << 20
JSON = {"content-type": "application/json"}
SHAPE = {"detail", "status_code", "code", "request_id"}


@pytest.fixture(scope="module")
def thrown() -> list[dict[str, Any]]:
    run = subprocess.run(
        [sys.executable, str(PROGRAM)], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=True
    )
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_every_bomb_is_refused_by_every_reader_in_no_time_and_no_memory(thrown: list[dict[str, Any]]) -> None:
    """Typical are 6 ms (long numbers: 30) and nothing at all; what is asserted leaves room for a busy machine."""
    guarded = [one for one in thrown if one["reader"] not in {"msgspec alone", "yaml"}]
    assert len(guarded) > 100
    for one in guarded:
        assert re.match("(OverLimit|DecodeError|ValidationError|InvalidRequest): ", one["refused"]), one
        assert one["kib"] < 2048, one
        assert one["ms"] < (2_000 if one["reader"] != "description" else 20_000), one  # that one is read once, at start


def test_a_configuration_does_not_explode_either(thrown: list[dict[str, Any]]) -> None:
    for one in thrown:
        if one["reader"] == "yaml":
            assert one["refused"].startswith("ConfigError: "), one
            assert one["kib"] < 65_536, one


def test_without_the_guard_the_bomb_goes_off(thrown: list[dict[str, Any]]) -> None:
    (unguarded,) = (one for one in thrown if one["reader"] == "msgspec alone")
    assert unguarded["refused"] == ""
    assert unguarded["kib"] > 32_768


NODES = """
import os, pickle, sys
from typing import Any
from exec_worker import node

def note(event, arguments):
    if event == "pickle.find_class" or event == "marshal.loads" or event == "exec":
        frame = sys._getframe(1)
        ours = frame.f_globals.get("__name__", "").partition(".")[0] in OURS
        if ours or event == "pickle.find_class":
            with open(NOTES, "a") as notes:
                notes.write(f"{event} {arguments} in {frame.f_code.co_filename}\\n")

OURS = {"ipc", "exec_worker", "web_worker", "supervisor", "shop"}
NOTES = os.path.join(os.path.dirname(__file__), "notes")

@node(stage="core")
def echo(value: dict[str, Any]) -> dict[str, Any]:
    return value

@node(stage="core")
def narrow(value: dict[str, int]) -> int:
    return len(value)

@node(stage="core")
def deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value

@node(stage="core")
def many(count: int) -> Any:
    return [{} for _ in range(count)]

@node(stage="core")
def unpickle(times: int = 1) -> str:
    return str(pickle.loads(b"cos\\ngetcwd\\n."))

sys.addaudithook(note)
"""
APP = """
from typing import Any
from fastapi import FastAPI
from shop import nodes
from web_worker import Handoff

app = FastAPI()

@app.get("/deep")
async def deep(levels: int, handoff: Handoff) -> int:
    return len(await handoff(nodes.deep, levels))

@app.get("/many")
async def many(count: int, handoff: Handoff) -> int:
    return len(await handoff(nodes.many, count))

@app.get("/far")
async def far(count: int, handoff: Handoff) -> int:
    return len(await handoff(nodes.echo, {"a": [{}] * count}))
"""
CONFIG = """
runtime:
  platform:
    process_groups: [{name: web, workers: 1}, {name: cpu, workers: 1, stages: [core]}]
  web:
    port: 0
    app: shop.app:app
    interfaces:
      - kind: http
        binds: [request, response]
        endpoints:
          - {path: /echo, methods: [POST], node: shop.nodes.echo}
          - {path: /narrow, methods: [POST], node: shop.nodes.narrow}
          - {path: /unpickle, methods: [GET], node: shop.nodes.unpickle}
discovery: {packages: [shop]}
"""


class Service:
    """A whole service, and what its workers noted."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "shop").mkdir()
        for name, text in (("__init__", ""), ("nodes", NODES), ("app", APP)):
            (home / "shop" / f"{name}.py").write_text(text)
        (home / "shunter.yaml").write_text(CONFIG)
        started = self.shunter("start", "--detach", "-c", str(home / "shunter.yaml"))
        assert started.returncode == 0, started
        found = re.search(r"http://[\d.]+:\d+", started.stdout)
        assert found, started
        self.http = httpx.Client(base_url=found[0], timeout=30)

    def shunter(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "shunter.py"), *arguments, "--state-dir", str(self.home / "state")]
        return subprocess.run(command, cwd=self.home, capture_output=True, text=True, check=False, timeout=90)

    def workers(self) -> dict[str, tuple[int, int]]:
        """The pid of each, and how much memory it takes."""
        status = json.loads(self.shunter("status", "--json").stdout)
        return {
            worker["name"]: (worker["pid"], worker["rss_bytes"])
            for group in status["groups"]
            for worker in group["workers"]
        }

    def notes(self) -> str:
        notes = self.home / "shop" / "notes"
        return notes.read_text() if notes.exists() else ""

    def serves(self) -> None:
        assert self.http.post("/echo", json={"a": [1, {"b": 2}]}).json() == {"a": [1, {"b": 2}]}
        assert self.http.get("/deep?levels=31").json() == 1

    def end(self) -> None:
        self.http.close()
        self.shunter("stop", "--force")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("shop"))
    yield made
    made.end()


BODIES = {
    "depth": (b"[" * (MIB - 1), "elements"),
    "a little deep": (b'{"a":' + b"[" * 70 + b"]" * 70 + b"}", "deeper than 64 levels"),
    "very deep": (b'{"a":' * 12_000, "deep"),
    "elements": (b'{"a":[' + b"{}," * 300_000 + b"{}]}", "more than 65536 elements"),
    "twice": (b'{"a":1,"a":2}', "same key stands twice"),
    "nan": (b'{"a":NaN}', "malformed"),
    "infinite": (b'{"a":1e999}', "out of range"),
    "digits": (b'{"a":' + b"9" * 100_000 + b"}", "out of range"),
    "no text": (b'{"a":"\xff"}', "utf-8"),
}


@pytest.mark.e2e
@pytest.mark.parametrize("path", ["/echo", "/narrow"])
def test_a_service_refuses_bombs_in_the_one_shape_and_goes_on(service: Service, path: str) -> None:
    service.serves()
    before = service.workers()
    for name, (body, words) in BODIES.items():
        answer = service.http.post(path, content=body, headers=JSON)
        problem = answer.json()
        assert (answer.status_code, problem["code"], set(problem)) == (422, "invalid_request", SHAPE), name
        assert words in problem["detail"] or path == "/narrow", (name, problem)
        service.serves()
    after = service.workers()
    for worker, (pid, memory) in before.items():
        assert after[worker][0] == pid
        assert after[worker][1] - memory < 16 * MIB
    assert service.notes() == ""


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("path", "status"), [("/deep?levels=40", 500), ("/many?count=66000", 500), ("/far?count=66000", 422)]
)
def test_what_travels_between_workers_is_within_the_limits_too(service: Service, path: str, status: int) -> None:
    before = service.workers()
    assert service.http.get(path).status_code == status
    service.serves()
    assert {name: pid for name, (pid, _) in service.workers().items()} == {
        name: pid for name, (pid, _) in before.items()
    }
    assert service.notes() == ""


@pytest.mark.e2e
def test_the_notes_would_have_said_so(service: Service) -> None:
    try:
        assert service.http.get("/unpickle").status_code == 200
        assert "pickle.find_class ('os', 'getcwd')" in service.notes()
    finally:
        (service.home / "shop" / "notes").unlink(missing_ok=True)
