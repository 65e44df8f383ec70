"""F20, F21: logs that cannot be written, output that nobody reads, workers that flood. The service goes on."""

from __future__ import annotations

import fcntl
import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2 as httpx
import pytest
from detached import ROOT, Service, shunter, until

from cli.lines import moment
from cli.wanted import Wanted
from ipc.control import ask
from ipc.messages.control import AskStatus, Status
from supervisor.logbook import GLANCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.fault

CONFIG = Path(__file__).with_name("programs") / "talking.yaml"
PATIENCE = 60.0


class Talking(Service):
    """The service, and what is in its logs."""

    def ask(self, path: str, *, request: str = "", **query: object) -> str:
        answer = self.http.get(path, params=query, headers={"x-request-id": request} if request else {})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def later(self, request: str, ticket: str) -> httpx.Response:
        return self.http.get("/say_later", params={"ticket": ticket}, headers={"x-request-id": request})

    def all(self, request: str, ticket: str) -> httpx.Response:
        return self.http.post("/say_all", json=ticket, headers={"x-request-id": request})

    def kept(self, group: str) -> list[dict[str, Any]]:
        """All lines of one group, those of older files too."""
        folder = self.state_dir / "logs"
        paths = sorted(
            folder.glob(f"{group}.log*"), key=lambda path: int(path.suffix[1:]) if path.suffix[1:].isdigit() else 0
        )
        return [json.loads(line) for path in reversed(paths) for line in path.read_bytes().splitlines()]

    def exits(self, group: str) -> list[dict[str, Any]]:
        """The deaths of its workers."""
        return [e for e in self.kept("supervisor") if e["event"] == "worker_exited" and e["group"] == group]

    def said(self, group: str, start: str) -> list[str]:
        return [line["text"] for line in self.kept(group) if line.get("text", "").startswith(start)]

    def eventually(self, true: Callable[[], object]) -> None:
        until(true, PATIENCE)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talking]:
    made = Talking(CONFIG, tmp_path_factory.mktemp("state"), "--set", "runtime.log.files=5")
    yield made
    made.end()


def lines_of(service: Talking, request: str, count: int) -> list[dict[str, Any]]:
    """What is kept of one request, once there are so many lines."""
    wanted = Wanted(request=request)

    def found() -> list[dict[str, Any]]:
        lines = (line for group in ("web", "cpu", "loop") for line in service.kept(group))
        return [line for line in lines if wanted.admits(json.dumps(line))]

    service.eventually(lambda: len(found()) >= count)
    assert len(found()) == count
    return found()


def test_whatever_a_node_writes_says_for_which_request(service: Talking) -> None:
    assert service.ask("/say", request="mine-1", ticket="t1") == "t1"
    found = lines_of(service, "mine-1", 6)
    shown = shunter("logs", "--request", "mine-1", "--json", *service.state).stdout.splitlines()
    assert [json.loads(line) for line in shown] == sorted(found, key=moment)
    assert {line["group"] for line in found} == {"cpu"}
    assert {line["worker"].partition("#")[0] for line in found} == {"cpu-0"}
    printed = {(line["stream"], line["text"].split("\n")[0]) for line in found if "text" in line}
    assert printed == {
        ("stdout", "printed t1"),
        ("stderr", "complained t1"),
        ("stdout", "threaded t1"),
        ("stderr", "Traceback (most recent call last):"),
    }
    (logged,) = [line for line in found if line.get("event") == "logged t1"]
    assert (logged["level"], logged["logger"]) == ("info", "talking")
    (failed,) = [line for line in found if line.get("event") == "failed t1"]
    assert failed["level"] == "error"
    assert failed["traceback"].endswith("'t1'\n")
    (raw,) = [line for line in service.kept("cpu") if line.get("text") == "raw t1"]
    assert "request_id" not in raw


def test_tasks_batches_and_web_workers_do_so_too(service: Talking) -> None:
    with ThreadPoolExecutor(8) as threads:
        told = [
            threads.submit(ask, f"{kind}-{number}", f"{kind}{number}")
            for number in range(4)
            for kind, ask in (("task", service.later), ("batch", service.all))
        ]
        assert all(each.result().status_code == 200 for each in told)
    assert service.http.get("/page", headers={"x-request-id": "page-1"}).status_code == 200
    for number in range(4):
        found = lines_of(service, f"task-{number}", 2)
        assert {line.get("text") or line["event"] for line in found} == {
            f"printed task{number}",
            f"logged task{number}",
        }
        (line,) = lines_of(service, f"batch-{number}", 1)
        assert f"batch{number}" in line["text"]
    page = lines_of(service, "page-1", 2)
    assert {line.get("text") or line["event"] for line in page} == {"printed by the page", "logged by the page"}


