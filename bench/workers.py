"""The CPU that srvinit itself takes to start, recycle and stop N workers that do nothing."""

from __future__ import annotations

import resource
import signal
import statistics
import tempfile
import time

import programs
from measure import Scale, Subject, cpu_seconds

MOST_GROWTH = 1.3
PHASES = ("start", "recycle by 1", "recycle by 25 %", "stop")


def measure(scale: Scale, helpers: dict[str, str]) -> Subject:
    """Measure pools of growing size, each size several times, taking turns."""
    subject = Subject(
        "workers: srvinit's own CPU per worker (start: beyond that for 1 worker)",
        judges=scale.judges,
    )
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rounds = min(scale.rounds, 2)
    samples: dict[int, list[dict[str, float]]] = {count: [] for count in (1, *scale.pools)}
    for _ in range(rounds):
        for count, taken in samples.items():
            taken.append(one_pool(count, helpers["asleep"]))
    alone_s = statistics.median(one["start"] for one in samples.pop(1))
    subject.note(f"{'':16}" + "".join(f"{f'N = {count}':>12}" for count in samples) + "    (us)")
    for phase in PHASES:
        each = {}
        for count, taken in samples.items():
            spent = statistics.median(one[phase] for one in taken)
            each[count] = (spent - alone_s) / (count - 1) if phase == "start" else spent / count
        cells = "".join(f"{value * 1e6:12.0f}" for value in each.values())
        growth = each[scale.pools[-1]] / each[scale.pools[-2]]
        subject.note(f"{phase:16}{cells}    n = {rounds}, {growth:.2f} from the second to the last")
        subject.target(f"{phase}: grows {growth:.2f} times, at most {MOST_GROWTH:g}",
                       met=growth <= MOST_GROWTH)  # fmt: skip
    return subject


def one_pool(count: int, worker: str) -> dict[str, float]:
    """Take a pool through its life; return the seconds of CPU that each phase cost srvinit."""
    spent = {}
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        settings = f"[worker]\ncount = {count}\ntimeout = 60\n[recycle]\nsettle = 0\nmax_surge = "
        file.write(f"{settings}1\n")
        file.flush()
        command = [*programs.SRVINIT, f"--config={file.name}", "--", worker]
        with programs.Running(command) as srvinit:
            srvinit.wait_said("srvinit.ready", within=120)
            before = spent["start"] = settled(srvinit.pid)
            for phase in PHASES[1:3]:
                srvinit.forget()
                srvinit.signal(signal.SIGHUP)
                srvinit.wait_said("recycle.finished", within=120)
                after = settled(srvinit.pid)
                spent[phase], before = after - before, after
                file.seek(0)
                file.write(f"{settings}'25%'\n")
                file.flush()
            srvinit.signal(signal.SIGTERM)
            srvinit.wait_end(120)
            spent["stop"] = cpu_seconds(srvinit.pid) - before
    return spent


def settled(pid: int) -> float:
    """Return the CPU time of a process once that does not grow any more: it sleeps."""
    before = -1.0
    while (spent := cpu_seconds(pid)) != before:
        before = spent
        time.sleep(0.05)
    return spent
