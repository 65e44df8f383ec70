"""A bounded HTTP client for machines without wrk. Prints requests a second, p50 and p99 in us, and errors."""

from __future__ import annotations

import asyncio
import sys
import time
from urllib.parse import urlsplit

import uvloop


async def _connection(host: str, port: int, request: bytes, until: float, times: list[float]) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    errors = 0
    while (began := time.perf_counter()) < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(h.split(b":")[1]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length"))
        await reader.readexactly(length)
        times.append(time.perf_counter() - began)
        errors += not head.startswith(b"HTTP/1.1 2")
    writer.close()
    return errors


async def _main(url: str, media_type: str, connections: int, seconds: float) -> None:
    parts, body = urlsplit(url), sys.stdin.buffer.read()
    request = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: {media_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    times: list[float] = []
    until = time.perf_counter() + seconds
    host, port = str(parts.hostname), int(parts.port or 80)
    errors = sum(await asyncio.gather(*(_connection(host, port, request, until, times) for _ in range(connections))))
    times.sort()
    p50, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
    sys.stdout.write(f"{len(times) / seconds} {p50 * 1e6} {p99 * 1e6} {errors}\n")


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
