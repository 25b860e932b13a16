"""Real cgroups with real limits: how many workers `auto` is, and whom the kernel kills.

As root, where cgroups may be made; the ways of both versions to be read are in tests/unit.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import proc
import pytest
from scenes import QUICK, as_root, entering, python, start_talk, stop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Srvinit
    from scenes import Start

    MakeCgroup = Callable[..., Path]

CPUS = len(os.sched_getaffinity(0))
PERIOD_US = 100_000

needs_two_cpus = pytest.mark.skipif(CPUS < 2, reason="with one CPU every quota allows it")


def set_quota(group: Path, cpus: float | None) -> None:
    """Allow so many CPUs; None: no limit."""
    if (group / "cpu.max").exists():
        text = "max" if cpus is None else f"{cpus * PERIOD_US:.0f}"
        (group / "cpu.max").write_text(f"{text} {PERIOD_US}")
    else:
        text = "-1" if cpus is None else f"{cpus * PERIOD_US:.0f}"
        (group / "cpu.cfs_quota_us").write_text(text)


def set_memory(group: Path, mib: int) -> None:
    """Allow so much memory, and no swap beside it."""
    size = str(mib << 20)
    is_v2 = (group / "memory.max").exists()
    limit, more = ("memory.max", "memory.swap.max") if is_v2 else (
        "memory.limit_in_bytes", "memory.memsw.limit_in_bytes")  # fmt: skip
    (group / limit).write_text(size)
    if (group / more).exists():
        (group / more).write_text("0" if is_v2 else size)


def start_auto(start: Start, count: str, workers: int, prefix: tuple[str, ...]) -> Srvinit:
    """Start a pool of so many workers as `count` comes to be, and wait until they are ready."""
    command = ("--", *python("talk.py"))
    pool = start("-w", count, QUICK, *command, pid1=True, prefix=prefix)
    pool.wait_output("ready", nth=workers)
    pool.wait_event("srvinit.ready", workers=workers)
    return pool


@as_root
@needs_two_cpus
@pytest.mark.parametrize(("count", "before", "after"), [
    ("auto", 1, CPUS), ("auto*2", 2, 2 * CPUS), ("auto+1", 2, CPUS + 1)
])  # fmt: skip
def test_auto_is_the_quota_and_is_worked_out_anew_at_each_hup(
    srvinit: Start, cgroup: MakeCgroup, count: str, before: int, after: int
) -> None:
    """An in-place resize signals nobody: the next recycle finds it. The log says why, each time."""
    group = cgroup("cpu", {})
    set_quota(group, 0.5)
    pool = start_auto(srvinit, count, before, entering(group))
    started = pool.found("srvinit.started")[0]
    assert started["workers"] == before
    assert started["count_why"].startswith(f"{group}/cpu.")
    assert started["count_why"].endswith("allows 0.5")

    set_quota(group, None)
    pool.signal("HUP")
    changed = pool.wait_event("count.changed", before=before, after=after)
    assert f"the affinity mask allows {CPUS}" in changed["why"]
    pool.wait_event("recycle.finished", within=20)

    set_quota(group, 0.7)
    pool.signal("HUP")
    changed = pool.wait_event("count.changed", before=after, after=before)
    assert "allows 0.7" in changed["why"]
    pool.wait_event("recycle.finished", within=20, nth=2)
    assert stop(pool) == 0


@as_root
@needs_two_cpus
def test_auto_is_the_tightest_quota_of_all_ancestors(srvinit: Start, cgroup: MakeCgroup) -> None:
    """A pod has a cgroup above its container's, and either may be the one with the limit."""
    outer = cgroup("cpu", {})
    inner = outer / "inner"
    inner.mkdir()
    try:
        set_quota(outer, 1)
        pool = start_auto(srvinit, "auto", 1, entering(inner))
        assert pool.found("srvinit.started")[0]["count_why"].startswith(f"{outer}/cpu.")
        assert stop(pool) == 0
    finally:
        proc.wait_until(lambda: not proc.read(inner / "cgroup.procs"), 10, "nobody in the cgroup")
        inner.rmdir()


@needs_two_cpus
def test_auto_is_within_the_affinity_mask(srvinit: Start) -> None:
    cpu = min(os.sched_getaffinity(0))
    prefix = ("taskset", "-c", str(cpu))
    pool = start_auto(srvinit, "auto", 1, prefix)
    assert pool.found("srvinit.started")[0]["count_why"] == "the affinity mask allows 1"
    assert stop(pool) == 0


@as_root
def test_a_worker_that_the_kernel_killed_for_memory_is_said_so(
    srvinit: Start, cgroup: MakeCgroup
) -> None:
    """With the limit. The other worker and srvinit live; a SIGKILL by hand is none of that."""
    group = cgroup("memory", {})
    set_memory(group, 96)
    pool = srvinit("-w2", "--restart-delay=50ms", "--", *python("growing.py"),
                   pid1=True, prefix=entering(group))  # fmt: skip
    pool.wait_output("ready", nth=2)
    pool.wait_event("srvinit.ready")
    victim, other = (event["pid"] for event in pool.found("worker.started"))

    os.kill(pool.outside(other), signal.SIGKILL)
    exited = pool.wait_event("worker.exited", pid=other)
    assert (exited["reason"], exited["oom"]) == ("SIGKILL", False)
    pool.wait_output("ready", nth=3)

    os.kill(pool.outside(victim), signal.SIGUSR1)  # it grows to twice the limit
    exited = pool.wait_event("worker.exited", pid=victim)
    assert exited["reason"].startswith("killed by the kernel: out of memory (limit 96 MiB, ")
    assert (exited["oom"], exited["status"], exited["level"]) == (True, -9, "warning")
    pool.wait_output("ready", nth=4)
    assert len(pool.workers()) == 2

    again = pool.found("worker.started")[-1]["pid"]
    os.kill(pool.outside(again), signal.SIGKILL)
    exited = pool.wait_event("worker.exited", pid=again)
    assert (exited["reason"], exited["oom"]) == ("SIGKILL", False)
    assert stop(pool) == 0


@pytest.mark.parametrize(("own", "workers"), [(0, 100), (300, 400), (950, 1000), (1000, 1000)])
def test_workers_are_rather_killed_than_srvinit(srvinit: Start, own: int, workers: int) -> None:
    """By a tenth of the memory that runs out; what the platform gave to all stays below it."""
    here = int(proc.read("/proc/self/oom_score_adj"))
    if own < here:
        pytest.skip(f"nobody may lower the {here} that these tests run with")
    give = ("sh", "-c", f'echo {own} >/proc/self/oom_score_adj; exec "$@"', "sh")
    pool = start_talk(srvinit, count=2, prefix=give)
    assert int(proc.read(f"/proc/{pool.pid}/oom_score_adj")) == own
    scores = [int(proc.read(f"/proc/{pid}/oom_score_adj")) for pid in pool.workers()]
    assert scores == [workers, workers]
    assert stop(pool) == 0


@as_root
def test_a_score_that_cannot_be_raised_is_left(srvinit: Start) -> None:
    """A sandbox may have /proc read-only: the workers start all the same."""
    script = 'mount -o remount,ro,bind /proc; exec "$@"'
    read_only = ("unshare", "--mount", "sh", "-c", script, "sh")
    pool = start_talk(srvinit, pid1=False, prefix=read_only)
    (worker,) = pool.workers()
    score = proc.read(f"/proc/{worker}/oom_score_adj")
    assert score == proc.read(f"/proc/{pool.pid}/oom_score_adj")
    assert stop(pool) == 0
