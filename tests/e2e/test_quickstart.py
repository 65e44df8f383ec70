"""The quickstart as its users have it: real processes, started by the command line and asked over HTTP."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2 as httpx
import psutil
import pytest
from detached import ROOT, Service, living, shunter, under_load, until
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e

ROTATIONS = 3
RESTARTS = 4
QUICKSTART = ROOT / "examples/quickstart/shunter.yaml"
PHOTO = (ROOT / "examples/quickstart/photo.jpg").read_bytes()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all tests that leave it as it was."""
    made = Service(QUICKSTART, tmp_path_factory.mktemp("state"), "--set", "runtime.log.level=debug")
    yield made
    made.end()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Service]:
    """One for a test that breaks it."""
    made = Service(
        QUICKSTART,
        tmp_path / "state",
        "--set",
        "runtime.platform.process_groups.web.workers=1",
        "--set",
        "runtime.platform.process_groups.cpu_sync.workers=1",
    )
    yield made
    made.end()


def is_free(url: str) -> bool:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            taken.bind(("127.0.0.1", int(url.rpartition(":")[2])))
            return True
    return False


@pytest.mark.parametrize(("name", "format_"), [("webp", "WEBP"), ("png", "PNG"), ("jpeg", "JPEG")])
def test_a_photograph_becomes_a_thumbnail(service: Service, name: str, format_: str) -> None:
    asked = {"width": 200, "height": 100, "format": name}
    answer = service.http.post("/thumbnails", params=asked, content=PHOTO)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == f"image/{name}"
    with Image.open(io.BytesIO(answer.content)) as thumbnail, Image.open(io.BytesIO(PHOTO)) as photo:
        thumbnail.load()
        assert thumbnail.format == format_
        assert thumbnail.height == 100
        assert thumbnail.width == pytest.approx(100 * photo.width / photo.height, abs=1)


def test_a_picture_of_the_mandelbrot_set_is_black_in_its_middle(service: Service) -> None:
    answer = service.http.get("/mandelbrot", params={"width": 64, "height": 48, "x": -0.2})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert picture.size == (64, 48)
        assert picture.convert("RGB").getpixel((32, 24)) == (0, 0, 0)
        assert picture.convert("RGB").getpixel((0, 0)) != (0, 0, 0)


def test_passwords_are_hashed_and_verified(service: Service) -> None:
    made = service.http.post("/passwords/hash", json={"password": "correct horse"})
    assert made.status_code == 200, made.text
    protected = made.json()["hash"]
    assert protected.startswith("$argon2id$")
    for password, matches in [("correct horse", True), ("battery staple", False)]:
        asked = {"password": password, "hash": protected}
        assert service.http.post("/passwords/verify", json=asked).json() == {
            "matches": matches,
            "outdated": False,
        }


def test_a_route_of_the_users_own_app_hands_off(service: Service) -> None:
    answer = service.http.post("/report", json={"text": "It rains. It has rained for days!", "top": 1})
    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert (report["words"], report["sentences"]) == (7, 2)
    assert report["most_frequent"] == [{"word": "it", "times": 2}]


def test_what_is_cheap_is_answered_on_the_spot(service: Service) -> None:
    assert service.http.get("/hello", params={"name": "Ada"}).json() == {"hello": "Ada"}


@pytest.mark.parametrize(
    ("method", "path", "status", "more"),
    [
        ("POST", "/thumbnails", 422, {"content": b"no picture"}),
        ("POST", "/thumbnails?width=0", 422, {"content": PHOTO}),
        ("POST", "/thumbnails?format=bmp", 422, {"content": PHOTO}),
        ("POST", "/passwords/hash", 422, {"json": {"password": "short"}}),
        ("POST", "/passwords/hash", 422, {"content": b"{", "headers": {"content-type": "application/json"}}),
        ("POST", "/passwords/hash", 415, {"content": b"{}"}),
        ("POST", "/passwords/verify", 422, {"json": {"password": "x", "hash": "x"}}),
        ("POST", "/report", 422, {"json": {"text": "..."}}),
        ("POST", "/report", 422, {"json": {}}),
        ("GET", "/mandelbrot?width=100000", 422, {}),
        ("POST", "/thumbnails", 413, {"content": bytes(5 * 2**20)}),
        ("GET", "/nowhere", 404, {}),
        ("DELETE", "/thumbnails", 405, {}),
        ("DELETE", "/hello", 405, {}),
    ],
)
def test_errors_have_one_shape(service: Service, method: str, path: str, status: int, more: dict[str, Any]) -> None:
    answer = service.http.request(method, path, **more)
    assert answer.status_code == status, answer.text
    said = answer.json()
    assert set(said) == {"detail", "status_code", "code", "request_id"}
    assert said["status_code"] == status
    assert said["code"]
    assert said["request_id"]
    assert "Traceback" not in answer.text


