"""The same work without Shunter: in the web process, and in a ProcessPoolExecutor. Run by uvicorn as users run it."""

import asyncio
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

app = FastAPI()
_pools: list[ProcessPoolExecutor] = []


class AskModel(BaseModel):
    """What a FastAPI user would declare."""

    n: int
    text: str


def work(n: int, text: str) -> tuple[int, str]:
    """What the other process does."""
    return n + 1, text


def same(data: bytes) -> bytes:
    """What the other process does with a large body."""
    return data


def pool() -> ProcessPoolExecutor:
    """One worker process, as in the other systems."""
    if not _pools:
        _pools.append(ProcessPoolExecutor(1, mp_context=get_context("forkserver")))
    return _pools[0]


@app.post("/inprocess")
async def inprocess(body: AskModel) -> AskModel:
    """Answered where it arrived."""
    n, text = work(body.n, body.text)
    return AskModel(n=n, text=text)


@app.post("/executor")
async def executor(body: AskModel) -> AskModel:
    """Answered by a pool."""
    n, text = await asyncio.get_running_loop().run_in_executor(pool(), work, body.n, body.text)
    return AskModel(n=n, text=text)


@app.post("/inprocess/blob")
async def inprocess_blob(request: Request) -> Response:
    """A large body, answered where it arrived."""
    return Response(await request.body(), media_type="application/octet-stream")


@app.post("/executor/blob")
async def executor_blob(request: Request) -> Response:
    """A large body, answered by a pool."""
    body = await asyncio.get_running_loop().run_in_executor(pool(), same, await request.body())
    return Response(body, media_type="application/octet-stream")
