"""Finds srvinit where it is not PID 1, and says why it cannot be asked."""

from __future__ import annotations

import posix

from srvinit import STATUS_FD
from srvinit.report import reading
from srvinit.report.reading import NoStatusError, UnpublishedError

# How many of several are named: enough to choose from.
_MOST_NAMED = 8
# For a line of stat, and for the first words of a command line.
_ENOUGH_BYTES = 4096


def search() -> int:
    """Return the only srvinit of this PID namespace. Raises NoStatusError if there is not one."""
    pids = sorted(reading.pids())
    found = [pid for pid in pids if _has_status(pid, everywhere=False)]
    if not found:  # none at the usual descriptor
        found = [pid for pid in pids if _has_status(pid, everywhere=True)]
    if len(found) > 1:
        # A worker has srvinit's descriptors for the moment between its fork and its exec.
        found = [pid for pid in found if parent(pid) not in found]
    if len(found) == 1:
        return found[0]
    if found:
        named = ", ".join(map(str, found[:_MOST_NAMED]))
        raise NoStatusError(f"{len(found)} srvinits run here: choose one with --pid: {named}")
    for pid in pids:
        if looks_like_srvinit(pid):
            raise nothing_published(pid)
    raise NoStatusError("no srvinit here: no process that this user may look at publishes a status")


def _has_status(pid: int, *, everywhere: bool) -> bool:
    try:
        if everywhere:
            return bool(reading.place(pid))
        return posix.readlink(f"/proc/{pid}/fd/{STATUS_FD}") == reading.LINK
    except (NoStatusError, OSError):  # gone meanwhile, or somebody else's
        return False


def nothing_published(pid: int) -> NoStatusError:
    """Return the error that says why a process that may be srvinit tells nothing."""
    try:
        reading.place(pid)
    except NoStatusError as denied:
        return denied
    if looks_like_srvinit(pid):
        why = "it starts, or could not (status.unavailable in its log)"
        return UnpublishedError(f"srvinit (pid {pid}) publishes no status: {why}")
    return NoStatusError(f"process {pid} is no srvinit: it publishes no status")


def looks_like_srvinit(pid: int) -> bool:
    """Tell whether a process was started as srvinit: everybody may read its command line."""
    words = _read(f"/proc/{pid}/cmdline").split(b"\0")
    started = [word.rpartition(b"/")[2] for word in words[:2]]
    return b"srvinit" in started or words[1:3] == [b"-m", b"srvinit"]


def parent(pid: int) -> int:
    """Return the pid of a process's parent, 0 if it is gone.

    As kernel/reap.py has it, whose import a probe that has to search would wait for.
    """
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0


def _read(path: str) -> bytes:
    """Return the beginning of a file of /proc, nothing where its process is gone."""
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return posix.read(fd, _ENOUGH_BYTES)
    except OSError:  # ESRCH: it ended meanwhile
        return b""
    finally:
        posix.close(fd)
