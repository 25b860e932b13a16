"""From exec to the first worker, and asleep in memory: srvinit beside what people use today.

`make peers` installs what comes from pip and npm into build/peers. What is not there is left out,
and the report says so. A worker is a script that writes the time into a file; those that are a
server's own manager run an application that does so when the worker imports it, which is the first
that is the worker's own. So they have a server to load as well: what they are compared for is how
long a deployment waits, not how well they are written.
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
BIN = PEERS / "servers" / "bin"
MOST = 0.2
JUDGED = ("gunicorn", "supervisord", "pm2-runtime")
OURS = "srvinit, frozen"
# The manager leads the session that it was started in, and may load the application, too.
FILES = {
    "born_app.py": """\
import os, time
if os.getpid() != os.getsid(0):
    with open(os.environ["BORN"], "w") as file:
        file.write(str(time.monotonic_ns()))
def app(environ, start_response):
    raise NotImplementedError
""",
    "config.ru": """\
unless Process.pid == Process.getsid
  now = Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)
  File.write(ENV["BORN"], now.to_s)
end
run ->(env) { raise NotImplementedError }
""",
    "supervisord.conf": """\
[supervisord]
nodaemon = true
logfile = /dev/null
logfile_maxbytes = 0
pidfile = FOLDER/pid
[program:worker]
command = FOLDER/worker
autorestart = false
startsecs = 0
""",
    "circus.ini": """\
[circus]
endpoint = ipc://FOLDER/circus.sock
pubsub_endpoint = ipc://FOLDER/pubsub.sock
[watcher:worker]
cmd = FOLDER/worker
respawn = False
""",
    "services/worker/run": "#!/bin/sh\nexec FOLDER/worker\n",
    "worker": "#!/bin/sh\nexec WORKER\n",
}


def measure(scale: Scale, helpers: dict[str, str]) -> Subject:
    """Measure all in turns."""
    subject = Subject("rivals: exec to the first worker", judges=scale.judges)
    if not PROGRAM.exists():
        subject.note("left out: nothing is installed there (make freeze install)")
        return subject
    with tempfile.TemporaryDirectory() as folder:
        prepare(folder, f"{helpers['clock']} >{folder}/born")
        commands = {}
        for name, command in managers(folder).items():
            if programs.installed(command[0]):
                commands[name] = command
            else:
                subject.note(f"{name} is left out: it is not installed (make peers)")
        runs = {name: lambda line=line: one_birth(line, folder) for name, line in commands.items()}
        take_turns(runs, 1)
        samples = take_turns(runs, scale.rounds * 2)
    subject.table("ms", samples, OURS)
    sizes = {name: [size_of(place) / 1e6] for name, place in places().items() if place.exists()}
    subject.table("MB on disk", sizes, "srvinit, all that it needs")
    for name in JUDGED:
        if name in commands:
            ratio = ratio_of(samples[OURS], samples[name])
            subject.target(f"{ratio:.3f} of {name}'s, at most {MOST:g}", met=ratio <= MOST)
    return subject


def prepare(folder: str, worker: str) -> None:
    """Fill the folder that `managers` uses; the worker is a line of shell that is executed."""
    for name, text in FILES.items():
        file = Path(folder, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("FOLDER", folder).replace("WORKER", worker))
        file.chmod(0o755)


def environ_of(folder: str) -> dict[str, str]:
    """Return the environment that they are started in."""
    return {"BORN": f"{folder}/born", "PM2_HOME": f"{folder}/pm2", "PYTHONPATH": folder}


def managers(folder: str, workers: int = 1) -> dict[str, list[str]]:
    """Return how each is started in the foreground.

    srvinit and gunicorn have so many workers, the others one, or the fewest they can.
    """
    worker = f"{folder}/worker"
    starter = ["start_server", f"--path={folder}/socket", "--", worker]
    pm2 = [str(PEERS / "node/node_modules/.bin/pm2-runtime"), "start", worker]
    return {
        OURS: [str(PROGRAM), f"-w{workers}", "--", worker],
        **{name: [*command, worker] for name, command in programs.inits().items()},
        "s6-svscan": ["s6-svscan", f"{folder}/services"],
        "Server::Starter": starter,
        "supervisord": [
            str(PEERS / "python/bin/supervisord"),
            *("-n", f"--config={folder}/supervisord.conf"),
        ],
        "circusd": [str(BIN / "circusd"), f"{folder}/circus.ini"],
        "pm2-runtime": [*pm2, "--interpreter=none", "--no-autorestart"],
        "gunicorn": [
            *serving.gunicorn()[:-1],
            *(f"--workers={workers}", "--bind=127.0.0.1:0", "born_app:app"),
        ],
        "uvicorn --workers=2": [*of(BIN / "uvicorn"), "--workers=2", "--port=0"],
        "hypercorn": [*of(BIN / "hypercorn"), "--workers=1", "--bind=127.0.0.1:0"],
        "granian": [*of(BIN / "granian"), "--interface=asgi", "--workers=1", "--port=0"],
        "puma -w 1": ["puma", "-w1", "-b", "tcp://127.0.0.1:0", f"{folder}/config.ru"],
    }


def of(program: Path) -> list[str]:
    """Return the command of a server with the application."""
    return [str(program), "born_app:app"]


def places() -> dict[str, Path]:
    """Return where there is what each needs besides an interpreter."""
    return {
        "srvinit, all that it needs": PROGRAM.parent,
        "supervisord, without Python": PEERS / "python/lib",
        "pm2, without Node.js": PEERS / "node/node_modules",
    }


def size_of(folder: Path) -> int:
    """Return how large the files in a folder are; without pip and setuptools of a venv."""
    tools = {"pip", "setuptools", "pkg_resources", "_distutils_hack"}
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and not tools & set(path.parts)
    )


def one_birth(command: list[str], folder: str) -> float:
    """Start a manager; return milliseconds until its worker ran. Kill what there is of it."""
    born = Path(folder, "born")
    born.unlink(missing_ok=True)
    began = time.monotonic_ns()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env=os.environ | environ_of(folder),
        start_new_session=True,
    )
    try:
        what = f"the first worker of {command[0]}"
        wait_until(lambda: born.exists() and born.stat().st_size > 0, 60, what)
    finally:
        for pid in session_of(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
    return (int(born.read_text()) - began) / 1e6


def session_of(leader: int) -> list[int]:
    """Return the pids of a session's processes: managers put their workers in groups."""
    pids = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if int((entry / "stat").read_text().rpartition(")")[2].split()[3]) == leader:
                pids.append(int(entry.name))
    return pids
