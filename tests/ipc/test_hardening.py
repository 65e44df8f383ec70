"""What a child's hardening does, seen from inside a real child and from beside it."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from ipc.hardening import Orphaned, Termination, close_others

pytestmark = pytest.mark.fault


def child(body: str, *, wait: bool = True, **popen: Any) -> Any:
    """A Python process that runs `body` after the imports every body needs."""
    source = "import ctypes, os, sys, signal, time, resource\nfrom ipc.hardening import *\n" + textwrap.dedent(body)
    argv = [sys.executable, "-c", source]
    if wait:
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, **popen)
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **popen)


def test_everything_is_granted_and_set() -> None:
    done = child("""
        missing = harden(os.getppid(), [])
        libc = ctypes.CDLL(None)
        signum = ctypes.c_int()
        libc.prctl(2, ctypes.byref(signum))
        core = resource.getrlimit(resource.RLIMIT_CORE)
        print(missing, libc.prctl(3), libc.prctl(39, 0, 0, 0, 0), signum.value, core)
        print(oct(os.umask(0)))
    """)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [f"() 0 1 {signal.SIGKILL:d} (1, 1)", "0o77"]


def test_a_parent_that_died_meanwhile_is_noticed() -> None:
    done = child("harden(os.getppid() + 1, [])\nprint('still here')")
    assert done.returncode == 1
    assert "supervisor is gone" in done.stderr
    assert "still here" not in done.stdout
    assert issubclass(Orphaned, SystemExit)


def test_only_what_was_handed_down_stays_open() -> None:
    kept, foreign = os.memfd_create("kept"), os.memfd_create("foreign")
    try:
        done = child(
            f"""
            harden(os.getppid(), [{kept}])
            listed = os.listdir('/proc/self/fd')
            print(sorted(int(fd) for fd in listed if os.path.exists('/proc/self/fd/' + fd)))
            print(os.get_inheritable({kept}))
            """,
            pass_fds=(kept, foreign),
        )
    finally:
        os.close(kept)
        os.close(foreign)
    assert done.stdout.splitlines() == [str([0, 1, 2, kept]), "False"]


def test_a_sigterm_before_anybody_listens_is_kept() -> None:
    process = child(
        """
        termination = note_signals()
        print('noted', flush=True)
        time.sleep(0.3)
        termination.then(lambda: print('answered', flush=True))
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        """,
        wait=False,
    )
    with process:
        assert process.stdout.readline() == "noted\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "answered\nanswered\n"
    assert process.returncode == 0


def test_a_crash_in_c_prints_the_frames() -> None:
    done = child("note_signals()\nharden(os.getppid(), [])\nctypes.string_at(0)")
    assert done.returncode == -signal.SIGSEGV
    assert "string_at" in done.stderr


def memory_of(pid: int) -> str:
    """Whether another process of this user, without privileges, may open that one's memory."""
    probe = f"""
        import os
        if os.geteuid() == 0:
            os.setgroups([]); os.setgid(65534); os.setuid(65534)
        try:
            os.close(os.open('/proc/{pid}/mem', os.O_RDONLY)); print('open')
        except OSError:
            print('shut')
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(probe)], capture_output=True, text=True, timeout=60, check=True
    ).stdout.strip()


@pytest.mark.parametrize(("first", "seen"), [("pass", "open"), ("harden(os.getppid(), [])", "shut")])
def test_a_neighbour_of_the_same_user_cannot_read_its_memory(first: str, seen: str) -> None:
    become = "os.setgroups([]); os.setgid(65534); os.setuid(65534)" if os.geteuid() == 0 else "pass"
    # A changed uid alone makes a process unreadable; the child says again that it may be read.
    source = f"{become}\nctypes.CDLL(None).prctl(4, 1, 0, 0, 0)\n{first}\nprint('on', flush=True)\ntime.sleep(60)"
    process = child(source, wait=False)
    with process:
        assert process.stdout.readline() == "on\n"
        assert memory_of(process.pid) == seen
        process.kill()


def test_the_kernel_ends_it_with_its_parent() -> None:
    source = """
        import subprocess, sys, os, time
        grandchild = subprocess.Popen([sys.executable, '-c',
            'import os, time; from ipc.hardening import harden; harden(os.getppid(), []);'
            'print(os.getpid(), flush=True); time.sleep(60)'])
        time.sleep(60)
    """
    process = child(source, wait=False)
    with process:
        pid = int(process.stdout.readline())
        watch = os.pidfd_open(pid)
        process.kill()
        process.wait()
        try:
            assert select.select([watch], [], [], 10)[0]
        finally:
            os.close(watch)


def test_without_proc_every_number_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "listdir", lambda _path: (_ for _ in ()).throw(OSError))
    closed = []
    monkeypatch.setattr(os, "close", closed.append)
    monkeypatch.setattr(os, "set_inheritable", lambda *_: None)
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (8, 8))
    close_others([4])
    assert sorted(closed) == [3, 5, 6, 7]


def test_nothing_asked_nothing_answered() -> None:
    termination = Termination()
    termination.then(lambda: pytest.fail("nobody asked"))
    assert not termination.asked
