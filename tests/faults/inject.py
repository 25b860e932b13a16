"""One run of srvinit in which one system call fails, and what became of it.

strace(1) is attached to srvinit when a phase begins (or to the child that it forks, until that
has become the worker), makes the call fail once or all through the phase, and is detached when the
phase is over. srvinit is the PID 1 of a namespace, two real servers are its workers. Then:

- it comes to an end of the phase within its deadline, or exits with a clear line that says why;
- if it lives it has two ready workers again, serves, and stops with 0 when asked to;
- each worker that was started is logged as started once, and once as exited;
- nobody sees a traceback.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import harness
import proc
import scenes
from syscalls import FAILING, LASTING, NEVER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness import Srvinit

PHASES = ("start", "crash", "recycle", "stop")
WORKERS = 2
# Several times what a phase takes on a busy machine; srvinit's own deadlines are within.
PATIENCE_S = 30.0
# How long a lack lasts that holds a phase up.
LASTS_S = 4.0
OPTIONS = (
    scenes.BIND,
    "--worker-require=listen",
    scenes.QUICK,
    f"--worker-count={WORKERS}",
    "--worker-timeout=10s",
    "--restart-delay=200ms",
    "--restart-limit=0",
    "--recycle-timeout=3s",
    "--shutdown-timeout=3s",
)
#: What the log is written with: a line that is lost may be the one that is waited for.
LOSING = ("write", "splice")
NOTHING = "nothing to see"
#: How an exit for lack of something may end; a start that is refused says why in a line.
CLEAR_ENDS = {1, 2, 126, 127}


#: The calls made in a phase by "srvinit" or by the "child" that becomes a worker.
Calls = dict[tuple[str, str], set[str]]


class Fault(NamedTuple):
    """A system call that fails: `whose` is "srvinit" or "child", `when` strace's word for it."""

    phase: str
    call: str
    error: str
    whose: str
    when: str

    def __str__(self) -> str:
        """Name it in one word: a test's name, and a row of the table."""
        return f"{self.phase}-{self.whose}-{self.call}-{self.error}-{self.when}"


class Outcome(NamedTuple):
    """What became of it; `wrong` is empty if all is as it should be."""

    words: str
    was_hit: bool
    wrong: list[str]


def faults(calls: Calls) -> Iterator[Fault]:
    """Yield every fault there is for the calls made by each of (phase, whose)."""
    for (phase, whose), made in sorted(calls.items()):
        # A call that both make fails for both where children are followed: once is enough.
        others = calls[phase, "srvinit"] if whose == "child" else set()
        for call in sorted(made - others - NEVER):
            for error in FAILING[call]:
                yield Fault(phase, call, error, whose, "1")
                if whose == "child":
                    continue  # each child makes it anew
                if phase == "start" and whose == "srvinit" and call not in {"clone", "bind"}:
                    yield Fault(phase, call, error, whose, "7")
                if error in LASTING:
                    yield Fault(phase, call, error, whose, "1+")


# --- a run ---------------------------------------------------------------------------------------


def run(fault: Fault, folder: Path) -> Outcome:
    """Run srvinit with this fault; `folder` is for the trace."""
    trace = folder / f"{fault}.trace"
    tracing = [f"inject={fault.call}:error={fault.error}:when={fault.when}"]
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(_start(is_held=fault.phase == "start"))
        tell = _go_through(pool, fault.phase, fault.whose, tracing, trace)
        wrong = [] if tell is None else [tell]
        if pool.is_running and not wrong and fault.phase != "stop":
            wrong += _serves_again(pool)
        wrong += _ends(pool, fault.phase)
        was_hit = b"(INJECTED)" in proc.read(trace)
        can_tell = not (fault.call in LOSING and fault.when == "1+" and fault.phase == "stop")
        return Outcome(_words(pool), was_hit, [*wrong, *_is_told(pool, can_tell=can_tell)])


def record(folder: Path) -> Calls:
    """Run without a fault; return the calls by (phase, whose)."""
    found: Calls = {}
    for phase in PHASES:
        for whose in ("srvinit", "child"):
            if whose == "child" and phase == "stop":
                continue  # nothing is forked any more
            trace = folder / f"record-{phase}-{whose}.trace"
            with _start(is_held=phase == "start") as pool:
                late = _go_through(pool, phase, whose, ["trace=all"], trace)
                assert late is None, late
                assert _ends(pool, phase) == []
            found[phase, whose] = calls_in(trace.read_text(), of_children=whose == "child")
    return found


def calls_in(trace: str, *, of_children: bool) -> set[str]:
    """Return the names of the calls in a trace: srvinit's, or those of the forked alone."""
    found = (
        re.match(r"(?:(\d+) +)?(?:<\.\.\. )?(\w+)(?: resumed|\()", at) for at in trace.split("\n")
    )
    told = [(match[1], match[2]) for match in found if match]
    first = told[0][0] if told else None
    return {call for pid, call in told if (pid != first) == of_children}


