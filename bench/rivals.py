"""From exec to the first worker: srvinit, frozen, beside the managers that people use today.

`make peers` installs supervisord and pm2 into build/peers, with pip and npm; gunicorn is in the
venv. What is not there is left out, and the report says so. A worker is a script that writes the
time into a file; gunicorn's is an application that does so when it is imported, which is the first
that is the worker's own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import programs
import serving
from frozen import PROGRAM
from measure import Scale, Subject, ratio_of, take_turns, wait_until

PEERS = programs.ROOT / "build" / "peers"
MOST = 0.2
APPLICATION = """
import os, time
with open(os.environ["BORN"], "w") as file:
    file.write(str(time.monotonic_ns()))
def app(environ, start_response):
    raise NotImplementedError
"""
SUPERVISORD = """
[supervisord]
nodaemon = true
logfile = /dev/null
logfile_maxbytes = 0
pidfile = {folder}/pid
[program:worker]
command = {worker}
autorestart = false
startsecs = 0
"""


def measure(scale: Scale, helpers: dict[str, str]) -> Subject:
    """Measure all in turns."""
    subject = Subject("rivals: exec to the first worker", judges=scale.judges)
    if not PROGRAM.exists():
        subject.note("left out: nothing is installed there (make freeze install)")
        return subject
    with tempfile.TemporaryDirectory() as folder:
        born = Path(folder, "born")
        worker = Path(folder, "worker")
        worker.write_text(f"#!/bin/sh\nexec {helpers['clock']} >{born}\n")
        worker.chmod(0o755)
        Path(folder, "born_app.py").write_text(APPLICATION)
        Path(folder, "supervisord.conf").write_text(
            SUPERVISORD.format(folder=folder, worker=worker)
        )
        ours = "srvinit, frozen"
        commands = {ours: [str(PROGRAM), "-w1", "--", str(worker)]}
        for name, command in peers(folder, worker).items():
            if programs.installed(command[0]):
                commands[name] = command
            else:
                subject.note(f"{name} is left out: it is not installed (make peers)")
        runs = {
            name: lambda line=line: one_birth(line, born, folder) for name, line in commands.items()
        }
        take_turns(runs, 1)
        samples = take_turns(runs, scale.rounds * 2)
    subject.table("ms", samples, ours)
    for what, place in {
        "srvinit, all that it needs": PROGRAM.parent,
        "supervisord, without Python": PEERS / "python/lib",
        "pm2, without Node.js": PEERS / "node/node_modules",
    }.items():
        subject.note(f"{what}: {size_of(place) / 1e6:.1f} MB on disk")
    for name in list(commands)[1:]:
        ratio = ratio_of(samples[ours], samples[name])
        subject.target(f"{ratio:.3f} of {name}'s, at most {MOST:g}", met=ratio <= MOST)
    return subject


def peers(folder: str, worker: Path) -> dict[str, list[str]]:
    """Return how each peer is told to run one worker and stay in the foreground."""
    gunicorn = [*serving.gunicorn()[:-1], "--workers=1", "--bind=127.0.0.1:0", "born_app:app"]
    supervisord = [
        str(PEERS / "python/bin/supervisord"),
        "-n",
        f"--config={folder}/supervisord.conf",
    ]
    pm2 = [str(PEERS / "node/node_modules/.bin/pm2-runtime"), "start", str(worker)]
    return {
        "gunicorn": gunicorn,
        "supervisord": supervisord,
        "pm2-runtime": [*pm2, "--interpreter=none", "--no-autorestart"],
    }


def size_of(folder: Path) -> int:
    """Return how large the files in a folder are; without pip and setuptools of a venv."""
    tools = {"pip", "setuptools", "pkg_resources", "_distutils_hack"}
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and not tools & set(path.parts)
    )


def one_birth(command: list[str], born: Path, folder: str) -> float:
    """Start a manager; return milliseconds until its worker ran. Kill what there is of it."""
    born.unlink(missing_ok=True)
    environ = os.environ | {"BORN": str(born), "PM2_HOME": f"{folder}/pm2", "PYTHONPATH": folder}
    began = time.monotonic_ns()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env=environ,
        start_new_session=True,
    )
    try:
        wait_until(lambda: born.exists() and born.stat().st_size > 0, 60, "the worker")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return (int(born.read_text()) - began) / 1e6
