"""What nobody may find after a long life: more memory, more descriptors.

The short form of `bench/run.py growth`, which has 100,000 crashes and 10,000 recycles.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import proc

if TYPE_CHECKING:
    from harness import Srvinit
    from scenes import Start

FIRST = 200
CRASHES = 1000
RECYCLES = 60
# Coarse: what is freed is found first; leaks of 100 and of 400 bytes a worker were not seen.
MOST_KB = 256
OPTIONS = ("--restart-delay=0", "--restart-limit=0", "--recycle-settle=0", "--log-level=warning")
# Counts itself, and crashes unless it may stay.
WORKER = "echo >>births; [ -e stay ] && exec sleep 1000; exit 1"


class Life:
    """A pool that can be let crash and brought to rest."""

    def __init__(self, start: Start, folder: Path, count: int) -> None:
        self._folder, self._count = folder, count
        self._stay = folder / "stay"
        self._stay.touch()
        run = ("--", "/bin/sh", "-c", WORKER)
        self.pool: Srvinit = start(f"-w{count}", *OPTIONS, *run, cwd=folder)
        self.rest()

    @property
    def births(self) -> int:
        """How many workers there have been."""
        births = self._folder / "births"
        return births.stat().st_size if births.exists() else 0

    def rest(self) -> None:
        """Wait until all workers stay, and srvinit sleeps."""
        self._stay.touch()
        proc.wait_until(lambda: self._sleepers() == self._count, 30, "all workers to stay")
        spent = [-1]

        def is_asleep() -> bool:
            # On a busy machine it may wait for a CPU, and not get on either: then it is no S.
            spent.append(_cpu_ns(self.pool.pid))
            return proc.state(self.pool.pid) == "S" and spent[-1] == spent[-2]

        proc.wait_until(is_asleep, 30, "srvinit to sleep")

    def crash_until(self, births: int) -> None:
        """Let the workers crash until there have been so many."""
        self._stay.unlink()
        for worker in self.pool.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        proc.wait_until(lambda: self.births >= births, 60, f"{births} workers")
        self.rest()

    def seen(self) -> tuple[int, list[str]]:
        """Return its own memory in kB, and what its descriptors are."""
        status = Path(f"/proc/{self.pool.pid}/status").read_text()
        found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
        assert found
        folder = Path(f"/proc/{self.pool.pid}/fd")
        return int(found[1]), sorted(f"{one.name} {one.readlink()}" for one in folder.iterdir())

    def _sleepers(self) -> int:
        names = [Path(f"/proc/{pid}/comm") for pid in self.pool.workers()]
        with contextlib.suppress(OSError):
            return sum(name.read_text() == "sleep\n" for name in names)
        return 0


def _cpu_ns(pid: int) -> int:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def _without_inodes(descriptors: list[str]) -> list[str]:
    return [re.sub(r"\[\d+\]", "", one) for one in descriptors]


def test_a_thousand_crashes_leave_nothing(srvinit: Start, tmp_path: Path) -> None:
    """Memory and descriptors are where they were after the first two hundred."""
    life = Life(srvinit, tmp_path, 4)
    life.crash_until(FIRST)
    before_kb, before = life.seen()
    life.crash_until(FIRST + CRASHES)
    after_kb, after = life.seen()

    assert _without_inodes(after) == _without_inodes(before)
    assert after_kb - before_kb <= MOST_KB, (before_kb, after_kb)


def test_many_recycles_leave_nothing(srvinit: Start, tmp_path: Path) -> None:
    """The same of recycles."""
    life = Life(srvinit, tmp_path, 1)
    seen = []
    for births in range(2, 2 * RECYCLES + 2):
        life.pool.signal("HUP")
        proc.wait_until(lambda wanted=births: life.births >= wanted, 20, "a recycle")
        life.rest()
        if births > RECYCLES:
            seen.append(life.seen())
    (before_kb, before), (after_kb, after) = seen[0], seen[-1]

    assert _without_inodes(after) == _without_inodes(before)
    assert after_kb - before_kb <= MOST_KB, (before_kb, after_kb)