def test_the_traceback_of_a_crash_is_one_line_of_the_log(service: Talking) -> None:
    whole = "ValueError: invalid literal for int() with base 10: 'nonsense'"

    def one_is_whole() -> bool:
        """On a machine that stops a process in the middle of its last words it may take another one."""
        before = len(service.exits("flood"))
        assert service.http.get("/crash", params={"ticket": "nonsense"}).status_code == 502
        service.eventually(lambda: len(service.exits("flood")) > before)
        threads, faults = service.said("flood", "Exception in thread"), service.said("flood", "Fatal Python error")
        return any(text.endswith(whole) for text in threads) and any(" in crash" in text for text in faults)

    service.eventually(one_is_whole)
    assert {line["group"] for line in service.exits("flood")} == {"flood"}


def test_a_worker_that_floods_keeps_nobody_from_being_served_or_heard(service: Talking) -> None:
    with ThreadPoolExecutor(1) as threads:
        flooding = threads.submit(service.ask, "/flood", seconds=2.0)
        rounds = 0
        while not flooding.done():
            ticket = f"beside{rounds}"
            assert service.ask("/say", ticket=ticket) == ticket
            assert isinstance(ask(service.state_dir, AskStatus()), Status)
            rounds += 1
        written = flooding.result()
    assert rounds
    service.eventually(lambda: service.said("cpu", f"printed beside{rounds - 1}"))
    kept = service.said("flood", "flood")
    assert len(kept) > 1_000
    assert sum(len(line) + 1 for line in kept) <= written


def counted(line: dict[str, Any]) -> int:
    """How many lines of the next test this one stands for."""
    if line.get("event") == "lines_lost":
        return int(line["count"])
    return line.get("text", "").startswith(("many full", "many after"))


def test_a_full_disk_costs_lines_that_are_counted_and_nothing_else(service: Talking) -> None:
    """No file of the supervisor can grow: what a full disk does to it, and needs nobody who may mount one."""
    assert service.ask("/say", request="before", ticket="before") == "before"
    lines_of(service, "before", 6)  # nothing that other tests had said is on its way any more, to be lost and counted
    service.eventually(lambda: service.said("cpu", "raw before"))
    limit = resource.prlimit(service.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (0, limit[1]))
    try:
        for number in range(20):
            assert service.ask("/many", ticket=f"full{number}", count=5) == f"full{number}"
        assert service.status()["groups"]
    finally:
        resource.prlimit(service.pid, resource.RLIMIT_FSIZE, limit)
    asked = 0

    def goes_on() -> bool:
        nonlocal asked
        asked += 1
        service.ask("/many", ticket="after", count=1)
        return bool(service.said("cpu", "many after"))

    service.eventually(goes_on)
    service.eventually(lambda: sum(map(counted, service.kept("cpu"))) == 100 + asked)
    assert [line for line in service.kept("cpu") if line.get("event") == "lines_lost"]
    service.eventually(lambda: service.http.get("/readyz").status_code == 200)  # others are killed in other tests


def test_logs_that_were_deleted_begin_anew(service: Talking) -> None:
    shutil.rmtree(service.state_dir / "logs")
    time.sleep(GLANCE)  # from now on whoever writes looks first, and no other test finds lines missing

    def goes_on() -> bool:
        service.ask("/many", ticket="anew", count=1)
        return bool((service.state_dir / "logs" / "cpu.log").exists() and service.said("cpu", "many anew"))

    service.eventually(goes_on)
    assert "many anew" in shunter("logs", "cpu", *service.state).stdout


@pytest.fixture
def foreground(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A service in the foreground whose output goes into a small pipe, and its URL."""
    command = [sys.executable, str(ROOT / "shunter.py"), "start", "-c", str(CONFIG), "--state-dir", str(tmp_path)]
    command += ["--set", "runtime.web.port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        url = ""
        while not url:
            said = json.loads(process.stdout.readline())
            url = said.get("url", "")
        yield process, url
        process.kill()
    shunter("stop", "--force", "--state-dir", str(tmp_path))


def test_output_that_nobody_reads_holds_up_nothing(
    foreground: tuple[subprocess.Popen[bytes], str], tmp_path: Path
) -> None:
    process, url = foreground
    assert process.stdout is not None
    log = tmp_path / "logs" / "cpu.log"
    with httpx.Client(base_url=url, timeout=PATIENCE) as http:
        for number in range(8):  # more lines than may wait
            assert http.get("/many", params={"ticket": f"unread{number}", "count": 1000}).status_code == 200
        until(lambda: b"unread7" in log.read_bytes(), PATIENCE)
        assert shunter("status", "--state-dir", str(tmp_path)).returncode == 0
        told = b""
        while b"were not shown here" not in told:
            told = process.stdout.readline()
            assert told
        lost = int(json.loads(told)["what"].split()[0])
        assert 0 < lost < 8000
        assert http.get("/say", params={"ticket": "after"}).status_code == 200
    process.send_signal(signal.SIGTERM)
    until(lambda: process.poll() is not None, PATIENCE)
    assert process.returncode == 0
