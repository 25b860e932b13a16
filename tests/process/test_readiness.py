"""What ready means, who may say so, and workers that hang: DESIGN, sections 5 and 7."""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import TYPE_CHECKING

import proc
import pytest
from scenes import (
    BIND,
    LISTEN,
    QUICK,
    SLACK_S,
    WEB,
    as_root,
    at,
    entering,
    names,
    python,
    start_talk,
    stop,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import harness
    from scenes import Start

NOTIFY = ("--worker-require=notify", "--worker-timeout=30s", QUICK)


def start_notify(
    start: Start, *options: str, words: tuple[str, ...], count: int = 1, **how: object
) -> harness.Srvinit:
    """Start a pool of notify.py."""
    return start(f"-w{count}", *NOTIFY, *options, "--", *python("notify.py", *words),
                 pid1=True, **how)  # fmt: skip


def tell(path: str, text: bytes) -> None:
    """Send a message to a notify socket, as a foreign process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as foreign:
        foreign.sendto(text, f"\0{path[1:]}" if path[0] == "@" else path)


# --- the three meanings ----------------------------------------------------------------------


def test_online_means_that_the_command_runs(srvinit: Start) -> None:
    """The exec succeeded; what the program then does is not looked at."""
    pool = srvinit("-w1", "--", "sleep", "1000", pid1=True)
    assert pool.wait_event("worker.ready")["require"] == "online"
    assert stop(pool) == 0


def test_listen_means_that_it_accepts_on_a_shared_socket(srvinit: Start) -> None:
    """BOOT=0.5: not before it waits for connections, and soon after."""
    pool = srvinit("-w1", BIND, *LISTEN, "--", *WEB, pid1=True, environ={"BOOT": "0.5"})
    ready = pool.wait_event("worker.ready", within=30)
    assert ready["require"] == "listen"
    assert ready["after_s"] > 0.5
    assert stop(pool) == 0


def test_listen_sees_a_server_below_a_shell(srvinit: Start) -> None:
    """The listener is often a grandchild: the whole process group is looked at."""
    pool = srvinit("-w1", BIND, *LISTEN, "--", "sh", "-c", '"$@" & wait', "sh", *WEB, pid1=True)
    pool.wait_event("worker.ready", within=30)
    stop(pool)


def test_notify_means_that_it_says_so(srvinit: Start) -> None:
    """STATUS and RELOADING before it are no READY; a child may say it; it may be said again."""
    words = ("STATUS=loads", "RELOADING=1", "wait:USR1", "child:READY=1\nSTATUS=serves", "READY=1")
    pool = start_notify(srvinit, "--log-level=debug", words=words)
    pool.wait_event("worker.status", text="loads")
    pool.wait_output("waiting")
    assert pool.found("worker.ready") == []
    pool.signal("USR1")
    pool.wait_event("worker.ready")
    pool.wait_event("worker.status", text="serves")
    assert stop(pool) == 0
    assert len(pool.found("worker.ready")) == 1


# --- the manager outside ---------------------------------------------------------------------


def test_c23_the_manager_hears_of_readiness_once_and_of_the_end(
    srvinit: Start, tmp_path: Path
) -> None:
    """One READY=1 when all three are ready, not before, STOPPING=1 at TERM; workers see none of it.

    BOOT=0.5 here, where the case says 2.
    """
    path = os.fspath(tmp_path / "n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(30)
        script = 'echo "[$NOTIFY_SOCKET]"; exec "$@"'
        pool = srvinit("-w3", BIND, *LISTEN, QUICK, "--", "sh", "-c", script, "sh", *WEB, pid1=True,
                       environ={"NOTIFY_SOCKET": path, "BOOT": "0.5"})  # fmt: skip
        assert manager.recv(4096) == b"READY=1"
        ready = pool.wait_event("worker.ready", nth=3)
        pool.signal("HUP")
        pool.wait_event("recycle.finished", within=30)
        pool.signal("TERM")
        assert manager.recv(4096) == b"STOPPING=1", "READY=1 came again"
        assert pool.exit_status() == 0
    assert at(ready) - at(pool.found("worker.started")[0]) > 0.5
    assert set(pool.output.decode().splitlines()) == {"[]"}


def test_a_manager_that_is_not_there_costs_a_line(srvinit: Start, tmp_path: Path) -> None:
    """NOTIFY_SOCKET leads nowhere: said in the log, and nothing else is different."""
    pool = start_talk(srvinit, environ={"NOTIFY_SOCKET": os.fspath(tmp_path / "none")})
    pool.wait_event("manager.unreachable", text="READY=1")
    assert stop(pool) == 0


# --- messages from others --------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"READY=1", b"READY=1\nMAINPID=1", b"WATCHDOG=1"])
def test_what_a_foreign_process_says_is_not_believed(srvinit: Start, text: bytes) -> None:
    """It reaches the socket, but belongs to no worker: refused by the sender's pid, and said."""
    pool = start_notify(srvinit, words=("wait:USR1", "READY=1"))
    path = pool.wait_output("socket").split()[1]
    tell(path, text)
    pool.wait_event("notify.refused")
    assert pool.found("worker.ready") == []
    pool.signal("USR1")
    pool.wait_event("worker.ready")
    assert stop(pool) == 0


def test_another_worker_is_a_foreign_process_too(srvinit: Start, tmp_path: Path) -> None:
    """One worker cannot say for another that it is ready."""
    script = (
        'if [ $SRVINIT_WORKER = 0 ]; then echo "$NOTIFY_SOCKET" >0; exec sleep 1000; fi;'
        'until [ -s 0 ]; do sleep 0.01; done; NOTIFY_SOCKET=$(cat 0) exec "$@"'
    )
    command = ["sh", "-c", script, "sh", *python("notify.py", "READY=1")]
    pool = srvinit("-w2", *NOTIFY, "--", *command, pid1=True, cwd=tmp_path)
    refused = pool.wait_event("notify.refused")
    assert refused["pid"] == pool.found("worker.started", slot=0)[0]["pid"]
    assert pool.found("worker.ready") == []
    assert stop(pool) == 0


def test_garbage_and_floods_on_the_notify_socket_do_no_harm(srvinit: Start) -> None:
    """Bytes that are no text, too much of them, 2,000 messages: srvinit obeys the next signal."""
    noise = "\x01\udcff=\udcfe\n\n=\nREADY=\nREADY=11\n READY=1"
    words = (noise, "X" * 4000, *["STATUS=s"] * 300, "wait:USR1", "READY=1")
    pool = start_notify(srvinit, words=words)
    path = pool.wait_output("socket").split()[1]
    pool.wait_output("waiting")
    for _ in range(2000):
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as foreign:
                foreign.settimeout(0)
                foreign.sendto(b"\0" * 9000, f"\0{path[1:]}" if path[0] == "@" else path)
        except BlockingIOError:
            continue
    assert pool.found("worker.ready") == []
    pool.signal("USR1")
    pool.wait_event("worker.ready")
    assert stop(pool) == 0
    assert 1 <= len(pool.found("notify.refused")) <= 10, "a flood is no reason to flood the log"


@as_root
def test_no_message_is_left_behind_where_many_came_at_once(srvinit: Start) -> None:
    """READY=1 behind more messages than one look takes in, all of them there when srvinit looks."""
    words = ("wait:USR1", *["STATUS=s"] * 400, "READY=1", "say:sent")
    script = 'echo 1000 >/proc/sys/net/unix/max_dgram_qlen; exec "$@"'  # newer kernels have 512
    prefix = ("unshare", "--net", "sh", "-c", script, "sh")
    pool = start_notify(srvinit, words=words, prefix=prefix)
    pool.wait_output("waiting")
    pool.wait_event("worker.started")
    os.kill(pool.pid, signal.SIGSTOP)
    os.kill(pool.workers()[0], signal.SIGUSR1)
    pool.wait_output("sent")
    os.kill(pool.pid, signal.SIGCONT)
    pool.wait_event("worker.ready", within=5)
    assert stop(pool) == 0


# --- the watchdog ----------------------------------------------------------------------------


def test_c22_a_worker_that_hangs_is_replaced(srvinit: Start) -> None:
    """Stopped, it sends no WATCHDOG=1: gone within the watchdog's time and the next one's start.

    500 ms here, where the case says 3 s.
    """
    options = ("--worker-watchdog=500ms", "--restart-delay=0", "--shutdown-margin=1s")
    pool = start_notify(srvinit, *options, words=("READY=1", "ping:0.1"))
    first = pool.wait_event("worker.ready")
    worker = pool.workers()[0]
    stopped_at = time.time()
    os.kill(worker, signal.SIGSTOP)
    hung = pool.wait_event("worker.hung")
    assert 0.4 <= at(hung) - stopped_at < 0.5 + SLACK_S
    pool.wait_event("worker.ready", nth=2)
    assert first["pid"] == hung["pid"]
    exited = pool.found("worker.exited")[0]
    assert exited["status"] == -signal.SIGABRT
    assert 0 <= at(exited) - at(hung) < SLACK_S
    assert pool.found("worker.exited")[1:] == []
    assert stop(pool) == 0


def test_c22_without_a_watchdog_a_stopped_worker_is_left_alone(srvinit: Start) -> None:
    """Nobody asked for it to be watched: it is still there when another has come and gone."""
    options = ("--restart-delay=0", "--log-level=debug")
    pool = start_notify(srvinit, *options, count=2, words=("READY=1", "ping:0.1"))
    pool.wait_event("worker.settled", nth=2)
    stopped, other = pool.workers()
    os.kill(stopped, signal.SIGSTOP)
    os.kill(other, signal.SIGKILL)
    pool.wait_event("worker.settled", nth=3)
    assert proc.state(stopped) == "T"
    assert len(pool.found("worker.exited")) == 1
    assert stop(pool) == 0


def suspended_by_signals(pool: harness.Srvinit) -> Callable[[], None]:
    """Stop srvinit and its workers; return what lets them go on."""
    everybody = [pool.pid, *pool.workers()]
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)

    def go_on() -> None:
        for pid in everybody:
            os.kill(pid, signal.SIGCONT)

    return go_on


