"""What `shunter routes` shows of a configuration and its application. Nothing runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from cli.routes import ways_in
from ipc.routes import told_of

if TYPE_CHECKING:
    from pathlib import Path

FILE = """\
runtime:
  platform:
    process_groups:
      - {name: web, workers: 2}
      - {name: cpu_sync, workers: 4, stages: [core]}
  web:
    app: shop:app
    interfaces:
      - kind: http
        binds: [request, response]
        prefix: /api
        endpoints:
          - {path: "/areas/{width}", node: shop.area, timeout_seconds: 5, priority: high, max_concurrency: 7}
          - {path: /rows, methods: [POST, PUT], pipeline: [shop.first, shop.second]}
discovery: {packages: [shop]}
"""
SHOP = """
from exec_worker import node
from fastapi import APIRouter, FastAPI, WebSocket

app = FastAPI()
router = APIRouter(prefix="/orders")

@router.get("/{number}")
def order(number: int) -> int: ...

@app.websocket("/live")
async def live(socket: WebSocket) -> None: ...

app.include_router(router)
app.mount("/old", FastAPI())

@node(stage="core")
def area(width: int, height: int) -> int:
    return width * height

@node(stage="core")
def first(counts: dict[str, int]) -> dict[str, int]:
    return counts

@node(stage="core")
def second(counts: dict[str, int]) -> int:
    return sum(counts.values())
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "shunter.yaml").write_text(FILE)
    return tmp_path


def shunter(directory: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "import sys, shunter; sys.exit(shunter.main())", "routes", *args],
        cwd=directory,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_way_in_has_a_line(shop: Path) -> None:
    done = shunter(shop)
    assert done.returncode == 0, done.stderr
    lines = [re.split(r"  +", line) for line in done.stdout.splitlines()]
    assert lines == [
        ["method", "path", "leads to", "group", "timeout", "priority", "at once"],
        ["GET", "/api/areas/{width}", "shop.area", "cpu_sync", "5 s", "high", "7"],
        ["POST,PUT", "/api/rows", "shop.first > shop.second", "cpu_sync", "30 s", "normal", "-"],
        ["GET", "/openapi.json", "documentation", "-", "-", "-", "-"],
        ["GET", "/docs", "documentation", "-", "-", "-", "-"],
        ["GET", "/docs/oauth2-redirect", "documentation", "-", "-", "-", "-"],
        ["GET", "/redoc", "documentation", "-", "-", "-", "-"],
        ["WS", "/live", "shop:app", "-", "-", "-", "-"],
        ["GET", "/orders/{number}", "shop:app", "-", "-", "-", "-"],
        ["*", "/old", "shop:app, an app mounted there", "-", "-", "-", "-"],
        ["GET", "/healthz", "whether the web worker lives", "-", "-", "-", "-"],
        ["GET", "/readyz", "whether the service can serve", "-", "-", "-", "-"],
    ]


def test_programs_get_the_same_as_json(shop: Path) -> None:
    done = shunter(shop, "--json", "--set", "runtime.web.docs=false")
    assert done.returncode == 0, done.stdout
    endpoint, row, *others = json.loads(done.stdout)["routes"]
    assert endpoint == {
        "kind": "endpoint",
        "methods": ["GET"],
        "path": "/api/areas/{width}",
        "leads_to": ["shop.area"],
        "group": "cpu_sync",
        "timeout_seconds": 5.0,
        "priority": "high",
        "max_concurrency": 7,
    }
    assert row["leads_to"] == ["shop.first", "shop.second"]
    assert [other["kind"] for other in others] == ["websocket", "http", "mount", "health", "health"]


def test_without_an_app_the_pages_are_shunters_own() -> None:
    plan: dict[str, Any] = {"endpoints": [], "app_routes": [], "web": {"app": "", "docs": True}}
    assert [way["path"] for way in ways_in(plan)] == ["/openapi.json", "/docs", "/redoc", "/healthz", "/readyz"]
    plan["web"]["docs"] = False
    assert [way["path"] for way in ways_in(plan)] == ["/healthz", "/readyz"]


def test_an_app_that_cannot_be_read_has_no_routes_and_no_fault() -> None:
    class Odd:
        openapi_url = None

        @property
        def routes(self) -> list[object]:
            raise RuntimeError("not now")

    assert told_of(Odd()) == ()
    assert told_of(len) == ()


def test_a_faulty_configuration_has_no_routes(shop: Path) -> None:
    done = shunter(shop, "--set", "runtime.web.app=shop:nothing")
    assert done.returncode == 2
    assert not done.stdout
    assert "has no 'nothing'" in done.stderr
