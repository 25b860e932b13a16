"""Orphans reaped per second as PID 1 of a namespace, in a storm of forks."""

from __future__ import annotations

import os
import subprocess

import programs
from measure import Scale, Subject, ratio_of, take_turns

LEAST = 0.5
MOST_ZOMBIES = 1000
COLUMNS = ("orphans per second", "most unreaped at a time", "CPU of PID 1, us an orphan")


def measure(scale: Scale, helpers: dict[str, str]) -> Subject:
    """Measure the inits, each as PID 1."""
    subject = Subject(f"orphans: {scale.orphans} in a storm of forks", judges=scale.judges)
    storm = [helpers["storm"], str(scale.orphans)]
    plain = ["--worker-count=1", "--restart-policy=never", "--log-level=info", "--"]
    commands = {"srvinit": [*programs.SRVINIT, *plain]} | programs.inits()
    runs = {
        name: lambda line=[*command, *storm]: one_storm(line, scale.orphans)
        for name, command in commands.items()
    }
    given = take_turns(runs, min(scale.rounds, 4))
    samples = {name: [values[i::3] for i in range(3)] for name, values in given.items()}
    for number, unit in enumerate(COLUMNS):
        subject.table(unit, {name: one[number] for name, one in samples.items()}, "tini")
    if "tini" in samples:
        mine, tinis = samples["srvinit"], samples["tini"]
        ratio = ratio_of(mine[0], tinis[0])
        subject.target(f"{ratio:.2f} of tini's rate, at least {LEAST:g}", met=ratio >= LEAST)
        most = max(mine[1])
        met = most <= MOST_ZOMBIES or max(tinis[1]) > MOST_ZOMBIES
        subject.target(f"{most:.0f} unreaped at a time, at most {MOST_ZOMBIES}", met=met)
    return subject


def one_storm(command: list[str], orphans: int) -> list[float]:
    """Run a storm under PID 1; return rate, most unreaped and microseconds of CPU an orphan."""
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    unshare = ["unshare", *as_root, "--pid", "--fork", "--mount-proc", "--kill-child"]
    told = subprocess.run(
        [*unshare, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        text=True,
        timeout=programs.PATIENCE_S,
    )
    seconds, unreaped, cpu_s = map(float, told.stdout.split())
    return [orphans / seconds, unreaped, cpu_s / orphans * 1e6]
