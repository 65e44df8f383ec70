"""The shapes a conversation can have. Protocols (HTTP, WebSocket, ...) bind to these, and nodes know neither."""

from __future__ import annotations

from typing import Literal

Port = Literal["request", "response", "stream", "kv_stream"]
"""The shape of one side of a conversation between a client and a node."""
