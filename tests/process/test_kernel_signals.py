"""Signals as srvinit takes them in and sends them, in processes of their own."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import proc
import pytest
from forked import forked, until

from srvinit.errors import KernelRefused, LifecycleError
from srvinit.kernel import signals

ROOT = Path(__file__).parents[2]
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes its user")


def arrivals() -> list[tuple[str, int]]:
    return [(arrival.name, arrival.sender_pid) for arrival in signals.drain()]


def refused(call: Any, *arguments: Any) -> str:
    """Return what a call was refused with."""
    with pytest.raises((KernelRefused, LifecycleError)) as caught:
        call(*arguments)
    return f"{caught.type.__name__}: {caught.value}"


def test_a_signal_that_came_before_the_wait_is_not_lost() -> None:
    def body() -> None:
        signals.block()
        os.kill(os.getpid(), signal.SIGTERM)
        arrival = signals.wait(None)
        assert arrival is not None
        assert (arrival.name, arrival.sender_pid) == ("TERM", os.getpid())
        assert not arrival.is_from_kernel
        assert not arrival.is_from_terminal

    forked(body)


def test_the_wait_ends_with_its_timeout() -> None:
    """Nought and less only look; so does what is left of a deadline that has passed."""

    def body() -> list[bool]:
        signals.block()
        return [signals.wait(timeout_s) is None for timeout_s in (0.001, 0.0, -3.0)]

    assert forked(body) == [True, True, True]


def test_all_but_faults_are_blocked_and_the_mask_found_is_returned() -> None:
    def body() -> list[Any]:
        signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR2})
        found = signals.block()
        return [sorted(found), sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))]

    found, blocked = forked(body)
    assert found == [signal.SIGUSR2]
    assert set(signal.valid_signals()) - set(blocked) == {
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGTRAP,
        signal.SIGSYS,
        signal.SIGABRT,
        signal.SIGKILL,
        signal.SIGSTOP,
        signal.SIGPIPE,
        signal.SIGXFSZ,
    }


def test_every_signal_that_can_be_taken_in_has_a_name() -> None:
    def body() -> list[str]:
        signals.block()
        names = []
        for number in signal.pthread_sigmask(signal.SIG_BLOCK, []):
            os.kill(os.getpid(), number)
            names += [arrival.name for arrival in signals.drain()]
        return names

    names = forked(body)
    assert len(set(names)) == len(names)
    assert {"TERM", "HUP", "CHLD", "IO", "TSTP", "RTMIN+3"} <= set(names)
    assert [signals.number_of(name) for name in names] == sorted(
        signals.number_of(name) for name in names
    )


def test_a_drain_takes_each_signal_once_and_in_the_kernels_order() -> None:
    """Of a queue of one number the first stands for all."""

    def body() -> list[Any]:
        signals.block()
        pid = os.fork()
        if pid == 0:
            os.kill(os.getppid(), signal.SIGRTMIN + 2)
            os._exit(0)
        os.waitpid(pid, 0)
        for _ in range(3):
            for number in (signal.SIGRTMIN + 2, signal.SIGTERM, signal.SIGHUP):
                os.kill(os.getpid(), number)
        first = [arrival for arrival in arrivals() if arrival[0] != "CHLD"]
        return [[name for name, _ in first], first[-1][1] == pid, arrivals()]

    assert forked(body) == [["HUP", "TERM", "RTMIN+2"], True, []]


def test_a_flood_of_real_time_signals_does_not_hold_a_drain() -> None:
    """One drain takes DRAIN_LIMIT in; what is left wakes the next wait at once."""

    def body() -> list[Any]:
        signals.block()
        for _ in range(signals.DRAIN_LIMIT + 5):
            os.kill(os.getpid(), signal.SIGRTMIN + 1)
        first = [name for name, _ in arrivals()]
        left = signals.wait(0)
        return [first, left is not None, [name for name, _ in arrivals()], arrivals()]

    assert forked(body) == [["RTMIN+1"], True, ["RTMIN+1"], []]


def test_an_armed_descriptor_wakes_the_wait_by_what_is_written_and_by_its_end() -> None:
    def body() -> list[Any]:
        signals.block()
        read_fd, write_fd = os.pipe()
        signals.arm(read_fd)
        quiet = signals.wait(0) is None
        seen = []
        os.write(write_fd, b"x")
        seen.append(signals.wait(5))
        os.read(read_fd, 1)
        os.close(write_fd)
        seen.append(signals.wait(5))
        os.kill(os.getpid(), signal.SIGIO)
        seen.append(signals.wait(5))
        told = [(arrival.name, arrival.is_from_kernel) for arrival in seen if arrival]
        return [quiet, os.get_blocking(read_fd), told]

    assert forked(body) == [True, False, [["IO", True], ["IO", True], ["IO", False]]]


def test_arming_what_is_not_open_is_refused() -> None:
    assert refused(signals.arm, 987).startswith("KernelRefused: fcntl descriptor 987: ")


def test_children_are_not_reaped_behind_our_back_where_sigchld_was_ignored() -> None:
    """Found ignored it becomes default; a worker finds it ignored again."""

    def body() -> list[Any]:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signals.block()
        pid = os.fork()
        if pid == 0:
            os._exit(3)
        arrival = signals.wait(10)
        status = os.waitpid(pid, 0)[1]
        signals.restore_for_exec(ignore_sigint=False)
        ignored = signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
        return [arrival.name if arrival else "", os.waitstatus_to_exitcode(status), ignored]

    assert forked(body) == ["CHLD", 3, True]


def test_a_program_that_goes_on_afterwards_is_as_it_was() -> None:
    """Nor does it end by a SIGIO of srvinit's own descriptors, or a signal that came too late."""

    def body() -> list[Any]:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        before = signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR2})
        for _ in range(2):
            mask = signals.block()
            read_fd, write_fd = os.pipe()
            signals.arm(read_fd)
            os.close(write_fd)
            os.kill(os.getpid(), signal.SIGTERM)
            signals.release(mask)
        after = signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return [sorted(after), signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN]

    assert forked(body) == [[signal.SIGUSR2], True]


