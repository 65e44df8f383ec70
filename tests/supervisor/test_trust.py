"""Who could have changed a file: what real machines have passes, what strangers could write does not."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest

from supervisor import files, trust
from supervisor.errors import ConfigError, StartError
from supervisor.files import check_modules
from supervisor.statedir import bound, held
from supervisor.trust import check_above, check_directory, check_mode, check_owner, is_private

ME = os.geteuid()


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a private group, a shared one, one that somebody was added to, and one nobody is in."""
    people = [("me", ME, 5000), ("eve", 4711, 5001), ("root", 0, 0)]
    groups = {5000: [], 5001: [], 5002: ["me", "eve"], 5003: ["root", "me"], 5004: [], 5005: ["long-gone"]}
    entries = [SimpleNamespace(pw_name=name, pw_uid=uid, pw_gid=gid) for name, uid, gid in people]
    monkeypatch.setattr(pwd, "getpwall", lambda: entries)
    monkeypatch.setattr(pwd, "getpwnam", lambda name: {entry.pw_name: entry for entry in entries}[name])
    monkeypatch.setattr(grp, "getgrgid", lambda gid: SimpleNamespace(gr_mem=groups[gid]))


@pytest.mark.usefixtures("users")
@pytest.mark.parametrize(
    ("gid", "private"),
    [(5000, True), (5001, False), (5002, False), (5003, True), (5004, False), (5005, False), (9, False)],
)
def test_a_group_is_private_if_nobody_else_is_known_to_be_in_it(gid: int, private: bool) -> None:
    assert is_private(gid) is private


@pytest.mark.usefixtures("users")
def test_what_debian_makes_with_umask_002_is_safe_and_what_everybody_can_write_is_not() -> None:
    for kind, mode in ((0o100000, 0o664), (0o040000, 0o775)):
        check_mode(stat_of(kind | mode, 5000), "it", Path("it"))
        with pytest.raises(ConfigError, match=f"mode {mode:04o}"):
            check_mode(stat_of(kind | mode, 5002), "it", Path("it"))
        with pytest.raises(ConfigError, match="chmod go-w it"):
            check_mode(stat_of(kind | mode | 0o002, 5000), "it", Path("it"))


@pytest.mark.usefixtures("users")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o610])
def test_a_secret_is_not_even_a_private_groups(mode: int) -> None:
    with pytest.raises(ConfigError, match="chmod 600 it"):
        check_mode(stat_of(0o100000 | mode, 5000), "it", Path("it"), trust.ANY)


@pytest.mark.usefixtures("users")
def test_an_operator_may_answer_for_files_but_not_for_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, everybodys = os.stat_result((0o100644, 1, 1, 1, 4711, 5001, 0, 0, 0, 0)), stat_of(0o040777, 5001)
    for answer in ("", "0", "yes"):
        monkeypatch.setenv(trust.TRUST, answer)
        with pytest.raises(ConfigError, match=trust.TRUST):
            check_owner(theirs, "it", Path("it"))
    monkeypatch.setenv(trust.TRUST, "1")
    check_owner(theirs, "it", Path("it"))
    check_mode(everybodys, "it", Path("it"))
    with pytest.raises(ConfigError, match="belongs to user 4711"):
        check_owner(theirs, "it", Path("it"), trust.ANY)
    with pytest.raises(ConfigError, match="mode 0777"):
        check_mode(everybodys, "it", Path("it"), trust.ANY)


@pytest.mark.usefixtures("users")
def test_what_nobody_can_write_may_have_any_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_flag=os.ST_RDONLY))
    check_mode(stat_of(0o040777, 5001), "it", Path("it"))
    with pytest.raises(ConfigError, match="mode 0777"):
        check_mode(stat_of(0o040777, 5001), "it", Path("it"), trust.ANY)


def stat_of(mode: int, gid: int) -> os.stat_result:
    return os.stat_result((mode, 1, 1, 1, ME, gid, 0, 0, 0, 0))


