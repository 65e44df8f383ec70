"""Ends what is left of a service whose supervisor was killed; a program of its own, which waits for nothing else.

    python -I -S aftermath.py MARK [CGROUP] < pipe

The kernel ends workers with their supervisor, and nobody what the workers have started. So this program is told of
each worker, as `+PID` and `-PID`, a line each. When the pipe ends, what is in the session or the process group of a
worker that was not taken back is killed, and whatever has MARK in its environment or its arguments. A guard, told of
as `*PID`, comes last: it knows whom its program has started, and first has some time to end them itself. If the service
has a control group, with one for each worker in it, whatever is in there is killed too, and the groups are removed.
After the line `.` there is nothing to do. It imports the standard library only, and of that little, for it is started
with every service and rarely needed.
"""

import os
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # without `typing`, which takes longer to import than all the rest
    from collections.abc import Callable

VARIABLE = "SHUNTER_SERVICE"
"""Where whatever a service starts has its mark, unless it was given another environment."""
ARGUMENT = "--mark"
"""What stands before it in a worker's arguments. What a worker forks has them too, and they can be read by everybody:
the environment of a process that was hardened, and of its forks, only by those with privileges."""
ROUNDS = 100
"""How often it is looked for more, at most: what runs may make others."""
PARTING = 10.0
"""How long all guards together may take, seconds."""
MOST_CGROUPS = 10_000
"""How many control groups are looked through below a worker's, at most: whoever runs there may have made some."""
_CHUNK = 65536
_TICK = 0.005


def hear(fd: int) -> "tuple[dict[int, float], set[int]] | None":
    """Whose sessions are left when nobody holds the other end of `fd` any more, and which of them are guards.

    With each it says when it was heard of, on the clock by which the kernel tells when a process was started.
    None: all is well.
    """
    left: dict[int, float] = {}
    guards: set[int] = set()
    rest = b""
    while data := os.read(fd, _CHUNK):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line == b".":
                return None
            pid = int(line[1:])
            left.pop(pid, None)
            if not line.startswith(b"-"):
                left[pid] = time.clock_gettime(time.CLOCK_BOOTTIME)
            guards.add(pid) if line.startswith(b"*") else guards.discard(pid)
    return left, guards


def is_left(pid: int, leaders: "dict[int, float]", mark: str) -> bool:
    """Whether this process belongs to what is left. What has ended does not."""
    try:
        state, _parent, group, session = stat(pid)[:4]
        if state in {b"Z", b"X"}:
            return False
        if any(is_worker_s(int(number), leaders) for number in {group, session}):
            return True
        if f"\0{ARGUMENT}\0{mark}\0".encode() in read(f"/proc/{pid}/cmdline"):
            return True
        return f"{VARIABLE}={mark}".encode() in read(f"/proc/{pid}/environ").split(b"\0")
    except (OSError, ValueError):  # gone, or another user's
        return False


def is_worker_s(number: int, leaders: "dict[int, float]") -> bool:
    """Whether a session or group with this number is one that a worker led.

    While anybody is in there nobody gets the number. If somebody has it who was started after the worker was heard of,
    then it was empty meanwhile, and whoever is in there now is a stranger.
    """
    if number not in leaders:
        return False
    try:
        return int(stat(number)[19]) / os.sysconf("SC_CLK_TCK") <= leaders[number]
    except OSError:
        return True


def stat(pid: int) -> "list[bytes]":
    """What the kernel says of a process, from its state on."""
    return read(f"/proc/{pid}/stat").rpartition(b")")[2].split()


def read(path: str) -> bytes:
    """A file of /proc."""
    with open(path, "rb") as file:  # noqa: PTH123 - to import pathlib takes longer than all the rest
        return file.read()


