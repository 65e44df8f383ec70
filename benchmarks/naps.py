"""Dispatch for real: two web and eight exec workers whose nodes sleep, so that two cores are enough.

One client asks at random times, whether it was answered or not. The ideal queue that this is compared with is computed
from what was measured: the moments at which requests were sent, how long each node really slept, and, for the way
there and back, the median of what a request takes beyond its node while the group is idle. So what HTTP and sleeping
too long cost is in both, and the ratio shows what is lost in handing out calls: to bounces, to each web worker's having
a queue of its own, to workers that wait for their next call, and to ten processes' sharing the cores.
"""

from __future__ import annotations

import http.client
import json
import random
import statistics
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from openloop import Client, client
from systems import service

sys.path.append(str(Path(__file__).parent.parent / "tests" / "simulation"))

from offered import KINDS, LONG, SHORT, arrivals
from world import Call, ideal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openloop import Seen

REAL = (2, 8)
"""Web and exec workers."""
REAL_LOAD = 0.8
SECONDS = 8.0
PROBES = 200


class Naps:
    """A service whose nodes sleep, and its client."""

    def __init__(self, url: str, asker: Client) -> None:
        self._url, self._asker = url, asker
        asker.ask([(0.01 * number, _nap(SHORT)) for number in range(PROBES)])
        probes = [asker.one(_nap(SHORT)) for _ in range(PROBES)]
        self._way = statistics.median(_took(each) - _slept(each) for each in probes)
        self._oversleep = statistics.median(_slept(each) - SHORT for each in probes)

    def run(self, kind: str, seconds: float, seed: int) -> tuple[list[float], list[float]] | None:
        """Latencies as they were, and as the ideal queue's would have been; None if calls were refused.

        That happens where the cores cannot carry the load: 6,400 requests a second of 1 ms ask for more than two.
        """
        count = int(seconds * REAL_LOAD * REAL[1] / KINDS[kind].mean)
        offered = arrivals(kind, REAL[1], REAL_LOAD, count, random.Random(seed))
        due = [(call.arrived, _nap(max(0.0, call.takes - self._oversleep))) for call in offered]
        seen = self._asker.ask(due)
        told = {each.status for each in seen}
        assert told <= {http.HTTPStatus.OK, http.HTTPStatus.SERVICE_UNAVAILABLE}, told
        if http.HTTPStatus.SERVICE_UNAVAILABLE in told:
            return None
        really = [Call(each.sent, _slept(each)) for each in seen]
        return [_took(each) for each in seen], ideal(really, REAL[1], self._way)

    def beside_long(self, seconds: float) -> tuple[list[float], list[float]]:
        """Latencies of short calls, one at a time: alone, and while all workers but one run long ones."""
        count = int(seconds / SHORT / 4)
        alone = [_took(self._asker.one(_nap(SHORT))) for _ in range(count)]
        with self._long_calls():
            return alone, [_took(self._asker.one(_nap(SHORT))) for _ in range(count)]

    @contextmanager
    def _long_calls(self) -> Iterator[None]:
        over = threading.Event()
        callers = [threading.Thread(target=self._ask_long, args=(over,), daemon=True) for _ in range(REAL[1] - 1)]
        for caller in callers:
            caller.start()
            over.wait(LONG / len(callers))  # not all in step
        try:
            yield
        finally:
            over.set()
            for caller in callers:
                caller.join()

    def _ask_long(self, over: threading.Event) -> None:
        parts = urlsplit(self._url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
        while not over.is_set():
            connection.request("POST", "/declared/nap", _nap(LONG), {"content-type": "application/json"})
            assert connection.getresponse().read()
        connection.close()


@contextmanager
def napping() -> Iterator[Naps]:
    """Start it all."""
    webs, execs = (f"runtime.platform.process_groups.{group}.workers" for group in ("web", "cpu_sync"))
    settings = (f"{webs}={REAL[0]}", f"{execs}={REAL[1]}", "runtime.web.keep_alive_seconds=60")
    with service(*settings, pinned=False) as (url, _state), client(url, "/declared/nap") as asker:
        yield Naps(url, asker)


def _nap(seconds: float) -> bytes:
    return b'{"seconds":%.6f}' % seconds


def _took(seen: Seen) -> float:
    return seen.answered - seen.sent


def _slept(seen: Seen) -> float:
    return float(json.loads(seen.body)["seconds"])