def test_a_directory_that_others_can_rename_is_no_place_for_anything(tmp_path: Path) -> None:
    inner = tmp_path / "open" / "inner"
    inner.mkdir(parents=True, mode=0o755)
    check_directory(inner, "it")
    inner.parent.chmod(0o777)
    with pytest.raises(ConfigError, match=r"open, above it, has mode 0777"):
        check_directory(inner, "it")
    with pytest.raises(ConfigError, match=r"open, above it, has mode 0777"):
        check_above(inner / "not" / "made" / "yet", "it")
    inner.parent.chmod(0o1777)  # as /tmp is: others make files there, and rename only their own
    check_directory(inner, "it")


@pytest.mark.parametrize(
    ("uid_map", "trusted"),
    [
        ("         0          0 4294967295\n", False),
        ("0 0 1000\n1000 1000 4294966295\n", False),
        ("         0     100000      65536\n", True),
        ("      1000       1000          1\n", True),
        ("what is this", False),
        (None, False),
    ],
)
def test_nobody_is_a_stranger_but_where_he_stands_for_those_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid_map: str | None, trusted: bool
) -> None:
    inner, proc = tmp_path / "theirs" / "inner", tmp_path / "uid_map"
    inner.mkdir(parents=True, mode=0o755)
    if uid_map is not None:
        proc.write_text(uid_map)
    monkeypatch.setattr(trust, "_UID_MAP", proc)
    monkeypatch.setattr(trust, "_OVERFLOW_UID", overflow := tmp_path / "overflowuid")
    overflow.write_text("65534\n")
    stat = Path.stat

    def of_nobody(path: Path, **options: bool) -> os.stat_result:
        found = stat(path, **options)
        return os.stat_result([*found[:4], 65534, *found[5:10]]) if path == inner.parent else found

    monkeypatch.setattr(Path, "stat", of_nobody)
    if trusted:
        check_directory(inner, "it")
    else:
        with pytest.raises(ConfigError, match="theirs, above it, belongs to user 65534"):
            check_directory(inner, "it")


