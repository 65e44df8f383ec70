"""Whatever resembles a frame or a handshake is refused for a reason, at once; the genuine one still counts."""

from __future__ import annotations

import random
import time
import tracemalloc

import pytest
from arena import SOAK
from fuzzing import Target, answer, corpus, deframed, in_pieces, mutant, received, stream, targets

from ipc.wire.frame import LARGE, Refusal

pytestmark = pytest.mark.soak
MUTANTS = 2_000 * SOAK
"""For each of ten targets."""
STREAMS = 1_500 * SOAK
LIMIT = 256
REASONS = {reason.value for reason in Refusal}


@pytest.mark.parametrize("target", targets(), ids=lambda target: target.name)
def test_a_mutant_is_refused_and_changes_nothing(target: Target) -> None:
    answers = set()
    began = time.process_time()
    for seed in range(MUTANTS):
        data = mutant(target, random.Random(seed))
        if data != target.genuine and data not in target.honest:
            found = answer(target, data)
            assert found in REASONS, f"seed {seed}: {data.hex()} was {found}"
            answers.add(found)
    assert time.process_time() - began < MUTANTS * 0.005  # 10 us are typical
    assert len(answers) >= (3 if "." in target.name and target.name[0] in "af" else 6), answers
    assert answer(target, target.genuine) == "accepted"


def test_mutants_leave_no_memory_behind() -> None:
    aims = targets()
    for target in aims:
        answer(target, mutant(target, random.Random(0)))
    tracemalloc.start()
    for seed in range(200):
        for target in aims:
            answer(target, mutant(target, random.Random(seed)))
    left, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert left < 64 * 1024
    assert most < 512 * 1024


def test_what_was_once_interesting_is_answered_as_it_was() -> None:
    aims = {target.name: target for target in targets()}
    found = corpus()
    assert len(found) > 40
    assert {name for name, _, _ in found} == set(aims)
    for name, answered, data in found:
        assert answer(aims[name], data) == answered, data.hex()
    for target in aims.values():
        assert answer(target, target.genuine) == "accepted"


def test_a_stream_means_the_same_however_it_is_cut() -> None:
    for seed in range(STREAMS):
        rng = random.Random(seed)
        data = stream(rng, LIMIT)
        whole = deframed(iter([data]), LIMIT)
        assert deframed((bytes([byte]) for byte in data), LIMIT) == whole, seed
        assert deframed(in_pieces(data, rng), LIMIT) == whole, seed
        assert whole[1] in {"", "short", "too_large"}


def test_a_stream_of_large_frames_means_the_same_however_it_is_received() -> None:
    for seed in range(60 * SOAK):
        rng = random.Random(seed)
        data = stream(rng, 4 * LARGE)
        assert received(data, rng, 4 * LARGE) == deframed(iter([data]), 4 * LARGE), seed


def test_a_stream_of_lies_sets_no_memory_aside() -> None:
    tracemalloc.start()
    for seed in range(300):
        rng = random.Random(seed)
        deframed(in_pieces(stream(rng, LIMIT), rng), LIMIT)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 64 * 1024
