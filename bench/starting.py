"""From exec to the first worker's exec, beside a Python that does nothing but become the worker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import programs
from measure import Scale, Subject, ratio_of, take_turns

MOST = 2.0
DEBIAN = "/usr/bin/python3"


def measure(scale: Scale, helpers: dict[str, str]) -> Subject:
    """Measure srvinit unfrozen in both interpreters, and the inits for orientation."""
    subject = Subject("start: exec to the first worker's exec", judges=scale.judges)
    clock = helpers["clock"]
    plain = ["--worker-count=1", "--restart-policy=never", "--", clock]
    commands = {}
    pythons = {"venv": sys.executable}
    if Path(DEBIAN).exists():
        pythons["Debian"] = DEBIAN
    for name, python in pythons.items():
        commands[f"python -I -S, execs the worker ({name})"] = [*programs.bare(python), clock]
        commands[f"srvinit, python -I -S ({name})"] = [*programs.unfrozen(python), *plain]
    for name, command in programs.inits().items():
        commands[name] = [*command, clock]
    runs = {name: lambda line=line: one_start(clock, line) for name, line in commands.items()}
    take_turns(runs, 1)  # what is not in the page cache yet, or not compiled
    samples = take_turns(runs, scale.rounds * 5)
    for name in pythons:
        base, ours = f"python -I -S, execs the worker ({name})", f"srvinit, python -I -S ({name})"
        subject.table("ms", {base: samples[base], ours: samples[ours]}, base)
        ratio = ratio_of(samples[ours], samples[base])
        told = f"{name}: {ratio:.2f} times bare Python, at most {MOST:g}"
        subject.target(told, met=ratio <= MOST)
    others = {name: samples[name] for name in programs.inits()}
    if others:
        subject.table("ms", others, "tini")
    return subject


def one_start(clock: str, command: list[str]) -> float:
    """Start a program whose worker tells its time; return milliseconds from exec to exec."""
    told = subprocess.run(
        [clock, *command], stdin=subprocess.DEVNULL, capture_output=True, check=True, text=True
    )
    began, ran = map(int, told.stdout.split())
    return (ran - began) / 1e6
