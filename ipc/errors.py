"""Every error that can cross a process, sorted by what the caller may do next.

IpcError
├── Rejected            nothing was done; asking again is safe
│   ├── NoWorker
│   ├── Busy
│   ├── Draining
│   ├── Expired
│   ├── WorkerGone
│   ├── Quarantined
│   └── TooLarge
├── OutcomeUnknown      it may have been done; ask again only if twice is harmless
│   ├── CallTimeout
│   ├── WorkerDied
│   └── LinkLost
├── CallFailed          it arrived, and the answer is no
│   ├── NoSuchNode
│   ├── InvalidRequest
│   ├── NodeError
│   ├── BadResult
│   └── StageUnreached
├── Cancelled           the caller itself left
├── BadMessage          a peer broke the protocol; dropped and counted
└── Misuse              this program used the package wrongly
"""

from __future__ import annotations

from typing import ClassVar


class IpcError(Exception):
    """The base of every error this package raises.

    `code` is the error's name on the wire and in an HTTP answer; it never changes between versions.
    """

    code: ClassVar[str] = "internal"
    stage = ""
    """The node of a pipeline at which it happened."""


class Rejected(IpcError):
    """Nothing was done. Asking again is safe, after `retry_after` seconds if that is known and else after a moment."""

    code = "rejected"

    retry_after: float = 0.0

    def __init__(self, *args: object, retry_after: float = 0.0) -> None:
        super().__init__(*args)
        self.retry_after = retry_after


class NoWorker(Rejected):
    """No process of the group is up."""

    code = "no_worker"


class Busy(Rejected):
    """Every place to wait is taken, or the wait would be longer than the call's time."""

    code = "busy"


class Draining(Rejected):
    """The worker is going away and takes no new work."""

    code = "draining"


class Expired(Rejected):
    """The time the caller gave was over before the node was started."""

    code = "expired"


class WorkerGone(Rejected):
    """The worker that had it was gone before it was begun, and so was the next."""

    code = "worker_gone"


class Quarantined(Rejected):
    """The same request has killed worker after worker. Asking again is in vain for some minutes."""

    code = "quarantined"


class TooLarge(Rejected):
    """The request is larger than the configuration allows. Asking again with the same body is in vain."""

    code = "too_large"


class OutcomeUnknown(IpcError):
    """It may have been done. Ask again only if doing it twice is harmless."""

    code = "outcome_unknown"


class CallTimeout(OutcomeUnknown):
    """The node had been handed the call, and no reply came in time."""

    code = "timeout"


class WorkerDied(OutcomeUnknown):
    """It was begun, and its worker died before the answer came: some of it may have been done."""

    code = "worker_died"


class LinkLost(OutcomeUnknown):
    """The worker or the way to it was gone after the call was sent and before its reply came."""

    code = "link_lost"


class CallFailed(IpcError):
    """The call arrived, and the answer is no."""

    code = "call_failed"


class NoSuchNode(CallFailed):
    """The worker runs no node of that name for this caller."""

    code = "no_such_node"


class InvalidRequest(CallFailed):
    """What was asked does not have the shape, or the meaning, that the node declares. A node may raise it too."""

    code = "invalid_request"


class NodeError(CallFailed):
    """The node raised. The traceback is in the worker's log and nowhere else."""

    code = "node_error"


class BadResult(CallFailed):
    """The node's result cannot be encoded as what it declares, or is too large to send."""

    code = "bad_result"


class StageUnreached(CallFailed):
    """A pipeline's stages up to one were done, and no worker began that one."""

    code = "stage_unreached"


class Cancelled(IpcError):
    """The caller went away; nobody waits for this answer."""

    code = "cancelled"


class BadMessage(IpcError):
    """A peer broke the protocol. Dropped and counted, never answered."""

    code = "bad_message"


class Misuse(IpcError):
    """This program used the package wrongly: a bug here, not out there."""

    code = "misuse"


def _tree(kind: type[IpcError]) -> list[type[IpcError]]:
    return [kind, *(leaf for sub in kind.__subclasses__() for leaf in _tree(sub))]


BY_CODE: dict[str, type[IpcError]] = {kind.code: kind for kind in _tree(IpcError)}
"""Every error by its code: how a failure that came over a link is raised again on the asking side."""


_OURS = frozenset(BY_CODE.values())


def code_of(kind: type[IpcError]) -> str:
    """The code of the nearest class of this module: what subclasses and instances call `code` is not on the wire."""
    return next(each.code for each in kind.__mro__ if each in _OURS)


def from_code(code: str, detail: str, stage: str = "") -> IpcError:
    """The error a peer named; a code of a later version becomes the plain `CallFailed`."""
    error = BY_CODE.get(code, CallFailed)(detail)
    if stage:
        error.stage = stage
    return error