def test_what_is_no_picture_is_told_why(service: Service) -> None:
    answer = service.http.post("/thumbnails", content=b"no picture")
    assert "no JPEG, PNG, WebP or GIF picture" in json.dumps(answer.json()["detail"])


def test_the_openapi_document_has_every_endpoint_with_its_types(service: Service) -> None:
    document = service.http.get("/openapi.json").json()
    expected = {
        ("/thumbnails", "post"),
        ("/passwords/hash", "post"),
        ("/passwords/verify", "post"),
        ("/mandelbrot", "get"),
        ("/report", "post"),
        ("/hello", "get"),
    }
    assert expected <= {(path, method) for path, item in document["paths"].items() for method in item}
    width, height, format_ = document["paths"]["/thumbnails"]["post"]["parameters"]
    assert (width["name"], height["name"], format_["name"]) == ("width", "height", "format")
    assert (width["schema"]["minimum"], width["schema"]["maximum"], width["schema"]["default"]) == (1, 2048, 256)
    assert sorted(format_["schema"]["enum"]) == ["jpeg", "png", "webp"]
    assert {"Password", "Protected", "Attempt", "Verdict", "Report", "ReportRequest"} <= set(
        document["components"]["schemas"]
    )
    assert service.http.get("/docs").status_code == 200


def test_health_and_readiness(service: Service) -> None:
    assert service.http.get("/healthz").status_code == 200
    assert service.http.get("/readyz").status_code == 200


def test_status_counts_calls(service: Service) -> None:
    before = sum(worker["calls"] for worker in service.workers("cpu_sync"))
    for _ in range(5):
        service.http.get("/mandelbrot", params={"width": 16, "height": 16})
    until(lambda: sum(worker["calls"] for worker in service.workers("cpu_sync")) >= before + 5)
    for worker in service.workers("cpu_sync"):
        assert worker["state"] in {"up", "ready"}
        assert worker["running"] == 0
        assert worker["rss_bytes"] > 2**20
        assert psutil.pid_exists(worker["pid"])


def test_no_web_worker_has_loaded_what_computes(service: Service) -> None:
    for worker in service.workers("web"):
        mapped = Path(f"/proc/{worker['pid']}/maps").read_text()
        assert not re.search(r"numpy|_imaging|_argon2", mapped)


def test_a_second_start_is_told_who_is_there(service: Service) -> None:
    second = shunter("start", "--detach", *service.config, *service.state)
    assert second.returncode == 2
    assert str(service.pid) in second.stderr
    assert service.http.get("/hello").status_code == 200


def test_a_taken_port_is_told_and_nothing_stays(service: Service, tmp_path: Path) -> None:
    port = service.url.rpartition(":")[2]
    state = ["--state-dir", str(tmp_path / "state")]
    for how in ([], ["--detach"]):
        started = shunter("start", *how, *service.config, *state, "--set", f"runtime.web.port={port}")
        assert started.returncode == 2, started
        assert port in started.stderr
        assert "Traceback" not in started.stderr
        assert shunter("status", *state).returncode == 3
    assert not [found for found in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(found.info["cmdline"])]


def test_logs_are_json_lines_with_a_group(service: Service) -> None:
    shown = shunter("logs", "cpu_sync", "--json", *service.state)
    assert shown.returncode == 0, shown
    assert {json.loads(line)["group"] for line in shown.stdout.splitlines()} == {"cpu_sync"}
    assert shunter("logs", "cpu_snyc", *service.state).returncode == 2


def test_a_killed_worker_is_replaced_and_requests_go_on(own: Service) -> None:
    (before,) = own.workers("cpu_sync")
    os.kill(before["pid"], signal.SIGKILL)
    until(lambda: own.workers("cpu_sync")[0]["pid"] not in {None, before["pid"]})
    until(lambda: own.http.get("/readyz").status_code == 200)
    answer = own.http.post("/thumbnails", content=PHOTO)
    assert answer.status_code == 200, answer.text
    (after,) = own.workers("cpu_sync")
    assert after["incarnation"] > before["incarnation"]
    assert after["restarts"] == 1
    assert after["reason"]


