"""FastAPI and a ProcessPoolExecutor, made anew when it is broken: without that a dead worker ends it for good."""

import asyncio
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from fastapi import FastAPI, HTTPException
from jobs import DEADLINE, job
from shapes import Answer, Ask

app = FastAPI()
_pools: list[ProcessPoolExecutor] = []


def pool() -> ProcessPoolExecutor:
    """The one that works, as far as anybody knows."""
    if not _pools:
        _pools.append(ProcessPoolExecutor(2, mp_context=get_context("forkserver")))
    return _pools[-1]


@app.post("/job")
async def ask(body: Ask) -> Answer:
    """Answered by a worker of the pool."""
    used = pool()
    loop = asyncio.get_running_loop()
    try:
        done = loop.run_in_executor(used, job, body.kind, body.ticket, body.seconds)
        pid, took = await asyncio.wait_for(done, DEADLINE)
    except TimeoutError:
        raise HTTPException(504) from None
    except BrokenProcessPool:
        if used in _pools:
            _pools.remove(used)
            used.shutdown(wait=False)
        raise HTTPException(500) from None
    return Answer(pid=pid, took=took)
