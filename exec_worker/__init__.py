"""Runs nodes. Knows `ipc`; what a user's code imports from here is light."""

from exec_worker.hooks import on_worker_start, on_worker_stop
from exec_worker.interrupts import CallCancelled, DeadlineExceeded
from exec_worker.node import Response, current, node
from ipc.batch import Batch
from ipc.errors import InvalidRequest

__all__ = [
    "Batch",
    "CallCancelled",
    "DeadlineExceeded",
    "InvalidRequest",
    "Response",
    "current",
    "node",
    "on_worker_start",
    "on_worker_stop",
]