def test_what_computes_for_seconds_holds_up_nobody_and_dies_with_a_verdict(own: Service) -> None:
    """The order is the promise: everything else is answered while the only exec worker still computes.

    Its node is idempotent, so that it takes two deaths.
    """
    with ThreadPoolExecutor() as threads:
        slow = threads.submit(own.http.get, "/mandelbrot", params={"width": 2048, "height": 2048})
        until(lambda: any(worker["running"] for worker in own.workers("cpu_sync")))
        for _ in range(20):
            assert own.http.get("/healthz").status_code == 200
            assert own.http.get("/hello").status_code == 200
        assert not slow.done()
        for life in (1, 2):
            until(lambda life=life: [w["incarnation"] for w in own.workers("cpu_sync") if w["running"]] == [life])
            os.kill(own.workers("cpu_sync")[0]["pid"], signal.SIGKILL)
        answer = slow.result(60)
    assert (answer.status_code, answer.json()["code"]) == (502, "worker_died")
    until(lambda: [worker["incarnation"] for worker in own.workers("cpu_sync")] == [3])


def test_in_one_process_everything_is_said_the_same_way(tmp_path: Path) -> None:
    transport = ("--set", "runtime.platform.execution_ipc.transport=memory")
    made = Service(QUICKSTART, tmp_path / "state", *transport)
    try:
        answer = made.http.post(
            "/thumbnails", params={"width": 64}, content=PHOTO, headers={"content-type": "image/jpeg"}
        )
        assert answer.status_code == 200
        assert Image.open(io.BytesIO(answer.content)).width <= 64
        assert made.http.post("/report", json={"text": "It rains."}).json()["words"] == 2
        until(lambda: sum(worker["calls"] for worker in made.workers("cpu_sync")) == 2)
        assert {worker["pid"] for worker in made.workers("cpu_sync")} == {w["pid"] for w in made.workers("web")}
        assert shunter("restart", *made.state).returncode == 0
        assert {worker["incarnation"] for worker in made.workers("web")} == {2}
        assert made.http.get("/mandelbrot", params={"width": 64, "height": 64}).status_code == 200
        processes = made.processes()
        assert shunter("stop", *made.state).returncode == 0
        until(lambda: not living(processes))
    finally:
        made.end()


def test_over_unix_sockets_everything_is_said_the_same_way(tmp_path: Path) -> None:
    state = tmp_path / ("long" * 30) / "state"  # longer than what a socket address holds
    made = Service(
        QUICKSTART,
        state,
        "--set",
        "runtime.platform.execution_ipc.transport=unix",
        "--set",
        "runtime.platform.process_groups.cpu_sync.workers=1",
    )
    try:
        assert made.http.post("/thumbnails", params={"width": 64}, content=PHOTO).status_code == 200
        assert [path.name for path in (state / "links").iterdir()] == ["cpu_sync-0.1.sock"]
        assert (state / "links").stat().st_mode & 0o777 == 0o700
        os.kill(made.workers("cpu_sync")[0]["pid"], signal.SIGKILL)
        until(lambda: [worker["incarnation"] for worker in made.workers("cpu_sync")] == [2])
        assert made.http.get("/mandelbrot", params={"width": 64, "height": 64}).status_code == 200
        assert [path.name for path in (state / "links").iterdir()] == ["cpu_sync-0.2.sock"]
        assert shunter("restart", *made.state).returncode == 0
        assert made.http.get("/mandelbrot", params={"width": 64, "height": 64}).status_code == 200
        assert [path.name for path in (state / "links").iterdir()] == ["cpu_sync-0.3.sock"]
        assert shunter("stop", *made.state).returncode == 0
        assert not [path for path in state.rglob("*") if path.is_socket()]
    finally:
        made.end()


def computes(http: httpx.Client) -> httpx.Response:
    return http.get("/mandelbrot", params={"width": 32, "height": 32})


def reports(http: httpx.Client) -> httpx.Response:
    return http.post("/report", json={"text": "It rains."})


def test_a_restart_under_load_loses_nothing(own: Service) -> None:
    before = {worker["pid"] for group in ("web", "cpu_sync") for worker in own.workers(group)}
    with under_load(own, 4, computes):
        restarted = shunter("restart", *own.state)
    assert restarted.returncode == 0, restarted
    after = {worker["pid"] for group in ("web", "cpu_sync") for worker in own.workers(group)}
    assert not before & after


def test_restarts_of_exec_workers_under_quick_calls_lose_nothing(own: Service) -> None:
    """Short calls, so that one is nearly always on its way when its worker leaves."""
    with under_load(own, 8, reports):
        for _ in range(RESTARTS):
            assert shunter("restart", "cpu_sync", *own.state).returncode == 0


