from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from supervisor import files, sources, trust
from supervisor.config import Config
from supervisor.decode import all_keys
from supervisor.document import MAX_NODES, Row, Scalar, Table, Tree, parse
from supervisor.errors import ConfigError, ConfigFaults
from supervisor.files import read_config, read_secret
from supervisor.sources import find_file, load

Write = Callable[..., Path]

SHOP = """\
runtime:
  platform:
    process_groups:
      - {name: web, workers: 2}
      - {name: cpu_sync, workers: 4, stages: [core]}
  web:
    port: 8000
discovery: {packages: [shop]}
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str | bytes, name: str = "shunter.yaml", mode: int = 0o644) -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return path

    return write


def fault_of(path: Path, environ: dict[str, str] | None = None, settings: list[str] | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {}, settings or [])
    return caught.value


@contextmanager
def suppress_faults() -> Iterator[list[ConfigError]]:
    faults: list[ConfigError] = []
    try:
        yield faults
    except ConfigError as error:
        faults.extend(error.faults)


# Who wins


def test_a_flag_stands_over_a_variable_and_that_over_the_file(write: Write) -> None:
    path = write(SHOP)
    environ = {"SHUNTER__RUNTIME__WEB__PORT": "8001"}
    assert load(path, {}, []).config.runtime.web.port == 8000
    assert load(path, environ, []).config.runtime.web.port == 8001
    loaded = load(path, environ, ["runtime.web.port=8002", "runtime.web.port=8003"])
    assert loaded.config.runtime.web.port == 8003
    assert loaded.where("runtime.web.port") == "--set runtime.web.port"


def test_every_value_knows_where_it_was_written(write: Write) -> None:
    loaded = load(write(SHOP), {"SHUNTER__RUNTIME__LOG__LEVEL": "debug"}, [])
    assert loaded.where("runtime.web.port").endswith("shunter.yaml:7:11")
    assert loaded.where("runtime.platform.process_groups.1.stages.0").endswith("shunter.yaml:5:47")
    assert loaded.where("runtime.log.level") == "SHUNTER__RUNTIME__LOG__LEVEL"
    assert loaded.where("runtime.web.title").endswith("shunter.yaml:7:5")  # nobody wrote it: what is around it


@pytest.mark.parametrize(
    ("variable", "flag", "value", "group"),
    [
        ("SHUNTER__RUNTIME__PLATFORM__PROCESS_GROUPS__CPU_SYNC__WORKERS", "cpu_sync.workers", "8", (8, ("core",))),
        ("shunter__runtime__platform__process_groups__1__workers", "1.workers", "8", (8, ("core",))),
        ("SHUNTER__RUNTIME__PLATFORM__PROCESS_GROUPS__1__STAGES", "1.stages", "[a, b]", (4, ("a", "b"))),
        ("SHUNTER__RUNTIME__PLATFORM__PROCESS_GROUPS__1__STAGES__0", "1.stages.0", "a", (4, ("a",))),
        ("SHUNTER__RUNTIME__PLATFORM__PROCESS_GROUPS__CPU_SYNC", "cpu_sync", "{name: x, stages: [y]}", (1, ("y",))),
    ],
)
def test_items_are_reached_by_name_or_number(
    write: Write, variable: str, flag: str, value: str, group: tuple[int, tuple[str, ...]]
) -> None:
    path = write(SHOP)
    by_variable = load(path, {variable: value}, []).config
    by_flag = load(path, {}, [f"runtime.platform.process_groups.{flag}={value}"]).config
    assert by_variable == by_flag
    changed = by_flag.runtime.platform.process_groups[1]
    assert (changed.workers, changed.stages) == group


def test_the_web_group_can_be_set_although_nobody_wrote_it(write: Write) -> None:
    config = load(write(""), {}, ["runtime.platform.process_groups.web.workers=3"]).config
    assert [(group.name, group.workers) for group in config.runtime.platform.process_groups] == [("web", 3)]


def test_a_name_below_a_free_mapping_keeps_its_case_and_its_underscores(write: Write) -> None:
    environ = {"SHUNTER__RUNTIME__PLATFORM__ENVIRONMENT__SET__My__VAR": "1"}
    assert load(write(""), environ, []).config.runtime.platform.environment.set == {"My__VAR": "1"}


def test_other_variables_are_none_of_our_business(write: Write) -> None:
    environ = {"SHUNTER_STATE_DIR": "/x", "PATH": "/bin", "SHUNTERS": "x", "MY_SHUNTER__X": "y"}
    assert load(write(""), environ, []).config == Config()


# Faults, and what they say


def test_a_fault_in_the_file_has_line_column_key_and_the_nearest_name(write: Write) -> None:
    fault = fault_of(write(SHOP.replace("port: 8000", "prot: 8000")))
    assert fault.where.endswith("shunter.yaml:7:5")
    assert fault.key == "runtime.web.prot"
    assert fault.hint == "did you mean 'port'?"
    assert str(fault).splitlines()[0].endswith("shunter.yaml:7:5: error: unknown key 'prot'")


def test_a_right_name_in_a_wrong_place_is_sent_to_its_own(write: Write) -> None:
    fault = fault_of(write("runtime: {web: {transport: tcp_local}}"))
    assert fault.hint == "did you mean 'runtime.platform.execution_ipc.transport'?"


def test_all_faults_are_told_at_once(write: Write) -> None:
    path = write("runtime:\n  web: {port: x, docs: 3}\n  wbe: {}\n")
    fault = fault_of(path, {"SHUNTER__RUNTIME__LOG__LEVEL": "loud"}, ["runtime.web.queue.calls=0", "what"])
    assert isinstance(fault, ConfigFaults)
    assert len(fault.faults) == 6


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("SHUNTER__RUNTIME__WEB__PROT", "did you mean SHUNTER__RUNTIME__WEB__PORT?"),
        ("SHUNTER__WEB__PORT", "did you mean SHUNTER__RUNTIME__WEB__PORT?"),
        ("SHUNTER__RUNTIME_WEB_PORT", "did you mean SHUNTER__RUNTIME__WEB__PORT?"),
        ("SHUNTER_RUNTIME__WEB__PORT", "did you mean SHUNTER__RUNTIME__WEB__PORT?"),
        ("SHUNTER__XYZZY", "known here: runtime, discovery"),
        ("SHUNTER__RUNTIME__PLATFORM__PROCESS_GROUPS__CPU_SNC__WORKERS", "did you mean 'cpu_sync'?"),
    ],
)
def test_an_unknown_variable_is_a_fault_that_names_it_and_the_nearest(write: Write, name: str, hint: str) -> None:
    fault = fault_of(write(SHOP), {name: "1"})
    assert fault.where == name
    assert fault.hint == hint


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("runtime.web.prot=1", "there is no key 'prot'"),
        ("runtime.web.port.x=1", "nothing below 'runtime.web.port'"),
        ("runtime.platform.process_groups.5.workers=1", "has 2 items"),
        ("runtime.web.interfaces.http.kind=http", "named by its number"),
        ("runtime.web.port=", "nothing \\(null\\)"),
        ("runtime.web.port=[1", "not valid YAML"),
        ("runtime.web.port", "expected KEY=VALUE"),
        ("=1", "expected KEY=VALUE"),
        ("runtime=1", "expected a mapping"),
        ("runtime..port=1", "there is no key ''"),
        ("runtime.web.port=!!python/object/apply:os.getpid []", "has no meaning here"),
    ],
)
def test_a_flag_that_makes_no_sense_is_a_fault_that_shows_it(write: Write, setting: str, said: str) -> None:
    fault = fault_of(write(SHOP), {}, [setting])
    assert setting.partition("=")[0] in str(fault)
    with pytest.raises(ConfigError, match=said):
        raise fault.faults[0]


def test_two_variables_for_one_key_are_a_fault(write: Write) -> None:
    fault = fault_of(write(""), {"SHUNTER__RUNTIME__WEB__PORT": "1", "shunter__runtime__web__port": "2"})
    assert "set the same key" in str(fault)


def test_a_fault_by_a_variable_names_the_variable(write: Write) -> None:
    fault = fault_of(write(SHOP), {"SHUNTER__RUNTIME__WEB__PORT": "99999"})
    assert (fault.where, fault.key) == ("SHUNTER__RUNTIME__WEB__PORT", "runtime.web.port")


def test_a_fault_cannot_write_to_the_terminal_what_the_file_says(write: Write) -> None:
    text = str(fault_of(write('"\\e]0;owned\\a\\r\\n": 1')))
    assert all(character.isprintable() or character == "\n" for character in text)


# The document itself


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2\n", r"shunter.yaml:2:1: error: the key 'a' stands here for the second time"),
        ("a: [1, 2", r"shunter.yaml:1:9: error: not valid YAML"),
        ("a: b\n c: d", r"shunter.yaml:2:3: error: not valid YAML"),
        ("--- {}\n--- {}\n", "not valid YAML: expected a single document"),
        ("a: *b", "not valid YAML: found undefined alias"),
        ("a: &x [*x]", "nested deeper than 32 levels"),
        ("[" * 40, "nested deeper than 32 levels"),
        ("{a: " * 5000, "nested deeper than 32 levels"),
        ("? [1]\n: 2", "a key must be a plain word"),
        ("a: !!python/object/apply:os.system [id]", "has no meaning here"),
        ("a: !!set {x}", "has no meaning here"),
        ("a: !!binary aGk=", "has no meaning here"),
        ("a: !!int x", "is not a value of its kind"),
        ("a: " + "9" * 5000, "is not a value of its kind"),
        ("a: !!bool maybe", "is not a value of its kind"),
        ("<<: 3", "'<<' takes a mapping"),
        ("a: \x01", r"shunter.yaml:1:4: error: not valid YAML: a character that may not stand here"),
        ("", None),
    ],
)
def test_what_is_no_proper_document_is_refused_where_it_is_wrong(text: str, said: str | None) -> None:
    if said is None:
        assert isinstance(parse(text, "shunter.yaml"), Scalar)
        return
    with pytest.raises(ConfigError, match=said) as caught:
        parse(text, "shunter.yaml")
    assert "shunter.yaml:" in str(caught.value)


def test_aliases_that_multiply_are_stopped_early() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    began = time.monotonic()
    with pytest.raises(ConfigError, match=f"more than {MAX_NODES} keys and values"):
        parse("\n".join(lines), "shunter.yaml")
    assert time.monotonic() - began < 30


def test_merges_that_multiply_are_stopped_early() -> None:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 10)]
    with pytest.raises(ConfigError, match=f"more than {MAX_NODES} keys and values"):
        parse("\n".join(lines), "shunter.yaml")


def test_an_alias_is_a_copy_that_can_be_changed_alone(write: Write) -> None:
    text = "runtime: {platform: {process_groups: [&g {name: a, stages: [x]}, {<<: *g, name: b}, {<<: *g, name: c}]}}"
    groups = load(write(text), {}, ["runtime.platform.process_groups.b.stages.0=y"]).config.runtime.platform
    assert [(g.name, g.stages) for g in groups.process_groups] == [("a", ("x",)), ("b", ("y",)), ("c", ("x",))]


def plain(tree: Tree) -> object:
    match tree:
        case Table():
            return {name: plain(item) for name, item in tree.items.items()}
        case Row():
            return [plain(item) for item in tree.items]
        case Scalar():
            return tree.value


_text = st.text(st.characters(min_codepoint=32, max_codepoint=0xD7FF, exclude_categories=["Cc", "Cs"]), max_size=6)
_documents = st.recursive(
    st.none() | st.booleans() | st.integers() | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text.filter(lambda k: k != "<<"), inner, max_size=4),
    max_leaves=20,
)


@given(_documents)
def test_a_document_is_read_as_yaml_means_it(document: object) -> None:
    assert plain(parse(yaml.safe_dump(document, allow_unicode=True), "x")) == document


@given(st.text(max_size=60))
def test_any_text_is_a_document_or_a_fault(text: str) -> None:
    with suppress_faults() as faults:
        parse(text, "shunter.yaml")
    assert all(fault.where.startswith("shunter.yaml") for fault in faults)


@given(st.sampled_from(sorted(all_keys())), st.text(max_size=10))
def test_any_value_of_any_variable_is_taken_or_blamed_on_it(key: str, value: str) -> None:
    name = "SHUNTER__" + key.replace("<name>", "web").replace("<n>", "0").replace(".", "__").upper()
    tree = parse("runtime: {}", "shunter.yaml")
    override = sources.Override(name, tuple(name.removeprefix("SHUNTER__").split("__")), "__", value)
    with suppress_faults() as faults:
        sources.place(tree, override)
        sources.decode(tree)
    assert all(fault.where == name for fault in faults)


# Files


def test_without_a_name_only_the_current_directory_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    write(SHOP)
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    with pytest.raises(ConfigError, match=r"no shunter.yaml in this directory") as caught:
        find_file(None)
    assert "-c FILE" in caught.value.hint
    monkeypatch.chdir(tmp_path)
    assert find_file(None) == find_file(Path("shunter.yaml")) == tmp_path.resolve() / "shunter.yaml"


def test_a_file_that_was_named_and_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file"):
        find_file(tmp_path / "other.yaml")
    with pytest.raises(ConfigError, match="cannot be opened"):
        find_file(Path("a\0b"))
    with pytest.raises(ConfigError, match="cannot be opened"):
        find_file(tmp_path / ("x" * 300))


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o620, 0o602])
def test_a_file_that_others_can_write_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch, mode: int) -> None:
    monkeypatch.setattr(trust, "is_private", lambda _gid: False)
    with pytest.raises(ConfigError, match=f"mode {mode:04o}") as caught:
        read_config(write(SHOP, mode=mode))
    assert caught.value.hint.startswith("chmod go-w ")


def test_a_directory_that_others_can_write_is_refused(write: Write, tmp_path: Path) -> None:
    path = write(SHOP)
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigError, match=r"directory .* has mode 0777"):
        read_config(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_refused(write: Write) -> None:
    path = write(SHOP)
    os.chown(path, 12345, -1)
    with pytest.raises(ConfigError, match="belongs to user 12345"):
        read_config(path)


def test_a_link_to_a_file_that_others_can_write_is_refused(write: Write, tmp_path: Path) -> None:
    write(SHOP, "real.yaml", 0o666)
    (tmp_path / "shunter.yaml").symlink_to("real.yaml")
    with pytest.raises(ConfigError, match="mode 0666"):
        read_config(tmp_path / "shunter.yaml")


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(ConfigError, match="not a regular file"):
            read_config(tmp_path / name)
    with pytest.raises(ConfigError, match="cannot be opened"):
        read_config(tmp_path / "gone")


def test_a_file_that_is_too_large_or_no_text_is_refused(write: Write) -> None:
    with pytest.raises(ConfigError, match="larger than 1048576 bytes"):
        read_config(write(b"#" * (files.MAX_CONFIG + 1)))
    with pytest.raises(ConfigError, match=r"shunter.yaml:2: error: not UTF-8|not UTF-8 text") as caught:
        read_config(write(b"a: 1\nb: \xff\n"))
    assert caught.value.where.endswith(":2")


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (b"", 0o600, "has 0 bytes"),
        (b"x" * 31, 0o600, "has 31 bytes"),
        (b"\n" * 32, 0o600, "is not random"),
        (b"secretse" * 4, 0o600, "is not random"),
        (bytes(range(32)), 0o640, "mode 0640"),
        (bytes(range(32)), 0o604, "mode 0604"),
        (bytes(4097), 0o600, "larger than 4096 bytes"),
        (bytes(range(32)), 0o600, ""),
        (bytes(range(64)), 0o400, ""),
    ],
)
def test_a_secret_is_long_random_and_its_owners_alone(
    write: Write, content: bytes, mode: int, said: str | None
) -> None:
    path = write(content, "secret", mode)
    if not said:
        assert read_secret(path) == content or said is None
        return
    with pytest.raises(ConfigError, match=said):
        read_secret(path)
