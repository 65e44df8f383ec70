"""`shunter reload` in whole services: what changed is replaced, what is broken changes nothing."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from detached import Service, application, shunter, until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e

SHOP = """
from exec_worker import node
from price import PRICE

@node
def ask() -> str:
    return "VERSION"

@node(stage="other")
def price() -> int:
    return PRICE
"""
CONFIG = """
runtime:
  platform:
    process_groups:
      - {name: cpu, workers: 1, stages: [core]}
      - {name: other, workers: 1, stages: [other]}
  web:
    app: site_app:app
    interfaces: [{kind: http, endpoints: [{path: /ask, node: shop.ask}, {path: /price, node: shop.price}]}]
"""
APP = """
from fastapi import FastAPI

app = FastAPI()

@app.get("/page")
def page() -> str:
    return "VERSION"
"""


class Shop:
    """A service whose files change."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.write("price.py", "PRICE = 1\n")
        self.write("site_app.py", APP.replace("VERSION", "first"))
        config = application(directory, SHOP.replace("VERSION", "first"), CONFIG)
        self.service = Service(config, directory / "state")

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def reload(self) -> subprocess.CompletedProcess[str]:
        return shunter("reload", *self.service.state)

    def get(self, path: str) -> Any:
        answer = self.service.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def incarnations(self) -> dict[str, int]:
        groups = self.service.status()["groups"]
        return {worker["name"].split("#")[0]: worker["incarnation"] for group in groups for worker in group["workers"]}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    yield made
    made.service.end()


def test_only_what_changed_is_replaced_and_said_before_it_is_done(shop: Shop) -> None:
    shop.write("shop.py", SHOP.replace("VERSION", "the second"))
    done = shop.reload()
    assert done.returncode == 0, done
    lines = done.stdout.splitlines()
    assert "cpu: code (shop.py) changed: 1 worker is replaced" in lines
    assert "other: code (shop.py) changed: 1 worker is replaced" in lines
    assert "web: same" in lines
    assert shop.get("/ask") == "the second"
    assert shop.incarnations() == {"cpu-0": 2, "other-0": 2, "web-0": 1}

    shop.write("site_app.py", APP.replace("VERSION", "the second"))
    done = shop.reload()
    assert "web: code (site_app.py) changed: 1 worker is replaced" in done.stdout
    assert shop.get("/page") == "the second"
    assert shop.incarnations() == {"cpu-0": 2, "other-0": 2, "web-0": 2}

    done = shop.reload()
    assert done.returncode == 0
    assert done.stdout.count(": same") == 3
    assert shop.incarnations() == {"cpu-0": 2, "other-0": 2, "web-0": 2}


def test_a_version_that_is_broken_changes_nothing_and_says_where(shop: Shop) -> None:
    shop.write("price.py", "PRICE = undefined_price\n")
    done = shop.reload()
    assert done.returncode == 2
    assert done.stderr == shunter("check", *shop.service.config, "--set", "runtime.web.port=0").stderr
    assert "NameError" in done.stderr
    assert shop.get("/price") == 1
    assert shop.incarnations() == {"cpu-0": 1, "other-0": 1, "web-0": 1}


def test_a_version_that_starts_in_one_group_and_not_in_another_replaces_no_worker(shop: Shop) -> None:
    shop.write("shop.py", SHOP.replace("VERSION", "the second"))
    ends = "\n@app.on_event('startup')\ndef fails() -> None:\n    raise RuntimeError('the cellar is flooded')\n"
    shop.write("site_app.py", f"import warnings\nwarnings.simplefilter('ignore')\n{APP}{ends}")
    done = shop.reload()
    assert done.returncode == 1
    assert "the cellar is flooded" in done.stderr
    assert (shop.get("/ask"), shop.get("/page")) == ("first", "first")
    status = shop.service.status()
    assert [len(group["workers"]) for group in status["groups"]] == [1, 1, 1]
    assert shop.incarnations() == {"cpu-0": 1, "other-0": 1, "web-0": 1}
    shop.write("site_app.py", APP.replace("VERSION", "the third"))
    assert shop.reload().returncode == 0
    assert (shop.get("/ask"), shop.get("/page")) == ("the second", "the third")


def test_what_is_decided_at_the_start_cannot_change(shop: Shop) -> None:
    config = CONFIG.replace("workers: 1", "workers: 2").replace("app: site", "host: 127.0.0.2\n    app: site")
    shop.write("shunter.yaml", config)
    done = shop.reload()
    assert done.returncode == 2
    assert done.stderr == "error: runtime.web.host cannot change while the service runs: stop it and start it again\n"
    assert shop.incarnations() == {"cpu-0": 1, "other-0": 1, "web-0": 1}


def test_groups_come_and_go_and_grow_and_variables_reach_new_workers(shop: Shop) -> None:
    shop.write("shop.py", SHOP.replace('"VERSION"', '__import__("os").environ["SIGN"]'))
    config = CONFIG.replace("    process_groups:", "    environment: {set: {SIGN: open}}\n    process_groups:")
    shop.write(
        "shunter.yaml", config.replace("cpu, workers: 1", "cpu, workers: 2").replace("name: other", "name: till")
    )
    done = shop.reload()
    assert done.returncode == 0, done
    assert "till: new: 1 worker is started" in done.stdout
    assert "other: gone from the configuration: 1 worker is drained" in done.stdout
    assert "; 1 becomes 2" in done.stdout
    assert (shop.get("/ask"), shop.get("/price")) == ("open", 1)
    assert shop.incarnations() == {"till-0": 1, "cpu-0": 2, "cpu-1": 1, "web-0": 2}
    shop.write("shunter.yaml", config)
    assert shop.reload().returncode == 0
    assert shop.get("/price") == 1
    assert set(shop.incarnations()) == {"other-0", "cpu-0", "web-0"}


def test_a_hangup_reloads_a_service_that_has_no_terminal(shop: Shop) -> None:
    shop.write("shop.py", SHOP.replace("VERSION", "the second"))
    os.kill(shop.service.pid, signal.SIGHUP)
    until(lambda: shop.get("/ask") == "the second")
    shop.write("shunter.yaml", CONFIG.replace("workers: 1", "workrs: 1"))
    os.kill(shop.service.pid, signal.SIGHUP)
    log = shop.directory / "state" / "logs" / "supervisor.log"
    until(lambda: "did you mean 'workers'" in log.read_text())
    assert shop.get("/ask") == "the second"


def test_an_edit_that_only_a_restarted_worker_saw_is_known_of_after_it_was_taken_back(shop: Shop) -> None:
    shop.write("shop.py", SHOP.replace("VERSION", "the slip"))
    (cpu,) = shop.service.workers("cpu")
    os.kill(cpu["pid"], signal.SIGKILL)
    until(lambda: shop.get("/ask") == "the slip", 30.0)
    shop.write("shop.py", SHOP.replace("VERSION", "first"))
    done = shop.reload()
    assert "cpu: may run another version: 1 worker is replaced" in done.stdout.splitlines()
    assert done.stdout.count(": same") == 2
    assert shop.get("/ask") == "first"
    assert shop.reload().stdout.count(": same") == 3
