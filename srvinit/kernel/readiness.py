"""Whether a worker accepts on a shared socket, seen from outside: `worker.require = listen`.

No server is asked to do anything. A worker counts as accepting when one of its processes holds the
socket and either has it in an epoll set, or has a thread blocked in accept, poll, select or a
receiving call on it. What this cannot see:

- io_uring: an accept submitted to a ring blocks no thread and shows in no epoll set;
- a thread that accepts without ever waiting (non-blocking accept in a busy loop, or after a sleep);
- a process that changed its user, unless srvinit has CAP_SYS_PTRACE (`unreadable`).

An epoll set counts once the socket is in it, whether or not somebody waits on the set now: a busy
event loop is seldom found waiting. It is asked with a growing interval while a worker starts, and
never after: one look is a handful of reads per process, one more per descriptor and thread.
"""

from __future__ import annotations

import errno
import posix
import select

from srvinit.kernel import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# Bounds on one look, far beyond what a worker that starts up has.
DESCRIPTOR_LIMIT = 4096
THREAD_LIMIT = 1024
FAMILY_LIMIT = 512
POLL_LIMIT = 4096
EPOLL = "anon_inode:[eventpoll]"


class ListenProbe:
    """Looks whether workers accept on one of the sockets with these inodes (`Listener.inode`)."""

    __slots__ = ("_calls", "_inodes", "_links")

    def __init__(self, inodes: Iterable[int]) -> None:
        self._inodes = frozenset(inodes)
        self._links = frozenset(f"socket:[{inode}]" for inode in self._inodes)
        self._calls = procfs.CALLS.get(posix.uname().machine, {})

    def is_accepting(self, pid: int) -> bool:
        """Say whether any process of the worker led by `pid` accepts on a shared socket now."""
        for looked_at, member in enumerate(procfs.family(pid)):
            if looked_at >= FAMILY_LIMIT:
                break
            if self._accepts(member):
                return True
        return False

    def _accepts(self, pid: int) -> bool:
        """Look at one process."""
        held, epolls = self._descriptors(pid)
        if not held:
            return False
        if any(self._watches(pid, epoll, held) for epoll in epolls):
            return True
        return any(self._waits(pid, thread, held) for thread in _list(f"/proc/{pid}/task"))

    def _descriptors(self, pid: int) -> tuple[set[int], list[int]]:
        """Find the fds that are shared sockets, and those that are epoll sets."""
        held: set[int] = set()
        epolls: list[int] = []
        for name in _list(f"/proc/{pid}/fd", DESCRIPTOR_LIMIT):
            try:
                target = posix.readlink(f"/proc/{pid}/fd/{name}")
            except OSError:
                continue  # this one was closed meanwhile; a busy worker always has such
            if target in self._links:
                held.add(int(name))
            elif target == EPOLL:
                epolls.append(int(name))
        return held, epolls

    def _watches(self, pid: int, epoll: int, held: set[int]) -> bool:
        """Say whether a shared socket is in an epoll set."""
        try:
            members = procfs.parse_epoll(procfs.read_file(f"/proc/{pid}/fdinfo/{epoll}"))
        except OSError:
            return False  # closed meanwhile
        return any(inode in self._inodes if inode >= 0 else fd in held for fd, inode in members)

    def _waits(self, pid: int, thread: str, held: set[int]) -> bool:
        """Say whether a thread is blocked in a call that waits for a shared socket."""
        try:
            blocked = procfs.parse_blocked(procfs.read_file(f"/proc/{pid}/task/{thread}/syscall"))
            if blocked is None:
                return False
            kind = self._calls.get(blocked.number, "")
            return not held.isdisjoint(_waited_for(pid, kind, blocked.arguments))
        except OSError:
            return False  # the thread ended, or its arguments are gone with the call


def _waited_for(pid: int, kind: str, arguments: tuple[int, ...]) -> set[int]:
    """Name the fds that a blocked call waits for; epoll sets are looked at by their fdinfo."""
    if kind in {"accept", "receive"}:
        return {arguments[0]}
    if kind == "poll":
        size = min(arguments[1], POLL_LIMIT) * procfs.POLLFD_BYTES
        return procfs.parse_pollfds(procfs.read_memory(pid, arguments[0], size))
    if kind == "select" and arguments[1]:
        size = (min(arguments[0], POLL_LIMIT) + 7) // 8
        return procfs.parse_fd_set(procfs.read_memory(pid, arguments[1], size))
    return set()


