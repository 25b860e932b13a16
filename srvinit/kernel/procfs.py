"""What /proc tells about other processes: their family, their descriptors, the call they are in.

Every process may end, and every descriptor close, between two reads: whoever asks takes an OSError
as "not any more". The formats, all from proc(5):

- stat: "pid (comm) state ppid pgrp …"; comm may hold anything, ")" and spaces too.
- task/TID/children: pids, space separated. Complete as long as the children are alive or zombies.
- fd/N: a link, "socket:[inode]" or "anon_inode:[eventpoll]". fdinfo/N of an epoll set has a line
  "tfd: 5 events: 19 data: … pos:0 ino:2f1a sdev:9" per member; ino in hex, since Linux 4.13.
- task/TID/syscall: "number arg0 … arg5 sp pc" for a thread that is blocked in a system call (all
  but the number in hex), "-1 sp pc" blocked elsewhere, "running" on a CPU. It and mem need
  PTRACE_MODE_ATTACH: the same user and dumpable, or CAP_SYS_PTRACE (ptrace(2)).
"""

from __future__ import annotations

import posix

from srvinit.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

POLLIN = 1  # and EPOLLIN
POLLFD_BYTES = 8  # int fd, short events, short revents: poll(2)

# System call numbers by machine, by what their arguments say: asm/unistd.h.
CALLS: dict[str, dict[int, str]] = {
    "x86_64": {
        43: "accept",
        288: "accept",  # accept4
        7: "poll",
        271: "poll",  # ppoll
        23: "select",
        270: "select",  # pselect6
        0: "receive",  # read
        45: "receive",  # recvfrom
        47: "receive",  # recvmsg
        299: "receive",  # recvmmsg
    },
    "aarch64": {
        202: "accept",
        242: "accept",  # accept4
        73: "poll",  # ppoll; there is no poll and no select
        72: "select",  # pselect6
        63: "receive",  # read
        207: "receive",  # recvfrom
        212: "receive",  # recvmsg
        243: "receive",  # recvmmsg
    },
}


class Stat(Record):
    """The start of /proc/PID/stat."""

    state: str
    parent_pid: int
    pgid: int


class Blocked(Record):
    """The system call a thread is blocked in, and its arguments."""

    number: int
    arguments: tuple[int, ...]


def read_file(path: str, limit: int = 65536) -> bytes:
    """Read a file of /proc or /sys from its start, `limit` bytes at most; raises OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        pieces = []
        while limit > 0 and (piece := posix.read(fd, limit)):
            pieces.append(piece)
            limit -= len(piece)
        return b"".join(pieces)
    finally:
        posix.close(fd)


def read_memory(pid: int, address: int, size: int) -> bytes:
    """Read another process's memory; raises OSError where it may not be read or is not mapped."""
    fd = posix.open(f"/proc/{pid}/mem", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.pread(fd, size, address)
    finally:
        posix.close(fd)


def parse_stat(text: bytes) -> Stat:
    """Read /proc/PID/stat."""
    state, parent_pid, pgid = text.rpartition(b")")[2].split(None, 3)[:3]
    return Stat(state.decode(), int(parent_pid), int(pgid))


def parse_blocked(text: bytes) -> Blocked | None:
    """Read /proc/PID/task/TID/syscall; None if the thread is in no system call."""
    number, *rest = text.split()
    if number in {b"running", b"-1"}:
        return None
    return Blocked(int(number), tuple(int(argument, 16) for argument in rest[:6]))


def parse_epoll(text: bytes) -> list[tuple[int, int]]:
    """List the (fd, inode) of an epoll set's members that are watched for something to read.

    The fd is what the member was when it was added; the inode is -1 before Linux 4.13.
    """
    members = []
    for line in text.splitlines():
        if not line.startswith(b"tfd:"):
            continue
        words = line.replace(b":", b": ").split()
        value = dict(zip(words[::2], words[1::2], strict=False))
        if int(value[b"events:"], 16) & POLLIN:
            members.append((int(value[b"tfd:"]), int(value.get(b"ino:", b"-1"), 16)))
    return members


def parse_pollfds(raw: bytes) -> set[int]:
    """Name the fds of a struct pollfd array that are watched for something to read."""
    return {
        int.from_bytes(raw[start : start + 4], "little", signed=True)
        for start in range(0, len(raw) - POLLFD_BYTES + 1, POLLFD_BYTES)
        if raw[start + 4] & POLLIN
    }


def parse_fd_set(raw: bytes) -> set[int]:
    """Name the fds of an fd_set: select(2)."""
    return {
        index * 8 + bit for index, byte in enumerate(raw) for bit in range(8) if byte >> bit & 1
    }


def stat(pid: int) -> Stat:
    """Read a process's state, parent and group; raises OSError if it is gone."""
    return parse_stat(read_file(f"/proc/{pid}/stat"))


def family(leader: int) -> Iterator[int]:
    """Go through a worker's processes: its leader, its descendants, the rest of its group.

    Descendants nearest first, whatever group or session they moved to. A member of the group
    whose parent is gone was adopted by srvinit itself (PID 1 or subreaper), so only our own
    children have to be looked at for those. A process that left the group, and whose parents are
    gone, cannot be told from any orphan.
    """
    if not posix.access("/proc/thread-self/children", posix.R_OK):
        yield from _family_by_scan(leader)
        return
    found = [leader]
    for pid in found:
        yield pid
        found += [child for child in _children(pid) if child not in found]
    for pid in _children(posix.getpid()):
        if pid not in found and _group(pid) == leader:
            yield pid


def is_of_family(pid: int, leader: int) -> bool | None:
    """Say whether a process belongs to a worker; None if it is gone (or hidden).

    From the process upwards, which reads a handful of files however large the family is.
    """
    seen: set[int] = set()
    while pid not in seen and pid > 0:
        if pid == leader:
            return True
        seen.add(pid)
        try:
            found = stat(pid)
        except OSError:
            return None if len(seen) == 1 else False
        if found.pgid == leader:
            return True
        pid = found.parent_pid
    return False


def _children(pid: int) -> list[int]:
    """List the children of all threads of a process."""
    found: list[int] = []
    try:
        for thread in posix.listdir(f"/proc/{pid}/task"):
            found += map(int, read_file(f"/proc/{pid}/task/{thread}/children").split())
    except OSError:
        pass  # it, or this thread, ended
    return found


def _group(pid: int) -> int:
    try:
        return stat(pid).pgid
    except OSError:
        return 0


def _family_by_scan(leader: int) -> Iterator[int]:
    """Find a family where the kernel has no children files (CONFIG_PROC_CHILDREN)."""
    children: dict[int, list[int]] = {}
    group = []
    for name in posix.listdir("/proc"):
        if name.isdigit():
            try:
                found = stat(int(name))
            except OSError:
                continue  # ended
            children.setdefault(found.parent_pid, []).append(int(name))
            if found.pgid == leader:
                group.append(int(name))
    members = [leader]
    for pid in members:
        yield pid
        members += [child for child in children.get(pid, ()) if child not in members]
    yield from (pid for pid in group if pid not in members)
