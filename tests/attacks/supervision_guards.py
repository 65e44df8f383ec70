"""Guards of supervision: what keeps it from ending the wrong one, from trying for ever, and from waiting."""

from __future__ import annotations

from guards import Edit

_LIFECYCLE, _GROUP, _SCALING, _PULSE = (
    "supervisor.lifecycle",
    "supervisor.group",
    "supervisor.scaling",
    "supervisor.pulse",
)
_ORPHANS, _AFTERMATH, _WARDEN = "supervisor.orphans", "supervisor.aftermath", "supervisor.warden"
_HOLD, _PROBE, _LOGBOOK, _OUTLET = "supervisor.hold", "supervisor.probe", "supervisor.logbook", "supervisor.outlet"


def _gone(module: str, function: str, old: str, new: str = "") -> tuple[Edit, ...]:
    """A guard of one edit."""
    return (Edit(module, function, old, new),)


SUPERVISION_GUARDS: dict[str, tuple[Edit, ...]] = {
    # A worker that dies, and those that depend on it.
    "crashes have a limit": _gone("supervisor.policy", "RestartPolicy.decide", "if row > self.limit:", "if False:"),
    "a long life forgives": _gone("supervisor.policy", "RestartPolicy.decide", "1 if lived >= self.stable else ", ""),
    "one for all": _gone("supervisor.policy", "RestartPolicy.taken_along", "return range(seats)", "return range(0)"),
    "rest for one": _gone("supervisor.policy", "RestartPolicy.taken_along", "range(slot + 1, seats)", "range(0)"),
    "nobody starts before all have ended": _gone(
        _LIFECYCLE, "_resting", "return (child, (SetTimer(HELD),)) if held else _spawn(child)", "return _spawn(child)"
    ),
    "calls are not its fault": _gone("supervisor.demise", "exited", "if event.busy and fresh:", "if False:"),
    "stacks before who is late is killed": _gone(
        _LIFECYCLE, "_too_late", "if child.dumped or not child.hardened:", "if True:"
    ),
    "stacks before who overran is killed": _gone(_LIFECYCLE, "_overrun", "(Dump(), SetTimer(", "(SetTimer("),
    "who has recovered goes on": _gone(
        _LIFECYCLE, "_overrunning", "case TimerRang(recovered=True):", "case TimerRang(recovered=True) if False:"
    ),
    # Changes of a group that serves.
    "successor first": _gone(
        "supervisor.succession",
        "Succession.of",
        "if tried is None and (why := ",
        "predecessor.retire()\n        if tried is None and (why := ",
    ),
    "one at a port": _gone("supervisor.succession", "Succession.of", "if group.in_place:", "if False:"),
    "newcomers together or not at all": _gone("supervisor.resizing", "resize", "group.size = before", "pass"),
    "who leaves is bounded": _gone(
        "supervisor.resizing", "resize", "len(group.beside) + workers - group.size <= MAX_BESIDE", "True"
    ),
    "what was tried out is given up": _gone(
        "supervisor.rollout", "Rollout._give_up", "await tried.discard()", "tried._end()"
    ),
    "nobody is taken along by hand": _gone("supervisor.group", "Group.take_along", " or self.all_anew", ""),
    "who was up is looked at again": _gone(
        "supervisor.rollout",
        "Rollout.go",
        "why = next((failed for tried in self._tried if (failed := tried.failure) is not None), None)",
        "pass",
    ),
    "one reload for all who asked": (
        Edit(
            "supervisor.reload",
            "Reloads.serve",
            "self._asked = anyio.Event()\n            batch, self._waiting = self._waiting, []",
            "batch, self._waiting = self._waiting[:1], self._waiting[1:]\n"
            "            self._asked = self._asked if self._waiting else anyio.Event()",
        ),
    ),
    "a reload after the last who asked": (
        Edit("supervisor.reload", "Reloads.serve", "self._asked = anyio.Event()\n            ", ""),
        Edit(
            "supervisor.reload",
            "Reloads.serve",
            "finally:\n",
            "finally:\n                self._asked = anyio.Event()\n",
        ),
    ),
    "what changed while it was refused": _gone(
        "supervisor.origins", "Origins.strayed", "elif not lives <= self._certain:", "elif False:"
    ),
    # Workers that follow their load.
    "bounds of a scale": _gone(_SCALING, "Scaling.within", "min(max(workers, self.least), self.most)", "workers"),
    "bounds of growth": _gone(_SCALING, "decide", "min(scaling.most, max(size + 1, wanted))", "max(size + 1, wanted)"),
    "pause after a change": _gone(_SCALING, "decide", "if now - course.changed < UP_COOLDOWN:", "if False:"),
    "steps down that were wrong": _gone(_SCALING, "_risen", "min(MAX_DOWN_AFTER, 2 * course.down_after)", "DOWN_AFTER"),
    "room after a step down": _gone(_SCALING, "decide", " and load <= ROOM * (size - 1)", ""),
    "bursts": _gone(_SCALING, "decide", " and look.busy >= LEAST_BUSY", ""),
    "still wanted": _gone(
        "supervisor.scaler",
        "Scaler._resize.still",
        "not self._scope.cancel_called and group.size == size and time.monotonic() >= self._quiet_until",
        "True",
    ),
    # Who is taken for dead.
    "a start is no hang": _gone(_PULSE, "Pulse.look", "worker.state is not State.UP or ", ""),
    "who was away itself blames nobody": _gone(
        _PULSE, "Pulse.look", "away = time - self._looked > AWAY", "away = False"
    ),
    "calls within their time": _gone(_PULSE, "Pulse.look", " or ledger.due() < math.inf", ""),
    # Whose a process is.
    "our own children's codes": _gone(_ORPHANS, "Orphans._all", " and pid not in ours", ""),
    "codes of a first process": _gone(_ORPHANS, "Orphans.reap", " if pid not in ours", ""),
    "who was there before": _gone(_ORPHANS, "Orphans._all", "pid not in self._before and ", ""),
    "still that child": _gone(_ORPHANS, "_send", "lambda: _is_child(found)", "lambda: True"),
    "stopped before they are killed": _gone(
        _ORPHANS, "_freeze", "_send(found, signal.SIGSTOP)", "_send(found, signal.Signals(0))"
    ),
    "strangers have the number next": _gone(_AFTERMATH, "end", "lambda: is_left(pid, leaders, mark)", "lambda: True"),
    "who emptied its environment": _gone(
        _AFTERMATH, "is_left", 'if f"\\0{ARGUMENT}\\0{mark}\\0".encode() in read(f"/proc/{pid}/cmdline"):', "if False:"
    ),
    "who left its session": _gone(
        _AFTERMATH,
        "is_left",
        'return f"{VARIABLE}={mark}".encode() in read(f"/proc/{pid}/environ").split(b"\\0")',
        "return False",
    ),
    "guards have their time": _gone(_AFTERMATH, "main", "wait_for(guards, PARTING)", "pass"),
    "another warden": _gone(_WARDEN, "Warden.tend", "self._start()", "pass"),
    "a warden that missed a word": _gone(_WARDEN, "Warden._say", "if not complete:", "if False:"),
    "an end that is taken back": _gone(_WARDEN, "Warden.stop", 'self._say(b".\\n")', "pass"),
    "whoever has ended is forgotten": _gone(_WARDEN, "Warden.forget", 'self._say(b"-%d\\n" % pid)', "pass"),
    # Programs of command groups.
    "a program ends with its guard": _gone(_HOLD, "_before_the_program", "at_parents_death(signal.SIGKILL)", "pass"),
    "what a program leaves": _gone(_HOLD, "_Hold.until_over", "self._all.end()", "pass"),
    "programs of a killed supervisor": _gone(_HOLD, "_Hold._orphaned", "self._all.end()", "pass"),
    "a port that was taken before": _gone(_HOLD, "_Hold.until_over", "await is_taken(probe)", "False"),
    "a connection to itself": _gone(_PROBE, "_why_not", "if _is_itself(writer):", "if False:"),
    "time of a question": _gone(_PROBE, "_why_not", "asyncio.timeout(PROBE_TIMEOUT)", "asyncio.timeout(None)"),
    "length of an answer": _gone(_PROBE, "", "limit=MAX_LINE", "limit=2**40"),
    "statuses that are fine": _gone(_PROBE, "_judge", "if int(found[1]) in _FINE else", "if True else"),
    # Lines that nobody can write, and readers who do not read.
    "size of a log file": _gone(_LOGBOOK, "_File._push", "self._size + len(line) > self._max_bytes", "False"),
    "half a line": _gone(_LOGBOOK, "_File._push", "if written < len(line):", "if False:"),
    "lost lines are counted": _gone(_LOGBOOK, "_File.append", "if self._lost:", "if False:"),
    "logs that were moved away": _gone(_LOGBOOK, "_File._push", "not self._is_there()", "False"),
    "events that wait for a reader": _gone(_OUTLET, "Outlet.__call__", "len(self._waiting) >= self._most or ", ""),
    "one who floods": _gone(_OUTLET, "Outlet._has_room", "if self._lines[who] >= self._most // 2 or ", "if "),
    "lines of one turn": _gone(
        "supervisor.output", "Output._turn", "self._tell(SHARE)", "self._tell(len(self._untold))"
    ),
    "who holds a pipe": _gone(
        "supervisor.output",
        "Output.finish",
        "size < _AT_THE_END and (data := self._take(_AT_THE_END - size))",
        "(data := self._take(_AT_THE_END))",
    ),
    "what a watcher missed": _gone(
        "supervisor.recent", "Backlog.__init__", "deque(lines, maxlen=MAX_BEHIND)", "deque(lines)"
    ),
    # The control socket, the state directory and systemd.
    "askers at once": _gone("supervisor.control", "Control._refusal", "self._clients >= MAX_CLIENTS", "False"),
    "who says nothing": _gone("supervisor.control", "_hear", "anyio.move_on_after(DEADLINE)", "anyio.CancelScope()"),
    "watchers at once": _gone(
        "supervisor.audience", "Audience.serve", "if self._present >= MAX_WATCHERS:", "if False:"
    ),
    "who asks may be gone": _gone(
        "supervisor.callers", "refusal", "None if identity.alive() else", "None if True else"
    ),
    "a dead supervisor's socket": _gone("supervisor.statedir", "", "    _remove_stale(path)\n", ""),
    "a dead supervisor's links": _gone(
        "supervisor.statedir", "", "_remove_sockets(directory)\n    except", "pass\n    except"
    ),
    "systemd hears from the loop": _gone("supervisor.systemd", "Systemd.beat", 'self._say("WATCHDOG=1")', "pass"),
    "a service that has given up": _gone("supervisor.systemd", "Systemd.beat", " and is_well(self._tree.groups)", ""),
    "systemd that does not read": _gone(
        "supervisor.systemd", "Systemd.__init__", "self._notifier.socket.setblocking(False)", "pass"
    ),
    "time for a slow start": _gone(
        "supervisor.systemd", "Systemd.beat", 'self._say(f"EXTEND_TIMEOUT_USEC={_usec(EXTENSION)}")', "pass"
    ),
    "an echo of a signal": _gone(
        "supervisor.signals", "Insistence.is_second", "signum != first or now - then > BOUNCE", "True"
    ),
}
