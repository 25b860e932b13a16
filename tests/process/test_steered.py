"""Steered sockets lose no new connection that is read within worker.quiesce.

The server is the worst there is: it dies of its stop signal wherever it is, with what it has
accepted and not answered (workers/bare.py). In shared mode the same load loses requests.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
import proc
import pytest
from load import Load
from scenes import (
    BIND,
    LISTEN,
    QUICK,
    SLACK_S,
    anybodys,
    as_root,
    at,
    port_of,
    python,
    rounds,
    stop,
)
from steered import (
    CLIENTS,
    HELLO,
    RATE,
    answers,
    finish,
    freeze,
    half_open,
    hello,
    lost,
    serving,
    start,
)

if TYPE_CHECKING:
    from scenes import Start

QUIESCE_S = 0.3  # worker.quiesce, if nothing else is said
HANDSHAKE_S = 3.0  # the longest that a client may take to finish its own
HOWS = pytest.mark.parametrize("pid1", [True, False], ids=["as PID 1", "as any process"])


# --- who gets a connection ---------------------------------------------------------------------


def test_each_worker_has_a_socket_of_its_own(srvinit: Start) -> None:
    """As many as there are binds, from fd 3 on, and none of its neighbours'."""
    pool = start(srvinit, "-w3", "--bind=127.0.0.1:0")
    pool.wait_output("serves", nth=3)
    said = [line.split()[1:] for line in pool.output.decode().splitlines()]
    inodes = [inode for _, _, *inodes in said for inode in inodes]
    assert [len(inodes) for _, _, *inodes in said] == [2, 2, 2]
    assert len(set(inodes)) == 6
    for pid, _, *own in said:
        folder = Path(f"/proc/{pool.outside(int(pid))}/fd")
        links = {proc.link(fd) for fd in folder.iterdir()}
        assert {link for link in links if link.startswith("socket:")} == {
            f"socket:[{inode}]" for inode in own
        }
    assert [event["fd"] for event in pool.found("socket.bound")] == [3, 4]
    finish(pool)


def test_connections_are_spread_evenly(srvinit: Start) -> None:
    """2,000 over four workers (10,000 with SRVINIT_ROUNDS=full), within 5 standard deviations."""
    times = rounds(2_000, 10_000)
    pool = start(srvinit, "-w4")
    counted: Counter[int] = Counter()
    for _ in range(0, times, 50):
        counted += answers(hello(port_of(pool), 50))
    deviation = (times * 0.25 * 0.75) ** 0.5
    assert len(counted) == 4
    assert all(abs(count - times / 4) < 5 * deviation for count in counted.values()), counted
    finish(pool)


# --- nothing is lost ---------------------------------------------------------------------------


@HOWS
def test_a_recycle_loses_no_new_connection(srvinit: Start, pid1: bool) -> None:  # noqa: FBT001
    pool = start(srvinit, "-w2", pid1=pid1)
    with Load(port_of(pool), new=CLIENTS, kept=0, rate=RATE) as load:
        load.wait_requests(50)
        for turn in range(1, rounds(4, 20) + 1):
            pool.signal("HUP")
            pool.wait_event("recycle.finished", within=30, generation=turn + 1)
        load.wait_requests(50)
        assert lost(load.stop()) == []
    assert len(pool.found("worker.quiescing")) == 2 * turn
    finish(pool)


def test_scaling_up_and_down_loses_no_new_connection(srvinit: Start) -> None:
    pool = start(srvinit, "-w2")
    with Load(port_of(pool), new=CLIENTS, kept=0, rate=RATE) as load:
        load.wait_requests(50)
        for turn in range(1, rounds(3, 10) + 1):
            # One after the other: two pending signals of a kind are one.
            for before, after, name in ((2, 3, "TTIN"), (3, 4, "TTIN")):
                pool.signal(name)
                pool.wait_event("count.changed", nth=turn, before=before, after=after)
            pool.wait_event("worker.ready", within=20, nth=2 + 2 * turn)
            load.wait_requests(20)
            for before, after, name in ((4, 3, "TTOU"), (3, 2, "TTOU")):
                pool.signal(name)
                pool.wait_event("count.changed", nth=turn, before=before, after=after)
            pool.wait_event("worker.exited", within=20, nth=2 * turn)
        load.wait_requests(50)
        assert lost(load.stop()) == []
    assert len(serving(pool)) == 2
    finish(pool)


def shut_down_under_load(srvinit: Start, **how: Any) -> None:
    """Start and stop; whoever comes too late is refused, and may try elsewhere."""
    for _ in range(rounds(2, 10)):
        pool = start(srvinit, "-w3", **how)
        with Load(port_of(pool), new=CLIENTS, kept=0, rate=RATE) as load:
            load.wait_requests(100)
            finish(pool)
            figures = load.stop()["new"]
        assert figures["ok"] > RATE / 10
        assert figures["lost"] == figures["refused"]


@HOWS
def test_a_shutdown_under_load_cuts_nobody(srvinit: Start, pid1: bool) -> None:  # noqa: FBT001
    shut_down_under_load(srvinit, pid1=pid1)


@as_root
def test_a_shutdown_under_load_cuts_nobody_though_srvinit_has_no_right(srvinit: Start) -> None:
    """The kernel keeps filters from it; a door it can shut all the same."""
    command = anybodys(python("bare.py", "0"))
    prefix = harness.as_user(harness.NOBODY)
    shut_down_under_load(srvinit, command=command, prefix=prefix, pid1=False, cwd="/")


