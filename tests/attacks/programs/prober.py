"""A thief: looks into processes in every way the kernel has, and says which way let it in and what it found there.

`prober.py [COMMAND...]` starts COMMAND, so that it is an ancestor of what is probed (where Yama's ptrace_scope is 1
nobody else may look into anything), then answers each line of JSON on its standard input with one on its standard
output: {"pids": {name: pid}, "needles": {name: hex}} -> {name: {way: "refused" or a list of needles}}.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Needles = dict[str, bytes]
_CHUNK = 4 * 1024 * 1024
_OVERLAP = 256
_ATTACH, _DETACH = 16, 17
_SYS_PIDFD_GETFD = 438
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


class _Part(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


def forms(secret: bytes) -> list[bytes]:
    """Everything a secret could look like."""
    hexed = secret.hex().encode()
    plain, url = base64.b64encode(secret), base64.urlsafe_b64encode(secret)
    return [secret, hexed, hexed.upper(), plain.rstrip(b"="), url.rstrip(b"="), repr(secret)[2:-1].encode()]


def found_in(data: bytes, needles: Needles) -> set[str]:
    return {name for name, secret in needles.items() if any(form in data for form in forms(secret))}


def fault() -> OSError:
    return OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def regions(pid: int) -> Iterator[tuple[int, int]]:
    # The list itself may be refused; then there is nothing to read by it, and that is the refusal.
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, rights, _offset, _device, _inode, *name = line.split(maxsplit=5)
        start, end = (int(at, 16) for at in span.split("-"))
        if "rw" in rights and not any(name_.startswith("[v") for name_ in name):
            for at in range(start, end, _CHUNK):
                yield at, min(end - at, _CHUNK + _OVERLAP)


def argv(pid: int, needles: Needles) -> set[str]:
    return found_in(Path(f"/proc/{pid}/cmdline").read_bytes(), needles)


def environ(pid: int, needles: Needles) -> set[str]:
    return found_in(Path(f"/proc/{pid}/environ").read_bytes(), needles)


def memory(pid: int, needles: Needles, *, first: bool = False) -> set[str]:
    hits: set[str] = set()
    fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        for at, size in regions(pid):
            with suppress(OSError, OverflowError):
                data = os.pread(fd, size, at)
                hits |= {name for name, secret in needles.items() if secret in data}
                if hits and first:
                    break
    finally:
        os.close(fd)
    return hits


def process_vm(pid: int, needles: Needles) -> set[str]:
    hits: set[str] = set()
    worked = False
    buffer = ctypes.create_string_buffer(_CHUNK + _OVERLAP)
    for at, size in regions(pid):
        here, there = _Part(ctypes.addressof(buffer), size), _Part(at, size)
        if (got := _libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)) > 0:
            worked = True
            data = buffer.raw[:got]
            hits |= {name for name, secret in needles.items() if secret in data}
            if hits:
                break
    if not worked:
        raise fault()
    return hits


def ptrace(pid: int, needles: Needles) -> set[str]:
    if _libc.ptrace(_ATTACH, pid, None, None) != 0:
        raise fault()
    try:
        os.waitpid(pid, 0x40000000)  # __WALL
        return memory(pid, needles, first=True)
    finally:
        _libc.ptrace(_DETACH, pid, None, None)


def descriptors(pid: int, needles: Needles) -> set[str]:
    hits: set[str] = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            if path.is_file():
                hits |= found_in(path.read_bytes(), needles)
    return hits


def pidfd_getfd(pid: int, _needles: Needles) -> set[str]:
    """To get one of its descriptors, its lifeline say, is enough."""
    pidfd = os.pidfd_open(pid)
    try:
        got = [
            fd
            for fd in range(64)
            if (copy := _libc.syscall(_SYS_PIDFD_GETFD, pidfd, fd, 0)) >= 0 and not os.close(copy)
        ]
        if not got:
            raise fault()
    finally:
        os.close(pidfd)
    return {"descriptors"}


WAYS: list[Callable[[int, Needles], set[str]]] = [
    *(argv, environ, memory, process_vm, ptrace, descriptors, pidfd_getfd),
]


def probe(pid: int, needles: Needles) -> dict[str, list[str] | str]:
    told: dict[str, list[str] | str] = {}
    for way in WAYS:
        try:
            told[way.__name__] = sorted(way(pid, needles))
        except PermissionError:
            told[way.__name__] = "refused"
    return told


def main() -> None:
    service = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr) if sys.argv[1:] else None
    for line in sys.stdin:
        asked = json.loads(line)
        needles = {name: bytes.fromhex(text) for name, text in asked["needles"].items()}
        told = {name: probe(pid, needles) for name, pid in asked["pids"].items()}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
    if service is not None:
        service.send_signal(signal.SIGTERM)
        service.send_signal(signal.SIGINT)
        service.wait()


if __name__ == "__main__":
    main()
