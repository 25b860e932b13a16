"""Signals: taken in by waiting for them, sent by number. No signal handler exists in srvinit.

It owns the signal mask and the dispositions of this process and must never let a signal act
unasked, nor signal a pid that is not a worker's. What it rests on:

- A blocked signal stays pending until sigtimedwait(2) takes it, and is never dropped for being
  ignored, not even for PID 1, whose default actions the kernel otherwise skips (signal(7), "the
  signal may be unblocked later"; pid_namespaces(7)). So one call closes every race at once.
- Standard signals coalesce: one is pending at most, and its siginfo is the first sender's. So a
  process's SIGIO can stand for the kernel's: look at the descriptors whoever sent it. Real-time
  signals queue, by the thousand. sigtimedwait(2) hands out the lowest number first.
- Stop signals that are blocked do not stop. SIGCONT continues, blocked or not, and wipes pending
  stop signals out; a stop signal wipes out a pending SIGCONT (signal(7)).
- A signal for the foreground group of a terminal, sent for a key or a hang-up, has SI_KERNEL and
  no sender. From a process outside our PID namespace it has SI_USER and sender 0 (kill(2)).
- O_ASYNC raises SIGIO when a descriptor gets readable or its other end is closed, once per change
  and nothing for what was there before (fcntl(2), F_SETOWN): arm first, then look.
- The mask and ignored signals survive fork and exec; caught ones become default (execve(2)).
- CPython ignores SIGPIPE and SIGXFSZ at its start, without a trace of what was before, and catches
  SIGINT unless it was ignored.
"""

from __future__ import annotations

import errno
import fcntl
import posix

from srvinit.errors import KernelRefused, LifecycleError
from srvinit.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable, Collection
    from typing import Any
else:
    import _signal

# Never blocked: faults must end the process that has them, KILL and STOP cannot be, and writing
# to a pipe without a reader or past a file size limit shall be an errno (both are ignored).
_IGNORED = (_signal.SIGPIPE, _signal.SIGXFSZ)
_LEFT_ALONE = {
    _signal.SIGSEGV,
    _signal.SIGBUS,
    _signal.SIGFPE,
    _signal.SIGILL,
    _signal.SIGTRAP,
    _signal.SIGSYS,
    _signal.SIGABRT,
    _signal.SIGKILL,
    _signal.SIGSTOP,
    *_IGNORED,
}
# A tuple: CPython walks it at every wait, and walks a tuple faster than a set (1.4 against 1.7 us).
_TAKEN = tuple(sorted(_signal.valid_signals() - _LEFT_ALONE))

# By number; filled when the first is asked for. Nothing stands before block() that can wait.
_NAMES: dict[int, str] = {}

_SI_KERNEL = 0x80
_FIRST_WORKER_PID = 2

# How many signals one drain() takes in: more than the standard ones can ever be, and few enough
# (about 10 ms of them) that exits are judged while somebody floods us with real-time signals.
DRAIN_LIMIT = 4096

# setitimer(2) counts microseconds, and takes none for "off".
SHORTEST_TIMER_S = 0.000_001

# What block() changed, and the dispositions it found there: a worker gets them back.
_found: dict[int, Any] = {}

# Of those that CPython ignores, the ones that were ignored before it. It keeps no trace of that, so
# only who runs before it can tell: packaging/launcher.c.
ignored_before_python: set[int] = set()


class Arrival(Record):
    """One signal taken in. `sender_pid` is 0 for the kernel and from outside the namespace."""

    number: int
    name: str
    sender_pid: int
    code: int

    @property
    def is_from_kernel(self) -> bool:
        """The kernel sent it, no process: a child, a timer, a descriptor, a terminal."""
        return self.code > 0

    @property
    def is_from_terminal(self) -> bool:
        """The terminal sent it, for a key that somebody pressed or because it went away."""
        return self.code == _SI_KERNEL and self.sender_pid == 0


def block(before: Collection[int] | None = None) -> set[int]:
    """Block every signal that srvinit takes in, and no other; return the mask found before.

    The first thing to do: what comes from here on is kept for wait(). Who has blocked all signals
    in haste, before this could be imported, hands in the mask that was there `before`.
    Where SIGCHLD was ignored it becomes default, since the kernel would reap behind our back
    (wait(2), NOTES).
    """
    if before is None:
        before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _TAKEN)
    else:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, {*before, *_TAKEN})
    if _signal.getsignal(_signal.SIGCHLD) == _signal.SIG_IGN:
        _change(_signal.SIGCHLD, _signal.SIG_DFL)
    for number in _IGNORED:
        if _signal.getsignal(number) == _signal.SIG_DFL:
            _change(number, _signal.SIG_IGN)
    return {int(number) for number in before}


def _change(number: int, disposition: Any) -> None:
    """Set a disposition and remember what was there."""
    _found.setdefault(number, _signal.signal(number, disposition))


def wait(timeout_s: float | None) -> Arrival | None:
    """Sleep until a signal is there and take it in; None when `timeout_s` has passed.

    None as a timeout waits for ever, nought or less only looks. A stop and its SIGCONT, or a cgroup
    that was frozen, interrupt the wait (EINTR); CPython resumes it (PEP 475). But where the timeout
    of its sigtimedwait has passed meanwhile, it returns the siginfo that it never filled in: any
    signal at all (seen with 3.11, 3.12, 3.13). So the timeout is a timer, whose SIGALRM ends a wait
    without one; a process's SIGALRM is lost only if it comes while that one is pending.
    """
    if timeout_s is not None and timeout_s <= 0:
        found = _signal.sigtimedwait(_TAKEN, 0)  # it does not wait, so nothing interrupts it
        return None if found is None or _is_timer(found) else _arrival(found)
    if timeout_s is not None:
        _signal.setitimer(_signal.ITIMER_REAL, max(timeout_s, SHORTEST_TIMER_S))
    found = _signal.sigwaitinfo(_TAKEN)
    if _is_timer(found):
        return None
    if timeout_s is not None:
        _signal.setitimer(_signal.ITIMER_REAL, 0)
    return _arrival(found)


