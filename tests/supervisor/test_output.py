"""Reading what children write: everybody has a share, and the end of it is not lost."""

from __future__ import annotations

import asyncio
import fcntl
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import supervisor.output
from supervisor.output import LAST_BYTES, LAST_LINES, MAX_LINE, SHARE, Line, Lines, Output, last_lines

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from supervisor.events import Stream

PATIENCE = 30.0


class Pipe:
    """A pipe, and what is told of what is written to it."""

    def __init__(self, stream: Stream = "stdout") -> None:
        reader, self.writer = os.pipe()
        self.told: list[Line] = []
        self.output = Output(asyncio.get_running_loop(), reader, stream, lambda _stream, line: self.told.append(line))

    @property
    def texts(self) -> list[str]:
        return [line.text for line in self.told]

    def write(self, text: str) -> None:
        assert os.write(self.writer, text.encode()) == len(text)

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not done():  # noqa: ASYNC110 - what is waited for says nothing by itself
                await asyncio.sleep(0)

    def end(self) -> None:
        if self.writer >= 0:
            os.close(self.writer)
        self.output.finish()


def story(told: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await told()

    asyncio.run(run())


def test_the_pieces_of_a_line_are_for_the_requests_of_its_first_and_have_no_mark_of_their_own() -> None:
    forged = b"\x1eforged\x1f!"
    for data in (b"\x1er-1\x1f" + 5 * b"x" + forged + 9 * b"y", 10 * b"x" + forged + b"y"):
        for ending in (b"\n", b""):
            lines = Lines(10)
            told = lines.feed(data[:15]) + lines.feed(data[15:] + ending) + lines.end() + lines.feed(b"next\n")
            requests = {line.requests for line in told[:-1]}
            assert requests == ({("r-1",)} if data.startswith(b"\x1e") else {()})
            assert told[-1] == Line("next")


def test_a_flood_is_told_a_share_at_a_time_and_loses_nothing() -> None:
    async def told() -> None:
        flood, drop = Pipe(), Pipe()
        most = 0
        flood.write("".join(f"{n}\n" for n in range(2_000)))
        drop.write("one\n")
        while len(flood.told) < 2_000:
            before = len(flood.told)
            await asyncio.sleep(0)
            most = max(most, len(flood.told) - before)
            assert drop.texts == ["one"] or before == 0
        assert most <= SHARE
        assert flood.texts == [str(n) for n in range(2_000)]
        for pipe in (flood, drop):
            pipe.end()

    story(told)


def test_what_a_turn_takes_does_not_depend_on_how_many_lines_were_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def told() -> None:
        pipe, read = Pipe(), 0
        one = Lines.read

        def counting(lines: Lines, piece: tuple[bytes, bool]) -> Line:
            nonlocal read
            read += 1
            return one(lines, piece)

        monkeypatch.setattr(Lines, "read", counting)
        pipe.write("\n" * 16_384)
        await pipe.until(lambda: read > 0)
        assert read <= SHARE
        os.close(pipe.writer)
        pipe.writer = -1
        await pipe.until(lambda: len(pipe.told) == 16_384)

    story(told)


def test_who_ends_in_a_flood_is_heard_to_the_end() -> None:
    async def told() -> None:
        pipe = Pipe()
        pipe.write("".join(f"{n}\n" for n in range(1_000)) + "no end")
        pipe.end()
        assert pipe.texts == [*map(str, range(1_000)), "no end"]

    story(told)


def test_of_more_than_that_the_last_lines_are_kept_and_the_others_counted() -> None:
    async def told() -> None:
        pipe = Pipe()
        count = LAST_LINES + 500
        pipe.write("".join(f"{n}\n" for n in range(count)))
        pipe.end()
        first, *rest = pipe.texts
        assert "500 lines were left out" in first
        assert rest == [str(n) for n in range(500, count)]

    story(told)


def test_of_a_full_pipe_the_very_last_is_told_and_not_what_is_read_first() -> None:
    async def told() -> None:
        pipe = Pipe()
        fcntl.fcntl(pipe.writer, fcntl.F_SETPIPE_SZ, 1024 * 1024)
        line = "x" * 1_000
        count = 1024 * 1024 // (len(line) + 8)
        pipe.write("".join(f"{n:06} {line}\n" for n in range(count)))
        pipe.end()
        first, *rest = pipe.texts
        assert [int(text[:6]) for text in rest] == list(range(count - len(rest), count))
        assert int(first.removeprefix("(").split()[0]) + len(rest) == count
        assert LAST_BYTES - 2_000 < sum(map(len, rest)) <= LAST_BYTES

    story(told)


@pytest.mark.parametrize(
    ("data", "missed", "kept"),
    [
        (b"ab\ncd\nef\n", 2, b"ef\n"),
        (b"abc\ndef\n", 1, b"def\n"),
        (b"ab\ncdefgh\n", 2, b"fgh\n"),
        (b"ab\ncdefgh", 2, b"efgh"),
        (b"ab\n\ncd", 1, b"\ncd"),
        (b"abcd", 0, b"abcd"),
    ],
)
def test_of_many_bytes_the_last_are_kept(data: bytes, missed: int, kept: bytes) -> None:
    assert last_lines(data, 99, 4) == (missed, kept)


def test_what_is_left_when_a_part_was_told_is_counted_too() -> None:
    async def told() -> None:
        pipe = Pipe()
        count = LAST_LINES + 5_000
        pipe.write("".join(f"{n}\n" for n in range(count)))
        await pipe.until(lambda: len(pipe.told) >= SHARE)
        before = len(pipe.told)
        pipe.end()
        counted, rest = pipe.texts[before], pipe.texts[before + 1 :]
        assert rest == [str(n) for n in range(count - LAST_LINES, count)]
        assert int(counted.removeprefix("(").split()[0]) + before + len(rest) == count

    story(told)


def test_a_traceback_on_standard_error_is_told_as_one_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor.output, "HOLD", PATIENCE)

    async def told() -> None:
        pipe = Pipe("stderr")
        pipe.write("before\nTraceback (most recent call last):\n  File x\n")
        await pipe.until(lambda: pipe.texts == ["before"])
        pipe.write("ValueError: x\nafter\n")
        block = "Traceback (most recent call last):\n  File x\nValueError: x"
        await pipe.until(lambda: pipe.texts == ["before", block, "after"])
        pipe.end()

    story(told)


