"""Steered sockets and workers that die: who waits for one is served by another.

A worker that is dead has what it had accepted, and nobody else: one request at most, with a server
that takes one at a time (workers/bare.py).
"""

from __future__ import annotations

import os
import random
import signal
from typing import TYPE_CHECKING

import pytest
from load import Load
from scenes import at, port_of, rounds
from steered import (
    CLIENTS,
    RATE,
    answers,
    finish,
    freeze,
    hello,
    lost,
    serving,
    start,
    wait_for_queue,
)

if TYPE_CHECKING:
    from pathlib import Path

    from scenes import Start


def test_a_crash_loses_no_more_than_the_worker_had_accepted(srvinit: Start) -> None:
    """That is one request here: the server takes one at a time."""
    pool = start(srvinit, "-w2", "--restart-delay=100ms", "--restart-limit=0")
    crashes = rounds(4, 10)
    with Load(port_of(pool), new=CLIENTS, kept=0, rate=RATE) as load:
        load.wait_requests(50)
        for turn in range(1, crashes + 1):
            os.kill(pool.outside(random.choice(serving(pool))["pid"]), signal.SIGKILL)  # noqa: S311
            pool.wait_event("worker.ready", within=20, nth=2 + turn)
            load.wait_requests(50)
        losses = lost(load.stop())
    assert len(losses) <= crashes
    assert {loss["how"] for loss in losses} <= {"reset", "no_answer"}
    finish(pool)


def test_who_waits_for_a_worker_that_dies_is_served_by_its_replacement(srvinit: Start) -> None:
    pool = start(srvinit, "-w2", "--restart-delay=200ms")
    victim, survivor = (event["pid"] for event in serving(pool))
    frozen = freeze(pool, victim)
    waiting = hello(port_of(pool), 40)
    os.kill(frozen, signal.SIGKILL)
    replacement = pool.wait_event("worker.ready", nth=3)["pid"]
    counted = answers(waiting)
    assert counted.keys() == {survivor, replacement}
    assert counted.total() == 40
    finish(pool)


def test_nobody_is_steered_to_a_worker_that_is_dead(srvinit: Start) -> None:
    pool = start(srvinit, "-w2", "--restart-delay=60s")
    victim, survivor = (event["pid"] for event in serving(pool))
    os.kill(pool.outside(victim), signal.SIGKILL)
    pool.wait_event("worker.exited", pid=victim)
    assert answers(hello(port_of(pool), 40)) == {survivor: 40}
    finish(pool)


# --- beside a replacement that is there already --------------------------------------------------


def gate(path: Path) -> list[str]:
    """Have the first worker of generation 2 wait, before its exec, until a pipe is written to."""
    os.mkfifo(path)
    script = 'if [ "$SRVINIT_GENERATION" != 1 ] && mkdir "$0.d"; then read _ <"$0"; fi; exec "$@"'
    return ["sh", "-c", script, os.fspath(path)]


def test_who_waits_for_a_worker_that_dies_beside_its_starting_replacement_is_served(
    srvinit: Start, tmp_path: Path
) -> None:
    """The replacement cannot take over the queue: once it has settled another is started."""
    slow = gate(tmp_path / "gate")
    pool = start(srvinit, "-w1", "--restart-delay=0", before=slow)
    (old,) = (event["pid"] for event in serving(pool))
    frozen = freeze(pool, old)
    waiting = hello(port_of(pool), 40)
    pool.signal("HUP")
    replacement = pool.wait_event("worker.started", generation=2)["pid"]
    os.kill(frozen, signal.SIGKILL)
    pool.wait_event("worker.exited", pid=old)
    late = hello(port_of(pool), 10)
    (tmp_path / "gate").write_text("go\n")
    assert answers(late) == {replacement: 10}
    another = pool.wait_event("worker.ready", nth=3)["pid"]
    assert answers(waiting) == {another: 40}
    pool.wait_event("recycle.finished", within=20)
    finish(pool)


