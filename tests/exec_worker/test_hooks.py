"""What a worker runs once in its life."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from exec_worker import hooks, on_worker_start, on_worker_stop
from exec_worker.hooks import LEAST, MAX_HOOKS, STOP_TIMEOUT, Departure, begin, registered
from exec_worker.loader import LoadError
from ipc.errors import Misuse
from ipc.log import Log
from ipc.messages.settings import LogSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _nothing_registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(hooks, "_registered", {})
    yield
    sys.modules.pop("shop_hooks", None)


def test_hooks_run_in_the_order_of_their_definition_and_end_in_reverse(tmp_path: Path) -> None:
    said: list[str] = []
    for name in "abc":
        on_worker_start(named(name, lambda name=name: said.append(f"+{name}")))
        on_worker_stop(named(name, lambda name=name: said.append(f"-{name}")))
    begin()
    Departure().run(log_to(tmp_path / "log"))
    assert said == ["+a", "+b", "+c", "-c", "-b", "-a"]


def named(name: str, function: Any) -> Any:
    function.__qualname__ = name
    return function


def log_to(file: Path) -> Log:
    return Log("cpu-0#1", LogSettings(), os.open(file, os.O_WRONLY | os.O_CREAT, 0o600))


def test_a_function_that_is_marked_stays_itself() -> None:
    def load() -> int:
        return 5

    assert on_worker_start(load) is load
    assert on_worker_stop(load) is load
    assert load() == 5
    assert [(hook.kind, hook.module) for hook in registered()] == [
        ("on_worker_start", __name__),
        ("on_worker_stop", __name__),
    ]


def test_a_module_that_is_imported_again_brings_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "from exec_worker import on_worker_start\n"
    source += "@on_worker_start\ndef _(): ran.append('one')\n@on_worker_start\ndef _(): ran.append('two')\nran = []\n"
    (tmp_path / "shop_hooks.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("shop_hooks")
    on_worker_start(later := named("later", lambda: module.ran.append("later")))
    again = importlib.reload(module)
    begin()
    assert again.ran == ["one", "two", "later"]  # two of one name are two, and each has its old place
    assert registered()[-1].function is later


def test_a_hook_that_raises_is_told_as_an_import_that_fails_is() -> None:
    ran = []

    @on_worker_start
    def load_model() -> None:
        raise FileNotFoundError("model.bin")

    on_worker_start(named("never", lambda: ran.append(1)))
    with pytest.raises(LoadError, match=r"load_model \(on_worker_start\) raised FileNotFoundError: model.bin") as told:
        begin()
    assert "in load_model" in told.value.traceback
    assert "hooks.py" not in told.value.traceback.replace("test_hooks.py", "")
    assert not ran

    load_model.__code__ = (lambda: sys.exit(3)).__code__
    with pytest.raises(LoadError, match="SystemExit: 3"):
        begin()


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_stop_hook_that_fails_is_logged_and_the_others_run(tmp_path: Path, error: type[BaseException]) -> None:
    ran = []
    on_worker_stop(named("first", lambda: ran.append("first")))

    @on_worker_stop
    def close_pool() -> None:
        raise error("no pool")

    on_worker_stop(named("last", lambda: ran.append("last")))
    Departure().run(log_to(tmp_path / "log"))
    assert ran == ["last", "first"]
    (line,) = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert (line["event"], line["level"]) == ("stop_hook_failed", "error")
    assert line["hook"].endswith("close_pool")
    assert "no pool" in line["traceback"]


def test_async_hooks_run_where_there_is_a_loop_and_nowhere_else(tmp_path: Path) -> None:
    ran: list[str] = []

    @on_worker_start
    async def connect() -> None:
        await asyncio.sleep(0)
        ran.append("connect")

    @on_worker_stop
    async def close() -> None:
        ran.append("close")

    with pytest.raises(LoadError, match=r"connect is `async def`, and hooks are only in groups of `mode: async`"):
        begin()
    with asyncio.Runner() as runner:
        begin(runner.run)
        Departure().run(log_to(tmp_path / "log"), runner.run)
    assert ran == ["connect", "close"]


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda model: model, "without arguments"),
        (lambda: (yield), "generator"),
        (dict, "marks functions"),
        ("load", "marks functions"),
    ],
)
def test_what_could_not_be_run_as_a_hook_is_refused_when_it_is_defined(function: Any, why: str) -> None:
    for decorator in (on_worker_start, on_worker_stop):
        with pytest.raises(Misuse, match=why):
            decorator(function)
    assert not registered()


def test_a_decorator_in_a_loop_is_noticed() -> None:
    for n in range(MAX_HOOKS):
        on_worker_start(named(f"hook{n}", lambda: None))
    with pytest.raises(Misuse, match="define hooks once"):
        on_worker_start(named("one_more", lambda: None))


def test_stop_hooks_have_what_is_left_of_the_time_to_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    time = 100.0
    monkeypatch.setattr(hooks, "now", lambda: time)
    departure = Departure()
    assert departure.left() == STOP_TIMEOUT  # it leaves by its own decision
    departure.begin(7.0)
    time = 101.0
    departure.begin(70.0)  # told twice is told once
    assert departure.left() == STOP_TIMEOUT
    time = 104.0
    assert departure.left() == 3.0
    time = 200.0
    assert departure.left() == LEAST


def test_a_worker_waits_for_others_only_as_long_as_its_hooks_can_spare() -> None:
    departure = Departure()
    departure.begin(10.0)
    assert 9.0 < departure.spare() <= 10.0 - LEAST
    late = Departure()
    late.begin(LEAST / 2)
    assert late.spare() == 0.0
