"""Crashes: replaced after a delay, counted in a row, and never for ever without a limit."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import proc
import pytest
from scenes import BIND, SLACK_S, at, cpu_seconds, rounds, start_talk, start_web, stop

if TYPE_CHECKING:
    from harness import Srvinit
    from scenes import Start

LIMITLESS = "--restart-limit=0"


def most_live(pool: Srvinit) -> int:
    """Return how many workers were alive at once, as the log has it."""
    live = most = 0
    for event in pool.events:
        live += (event["event"] == "worker.started") - (event["event"] == "worker.exited")
        most = max(most, live)
    return most


def wait_age(event: dict[str, Any], seconds: float) -> None:
    """Wait until an event is so old."""
    what = f"{event['event']} to be {seconds:g} s old"
    proc.wait_until(lambda: time.time() - at(event) > seconds, 10, what)


def test_c29_a_boot_loop_costs_little_and_stays_short_in_the_log(srvinit: Start) -> None:
    """At most one spawn, four lines and 50 ms of CPU per worker and restart.delay.

    8 turns of 300 ms here, where the case runs 60 s with the default of 5 s.
    """
    pool = srvinit("-w4", LIMITLESS, "--restart-delay=300ms", "--", "false", pid1=True)
    first = pool.wait_event("worker.started", nth=4)
    lines, cpu = len(pool.lines), cpu_seconds(pool.pid)
    last = pool.wait_event("worker.started", nth=4 * 8)
    assert at(last) - at(first) >= 7 * 0.3 - 0.01
    assert cpu_seconds(pool.pid) - cpu < 4 * 8 * 0.05
    assert len(pool.lines) - lines < 4 * 8 * 200 / 60
    assert stop(pool) == 0


def test_c29_with_the_default_limit_a_boot_loop_ends(srvinit: Start) -> None:
    """Ten failures in a row are enough by default: the end is not 0."""
    pool = srvinit("-w4", "--restart-delay=20ms", "--", "false", pid1=True)
    assert pool.exit_status() == 1
    assert pool.found("restart.gave_up")[0]["failures"] == 10


def test_c30_all_workers_die_in_one_instant_again_and_again(srvinit: Start) -> None:
    """Each time four are ready within 2 s, never three for good, never five.

    With restart.limit=0: by its default, ten deaths of young workers end srvinit. 5 rounds without
    a pause here; SRVINIT_ROUNDS=full makes it 200.
    """
    pool = start_web(srvinit, "-w4", LIMITLESS, "--restart-delay=200ms")
    for turn in range(1, rounds(5, 200) + 1):
        before = pool.workers()
        for worker in before:
            os.kill(worker, signal.SIGKILL)
        pool.wait_event("worker.ready", nth=4 * turn + 4)
        started = pool.found("worker.started")[4 * turn :]
        exited = pool.found("worker.exited")[4 * turn - 4 :]
        ready = pool.found("worker.ready")[4 * turn :]
        assert sorted(event["slot"] for event in started) == [0, 1, 2, 3]
        assert at(ready[-1]) - at(exited[0]) < 2 + SLACK_S
        assert len(pool.workers()) == 4
    assert most_live(pool) == 4
    assert stop(pool) == 0


def test_c31_workers_that_fail_at_once_are_counted_exactly(srvinit: Start) -> None:
    """Failing within 5 ms escapes no limit: ten spawns, then the end."""
    options = ("-w1", "--restart-limit=10", "--restart-delay=0s")
    pool = srvinit(*options, "--", "sh", "-c", "sleep 0.005; exit 1", pid1=True)
    assert pool.exit_status() == 1
    assert len(pool.found("worker.started")) == 10


def test_a_crashed_worker_is_replaced_after_the_delay(srvinit: Start) -> None:
    """Not before restart.delay, in the same slot, while the others serve on."""
    pool = start_talk(srvinit, "--restart-delay=300ms", count=2)
    victim = pool.found("worker.started")[0]
    os.kill(pool.outside(victim["pid"]), signal.SIGSEGV)
    exited = pool.wait_event("worker.exited", pid=victim["pid"], status=-signal.SIGSEGV)
    assert "SIGSEGV" in exited["reason"]
    assert exited["level"] == "warning"
    again = pool.wait_event("worker.started", why="crash")
    assert again["slot"] == victim["slot"]
    assert 0.29 < at(again) - at(exited) < 0.3 + SLACK_S
    assert stop(pool) == 0


def test_a_worker_that_served_and_exits_0_is_replaced_at_once(srvinit: Start) -> None:
    """max-requests, say: no crash, no delay, no failure in the row."""
    options = ("--restart-delay=60s", "--restart-limit=2")
    pool = start_talk(srvinit, *options, words=("end=USR1:0,TERM:0",))
    for turn in range(1, 4):
        ready = pool.wait_event("worker.ready", nth=turn)
        pool.wait_output("ready", nth=turn)
        wait_age(ready, 0.3)  # one that ends sooner never served, and would spin
        pool.signal("USR1")
        pool.wait_event("worker.started", nth=turn + 1, within=5)
    assert stop(pool) == 0


def test_a_worker_that_stayed_ready_sets_the_row_of_failures_back(srvinit: Start) -> None:
    """restart.reset: crashes that are far apart never add up to restart.limit."""
    options = ("--restart-delay=0", "--restart-limit=2", "--restart-reset=100ms")
    pool = start_talk(srvinit, *options, words=("end=USR1:1,TERM:0",))
    for turn in range(1, 5):
        ready = pool.wait_event("worker.ready", nth=turn)
        pool.wait_output("ready", nth=turn)
        wait_age(ready, 0.2)
        pool.signal("USR1")
        pool.wait_event("worker.exited", nth=turn, status=1)
    pool.wait_output("ready", nth=5)
    assert stop(pool) == 0


def test_a_worker_that_is_never_ready_is_killed_and_started_anew(srvinit: Start) -> None:
    """worker.timeout is a failure like any other, in a row up to restart.limit; children go too."""
    options = ("--worker-require=listen", "--worker-timeout=200ms", "--restart-delay=0")
    command = ["sh", "-c", "sleep 1000 & echo there; wait"]
    pool = srvinit(BIND, "-w1", *options, "--restart-limit=3", "--", *command, pid1=True)
    assert pool.exit_status() == 128 + signal.SIGKILL
    assert pool.output == b"there\n" * 3
    for killed, started in zip(
        pool.found("worker.killed"), pool.found("worker.started"), strict=True
    ):
        # The time runs from the order to start it; the line of its start comes after its fork.
        ended = pool.wait_event("worker.exited", pid=killed["pid"])
        assert ended["lived_s"] >= 0.2
        assert at(killed) - at(started) < 0.2 + SLACK_S
        assert killed["pid"] == started["pid"]
    assert pool.everything() == []


@pytest.mark.parametrize("count", [2, 3])
def test_workers_are_renewed_when_they_are_old(srvinit: Start, count: int) -> None:
    """worker.max_age: by a recycle like any other, each worker within its age, jitter taken off."""
    options = ("--worker-max-age=1s", "--restart-reset=100ms")
    pool = start_talk(srvinit, *options, count=count)
    pool.wait_event("recycle.started", why="worker.max_age")
    first = pool.found("worker.started")[:count]
    for event in first:
        ended = pool.wait_event("worker.exited", pid=event["pid"], status=0)
        assert 0.9 <= at(ended) - at(event) < 1.5 + SLACK_S
    assert stop(pool) == 0