def _arrival(found: Any) -> Arrival:
    return Arrival(found.si_signo, name_of(found.si_signo), found.si_pid, found.si_code)


def _is_timer(found: Any) -> bool:
    """Tell our own timer from a process that sends SIGALRM."""
    return bool(found.si_signo == _signal.SIGALRM and found.si_code > 0)


def drain() -> list[Arrival]:
    """Take in the signals that are pending now, each number once, in the order they came out.

    Real-time signals queue: ten thousand of one number are worth one forwarding, not ten thousand.
    After `DRAIN_LIMIT` the rest stays pending and the next wait() returns at once.
    """
    taken: dict[int, Arrival] = {}
    for _ in range(DRAIN_LIMIT):
        found = _signal.sigtimedwait(_TAKEN, 0)
        if found is None:
            break
        if found.si_signo not in taken and not _is_timer(found):
            taken[found.si_signo] = _arrival(found)
    return list(taken.values())


def arm(fd: int) -> None:
    """Let `fd` wake wait() by SIGIO whenever it gets readable or is closed at its other end.

    Makes it non-blocking, and both are properties of the open description: only for descriptors
    that srvinit alone owns, never for a listening socket or anything a worker has too.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETOWN, posix.getpid())
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | posix.O_ASYNC | posix.O_NONBLOCK)
    except OSError as error:  # none is fine: EBADF, EINVAL
        raise KernelRefused("fcntl", f"descriptor {fd}", error.errno or 0) from error


def send(pid: int, name: str) -> bool:
    """Send a signal to one process; False if it does not exist (any more).

    The pid must be one that nobody has reaped yet: from then on it may be anybody's.
    """
    if pid < _FIRST_WORKER_PID:
        raise LifecycleError(f"SIG{name} to pid {pid}: that is no worker")
    return _deliver(posix.kill, pid, name)


def send_group(pgid: int, name: str) -> bool:
    """Send a signal to a process group; False if nobody is left in it."""
    if pgid < _FIRST_WORKER_PID or pgid == posix.getpgrp():
        raise LifecycleError(f"SIG{name} to process group {pgid}: that is no worker's")
    return _deliver(posix.killpg, pgid, name)


def kill_everything(name: str) -> bool:
    """Send a signal to every other process of our PID namespace; False if there is none.

    Only as its PID 1: kill(2) with -1 would otherwise hit everything this user owns.
    """
    if posix.getpid() != 1:
        raise LifecycleError(f"SIG{name} to every process: srvinit is not PID 1")
    return _deliver(posix.kill, -1, name)


def _deliver(call: Callable[[int, int], None], target: int, name: str) -> bool:
    """Send, and say whether somebody was there."""
    try:
        call(target, number_of(name))
    except ProcessLookupError:  # ESRCH: ended and reaped meanwhile
        return False
    except OSError as error:  # EPERM: it has another user's identity now. EINVAL would be our bug
        what = f"SIG{name} to {target}"
        raise KernelRefused(call.__name__, what, error.errno or errno.EPERM) from error
    return True


def number_of(name: str) -> int:
    """Look up a signal's number by its name without SIG."""
    from srvinit.options import SIGNAL_NAMES

    return SIGNAL_NAMES[name]


def name_of(number: int) -> str:
    """Look up a signal's name, without SIG."""
    if not _NAMES:
        from srvinit.options import SIGNAL_NAMES

        _NAMES.update((known, name) for name, known in SIGNAL_NAMES.items())
    return _NAMES[number]


def restore_for_exec(*, ignore_sigint: bool) -> None:
    """In a child before exec: the dispositions that srvinit itself was started with.

    SIGPIPE and SIGXFSZ become default, unless somebody knew better: CPython ignored them.
    SIGINT stays ignored if it was found so, else it is ignored as `ignore_sigint` asks.
    """
    for number, disposition in _found.items():
        _signal.signal(number, disposition)
    for number in _IGNORED:
        was_ignored = number in ignored_before_python
        _signal.signal(number, _signal.SIG_IGN if was_ignored else _signal.SIG_DFL)
    if _signal.getsignal(_signal.SIGINT) != _signal.SIG_IGN:
        _signal.signal(_signal.SIGINT, _signal.SIG_IGN if ignore_sigint else _signal.SIG_DFL)


def restore_for_callable(*, ignore_sigint: bool) -> None:
    """In a child that runs a Python callable: what the program had set, as CPython starts it.

    A wake-up descriptor of the parent's event loop is let go: its signals are not the child's.
    """
    _signal.set_wakeup_fd(-1)
    for number, disposition in _found.items():
        _signal.signal(number, disposition)
    if ignore_sigint:
        _signal.signal(_signal.SIGINT, _signal.SIG_IGN)


def restore_mask(mask: set[int]) -> None:
    """Set the signal mask to the one that block() found: the last step before exec.

    What came for the child since its fork acts now, by the dispositions set before (C7).
    """
    _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)


def release(mask: set[int]) -> None:
    """Undo block(), in a program that goes on afterwards (library mode).

    What is pending is taken in and dropped first: a SIGIO of a descriptor that srvinit had armed
    would end the program, by its default action, the moment it is let through.
    """
    while drain():
        pass
    for number, disposition in _found.items():
        _signal.signal(number, disposition)
    _found.clear()
    restore_mask(mask)
