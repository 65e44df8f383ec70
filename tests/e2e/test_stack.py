"""The example with a program beside the service, as its users have it."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING

import psutil
import pytest
from detached import ROOT, Service, living, shunter, until

from ipc.control import ask
from ipc.messages.control import AskStatus, Status

if TYPE_CHECKING:
    from pathlib import Path

    from ipc.messages.control import GroupStatus

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_a_server_beside_the_service_starts_before_it_comes_back_follows_a_reload_and_stops_after_it(
    tmp_path: Path,
) -> None:
    port = str(random.SystemRandom().randrange(12_000, 32_000))  # none that the kernel gives to whoever connects
    home = tmp_path / "stack"
    shutil.copytree(ROOT / "examples" / "stack", home, ignore=shutil.ignore_patterns(".shunter", "__pycache__"))
    config = home / "shunter.yaml"
    config.write_text(config.read_text().replace("7379", port))
    service = Service(config, tmp_path / "state")
    try:

        def visit(page: str) -> int:
            answer = service.http.post(f"/visits/{page}")
            return int(answer.text) if answer.status_code == 200 else -answer.status_code

        def status() -> tuple[GroupStatus, ...]:
            answer = ask(service.state_dir, AskStatus())
            assert isinstance(answer, Status)
            return answer.groups

        def life() -> int:
            (worker,) = status()[0].workers
            return worker.incarnation if worker.state == "up" else 0

        def server() -> psutil.Process:
            (program,) = psutil.Process(status()[0].workers[0].pid).children()
            return program

        assert [visit("home"), visit("home"), visit("about")] == [1, 2, 1]
        assert [group.name for group in status()] == ["counters", "cpu_sync", "web"]

        assert shunter("reload", *service.state).returncode == 0
        assert (visit("home"), life()) == (3, 1)  # it has not changed

        server().kill()
        until(lambda: life() == 2)
        assert visit("home") == 1

        config.write_text(config.read_text().replace("counters.py", "countess.py"))
        broken = shunter("reload", *service.state)
        assert broken.returncode == 1, broken
        assert "No such file" in broken.stdout + broken.stderr

        config.write_text(config.read_text().replace("countess.py,", "counters.py, --first, 100,"))
        reloaded = shunter("reload", *service.state)
        assert reloaded.returncode == 0, reloaded
        assert visit("home") == 100

        everything = service.processes()
        assert shunter("stop", *service.state).returncode == 0
        until(lambda: not living(everything))
    finally:
        service.end()
