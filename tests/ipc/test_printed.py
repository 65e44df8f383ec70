"""What is printed in a worker: whole lines, each with its request, and as harmless as before."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ipc.printed import MAX_LINE, MOST, Printed, end_lines, unended
from supervisor.output import Lines

if TYPE_CHECKING:
    from collections.abc import Iterator


class Bench:
    """A stream into a pipe, and the supervisor's end of it."""

    def __init__(self) -> None:
        self.reader, writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.inner = os.fdopen(writer, "w")
        self.known: dict[str, Any] = {}
        self.printed = Printed(self.inner, lambda: self.known)
        self._lines = Lines()

    def read(self) -> list[tuple[str, tuple[str, ...]]]:
        try:
            data = os.read(self.reader, 1 << 20)
        except BlockingIOError:
            return []
        return [tuple(line) for line in self._lines.feed(data)]  # type: ignore[misc]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    unended.clear()
    made.inner.close()
    os.close(made.reader)


def test_a_line_says_for_which_request_it_was_printed(bench: Bench) -> None:
    print("before", file=bench.printed)
    bench.known = {"request_id": "r-1", "trace": "t"}
    print("one", "two", file=bench.printed)
    print("three\nfour", file=bench.printed)
    bench.known = {"request_ids": ["r-1", "r-2"]}
    print("five", file=bench.printed)
    assert bench.read() == [
        ("before", ()),
        ("one two", ("r-1",)),
        ("three", ("r-1",)),
        ("four", ("r-1",)),
        ("five", ("r-1", "r-2")),
    ]


def test_a_line_is_written_at_once_when_it_is_whole(bench: Bench) -> None:
    print("be", end="", file=bench.printed, flush=True)
    assert bench.read() == []
    print("gun", file=bench.printed)
    assert bench.read() == [("begun", ())]


def test_threads_do_not_get_into_each_others_lines(bench: Bench) -> None:
    print("mine ", end="", file=bench.printed)
    other = threading.Thread(target=lambda: print("other", file=bench.printed))
    other.start()
    other.join()
    print("too", file=bench.printed)
    assert [text for text, _ in bench.read()] == ["other", "mine too"]


def test_a_line_that_another_call_goes_on_in_the_same_thread_is_two(bench: Bench) -> None:
    bench.known = {"request_id": "a"}
    print("secret of a ", end="", file=bench.printed)
    bench.known = {"request_id": "b"}
    print("line of b", file=bench.printed)
    print("dots of b", end="", file=bench.printed)
    bench.known = {}
    print("nobody's", file=bench.printed)
    assert bench.read() == [("secret of a ", ("a",)), ("line of b", ("b",)), ("dots of b", ("b",)), ("nobody's", ())]


def test_what_a_call_has_begun_is_written_when_it_is_over_and_that_of_others_stays(bench: Bench) -> None:
    bench.known = {"request_id": "a"}
    print("no end", end="", file=bench.printed)
    other = threading.Thread(target=end_lines)
    other.start()
    other.join()
    bench.known = {"request_id": "b"}
    end_lines()
    assert bench.read() == []
    bench.known = {"request_id": "a"}
    end_lines()
    assert (bench.read(), unended) == ([("no end", ("a",))], {})


def test_a_call_ends_also_when_its_stream_is_closed(bench: Bench) -> None:
    print("no end", end="", file=bench.printed)
    bench.printed.close()
    end_lines()
    assert not unended


def test_pieces_of_a_long_line_are_cut_between_characters_and_are_all_for_its_request(bench: Bench) -> None:
    bench.known = {"request_id": "r-1"}
    text = "a" + "\N{SNOWMAN}" * (MAX_LINE // 2)
    bench.printed.write(f"{text}\n")
    bench.printed.write(text)
    bench.printed.write("\n")
    lines = bench.read()
    assert "".join(text for text, _ in lines) == 2 * text
    assert {requests for _, requests in lines} == {("r-1",)}
    assert max(len(text.encode()) for text, _ in lines) <= MAX_LINE


def test_what_has_no_end_is_written_at_the_end(bench: Bench) -> None:
    print("last words", end="", file=bench.printed)
    bench.printed.finish()
    bench.printed.finish()
    assert bench.read() == [("last words", ())]


def test_a_long_line_and_a_long_list_of_requests_are_bounded(bench: Bench) -> None:
    bench.known = {"request_ids": [str(n) for n in range(2 * MOST)]}
    print("x" * (MAX_LINE + 1), file=bench.printed)
    lines = bench.read()
    assert [len(text) for text, _ in lines] == [MAX_LINE, 1]
    assert {len(requests) for _, requests in lines} == {MOST}


def test_a_mark_that_somebody_forges_moves_no_cursor(bench: Bench) -> None:
    print("\x1e\x1b[31m\x1dr\x1fred \x1e", file=bench.printed)
    print("\x1enever ended", file=bench.printed)
    assert bench.read() == [("red \\x1e", ("\\x1b[31m", "r")), ("\\x1enever ended", ())]


def test_bytes_go_the_way_they_went(bench: Bench) -> None:
    bench.known = {"request_id": "r-1"}
    bench.printed.buffer.write(b"raw\n")
    bench.printed.flush()
    assert bench.read() == [("raw", ())]
    assert bench.printed.fileno() == bench.inner.fileno()
    assert bench.printed.encoding == bench.inner.encoding
