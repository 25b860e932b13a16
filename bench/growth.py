"""What a long life costs: memory and descriptors after many crashes and many recycles.

Each is looked at while srvinit sleeps and its workers stay: `shortlived` crashes unless a file is
there, so a pool that crashes as fast as it can is brought to rest by making that file.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import time
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import TYPE_CHECKING

import programs
from frozen import PROGRAM
from measure import Scale, Subject, wait_until
from workers import settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIRST = 100  # what came until here, a start brings: caches fill, the log has its buffers
SAMPLES = 10
MOST_GROWTH_KB = 128
OPTIONS = ["--restart-delay=0", "--restart-limit=0", "--recycle-settle=0", "--"]


class Pool:
    """One srvinit with short-lived workers, whose log is read as it comes."""

    def __init__(self, program: list[str], count: int, worker: str, folder: str) -> None:
        self.count = count
        self._births = Path(folder, "births")
        self._births.touch()
        self._stay = Path(folder, "stay")
        self._stay.touch()
        self._recycles = 0
        command = [*program, f"-w{count}", *OPTIONS, worker, str(self._births), str(self._stay)]
        self._process = Popen(command, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE)
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.rest()

    def close(self) -> None:
        """Stop it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)
        self._reader.join(10)

    @property
    def births(self) -> int:
        """How many workers were started so far."""
        return self._births.stat().st_size

    @property
    def recycles(self) -> int:
        """How many recycles are over."""
        return self._recycles

    def rest(self) -> None:
        """Let no worker crash any more, and wait until all stay and srvinit sleeps."""
        self._stay.touch()
        wait_until(lambda: len(self.workers()) == self.count, 60, "all workers to stay")
        settled(self.pid)

    def crash(self) -> None:
        """Let all workers crash, again and again."""
        self._stay.unlink()
        for worker in self.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)

    def recycle(self) -> None:
        """Have all workers replaced, and wait for the end of it."""
        before = self._recycles
        self._process.send_signal(signal.SIGHUP)
        wait_until(lambda: self._recycles > before, 60, "the end of a recycle")

    def workers(self) -> list[int]:
        """Return the pids of the workers that wait for a signal."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(one) for one in children if _sleeps(one)]

    def rss_kb(self) -> int:
        """Return its resident memory."""
        return _status_kb(self.pid, "VmRSS:")

    def descriptors(self) -> int:
        """Return how many descriptors it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def _read(self) -> None:
        for line in self._process.stderr or ():
            self._recycles += b'"recycle.finished"' in line


def measure(scale: Scale, helpers: dict[str, str]) -> Subject:
    """Measure the frozen program where it is installed, else the source."""
    program = [str(PROGRAM)] if PROGRAM.exists() else programs.SRVINIT
    subject = Subject(f"growth: {program[0]}", judges=scale.judges)
    for what, count, many, grow in (
        ("crashes", 4, scale.crashes, _crash),
        ("recycles", 1, scale.long_recycles, _recycle),
    ):
        with tempfile.TemporaryDirectory() as folder:
            pool = Pool(program, count, helpers["shortlived"], folder)
            try:
                follow(subject, pool, what, many, grow)
            finally:
                pool.close()
    return subject


def follow(
    subject: Subject, pool: Pool, what: str, many: int, grow: Callable[[Pool, int], int]
) -> None:
    """Bring `many` about, and look at memory and descriptors on the way."""
    began = time.monotonic()
    seen = []
    for until in _steps(many):
        done = grow(pool, until)
        seen.append((done, pool.rss_kb(), pool.descriptors()))
    took_s = time.monotonic() - began
    subject.note(f"{what + ':':12}" + "".join(f"{done:9}" for done, _, _ in seen))
    subject.note(f"{'RSS, kB':12}" + "".join(f"{rss:9}" for _, rss, _ in seen))
    subject.note(f"{'descriptors':12}" + "".join(f"{fds:9}" for _, _, fds in seen))
    (first, first_kb, first_fds), (last, last_kb, last_fds) = seen[0], seen[-1]
    slope = _slope([(done, rss) for done, rss, _ in seen[1:]])
    subject.note(f"{slope * 1024:+.2f} bytes for each; {(last - first) / took_s:.0f} a second")
    subject.target(
        f"{last} {what}: RSS {last_kb - first_kb:+} kB since the first {first}, at most "
        f"{MOST_GROWTH_KB}; descriptors {last_fds - first_fds:+}, none allowed",
        met=last_kb - first_kb <= MOST_GROWTH_KB and last_fds == first_fds,
    )


def _steps(many: int) -> Iterator[int]:
    yield min(FIRST, many // 10)
    yield from range(many // SAMPLES, many + 1, many // SAMPLES)


def _crash(pool: Pool, until: int) -> int:
    pool.crash()
    wait_until(lambda: pool.births >= until, 3600, f"{until} crashes")
    pool.rest()
    return pool.births - pool.count


def _recycle(pool: Pool, until: int) -> int:
    while pool.recycles < until:
        pool.recycle()
    pool.rest()
    return pool.recycles


def _slope(points: list[tuple[int, int]]) -> float:
    """Return the slope of the line that fits best."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    above = sum((x - mean_x) * (y - mean_y) for x, y in points)
    below = sum((x - mean_x) ** 2 for x, _ in points)
    return above / below if below else 0.0


def _status_kb(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise LookupError(f"no {name} of process {pid}")


def _sleeps(pid: str) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rpartition(") ")[2].startswith("S") and "shortlived" in stat
    except OSError:
        return False
