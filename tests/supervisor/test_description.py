from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ipc.contract import Describe, Described, NodeContract, Result, encode
from supervisor import description
from supervisor.description import GIVEN_UP, describe
from supervisor.environment import ALLOCATOR, scrub
from supervisor.errors import ConfigError, SpawnError
from supervisor.planning import find_state_dir, load_plan

REQUEST = Describe(sys_path=("/srv/shop",), packages=("shop",))
ENVIRON = {"PATH": os.environ["PATH"]}
Say = Callable[..., Described]


@pytest.fixture
def say(tmp_path: Path) -> Say:
    """Describe by a process that does what the text says; `answer(data)` is there for it."""
    script = tmp_path / "said.py"
    prelude = (
        "import os, signal, subprocess, sys, time\n"
        "fd = int(sys.argv[sys.argv.index('--fd') + 1])\n"
        "def answer(data): os.write(fd, data)\n"
    )

    def say(text: str, time_limit: float = 20.0) -> Described:
        script.write_text(prelude + text)
        command = (sys.executable, "-X", "faulthandler", str(script))
        return describe(REQUEST, ENVIRON, time_limit=time_limit, command=command)

    return say


DESCRIBED = Described((NodeContract("shop.f", "core", (), None, Result("json")),), {})


def test_the_answer_comes_over_its_own_descriptor(say: Say) -> None:
    assert say(f"print('hello'); sys.stderr.write('there'); answer({encode(DESCRIBED)!r})") == DESCRIBED


