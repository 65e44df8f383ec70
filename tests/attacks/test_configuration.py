"""T34, T35: configurations that somebody else could have written, and values that would switch a guard off."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import pytest
from msgspec import UNSET, Struct

sys.path.append(str(Path(__file__).parent / "programs"))

from victim import ROOT, project

from supervisor import trust
from supervisor.config import Config
from supervisor.decode import keys_of, unwrap
from supervisor.errors import ConfigError
from supervisor.files import read_config, read_secret
from supervisor.sources import load
from supervisor.statedir import held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def shunter(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(ROOT / "shunter.py"), *arguments]
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


# -- T34: who could have written it


def writable(name: str, mode: int) -> Callable[[Path], None]:
    return lambda home: (home / name).chmod(mode)


def elsewhere(home: Path) -> None:
    """A link to a file that is well, in a directory that is not."""
    place = home.parent / "place"
    place.mkdir()
    (home / "shunter.yaml").rename(place / "real.yaml")
    (home / "shunter.yaml").symlink_to(place / "real.yaml")
    place.chmod(0o777)


PLANTED: dict[str, tuple[Callable[[Path], None], str]] = {
    "configuration": (writable("shunter.yaml", 0o666), r"configuration file \S+ has mode 0666.*\n.*chmod go-w"),
    "its directory": (writable(".", 0o777), r"configuration's directory \S+ has mode 0777.*\n.*chmod go-w"),
    "a package": (writable("shop", 0o757), r"package \S+shop has mode 0757.*\n.*chmod go-w"),
    "above it": (writable("..", 0o777), r"above the configuration's directory \S+ has mode 0777.*\n.*chmod go-w"),
    "what a link leads to": (elsewhere, r"directory \S+place has mode 0777.*\n.*chmod go-w"),
    "the secret": (writable("secret", 0o640), r"secret file \S+ has mode 0640.*\n(?s:.*)chmod 600"),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_strangers_could_write_is_refused_with_what_to_do(tmp_path: Path, what: str) -> None:
    home = tmp_path / "above" / "home"
    home.mkdir(parents=True)
    project(home)
    plant, sentence = PLANTED[what]
    plant(home)
    found = shunter("check", cwd=home)
    assert found.returncode == 2, found
    assert re.search(sentence, found.stderr), found.stderr
    assert not (home / ".shunter").exists()


def test_the_same_configuration_is_well_without_what_was_planted(tmp_path: Path) -> None:
    project(tmp_path)
    found = shunter("check", cwd=tmp_path)
    assert found.returncode == 0, found


def test_what_another_user_owns_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are this user's, and whoever starts Shunter another one: as an ordinary user one cannot give files away."""
    config = project(tmp_path)
    secret = tmp_path / "secret"
    if os.geteuid() == 0:
        for path in (tmp_path, config, secret):
            os.chown(path, 54_321, 54_321)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 54_322)
    for read in (lambda: read_config(config), lambda: read_secret(secret)):
        with pytest.raises(ConfigError, match="belongs to user") as caught:
            read()
        assert "start Shunter as that user" in caught.value.hint
    with pytest.raises(ConfigError, match="belongs to user"), held(tmp_path / "state"):
        pass


def test_a_private_group_may_write_and_a_shared_one_may_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where users have groups of their own, umask 002 is usual, and every file is its group's to write."""
    config = project(tmp_path)
    tmp_path.chmod(0o775)
    config.chmod(0o664)
    monkeypatch.setattr(trust, "is_private", lambda _gid: True)
    assert read_config(config)
    monkeypatch.setattr(trust, "is_private", lambda _gid: False)
    with pytest.raises(ConfigError, match="mode 0775"):
        read_config(config)


def test_nothing_above_the_current_directory_is_looked_for(tmp_path: Path) -> None:
    project(tmp_path)
    below = tmp_path / "below"
    below.mkdir()
    found = shunter("check", cwd=below)
    assert found.returncode == 2
    assert "there is no shunter.yaml in this directory" in found.stderr


