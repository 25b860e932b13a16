"""The controlling terminal, on real ones: whose keys reach whom, job control, and its loss.

Each test runs in a process that leads a session with a terminal of its own. It is srvinit itself,
as in `docker run -it`, or the shell that has started srvinit, as on a developer's machine.
"""

from __future__ import annotations

import json
import os
import select
import signal
import termios
from typing import TYPE_CHECKING, Any

import proc
import pytest
from forked import forked, on_terminal, until
from spawning import ended, launch, start

from srvinit.kernel import reap, signals, terminal

if TYPE_CHECKING:
    from collections.abc import Callable

CTRL_C, CTRL_Z = b"\x03", b"\x1a"


def found() -> terminal.Terminal:
    """Find the terminal there is."""
    there = terminal.Terminal.find()
    assert there is not None
    return there


def arrived(name: str) -> signals.Arrival:
    """Take signals in until this one comes."""
    while (arrival := signals.wait(10)) is not None:
        if arrival.name == name:
            return arrival
    raise AssertionError(f"waited 10 s for {name}")


def stopped_by(pid: int) -> int:
    """Wait until the child is stopped or continued; return by which signal, 0 for continued."""
    change: reap.Stopped = until(reap.take_stopped, f"{pid} to be stopped or continued")
    assert change.pid == pid
    return change.number


# --- srvinit leads the session: docker run -it --------------------------------------------------


def test_without_a_controlling_terminal_there_is_none() -> None:
    """A terminal that is somebody else's does not count."""

    def body() -> bool:
        _master_fd, slave_fd = os.openpty()
        os.dup2(slave_fd, 0)
        return terminal.Terminal.find() is None

    assert forked(body)


def test_ctrl_c_reaches_srvinit_alone_as_long_as_it_is_in_the_foreground() -> None:
    """It says that a terminal sent it; the worker, in its own group, sees nothing of it."""

    def body(master_fd: int) -> list[Any]:
        signals.block()
        there = found()
        pid, _ = start(launch("sleep", "60", ignore_sigint=False))
        os.write(master_fd, CTRL_C)
        arrival = arrived("INT")
        facts = [there.is_ours(), arrival.is_from_terminal, reap.peek() is None]
        signals.send(pid, "KILL")
        return facts

    assert on_terminal(body) == [True, True, True]


def test_ctrl_c_ends_a_worker_that_was_started_in_the_foreground() -> None:
    """Plain-init use: SIGINT for the worker, none for srvinit; then the keys are ours again."""

    def body(master_fd: int) -> list[Any]:
        signals.block()
        there = found()
        how = launch("sleep", "60", ignore_sigint=False, terminal_fd=there.fd)
        pid, _ = start(how)
        there.note_lent(pid)
        facts = [there.is_lent_to(pid), there.is_ours()]
        os.write(master_fd, CTRL_C)
        code = ended(pid)
        arrivals = [arrival.name for arrival in signals.drain() if arrival.name != "IO"]
        return [*facts, code, arrivals, there.take_back(), there.is_ours()]

    assert on_terminal(body) == [True, False, -signal.SIGINT, ["CHLD"], True, True]


def test_a_worker_that_reads_the_terminal_stops_and_is_lent_it() -> None:
    def body(master_fd: int) -> list[Any]:
        signals.block()
        there = found()
        pid, _ = start(launch("sh", "-c", "read line; exit $line", stdin_is_shared=True))
        stop = stopped_by(pid)
        lent = there.lend(pid)
        signals.send_group(pid, "CONT")
        assert stopped_by(pid) == 0
        os.write(master_fd, b"7\n")
        return [stop, lent, ended(pid), there.take_back()]

    assert on_terminal(body) == [signal.SIGTTIN, True, 7, True]


def test_as_session_leader_nobody_would_continue_us() -> None:
    assert on_terminal(lambda _master_fd: found().can_suspend()) is False


def test_a_shell_without_job_control_would_not_continue_us() -> None:
    """As `sh -c` leaves us that was started with the terminal itself: one group, and its leader."""

    def body(_master_fd: int) -> bool:
        read_fd, write_fd = os.pipe()
        if os.fork() == 0:
            os.write(write_fd, b"%d" % found().can_suspend())
            os._exit(0)
        return os.read(read_fd, 1) == b"1"

    assert on_terminal(body) is False


