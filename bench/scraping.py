"""What scrapes cost PID 1: its CPU and its switches, with 100 a second and without, in turns.

The endpoint's helper reads what srvinit has published, and /proc; srvinit takes no part in it. So
the two kinds of stretch must look the same for srvinit. What the helper itself needs is told, too.
"""

from __future__ import annotations

import time
from pathlib import Path

import programs
from measure import Scale, Subject, cpu_seconds, wait_until
from serving import free_port
from stopping import answer, ask, connected

RATE = 100.0
WORKERS = 4
QUIET, SCRAPED = KINDS = ("no scrapes", f"{RATE:g} scrapes a second")
PID_1 = ("cpu_us", "ticks", "switches")
FIGURES = {
    "cpu_us": "us of CPU, of PID 1",
    "ticks": "ticks of CPU (/proc/1/stat), of PID 1",
    "switches": "times PID 1 was on a CPU",
    "helper_ms": "ms of CPU, of the process that answers",
    "scrapes": "scrapes",
}
#: restart.reset: a start is over when its workers have stayed for so long.
RESET = "1s"


def measure(scale: Scale, helpers: dict[str, str]) -> Subject:
    """Take turns with and without scrapes, of one srvinit."""
    seconds = scale.idle_s / 5
    subject = Subject(
        f"scrapes: what PID 1 spends in {seconds:g} s, {WORKERS} workers", judges=scale.judges
    )
    port = free_port()
    options = (f"-w{WORKERS}", f"--http=127.0.0.1:{port}", f"--restart-reset={RESET}")
    turns: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    with programs.Running([*programs.SRVINIT, *options, "--", helpers["asleep"]]) as srvinit:
        srvinit.wait_said('"srvinit.ready"')
        wait_until(lambda: answer(port, "/metrics") == 200, 30, "/metrics to be answered")
        helper = helper_of(srvinit.pid)
        time.sleep(3.0)  # RESET, and what a start still has to do after it
        for number in range(scale.rounds):
            for kind in KINDS if number % 2 else reversed(KINDS):
                turns[kind].append(one_turn(srvinit.pid, helper, port, kind, seconds))
    for figure, unit in FIGURES.items():
        subject.table(
            unit, {kind: [one[figure] for one in taken] for kind, taken in turns.items()}, ""
        )
    scraped = turns[SCRAPED]
    spent = sum(one[figure] for one in scraped for figure in PID_1)
    subject.target(
        f"{sum(one['scrapes'] for one in scraped):g} scrapes cost PID 1 nothing", met=spent == 0
    )
    return subject


def one_turn(pid: int, helper: int, port: int, kind: str, seconds: float) -> dict[str, float]:
    """Let a stretch of time pass, with scrapes or without; return what was spent in it."""
    before, helper_before = spent_by(pid), cpu_seconds(helper)
    began, scrapes = time.monotonic(), 0
    with connected(port) as connection:
        while time.monotonic() - began < seconds:
            if kind == QUIET:
                time.sleep(seconds)
                break
            if (status := ask(connection, "/metrics")) != 200:
                raise ValueError(f"/metrics was answered with {status}")
            scrapes += 1
            time.sleep(max(0.0, began + scrapes / RATE - time.monotonic()))
    after = spent_by(pid)
    helper_ms = (cpu_seconds(helper) - helper_before) * 1000
    spent = {name: round(after[name] - before[name], 3) for name in after}
    return {**spent, "scrapes": scrapes, "helper_ms": round(helper_ms, 1)}


def spent_by(pid: int) -> dict[str, float]:
    """Return what a process has spent: CPU by two clocks of the kernel, and how often it slept.

    schedstat counts nanoseconds, stat ticks of 10 ms; a switch of either kind is a time on a CPU.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    switches = [int(line.split()[1]) for line in status if "ctxt_switches" in line]
    return {
        "cpu_us": cpu_seconds(pid) * 1e6,
        "ticks": int(fields[11]) + int(fields[12]),
        "switches": sum(switches),
    }


def helper_of(pid: int) -> int:
    """Return the pid of the child that answers."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if Path(f"/proc/{child}/comm").read_text() == "srvinit-http\n":
            return int(child)
    raise LookupError(f"no child of {pid} answers scrapes")
