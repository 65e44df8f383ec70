"""Who workers can become, and who they cannot."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

import pytest
from msgspec import convert

from supervisor import users
from supervisor.config import Config
from supervisor.errors import ConfigError
from supervisor.users import Identity, identities, look_up, may_change, of_everybody

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = pwd.getpwnam("nobody")


def config(transport: str = "tcp_local", **named: str) -> Config:
    groups = [{"name": name, "stages": [], **({"user": user} if user else {})} for name, user in named.items()]
    return convert(
        {"runtime": {"platform": {"process_groups": groups, "execution_ipc": {"transport": transport}}}}, Config
    )


def test_users_are_found_by_name_and_by_number() -> None:
    assert look_up("nobody") == look_up(str(NOBODY.pw_uid)) == Identity(NOBODY.pw_uid, NOBODY.pw_gid)
    assert look_up("54321") == Identity(54321, 54321)


@pytest.mark.parametrize(
    ("user", "why"),
    [
        ("root", "is root"),
        ("0", "is root"),
        ("00", "is root"),
        ("no-such-user", "useradd --system no-such-user"),
        # To setresuid these mean: stay as you are.
        (str(2**32 - 1), "there is no user"),
        (str(2**32), "there is no user"),
        (str(2**64), "there is no user"),
    ],
)
def test_who_confines_nothing_is_refused(user: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        look_up(user)
    assert why in str(caught.value)


def test_only_who_may_change_users_changes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = tmp_path / "status"
    for uid, line in ((0, "CapEff"), (1000, "CapAmb")):
        monkeypatch.setattr(os, "geteuid", lambda uid=uid: uid)
        status.write_text(f"Name:\tx\nCapEff:\t0\nCapAmb:\t0\n{line}:\t00000000000000e0\n")
        assert may_change(status)
        for missing in (0x20, 0x40, 0x80):
            status.write_text(f"CapEff:\t0\nCapAmb:\t0\n{line}:\t{0xE0 & ~missing:016x}\n")
            assert not may_change(status)
    monkeypatch.setattr(users, "may_change", lambda: False)
    with pytest.raises(ConfigError, match="only root may change") as caught:
        identities(config(web="", cpu="nobody"))
    assert caught.value.key == "runtime.platform.process_groups.1.user"
    assert identities(config(cpu="")) == {}


def test_who_is_that_user_already_needs_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY.pw_uid)
    monkeypatch.setattr(users, "may_change", lambda: False)
    assert identities(config(cpu="nobody")) == {}


def test_the_application_is_described_as_somebody_else_only_if_no_worker_is_us() -> None:
    one, two = Identity(1, 1), Identity(2, 2)
    assert of_everybody(config(web="nobody", cpu="nobody"), {"web": one, "cpu": two}) == one
    assert of_everybody(config(cpu="nobody"), {"cpu": two}) is None
    assert of_everybody(config(web="nobody", cpu=""), {"web": one}) is None
    assert of_everybody(config("memory", web="nobody", cpu=""), {"web": one}) == one
