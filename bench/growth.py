"""What a long life costs: memory and descriptors after many crashes and many recycles.

Each is looked at while srvinit sleeps and its workers stay: `shortlived` crashes unless a file is
there, so a pool that crashes as fast as it can is brought to rest by making that file.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import TYPE_CHECKING, Any

import programs
from frozen import PROGRAM
from measure import Scale, Subject, wait_until
from workers import settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIRST = 100  # what came until here, a start brings: caches fill, the log has its buffers
SAMPLES = 40
MOST_GROWTH_KB = 128
OPTIONS = ["--restart-delay=0", "--restart-limit=0", "--recycle-settle=0", "--"]
#: What a sample has, after how many lives there were: `seen` says more.
COLUMNS = ("RSS, kB", "written, kB", "descriptors")
Sample = tuple[int, int, int, int]


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

    def seen(self) -> tuple[int, int, int]:
        """Return its resident memory and what of that it has written to, in kB; descriptors."""
        rollup = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()[1:]
        kb = {line.split()[0]: int(line.split()[1]) for line in rollup}
        descriptors = len(list(Path(f"/proc/{self.pid}/fd").iterdir()))
        return kb["Rss:"], kb["Private_Dirty:"], descriptors

    def _read(self) -> None:
        for line in self._process.stderr or ():
            self._recycles += b'"recycle.finished"' in line


def measure(scale: Scale, helpers: dict[str, str]) -> Subject:
    """Measure the frozen program where it is installed, else the source; both lives at once."""
    program = [str(PROGRAM)] if PROGRAM.exists() else programs.SRVINIT
    subject = Subject(f"growth: {program[0]}", judges=scale.judges)
    lives = {"crashes": (4, scale.crashes, _crash), "recycles": (1, scale.long_recycles, _recycle)}
    with ThreadPoolExecutor() as threads:
        seen = {
            what: threads.submit(follow, program, helpers["shortlived"], *life)
            for what, life in lives.items()
        }
    subject.raw = {"frozen": PROGRAM.exists()}
    for what, one in seen.items():
        subject.raw[what] = one.result()
        report(subject, what, **subject.raw[what])
    return subject


def follow(
    program: list[str], worker: str, count: int, many: int, grow: Callable[[Pool, int], int]
) -> dict[str, Any]:
    """Bring `many` about, and look at memory and descriptors on the way."""
    with tempfile.TemporaryDirectory() as folder:
        pool = Pool(program, count, worker, folder)
        try:
            began = time.monotonic()
            samples = [(grow(pool, until), *pool.seen()) for until in _steps(many)]
            return {"samples": samples, "took_s": round(time.monotonic() - began, 1)}
        finally:
            pool.close()


def report(subject: Subject, what: str, samples: list[Sample], took_s: float) -> None:
    """Say what was seen, how it slopes, and whether that is no growth."""
    shown = [samples[0], *samples[SAMPLES // 10 :: SAMPLES // 10]]
    for name, row in zip((what, *COLUMNS), zip(*shown, strict=True), strict=True):
        subject.note(f"{name:12}" + "".join(f"{figure:9}" for figure in row))
    (first, _, first_kb, first_fds), (last, _, last_kb, last_fds) = samples[0], samples[-1]
    for part, points in parts_of(samples).items():
        slope, error = slope_of(points)
        subject.note(f"{slope:+.0f} bytes (+- {error:.0f}) for 1,000 of them, by {part}")
    subject.note(f"{(last - first) / took_s:.0f} a second")
    subject.target(
        f"{last} {what}: written memory {last_kb - first_kb:+} kB since the first {first}, at most "
        f"{MOST_GROWTH_KB}; descriptors {last_fds - first_fds:+}, none allowed",
        met=last_kb - first_kb <= MOST_GROWTH_KB and last_fds == first_fds,
    )


def _steps(many: int) -> Iterator[int]:
    each = max(many // SAMPLES, 1)
    yield min(FIRST, each)
    yield from range(each, many + 1, each)


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


def parts_of(samples: list[Sample]) -> dict[str, list[Sample]]:
    """Return what a slope is taken of: what comes after the start, and after half of that."""
    return {"all": samples[1:], "the second half": samples[len(samples) // 2 :]}


def slope_of(samples: list[Sample]) -> tuple[float, float]:
    """Return the slope of written memory, in bytes for 1,000 lives, and its standard error."""
    points = [(done / 1000, written_kb * 1024) for done, _, written_kb, _ in samples]
    mean_x = statistics.fmean(x for x, _ in points)
    mean_y = statistics.fmean(y for _, y in points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    missed = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
    return slope, math.sqrt(missed / (len(points) - 2) / spread)


def _sleeps(pid: str) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rpartition(") ")[2].startswith("S") and "shortlived" in stat
    except OSError:
        return False
