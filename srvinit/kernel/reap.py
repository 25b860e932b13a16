"""wait(2): who has ended, looked at first and reaped later. And whose orphans become ours.

It owns the order of looking and reaping: a zombie keeps its pid, and its group's, from being
anybody else's, so a worker is judged and its group killed before it is reaped. It must never block
and never treat an orphan other than a worker: telling them apart is the core's. What it rests on:

- SIGCHLD coalesces: one may stand for any number of exits. After each, look until nothing is left.
- waitid(2) with WNOWAIT leaves the zombie as it is: the same one is found again until reaped.
- An orphan goes to the nearest living ancestor that is a subreaper, else to PID 1 of its namespace
  (prctl(2), PR_SET_CHILD_SUBREAPER); an adopted child ends like one's own.
- Being a subreaper survives exec and is not inherited by children (the same page).
- A stop is reported once and, unlike an exit, taken away by looking (WSTOPPED without WNOWAIT).
- /proc/PID/task/TID/children may miss children that come or go meanwhile (proc(5)): look again.
"""

from __future__ import annotations

import posix
import time

from srvinit.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CORE_BIT = 0x80
_PR_SET_CHILD_SUBREAPER = 36


class Ended(Record):
    """A child that has ended and is not reaped. `status` is raw, as of waitpid(2)."""

    pid: int
    status: int
    core_dumped: bool


class Stopped(Record):
    """A child that was stopped by signal `number`, or has been continued (0)."""

    pid: int
    number: int


class Children(Record):
    """The children of this process; `is_known` is false where /proc cannot tell."""

    pids: list[int]
    is_known: bool


def peek() -> Ended | None:
    """Look for a child that has ended, and leave it a zombie; None if there is none."""
    try:
        found = posix.waitid(posix.P_ALL, 0, posix.WEXITED | posix.WNOHANG | posix.WNOWAIT)
    except ChildProcessError:  # ECHILD: no child at all
        return None
    if found is None:
        return None
    if found.si_code == posix.CLD_EXITED:
        return Ended(found.si_pid, (found.si_status & 0xFF) << 8, core_dumped=False)
    dumped = found.si_code == posix.CLD_DUMPED
    status = found.si_status | _CORE_BIT if dumped else found.si_status
    return Ended(found.si_pid, status, dumped)


def reap(pid: int) -> bool:
    """Take an ended child off the kernel: from here on its pid may be anybody's.

    False if it has not ended, or is no child (any more).
    """
    try:
        return posix.waitpid(pid, posix.WNOHANG)[0] == pid
    except ChildProcessError:  # ECHILD: reaped already
        return False


def await_end(pid: int, by: float) -> bool:
    """Reap a child that has let go of its descriptors already: it is about to be a zombie.

    False if it is none at `by` (monotonic seconds): whoever judges exits finds it later.
    """
    while not reap(pid):
        if time.monotonic() >= by:
            return False
        posix.sched_yield()  # it is in the kernel's exit, and needs a CPU for it
    return True


def has_children() -> bool:
    """Say whether there is any child, living or ended."""
    try:
        posix.waitid(posix.P_ALL, 0, posix.WEXITED | posix.WNOHANG | posix.WNOWAIT)
    except ChildProcessError:  # ECHILD
        return False
    return True


def take_stopped() -> Stopped | None:
    """Take the report of a child that was stopped or continued; None if there is no new one."""
    try:
        found = posix.waitid(posix.P_ALL, 0, posix.WSTOPPED | posix.WCONTINUED | posix.WNOHANG)
    except ChildProcessError:  # ECHILD
        return None
    if found is None:
        return None
    return Stopped(found.si_pid, 0 if found.si_code == posix.CLD_CONTINUED else found.si_status)


def children_of_self() -> Children:
    """List our children, living or ended, for the sweep of a subreaper.

    By the kernel's own list where it is compiled in, else by everybody's parent. What comes or
    goes meanwhile may be missed: sweep again until has_children() says no.
    """
    try:
        if posix.readlink("/proc/self") != str(posix.getpid()):
            return Children([], is_known=False)  # the /proc of another PID namespace
        listed = _listed_children()
        return Children(_scanned_children() if listed is None else listed, is_known=True)
    except OSError:  # ENOENT: no /proc. EACCES: hidden from us. EMFILE: no descriptor to look with
        return Children([], is_known=False)


def _listed_children() -> list[int] | None:
    """Read the children of each of our threads; None where the kernel keeps no such list."""
    pids: list[int] = []
    for thread in posix.listdir("/proc/self/task"):
        try:
            pids += [int(pid) for pid in _read(f"/proc/self/task/{thread}/children").split()]
        except FileNotFoundError:  # CONFIG_PROC_CHILDREN is off (or the thread has just ended)
            return None
    return pids


def _scanned_children() -> list[int]:
    """Ask every process for its parent."""
    us = posix.getpid()
    pids = [int(name) for name in posix.listdir("/proc") if name.isdecimal()]
    return [pid for pid in pids if parent_of(pid) == us]


def parent_of(pid: int) -> int:
    """Read a process's parent from /proc; 0 if it is gone or its parent is out of sight."""
    try:
        stat = _read(f"/proc/{pid}/stat")
    except OSError:  # ENOENT, ESRCH: gone. EACCES: hidden. EMFILE: cannot look
        return 0
    return int(stat[stat.rindex(b")") + 1 :].split()[1])  # the name may hold spaces and brackets


def _read(path: str) -> bytes:
    """Read a file of /proc, which may give less than it was asked for (seq_file)."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        parts = []
        while part := posix.read(fd, 65536):
            parts.append(part)
        return b"".join(parts)
    finally:
        posix.close(fd)


def become_subreaper() -> bool:
    """Have the orphans of our descendants come to us; False if the kernel or the build refuses.

    prctl(2) is reached through `_ctypes` alone: the package `ctypes` costs 2 ms more, and it makes
    a frozen build slow. `_ctypes` itself loads libffi, up to 2 ms: call it when the first worker
    runs already. As PID 1 it is not needed: everybody's orphans come there.
    """
    try:
        import _ctypes
    except ImportError:
        return False
    prctl = _prctl(_ctypes)
    return bool(prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def _prctl(ctypes: Any) -> Any:
    """Make a callable of libc's prctl: what ctypes.CDLL(None).prctl does, without its package."""
    simple: Any = ctypes._SimpleCData  # noqa: SLF001  the base of every ctypes number

    class Int(simple):  # type: ignore[misc]
        _type_ = "i"

    class UnsignedLong(simple):  # type: ignore[misc]
        _type_ = "L"

    class Prctl(ctypes.CFuncPtr):  # type: ignore[misc]
        _flags_ = ctypes.FUNCFLAG_CDECL
        _argtypes_ = (Int, *[UnsignedLong] * 4)
        _restype_ = Int

    return Prctl(ctypes.dlsym(ctypes.dlopen(None, 0), "prctl"))
