"""Gunicorn's asgi worker and its dirty workers. The clients are kept: the documented one leaks one per request."""

from typing import Any

from fastapi import FastAPI, HTTPException
from gunicorn.dirty import DirtyApp
from gunicorn.dirty.client import DirtyClient, get_dirty_socket_path
from gunicorn.dirty.errors import DirtyError, DirtyTimeoutError
from jobs import DEADLINE, job
from shapes import Answer, Ask

app = FastAPI()
_free: list[DirtyClient] = []


class Jobs(DirtyApp):
    """What a dirty worker does."""

    def __call__(self, action: str, *arguments: Any, **_named: Any) -> list[float]:  # noqa: ANN401 - its signature
        """Do it."""
        return list(job(action, *arguments))


@app.post("/job")
async def ask(body: Ask) -> Answer:
    """Answered by a dirty worker."""
    client = _free.pop() if _free else DirtyClient(get_dirty_socket_path(), timeout=DEADLINE)
    try:
        pid, took = await client.execute_async("with_gunicorn:Jobs", body.kind, body.ticket, body.seconds)
    except DirtyTimeoutError:
        raise HTTPException(504) from None
    except DirtyError:
        raise HTTPException(503) from None
    _free.append(client)
    return Answer(pid=pid, took=took)
