"""An ordinary FastAPI app. What is cheap it answers itself; what computes it hands off."""

from fastapi import FastAPI

from quickstart.report import Report, ReportRequest, render
from web_worker import Handoff

app = FastAPI(title="Quickstart", version="1")


@app.get("/hello")
async def hello(name: str = "world") -> dict[str, str]:
    """Answer at once, in the web worker, however busy the others are."""
    return {"hello": name}


@app.post("/report")
async def report(body: ReportRequest, handoff: Handoff) -> Report:
    """Say how long and how hard to read a text is; computed in another process."""
    return await handoff(render, body, timeout=5)
