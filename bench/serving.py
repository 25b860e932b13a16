"""Requests: throughput beside a server's own manager, and the p99 of a recycle beside the steady.

The server, its arguments and the number of workers are the same on both sides. Load for the
throughput is wrk's where it is installed, else that of tests/load.py.
"""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import statistics
import subprocess
import sys
import urllib.request

import programs
from measure import Scale, Subject, take_turns, wait_until

sys.path.insert(0, str(programs.ROOT / "tests"))
from load import Load

SERVERS = programs.ROOT / "tests" / "interop" / "servers"
WORKERS = 2
LEAST = 0.95  # "not below", on a machine whose own noise is more than that
MOST_P99 = 1.5
RATE = 200  # requests a second: far below what the machine can, so that the recycle is what shows
CONNECTIONS = 16


def gunicorn() -> list[str]:
    """Return the command of a gunicorn, one worker of its own if nothing else is added."""
    return [sys.executable, "-m", "gunicorn", "--log-level=info", "wsgi:app"]


def uvicorn() -> list[str]:
    """Return the command of a uvicorn without its address."""
    quiet = ["--log-level=warning", "--no-access-log"]
    return [sys.executable, "-m", "uvicorn", *quiet, "asgi:app"]


def under_srvinit(port: int, command: list[str]) -> list[str]:
    """Return the command of srvinit with these workers."""
    options = [f"-w{WORKERS}", f"-b127.0.0.1:{port}", "--worker-require=listen"]
    return [*programs.SRVINIT, *options, "--worker-timeout=60s", "--", *command]


def measure(scale: Scale, _helpers: dict[str, str]) -> Subject:
    """Measure throughput, then recycles."""
    subject = Subject(f"requests: {WORKERS} workers of the same server", judges=scale.judges)
    measure_throughput(subject, scale)
    measure_recycles(subject, scale)
    return subject


def measure_throughput(subject: Subject, scale: Scale) -> None:
    """Measure requests a second under srvinit and under the server's own manager."""
    how = wrk if programs.installed("wrk") else own_load
    for name, ours, theirs in (
        ("gunicorn", gunicorn(), [*gunicorn(), f"--workers={WORKERS}", "--bind=127.0.0.1:{}"]),
        ("uvicorn", [*uvicorn(), "--fd=3"], [*uvicorn(), f"--workers={WORKERS}", "--port={}"]),
    ):
        with contextlib.ExitStack() as stack:
            runs = {}
            for manager, command in ((name, theirs), ("srvinit", ours)):
                port = free_port()
                line = [part.format(port) for part in command]
                line = under_srvinit(port, line) if manager == "srvinit" else line
                stack.enter_context(programs.Running(line, cwd=SERVERS))
                wait_until(lambda port=port: len(answering(port)) == WORKERS, 60, f"{name}'s pids")
                runs[f"{name} under {manager}"] = lambda port=port: how(port, scale.load_s)
            samples = take_turns(runs, scale.rounds)
        base = f"{name} under {name}"
        subject.table(f"requests a second, by {how.__name__}", samples, base)
        # Round by round: both had the same neighbours then.
        rounds = zip(samples[f"{name} under srvinit"], samples[base], strict=True)
        ratio = statistics.median(mine / own for mine, own in rounds)
        subject.target(f"{ratio:.2f} of {name}'s own, at least {LEAST:g}", met=ratio >= LEAST)
        if name == "uvicorn":
            subject.note("(uvicorn's manager leaves Nagle's algorithm on: see bind.nodelay)")


def measure_recycles(subject: Subject, scale: Scale) -> None:
    """Measure the p99 of all requests while workers are recycled, beside the time between."""
    for name, command in (("gunicorn", gunicorn()), ("uvicorn", [*uvicorn(), "--fd=3"])):
        port = free_port()
        with programs.Running(under_srvinit(port, command), cwd=SERVERS) as srvinit:
            srvinit.wait_said("srvinit.ready")
            p99 = recycle_under_load(srvinit, port, scale)
        subject.table(f"{name}: p99, ms", p99, "steady")
        ratio = statistics.median(p99["recycle"]) / statistics.median(p99["steady"])
        subject.target(
            f"{name}: a recycle's p99 is {ratio:.2f} times the steady, at most {MOST_P99:g}",
            met=ratio <= MOST_P99,
        )


def recycle_under_load(
    srvinit: programs.Running, port: int, scale: Scale
) -> dict[str, list[float]]:
    """Recycle several times under a steady load; return the p99s, steady and in recycles."""
    p99: dict[str, list[float]] = {"steady": [], "recycle": []}
    requests = int(RATE * scale.load_s)
    with Load(port, new=4, kept=4, rate=RATE) as load:
        load.wait_requests(RATE // 4)
        for number in range(scale.recycles):
            load.phase(f"steady {number}")
            load.wait_requests(requests)
            load.phase(f"recycle {number}")
            srvinit.forget()
            srvinit.signal(signal.SIGHUP)
            srvinit.wait_said("recycle.finished")
        for name, phase in load.stop()["phases"].items():
            kind, _, number = name.partition(" ")
            if number:
                p99[kind].append(phase["p99_ms"])
    return p99


def wrk(port: int, seconds: float) -> float:
    """Return requests a second, as wrk counts them; its clients keep their connections."""
    time_s = f"-d{max(1, round(seconds))}s"
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", time_s, f"http://127.0.0.1:{port}/"]
    told = subprocess.run(command, capture_output=True, check=True, text=True)
    found = re.search(r"Requests/sec:\s*([\d.]+)", told.stdout)
    if found is None:
        raise RuntimeError(f"wrk said no rate: {told.stdout}")
    return float(found[1])


def own_load(port: int, seconds: float) -> float:
    """Return requests a second, as tests/load.py counts them."""
    flags = ["--new=0", f"--kept={CONNECTIONS}", f"--seconds={seconds}"]
    command = [sys.executable, str(programs.ROOT / "tests/load.py"), f":{port}", *flags]
    told = subprocess.run(command, capture_output=True, check=False, text=True)
    return float(re.search(r'"per_second": ([\d.]+)', told.stdout)[1])  # type: ignore[index]


PIDS: dict[int, set[bytes]] = {}


def answering(port: int) -> set[bytes]:
    """Ask once more who answers; return the pids of all who have answered so far."""
    known = PIDS.setdefault(port, set())
    with contextlib.suppress(OSError):
        known.add(urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).read())
    return known


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
