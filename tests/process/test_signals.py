"""What each signal to srvinit does, and what signals workers get: DESIGN, section 6."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import proc
import pytest
from scenes import at, names, rounds, start_talk, start_web, stop

if TYPE_CHECKING:
    from pathlib import Path

    from harness import Srvinit
    from scenes import Start

STATUS_LINES = ("grep", "-E", "Sig(Ign|Blk)", "/proc/self/status")
PLAIN = ("-w1", "--restart-policy=never")
SENT_LAST = "RTMIN+30"  # the highest: whatever else is pending is handed out before it


def got(pool: Srvinit, who: str = "got") -> list[str]:
    """Return the names of the signals that workers have told of, in their order."""
    lines = pool.output.decode().splitlines()
    return [line.split()[-2] for line in lines if line.startswith(who)]


def got_until_last(pool: Srvinit, count: int = 1) -> Counter[str]:
    """Send one signal more, wait until each worker has got it; return all that came before."""
    pool.signal(SENT_LAST)
    pool.wait_output(f"got {SENT_LAST}", nth=count)
    return Counter(got(pool)) - Counter({SENT_LAST: count})


def blocks_term(pid: int) -> bool:
    blocked = int(proc.status_field(pid, "SigBlk") or "0", 16)
    return bool(blocked & 1 << (signal.SIGTERM - 1))


def masks(status: bytes) -> dict[str, int]:
    """Return the masks in lines of /proc/PID/status, less what the C library keeps for itself."""
    pairs = [line.split(":") for line in status.decode().splitlines()]
    return {name: int(mask, 16) & ~proc.LIBRARY_SIGNALS for name, mask in pairs}


# --- what workers get ------------------------------------------------------------------------


def test_c05_the_stop_signal_goes_to_the_leader_alone(srvinit: Start) -> None:
    """A prefork master gets one TERM, its children none: they are its own business."""
    pool = start_talk(srvinit, count=2, words=("child",))
    pool.wait_output("child ready", nth=2)
    assert stop(pool) == 0
    assert Counter(got(pool)) == {"TERM": 2}
    assert Counter(got(pool, "child got")) == {"RTMIN+10": 2}


def test_c05_a_whole_group_is_signalled_where_that_is_asked_for(srvinit: Start) -> None:
    """With worker.signal_group children get the stop signal, and what is forwarded, too."""
    pool = start_talk(srvinit, "--worker-signal-group", words=("child",))
    pool.wait_output("child ready")
    pool.signal("USR1")
    pool.wait_output("child got USR1")
    assert stop(pool) == 0
    assert got(pool)[:2] == ["USR1", "TERM"]
    # talk.py's leader tells its child to end only when it has got TERM itself
    assert got(pool, "child got") in (["USR1", "TERM", "CONT", "RTMIN+10"],
                                      ["USR1", "TERM", "RTMIN+10"])  # fmt: skip


def test_c06_a_worker_gets_its_stop_signal_once(srvinit: Start, tmp_path: Path) -> None:
    """TERM while old workers are still leaving sends those no second one: each exits by itself.

    3 rounds here; SRVINIT_ROUNDS=full makes it 100.
    """
    for turn in range(rounds(3, 100)):
        told = tmp_path / f"{turn}"
        environ = {"LINGER": "0.5", "SIGLOG": os.fspath(told)}
        pool = start_web(srvinit, "-w4", environ=environ)
        pool.signal("HUP")
        pool.wait_event("worker.stopping")
        assert stop(pool) == 0
        started = [event["pid"] for event in pool.found("worker.started")]
        exits = {event["pid"]: event["status"] for event in pool.found("worker.exited")}
        assert len(started) == len(set(started)) >= 5
        # A replacement may be stopped before it has its handler: then TERM acts by itself.
        asked = [int(line.split()[0]) for line in told.read_text().splitlines()]
        assert len(asked) == len(set(asked)), "a worker got two TERMs"
        assert exits == {pid: 0 if pid in asked else -15 for pid in started}
        assert set(started[:4]) <= set(asked)


def test_c07_a_term_at_any_moment_of_the_start_ends_it(srvinit: Start) -> None:
    """Whatever the start is busy with, fork and exec above all, no TERM is lost.

    Counted from the moment srvinit takes signals in: before that a PID 1 has no choice, the
    kernel drops what has no handler. 12 rounds here; SRVINIT_ROUNDS=full makes it 200.
    """
    many = rounds(12, 200)
    for turn in range(many):
        pool = srvinit("--", "sleep", "1000", pid1=True)
        proc.wait_until(lambda pid=pool.pid: blocks_term(pid), 5, "srvinit to take signals in")
        time.sleep(0.050 * turn / many)  # the moment is what this is about: it waits for nothing
        assert stop(pool, within=5) == 0
        assert at(pool.events[-1]) - at(pool.wait_event("shutdown.started")) < 1
        assert pool.found("worker.killed") == []
        exits = pool.found("worker.exited")
        assert len(exits) == len(pool.found("worker.started"))
        assert {event["status"] for event in exits} <= {-15}


def test_c08_workers_get_the_signals_as_srvinit_found_them(srvinit: Start) -> None:
    """Nothing that srvinit or Python blocks or ignores for itself leaks into a worker."""
    without = subprocess.run(STATUS_LINES, capture_output=True, check=True).stdout
    pool = srvinit(*PLAIN, "--no-worker-ignore-sigint", "--", *STATUS_LINES, pid1=True)
    assert pool.exit_status() == 0
    assert pool.output == without


def test_c08_sigint_is_ignored_in_workers_by_default(srvinit: Start) -> None:
    """With worker.ignore_sigint workers start with SIGINT ignored, and nothing else."""
    pool = srvinit(*PLAIN, "--", *STATUS_LINES, pid1=True)
    assert pool.exit_status() == 0
    assert masks(pool.output) == {"SigBlk": 0, "SigIgn": 1 << (signal.SIGINT - 1)}


def test_c08_what_was_ignored_or_blocked_before_srvinit_stays_so(srvinit: Start) -> None:
    """A worker finds USR1 ignored and USR2 blocked if that is how srvinit was started."""
    script = (
        "import os, signal, sys; signal.signal(signal.SIGUSR1, signal.SIG_IGN);"
        # Python leaves them ignored over exec; the frozen srvinit would hand that on
        "signal.signal(signal.SIGPIPE, signal.SIG_DFL);"
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL);"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2]);"
        "os.execvp(sys.argv[1], sys.argv[1:])"
    )
    prefix = [sys.executable, "-S", "-c", script]
    pool = srvinit(*PLAIN, "--no-worker-ignore-sigint", "--", *STATUS_LINES, prefix=prefix)
    assert pool.exit_status() == 0
    assert masks(pool.output) == {
        "SigBlk": 1 << (signal.SIGUSR2 - 1),
        "SigIgn": 1 << (signal.SIGUSR1 - 1),
    }


def test_c08_a_broken_pipe_ends_a_workers_child(srvinit: Start) -> None:
    """`yes | head -1` in a worker ends of SIGPIPE, as in any shell."""
    script = "yes | head -1 >/dev/null; echo ${PIPESTATUS[0]}"
    pool = srvinit(*PLAIN, "--", "bash", "-c", script, pid1=True)
    assert pool.exit_status() == 0
    assert pool.output == b"141\n"


def test_c09_a_server_that_stops_gracefully_on_quit_gets_quit(srvinit: Start) -> None:
    """worker.stop_signal=QUIT: one QUIT, no TERM, and the exit status of a clean stop."""
    pool = start_talk(srvinit, "--worker-stop-signal=QUIT", words=("end=QUIT:0,TERM:1",))
    assert stop(pool) == 0
    assert got(pool) == ["QUIT"]
    assert len(pool.found("worker.started")) == 1


def test_c09_an_image_with_stopsignal_quit_stops_as_gracefully(srvinit: Start) -> None:
    """signal=QUIT=shutdown: QUIT to srvinit is a shutdown, and is not forwarded."""
    pool = start_talk(srvinit, "--signal=QUIT=shutdown", words=("end=QUIT:1,TERM:0",))
    assert stop(pool, "QUIT") == 0
    assert got(pool) == ["TERM"]
    assert len(pool.found("worker.started")) == 1


def test_c13_without_a_terminal_no_worker_gets_winch(srvinit: Start) -> None:
    """An attached `docker run` passes WINCH to PID 1; servers would take it as a stop."""
    pool = start_talk(srvinit, count=2)
    for _ in range(10):
        pool.signal("WINCH")
    assert got_until_last(pool, 2) == {}
    assert stop(pool) == 0


# --- what srvinit does -----------------------------------------------------------------------


def test_a_second_term_changes_nothing(srvinit: Start) -> None:
    """The first TERM fixes the budget, and each worker gets one however many come."""
    pool = start_talk(srvinit, "--shutdown-timeout=1s", count=2, words=("end=USR1:0",))
    pool.signal("TERM")
    pool.wait_output("got TERM", nth=2)
    for _ in range(3):
        pool.signal("TERM")
    assert got_until_last(pool, 2) - Counter({"CONT": 2}) == {"TERM": 2}
    assert pool.exit_status() == 124
    assert len(pool.found("shutdown.started")) == 1
    assert at(pool.found("worker.killed")[0]) - at(pool.found("shutdown.started")[0]) < 1.5


@pytest.mark.parametrize("name", ["TERM", "INT", "RTMIN+3"])
def test_these_signals_shut_down(srvinit: Start, name: str) -> None:
    """TERM, INT and RTMIN+3 (container engines send it where they take PID 1 for an init)."""
    pool = start_talk(srvinit, count=2)
    assert stop(pool, name) == 0
    assert Counter(got(pool)) == {"TERM": 2}
    assert pool.found("shutdown.started")[0]["why"] == f"SIG{name}"


def test_ttin_and_ttou_scale_by_one(srvinit: Start) -> None:
    """TTIN starts one worker more, TTOU retires one, down to one and no further."""
    pool = start_talk(srvinit, count=2)
    pool.signal("TTIN")
    pool.wait_output("ready", nth=3)
    assert len(pool.workers()) == 3
    for left in (2, 1):
        pool.signal("TTOU")
        pool.wait_event("count.changed", after=left)
    pool.wait_event("worker.exited", nth=2, status=0, asked=True)
    pool.signal("TTOU")
    assert got_until_last(pool)["TERM"] == 2
    assert len(pool.workers()) == 1
    assert len(pool.found("count.changed")) == 3
    assert stop(pool) == 0


def test_a_count_set_by_ttin_survives_recycles_until_the_files_own_changes(
    srvinit: Start, tmp_path: Path
) -> None:
    """HUP with the same file keeps the third worker; a file with another count takes over."""
    file = tmp_path / "srvinit.toml"
    file.write_text("[worker]\ncount = 2\n")
    pool = srvinit(f"--config={file}", "--recycle-settle=0", "--", "sleep", "1000", pid1=True)
    pool.wait_event("srvinit.ready")
    pool.signal("TTIN")
    pool.wait_event("worker.ready", slot=2)
    pool.signal("HUP")
    pool.wait_event("recycle.finished", generation=2, replaced=3)
    assert len(pool.workers()) == 3
    file.write_text("[worker]\ncount = 1\n")
    pool.signal("HUP")
    pool.wait_event("recycle.finished", generation=3)
    assert len(pool.workers()) == 1
    assert stop(pool) == 0


@pytest.mark.parametrize("name", ["USR1", "USR2", "QUIT", "ALRM", "RTMIN", "RTMIN+17"])
def test_other_signals_are_forwarded_to_every_worker_once(srvinit: Start, name: str) -> None:
    """What has no meaning for srvinit is for the workers."""
    pool = start_talk(srvinit, count=2)
    pool.signal(name)
    assert got_until_last(pool, 2) == {name: 2}
    assert stop(pool) == 0


def test_the_setting_signal_gives_signals_other_meanings(srvinit: Start) -> None:
    """Ignored, sent on as another, scaled, recycled: whatever the setting says."""
    meanings = ("USR1=ignore", "USR2=QUIT", "ALRM=recycle", "PROF=scale-up", "HUP=forward")
    pool = start_talk(srvinit, *(f"--signal={meaning}" for meaning in meanings))
    pool.signal("USR1")
    pool.signal("HUP")
    pool.wait_output("got HUP")
    pool.signal("USR2")
    pool.wait_output("got QUIT")
    assert got_until_last(pool) == {"HUP": 1, "QUIT": 1}
    pool.signal("ALRM")
    pool.wait_event("recycle.finished", generation=2)
    pool.signal("PROF")
    pool.wait_event("count.changed", after=2)
    assert stop(pool) == 0


@pytest.mark.parametrize("name", ["TERM", "RTMIN+3"])
def test_a_stop_sent_to_every_process_at_once_is_a_shutdown(srvinit: Start, name: str) -> None:
    """Workers that die of what a platform sends to all are a shutdown, not crashes: exit 0.

    RTMIN+3 is the harder one: the kernel hands CHLD out before it.
    """
    number = signal.SIGTERM if name == "TERM" else signal.SIGRTMIN + 3
    pool = srvinit("-w4", "--", "sleep", "1000", pid1=True)
    pool.wait_event("srvinit.ready")
    os.kill(pool.pid, signal.SIGSTOP)  # so that all of it is there when srvinit looks next
    for worker in pool.workers():
        os.kill(worker, number)
        proc.wait_until(lambda pid=worker: proc.state(pid) == "Z", 5, "the worker to die")
    pool.signal(name)
    os.kill(pool.pid, signal.SIGCONT)
    assert pool.exit_status() == 0
    assert "worker.started" not in names(pool)[names(pool).index("shutdown.started") :]
    exited = [event for event in pool.found("worker.exited") if event["level"] != "info"]
    assert exited == [], "a crash was reported"
