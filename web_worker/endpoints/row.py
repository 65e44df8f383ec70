"""A pipeline as its endpoint hands it off: the parameters of each stage, out of one path and one query."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ipc.errors import TooLarge
from ipc.messages.calls import Stage
from ipc.pipeline import legs
from web_worker.endpoints.parameters import MAX_PACKED, Parameters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ipc.contract import NodeContract


class Row:
    """What follows the first stage."""

    def __init__(self, stages: Sequence[NodeContract], routes: Mapping[str, str]) -> None:
        self.first = stages[0]
        self.way = legs((stage.name for stage in stages), routes)
        """The groups that a call visits, in order."""
        self._rest = [
            (stage.name, Parameters(stage.parameters) if stage.parameters else None, Stage(stage.name))
            for stage in stages[1:]
        ]

    def pack(self, first: bytes, query: bytes, path: Mapping[str, str] | None) -> tuple[Stage, ...]:
        """The rest of a call's way; `first` are the packed parameters of the first stage. InvalidRequest, TooLarge."""
        rest, size = [], len(first)
        for name, parameters, bare in self._rest:
            packed = parameters.pack(query, path) if parameters is not None else b""
            size += len(packed)
            rest.append(Stage(name, msgspec.Raw(packed)) if packed else bare)
        if size > MAX_PACKED:
            raise TooLarge(f"the parameters take {size} bytes; at most {MAX_PACKED} are allowed")
        return tuple(rest)