def test_writing_to_a_closed_pipe_is_an_errno_whatever_was_found() -> None:
    def body() -> bool:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signals.block()
        read_fd, write_fd = os.pipe()
        os.close(read_fd)
        with pytest.raises(BrokenPipeError):
            os.write(write_fd, b"x")
        return True

    assert forked(body)


@pytest.mark.parametrize("pid", [-5, -1, 0, 1])
def test_no_signal_goes_to_what_is_no_worker(pid: int) -> None:
    assert refused(signals.send, pid, "CONT").startswith("LifecycleError: SIGCONT to pid")
    assert refused(signals.send_group, pid, "CONT").startswith("LifecycleError: ")


def test_no_signal_goes_to_our_own_group() -> None:
    assert "LifecycleError" in refused(signals.send_group, os.getpgrp(), "CONT")


def test_a_process_or_group_that_is_gone_is_no_error() -> None:
    def body() -> list[bool]:
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            os._exit(0)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        as_zombie = [signals.send(pid, "TERM"), signals.send_group(pid, "KILL")]
        os.waitpid(pid, 0)
        return [*as_zombie, signals.send(pid, "TERM"), signals.send_group(pid, "KILL")]

    assert forked(body) == [True, True, False, False]


@as_root
def test_a_process_of_another_user_is_named_in_the_refusal() -> None:
    def body() -> str:
        target = os.getppid()
        os.setresuid(NOBODY, NOBODY, NOBODY)
        return refused(signals.send, target, "TERM")

    assert forked(body) == (
        f"KernelRefused: kill SIGTERM to {os.getpid()}: Operation not permitted (EPERM)"
    )


def test_only_pid_1_may_signal_everything() -> None:
    assert "srvinit is not PID 1" in refused(signals.kill_everything, "CONT")


AS_PID_1 = """
import json, os, signal
from srvinit.kernel import signals
signals.block()
alone = signals.kill_everything("TERM")
pids = [os.fork() for _ in range(3)]
if 0 in pids:
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.pause()
reached = signals.kill_everything("TERM")
ends = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in pids]
os.kill(1, signal.SIGTERM)
arrival = signals.wait(5)
print(json.dumps([alone, reached, ends, arrival.name]))
"""


@as_root
def test_pid_1_reaches_every_process_but_itself_and_gets_its_own_default_signals() -> None:
    """The kernel drops a signal whose default action PID 1 would take; a blocked one it keeps."""
    done = subprocess.run(
        ["unshare", "-pf", "--mount-proc", sys.executable, "-c", AS_PID_1],
        cwd=ROOT,
        capture_output=True,
        timeout=20,
        check=True,
    )
    assert json.loads(done.stdout) == [False, True, [-15, -15, -15], "TERM"]


def test_a_wait_that_is_stopped_beyond_its_timeout_invents_no_signal() -> None:
    """Where the timeout passes meanwhile, CPython's own sigtimedwait returns any signal at all."""

    def body() -> list[list[str]]:
        signals.block()
        read_fd, write_fd = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(write_fd, b".")
            seen = [signals.wait(0.2), *signals.drain(), signals.wait(0.01)]
            names = [arrival.name for arrival in seen if arrival]
            os.write(write_fd, json.dumps(names).encode())
            os._exit(0)
        os.read(read_fd, 1)
        until(lambda: proc.state(pid) == "S" or None, "the child to wait")
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED)
        assert not select.select([read_fd], [], [], 0.4)[0]  # longer than the timeout
        os.kill(pid, signal.SIGCONT)
        assert select.select([read_fd], [], [], 10)[0]
        return json.loads(os.read(read_fd, 4096))

    assert forked(body) == ["CONT"]


def test_an_alarm_from_a_process_is_told_from_the_timer() -> None:
    """A wait that ends by its timeout is no SIGALRM; one that a process sends is, timer or not."""

    def body() -> list[Any]:
        signals.block()
        seen: list[Any] = [signals.wait(0.01), signals.wait(0), signals.drain()]
        os.kill(os.getpid(), signal.SIGALRM)
        arrival = signals.wait(10)
        assert arrival is not None
        return [*seen, arrival.name, signals.wait(0.01), signal.getitimer(signal.ITIMER_REAL)]

    assert forked(body) == [None, None, [], "ALRM", None, [0.0, 0.0]]


def test_a_stopped_and_continued_wait_goes_on() -> None:
    """STOP and CONT interrupt the wait; it is resumed, and CONT itself taken in."""

    def body() -> list[str]:
        signals.block()
        read_fd, write_fd = os.pipe()
        pid = os.fork()
        if pid == 0:
            seen = [signals.wait(10), signals.wait(10)]
            names = [arrival.name for arrival in seen if arrival]
            os.write(write_fd, json.dumps(names).encode())
            os._exit(0)
        until(lambda: proc.state(pid) == "S" or None, "the child to wait")
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED)
        os.kill(pid, signal.SIGCONT)
        until(lambda: proc.state(pid) == "S" or None, "the child to wait again")
        os.kill(pid, signal.SIGTERM)
        assert select.select([read_fd], [], [], 10)[0]
        return json.loads(os.read(read_fd, 4096))

    assert forked(body) == ["CONT", "TERM"]
