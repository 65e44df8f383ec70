"""One call from bytes to bytes, and what becomes of everything that can go wrong in between."""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
import weakref
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from exec_worker import Batch, CallCancelled, DeadlineExceeded, current, node
from exec_worker.asked import AskedCall
from exec_worker.asked_batch import AskedBatch
from exec_worker.batches import Turn
from exec_worker.binding import Binding, Encoded
from exec_worker.engine import Engine, Failure
from exec_worker.process import context
from exec_worker.signature import contract_of
from exec_worker.window import Window
from ipc.errors import BadResult, InvalidRequest, Misuse
from ipc.log import Log
from ipc.messages.calls import Encoding, RequestMeta
from ipc.messages.settings import LogSettings
from ipc.printed import Printed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exec_worker.interrupts import Interrupted


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
        return self.engine.run(
            AskedCall(None, bytes(16), self.meta(**params), b"", 12.5, 10.0, last_resort=False), Window()
        )

    @staticmethod
    def meta(**params: Any) -> RequestMeta:
        return RequestMeta(
            "shop.f", "request-1", "trace-1", "web-0#1", params=msgspec.Raw(msgspec.msgpack.encode(params))
        )

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


@pytest.mark.parametrize("kind", ["alone", "task"])
def test_what_a_call_prints_without_an_end_is_written_when_it_is_over(pipe: tuple[int, int], kind: str) -> None:
    reader, writer = os.pipe()

    def tell(number: int) -> int:
        print(number, end="", file=printed)
        return number

    async def tell_later(number: int) -> int:
        return tell(number)

    with os.fdopen(writer, "w") as inner:
        printed = Printed(inner, context)
        if kind == "alone":
            Bench(tell, pipe).run(number=7)
        else:
            call = AskedCall(None, bytes(16), Bench.meta(number=7), b"", 12.5, 10.0, last_resort=False)
            coroutine = Bench(tell_later, pipe).engine.prepare(call)
            assert not isinstance(coroutine, Failure)
            asyncio.run(coroutine)
        assert os.read(reader, 100) == b"\x1erequest-1\x1f7\n"
    os.close(reader)


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


# -- batches


def together(bench: Bench, *bodies: object, interrupt: type[Interrupted] | None = None) -> list[Any]:
    """The bodies of what each is answered, or its failure."""
    calls = tuple(
        AskedCall(
            None,  # type: ignore[arg-type]
            bytes([number]) * 16,
            RequestMeta("shop.f", f"request-{number}", "", "web-0#1", Encoding.JSON),
            msgspec.json.encode(body),
            math.inf,
            10.0,
            last_resort=False,
        )
        for number, body in enumerate(bodies)
    )
    turn: Turn[AskedCall] = Turn("shop.f", calls[0], 1.0)
    turn.calls = calls
    batch = AskedBatch(turn)
    batch.interrupt = interrupt
    answers = bench.engine.run_batch(batch, Window())
    assert len(answers) == len(calls)
    return [json.loads(each.body) if isinstance(each, Encoded) else each for each in answers]


def test_each_call_of_a_batch_has_its_own_answer(pipe: tuple[int, int]) -> None:
    seen: list[tuple[str, ...]] = []

    class Broken(InvalidRequest):
        def __str__(self) -> str:
            raise RuntimeError

    @node(batch=Batch())
    def look(words: list[str]) -> list[Any]:
        seen.append(tuple(item.request_id for item in current().items))
        answers = {"refused": InvalidRequest("not this"), "fails": KeyError("secret"), "odd": {1, object()}}
        return [answers.get(word, Broken() if word == "broken" else word.upper()) for word in words]

    bench = Bench(look, pipe)
    told = together(bench, "a", 3, "refused", "fails", "odd", "broken", "b")
    assert told[0] == "A"
    assert told[6] == "B"
    assert [each.code for each in told[1:6]] == [
        "invalid_request",
        "invalid_request",
        "node_error",
        "bad_result",
        "node_error",
    ]
    assert told[2].detail == "not this"
    assert "secret" not in told[3].detail
    assert seen == [tuple(f"request-{number}" for number in (0, 2, 3, 4, 5, 6))]
    assert [(line["event"], line["request_id"]) for line in bench.logged()] == [
        ("node_failed", "request-3"),
        ("bad_result", "request-4"),
        ("node_failed", "request-5"),
    ]
    with pytest.raises(Misuse):
        current()
    assert together(bench, 1, 2) == [Failure("invalid_request", told[1].detail)] * 2
    assert len(seen) == 1


@pytest.mark.parametrize("error", [KeyError, SystemExit, MemoryError, InvalidRequest])
def test_what_a_node_raises_for_a_batch_is_told_to_all_and_logged_once(
    pipe: tuple[int, int], error: type[BaseException]
) -> None:
    @node(batch=Batch())
    def raises(words: list[str]) -> list[str]:
        raise error

    bench = Bench(raises, pipe)
    assert [each.code for each in together(bench, "a", "b", "c")] == ["node_error"] * 3
    assert [line["event"] for line in bench.logged()] == ["node_failed"]


def test_those_of_an_idempotent_node_are_tried_once_more_alone(pipe: tuple[int, int]) -> None:
    given: list[list[str]] = []

    @node(batch=Batch(), idempotent=True)
    def picky(words: list[str]) -> list[str]:
        given.append(words)
        assert len(current().items) == len(words)
        if "b" in words:
            raise KeyError("b")
        return words

    told = together(Bench(picky, pipe), "a", "b", "c")
    assert told == ["a", Failure("node_error", "shop.f raised KeyError"), "c"]
    assert given == [["a", "b", "c"], ["a"], ["b"], ["c"]]


@pytest.mark.parametrize(("error", "code"), [(DeadlineExceeded, "timeout"), (CallCancelled, "cancelled")])
def test_a_batch_that_is_interrupted_is_not_tried_again(
    pipe: tuple[int, int], error: type[Interrupted], code: str
) -> None:
    @node(batch=Batch(), idempotent=True)
    def never(words: list[str]) -> list[str]:
        raise AssertionError

    bench = Bench(never, pipe)
    assert [each.code for each in together(bench, "a", "b", interrupt=error)] == [code] * 2
    assert len(bench.logged()) == (1 if error is DeadlineExceeded else 0)