def test_a_state_directory_that_others_could_write_into_is_refused_and_not_mended(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    with pytest.raises(StartError, match="mode 0777"), held(state):
        pass
    assert state.stat().st_mode & 0o777 == 0o777


def test_packages_and_modules_of_the_application_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir(mode=0o755)
    (tmp_path / "plain.py").touch(mode=0o644)
    check_modules(tmp_path, ["shop.images", "plain", "json"])
    (tmp_path / "shop").chmod(0o777)
    with pytest.raises(ConfigError, match=r"package .*shop has mode 0777"):
        check_modules(tmp_path, ["shop.images"])
    (tmp_path / "plain.py").chmod(0o666)
    with pytest.raises(ConfigError, match=r"module .*plain\.py has mode 0666"):
        check_modules(tmp_path, ["plain.work"])
    (tmp_path / "linked").symlink_to("shop")
    with pytest.raises(ConfigError, match=r"package .*linked has mode 0777"):
        check_modules(tmp_path, ["linked"])


@pytest.mark.parametrize(
    "planted",
    ["inner", "inner/part.py", "inner/fast.abi3.so", "inner/__pycache__", "inner/__pycache__/part.cpython-311.pyc"],
)
@pytest.mark.parametrize("name", ["shop", "linked"])
def test_all_that_is_imported_of_a_package_is_looked_at(tmp_path: Path, planted: str, name: str) -> None:
    package = tmp_path / "shop"
    (package / "inner" / "__pycache__").mkdir(parents=True, mode=0o755)
    (tmp_path / "linked").symlink_to("shop")
    for file in ("part.py", "fast.abi3.so", "__pycache__/part.cpython-311.pyc", "data.json"):
        (package / "inner" / file).touch(mode=0o644)
    (package / "inner" / "data.json").chmod(0o666)
    (package / "inner" / "upwards").symlink_to("..")
    (package / "inner" / "lost.py").symlink_to("nowhere")
    check_modules(tmp_path, [f"{name}.inner"])
    (package / planted).chmod(0o777)
    with pytest.raises(ConfigError, match=rf"shop/{planted}, in the application's package .*{name}, has mode 0777"):
        check_modules(tmp_path, [f"{name}.inner"])


def test_a_link_in_a_package_does_not_hide_whose_it_is(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir(mode=0o755)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "part.py").touch()
    (tmp_path / "theirs" / "part.py").chmod(0o666)
    (tmp_path / "shop" / "more").symlink_to(tmp_path / "theirs")
    check_modules(tmp_path, ["shop"])  # it is not entered
    (tmp_path / "theirs").chmod(0o777)
    with pytest.raises(ConfigError, match=r"more, in .* has mode 0777"):
        check_modules(tmp_path, ["shop"])
    (tmp_path / "shop" / "more").unlink()
    (tmp_path / "shop" / "part.py").symlink_to(tmp_path / "theirs" / "part.py")
    with pytest.raises(ConfigError, match=r"part\.py, in .* has mode 0666"):
        check_modules(tmp_path, ["shop"])


def test_a_module_that_was_compiled_before_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "plain.py").touch(mode=0o644)
    (tmp_path / "__pycache__").mkdir(mode=0o755)
    (tmp_path / "__pycache__" / "plain.cpython-311.pyc").touch()
    check_modules(tmp_path, ["plain"])
    (tmp_path / "__pycache__" / "plain.cpython-311.pyc").chmod(0o666)
    with pytest.raises(ConfigError, match=r"plain\.cpython-311\.pyc, in .* has mode 0666"):
        check_modules(tmp_path, ["plain"])
    (tmp_path / "__pycache__").chmod(0o777)
    with pytest.raises(ConfigError, match=r"__pycache__ has mode 0777"):
        check_modules(tmp_path, ["plain"])


def test_a_package_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILES", 2)
    (tmp_path / "shop").mkdir(mode=0o755)
    for name in ("a.py", "b.py"):
        (tmp_path / "shop" / name).touch(mode=0o644)
    check_modules(tmp_path, ["shop"])
    (tmp_path / "shop" / "data").touch()
    with pytest.raises(ConfigError, match="more than 2 files"):
        check_modules(tmp_path, ["shop"])
    monkeypatch.setenv(trust.TRUST, "1")
    check_modules(tmp_path, ["shop"])


@pytest.mark.parametrize("kind", ["directory", "file", "link", "pipe"])
def test_what_was_planted_where_the_socket_belongs_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    planted = tmp_path / "control.sock"
    match kind:
        case "directory":
            planted.mkdir()
        case "file":
            planted.write_text("mine")
        case "link":
            planted.symlink_to(tmp_path / "elsewhere")
        case "pipe":
            os.mkfifo(planted)
    with held(tmp_path), pytest.raises(StartError, match="should be a socket of user"), bound(tmp_path):
        pass
    assert os.path.lexists(planted)


@pytest.mark.parametrize("kind", ["directory", "link", "pipe", "second name"])
def test_what_was_planted_where_the_lock_belongs_is_refused_and_not_written_to(tmp_path: Path, kind: str) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    planted, victim = state / "lock", tmp_path / "victim"
    victim.write_text("dear to me")
    match kind:
        case "directory":
            planted.mkdir()
        case "link":
            planted.symlink_to(victim)
        case "pipe":
            os.mkfifo(planted)
        case "second name":
            planted.hardlink_to(victim)
    with pytest.raises(StartError, match="should be a plain file of user"), held(state):
        pass
    assert victim.read_text() == "dear to me"


def test_a_planted_log_directory_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "logs").symlink_to(tmp_path)
    with pytest.raises(StartError, match="should be a directory of user"), held(state):
        pass
