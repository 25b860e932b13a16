"""Descriptors: what srvinit was started with, and what its workers must not get.

It must never touch the open description behind a descriptor (its blocking mode belongs to all its
holders). What it rests on: close-on-exec is the descriptor's own (fcntl(2), FD_CLOEXEC), and all
that CPython opens has it (PEP 446); open(2) and socket(2) return the lowest free number, so a
closed 0, 1 or 2 would be the next socket's; /proc/self/fd lists what is open (proc(5)), so the
size of RLIMIT_NOFILE, a billion in some containers, costs nothing.
"""

from __future__ import annotations

import errno
import fcntl
import posix

from srvinit.errors import KernelRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_FIRST_OWN_FD = 3

# Without /proc each number up to here is asked for: whoever leaks descriptors leaks low ones, and
# a limit of a billion must cost nothing.
_HIGHEST_UNLISTED = 255

# What srvinit has open besides what sockets and workers need: 0 to 2, the terminal, the status
# snapshot (two while it is swapped), the log's own pipe (two), the second end of an exec pipe, a
# directory of /proc and a file in it, and one to spare.
_OWN_DESCRIPTORS = 12

# From Linux 6.3 on, and there alone if vm.memfd_noexec is 2; older kernels say EINVAL to it.
_MFD_NOEXEC_SEAL = 8


def fill_standard() -> None:
    """Open /dev/null for each of 0, 1 and 2 that is closed, inherited by workers as well.

    Before anything else is opened. Raises KernelRefused where there is no /dev/null.
    """
    for fd in (0, 1, 2):
        try:
            fcntl.fcntl(fd, fcntl.F_GETFD)
        except OSError:  # EBADF, the only one: it is closed
            _open_null(fd)


def _open_null(fd: int) -> None:
    try:
        opened = posix.open("/dev/null", posix.O_RDWR)
        posix.dup2(opened, fd)  # onto itself where it got the lowest number: then as below
        posix.set_inheritable(fd, True)  # noqa: FBT003  the call has no other form
        if opened != fd:
            posix.close(opened)
    except OSError as error:
        raise KernelRefused("open", "/dev/null", error.errno or 0) from error


def mark_close_on_exec() -> None:
    """Keep every descriptor that srvinit was started with, above 2, from its workers.

    Once, at the start: all that is opened later is close-on-exec by itself.
    """
    for fd in _inherited():
        try:
            fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        except OSError:  # EBADF: not open, or it was the listing's own
            continue


def _inherited() -> Iterable[int]:
    """List the open descriptors above 2, with numbers that are not open among them."""
    try:
        return [int(name) for name in posix.listdir("/proc/self/fd") if int(name) >= _FIRST_OWN_FD]
    except OSError:  # ENOENT: no /proc. EMFILE, EACCES: no help from it either
        return range(_FIRST_OWN_FD, _HIGHEST_UNLISTED + 1)


def close_all(fds: Iterable[int]) -> None:
    """Close descriptors, whether they are open or not."""
    for fd in fds:
        try:
            posix.close(fd)
        except OSError:  # EBADF: closed already. After any other it is closed as well: close(2)
            continue


def close_others(kept: Iterable[int]) -> None:
    """Close all that is open but `kept`; 0, 1 and 2 lead to /dev/null.

    For a child that shares srvinit's descriptors and stays.
    """
    spared = set(kept)
    close_all(fd for fd in _inherited() if fd not in spared)
    null_fd = posix.open("/dev/null", posix.O_RDWR | posix.O_CLOEXEC)
    for fd in (0, 1, 2):
        posix.dup2(null_fd, fd)
    posix.close(null_fd)


def needed(workers: int, sockets: int, *, notify: bool = False) -> int:
    """Count the descriptors needed at once while `workers` are started with `sockets`.

    A worker has an exec pipe until it runs, with `notify` a socket for as long as it lives, and
    there is one more during a recycle. A child holds its sockets twice before its exec.
    """
    return _OWN_DESCRIPTORS + 2 * sockets + (workers + 1) * (2 if notify else 1)


def limit() -> int:
    """Return the soft limit on descriptors (getrlimit(2), RLIMIT_NOFILE), by sysconf(3).

    It is only read: raising it would raise it for the workers too, and programs that close all
    descriptors one by one (or use select) rely on it being what they were given.
    """
    return posix.sysconf("SC_OPEN_MAX")


def open_memory(name: str) -> int:
    """Open a file in memory that can be sealed; `name` is what /proc shows (memfd_create(2)).

    Raises KernelRefused: EMFILE, ENFILE, ENOMEM; EPERM or ENOSYS where a filter forbids it.
    """
    flags = posix.MFD_CLOEXEC | posix.MFD_ALLOW_SEALING
    try:
        try:
            return posix.memfd_create(name, flags | _MFD_NOEXEC_SEAL)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return posix.memfd_create(name, flags)
    except OSError as error:
        raise KernelRefused("memfd_create", name, error.errno or 0) from error


def move_up(fd: int, least: int) -> int:
    """Give a descriptor the lowest free number from `least` on, or leave it where it is."""
    try:
        moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, least)
    except OSError:  # EINVAL: the limit is below that number. EMFILE: there is none left above it
        return fd
    close_all((fd,))
    return int(moved)


def reserve(name: str, number: int) -> int:
    """Open an empty file in memory at `number`, or where there is room; -1 if that is refused."""
    try:
        return move_up(open_memory(name), number)
    except KernelRefused:
        return -1