def test_a_shutdown_answers_all_who_wait_in_any_queue(srvinit: Start) -> None:
    """They wait in three queues; nobody asks a worker to stop before its own is empty."""
    pool = start(srvinit, "-w3")
    frozen = [freeze(pool, event["pid"]) for event in serving(pool)]
    waiting = hello(port_of(pool), 60)
    pool.signal("TERM")
    pool.wait_event("worker.quiescing", nth=2)
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    counted = answers(waiting)
    assert (counted.total(), len(counted)) == (60, 3)
    assert pool.exit_status() == 0


# --- quiescing -----------------------------------------------------------------------------------


def test_the_stop_signal_follows_an_empty_queue_and_the_time_to_read(srvinit: Start) -> None:
    """Five wait, 0.2 s each; the fifth is accepted after 0.8 s. Nobody is cut, nobody forgotten."""
    pool = start(srvinit, "-w1", takes_s=0.2)
    (old,) = (event["pid"] for event in serving(pool))
    frozen = freeze(pool, old)
    waiting = hello(port_of(pool), 5)
    pool.signal("HUP")
    quiescing = pool.wait_event("worker.quiescing", pid=old)
    assert quiescing["quiesce_s"] == QUIESCE_S
    os.kill(frozen, signal.SIGCONT)
    assert answers(waiting) == {old: 5}
    stopping = pool.wait_event("worker.stopping", pid=old)
    took = at(stopping) - at(quiescing)
    assert 0.8 + QUIESCE_S <= took < 0.8 + QUIESCE_S + SLACK_S
    finish(pool)


@pytest.mark.parametrize("seconds", [0.0, 1.2])
def test_the_time_to_read_is_what_the_settings_say(srvinit: Start, seconds: float) -> None:
    pool = start(srvinit, "-w1", f"--worker-quiesce={seconds}")
    pool.signal("HUP")
    pool.wait_event("recycle.finished", within=20)
    took = at(pool.found("worker.stopping")[0]) - at(pool.found("worker.quiescing")[0])
    assert seconds <= took < seconds + SLACK_S
    finish(pool)


def test_a_quiescing_worker_gets_nobody_new_and_serves_those_it_has(srvinit: Start) -> None:
    """Its replacement takes all newcomers, from the first moment on."""
    pool = start(srvinit, "-w1", "--worker-quiesce=2s")
    (old,) = (event["pid"] for event in serving(pool))
    with socket.create_connection(("127.0.0.1", port_of(pool)), timeout=20) as silent:
        pool.signal("HUP")
        pool.wait_event("worker.quiescing", pid=old)
        new = pool.found("worker.ready")[-1]["pid"]
        assert answers(hello(port_of(pool), 20)) == {new: 20}
        silent.sendall(HELLO)
        assert answers([silent]) == {old: 1}
    assert pool.found("worker.stopping") == []
    pool.wait_event("recycle.finished", within=20)
    finish(pool)


def test_a_client_that_never_finishes_its_handshake_holds_a_worker_three_seconds(
    srvinit: Start,
) -> None:
    pool = start(srvinit, "-w1")
    with half_open(port_of(pool)):
        pool.signal("HUP")
        quiescing = pool.wait_event("worker.quiescing")
        stopping = pool.wait_event("worker.stopping")
        took = at(stopping) - at(quiescing)
        assert HANDSHAKE_S < took < HANDSHAKE_S + QUIESCE_S + SLACK_S
        pool.wait_event("recycle.finished", within=20)
    finish(pool)


def test_a_slow_worker_has_the_time_to_empty_its_queue(srvinit: Start) -> None:
    """Longer than a handshake may take: who waits has come, and nobody of them is reset."""
    pool = start(srvinit, "-w1", "--worker-quiesce=1s", takes_s=0.4)
    (only,) = (event["pid"] for event in serving(pool))
    waiting = hello(port_of(pool), 10)
    pool.signal("TERM")
    assert answers(waiting) == {only: 10}
    assert pool.exit_status() == 0
    quiescing, stopping = pool.found("worker.quiescing")[0], pool.found("worker.stopping")[0]
    assert at(stopping) - at(quiescing) > HANDSHAKE_S


def test_a_worker_that_takes_nobody_is_asked_to_stop_all_the_same(srvinit: Start) -> None:
    """It stands still, with a queue: when half of its time is over it gets its signal, and CONT."""
    pool = start(srvinit, "-w1", "--recycle-timeout=4s")
    (old,) = (event["pid"] for event in serving(pool))
    freeze(pool, old)
    with socket.create_connection(("127.0.0.1", port_of(pool)), timeout=20):
        began = time.monotonic()
        pool.signal("HUP")
        pool.wait_event("worker.exited", pid=old)
        assert time.monotonic() - began > 2
        pool.wait_event("recycle.finished", within=20)
    finish(pool)


def test_a_shutdown_hurries_a_worker_that_quiesces(srvinit: Start) -> None:
    """Whatever was going on, the end comes within its budget."""
    pool = start(srvinit, "-w2", "--worker-quiesce=1h", "--shutdown-timeout=2s")
    pool.signal("HUP")
    pool.wait_event("worker.quiescing")
    began = time.monotonic()
    assert stop(pool) == 0
    assert time.monotonic() - began < 2 + SLACK_S
    assert pool.found("worker.killed") == []


def test_without_steering_nobody_quiesces(srvinit: Start) -> None:
    pool = srvinit(BIND, *LISTEN, QUICK, "-w2", "--", *python("bare.py"), pid1=True)
    pool.wait_event("srvinit.ready", within=30)
    pool.signal("HUP")
    pool.wait_event("recycle.finished", within=20)
    assert stop(pool) == 0
    assert pool.found("worker.quiescing") == []
