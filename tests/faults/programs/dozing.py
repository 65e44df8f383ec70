"""The ordinary work of `hazards`, for workers that run an event loop."""

from __future__ import annotations

import asyncio

from hazards import effect

from exec_worker import node


@node
async def quick(ticket: str) -> str:
    with effect(ticket):
        return ticket


@node(idempotent=True)
async def quick_again(ticket: str) -> str:
    return await quick(ticket)


@node
async def nap(ticket: str, ms: float) -> str:
    with effect(ticket):
        await asyncio.sleep(ms / 1000)
    return ticket


@node(idempotent=True)
async def nap_again(ticket: str, ms: float) -> str:
    return await nap(ticket, ms)