def send(pid: int, what: signal.Signals, is_meant: "Callable[[], bool]") -> bool:
    """Send this process a signal if it is the one that is meant, and nobody who has its number next; whether it was."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not is_meant():
            return False
        signal.pidfd_send_signal(pidfd, what)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(pidfd)


def end(pid: int, leaders: "dict[int, float]", mark: str) -> bool:
    """Kill this process if it belongs to what is left."""
    return send(pid, signal.SIGKILL, lambda: is_left(pid, leaders, mark))


def wait_for(pids: set[int], seconds: float) -> None:
    """Return once these processes have ended, or after that time."""
    left = select.poll()
    open_: set[int] = set()
    for pid in pids:
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:  # it has
            continue
        left.register(pidfd, select.POLLIN)
        open_.add(pidfd)
    until = time.monotonic() + seconds
    while open_ and (remaining := until - time.monotonic()) > 0:
        for pidfd, _ in left.poll(remaining * 1000):
            left.unregister(pidfd)
            os.close(pidfd)
            open_.discard(pidfd)


def bury(leaders: "dict[int, float]", mark: str, spared: set[int]) -> None:
    """End what is left, but for those."""
    spared = spared | {os.getpid()}
    for _ in range(ROUNDS):
        pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 - as above
        if not [pid for pid in pids if pid not in spared and is_left(pid, leaders, mark) and end(pid, leaders, mark)]:
            break


def kill(cgroup: str) -> None:
    """Kill whatever is in this control group, or below it. No error if it is gone."""
    try:
        fd = os.open(f"{cgroup}/cgroup.kill", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"1")
        finally:
            os.close(fd)
    except OSError:  # a kernel before 5.14, or there is none
        killed: set[int] = set()
        for _ in range(ROUNDS):
            if not (found := {pid for pid in members(cgroup) - killed if kill_member(pid, cgroup)}):
                break
            killed |= found


def kill_member(pid: int, cgroup: str) -> bool:
    """Kill this process if it is in that control group."""
    return send(pid, signal.SIGKILL, lambda: pid in members(cgroup))


def members(cgroup: str) -> set[int]:
    """The processes in this control group and below it. One of another PID namespace has no number here."""
    found: set[int] = set()
    for path in tree(cgroup):
        try:
            found.update(map(int, read(f"{path}/cgroup.procs").split()))
        except OSError:  # it was removed just now
            continue
    return found - {0}


def remove(cgroup: str) -> bool:
    """Remove it with all below it, as far as nobody is in there; whether it is gone."""
    for path in reversed(tree(cgroup)):
        try:
            os.rmdir(path)  # noqa: PTH106 - to import pathlib takes longer than all the rest
        except OSError:
            continue
    return not os.path.exists(cgroup)  # noqa: PTH110 - as above


def tree(cgroup: str) -> "list[str]":
    """It and those below it, each after the one it is in."""
    found = [cgroup]
    for path in found:
        try:
            with os.scandir(path) as entries:
                below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue
        found += below[: MOST_CGROUPS - len(found)]
    return found


def clear(cgroup: str, seconds: float) -> bool:
    """End all that is in it, and remove it; whether that could be done in this time. There need not be any."""
    until = time.monotonic() + seconds
    kill(cgroup)
    while not (gone := remove(cgroup)) and time.monotonic() < until:
        time.sleep(_TICK)
        kill(cgroup)
    return gone


def main() -> None:
    """Wait for the end of the supervisor, and bury what it leaves behind."""
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # sent to everybody; the supervisor says when
        signal.signal(signum, signal.SIG_IGN)
    mark, heard = sys.argv[1], hear(0)
    if heard is None:
        return
    leaders, guards = heard
    cgroup = sys.argv[2] if len(sys.argv) > 2 else ""  # noqa: PLR2004 - the second of two
    if guards:
        for path in tree(cgroup)[1:]:  # those of workers; whatever a program has made below belongs to its guard
            if os.path.dirname(path) == cgroup and not members(path) & guards:  # noqa: PTH120 - as above
                kill(path)
        bury(leaders, mark, guards)
        wait_for(guards, PARTING)
        leaders = {pid: since for pid, since in leaders.items() if pid in guards}  # the others have had their time
    if cgroup:
        kill(cgroup)
    bury(leaders, mark, set())
    if cgroup:
        clear(cgroup, PARTING)


if __name__ == "__main__":
    main()
