"""What to try, printed once every worker is up. `make run` has it run beside the service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
SHUNTER = Path(sys.executable).with_name("shunter")
PATIENCE = 60.0
HINTS = """
  Try, in another terminal:

    curl http://127.0.0.1:{port}/hello
    curl -H 'content-type: image/jpeg' --data-binary @examples/quickstart/photo.jpg \\
         'http://127.0.0.1:{port}/thumbnails?width=200&height=200' -o thumbnail.webp
    curl -H 'content-type: application/json' -d '{{"password": "correct horse"}}' \\
         http://127.0.0.1:{port}/passwords/hash
    curl 'http://127.0.0.1:{port}/mandelbrot?x=-0.7436&y=0.1318&scale=0.004' -o mandelbrot.png
    curl -H 'content-type: application/json' -d '{{"text": "It rains. It has rained for days!"}}' \\
         http://127.0.0.1:{port}/report
    {shunter} status -c examples/quickstart/shunter.yaml

  All endpoints, with forms to try them: http://127.0.0.1:{port}/docs

"""


def main(port: str) -> None:
    """Print them once, or nothing if whoever started this is gone before."""
    service, until = os.getppid(), time.monotonic() + PATIENCE
    while os.getppid() == service and time.monotonic() < until:
        if _is_up():
            shunter = os.path.relpath(SHUNTER)
            sys.stdout.write(HINTS.format(port=port, shunter=shunter))
            return
        time.sleep(0.2)


def _is_up() -> bool:
    command = [SHUNTER, "status", "--json", "-c", HERE / "shunter.yaml"]
    asked = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 -- our own command
    return asked.returncode == 0 and all(group["state"] == "up" for group in json.loads(asked.stdout)["groups"])


if __name__ == "__main__":
    main(*sys.argv[1:])