def test_who_waits_for_a_worker_that_dies_beside_its_ready_replacement_is_served(
    srvinit: Start,
) -> None:
    pool = start(srvinit, "-w1", "--restart-delay=0", "--recycle-settle=2s")
    (old,) = (event["pid"] for event in serving(pool))
    frozen = freeze(pool, old)
    early = hello(port_of(pool), 40)
    pool.signal("HUP")
    replacement = pool.wait_event("worker.ready", generation=2)["pid"]
    os.kill(frozen, signal.SIGKILL)
    another = pool.wait_event("worker.ready", nth=3)["pid"]
    assert answers(early) == {another: 40}
    assert another != replacement
    pool.wait_event("recycle.finished", within=20)
    finish(pool)


def test_who_waits_for_a_replacement_that_dies_is_served(srvinit: Start) -> None:
    """It served already and had not settled: the next try takes over its queue."""
    pool = start(srvinit, "-w1", "--restart-delay=0", "--recycle-settle=2s")
    (old,) = (event["pid"] for event in serving(pool))
    pool.signal("HUP")
    replacement = pool.wait_event("worker.ready", generation=2)["pid"]
    frozen = freeze(pool, replacement)
    waiting = hello(port_of(pool), 40)
    os.kill(frozen, signal.SIGKILL)
    another = pool.wait_event("worker.ready", nth=3)["pid"]
    counted = answers(waiting)
    assert counted.keys() == {old, another}
    assert counted.total() == 40
    pool.wait_event("recycle.finished", within=20)
    finish(pool)


def test_who_waits_for_a_worker_that_dies_while_it_quiesces_is_served(srvinit: Start) -> None:
    """Nothing else is to be started by then: one worker is replaced for their sake."""
    pool = start(srvinit, "-w1", "--restart-delay=0", "--worker-quiesce=1h")
    (old,) = (event["pid"] for event in serving(pool))
    frozen = freeze(pool, old)
    waiting = hello(port_of(pool), 40)
    pool.signal("HUP")
    pool.wait_event("worker.quiescing", pid=old)
    os.kill(frozen, signal.SIGKILL)
    another = pool.wait_event("worker.ready", nth=3)["pid"]
    assert answers(waiting) == {another: 40}
    finish(pool)


@pytest.mark.parametrize("victim", ["holder", "replacement"])
def test_crashes_in_recycles_under_load_lose_no_more_than_was_accepted(
    srvinit: Start, victim: str
) -> None:
    """Each victim is frozen until somebody waits for it: they would be lost with its queue."""
    pool = start(srvinit, "-w2", "--restart-delay=50ms", "--restart-limit=0", "--recycle-settle=1s")
    crashes = rounds(3, 10)
    with Load(port_of(pool), new=CLIENTS, kept=0, rate=RATE, timeout=15) as load:
        load.wait_requests(50)
        for _ in range(crashes):
            seen = len(pool.events)
            pool.signal("HUP")
            new = pool.wait_event("worker.ready", since=seen, slot=0)
            old = next(event for event in serving(pool) if event["slot"] == 0)
            frozen = freeze(pool, (old if victim == "holder" else new)["pid"])
            wait_for_queue(port_of(pool), 2)
            os.kill(frozen, signal.SIGKILL)
            pool.wait_event("recycle.finished", within=30, since=seen)
            load.wait_requests(50)
        losses = lost(load.stop())
    assert len(losses) <= crashes
    assert {loss["how"] for loss in losses} <= {"reset", "no_answer"}
    finish(pool)


def test_without_surge_newcomers_wait_for_the_next_worker(srvinit: Start) -> None:
    """One worker, and no room for a second: nobody comes to the old one, and nobody is lost."""
    no_room = ("--recycle-max-surge=0", "--recycle-max-unavailable=1")
    # A busy machine may keep a client waiting for a CPU between its connecting and its request.
    pool = start(srvinit, "-w1", *no_room, "--worker-quiesce=1s")
    with Load(port_of(pool), new=CLIENTS, kept=0, rate=RATE) as load:
        load.wait_requests(50)
        for turn in range(1, rounds(3, 20) + 1):
            pool.signal("HUP")
            pool.wait_event("recycle.finished", within=30, generation=turn + 1)
            load.wait_requests(50)
        assert lost(load.stop()) == []
    quiescing, stopping = pool.found("worker.quiescing"), pool.found("worker.stopping")
    took = [at(two) - at(one) for one, two in zip(quiescing, stopping, strict=True)]
    assert max(took) < 2.5, "the queue was not seen empty in time: somebody came to it still"
    finish(pool)
