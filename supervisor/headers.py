"""Request headers that mean something already, and can mean nothing else. Pure."""

from __future__ import annotations

_FAMILIES = ("access-control-", "content-", "if-", "proxy-", "sec-", "x-forwarded-")
_NAMES = frozenset(
    {
        *("accept", "accept-charset", "accept-encoding", "accept-language", "alt-used", "authorization"),
        *("cache-control", "connection", "cookie", "date", "dnt", "early-data", "expect", "forwarded", "from"),
        *("host", "http2-settings", "keep-alive", "last-event-id", "last-modified", "max-forwards", "origin"),
        *("pragma", "priority", "range", "referer", "save-data", "te", "traceparent", "tracestate", "trailer"),
        *("transfer-encoding", "upgrade", "upgrade-insecure-requests", "user-agent", "via", "warning"),
        *("x-real-ip", "x-request-id", "x-requested-with"),
    }
)


def has_meaning(name: str) -> bool:
    """Whether clients, proxies or servers send this header, in any case, and mean something by it."""
    low = name.lower()
    return low in _NAMES or low.startswith(_FAMILIES)
