"""The shapes a conversation can have. Protocols (HTTP, WebSocket, ...) bind to these, and nodes know neither."""

from __future__ import annotations

import enum


class Port(enum.Enum):
    """The shape of a conversation between a client and a node."""

    REQUEST = "request"
    RESPONSE = "response"
    STREAM = "stream"
    KV_STREAM = "kv_stream"
