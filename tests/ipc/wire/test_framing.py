"""Frames come out as they went in, however the stream is cut."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipc.wire.frame import LARGE, PREFIX, Refusal, Refuse
from ipc.wire.framing import Deframer

if TYPE_CHECKING:
    from random import Random

LIMIT = 300


def framed(frame: bytes) -> bytes:
    return PREFIX.pack(len(frame)) + frame


FRAMES = st.lists(st.binary(min_size=1, max_size=LIMIT), max_size=12)


@given(FRAMES, st.data())
def test_however_the_stream_is_cut_the_same_frames_come(frames: list[bytes], data: st.DataObject) -> None:
    """In one piece, byte by byte, and cut anywhere."""
    stream = b"".join(framed(frame) for frame in frames)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=20)))
    anywhere = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    for pieces in ([stream], [stream[at : at + 1] for at in range(len(stream))], anywhere):
        deframer = Deframer(LIMIT)
        came = [bytes(frame) for piece in pieces for frame in deframer.feed(piece)]
        assert came == frames
        assert not deframer.partial


@given(FRAMES, st.binary(min_size=1, max_size=LIMIT), st.data())
def test_a_stream_that_ends_inside_a_frame_says_so(frames: list[bytes], last: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(last) + 3))
    deframer = Deframer(LIMIT)
    came = list(deframer.feed(b"".join(framed(frame) for frame in frames) + framed(last)[:cut]))
    assert [bytes(frame) for frame in came] == frames
    assert deframer.partial


@pytest.mark.parametrize("size", [LIMIT + 1, 2**31, 2**32 - 1])
def test_a_length_beyond_the_limit_is_refused_before_anything_is_made(size: int) -> None:
    deframer = Deframer(LIMIT)
    tracemalloc.start()
    with pytest.raises(Refuse) as refused:
        list(deframer.feed(PREFIX.pack(size) + b"x"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused.value.reason is Refusal.TOO_LARGE
    assert peak < 100_000


@pytest.mark.parametrize(("minimum", "size"), [(1, 0), (80, 79)])
def test_a_length_below_the_minimum_is_refused(minimum: int, size: int) -> None:
    with pytest.raises(Refuse) as refused:
        list(Deframer(LIMIT, minimum).feed(PREFIX.pack(size)))
    assert refused.value.reason is Refusal.SHORT


def test_the_bounds_themselves_are_allowed() -> None:
    deframer = Deframer(LIMIT, 80)
    frames = [bytes(80), bytes(LIMIT)]
    assert list(deframer.feed(framed(frames[0]) + framed(frames[1]))) == frames


def test_what_came_before_a_refusal_is_not_lost() -> None:
    frames = Deframer(LIMIT).feed(framed(b"one") + PREFIX.pack(LIMIT + 1))
    assert next(frames) == b"one"
    with pytest.raises(Refuse):
        next(frames)


def test_a_raised_limit_holds_from_the_next_frame_on() -> None:
    deframer = Deframer(4)
    came = []
    for frame in deframer.feed(framed(b"fits") + framed(b"does not fit")):
        came.append(frame)
        deframer.limit = 100
    assert came == [b"fits", b"does not fit"]


def test_a_frame_in_pieces_is_gathered_in_a_buffer_of_its_size() -> None:
    deframer = Deframer(LIMIT)
    whole = framed(bytes(range(200)))
    assert list(deframer.feed(whole[:50])) == []
    (frame,) = deframer.feed(whole[50:])
    assert isinstance(frame, bytearray)
    assert len(frame) == 200


PIECES = st.lists(st.integers(1, 2 * LARGE), max_size=40)


def received(deframer: Deframer, stream: bytes, sizes: list[int], space: int) -> list[bytes]:
    """What a carrier does: whatever comes is read into `room`, or into a space of its own and fed."""
    frames, at, reads = [], 0, iter(sizes)
    while at < len(stream):
        room = deframer.room
        count = min(next(reads, len(stream)), space if room is None else len(room), len(stream) - at)
        piece, at = stream[at : at + count], at + count
        if room is None:
            frames += map(bytes, deframer.feed(piece))
        else:
            room[:count] = piece
            frame = deframer.filled(count)
            frames += [] if frame is None else [bytes(frame)]
    return frames


@given(st.lists(st.integers(1, 4 * LARGE), max_size=5), PIECES, st.sampled_from([1000, LARGE]), st.randoms())
def test_large_frames_come_out_too_however_the_stream_is_cut(
    sizes: list[int], reads: list[int], space: int, rng: Random
) -> None:
    frames = [rng.randbytes(size) for size in sizes]
    deframer = Deframer(4 * LARGE)
    assert received(deframer, b"".join(map(framed, frames)), reads, space) == frames
    assert not deframer.partial
    assert deframer.room is None


@given(st.integers(1, 2 * LARGE), st.one_of(st.just(0), st.integers(2 * LARGE + 1, 2**32 - 1)), PIECES)
def test_a_length_that_lies_behind_a_large_frame_is_refused(size: int, told: int, reads: list[int]) -> None:
    deframer = Deframer(2 * LARGE)
    genuine = framed(bytes(size))
    with pytest.raises(Refuse):
        received(deframer, genuine + PREFIX.pack(told) + bytes(LARGE), reads, LARGE)
    assert deframer.room is None  # nothing was made for it


def test_only_what_is_missing_of_a_frame_is_room() -> None:
    """A byte more would be the next frame's."""
    deframer = Deframer(4 * LARGE)
    assert deframer.room is None
    assert list(deframer.feed(framed(bytes(3 * LARGE))[: 4 + LARGE])) == []
    assert len(deframer.room) == 2 * LARGE
    assert deframer.filled(LARGE) is None
    assert len(deframer.room) == LARGE
    assert deframer.filled(1) is None
    assert deframer.room is None  # the little that is left may come with frames behind it
    (frame,) = deframer.feed(bytes(LARGE - 1))
    assert len(frame) == 3 * LARGE
