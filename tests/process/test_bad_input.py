"""Storms, clocks that jump, workers that are stopped or will not stop: srvinit keeps its word."""

from __future__ import annotations

import os
import re
import signal
import sys
from typing import TYPE_CHECKING

import harness
import proc
import pytest
from scenes import BIND, SLACK_S, WEB, at, is_pending, python, start_talk, start_web, stop

if TYPE_CHECKING:
    from pathlib import Path

    from scenes import Start

# srvinit in an interpreter whose wall clock jumps forth and back by a day at every look at it.
JUMPING = """
import sys, time
real, looks = time.time, [0]
def jumping():
    looks[0] += 1
    return real() + (86400 if looks[0] % 2 else -86400)
time.time = jumping
from srvinit.__main__ import main
sys.exit(main())
"""


def test_a_wall_clock_that_jumps_changes_no_deadline(srvinit: Start) -> None:
    """Only monotonic time decides: restart, settle, recycle and shutdown take what they take.

    Setting the machine's clock would disturb everybody on it, so the clock that srvinit sees jumps.
    That it has no other is what the next test shows.
    """
    options = ("-w1", "--restart-delay=200ms", "--recycle-settle=200ms", "--recycle-timeout=300ms")
    run = [sys.executable, "-c", JUMPING]
    pool = srvinit(*options, "--shutdown-timeout=300ms", "--", *python("talk.py", "end=USR1:1"),
                   pid1=True, run=run)  # fmt: skip
    pool.wait_output("ready")
    os.kill(pool.workers()[0], signal.SIGKILL)
    pool.wait_output("ready", nth=2)
    pool.signal("HUP")
    finished = pool.wait_event("recycle.finished")
    assert 0.45 < finished["seconds"] < 0.5 + SLACK_S
    (killed,) = pool.found("worker.killed")
    assert 0.29 < killed["waited_s"] < 0.3 + SLACK_S
    assert stop(pool) == 124
    assert pool.events[-1]["uptime_s"] < 10
    days = {event["timestamp"][:10] for event in pool.events}
    assert len(days) == 2, "the clock did not jump"


def test_no_call_of_the_kernel_waits_by_the_wall_clock(srvinit: Start, tmp_path: Path) -> None:
    """All the waits of a run, by strace: relative ones alone, and no timer set to a time of day.

    ITIMER_REAL is such a one: in the kernel it is a relative timer on CLOCK_MONOTONIC.
    """
    trace = tmp_path / "trace"
    calls = "timerfd_create,timer_create,setitimer,alarm,clock_nanosleep,rt_sigtimedwait,epoll_wait"
    prefix = (harness.program("strace"), "-qq", "-o", str(trace), "-e", f"trace={calls},futex")
    pool = start_talk(srvinit, "--restart-delay=50ms", pid1=False, prefix=prefix)
    own_pid = proc.children(pool.pid)[0]
    os.kill(proc.children(own_pid)[0], signal.SIGKILL)
    pool.wait_event("worker.ready", nth=2)
    os.kill(own_pid, signal.SIGTERM)
    assert pool.exit_status() == 0
    text = trace.read_text()
    assert "rt_sigtimedwait(" in text
    assert re.findall(r"^(?:timer|alarm).*", text, re.MULTILINE) == []
    assert "CLOCK_REALTIME" not in text
    timers = re.findall(r"^setitimer\((\w+), .*it_value=\{tv_sec=(\d+)", text, re.MULTILINE)
    assert timers
    assert all(which == "ITIMER_REAL" and int(seconds) < 60 for which, seconds in timers)


@pytest.mark.parametrize("name", ["RTMIN+7", "USR1", "CHLD", "IO", "TTIN"])
def test_a_storm_of_signals_is_survived(srvinit: Start, name: str) -> None:
    """10,000 of a kind, real-time ones queue: the next order is obeyed, and the log stays short."""
    pool = start_talk(srvinit, words=("end=TERM:0",))
    for _ in range(10_000 if name != "TTIN" else 20):
        pool.signal(name)
    proc.wait_until(lambda: name.startswith("RT") or not is_pending(pool.pid, name), 10, name)
    assert stop(pool) == 0
    assert pool.found("srvinit.fault") == []
    # each is seldom forwarded by itself: what is pending together goes out once
    assert len(pool.lines) < 3000


