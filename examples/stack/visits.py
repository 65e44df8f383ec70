"""How often a page was visited; the numbers are kept by another program, Redis or what stands in for it."""

import os
import socket

from exec_worker import node

COUNTERS = ("127.0.0.1", int(os.environ.get("COUNTERS_PORT", "7379")))


@node(stage="core")
def visit(page: str) -> int:
    """Count one more visit, and say how many there were."""
    with socket.create_connection(COUNTERS, timeout=2) as counters, counters.makefile("rb") as answers:
        name = page.encode()
        counters.sendall(b"*2\r\n$4\r\nINCR\r\n$%d\r\n%b\r\n" % (len(name), name))
        return int(answers.readline().removeprefix(b":"))