def test_what_lies_in_the_current_directory_is_not_imported(tmp_path: Path) -> None:
    home, cwd = tmp_path / "home", tmp_path / "cwd"
    home.mkdir()
    (cwd / "shop").mkdir(parents=True)
    project(home)
    for name in ("shop/__init__", "json", "msgspec", "yaml", "sitecustomize"):
        (cwd / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write({name!r})\n")
    found = shunter("check", "-c", str(home / "shunter.yaml"), cwd=cwd)
    assert found.returncode == 0, found
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("runtime.web.app", "../evil:app"),
        ("runtime.web.app", "/tmp/evil:app"),  # noqa: S108 - it is not opened
        ("runtime.web.app", "..evil:app"),
        ("discovery.packages", "[../evil]"),
        ("discovery.packages", "[..evil]"),
        ("runtime.platform.process_groups.cpu.name", "../evil"),
        ("runtime.platform.process_groups.cpu.name", "/etc/cron.d/evil"),
    ],
)
def test_no_name_leads_out_of_where_it_belongs(tmp_path: Path, key: str, value: str) -> None:
    config = project(tmp_path)
    with pytest.raises(ConfigError, match="expected"):
        load(config, {}, [f"{key}={value}"])


# -- T35: what would switch a guard off. Every key there is takes part, by its type.

FULL = """\
runtime:
  platform:
    process_groups:
      - {name: cpu, stages: [core]}
  web:
    interfaces:
      - kind: http
        endpoints:
          - {path: /a, node: shop.images.thumbnail}
"""
OFF = ('""', "null", "", "0", "-1", "-0.0", ".nan", ".inf", "-.inf", "1e999", "false", "off", "none", "[]", "{}", '"0"')
MEANT = {
    # What these say is no guard's end: "take any free port", "nothing in front", "none of my own".
    ("runtime.web.port", "0"),
    ("runtime.platform.execution_ipc.bind_port", "0"),
    ("runtime.web.interfaces.0.prefix", '""'),
    ("runtime.platform.process_groups.0.nice", "0"),
    *(("runtime.platform.process_groups.0.max_requests_jitter", zero) for zero in ("0", "-0.0")),
    *(("runtime.platform.process_groups.0.restart.jitter", zero) for zero in ("0", "-0.0")),
    ("runtime.web.app", '""'),
    *((f"runtime.platform.process_groups.0.{key}", no) for key in ("preload", "overlap") for no in ("false", "off")),
    ("runtime.web.docs", "false"),
    ("runtime.web.docs", "off"),
    ("runtime.web.interfaces.0.endpoints.0.through_app", "false"),
    ("runtime.web.interfaces.0.endpoints.0.through_app", "off"),
    ("runtime.log.requests", "false"),
    ("runtime.log.requests", "off"),
    # The only switch: off is what it is without being said.
    ("runtime.platform.hardening.allow_debug", "false"),
    ("runtime.platform.hardening.allow_debug", "off"),
}


