"""What to try, printed once the service answers. `make run` runs it beside the service."""

from __future__ import annotations

import os
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

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

  All endpoints, with forms to try them: http://127.0.0.1:{port}/docs
"""


def main(port: str) -> None:
    """Print them once, or nothing if whoever started this left first."""
    service, until = os.getppid(), time.monotonic() + PATIENCE
    while os.getppid() == service and time.monotonic() < until:
        time.sleep(0.1)
        if _ready(port):
            sys.stdout.write(HINTS.format(port=port) + "\n")
            return


def _ready(port: str) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004 -- HTTP's own number
    except (URLError, OSError):
        return False


if __name__ == "__main__":
    main(*sys.argv[1:])
