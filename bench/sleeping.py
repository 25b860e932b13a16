"""How often a supervisor wakes while nothing happens."""

from __future__ import annotations

import contextlib
import time

import programs
import serving
from measure import Scale, Subject, cpu_seconds, switches


def measure(scale: Scale, helpers: dict[str, str]) -> Subject:
    """Count the wake-ups of all in the same stretch of time."""
    subject = Subject(f"asleep: wake-ups in {scale.idle_s:g} s", judges=scale.judges)
    asleep = helpers["asleep"]
    server = [*programs.SRVINIT, "-w2", "--worker-require=listen", "--worker-timeout=60s"]
    commands = {
        "srvinit": ([*programs.SRVINIT, "-w2", "-b127.0.0.1:0", "--", asleep], "srvinit.ready"),
        "srvinit, gunicorn": (
            [*server, "-b127.0.0.1:0", "--", *serving.gunicorn()],
            "srvinit.ready",
        ),
        "gunicorn": ([*serving.gunicorn(), "--bind=127.0.0.1:0", "-w2"], "Booting worker"),
    } | {name: ([*command, asleep], "") for name, command in programs.inits().items()}
    with contextlib.ExitStack() as stack:
        running = {}
        for name, (command, greeting) in commands.items():
            one = stack.enter_context(programs.Running(command, cwd=serving.SERVERS))
            if greeting:
                one.wait_said(greeting)
            running[name] = one
        # A start is over when its workers have stayed ready for restart.reset, 10 s by default.
        time.sleep(12.0 if scale.judges else 2.0)
        before = {name: (switches(one.pid), cpu_seconds(one.pid)) for name, one in running.items()}
        time.sleep(scale.idle_s)
        for name, one in running.items():
            times, cpu_s = before[name]
            woken = switches(one.pid) - times
            spent_us = (cpu_seconds(one.pid) - cpu_s) * 1e6
            subject.note(f"{name:20} {woken:6}  {spent_us:9.0f} us of CPU")
            if name.startswith("srvinit"):
                subject.target(f"{woken} wake-ups, none allowed", met=woken == 0)
    return subject
