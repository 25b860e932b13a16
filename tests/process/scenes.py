"""What the black-box tests share: workers to run, and questions to ask from outside.

Most pools here run as the PID 1 of a namespace of their own, on a port that the kernel chooses:
tests can run beside each other, and none can hurt another. Seconds are read off the log's own
timestamps where a promise names them; a slow machine may add SLACK_S to each.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import proc
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness import Srvinit

    Start = Callable[..., Srvinit]

WORKERS = Path(__file__).parent / "workers"
SLACK_S = 1.0
LISTEN = ("--worker-require=listen", "--worker-timeout=30s")
BIND = "--bind=127.0.0.1:0"
QUICK = "--recycle-settle=50ms"  # tests have no second to spare for each new worker

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this")


def python(name: str, *words: str) -> list[str]:
    """Return the command of a worker in workers/; without `site` it starts twice as fast."""
    return [sys.executable, "-S", os.fspath(WORKERS / name), *words]


def anybodys(command: list[str]) -> list[str]:
    """Return a worker's command with an interpreter that any user may run.

    That of the tests may lie below a directory that only root can enter.
    """
    python3 = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    return [python3 or sys.executable, *command[1:]]


WEB = python("web.py")


def rounds(few: int, full: int) -> int:
    """Return how often to repeat: `few` in CI; SRVINIT_ROUNDS=full or a number says otherwise."""
    asked = os.environ.get("SRVINIT_ROUNDS", "")
    return full if asked == "full" else int(asked or few)


def start_web(start: Start, *options: str, command: list[str] = WEB, **how: Any) -> Srvinit:
    """Start a pool of servers, of web.py if nothing else is said, and wait until all are ready."""
    how.setdefault("pid1", True)
    own = QUICK.partition("=")[0]
    quick = () if any(option.startswith(own) for option in options) else (QUICK,)
    pool = start(BIND, *LISTEN, *quick, *options, "--", *command, **how)
    pool.wait_event("srvinit.ready", within=30)
    return pool


def start_talk(
    start: Start, *options: str, words: tuple[str, ...] = (), count: int = 1, **how: Any
) -> Srvinit:
    """Start a pool of talk.py, and wait until all have said that they take in signals."""
    how.setdefault("pid1", True)
    pool = start(f"-w{count}", QUICK, *options, "--", *python("talk.py", *words), **how)
    pool.wait_output("ready", nth=count)
    pool.wait_event("srvinit.ready")
    return pool


def stop(pool: Srvinit, name: str = "TERM", within: float = 20) -> int:
    """Ask srvinit to stop; return its exit status. Nothing may be left of it, or untold."""
    pool.signal(name)
    status = pool.exit_status(within)
    proc.wait_until(lambda: not pool.everything(), 5, "every process of this pool to be gone")
    told = [
        [life(event) for event in pool.found(f"worker.{what}")] for what in ("started", "exited")
    ]
    assert Counter(told[0]) == Counter(told[1]), "each worker is told of twice: its start, its end"
    faults = pool.found("srvinit.fault")
    assert not faults, faults[0]["traceback"]
    return status


def life(event: dict[str, Any]) -> tuple[int, int, int]:
    """Return what tells one worker from all others, but for a pid used again in one generation."""
    return event["slot"], event["generation"], event["pid"]


def port_of(pool: Srvinit) -> int:
    """Return the port that the kernel chose for the first socket."""
    return int(pool.wait_event("socket.bound")["address"].rpartition(":")[2])


def is_listening(port: int) -> bool:
    """Tell whether anybody's socket listens on this port of an IPv4 address."""
    lines = proc.read("/proc/net/tcp").decode().splitlines()[1:]
    return any(
        line.split()[3] == "0A" and line.split()[1].endswith(f":{port:04X}") for line in lines
    )


def at(event: dict[str, Any]) -> float:
    """Return the time of an event, in seconds."""
    return dt.datetime.fromisoformat(event["timestamp"]).timestamp()


def names(pool: Srvinit) -> list[str]:
    """Return the names of all events so far, in their order."""
    return [event["event"] for event in pool.events]


def zombies(pid: int) -> list[int]:
    """Return the children of this process that have ended and are not reaped."""
    return [child for child in proc.children(pid) if proc.state(child) == "Z"]


def is_pending(pid: int, name: str) -> bool:
    """Tell whether this process has a signal yet to take in."""
    pending = int(proc.status_field(pid, "ShdPnd") or "0", 16)
    return bool(pending & 1 << (signal.Signals[f"SIG{name}"] - 1))


def cpu_seconds(pid: int) -> float:
    """Return the time on a CPU that this process, without its children, has had."""
    fields = proc.read(f"/proc/{pid}/stat").decode().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def switches(pid: int) -> int:
    """Return how often a process was switched out, of its own will or not."""
    names = ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")
    return sum(int(proc.status_field(pid, name)) for name in names)


def wait_until_quiet(pool: Srvinit, within: float = 15) -> int:
    """Wait until a start is over: the count stands still for half a second. Return it."""
    deadline = time.monotonic() + within
    before = -1
    while (now := switches(pool.pid)) != before:
        assert time.monotonic() < deadline, f"waited {within:g} s for srvinit to go to sleep"
        before = now
        time.sleep(0.5)  # that nothing happens for so long is what is waited for
    return now


def entering(group: Path) -> tuple[str, ...]:
    """Return what to put before a command to run it in this cgroup."""
    return ("sh", "-c", f'echo 0 >{group}/cgroup.procs; exec "$@"', "sh")
