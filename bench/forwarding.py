"""kill(supervisor, USR1) to its arrival in the worker, and back over a pipe."""

from __future__ import annotations

import contextlib
import os
import subprocess

import programs
from measure import Scale, Subject, ratio_of, take_turns

MOST = 4.0
PAUSE_US = 2000  # between two signals: each finds everybody asleep


def measure(scale: Scale, helpers: dict[str, str]) -> Subject:
    """Measure all supervisors, each with a worker of its own, all there all the time."""
    subject = Subject("signals: kill(supervisor, USR1) to the worker", judges=scale.judges)
    worker = helpers["signalled"]
    commands = {
        "tini": [*programs.INITS["tini"], worker],
        "srvinit": [*programs.SRVINIT, "--worker-count=1", "--", worker],
        "the worker itself": [worker],
    } | {name: [*command, worker] for name, command in programs.inits().items()}
    if not programs.installed("tini"):
        del commands["tini"]
    with contextlib.ExitStack() as stack:
        runs = {}
        for name, command in commands.items():
            answers, stdout = os.pipe()
            stack.callback(os.close, answers)
            running = stack.enter_context(programs.Running(command, stdout=stdout))
            os.close(stdout)
            os.read(answers, 1)  # the worker is there
            if name == "srvinit":
                running.wait_said("srvinit.ready")  # and its parent is no longer at its start
            sender = [worker, str(running.pid), str(scale.signals), str(PAUSE_US)]
            runs[name] = lambda sender=sender, answers=answers: send(sender, answers)
        take_turns(runs, 1)
        samples = take_turns(runs, scale.rounds)
    subject.table("us", samples, "tini")
    if "tini" in samples:
        ratio = ratio_of(samples["srvinit"], samples["tini"])
        subject.target(f"{ratio:.2f} times tini's time, at most {MOST:g}", met=ratio <= MOST)
    return subject


def send(sender: list[str], answers: int) -> list[float]:
    """Send signals and wait for each answer; return the times in microseconds."""
    told = subprocess.run(sender, stdin=answers, capture_output=True, check=True, text=True)
    return [int(line) / 1000 for line in told.stdout.split()]