def test_one_that_does_not_go_on_is_not_waited_for() -> None:
    async def told() -> None:
        pipe = Pipe("stderr")
        pipe.write("Traceback (most recent call last):\n  File x\n")
        await pipe.until(lambda: bool(pipe.told))
        pipe.write("  File y\n")
        await pipe.until(lambda: len(pipe.told) > 1)
        assert pipe.texts == ["Traceback (most recent call last):\n  File x", "  File y"]
        pipe.end()

    story(told)


def test_lines_of_two_requests_are_not_one_block() -> None:
    async def told() -> None:
        pipe = Pipe("stderr")
        for request in "ab":
            for line in ("Traceback (most recent call last):", "  File x"):
                pipe.write(f"\x1e{request}\x1f{line}\n")
        pipe.end()
        block = "Traceback (most recent call last):\n  File x"
        assert pipe.told == [Line(block, ("a",)), Line(block, ("b",))]

    story(told)


def test_a_grandchild_that_goes_on_writing_is_not_listened_to_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []

    async def told() -> None:
        pipe = Pipe()
        monkeypatch.setattr(os, "read", lambda _fd, most: reads.append(most) or b"x" * min(most, MAX_LINE))
        pipe.output.finish()
        monkeypatch.undo()
        os.close(pipe.writer)

    story(told)
    assert len(reads) < 100


@settings(deadline=None)
@given(
    st.lists(st.binary(max_size=3).map(lambda each: each.replace(b"\n", b""))), st.binary(max_size=3), st.integers(0, 9)
)
def test_the_last_lines_are_the_last(lines: list[bytes], rest: bytes, most: int) -> None:
    rest = rest.replace(b"\n", b"")
    data = b"".join(line + b"\n" for line in lines) + rest
    missed, kept = last_lines(data, most, len(data))
    assert missed == max(0, len(lines) - most)
    assert kept == b"".join(line + b"\n" for line in lines[missed:]) + rest