def leaves(section: type[Struct] = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key that has a value of its own, with its type; of lists the first item."""
    for name, info in keys_of(section).items():
        kind, _ = unwrap(info.type)
        if isinstance(kind, type) and issubclass(kind, Struct):
            yield from leaves(kind, f"{prefix}{name}.")
            continue
        yield prefix + name, kind
        if get_origin(kind) is tuple:
            item, _ = unwrap(get_args(kind)[0])
            if isinstance(item, type) and issubclass(item, Struct):
                yield from leaves(item, f"{prefix}{name}.0.")


KINDS = dict(leaves())
WAYS = ("file", "--set")


def test_every_key_of_the_schema_takes_part() -> None:
    assert {
        "runtime.platform.execution_ipc.auth.mode",
        "runtime.platform.execution_ipc.auth.ttl_seconds",
        "runtime.platform.execution_ipc.auth.nonce_cache_size",
        "runtime.platform.execution_ipc.max_payload_bytes",
        "runtime.platform.secret_file",
        "runtime.platform.hardening.allow_debug",
        "runtime.platform.process_groups.0.workers",
        "runtime.platform.process_groups.0.umask",
        "runtime.platform.process_groups.0.user",
        "runtime.web.queue.calls",
        "runtime.web.queue.bytes",
        "runtime.web.default_timeout_seconds",
    } <= KINDS.keys()
    assert len(KINDS) > 40


def configured(home: Path, key: str, value: str, way: str) -> Config:
    """The configuration with one key set, in the file or above it."""
    path = home / "shunter.yaml"
    if way == "file":
        path.write_text(with_key(key, value))
        return load(path, {}, []).config
    path.write_text(FULL)
    return load(path, {}, [f"{key}={value}"]).config


def with_key(key: str, value: str) -> str:
    """FULL with one key added or changed, as YAML that is valid whatever the value."""
    lines = json.dumps(placed(tree_of_full(), key.split("."), "@@"), indent=1)
    return lines.replace('"@@"', value)


def tree_of_full() -> Any:
    endpoint = {"path": "/a", "node": "shop.images.thumbnail"}
    return {
        "runtime": {
            "platform": {"process_groups": [{"name": "cpu", "stages": ["core"]}]},
            "web": {"interfaces": [{"kind": "http", "endpoints": [endpoint]}]},
        }
    }


def placed(tree: Any, parts: list[str], value: str) -> Any:
    at: Any = int(parts[0]) if isinstance(tree, list) else parts[0]
    if len(parts) == 1:
        tree[at] = value
    else:
        if isinstance(tree, dict):
            tree.setdefault(at, {})
        placed(tree[at], parts[1:], value)
    return tree


def value_of(config: Any, key: str) -> Any:
    for part in key.split("."):
        if config is UNSET:  # a whole section
            break
        config = config[int(part)] if part.isdecimal() else getattr(config, {"pass": "passed"}.get(part, part))
    return config


def fits(kind: Any, value: str) -> bool:
    """Whether a value is one of this type after all: a word where any word will do, a list where none is needed."""
    if kind is str:
        # Texts are taken as they stand there, so that 0 is the name "0" and no number; nothing is no text.
        return value not in {'""', "null", "", "[]", "{}"}
    origin = get_origin(kind)
    return (origin is tuple and value == "[]") or (origin is dict and value == "{}")


@pytest.mark.parametrize(
    ("key", "way"), [(key, way) for key, kind in KINDS.items() for way in WAYS if way == "file" or kind is not str]
)
def test_no_value_switches_a_guard_off(tmp_path: Path, key: str, way: str) -> None:
    """Each either is an error that names file, line and key (or the flag), or is what it says."""
    kind = KINDS[key]
    for value in OFF:
        error: ConfigError | None = None
        try:
            config = configured(tmp_path, key, value, way)
        except ConfigError as raised:
            error = raised
        if error is not None:
            where = r"shunter\.yaml:\d+:\d+" if way == "file" else re.escape(f"--set {key}")
            assert any(re.search(where, fault.where) for fault in error.faults), (value, str(error))
            assert any(key in fault.key or key in fault.where for fault in error.faults), (value, str(error))
            continue
        found = value_of(config, key)
        if (key, value) in MEANT:
            continue
        assert fits(kind, value), f"{key}: {value} became {found!r}"
        if kind is str:
            assert found == value.strip('"')
        else:
            assert not found
        assert get_origin(kind) is not Literal


@pytest.mark.parametrize("key", [key for key, kind in KINDS.items() if kind in {int, float}])
def test_what_is_left_out_is_bounded_all_the_same(tmp_path: Path, key: str) -> None:
    (tmp_path / "shunter.yaml").write_text(FULL)
    found = value_of(load(tmp_path / "shunter.yaml", {}, []).config, key)
    assert (key, "0") in MEANT or found is not None
    if isinstance(found, int | float) and (key, "0") not in MEANT:
        assert 0 < found < 10**12


def test_a_misspelt_guard_is_no_guard_left_out(tmp_path: Path) -> None:
    (tmp_path / "shunter.yaml").write_text(FULL.replace("  web:", "    hardning: {allow_debug: false}\n  web:"))
    with pytest.raises(ConfigError, match=r"(?s)unknown key 'hardning'.*did you mean 'hardening'") as caught:
        load(tmp_path / "shunter.yaml", {}, [])
    assert caught.value.where.endswith("shunter.yaml:5:5")


def test_check_says_what_age_and_memory_of_messages_imply(tmp_path: Path) -> None:
    project(tmp_path)
    found = shunter("check", cwd=tmp_path)
    assert "30 s old when it arrives, on clocks that nobody can set, is refused" in found.stdout
    assert "after a rotation an old key is good for" in found.stdout
    assert "not needed on tcp_local: it keeps order" in found.stdout
    assert "100,032 of each session and direction in 12,504 bytes" in found.stdout
