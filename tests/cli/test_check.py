from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

FILE = """\
runtime:
  platform:
    process_groups:
      - {name: web, workers: 2}
      - {name: cpu_sync, workers: 4, stages: [core]}
    environment: {pass: [AWS_*], set: {TOKEN: hunter2}}
  web:
    interfaces:
      - kind: http
        binds: [request, response]
        endpoints:
          - {path: "/areas/{width}", node: shop.area, timeout_seconds: 5}
discovery: {packages: [shop]}
"""
SHOP = """
from exec_worker import node

@node(stage="core")
def area(width: int, height: int) -> int:
    return width * height

@node(stage="core")
def spare(image: bytes) -> bytes:
    return image
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "shunter.yaml").write_text(FILE)
    return tmp_path


def shunter(directory: Path, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "import sys, shunter; sys.exit(shunter.main())", "check", *args],
        cwd=directory,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_plan_is_shown_as_plain_text_where_nobody_looks(shop: Path) -> None:
    done = shunter(shop)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == str(shop / "shunter.yaml")
    assert any(re.match(r"cpu_sync +4 +120 s +30 s +2 nodes of core$", line) for line in lines)
    assert any(re.match(r"GET /areas/\{width\} +shop\.area +cpu_sync +5 s$", line) for line in lines)
    assert any(re.match(r"shop\.spare +cpu_sync$", line) for line in lines)
    assert any(line.startswith("ttl_seconds") and "30 s old" in line for line in lines)
    assert "\x1b" not in done.stdout
    assert all(line == line.rstrip() for line in lines)


def test_what_is_not_as_usual_is_shown_beside_it(shop: Path) -> None:
    group = "runtime.platform.process_groups.cpu_sync"
    endpoint = "runtime.web.interfaces.0.endpoints.0"
    changes = (f"{group}.preload=true", f"{group}.slots=3", f"{endpoint}.priority=low", f"{endpoint}.max_concurrency=9")
    done = shunter(shop, *(word for change in changes for word in ("--set", change)))
    assert done.returncode == 0, done.stderr
    assert re.search(r"cpu_sync +5 s +low priority, 9 at once in a web worker$", done.stdout, re.MULTILINE)
    assert re.search(
        r"^cpu_sync workers +forked from a process that has imported everything$", done.stdout, re.MULTILINE
    )
    assert re.search(r"^cpu_sync workers +3 calls at once, in threads$", done.stdout, re.MULTILINE)


def test_programs_get_json(shop: Path) -> None:
    done = shunter(shop, "--json")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert told["ok"] is True
    assert [group["name"] for group in told["groups"]] == ["cpu_sync", "web"]
    assert told["endpoints"][0]["path"] == "/areas/{width}"
    assert told["environment"]["set"] == ["TOKEN"]


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_values_that_may_be_secret_are_not_shown(shop: Path, form: list[str]) -> None:
    assert "hunter2" not in shunter(shop, *form).stdout


def test_all_faults_are_told_at_once_with_exit_code_2(shop: Path) -> None:
    (shop / "shunter.yaml").write_text(FILE.replace("workers: 4", "worker: 4").replace("5}", "0}"))
    done = shunter(shop)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "shunter.yaml:5:26: error: unknown key 'worker'",
        "  key: runtime.platform.process_groups.1.worker",
        "  hint: did you mean 'workers'?",
        "shunter.yaml:12:72: error: expected a time in seconds, more than 0 and at most 3600, got 0",
        "  key: runtime.web.interfaces.0.endpoints.0.timeout_seconds",
        "2 faults",
    ]


def test_programs_get_faults_as_json_too(shop: Path) -> None:
    done = shunter(shop, "--json", "--set", "runtime.web.prot=1")
    assert done.returncode == 2
    assert json.loads(done.stdout) == {
        "ok": False,
        "faults": [
            {
                "what": "there is no key 'prot'",
                "where": "--set runtime.web.prot",
                "hint": "did you mean runtime.web.port?",
            }
        ],
    }


def test_a_broken_application_is_told_with_its_traceback(shop: Path) -> None:
    (shop / "shop.py").write_text("import nowhere_to_be_found\n")
    done = shunter(shop)
    assert done.returncode == 2
    assert "  | ModuleNotFoundError: No module named 'nowhere_to_be_found'" in done.stderr


def test_variables_and_flags_count(shop: Path) -> None:
    done = shunter(shop, "--set", "runtime.web.port=9001", "--json", SHUNTER__RUNTIME__WEB__HOST="::1")
    assert json.loads(done.stdout)["web"] | {"title": "", "docs": True} == {
        "host": "::1",
        "port": 9001,
        "app": "",
        "title": "",
        "docs": True,
    }


def test_without_a_file_it_says_where_it_looked(tmp_path: Path) -> None:
    done = shunter(tmp_path)
    assert done.returncode == 2
    assert "there is no shunter.yaml in this directory" in done.stderr


def test_it_starts_nothing_and_leaves_nothing(shop: Path) -> None:
    before = set(shop.iterdir())
    assert shunter(shop).returncode == 0
    assert {path.name for path in set(shop.iterdir()) - before} <= {"__pycache__"}


@pytest.mark.parametrize("setting", ["runtime.web.port=8001", "runtime.web.prot=8001"])
def test_a_terminal_gets_colour_unless_it_declines(shop: Path, setting: str) -> None:
    def on_a_terminal(**environ: str) -> bytes:
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-c", "import sys, shunter; sys.exit(shunter.main())", "check", "--set", setting],
            cwd=shop,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", **environ},
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        ):
            os.close(theirs)
            said = b""
            while chunk := _read(ours):
                said += chunk
        os.close(ours)
        return said

    assert b"\x1b[" in on_a_terminal()
    assert b"\x1b[3" not in on_a_terminal(NO_COLOR="1")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other end of a terminal that is gone
        return b""


def test_what_a_worker_is_kept_to_is_shown(shop: Path) -> None:
    group = "{name: cpu_sync, stages: [core], nice: 3, cpu_affinity: spread, max_requests: 500, max_memory: 1GiB,"
    group += " max_memory_kill: 1536MiB, limits: {address_space: 2GiB, open_files: 128}}"
    done = shunter(shop, "--set", f"runtime.platform.process_groups.cpu_sync={group}")
    assert done.returncode == 0, done.stderr
    told = [
        line.split("cpu_sync workers")[1].strip() for line in done.stdout.splitlines() if "cpu_sync workers" in line
    ]
    assert told == [
        "replaced after 450 to 500 requests",
        "replaced beyond 1 GiB, killed beyond 1536 MiB",
        "held by the kernel to nice 3, address_space 2 GiB, open_files 128, cpu_affinity spread",
    ]


def test_a_core_that_this_machine_does_not_have_is_a_fault(shop: Path) -> None:
    done = shunter(shop, "--set", "runtime.platform.process_groups.cpu_sync.cpu_affinity=[8000]")
    assert done.returncode == 2
    assert "this process may not use core 8000" in done.stderr
    assert "--set runtime.platform.process_groups.cpu_sync.cpu_affinity" in done.stderr
