"""LitServe, with workers that are started again and an API server that is a thread: so it notices dead workers."""

import os
from typing import Any

import litserve
from jobs import BATCH, DEADLINE, WAIT, job, model


class Jobs(litserve.LitAPI):
    """One job after the other."""

    def setup(self, device: str) -> None:
        """Nothing has to be loaded."""

    def predict(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Do it."""
        pid, took = job(asked["kind"], asked["ticket"], asked["seconds"])
        return {"pid": pid, "took": took}


class Model(Jobs):
    """Many at once."""

    def predict(self, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:  # type: ignore[override]
        """Ask the model for all of them."""
        took = model(len(asked))
        return [{"pid": 0, "took": took} for _ in asked]


if __name__ == "__main__":
    many = Model(max_batch_size=BATCH, batch_timeout=WAIT, api_path="/job")
    api = many if os.environ.get("TOGETHER") else Jobs(api_path="/job")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=2, timeout=DEADLINE, restart_workers=True)
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        num_api_servers=1,
        log_level="error",
        access_log=False,
        generate_client_file=False,
        api_server_worker_type="thread",
    )
