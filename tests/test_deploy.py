"""The files people run: what can be known of them without the programs that read them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from supervisor.config import ProcessGroup
from supervisor.description import TIME_LIMIT

UNIT = Path(__file__).parents[1] / "deploy" / "systemd" / "shunter.service"
KNOWN = {
    "Unit": "Description Wants After StartLimitIntervalSec StartLimitBurst",
    "Service": "Type NotifyAccess User WorkingDirectory ExecStart StateDirectory StateDirectoryMode TimeoutStartSec "
    "KillMode TimeoutStopSec WatchdogSec Restart RestartSec LimitNOFILE LimitCORE UMask NoNewPrivileges "
    "CapabilityBoundingSet RestrictSUIDSGID ProtectSystem ProtectHome PrivateTmp PrivateDevices ProtectClock "
    "ProtectHostname ProtectKernelTunables ProtectKernelModules ProtectKernelLogs Delegate "
    "RestrictNamespaces RestrictRealtime LockPersonality RestrictAddressFamilies SystemCallArchitectures "
    "SystemCallFilter SystemCallErrorNumber MemoryDenyWriteExecute RemoveIPC",
    "Install": "WantedBy",
}
"""Keys as systemd 253 spells them: one it does not know it ignores, with a line in the journal that nobody reads."""
DRAIN = 30.0
"""`drain_timeout_seconds` of a group that does not say, and of `web`."""


class Line(NamedTuple):
    section: str
    key: str
    value: str


@pytest.fixture(scope="module")
def unit() -> list[Line]:
    found, section = [], ""
    for line in UNIT.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.append(Line(section, key, value))
    return found


@pytest.fixture(scope="module")
def service(unit: list[Line]) -> dict[str, str]:
    return {line.key: line.value for line in unit if line.section == "Service"}


def test_every_key_of_the_unit_is_one_that_systemd_knows_and_stands_there_once(unit: list[Line]) -> None:
    assert [line for line in unit if line.key not in KNOWN.get(line.section, "").split()] == []
    assert [key for key, times in Counter(line.key for line in unit).items() if times > 1] == []


def test_the_unit_waits_longer_than_what_it_starts(service: dict[str, str]) -> None:
    assert "drain_timeout_seconds" in ProcessGroup.__struct_fields__
    assert float(service["TimeoutStartSec"]) > TIME_LIMIT
    assert float(service["TimeoutStopSec"]) > 2 * DRAIN
    assert (service["Type"], service["KillMode"], service["Restart"]) == ("notify-reload", "mixed", "on-failure")


def test_the_paths_of_the_unit_fit_together(service: dict[str, str]) -> None:
    program, command, *arguments = service["ExecStart"].split()
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    home = Path(service["WorkingDirectory"])
    assert home.is_absolute()
    assert Path(program).is_relative_to(home)
    assert (Path(program).name, command) == ("shunter", "start")
    assert Path(given.pop("-c")) == home / "shunter.yaml"
    assert Path(given.pop("--state-dir")) == Path("/var/lib") / service["StateDirectory"]
    assert given == {}
    assert service["StateDirectoryMode"] == "0700"


def test_the_unit_takes_from_the_service_what_it_does_not_need(service: dict[str, str]) -> None:
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    assert "ProtectProc" not in service  # without /proc nobody can tell what workers have of memory
    for key in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateDevices", "RestrictSUIDSGID"):
        assert service[key] == "yes"
