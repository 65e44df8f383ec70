"""One call from bytes to bytes, and what becomes of everything that can go wrong in between."""

from __future__ import annotations

import json
import os
import sys
import weakref
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from exec_worker import current
from exec_worker.asked import AskedCall
from exec_worker.binding import Binding, Encoded
from exec_worker.engine import Engine, Failure
from exec_worker.signature import contract_of
from exec_worker.window import Window
from ipc.errors import BadResult, InvalidRequest, Misuse
from ipc.log import Log
from ipc.messages.calls import Encoding, RequestMeta
from ipc.messages.lifeline import LogSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


class Bench:
    """An engine with one node."""

    def __init__(self, function: Callable[..., Any], pipe: tuple[int, int]) -> None:
        self._reading, writing = pipe
        binding = Binding(function, contract_of(function, name="shop.f"))
        self.engine = Engine({"shop.f": binding}, Log("cpu-0#1", LogSettings(), writing))

    def run(self, **params: Any) -> Encoded | Failure:
        meta = RequestMeta(
            "shop.f", "request-1", "trace-1", "web-0#1", params=msgspec.Raw(msgspec.msgpack.encode(params))
        )
        return self.engine.run(AskedCall(None, bytes(16), meta, b"", 12.5, 10.0, last_resort=False), Window())

    def logged(self) -> list[dict[str, Any]]:
        os.set_blocking(self._reading, False)
        try:
            return [json.loads(line) for line in os.read(self._reading, 1 << 20).splitlines()]
        except BlockingIOError:
            return []


def test_a_call_runs_from_bytes_to_bytes(pipe: tuple[int, int]) -> None:
    def double(number: int) -> int:
        return 2 * number

    bench = Bench(double, pipe)
    assert bench.engine.cancel_grace("shop.f") == 0.1
    assert bench.engine.cancel_grace("shop.g") is None
    result = bench.run(number=21)
    assert isinstance(result, Encoded)
    assert (result.encoding, result.body) == (Encoding.JSON, b"42")
    assert bench.logged() == []


def test_the_node_sees_its_call_and_nobody_after_it_does(pipe: tuple[int, int]) -> None:
    seen = []

    def look() -> int:
        seen.append((current().deadline, current().request_id, current().trace, current().cancelled))
        return 1

    Bench(look, pipe).run()
    assert seen == [(12.5, "request-1", "trace-1", False)]
    with pytest.raises(Misuse):
        current()


def test_what_does_not_fit_the_signature_is_the_askers_fault(pipe: tuple[int, int]) -> None:
    def double(number: int) -> int:
        return 2 * number

    bench = Bench(double, pipe)
    result = bench.run(number="many")
    assert isinstance(result, Failure)
    assert result.code == InvalidRequest.code
    assert "int" in result.detail
    assert bench.logged() == []


def test_a_node_may_say_so_itself(pipe: tuple[int, int]) -> None:
    def refuse() -> int:
        raise InvalidRequest("no such size")

    assert Bench(refuse, pipe).run() == Failure("invalid_request", "no such size")


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


class Leaving:
    def __str__(self) -> str:
        raise SystemExit(3)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("secret"),
        KeyError("secret"),
        SystemExit(0),
        KeyboardInterrupt(),
        GeneratorExit(),
        BaseException("secret"),
        RecursionError("secret"),
        MemoryError(),
        StopIteration(),
        BadResult("secret"),
        ValueError("half a \ud800 character, secret"),
        Unspeakable(),
        ExceptionGroup("secret", [ValueError("secret")]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_node_raises_ends_the_call_and_not_the_worker(pipe: tuple[int, int], error: BaseException) -> None:
    def fail() -> int:
        raise error

    bench = Bench(fail, pipe)
    result = bench.run()
    assert result == Failure("node_error", f"shop.f raised {type(error).__name__}")
    (line,) = bench.logged()
    assert (line["event"], line["node"], line["request_id"], line["trace"]) == (
        "node_failed",
        "shop.f",
        "request-1",
        "trace-1",
    )
    assert "in fail" in line["traceback"]
    with pytest.raises(Misuse):
        current()


def test_an_error_that_fails_to_say_what_it_is_ends_the_call_only(pipe: tuple[int, int]) -> None:
    def fail() -> int:
        raise InvalidRequest(Leaving())

    assert Bench(fail, pipe).run() == Failure("node_error", "shop.f raised SystemExit")


def test_endless_recursion_ends_the_call_only(pipe: tuple[int, int]) -> None:
    def deeper() -> int:
        return deeper()

    limit = sys.getrecursionlimit()
    assert Bench(deeper, pipe).run() == Failure("node_error", "shop.f raised RecursionError")
    assert sys.getrecursionlimit() == limit


def test_a_result_that_is_not_what_is_declared_is_a_bad_one(pipe: tuple[int, int]) -> None:
    def lie() -> bytes:
        return "text"  # type: ignore[return-value]

    bench = Bench(lie, pipe)
    result = bench.run()
    assert isinstance(result, Failure)
    assert result.code == "bad_result"
    (line,) = bench.logged()
    assert line["event"] == "bad_result"


def test_validators_are_the_applications_code_too(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    def fine(number: int = 1) -> int:
        return number

    bench = Bench(fine, pipe)

    def leave(*_: object) -> None:
        raise SystemExit(1)

    for step in ("decode", "encode"):
        with monkeypatch.context() as patch:
            patch.setattr(bench.engine._nodes["shop.f"], step, leave)
            assert bench.run() == Failure("node_error", "shop.f raised SystemExit")
    assert isinstance(bench.run(), Encoded)


def test_what_no_frame_carries_is_explained(pipe: tuple[int, int]) -> None:
    def fine() -> int:
        return 1

    bench = Bench(fine, pipe)
    meta = RequestMeta("shop.f", "request-1", "", "web-0#1")
    call = AskedCall(None, bytes(16), meta, b"", 12.5, 10.0, last_resort=False)
    assert bench.engine.explain_too_large(call, "9 bytes; 8 is the most") == Failure(
        "bad_result", "shop.f gave 9 bytes; 8 is the most"
    )
    assert bench.logged()[0]["detail"] == "shop.f gave 9 bytes; 8 is the most"


def test_what_a_node_held_that_ran_out_of_memory_is_free_before_anybody_is_told(pipe: tuple[int, int]) -> None:
    held: list[weakref.ref[Any]] = []
    when_told: list[object] = []

    class Greedy:
        """What takes all there is."""

    def eat() -> int:
        mine = Greedy()
        held.append(weakref.ref(mine))
        raise MemoryError

    class Listening(Log):
        def error(self, event: str, /, error: BaseException | None = None, **fields: object) -> None:
            when_told.append(held[0]())
            super().error(event, error, **fields)

    bench = Bench(eat, pipe)
    bench.engine._log = Listening("cpu-0#1", LogSettings(), pipe[1])
    assert bench.run() == Failure("node_error", "shop.f raised MemoryError")
    assert when_told == [None]
    (line,) = bench.logged()
    assert "MemoryError" in line["traceback"]
