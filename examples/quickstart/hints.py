"""What to try, printed once the service answers. `make run` has it run beside the service."""

from __future__ import annotations

import os
import sys
import time
from http import HTTPStatus
from pathlib import Path
from urllib.request import urlopen

SHUNTER = Path(sys.executable).with_name("shunter")
PATIENCE = 60.0
MOMENT = 0.5
"""One worker answers before all do; what they say of themselves should not stand in between. Seconds."""
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
    ready = False
    while os.getppid() == service and time.monotonic() < until and not ready:
        ready = _is_ready(port)
        time.sleep(MOMENT if ready else 0.1)
    if ready and os.getppid() == service:
        sys.stdout.write(HINTS.format(port=port, shunter=os.path.relpath(SHUNTER)))


def _is_ready(port: str) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


if __name__ == "__main__":
    main(*sys.argv[1:])
