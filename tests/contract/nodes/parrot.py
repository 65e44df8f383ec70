"""What the tests of answers call."""

from __future__ import annotations

import asyncio
import time
from hashlib import sha256

from exec_worker import current


def echo(token: bytes) -> bytes:
    """What nothing but this one call can cause: it depends on its meta and on its body. Few take their time."""
    if token[0]:
        time.sleep(0.03)
    return sha256(current().request_id.encode() + token).digest()


def strict(token: bytes) -> bytes:
    """The same after some work. If it is interrupted in time and while somebody waits, its answer is a wrong one."""
    until = time.monotonic() + token[0] * 1e-5
    try:
        while time.monotonic() < until:
            sha256(token).digest()
    except BaseException:
        if current().remaining() and not current().cancelled:
            return b"interrupted for no reason"
        raise
    return sha256(current().request_id.encode() + token).digest()


async def patient(token: bytes) -> bytes:
    """The same for a node that only waits."""
    try:
        await asyncio.sleep(token[0] * 1e-5)
    except asyncio.CancelledError:
        if current().remaining() and not current().cancelled:
            return b"interrupted for no reason"
        raise
    return sha256(current().request_id.encode() + token).digest()