def test_the_terminal_is_taken_back_from_the_background_without_being_stopped() -> None:
    """Also where TTOU is not blocked: in library mode, say, after the end."""

    def body(_master_fd: int) -> list[bool]:
        there = found()
        pid = os.fork()
        if pid == 0:
            signal.pause()
        os.setpgid(pid, pid)
        lent = there.lend(pid)
        seen = [lent, there.is_ours(), there.take_back(), there.is_ours()]
        os.kill(pid, signal.SIGKILL)  # it has left the group that is killed at the end
        return seen

    assert on_terminal(body) == [True, False, True, True]


def test_the_foreground_is_taken_back_from_the_job_of_a_worker_that_is_a_shell() -> None:
    """It lent the terminal on: with no shell above us, whoever has it, it is ours."""

    def body(_master_fd: int) -> list[Any]:
        signals.block()
        there = found()
        pid, _ = start(launch("sleep", "60", terminal_fd=there.fd))
        job, _ = start(launch("sleep", "60", terminal_fd=there.fd))
        there.note_lent(pid)
        facts = [there.is_lent_to(job), there.take_back(), there.is_ours()]
        for each in (pid, job):
            signals.send(each, "KILL")
        return facts

    assert on_terminal(body) == [True, True, True]


def test_a_group_that_has_ended_is_lent_nothing() -> None:
    def body(_master_fd: int) -> list[bool]:
        signals.block()
        there = found()
        pid, _ = start(launch("true"))
        ended(pid)
        return [there.lend(pid), there.is_ours()]

    assert on_terminal(body) == [False, True]


def test_settings_are_restored_at_the_end_whoever_changed_them() -> None:
    """At once, also while output is held: the terminal's other side reads nothing here."""

    def body(_master_fd: int) -> list[bool]:
        signals.block()
        there = found()
        there.save_settings()
        before = termios.tcgetattr(there.fd)
        pid, _ = start(launch("stty", "raw", "-echo", stdin_is_shared=True, terminal_fd=there.fd))
        there.note_lent(pid)
        assert ended(pid) == 0
        changed = termios.tcgetattr(there.fd) != before
        termios.tcflow(there.fd, termios.TCOOFF)
        there.take_back()
        restored = there.restore_settings()
        return [changed, restored, termios.tcgetattr(there.fd) == before]

    assert on_terminal(body) == [True, True, True]


def test_nothing_is_restored_that_was_not_saved() -> None:
    assert on_terminal(lambda _master_fd: found().restore_settings()) is False


def test_a_lost_terminal_is_told_from_an_order_to_recycle() -> None:
    """The kernel's HUP is a hang-up. A process's is an order, unless it is our lost shell's."""

    def body(master_fd: int) -> list[Any]:
        signals.block()
        there = found()
        there.save_settings()
        os.kill(os.getpid(), signal.SIGHUP)
        order = arrived("HUP")
        facts = [there.hung_up(), hangup(there, order)]
        os.close(master_fd)
        loss = arrived("HUP")
        facts += [there.hung_up(), hangup(there, loss), there.foreground(), there.take_back()]
        facts += [there.lend(os.getpid()), there.restore_settings()]
        stranger, leader = os.getppid(), os.getpid()
        return [
            facts,
            there.is_hangup(stranger, from_terminal=False),
            there.is_hangup(leader, from_terminal=False),
        ]

    facts, by_stranger, by_leader = on_terminal(body)
    assert facts == [False, False, True, True, None, False, False, False]
    assert (by_stranger, by_leader) == (False, True)


def hangup(there: terminal.Terminal, arrival: signals.Arrival) -> bool:
    return there.is_hangup(arrival.sender_pid, from_terminal=arrival.is_from_terminal)


# --- srvinit under a shell with job control ----------------------------------------------------


class Job:
    """A process in a group of its own, as a shell starts a job; `ask` runs steps in it."""

    def __init__(self, work: Callable[[Callable[[Any], None]], None], *, foreground: bool) -> None:
        self.read_fd, write_fd = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.setpgid(0, 0)
            if foreground:
                take(os.getpid())
            work(lambda told: void(os.write(write_fd, json.dumps(told).encode() + b"\n")))
            os._exit(0)
        os.close(write_fd)
        self.rest = b""

    def told(self) -> Any:
        """Return what the job told next."""
        while b"\n" not in self.rest:
            assert select.select([self.read_fd], [], [], 10)[0], "waited 10 s for the job to tell"
            part = os.read(self.read_fd, 4096)
            assert part, "the job ended and told nothing"
            self.rest += part
        line, _, self.rest = self.rest.partition(b"\n")
        return json.loads(line)

    def continue_in(self, *, foreground: bool) -> None:
        """Do what the shell's `fg` or `bg` does."""
        if foreground:
            take(self.pid)
        os.killpg(self.pid, signal.SIGCONT)


