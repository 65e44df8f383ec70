"""What happens to requests at the border, as log lines: accepted, rejected, handed off, delivered, failed, abandoned.

Every line names method, path, node, request id and trace; none has a query, a header or a body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipc.clock import now
from ipc.errors import Cancelled, Rejected
from web_worker.errors import FAULTS, is_retryable

if TYPE_CHECKING:
    from ipc.errors import IpcError
    from ipc.log import Log
    from web_worker.correlation import Correlation
    from web_worker.responses import Scope

PAUSE = 1.0
"""Refusals for want of a free worker come by the thousand: they are summed up no more often than this, seconds."""


class Events:
    """One web worker's boundary events. Ask `verbose` before what is told at debug level only."""

    def __init__(self, log: Log, *, verbose: bool) -> None:
        self.log = log
        self.verbose = verbose
        """Whether events are told that only matter to somebody who looks for a fault."""
        self.each = log.requests or verbose
        """Whether every answered request gets a line."""
        self._say = log.info if log.requests else log.debug
        self._refused = 0
        self._quiet_until = 0.0

    def accepted(self, scope: Scope, who: Correlation, node: str) -> None:
        """A request has come in."""
        self.log.debug("accepted", **_about(scope, who, node))

    def handed_off(self, scope: Scope, who: Correlation, node: str) -> None:
        """It is on its way to a worker, or waits for one."""
        self.log.debug("handed_off", **_about(scope, who, node))

    def delivered(self, scope: Scope, who: Correlation, node: str, status: int, **more: object) -> None:
        """An answer went out."""
        if self.each:
            self._say("delivered", status=status, **_about(scope, who, node), **more)

    def abandoned(self, scope: Scope, who: Correlation, node: str) -> None:
        """The client went away before there was an answer."""
        self.log.info("abandoned", **_about(scope, who, node))

    def refused(self, scope: Scope, who: Correlation, node: str, status: int, error: IpcError, *, begun: bool) -> None:
        """An error went out; `begun` if a worker was asked before."""
        about = _about(scope, who, node) | {"status": status, "code": error.code}
        if error.stage:
            about["stage"] = error.stage
        if isinstance(error, Cancelled):
            self.abandoned(scope, who, node)
        elif status >= FAULTS and not is_retryable(error):
            self.log.warning("failed", detail=str(error), **about)
        elif begun and not isinstance(error, Rejected):
            if self.each:
                self._say("delivered", **about)
        else:
            if self.each:
                self._say("rejected", **about)
            if is_retryable(error):
                self._sum_up(error, node)

    def crashed(self, scope: Scope, who: Correlation, node: str, error: BaseException) -> None:
        """Something was raised that nobody had thought of."""
        self.log.error("failed", error, **_about(scope, who, node))

    def _sum_up(self, error: IpcError, node: str) -> None:
        self._refused += 1
        if (time := now()) >= self._quiet_until:
            self.log.warning("refusing", count=self._refused, code=error.code, detail=str(error), node=node)
            self._refused, self._quiet_until = 0, time + PAUSE


def _about(scope: Scope, who: Correlation, node: str) -> dict[str, object]:
    return {
        "method": scope.get("method", ""),
        "path": scope["path"],
        "node": node,
        "request_id": who.request_id,
        "trace": who.trace,
    }