def _list(path: str, limit: int = THREAD_LIMIT) -> list[str]:
    """List a directory of /proc; empty if the process is gone or must not be seen."""
    try:
        return posix.listdir(path)[:limit]
    except OSError:
        return []


def unreadable(pid: int) -> str | None:
    """Say why a live worker cannot be looked into, if one of its processes cannot.

    Most likely it changed its user, as servers do that start as root.
    """
    for looked_at, member in enumerate(procfs.family(pid)):
        if looked_at >= FAMILY_LIMIT:
            break
        try:
            if procfs.stat(member).state == "Z":
                continue
            posix.listdir(f"/proc/{member}/fd")
            posix.close(posix.open(f"/proc/{member}/mem", posix.O_RDONLY | posix.O_CLOEXEC))
        except PermissionError:
            return f"process {member}{_user(member)} may only be looked into with CAP_SYS_PTRACE"
        except FileNotFoundError:
            if member == pid:  # a worker has a directory in /proc until it is reaped
                return f"process {pid} is hidden: /proc is mounted with hidepid"
        except OSError:
            continue  # ended meanwhile: ESRCH
    return None


def _user(pid: int) -> str:
    """Name the user a process runs as, if it is another one than ours."""
    try:
        text = procfs.read_file(f"/proc/{pid}/status")
    except OSError:
        return ""
    _, _, rest = text.partition(b"\nUid:\t")
    uid = rest.split(None, 2)[1:2]  # real, effective, …
    return f" runs as user {int(uid[0])} and" if uid and int(uid[0]) != posix.geteuid() else ""


def why_hidden() -> str | None:
    """Say what this platform hides so that accepting cannot be seen everywhere; None if nothing.

    Tried out at a child that is forked for it, since the own process is always readable: call it
    before workers are there or from the loop, never while another thread waits for children.
    """
    if not posix.access("/proc/self/fd", posix.R_OK):
        return "no /proc is mounted"
    if posix.uname().machine not in procfs.CALLS:
        return f"the system calls of {posix.uname().machine} are not known: only epoll is seen"
    try:
        if int(posix.readlink("/proc/self")) != posix.getpid():
            return "/proc is that of another PID namespace"
        return _why_hidden_from_us()
    except OSError as refused:  # EMFILE. EAGAIN: the pids limit, and no worker starts either
        return f"it cannot be tried out: {posix.strerror(refused.errno or 0)}"


def _why_hidden_from_us() -> str | None:
    reading, writing = posix.pipe()
    try:
        child = posix.fork()
    except OSError:
        posix.close(reading)
        posix.close(writing)
        raise
    if child == 0:
        posix.close(writing)
        posix.read(reading, 1)  # ends when the parent closes its end
        posix._exit(0)  # noqa: SLF001  its name
    try:
        return _why_hidden_in(child, reading)
    finally:
        posix.close(writing)
        posix.close(reading)
        posix.waitpid(child, 0)


def _why_hidden_in(child: int, readable: int) -> str | None:
    """Try each kind of look at a child that is blocked in read(2)."""
    try:
        posix.readlink(f"/proc/{child}/fd/{readable}")
        procfs.parse_blocked(procfs.read_file(f"/proc/{child}/task/{child}/syscall"))
        posix.close(posix.open(f"/proc/{child}/mem", posix.O_RDONLY | posix.O_CLOEXEC))
    except FileNotFoundError as missing:
        return f"{missing.filename or '/proc/PID/syscall'} is missing here"
    except OSError as refused:
        name = errno.errorcode.get(refused.errno or 0, "")
        return f"other processes may not be looked into ({name})"
    epoll = select.epoll()
    try:
        epoll.register(readable, select.EPOLLIN)
        members = procfs.parse_epoll(procfs.read_file(f"/proc/self/fdinfo/{epoll.fileno()}"))
    finally:
        epoll.close()
    return None if members else "epoll sets do not show in /proc/PID/fdinfo"