def test_a_stubborn_worker_holds_no_recycle(srvinit: Start) -> None:
    """It ignores TERM: killed after recycle.timeout, said so, and the recycle goes on."""
    pool = start_web(srvinit, "-w2", "--recycle-timeout=300ms", environ={"STUBBORN": "1"})
    old = [event["pid"] for event in pool.found("worker.started")]
    pool.signal("HUP")
    pool.wait_event("recycle.finished", within=30)
    killed = pool.found("worker.killed")
    assert [event["pid"] for event in killed] == old
    assert all(0.29 < event["waited_s"] < 0.3 + SLACK_S for event in killed)
    assert all("SIGTERM" in event["message"] for event in killed)
    for pid in pool.workers():
        os.kill(pid, signal.SIGKILL)
    stop(pool)


def test_a_stopped_worker_is_retired_like_any_other(srvinit: Start) -> None:
    """SIGSTOP before a recycle: CONT follows the stop signal here, too."""
    pool = start_talk(srvinit, count=2)
    stopped = pool.workers()[1]
    os.kill(stopped, signal.SIGSTOP)
    pool.signal("HUP")
    pool.wait_event("recycle.finished")
    assert pool.found("worker.killed") == []
    assert proc.state(stopped) == "X"
    assert stop(pool) == 0


def test_a_worker_that_stops_itself_again_and_again_is_killed_in_time(srvinit: Start) -> None:
    """Stopped anew right after CONT: only SIGKILL reaches it, at the deadline."""
    script = (
        "import os, signal; signal.signal(15, lambda n, f: None);"
        "signal.signal(18, lambda n, f: os.kill(os.getpid(), 19));"
        "print('ready', flush=True)\nwhile True: signal.pause()"
    )
    command = (sys.executable, "-S", "-c", script)
    pool = srvinit("-w1", "--shutdown-timeout=500ms", "--", *command, pid1=True)
    pool.wait_output("ready")
    pool.wait_event("srvinit.ready")
    assert stop(pool) == 124
    assert at(pool.events[-1]) - at(pool.found("shutdown.started")[0]) < 0.5 + SLACK_S


def test_a_worker_that_forks_without_end_is_swept(srvinit: Start) -> None:
    """Its children run away into sessions of their own: all are gone in the end."""
    script = "for i in 1 2 3 4 5 6 7 8; do setsid sleep 1000 & done; echo done; exec sleep 1000"
    pool = srvinit("-w2", "--", "sh", "-c", script, pid1=True)
    pool.wait_output("done", nth=2)
    pool.wait_event("srvinit.ready")
    assert len(pool.everything()) == 18
    assert stop(pool) == 0


def test_a_server_on_a_port_of_its_own_is_not_taken_for_ready(srvinit: Start) -> None:
    """It listens, yet not on the shared socket: killed after worker.timeout, and counted."""
    script = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); s.accept()"
    command = (sys.executable, "-S", "-c", script)
    options = ("--worker-require=listen", "--worker-timeout=500ms", "--restart-limit=1")
    pool = srvinit("-w1", BIND, *options, "--", *command, pid1=True)
    assert pool.exit_status() == 137
    assert pool.found("worker.ready") == []


def test_two_pools_can_share_a_directory_and_a_machine(srvinit: Start, tmp_path: Path) -> None:
    """Nothing of srvinit's is global: no pid file, no lock, no fixed name."""
    pools = [start_web(srvinit, "-w1", command=WEB, cwd=tmp_path, pid1=False) for _ in range(2)]
    assert [stop(pool) for pool in pools] == [0, 0]
    assert list(tmp_path.iterdir()) == []