def test_a_watchdog_does_not_bite_because_srvinit_itself_was_stopped(srvinit: Start) -> None:
    """Everybody was stopped for longer than the watchdog: nobody hung, and the log says so."""
    pool = start_notify(srvinit, "--worker-watchdog=500ms", count=2, words=("READY=1", "ping:0.1"))
    pool.wait_event("worker.ready", nth=2)
    go_on = suspended_by_signals(pool)
    time.sleep(2)  # that long nobody runs: the experiment itself
    go_on()
    pool.wait_event("srvinit.suspended")
    assert stop(pool) == 0
    assert "worker.hung" not in names(pool)


@as_root
def test_a_frozen_container_goes_on_as_if_nothing_had_been(
    srvinit: Start, cgroup: Callable[..., Path]
) -> None:
    """The cgroup freezer (docker pause) for longer than any deadline: no worker is lost by it."""
    group = cgroup("freezer", {})
    options = ("--worker-watchdog=500ms",)
    pool = start_notify(srvinit, *options, count=2, words=("READY=1", "ping:0.1"),
                        prefix=entering(group))  # fmt: skip
    pool.wait_event("worker.ready", nth=2)
    freeze(group, frozen=True)
    time.sleep(2)  # that long nobody runs: the experiment itself
    freeze(group, frozen=False)
    pool.wait_event("srvinit.suspended")
    assert stop(pool) == 0
    assert "worker.hung" not in names(pool)
    assert len(pool.found("worker.started")) == 2


def freeze(group: Path, *, frozen: bool) -> None:
    """Freeze or thaw a cgroup, and wait until it is."""
    first = group / "freezer.state"
    if first.exists():
        state = "FROZEN" if frozen else "THAWED"
        first.write_text(state)
        proc.wait_until(lambda: first.read_text().strip() == state, 5, f"{group} to be {state}")
    else:
        (group / "cgroup.freeze").write_text(str(int(frozen)))
        events = group / "cgroup.events"
        wanted = f"frozen {int(frozen)}"
        proc.wait_until(lambda: wanted in events.read_text(), 5, f"{group} to be {wanted}")


# --- what cannot be seen ---------------------------------------------------------------------


@as_root
def test_where_proc_is_hidden_readiness_is_weaker_and_said(srvinit: Start) -> None:
    """Without /proc nobody sees who listens: a worker that runs counts, and a warning says so."""
    hide = ("unshare", "--mount", "sh", "-c", 'umount -l /proc; exec "$@"', "sh")
    pool = srvinit("-w1", BIND, *LISTEN, "--", *WEB, pid1=True, prefix=hide)
    pool.wait_event("readiness.hidden", level="warning")
    pool.wait_event("worker.ready")
    assert stop(pool) == 0
