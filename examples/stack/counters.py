"""A server of counters, which knows nothing of Shunter: a line with a name in, a line with its next number out."""

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
            for name in self.rfile:
                self.wfile.write(b"%d\n" % next(counters[name]))

    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", options.port), Client) as server:
        server.daemon_threads = True
        server.serve_forever()


if __name__ == "__main__":
    main()
