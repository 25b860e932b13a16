"""worker.max_memory, for real: the largest is recycled, one at a time, and not for a moment."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from scenes import QUICK, as_root, at, entering, python, stop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Srvinit
    from scenes import Start

MIB = 1 << 20
LOOK_S = 5.0


def start_growing(start: Start, *options: str, prefix: tuple[str, ...] = ()) -> Srvinit:
    pool = start("-w3", QUICK, *options, "--", *python("growing.py"), pid1=True, prefix=prefix)
    pool.wait_output("ready", nth=3)
    pool.wait_event("srvinit.ready")
    return pool


def grow(pool: Srvinit, slot: int, steps: int) -> int:
    """Have a worker take so many times 32 MiB; return its pid, as srvinit knows it."""
    pid = int(pool.found("worker.started", slot=slot)[-1]["pid"])
    for _ in range(steps):
        before = pool.output.count(b"grown")
        os.kill(pool.outside(pid), signal.SIGUSR2)
        pool.wait_output("grown", nth=before + 1)
    return pid


def test_workers_that_are_too_large_are_recycled_the_largest_first(srvinit: Start) -> None:
    """After three looks in a row; the one that is not too large stays."""
    pool = start_growing(srvinit, "--worker-max-memory=40MiB", "--recycle-max-surge=2")
    small, large = grow(pool, 0, 1), grow(pool, 1, 3)
    told = pool.wait_event("worker.too_large", within=30)
    assert (told["pid"], told["limit"]) == (large, 40 * MIB)
    assert 96 * MIB < told["size"] < 160 * MIB
    assert at(told) - at(pool.found("srvinit.ready")[0]) > 2 * LOOK_S
    pool.wait_event("recycle.finished", within=20, nth=2)
    started = pool.found("recycle.started")
    assert [(line["why"], line["workers"]) for line in started] == [("worker.max_memory", 1)] * 2
    assert [line["pid"] for line in pool.found("worker.stopping")] == [large, small]
    assert at(started[1]) >= at(pool.found("recycle.finished")[0])
    assert [line["slot"] for line in pool.found("worker.ready")[3:]] == [1, 0]
    assert stop(pool) == 0


def test_processes_of_a_workers_group_count(srvinit: Start) -> None:
    """A shell that waits for what is large is as large as that."""
    command = ["sh", "-c", '"$@"; true', "sh", *python("growing.py", "64")]
    pool = srvinit("-w1", QUICK, "--worker-max-memory=40MiB", "--worker-signal-group",
                   "--", *command, pid1=True)  # fmt: skip
    told = pool.wait_event("worker.too_large", within=30)
    assert told["size"] > 64 * MIB
    pool.wait_event("recycle.finished", within=20)
    assert stop(pool) == 0


@as_root
def test_a_percentage_is_of_the_containers_limit(
    srvinit: Start, cgroup: Callable[..., Path]
) -> None:
    group = cgroup("memory", {})
    is_v2 = (group / "memory.max").exists()
    (group / ("memory.max" if is_v2 else "memory.limit_in_bytes")).write_text(str(400 * MIB))
    pool = start_growing(srvinit, "--worker-max-memory=10%", prefix=entering(group))
    large = grow(pool, 2, 2)
    told = pool.wait_event("worker.too_large", within=30)
    assert (told["pid"], told["limit"]) == (large, 40 * MIB)
    pool.wait_event("recycle.finished", within=20)
    assert stop(pool) == 0


@as_root
def test_a_percentage_of_no_limit_is_said_to_be_without_effect(
    srvinit: Start, cgroup: Callable[..., Path]
) -> None:
    pool = start_growing(srvinit, "--worker-max-memory=40%", prefix=entering(cgroup("memory", {})))
    said = pool.wait_event("memory.unseen")
    assert said["why"] == "40% of what? No memory limit is set here"
    assert stop(pool) == 0
