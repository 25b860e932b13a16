"""The frozen program, as installed: its start, and the time in which a TERM could be lost.

What is lost is what comes before the signals are blocked: it acts by default, so it ends srvinit,
or is dropped where srvinit is PID 1. Told by looking at the mask in /proc as fast as that goes.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import programs
import starting
from measure import Scale, Subject, ratio_of, take_turns

PROGRAM = Path(os.environ.get("FROZEN_PROGRAM", "/opt/srvinit/srvinit"))
MOST = 1.7
MOST_BYTES = 15_000_000
ONCE = ["--worker-count=1", "--restart-policy=never", "--"]


def measure(scale: Scale, helpers: dict[str, str]) -> Subject:
    """Measure /opt/srvinit beside bare Python, the source, the inits and gunicorn."""
    subject = Subject("frozen: /opt/srvinit/srvinit", judges=scale.judges)
    if not PROGRAM.exists():
        subject.note("left out: nothing is installed there (make freeze install)")
        return subject
    clock = helpers["clock"]
    base, ours = "python -I -S, execs the worker", "srvinit, frozen"
    commands = {
        base: [*programs.bare(starting.DEBIAN), clock],
        ours: [str(PROGRAM), *ONCE, clock],
        "srvinit, python -I -S": [*programs.unfrozen(starting.DEBIAN), *ONCE, clock],
    }
    commands |= {name: [*command, clock] for name, command in programs.inits().items()}
    runs = {
        name: lambda line=line: starting.one_start(clock, line) for name, line in commands.items()
    }
    take_turns(runs, 1)
    samples = take_turns(runs, scale.rounds * 5)
    subject.table("ms, exec to the first worker's exec", samples, base)
    ratio = ratio_of(samples[ours], samples[base])
    subject.target(f"{ratio:.2f} times bare Python, at most {MOST:g}", met=ratio <= MOST)

    windows = {
        ours: lambda: unblocked(clock, [str(PROGRAM), *ONCE, "/bin/true"]),
        "srvinit, python -I -S": lambda: unblocked(
            clock, [*programs.unfrozen(starting.DEBIAN), *ONCE, "/bin/true"]
        ),
    }
    subject.table("ms, exec to blocked signals", take_turns(windows, scale.rounds * 3), ours)

    size = sum(path.stat().st_size for path in PROGRAM.parent.rglob("*") if path.is_file())
    subject.target(f"{size / 1e6:.1f} MB on disk, at most 15", met=size <= MOST_BYTES)
    return subject


def unblocked(clock: str, command: list[str]) -> float:
    """Start a program; return milliseconds from its exec until TERM is blocked in it."""
    read_fd, write_fd = os.pipe()
    with subprocess.Popen(
        [clock, *command], stdin=subprocess.DEVNULL, stdout=write_fd, stderr=subprocess.DEVNULL
    ) as process:
        os.close(write_fd)
        status = os.open(f"/proc/{process.pid}/stat", os.O_RDONLY)
        blocked_at = 0
        while not blocked_at and process.poll() is None:
            fields = os.pread(status, 1024, 0).rpartition(b")")[2].split()
            if int(fields[29]) >> 14 & 1:  # `blocked`, as decimal: proc(5)
                blocked_at = time.monotonic_ns()
        process.wait()
        os.close(status)
    began = int(os.read(read_fd, 64).split()[0])
    os.close(read_fd)
    return (blocked_at - began) / 1e6
