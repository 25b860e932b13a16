"""PID 1's own duties: orphans are adopted, reaped and nobody's failure."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import harness
import proc
from scenes import as_root, cpu_seconds, entering, start_talk, stop, zombies

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scenes import Start

SH = ("sh", "-c", '"$@"; echo rc=$?', "sh")  # runs srvinit as a child of PID 1


def pid_in(line: str) -> int:
    return int(line.rsplit(maxsplit=1)[-1])


def test_c01_an_orphan_that_fails_is_reaped_and_nobody_elses_failure(srvinit: Start) -> None:
    """An adopted orphan's status is never taken for a worker's: no exit, no restart, no end."""
    pool = start_talk(srvinit, "--log-level=debug", words=("orphan",))
    orphan = pid_in(pool.wait_output("orphan ready"))

    outside = pool.outside(orphan)
    proc.wait_until(lambda: outside in proc.children(pool.pid), 5, "srvinit to adopt the orphan")
    subprocess.run(["kill", "-USR1", str(outside)], check=True)
    pool.wait_event("orphan.reaped", pid=orphan, status=7)

    assert zombies(pool.pid) == []
    assert pool.is_running
    assert stop(pool) == 0
    assert len(pool.found("worker.exited")) == len(pool.found("worker.started")) == 1


def test_c02_where_another_init_is_pid_1_orphans_still_come_to_srvinit(srvinit: Start) -> None:
    """Not being PID 1 is no fault: srvinit is a subreaper then, and no line complains."""
    pool = start_talk(srvinit, "--restart-policy=never", words=("orphan",), prefix=SH)
    own_pid = pool.outside(pool.wait_event("srvinit.started", is_init=False)["pid"])
    orphan = pool.outside(pid_in(pool.wait_output("orphan ready")))

    proc.wait_until(lambda: orphan in proc.children(own_pid), 5, "srvinit to adopt the orphan")
    subprocess.run(["kill", "-USR1", str(orphan)], check=True)
    proc.wait_until(lambda: proc.state(orphan) == "X", 5, "srvinit to reap the orphan")
    assert zombies(own_pid) == []

    worker = pool.outside(pool.found("worker.started")[0]["pid"])
    subprocess.run(["kill", "-TERM", str(worker)], check=True)
    assert pool.exit_status() == 0
    assert pool.wait_output("rc=") == "rc=0"
    assert {event["level"] for event in pool.events} == {"info"}


@as_root
def test_c03_a_thousand_orphans_of_probes_cost_little_and_leave_nothing(srvinit: Start) -> None:
    """Orphans by the hundred: none stays a zombie, none is logged, workers do not notice."""
    many = 300
    pool = start_talk(srvinit, count=2)
    workers = set(proc.children(pool.pid))
    lines, cpu = len(pool.lines), cpu_seconds(pool.pid)

    loop = f"for i in $(seq {many}); do (sleep 0.0$((i%9)) &); done"
    enter = [harness.program("nsenter"), "-t", str(pool.pid), "-p", "-m", "sh", "-c", loop]
    subprocess.run(enter, check=True, timeout=60)

    proc.wait_until(lambda: set(proc.children(pool.pid)) == workers, 2, "all orphans to be reaped")
    assert cpu_seconds(pool.pid) - cpu < many / 1000, "more than a millisecond of CPU an orphan"
    assert len(pool.lines) == lines
    assert stop(pool) == 0


@as_root
def test_c04_zombies_do_not_eat_the_pids_limit(srvinit: Start, cgroup: Callable[..., Path]) -> None:
    """A worker that leaves orphans faster than most can reap never sees fork fail."""
    group = cgroup("pids", {"pids.max": "40"})
    read_fd, write_fd = os.pipe()
    loop = "for i in $(seq 400); do sh -c 'sleep 0.01 &' || echo failed; done; echo done"
    pool = srvinit("-w1", "--", "sh", "-c", f"read go; {loop}; read end",
                   pid1=True, prefix=entering(group), stdin=read_fd)  # fmt: skip
    pool.wait_event("srvinit.ready")
    os.write(write_fd, b"go\n")
    pool.wait_output("done", within=60)

    # srvinit and the worker are left
    current = group / "pids.current"
    proc.wait_until(lambda: int(current.read_text()) <= 2, 1, "pids.current to come down to 2")
    assert b"failed" not in pool.output
    assert not [line for line in pool.strays if "fork" in line.lower()]
    assert stop(pool) == 0