def test_new_keys_under_load_lose_nothing(own: Service) -> None:
    with under_load(own, 4, reports):
        for epoch in range(2, 2 + ROTATIONS):
            rotated = shunter("keys", "rotate", *own.state)
            assert rotated.returncode == 0, rotated
            assert f"epoch {epoch}" in rotated.stdout


def test_new_keys_while_workers_are_killed(own: Service) -> None:
    for group in ("cpu_sync", "web"):
        (worker,) = own.workers(group)
        os.kill(worker["pid"], signal.SIGKILL)
        assert shunter("keys", "rotate", *own.state).returncode in {0, 1}  # 1: there was none that has keys
        until(lambda group=group: [each["state"] for each in own.workers(group)] == ["up"])
        assert shunter("keys", "rotate", *own.state).returncode == 0
        assert own.http.post("/report", json={"text": "It rains."}).json()["words"] == 2


def test_a_killed_supervisor_leaves_nothing(own: Service) -> None:
    processes = own.processes()
    assert len(processes) == 4, "supervisor, two workers, and who ends what is left"
    os.kill(processes[0].pid, signal.SIGKILL)
    until(lambda: not living(processes))
    until(lambda: is_free(own.url))  # somebody who connects elsewhere may have it for a moment
    assert shunter("status", *own.state).returncode == 3
    again = Service(QUICKSTART, own.state_dir)  # what the dead one left is no obstacle
    again.end()


def test_stop_leaves_nothing(own: Service) -> None:
    processes = own.processes()
    stopped = shunter("stop", *own.state)
    assert stopped.returncode == 0, stopped
    assert not living(processes)
    until(lambda: is_free(own.url))  # somebody who connects elsewhere may have it for a moment
    for command in ("stop", "status", "restart"):
        assert shunter(command, *own.state).returncode == 3


def test_in_the_foreground_an_interrupt_drains(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "shunter.py"), "start", "-c", str(QUICKSTART), "--state-dir"]
    command += [str(tmp_path), "--set", "runtime.web.port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        try:
            said = [json.loads(started.stdout.readline())]
            while said[-1]["event"] != "serving":
                said.append(json.loads(started.stdout.readline()))
            assert httpx.get(said[-1]["url"] + "/hello", timeout=30).status_code == 200
            processes = psutil.Process(started.pid).children(recursive=True)
            started.send_signal(signal.SIGINT)
            said += map(json.loads, started.communicate(timeout=60)[0].splitlines())
        finally:
            started.kill()
    assert started.returncode == 0
    assert said[-1]["event"] == "stopped"
    assert len(processes) == 5, "four workers, and who would end what is left"
    assert not living(processes)


def test_who_does_not_read_what_it_says_holds_up_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "shunter.py"), "start", "-c", str(QUICKSTART), "--state-dir", str(tmp_path)]
    command += ["--set", "runtime.web.port=0", "--set", "runtime.log.requests=true"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        try:
            while (said := json.loads(started.stdout.readline()))["event"] != "serving":
                pass
            with httpx.Client(base_url=said["url"], timeout=30) as http:
                for _ in range(400):  # each makes a line, together they are more than a pipe holds
                    assert http.get("/hello", params={"name": "x" * 500}).status_code == 200
                before = next(
                    each for each in psutil.Process(started.pid).children() if "exec_worker" in each.cmdline()
                )
                before.kill()
                status = ["status", "--json", "--state-dir", str(tmp_path)]
                until(lambda: shunter(*status).stdout.count('"state": "up"') == 6)
                assert '"restarts": 1' in shunter(*status).stdout
            assert shunter("stop", "--state-dir", str(tmp_path)).returncode == 0
            assert started.wait(60) == 0
        finally:
            started.kill()


def test_the_project_that_init_writes_runs(tmp_path: Path) -> None:
    demo = tmp_path / "demo"
    assert shunter("init", str(demo)).returncode == 0
    service = Service(demo / "shunter.yaml", demo / ".shunter")
    try:
        assert service.http.get("/primes", params={"below": 100}).json() == {"below": 100, "primes": 25}
        made = service.http.post("/fingerprints", json={"text": "hello", "rounds": 2})
        assert made.json()["rounds"] == 2
        assert service.http.post("/fingerprints", json={"text": ""}).status_code == 422
        assert shunter("status", cwd=demo).returncode == 0
    finally:
        service.end()
    assert shunter("status", cwd=demo).returncode == 3
