"""How often a page was visited; the numbers are kept by another program."""

import os
import socket

from exec_worker import node

COUNTERS = ("127.0.0.1", int(os.environ.get("COUNTERS_PORT", "7379")))


@node(stage="core")
def visit(page: str) -> int:
    """Count one more visit, and say how many there were."""
    with socket.create_connection(COUNTERS, timeout=2) as counters, counters.makefile("rw", encoding="utf-8") as lines:
        lines.write(f"{page}\n")
        lines.flush()
        return int(lines.readline())