def _start(*, is_held: bool) -> Srvinit:
    """Start srvinit, and wait until it is ready; where it `is_held`, until it may begin."""
    if not is_held:
        pool = harness.Srvinit(*OPTIONS, "--", *scenes.WEB, pid1=True)
        until = lambda: pool.wait_event("srvinit.ready", within=PATIENCE_S)  # noqa: E731
    else:
        # It waits in a call that is never made to fail: who is attached to may have to repeat it.
        code = """import select, sys
from srvinit.__main__ import main
select.select([0], [], [])
sys.exit(main())"""
        waits, _ = held = os.pipe()
        run = [sys.executable, "-c", code]
        pool = harness.Srvinit(*OPTIONS, "--", *scenes.WEB, pid1=True, run=run, stdin=waits)
        until = lambda: proc.wait_until(  # noqa: E731
            lambda: b"poll_schedule" in proc.read(f"/proc/{pool.pid}/wchan"), 20, "Python to wait"
        )
        _held[pool.pid] = held
    try:
        until()
    except AssertionError:
        pool.close()
        raise
    return pool


# The pipes that those who are held wait at, by pid.
_held: dict[int, tuple[int, int]] = {}


def _let_go(pool: Srvinit) -> None:
    for end in _held.pop(pool.pid):
        os.close(end)


def _go_through(
    pool: Srvinit, phase: str, whose: str, tracing: list[str], trace: Path
) -> str | None:
    """Have the phase happen under strace; return what was waited for in vain."""
    follow = ["-f", "--detach-on=execve"] if whose == "child" else []
    only = ["-e", "signal=none"]
    command = [harness.program("strace"), "-q", *follow, *only, "-o", os.fspath(trace)]
    for word in tracing:
        command += ["-e", word]
    tracer = subprocess.Popen(
        [*command, "-p", str(pool.pid)], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    try:
        proc.wait_until(lambda: _tracer(pool.pid) == tracer.pid, 10, "strace to be attached")
        # strace counts for each process anew: a child's call fails in every child.
        lasts = "when=1+" in tracing[0] or (whose == "child" and "inject" in tracing[0])
        lasts |= any(f"inject={call}:" in tracing[0] for call in LOSING)
        return _provoke(pool, phase, lasts=lasts)
    finally:
        if tracer.poll() is None:
            tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=20)


def _provoke(pool: Srvinit, phase: str, *, lasts: bool) -> str | None:
    """Make the phase happen and wait for its end, or for srvinit's."""
    since = len(pool.events)
    if phase == "start":
        _let_go(pool)
        ends = ("srvinit.ready",)
    elif phase == "crash":
        os.kill(pool.workers()[0], signal.SIGKILL)
        ends = ("worker.ready",)
    elif phase == "recycle":
        pool.signal("HUP")
        ends = ("recycle.finished", "recycle.failed")
    else:
        pool.signal("TERM")
        ends = ()
    is_over = lambda: not pool.is_running or any(pool.found(end, since=since) for end in ends)  # noqa: E731
    # A lack that lasts may well hold it up, as long as all is well when it has passed.
    patience_s = LASTS_S if lasts and phase != "stop" else PATIENCE_S
    try:
        proc.wait_until(is_over, patience_s, f"the end of {phase}")
    except AssertionError as late:
        return None if patience_s == LASTS_S else str(late)
    return None


def _tracer(pid: int) -> int:
    return int(proc.status_field(pid, "TracerPid") or 0)


# --- what is asked of it afterwards --------------------------------------------------------------


def _serves_again(pool: Srvinit) -> list[str]:
    """Return what is wrong with a srvinit that lives on, now that nothing fails any more."""
    bound = pool.found("socket.bound")
    if not bound:  # it ends: the next thing that is looked at
        return []
    port = int(bound[0]["address"].rpartition(":")[2])
    deadline = time.monotonic() + PATIENCE_S
    answers: set[bytes] = set()
    error: OSError | None = None
    while len(answers) < WORKERS and time.monotonic() < deadline and pool.is_running:
        try:
            answers.add(harness.ask(port, path="/pid"))
        except OSError as refused:
            error = refused
    if len(answers) >= WORKERS or not pool.is_running:  # its end is looked at next
        return []
    return [f"{len(answers)} workers answer: {error}"]


def _ends(pool: Srvinit, phase: str) -> list[str]:
    """Stop it, if it lives; return what is wrong with its end."""
    asked = pool.is_running
    if asked:
        pool.signal("TERM")
    try:
        status = pool.exit_status(PATIENCE_S)
    except AssertionError:
        return ["it does not end"]
    if status in {0, 124} and (asked or phase == "stop"):
        return []
    if status in CLEAR_ENDS and phase == "start":
        return []
    return [f"exit status {status}"]


def _is_told(pool: Srvinit, *, can_tell: bool) -> list[str]:
    """Return what the log does not tell, or tells to nobody's use."""
    wrong = [f"a traceback: {line}" for line in pool.lines if "Traceback (most" in line]
    wrong += [f"a fault: {event['error']}" for event in pool.found("srvinit.fault")]
    told = [
        Counter(scenes.life(event) for event in pool.found(f"worker.{what}"))
        for what in ("started", "exited")
    ]
    # Who may not be killed outlives srvinit, which says so; a lost line is a line that is counted.
    is_told = any(pool.found(event) for event in ("log.dropped", "kernel.refused"))
    if told[0] != told[1] and can_tell and not is_told:
        wrong.append(f"started {dict(told[0])}, exited {dict(told[1])}")
    return wrong


def _words(pool: Srvinit) -> str:
    """Return what a person sees of the fault."""
    shown = ("kernel.refused", "worker.spawn_failed", "socket.failed", "recycle.failed")
    seen = sorted({event["event"] for event in pool.events if event["event"] in shown})
    last = [line for line in pool.strays if line.startswith("srvinit: ")]
    return "; ".join([*seen, *last]) or NOTHING
