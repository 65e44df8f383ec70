"""Alive: this process answers. Ready: it would serve what it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from web_worker.responses import JSON, answer

if TYPE_CHECKING:
    from ipc.caller import Caller
    from web_worker.responses import Send

PATHS = ("/healthz", "/readyz")


class Health:
    """Answers in front of everything else, without leaving this process."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self.draining = False

    async def __call__(self, path: str, method: str, send: Send, request_id: str) -> None:
        """Serve one of PATHS."""
        if method not in {"GET", "HEAD"}:
            await answer(send, 405, JSON, b"", request_id, [(b"allow", b"GET, HEAD")])
            return
        if path == "/healthz":
            await answer(send, 200, JSON, b'{"status":"alive"}', request_id)
            return
        missing = self._caller.missing()
        status: int
        body: dict[str, object]
        if self.draining:
            status, body = 503, {"status": "draining"}
        elif missing:
            status, body = 503, {"status": "waiting", "groups_without_workers": missing}
        else:
            status, body = 200, {"status": "ready"}
        await answer(send, status, JSON, msgspec.json.encode(body), request_id)
