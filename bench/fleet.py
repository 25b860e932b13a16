"""The servers of bench/steering.py, each under several srvinits that differ in bind.mode alone."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import programs
import serving
from arrivals import KEPT, NEW
from cases import AGAIN, SHARED
from measure import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measure import Subject

WORKERS = 4
NICE = -5
#: All at once, or twenty recycles take minutes: as many workers are stopped in any mode.
AT_ONCE = ("--recycle-max-surge=100%", "--recycle-settle=200ms")


@dataclass(frozen=True)
class Server:
    """A server, and what is asked of it."""

    name: str
    command: list[str]
    cwd: Path
    kinds: tuple[str, ...] = (NEW, KEPT)
    decides: bool = False  # what may be the default
    blocks: bool = False  # it has a path /slow that keeps a worker from all else


def servers() -> Iterator[Server]:
    """Return those that are installed."""
    python = [sys.executable, "-m"]
    uvicorn = ["uvicorn", "--log-level=warning", "--no-access-log", "--fd=3", "slow:blocking"]
    gunicorn = ["gunicorn", "--log-level=warning", "slow:one_at_a_time"]
    yield Server("uvicorn", [*python, *uvicorn], programs.HERE, decides=True, blocks=True)
    if programs.installed("node"):
        yield Server("node http", ["node", "server.js"], serving.SERVERS, decides=True)
    yield Server("gunicorn sync", [*python, *gunicorn], programs.HERE, (NEW,), blocks=True)


class Pool(programs.Running):
    """A server under srvinit; all its workers are ready when `with` has it."""

    def __init__(self, server: Server, mode: str, recycling: tuple[str, ...] = AT_ONCE) -> None:
        self.port = serving.free_port()
        options = [f"-w{WORKERS}", f"-b127.0.0.1:{self.port}", "--restart-limit=0", *recycling]
        options += [f"--bind-mode={SHARED if mode == AGAIN else mode}"]
        options += ["--worker-require=listen", "--worker-timeout=60s", "--"]
        super().__init__([*programs.SRVINIT, *options, *server.command], cwd=server.cwd)
        # Where each session has its share of the processors (sched(7), autogroup), nice(2) says
        # nothing beyond it.
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.pid}/autogroup").write_text(str(os.nice(0)))
        self.wait_said("srvinit.ready")

    def workers(self) -> list[int]:
        """Return the pids of the workers that are there."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(pid) for pid in children]

    def cpu_s(self) -> float:
        """Return the CPU time of the workers that are there."""
        return sum(cpu_seconds(pid) for pid in self.workers())

    def memory_bytes(self) -> int:
        """Return what all workers have, what they share counted once (proc(5), Pss)."""
        return sum(proportional_bytes(pid) for pid in self.workers())

    def recycle(self) -> float:
        """Recycle all workers; return how long it took, in seconds."""
        self.forget()
        began = time.monotonic()
        self.signal(signal.SIGHUP)
        self.wait_said("recycle.finished")
        return time.monotonic() - began


def proportional_bytes(pid: int) -> int:
    """Return a process's proportional set; 0 if it has just ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0


@contextlib.contextmanager
def nicer(subject: Subject) -> Iterator[None]:
    """Put what is measured before what else runs, if that is allowed."""
    before = os.nice(0)
    try:
        os.nice(NICE)
    except PermissionError:
        subject.note("(not allowed to be nicer to the servers than to what else runs)")
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)
