"""How srvinit ends within its budget, whatever is going on: DESIGN, sections 4 and 8."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections import Counter
from typing import TYPE_CHECKING

import proc
import pytest
from load import Load
from scenes import (
    SLACK_S,
    at,
    is_listening,
    names,
    port_of,
    python,
    rounds,
    start_talk,
    start_web,
    stop,
)

if TYPE_CHECKING:
    import harness
    from scenes import Start


def lasted(pool: harness.Srvinit) -> float:
    """Return the seconds from the request to stop to the last line."""
    return at(pool.events[-1]) - at(pool.found("shutdown.started")[0])


# --- the drain -------------------------------------------------------------------------------


def test_c15_int_leaves_the_drain_out_and_term_does_not(srvinit: Start) -> None:
    """shutdown.delay is for load balancers: TERM serves on for it, INT is out at once.

    1 s here, where the case says 10.
    """
    options = ("-w2", "--shutdown-delay=1s")
    hurried = start_web(srvinit, *options)
    assert stop(hurried, "INT") == 0
    assert lasted(hurried) < SLACK_S

    pool = start_web(srvinit, *options)
    port = port_of(pool)
    with Load(port, new=4, kept=0, rate=100) as load:
        load.wait_requests(1)
        pool.signal("TERM")
        pool.wait_event("worker.stopping")
        answered = load.stop()
    assert pool.exit_status() == 0
    assert answered["new"]["requests"] > 50
    assert answered["new"]["lost"] == 0
    drained = at(pool.found("worker.stopping")[0]) - at(pool.found("shutdown.started")[0])
    assert 0.99 < drained < 1 + SLACK_S


def test_int_during_the_drain_ends_it(srvinit: Start) -> None:
    """A person who is waiting now need not wait for the rest of the delay."""
    pool = start_talk(srvinit, "--shutdown-delay=60s")
    pool.signal("TERM")
    pool.wait_event("shutdown.started")
    pool.signal("INT")
    assert pool.exit_status() == 0
    pool.wait_event("shutdown.hurried")
    assert lasted(pool) < SLACK_S


def test_a_drain_serves_whoever_is_ready_and_lets_go_who_is_not(srvinit: Start) -> None:
    """A worker that is only starting when TERM comes is stopped at once, not after the delay."""
    pool = srvinit("-w1", "--shutdown-delay=1s", "--worker-require=notify", "--worker-timeout=60s",
                   "--", "sleep", "1000", pid1=True)  # fmt: skip
    pool.wait_event("worker.started")
    assert stop(pool) == 0
    assert lasted(pool) < 1


# --- the last worker and the queue -----------------------------------------------------------


def test_queued_connections_are_served_not_reset(srvinit: Start) -> None:
    """What waits in the accept queue at TERM is answered by the worker that stays for it."""
    pool = start_web(srvinit, "-w2", environ={"SLOW": "0.05"})
    port = port_of(pool)
    for worker in pool.workers():  # so that all of them are in the queue when TERM comes
        os.kill(worker, signal.SIGSTOP)
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(40):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            clients.append(client)
        pool.signal("TERM")
        # The first that is asked to stop is continued; the last one, nobody continues but we
        pool.wait_event("worker.stopping")
        for worker in pool.workers():
            os.kill(worker, signal.SIGCONT)
        answers = [client.recv(100) for client in clients]
    assert [answer[:15] for answer in answers] == [b"HTTP/1.0 200 OK"] * 40
    assert pool.exit_status() == 0


def test_late_clients_are_refused_at_once(srvinit: Start) -> None:
    """It closes its own copies before the last worker ends: nobody hangs in a dead queue."""
    pool = start_web(srvinit, "-w2", "--shutdown-timeout=30s", environ={"LINGER": "10"})
    port = port_of(pool)
    pool.signal("TERM")
    pool.wait_event("socket.closed")
    proc.wait_until(lambda: not is_listening(port), 8, "everyone to have closed the socket")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)
    assert pool.is_running
    assert pool.exit_status(within=20) == 0


def test_a_queue_that_does_not_empty_holds_the_last_worker_half_the_time(srvinit: Start) -> None:
    """Nobody accepts: the last worker is asked once half of shutdown.timeout is gone."""
    pool = start_talk(srvinit, "--bind=127.0.0.1:0", "--shutdown-timeout=1s", count=2)
    with socket.create_connection(("127.0.0.1", port_of(pool))):
        assert stop(pool) == 0
    first, last = pool.found("worker.stopping")
    assert 0.45 < at(last) - at(first) < 0.95


# --- workers that do not behave --------------------------------------------------------------


def test_c34_a_stopped_worker_sees_its_term_all_the_same(srvinit: Start) -> None:
    """SIGSTOP, then TERM: CONT follows the stop signal, so it is over at once."""
    pool = start_talk(srvinit)
    worker = pool.workers()[0]
    os.kill(worker, signal.SIGSTOP)
    proc.wait_until(lambda: proc.state(worker) == "T", 5, "the worker to be stopped")
    assert stop(pool) == 0
    assert lasted(pool) < 1
    assert pool.found("worker.killed") == []


def test_c32_a_worker_that_ends_at_the_moment_of_its_kill(srvinit: Start) -> None:
    """LINGER = shutdown.timeout, give or take: no fault, and status and last event agree.

    5 rounds here; SRVINIT_ROUNDS=full makes it 100.
    """
    many = rounds(5, 100)
    for turn in range(many):
        linger = 0.3 + 0.01 * (turn - many // 2) / (many // 2)
        pool = start_talk(srvinit, "--shutdown-timeout=300ms", words=(f"linger={linger}",))
        status = stop(pool)
        assert status == (124 if pool.found("worker.killed") else 0)
        assert pool.events[-1]["status"] == status
        assert pool.strays == []
        assert {event["level"] for event in pool.events} <= {"info", "warning"}


def test_c33_the_whole_shutdown_fits_the_grace_period(srvinit: Start) -> None:
    """STUBBORN=1 in a grace period of 3 s: over before, by srvinit's own hand, with 124.

    As PID 1 here, without docker, which would say 137 if it had to kill.
    """
    pool = start_web(srvinit, "-w2", "--shutdown-grace-period=3s", environ={"STUBBORN": "1"})
    assert stop(pool) == 124
    assert lasted(pool) < 3
    assert len(pool.found("worker.killed")) == 2


def test_children_of_a_worker_that_ended_are_killed_with_their_group(srvinit: Start) -> None:
    """A leader that leaves children behind in its group leaves nobody on the shared socket."""
    pool = srvinit("-w1", "--", "sh", "-c", "sleep 1000 & echo child; trap 'exit 0' TERM; wait",
                   pid1=True)  # fmt: skip
    pool.wait_output("child")
    assert stop(pool) == 0
    assert lasted(pool) < SLACK_S


# --- the sweep -------------------------------------------------------------------------------


def with_orphan(srvinit: Start, script: str, *options: str) -> harness.Srvinit:
    """Start a worker that leaves this script behind in a session of its own, which says "there"."""
    command = ["sh", "-c", 'setsid sh -c "$1" & exec sleep 1000', "sh", script]
    pool = srvinit("-w1", *options, "--", *command, pid1=True)
    pool.wait_output("there")
    pool.wait_event("srvinit.ready")
    return pool


def test_orphans_are_asked_then_killed(srvinit: Start) -> None:
    """What the workers leave gets TERM, the margin, then KILL; the status is 124."""
    stays = "trap 'echo asked' TERM; echo there; while :; do sleep 0.1; done"
    pool = with_orphan(srvinit, stays, "--shutdown-margin=1s")
    assert stop(pool) == 124
    assert b"asked" in pool.output
    assert [event["signal"] for event in pool.found("shutdown.sweeping")] == ["TERM", "KILL"]
    assert lasted(pool) < 1 + SLACK_S


def test_orphans_that_end_when_asked_cost_neither_time_nor_status(srvinit: Start) -> None:
    pool = with_orphan(srvinit, "echo there; exec sleep 1000", "--shutdown-margin=10s")
    assert stop(pool) == 0
    assert lasted(pool) < SLACK_S


def test_a_subreaper_sweeps_what_it_adopted(srvinit: Start) -> None:
    """Not as PID 1, either: the orphans of its workers are asked to stop, too."""
    pool = start_talk(srvinit, pid1=False, words=("orphan",))
    orphan = int(pool.wait_output("orphan ready").split()[-1])
    proc.wait_until(lambda: orphan in proc.children(pool.pid), 5, "srvinit to adopt the orphan")
    pool.signal("TERM")
    pool.wait_output("orphan got TERM")
    os.kill(orphan, signal.SIGUSR1)
    assert pool.exit_status() == 0


# --- in the middle of something --------------------------------------------------------------


def acted_on_at_once(pool: harness.Srvinit) -> None:
    """Hold the log against this: TERM goes before all that the recycle had yet to do.

    Right after the request come the stop signals, before any worker's end or whatever else; nobody
    is started any more. How many milliseconds that takes is measured (bench/stopping.py).
    """
    told = names(pool)
    began = told.index("shutdown.started")
    assert "worker.started" not in told[began:]
    assert "recycle.finished" not in told
    assert told[began + 1 : began + 3] == ["recycle.abandoned", "worker.stopping"]


def test_term_during_a_recycle_retires_all_at_once(srvinit: Start) -> None:
    """The replacement that is not ready goes with all the others, each asked once; exit 0."""
    pool = start_web(srvinit, "-w3", command=["sh", "-c",
                     '[ $SRVINIT_GENERATION = 1 ] || { echo slow; exec sleep 1000; }; exec "$@"',
                     "sh", *python("web.py")])  # fmt: skip
    pool.signal("HUP")
    pool.wait_output("slow")
    assert stop(pool) == 0
    assert lasted(pool) < SLACK_S
    asked = Counter(event["pid"] for event in pool.found("worker.stopping"))
    assert asked == {event["pid"]: 1 for event in pool.found("worker.started")}
    assert len(asked) == 4
    acted_on_at_once(pool)
    assert pool.found("recycle.failed") == []


def test_term_while_an_old_worker_is_leaving_waits_for_it(srvinit: Start) -> None:
    """A worker retired by a recycle keeps its grace, but not beyond the shutdown's end."""
    pool = start_talk(srvinit, "--recycle-timeout=60s", "--shutdown-timeout=1s", count=2,
                      words=("end=USR1:0",))  # fmt: skip
    pool.signal("HUP")
    pool.wait_output("got TERM")
    pool.wait_output("ready", nth=3)
    assert stop(pool) == 124
    acted_on_at_once(pool)
    assert lasted(pool) < 1.5 + SLACK_S
    assert len(pool.found("worker.killed")) == 3, "the second old one has no replacement yet"
    assert Counter(line.split()[-1] for line in pool.output.decode().splitlines()
                   if line.startswith("got TERM")).most_common(1)[0][1] == 1  # fmt: skip


