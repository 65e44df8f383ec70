"""What the limits on decoding cost, beside the decoding alone: per document, in microseconds."""

from __future__ import annotations

import json
import timeit
from typing import TYPE_CHECKING

import msgspec

from ipc.decoding.jsontext import json_value, weigh_json
from ipc.decoding.msgpacked import inspect_msgpack

if TYPE_CHECKING:
    from collections.abc import Callable

ORDER = {"name": "tea", "count": 2, "tags": ["a", "b"], "to": {"who": "someone@example.org", "where": "a street, 7"}}
DOCUMENTS: dict[str, object] = {
    "200 B": {**ORDER, "note": "x" * 70},
    "10 KiB of objects": [{**ORDER, "id": number} for number in range(75)],
    "10 KiB of texts": {f"key {number}": "some text" * 2 for number in range(300)},
    "10 KiB of numbers": [number * 1.37 for number in range(800)],
    "1 MiB of text": {"text": "a word, and another; " * 50_000},
}


def _best(run: Callable[[], object], size: int) -> float:
    number = max(5, 2_000_000 // (size + 1_000))
    return min(timeit.repeat(run, number=number, repeat=7)) / number * 1e6


def measure() -> list[tuple[str, int, list[float]]]:
    """(document, bytes of JSON, us of: weighing, decoding, inspecting JSON; decoding, inspecting msgpack)."""
    told = []
    for name, value in DOCUMENTS.items():
        data, packed = json.dumps(value).encode(), msgspec.msgpack.encode(value)
        runs: list[Callable[[], object]] = [
            lambda data=data: weigh_json(data),
            lambda data=data: msgspec.json.decode(data),
            lambda data=data: json_value(data),
            lambda packed=packed: msgspec.msgpack.decode(packed),
            lambda packed=packed: inspect_msgpack(packed),
        ]
        told.append((name, len(data), [_best(run, len(data)) for run in runs]))
    return told


def table(seen: list[tuple[str, int, list[float]]]) -> list[str]:
    """The figures as Markdown."""
    told = ["| document | JSON: web worker adds | msgspec alone | exec worker adds | msgpack: msgspec alone | added |"]
    told.append("|---|---|---|---|---|---|")
    told += [f"| {name} | " + " | ".join(f"{figure:.2f}" for figure in figures) + " |" for name, _, figures in seen]
    return told
