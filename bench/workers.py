"""What N workers that do nothing cost srvinit to start, recycle and stop: CPU, time, memory."""

from __future__ import annotations

import resource
import signal
import statistics
import tempfile
import time
from pathlib import Path

import programs
from measure import Scale, Subject, cpu_seconds

MOST_GROWTH = 1.3
PHASES = ("start", "recycle by 1", "recycle by 25 %", "stop")


def measure(scale: Scale, helpers: dict[str, str]) -> Subject:
    """Measure pools of growing size, each size several times, taking turns."""
    subject = Subject("workers: what N of them cost srvinit", judges=scale.judges)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rounds = min(scale.rounds, 2)
    taken: dict[int, list[dict[str, float]]] = {count: [] for count in (1, *scale.pools)}
    for _ in range(rounds):
        for count, pools in taken.items():
            pools.append(one_pool(count, helpers["asleep"]))
    base = f"N = {scale.pools[-2]}"
    for phase in PHASES:
        cpu = each_costs(taken, f"{phase}: cpu", 1e6)
        subject.table(f"{phase}: us of srvinit's CPU a worker", cpu, base)
        growth = statistics.median(cpu[f"N = {scale.pools[-1]}"]) / statistics.median(cpu[base])
        told = f"{phase}: grows {growth:.2f} times from {base} to {scale.pools[-1]}"
        subject.target(f"{told}, at most {MOST_GROWTH:g}", met=growth <= MOST_GROWTH)
    for phase in PHASES:
        samples = {
            f"N = {count}": [one[f"{phase}: time"] for one in pools]
            for count, pools in taken.items()
        }
        subject.table(f"{phase}: ms until it is over", samples, base, 1000)
    subject.table("memory: kB of srvinit's own a worker", each_costs(taken, "memory", 1.0), base)
    return subject


def each_costs(
    taken: dict[int, list[dict[str, float]]], what: str, scale: float
) -> dict[str, list[float]]:
    """Return what each worker costs, beyond what a pool of one does where that is a start's."""
    alone = statistics.median(one[what] for one in taken[1])
    beyond = what == "memory" or what.startswith("start")
    return {
        f"N = {count}": [
            scale * ((one[what] - alone) / (count - 1) if beyond else one[what] / count)
            for one in pools
        ]
        for count, pools in taken.items()
        if count > 1
    }


def one_pool(count: int, worker: str) -> dict[str, float]:
    """Take a pool through its life; return the seconds and CPU seconds of each phase, and kB."""
    spent = {}
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        settings = f"[worker]\ncount = {count}\ntimeout = 60\n[recycle]\nsettle = 0\nmax_surge = "
        file.write(f"{settings}1\n")
        file.flush()
        command = [*programs.SRVINIT, f"--config={file.name}", "--", worker]
        began = time.monotonic()
        with programs.Running(command) as srvinit:
            srvinit.wait_said("srvinit.ready", within=120)
            spent["start: time"] = time.monotonic() - began
            before = spent["start: cpu"] = settled(srvinit.pid)
            spent["memory"] = written_kb(srvinit.pid)
            for phase in PHASES[1:3]:
                srvinit.forget()
                began = time.monotonic()
                srvinit.signal(signal.SIGHUP)
                srvinit.wait_said("recycle.finished", within=300)
                spent[f"{phase}: time"] = time.monotonic() - began
                after = settled(srvinit.pid)
                spent[f"{phase}: cpu"], before = after - before, after
                file.seek(0)
                file.write(f"{settings}'25%'\n")
                file.flush()
            began = time.monotonic()
            srvinit.signal(signal.SIGTERM)
            srvinit.wait_end(120)
            spent["stop: time"] = time.monotonic() - began
            spent["stop: cpu"] = cpu_seconds(srvinit.pid) - before
    return spent


def written_kb(pid: int) -> float:
    """Return the memory that a process has written to, in kB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("Private_Dirty:")))


def settled(pid: int) -> float:
    """Return the CPU time of a process once that does not grow any more: it sleeps."""
    before = -1.0
    while (spent := cpu_seconds(pid)) != before:
        before = spent
        time.sleep(0.05)
    return spent
