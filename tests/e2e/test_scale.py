"""More workers and fewer while clients ask without a pause on connections that they keep: nobody notices."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from detached import ROOT, Service, shunter, under_load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx2 as httpx

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(600)]

SOAK = bool(os.environ.get("SHUNTER_SOAK"))
ROUNDS, MANY, CLIENTS = (10, 4, 4) if SOAK else (1, 3, 2)
QUICKSTART = ROOT / "examples/quickstart/shunter.yaml"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    sizes = [f"runtime.platform.process_groups.{name}.workers={MANY}" for name in ("web", "cpu_sync")]
    made = Service(QUICKSTART, tmp_path / "state", *(word for size in sizes for word in ("--set", size)))
    yield made
    made.end()


def reports(http: httpx.Client) -> httpx.Response:
    return http.post("/report", json={"text": "It rains."})


def test_scaling_down_and_up_again_under_load_loses_nothing(service: Service) -> None:
    with under_load(service, CLIENTS, reports):
        for _ in range(ROUNDS):
            for group in ("cpu_sync", "web"):
                for workers in (1, MANY):
                    scaled = shunter("scale", group, str(workers), *service.state)
                    assert scaled.returncode == 0, scaled
                    assert f"{group} has {workers} worker" in scaled.stdout
                assert len(service.workers(group)) == MANY
    again = shunter("scale", "web", str(MANY), *service.state)
    assert (again.returncode, again.stdout) == (0, f"web has {MANY} workers already\n")
    for group, workers, code in (("web", "0", 2), ("web", "-1", 2), ("web", "257", 2), ("wbe", "2", 2)):
        refused = shunter("scale", group, workers, *service.state)
        assert refused.returncode == code
        assert refused.stderr.startswith("error: ")
        assert refused.stderr.count("\n") == 1
    shunter("stop", *service.state)
    gone = shunter("scale", "web", "2", *service.state)
    assert gone.returncode == 3
    assert "nothing runs" in gone.stderr
