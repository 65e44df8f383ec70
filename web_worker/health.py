"""Alive: this process answers. Ready: it would serve what it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from web_worker.correlation import correlate
from web_worker.responses import JSON, answer, problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ipc.caller import Caller
    from web_worker.responses import Receive, Scope, Send

PATHS = ("/healthz", "/readyz")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""Those it answers, if only to say which it takes: no path of these is left to the app."""
_ALLOW = [(b"allow", b"GET, HEAD")]


class Health:
    """Answers in front of the app, without leaving this process."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self.draining = False

    async def __call__(
        self, scope: Scope, _receive: Receive, send: Send, _path_values: Mapping[str, str] | None = None, /
    ) -> None:
        """Serve one of PATHS."""
        request_id = correlate(scope["headers"]).request_id
        if scope["method"] not in {"GET", "HEAD"}:
            await problem(send, 405, "method_not_allowed", "Method Not Allowed", request_id, _ALLOW)
            return
        status, told = (200, {"status": "alive"}) if scope["path"].endswith(PATHS[0]) else self._readiness()
        await answer(send, status, JSON, msgspec.json.encode(told), request_id)

    def _readiness(self) -> tuple[int, dict[str, object]]:
        if self.draining:
            return 503, {"status": "draining"}
        if missing := self._caller.missing():
            return 503, {"status": "waiting", "groups_without_workers": missing}
        return 200, {"status": "ready"}
