"""Speaks HTTP. Knows `ipc`; the only package that knows FastAPI."""

from web_worker.handoff import Handoff, HandoffCaller, get_handoff

__all__ = ["Handoff", "HandoffCaller", "get_handoff"]
