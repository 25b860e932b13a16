"""Nothing happens: how often each wakes, what that costs, and how much memory it holds."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path

import programs
import rivals
import serving
from frozen import PROGRAM
from measure import Scale, Subject, cpu_seconds, switches

OURS = "srvinit"
#: What smaps_rollup calls it, and how a table does.
MEMORY = {
    "written to": ("Private_Dirty",),
    "its own (USS): also pages of files that nobody else maps": ("Private_Dirty", "Private_Clean"),
    "its part (PSS): also what it shares, by the number of those who do": ("Pss",),
}
PEER = "gunicorn"
WORKERS = 4  # of srvinit and gunicorn


def measure(scale: Scale, helpers: dict[str, str]) -> Subject:
    """Look at all in the same stretch of time."""
    subject = Subject(f"asleep: {scale.idle_s:g} s of nothing", judges=scale.judges)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        rivals.prepare(folder, helpers["asleep"])
        running = {}
        for name, command in commands(folder, helpers["asleep"]).items():
            if not programs.installed(command[0]):
                subject.note(f"{name} is left out: it is not installed")
                continue
            environ = rivals.environ_of(folder)
            place = Path(folder, "elsewhere", str(len(running)))
            place.mkdir(parents=True)
            running[name] = stack.enter_context(
                programs.Running(command, cwd=place, environ=environ)
            )
        # A start is over when its workers have stayed ready for restart.reset, 10 s by default.
        time.sleep(15.0 if scale.judges else 4.0)
        before = {name: (switches(one.pid), cpu_seconds(one.pid)) for name, one in running.items()}
        time.sleep(scale.idle_s)
        woken, spent_us = {}, {}
        for name, one in running.items():
            times, cpu_s = before[name]
            woken[name] = [float(switches(one.pid) - times)]
            spent_us[name] = [(cpu_seconds(one.pid) - cpu_s) * 1e6]
        held = {name: memory_kb(one.pid) for name, one in running.items()}
    subject.table("times it woke", woken, OURS)
    subject.table("us of CPU", spent_us, OURS)
    for title, kinds in MEMORY.items():
        sums = {name: [float(sum(kb[kind] for kind in kinds))] for name, kb in held.items()}
        subject.table(f"MB of memory, {title}", sums, rivals.OURS, 1 / 1000)
        if rivals.OURS in sums and PEER in sums:
            ratio = sums[rivals.OURS][0] / sums[PEER][0]
            told = f"memory, {title.partition(':')[0]}: {ratio:.2f} of {PEER}'s, at most 1"
            subject.target(told, met=ratio <= 1)
    for name in woken:
        if name.startswith(OURS):
            times = woken[name][0]
            subject.target(f"{name}: {times:.0f} wake-ups, none allowed", met=times == 0)
    return subject


def commands(folder: str, worker: str) -> dict[str, list[str]]:
    """Return how each is started: srvinit from its source, twice, and all rivals."""
    server = [*programs.SRVINIT, f"-w{WORKERS}", "--worker-require=listen", "--worker-timeout=60s"]
    gunicorn = [*serving.gunicorn()[:-1], "born_app:app"]
    found = {
        OURS: [*programs.SRVINIT, f"-w{WORKERS}", "-b127.0.0.1:0", "--", worker],
        "srvinit, gunicorn": [*server, "-b127.0.0.1:0", "--", *gunicorn],
    } | rivals.managers(folder, workers=WORKERS)
    if not PROGRAM.exists():
        del found[rivals.OURS]
    return found


def memory_kb(pid: int) -> dict[str, int]:
    """Return what a process holds alone, by the kernel's names."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}
