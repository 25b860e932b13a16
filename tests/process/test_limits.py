"""What the machine runs out of: descriptors, processes, files."""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
from typing import TYPE_CHECKING

import harness
import proc
import pytest
from scenes import BIND, as_root, entering, start_talk, start_web, stop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scenes import Start

HIDE_PROC = ("unshare", "--mount", "sh", "-c", 'umount -l /proc; exec "$@"', "sh")


def limited(files: int) -> tuple[str, ...]:
    """Return what to put before a command to run it with this limit of descriptors."""
    script = (
        "import os, resource, sys; files = int(sys.argv[1]);"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (files, files));"
        "os.execvp(sys.argv[2], sys.argv[2:])"
    )
    return (sys.executable, "-S", "-c", script, str(files))


@as_root
@pytest.mark.parametrize("view", ["with /proc", "without /proc"])
def test_c53_a_huge_descriptor_limit_costs_nothing(
    srvinit: Start, tmp_path: Path, view: str
) -> None:
    """Start, crash and respawn close no more at the hard limit than at 1024.

    Counted by strace, which a busy machine cannot disturb; the case says 1,000,000,000.
    """
    strace = harness.program("strace")
    hide = HIDE_PROC if view == "without /proc" else ()
    closes = []
    for files in (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]):
        trace = tmp_path / f"{files}"
        watched = (strace, "-f", "-qq", "-o", str(trace), "-e", "trace=close,close_range")
        prefix = (*limited(files), *hide, *watched)
        pool = srvinit("-w1", "--restart-delay=0", "--restart-limit=2", "--", "false",
                       prefix=prefix)  # fmt: skip
        assert pool.exit_status(within=30) == 1
        assert len(pool.found("worker.started")) == 2
        closes.append(len(re.findall(r"^\d+ +close\(", trace.read_text(), re.MULTILINE)))
    assert abs(closes[1] - closes[0]) < 20, closes


@as_root
def test_c54_a_fork_that_fails_is_tried_again(srvinit: Start, cgroup: Callable[..., Path]) -> None:
    """pids.max reached: one error with EAGAIN per try, and the worker is back once it may be.

    The retry is restart.delay, but a second at least, since a full machine is not helped by more.
    """
    group = cgroup("pids", {})
    pool = start_talk(srvinit, "--restart-delay=0", count=2, prefix=entering(group))
    limit = group / "pids.max"
    limit.write_text("2")  # srvinit, and the worker that is left
    os.kill(pool.workers()[0], signal.SIGKILL)
    failed = pool.wait_event("worker.spawn_failed", nth=2)
    assert failed["level"] == "error"
    assert "EAGAIN" in failed["error"]
    assert len(pool.workers()) == 1
    limit.write_text("max")
    pool.wait_event("worker.ready", nth=3)
    assert len(pool.found("worker.spawn_failed")) <= 3
    assert stop(pool) == 0


def test_c55_too_few_descriptors_are_refused_before_any_worker(srvinit: Start) -> None:
    """Ulimit -n 16 for 64 workers: one error, naming need and limit."""
    prefix = limited(16)
    pool = srvinit("-w64", BIND, "--worker-require=notify", "--", "sleep", "1000", prefix=prefix)
    status = pool.exit_status()
    assert status in {1, 2}
    (fault,) = pool.lines if status == 2 else [pool.events[0]["error"]]
    assert "16" in fault
    assert re.search(r"need \d+ descriptors", fault)
    assert pool.found("worker.started") == []


def test_c55_where_they_are_just_enough_crashes_are_survived(srvinit: Start) -> None:
    """The least limit that is accepted also holds while all workers crash and are recycled."""
    options = ("-w16", BIND, "--restart-delay=10ms", "--restart-limit=0", "--recycle-settle=0")
    tried = srvinit(*options, "--", "true", prefix=limited(16))
    assert tried.exit_status() == 2
    need = int(re.findall(r"need (\d+) descriptors", tried.lines[0])[0])
    pool = srvinit(*options, "--", "sleep", "1000", pid1=True, prefix=limited(need))
    pool.wait_event("srvinit.ready")
    for worker in pool.workers():
        os.kill(worker, signal.SIGKILL)
    pool.wait_event("worker.ready", nth=32)
    pool.signal("HUP")
    pool.wait_event("recycle.finished", within=20)
    assert stop(pool) == 0
    assert {event["level"] for event in pool.events} <= {"info", "warning"}


@as_root
@pytest.mark.parametrize("room", [0, 1])
def test_a_lack_of_descriptors_that_comes_later_is_no_fault(srvinit: Start, room: int) -> None:
    """What the loop needs all of a sudden is there: no module can be loaded then.

    A recycle and a crash while at most one descriptor is to be had; afterwards all is well. With
    one, a steered worker's socket can be made, and not its process: the socket is to be closed.
    """
    options = ("--worker-count=3", "--restart-delay=10ms", "--restart-limit=0")
    pool = start_web(srvinit, *options, "--bind-mode=steered")
    proc.wait_until(lambda: has_status(pool), 10, "srvinit to have settled in")
    before = resource.prlimit(pool.pid, resource.RLIMIT_NOFILE)
    used = {int(name) for name in os.listdir(f"/proc/{pool.pid}/fd")}  # noqa: PTH208
    free = min(set(range(100)) - used)
    resource.prlimit(pool.pid, resource.RLIMIT_NOFILE, (free + room, before[1]))
    pool.signal("HUP")
    pool.wait_event("recycle.failed")
    os.kill(pool.workers()[0], signal.SIGKILL)
    pool.wait_event("worker.exited")
    pool.wait_event("worker.spawn_failed", nth=4)
    resource.prlimit(pool.pid, resource.RLIMIT_NOFILE, before)
    since = len(pool.events)
    pool.wait_event("worker.ready", since=since, within=20)
    pool.signal("HUP")
    pool.wait_event("recycle.finished", since=since, within=30)
    assert stop(pool) == 0


def has_status(pool: harness.Srvinit) -> bool:
    return b'"schema"' in proc.read(f"/proc/{pool.pid}/fd/63")
