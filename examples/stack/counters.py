"""A server of counters, which knows nothing of Shunter: the one command of Redis that `visits.py` needs."""

import argparse
import itertools
import socketserver
from collections import defaultdict


def main() -> None:
    """Serve until ended."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--port", type=int, required=True)
    asked.add_argument("--first", type=int, default=1)
    options = asked.parse_args()
    counters: defaultdict[bytes, itertools.count[int]] = defaultdict(lambda: itertools.count(options.first))

    class Client(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline() == b"*2\r\n" and self.word() == b"INCR":
                self.wfile.write(b":%d\r\n" % next(counters[self.word()]))

        def word(self) -> bytes:
            """The next part of a command: how long it is, then what it is."""
            size = int(self.rfile.readline()[1:])
            return self.rfile.read(size + 2)[:-2]

    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", options.port), Client) as server:
        server.daemon_threads = True
        server.serve_forever()


if __name__ == "__main__":
    main()
