"""A program that knows nothing of Shunter: `tool.py DEED [WORDS...]`. It begins by saying who it is, as JSON."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO


def main() -> None:
    deed, words = sys.argv[1], sys.argv[2:]
    fds = sorted(int(fd) for fd in os.listdir("/proc/self/fd"))  # noqa: PTH208 - the last is that of the list
    status = Path("/proc/self/status").read_text().splitlines()
    told = {
        "pid": os.getpid(),
        "cwd": str(Path.cwd()),
        "environ": dict(os.environ),
        "fds": fds[:-1],
        "masks": [line.split()[1] for line in status if line.startswith(("SigIgn", "SigBlk"))],
    }
    tell(json.dumps(told))
    DEEDS[deed](*words)


def tell(line: str, stream: TextIO = sys.stdout) -> None:
    stream.write(f"{line}\n")
    stream.flush()


def tcp(port: str, *flags: str) -> None:
    """Listen; `shared`: beside another one."""
    with listening(port, shared="shared" in flags) as listener:
        while True:
            listener.accept()[0].close()


def http(port: str, *statuses: str) -> None:
    """Answer with each of these in turn, and with the last for ever."""
    with listening(port) as listener:
        for n in range(10**6):
            connection, _ = listener.accept()
            with connection:
                if b"\r\n\r\n" in connection.recv(4096):
                    status = statuses[min(n, len(statuses) - 1)]
                    connection.sendall(f"HTTP/1.1 {status} So\r\nContent-Length: 0\r\n\r\n".encode())


def say(*words: str) -> None:
    """Write each as a line to standard error, and wait for ever."""
    for word in words:
        tell(word, sys.stderr)
    signal.pause()


def leave(code: str) -> None:
    """End at once."""
    tell("I had rather not", sys.stderr)
    sys.exit(int(code))


def family() -> None:
    """Have a child that heeds no SIGTERM, and one in a session of its own, with nothing in its environment.

    Each says who it is. Then wait for ever.
    """
    stubborn = "import os,signal;signal.signal(15,signal.SIG_IGN);print('child',os.getpid(),flush=True);signal.pause()"
    for apart in (False, True):
        subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", stubborn], start_new_session=apart, env={} if apart else None
        )
    signal.pause()


def interrupted() -> None:
    """End in good order, but only when told so by SIGINT."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    tell("waiting")
    signal.pause()


def listening(port: str, *, shared: bool = False) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", int(port) + int(os.environ["SHUNTER_SLOT"])))
    time.sleep(0.05)  # whoever asks now is refused
    listener.listen()
    return listener


DEEDS = {"tcp": tcp, "http": http, "say": say, "leave": leave, "family": family, "interrupted": interrupted}


if __name__ == "__main__":
    main()
