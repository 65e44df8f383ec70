"""Guards that only whole processes show the want of: `make mutants` takes them out of a copy of the sources."""

from __future__ import annotations

from guards import Edit

_HARDENING, _CALLERS, _STATEDIR = "ipc.hardening", "supervisor.callers", "supervisor.statedir"

PROCESS_GUARDS: dict[str, tuple[Edit, ...]] = {
    # What a child does before it runs anybody's code.
    "not dumpable": (Edit(_HARDENING, "", "(_SET_DUMPABLE, 0, _EXPOSED)", "(_SET_DUMPABLE, 1, _EXPOSED)"),),
    "no new privileges": (
        Edit(_HARDENING, "", '(_SET_NO_NEW_PRIVS, 1, "programs started from here may gain privileges"),', ""),
    ),
    "death signal": (
        Edit(
            _HARDENING,
            "",
            '(_SET_PDEATHSIG, signal.SIGKILL, "the kernel will not end this process with the supervisor"),',
            "",
        ),
    ),
    "parent looked at": (Edit(_HARDENING, "harden", "if os.getppid() != parent:", "if False:"),),
    "no core": (Edit(_HARDENING, "harden", "_leave_no_core()", "pass"),),
    "umask": (Edit(_HARDENING, "harden", "os.umask(confinement.umask)", "pass"),),
    "foreign descriptors": (Edit(_HARDENING, "harden", "close_others(keep)", "pass"),),
    "capabilities": (Edit(_HARDENING, "_become", "_drop_capabilities()", "pass"),),
    "sealed supervisor": (Edit(_HARDENING, "seal", "return _prctl(_SET_DUMPABLE, 0)", "return True"),),
    "keys after hardening": (Edit("supervisor.lifecycle", "_ready", "if not child.hardened:", "if False:"),),
    "lifeline's sender": (
        Edit("supervisor.lifeline", "Lifeline._understand", "if senders != [self._pid]:", "if False:"),
    ),
    "environment": (
        Edit(
            "supervisor.environment",
            "scrub",
            "any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)",
            "patterns",
        ),
    ),
    # Workers that are forked from a template.
    "adopted first": (Edit("ipc.birth", "wait_for_adoption", "while os.getppid() == between:", "while False:"),),
    "first to speak": (
        Edit(
            "supervisor.process",
            "Process.is_born_as",
            "os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)",
            "pass",
        ),
    ),
    "nothing of the one before": (Edit("exec_worker.template", "serve", "os.close(descriptor)", "pass"),),
    "one thread": (Edit("exec_worker.template", "_warm_up", "if threads := _threads():", "if threads := []:"),),
    "nothing to share": (Edit("exec_worker.template", "_warm_up", "if not _is_file(status)", "if False"),),
    # The control socket and the state directory.
    "asker's user": (Edit(_CALLERS, "refusal", "if uid not in {0, os.geteuid()}:", "if False:"),),
    "asker is no worker": (Edit(_CALLERS, "refusal", "if descends(pid, managed):", "if False:"),),
    "socket's mode": (Edit(_STATEDIR, "", "os.umask(0o177)", "os.umask(0)"),),
    "one supervisor": (Edit(_STATEDIR, "", "fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)", "pass"),),
    "planted lock": (
        Edit(
            _STATEDIR,
            "",
            "if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:",
            "if False:",
        ),
    ),
    "planted socket": (
        Edit(
            _STATEDIR,
            "_remove_stale",
            "if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():",
            "if False:",
        ),
    ),
    "order's length": (
        Edit("supervisor.control", "", 'receive_until(b"\\n", MAX_LINE)', 'receive_until(b"\\n", 2**40)'),
    ),
    # Files that say what runs.
    "owner of a file": (
        Edit(
            "supervisor.trust",
            "check_owner",
            "if status.st_uid not in {0, os.geteuid()} and not (forbidden == WRITE and trusting()):",
            "if False:",
        ),
    ),
    "mode of a file": (Edit("supervisor.trust", "check_mode", "if found:", "if False:"),),
    # One answer for each call, and keys that are there before they are used.
    "one answer a call": (
        Edit("ipc.flow.pending", "Pending.settle", "self._waiting.pop(call_id, None)", "self._waiting.get(call_id)"),
    ),
    "keys there first": (
        Edit(
            "supervisor.rotation",
            "Rotation._next",
            "server.asked = self._newest",
            "server.asked = server.epoch = self._newest",
        ),
    ),
    "old links end first": (Edit("supervisor.rotation", "Rotation.installed", "set(clients)", "set()"),),
    "nothing begins under an old key": (
        Edit("exec_worker.service", "Service.heard", "frame.kind == _REQUEST and link.ending", "False"),
    ),
    "older keys": (
        Edit("ipc.mesh", "Mesh.update", "known.spec.epoch >= spec.epoch", "known.spec.epoch == spec.epoch"),
    ),
}