def void(_result: object) -> None:
    """Drop a result."""


def take(pgid: int) -> None:
    """Put a group into the foreground of the terminal at descriptor 0, as a shell does."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    os.tcsetpgrp(0, pgid)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def suspending(tell: Callable[[Any], None]) -> None:
    """Be srvinit with a worker in the foreground that Ctrl-Z stops, before a pipe to `tee`."""
    tee = os.fork()
    if tee == 0:
        signal.pause()
    signals.block()
    there = found()
    pid, _ = start(launch("sleep", "60", terminal_fd=there.fd))
    there.note_lent(pid)
    tell([pid, tee, there.can_suspend()])
    stop = stopped_by(pid)
    taken = there.take_back()
    tell([stop, taken])
    in_foreground = there.suspend()
    lent = there.lend(pid)
    signals.send_group(pid, "CONT")
    continued = {until(reap.take_stopped, "worker and tee to be continued").pid for _ in range(2)}
    assert continued == {pid, tee}
    names = [arrival.name for arrival in signals.drain()]
    tell([in_foreground, lent, "CONT" in names, "TSTP" in names])
    for each in (pid, tee):
        signals.send(each, "KILL")


@pytest.mark.parametrize("foreground", [True, False])
def test_ctrl_z_stops_the_whole_job_and_the_shell_continues_it(foreground: bool) -> None:  # noqa: FBT001
    """With `fg` the worker gets the terminal back; with `bg` it stays the shell's."""

    def body(master_fd: int) -> list[Any]:
        job = Job(suspending, foreground=True)
        worker, tee, can_suspend = job.told()
        os.write(master_fd, CTRL_Z)
        stop = job.told()
        _, status = os.waitpid(job.pid, os.WUNTRACED)
        until(lambda: proc.state(tee) == "T" or None, "the rest of the job to be stopped")
        take(os.getpgrp())
        job.continue_in(foreground=foreground)
        told = job.told()
        holder = os.tcgetpgrp(0)
        os.waitpid(job.pid, 0)
        return [can_suspend, stop, os.WSTOPSIG(status), told, holder == worker]

    can_suspend, stop, stopped, told, is_workers = on_terminal(body)
    assert can_suspend
    assert stop == [signal.SIGTSTP, True]
    assert stopped == signal.SIGSTOP
    assert told == [foreground, foreground, True, False]
    assert is_workers == foreground


def test_in_the_background_the_terminal_is_the_shells() -> None:
    """Nothing is lent, taken or set; the shell is editing a line there."""

    def background(tell: Callable[[Any], None]) -> None:
        signals.block()
        there = found()
        there.save_settings()
        pid, _ = start(launch("sleep", "60"))
        tell(
            [
                there.is_ours(),
                there.can_lend(),
                there.lend(pid),
                there.take_back(),
                there.restore_settings(),
            ]
        )
        signals.send(pid, "KILL")
        ended(pid)

    def body(_master_fd: int) -> list[Any]:
        job = Job(background, foreground=False)
        told = job.told()
        return [told, os.tcgetpgrp(0) == os.getpgrp()]

    assert on_terminal(body) == [[False] * 5, True]


def test_below_a_script_in_its_group_srvinit_is_still_the_shells_job() -> None:
    """`sh -c "srvinit …"` without exec: the shell is our grandparent."""

    def script(tell: Callable[[Any], None]) -> None:
        pid = os.fork()
        if pid == 0:
            tell(found().can_suspend())
            os._exit(0)
        os.waitpid(pid, 0)

    assert on_terminal(lambda _master_fd: Job(script, foreground=True).told()) is True


def test_nobody_continues_an_orphaned_group() -> None:
    """Our shell has ended: stopping would be for ever."""

    def left_behind(tell: Callable[[Any], None]) -> None:
        middle = os.getpid()
        if os.fork() != 0:
            os._exit(0)
        until(lambda: os.getppid() != middle or None, "our parent to be gone")
        tell(found().can_suspend())

    assert on_terminal(lambda _fd: Job(left_behind, foreground=False).told()) is False