def test_the_request_stands_on_standard_input(say: Say) -> None:
    said = say(
        "from ipc.contract import *\n"
        "r = decode_request(sys.stdin.buffer.read())\n"
        "answer(encode(Described((), {'got': [list(r.sys_path), list(r.packages)]})))"
    )
    assert said.components == {"got": [["/srv/shop"], ["shop"]]}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("print('last words'); sys.exit(3)", "ended with exit code 3 without an answer"),
        ("print('last words', flush=True); os.kill(os.getpid(), 9)", "was ended by SIGKILL"),
        ("print('last words', flush=True); os.kill(os.getpid(), 40)", "was ended by signal 40"),
        ("print('last words', flush=True); os.abort()", "was ended by SIGABRT"),
        ("print('last words'); answer(b'garbage')", "ended with exit code 0 without an answer"),
        ("print('last words')", "ended with exit code 0 without an answer"),
        ("raise RuntimeError('last words')", "ended with exit code 1"),
    ],
)
def test_a_process_without_an_answer_is_a_fault_with_its_last_words(say: Say, text: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        say(text)
    assert "last words" in caught.value.detail


def test_silence_is_told_as_such(say: Say) -> None:
    with pytest.raises(ConfigError) as caught:
        say("os._exit(0)")
    assert caught.value.hint == "it printed nothing"


def test_an_import_that_hangs_is_ended_and_shows_where_it_stood(say: Say) -> None:
    for limit in (0.5, 2.0, 8.0):  # on a busy machine Python itself may not stand there earlier
        with pytest.raises(ConfigError, match=f"took longer than {limit:g} s") as caught:
            say("def connect_to_nowhere():\n    time.sleep(600)\nconnect_to_nowhere()", time_limit=limit)
        if "in connect_to_nowhere" in caught.value.detail:
            return
    raise AssertionError(caught.value.detail)


def test_one_that_does_not_even_answer_to_that_is_ended_too(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(description, "DUMP_TIME", 0.2)
    with pytest.raises(ConfigError, match="took longer than"):
        say(
            "import faulthandler; faulthandler.disable()\n"
            "signal.signal(signal.SIGABRT, signal.SIG_IGN)\n"
            "time.sleep(600)",
            0.5,
        )


def test_whoever_gives_up_waiting_is_left_with_nothing(say: Say) -> None:
    over = threading.Event()

    def ask() -> None:
        GIVEN_UP.set(over.is_set)
        with pytest.raises(SpawnError, match="nobody waits"):
            say("time.sleep(600)", time_limit=300.0)

    asks = threading.Thread(target=ask)
    asks.start()
    while not description.AT_WORK:
        time.sleep(0.01)
    (pid,) = description.AT_WORK
    over.set()
    asks.join(30.0)
    assert not asks.is_alive()
    assert not description.AT_WORK
    assert not psutil.pid_exists(pid)


def test_an_answer_without_end_is_cut_off(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(description, "MAX_DESCRIPTION", 100_000)
    with pytest.raises(ConfigError, match="larger than 100000 bytes"):
        say("while True: answer(bytes(65536))")


def test_of_what_it_prints_only_the_end_is_kept(say: Say) -> None:
    with pytest.raises(ConfigError) as caught:
        say("for n in range(200_000): print('line', n)")
    lines = caught.value.detail.splitlines()
    assert len(lines) == description.LAST_LINES
    assert lines[-1] == "line 199999"


def until(come_true: Callable[[], bool], seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while not (true := come_true()) and time.monotonic() < end:
        time.sleep(0.01)
    return true


def test_what_it_has_started_goes_with_it_and_does_not_keep_us_waiting(say: Say) -> None:
    began = time.monotonic()
    said = say(
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], pass_fds=(fd,))\n"
        "from ipc.contract import *\n"
        "answer(encode(Described((), {'child': child.pid})))\n"
        "os._exit(0)"
    )
    assert time.monotonic() - began < 60
    child = said.components["child"]
    assert until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


def open_descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_no_descriptor_is_left_over(say: Say) -> None:
    say(f"answer({encode(DESCRIBED)!r})")
    before = open_descriptors()
    say(f"answer({encode(DESCRIBED)!r})")
    with pytest.raises(ConfigError):
        say("pass")
    assert open_descriptors() == before


def test_an_interpreter_that_is_not_there_is_a_fault() -> None:
    with pytest.raises(SpawnError, match="cannot start /nowhere/python"):
        describe(REQUEST, ENVIRON, command=("/nowhere/python",))


def test_the_environment_holds_what_is_harmless_passed_or_set() -> None:
    environ = {"PATH": "/bin", "LC_ALL": "C", "AWS_REGION": "eu", "OMP_NUM_THREADS": "2"}
    others = {"AWS": "x", "DATABASE_URL": "x", "SHUNTER__RUNTIME__WEB__PORT": "1", "path": "x", "PYTHONSTARTUP": "x"}
    kept = scrub(environ | others, ("AWS_*",), (("MODE", "test"), ("PATH", "/usr/bin")))
    assert kept == ALLOCATOR | environ | {"MODE": "test", "PATH": "/usr/bin"}


# With the real thing

SHOP = """
import os
from exec_worker import node

print("hello from the import")

@node(stage="core")
def area(width: int, height: int) -> int:
    '''How large it is.'''
    return width * height

@node(stage=os.environ.get("STAGE", "core"))
def token(secret: str = os.environ.get("DATABASE_URL", "none")) -> str:
    return secret
"""
FILE = """
runtime:
  platform:
    process_groups: [{name: cpu, stages: [core]}]
  web:
    interfaces:
      - kind: http
        endpoints:
          - {path: /area, node: shop.area}
discovery: {packages: [shop]}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "shunter.yaml").write_text(FILE)
    return tmp_path / "shunter.yaml"


def test_a_file_becomes_a_plan(shop: Path) -> None:
    environ = ENVIRON | {"DATABASE_URL": "hunter2", "SHUNTER__RUNTIME__WEB__PORT": "9000"}
    plan = load_plan(shop, ["runtime.platform.process_groups.cpu.workers=3"], environ, None)
    assert [(group.name, group.workers) for group in plan.groups] == [("cpu", 3), ("web", 1)]
    assert plan.port == 9000
    assert plan.config_path == shop
    assert plan.state_dir == shop.parent / ".shunter"
    assert {node.name for node in plan.described.nodes} == {"shop.area", "shop.token"}
    assert "hunter2" not in repr(plan)
    assert plan.secret is None


def test_variables_that_are_passed_on_reach_the_application(shop: Path) -> None:
    environ = ENVIRON | {"STAGE": "other"}
    assert load_plan(shop, [], environ, None)
    with pytest.raises(ConfigError, match="no group runs the stage 'other'"):
        load_plan(shop, ["runtime.platform.environment.pass=[STAGE]"], environ, None)


def test_a_node_that_is_misspelt_is_found_in_the_file(shop: Path) -> None:
    shop.write_text(FILE.replace("shop.area", "shop.aera"))
    with pytest.raises(ConfigError) as caught:
        load_plan(shop, [], ENVIRON, None)
    (fault,) = caught.value.faults
    assert fault.where.endswith("shunter.yaml:9:33")
    assert fault.key == "runtime.web.interfaces.0.endpoints.0.node"
    assert "area" in str(fault)


def test_a_module_that_raises_is_told_with_its_traceback(shop: Path) -> None:
    (shop.parent / "shop.py").write_text("def f():\n    raise RuntimeError('no database')\nf()\n")
    with pytest.raises(ConfigError) as caught:
        load_plan(shop, [], ENVIRON, None)
    text = str(caught.value)
    assert "RuntimeError: no database" in text
    assert 'shop.py", line 2, in f' in text


def test_faults_of_the_plan_have_their_place(shop: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_plan(shop, ["runtime.web.interfaces.0.endpoints.0.path=area"], ENVIRON, None)
    assert caught.value.where == "--set runtime.web.interfaces.0.endpoints.0.path"


def test_the_secret_is_read_from_beside_the_file_and_never_shown(shop: Path) -> None:
    secret = shop.parent / "secret"
    secret.write_bytes(bytes(range(32)))
    secret.chmod(0o600)
    setting = ["runtime.platform.secret_file=secret"]
    plan = load_plan(shop, setting, ENVIRON, None)
    assert plan.secret == bytes(range(32))
    assert "secret=" not in repr(plan)
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match="mode 0644") as caught:
        load_plan(shop, setting, ENVIRON, None)
    assert (caught.value.where, caught.value.key) == (
        "--set runtime.platform.secret_file",
        "runtime.platform.secret_file",
    )


def test_the_state_directory_is_what_was_asked_for_or_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "shunter.yaml"
    assert find_state_dir(path, {}, None) == tmp_path / ".shunter"
    assert find_state_dir(path, {"SHUNTER_STATE_DIR": ""}, None) == tmp_path / ".shunter"
    assert find_state_dir(path, {"SHUNTER_STATE_DIR": "/run/shop"}, None) == Path("/run/shop")
    assert find_state_dir(path, {"SHUNTER_STATE_DIR": "/run/shop"}, Path("/run/other")) == Path("/run/other")
