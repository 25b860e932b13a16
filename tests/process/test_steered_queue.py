"""worker.max_queue: a worker that takes nobody is seen, said, left out, and taken back."""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import TYPE_CHECKING

import proc
from scenes import port_of, python, stop
from steered import answers, finish, freeze, hello, serving, start

if TYPE_CHECKING:
    from scenes import Start

LOOKING = "--worker-max-queue=5"


def test_a_worker_that_takes_nobody_is_left_out_until_it_takes_all(srvinit: Start) -> None:
    """Who waits for it waits; nobody is added, and nobody is lost."""
    pool = start(srvinit, "-w3", LOOKING)
    pids = {event["pid"] for event in serving(pool)}
    victim = min(pids)
    frozen = freeze(pool, victim)
    early = hello(port_of(pool), 60)
    said = pool.wait_event("worker.queue_stuck", pid=victim)
    assert 5 <= said["waiting"] <= 60
    assert answers(hello(port_of(pool), 40)).keys() == pids - {victim}
    os.kill(frozen, signal.SIGCONT)
    pool.wait_event("worker.queue_drained", pid=victim)
    counted = answers(early)
    assert counted.total() == 60
    assert counted[victim] == said["waiting"]
    assert answers(hello(port_of(pool), 60)).keys() == pids
    assert len(pool.found("worker.queue_stuck")) == 1
    finish(pool)


def test_who_waits_for_it_is_served_after_a_recycle(srvinit: Start) -> None:
    """It takes no stop signal either, and is killed; its queue goes to another worker."""
    more = ("--recycle-timeout=1s", "--restart-delay=0")
    pool = start(srvinit, "-w2", LOOKING, *more, command=python("stubborn.py"))
    victim = serving(pool)[0]["pid"]
    os.kill(pool.outside(victim), signal.SIGUSR2)
    pool.wait_output("takes nobody")
    early = hello(port_of(pool), 40)
    stuck = pool.wait_event("worker.queue_stuck", pid=victim)["waiting"]
    pool.signal("HUP")
    pool.wait_event("worker.killed", within=20, pid=victim)
    counted = answers(early)
    old = {event["pid"] for event in pool.found("worker.ready", generation=1)}
    assert counted.total() == 40
    assert sum(count for pid, count in counted.items() if pid not in old) == stuck
    pool.wait_event("recycle.finished", within=30)
    assert stop(pool) == 0


def test_srvinit_looks_once_a_second(srvinit: Start) -> None:
    """Without the setting it sleeps: test_idle."""
    pool = start(srvinit, "-w2", LOOKING)
    proc.wait_until(lambda: proc.state(pool.pid) == "S", 5, "srvinit to sleep")
    before = switches(pool.pid)
    load: Counter[int] = Counter()
    while load.total() < 300:
        load += answers(hello(port_of(pool), 5))
    woken = switches(pool.pid) - before
    assert woken < 50, "it woke up for connections"
    finish(pool)


def switches(pid: int) -> int:
    """Return how often a process has slept and been woken."""
    return int(proc.status_field(pid, "voluntary_ctxt_switches"))