def test_term_while_a_crashed_worker_waits_for_its_delay_starts_nothing(srvinit: Start) -> None:
    pool = start_talk(srvinit, "--restart-delay=60s", count=2)
    os.kill(pool.workers()[0], signal.SIGKILL)
    pool.wait_event("worker.exited", status=-9)
    assert stop(pool) == 0
    assert len(pool.found("worker.started")) == 2
    assert lasted(pool) < SLACK_S


@pytest.mark.parametrize("name", ["HUP", "TTIN", "TTOU"])
def test_nothing_is_started_once_srvinit_shuts_down(srvinit: Start, name: str) -> None:
    """HUP, TTIN and TTOU during a shutdown change nothing."""
    pool = start_talk(srvinit, count=2, words=("end=USR1:0",))
    pool.signal("TERM")
    pool.wait_output("got TERM", nth=2)
    pool.signal(name)
    pool.signal("USR1")
    assert pool.exit_status() == 0
    assert len(pool.found("worker.started")) == 2


def test_a_shutdown_with_nobody_left_is_over_at_once(srvinit: Start) -> None:
    """All workers crashed and wait for their delay: there is nothing to wait for, nor to drain."""
    pool = srvinit("-w1", "--restart-delay=60s", "--shutdown-delay=60s", "--", "false", pid1=True)
    pool.wait_event("worker.exited")
    assert stop(pool) == 0
    assert lasted(pool) < SLACK_S
