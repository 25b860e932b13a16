"""Finds and reads the status that a running srvinit publishes: for srvinitctl, probes, metrics.

It imports nothing but built-in modules: a readiness probe runs every few seconds for years. Who may
read it: the same user, and root (ptrace(2), PTRACE_MODE_READ; the links of /proc/PID/fd).
"""

from __future__ import annotations

import posix

from srvinit import STATUS_FD, STATUS_NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# What readlink(2) says of a memfd: memfd_create(2).
LINK = f"/memfd:{STATUS_NAME} (deleted)"
# More than the first line has: its sentence is short.
FIRST_LINE_BYTES = 512
_BLOCK_BYTES = 1 << 20


class NoStatusError(Exception):
    """There is no status to be read; the message says why, in one line."""


class UnpublishedError(NoStatusError):
    """The process is srvinit, and has not published a status yet."""


def read(pid: int) -> bytes:
    """Return the whole status of srvinit `pid`: a JSON object. Raises NoStatusError."""
    fd = _open(pid)
    try:
        blocks = iter(lambda: posix.read(fd, _BLOCK_BYTES), b"")
        return b"".join(blocks) or _unpublished(pid)
    finally:
        posix.close(fd)


def read_first_line(pid: int) -> str:
    """Return the first line of the status of srvinit `pid`. Raises NoStatusError."""
    fd = _open(pid)
    try:
        line = posix.read(fd, FIRST_LINE_BYTES) or _unpublished(pid)
    finally:
        posix.close(fd)
    return line.partition(b"\n")[0].decode()


def field(first_line: str, name: str) -> str:
    """Return a field of the first line, as text: "true", "serving"."""
    text = first_line.partition(f'"{name}": ')[2]
    return text[1:].partition('"')[0] if text[:1] == '"' else text.partition(",")[0]


def place(pid: int) -> str:
    """Return the path of a process's status, "" if it has none.

    Raises NoStatusError where the process is gone or may not be looked at.
    """
    folder = f"/proc/{pid}/fd"
    try:
        if _leads_to_status(f"{folder}/{STATUS_FD}"):
            return f"{folder}/{STATUS_FD}"
        names = posix.listdir(folder)
    except (FileNotFoundError, ProcessLookupError):
        raise NoStatusError(f"there is no process {pid}") from None
    except PermissionError:
        raise NoStatusError(_denied(pid)) from None
    paths = (f"{folder}/{name}" for name in names)
    found = [path for path in paths if _leads_to_status(path)]
    if len(found) > 1:  # one is being written, to replace the other: a sealed one is whole
        found.sort(key=_is_sealed, reverse=True)
    return found[0] if found else ""


def pids() -> Iterator[int]:
    """Yield the pids of this namespace's processes. Raises NoStatusError where /proc is hidden."""
    try:
        names = posix.listdir("/proc")
    except OSError as error:
        raise NoStatusError(f"/proc cannot be read: {error.strerror}") from None
    return (int(name) for name in names if name.isdigit())


def _leads_to_status(path: str) -> bool:
    try:
        return posix.readlink(path) == LINK
    except (FileNotFoundError, ProcessLookupError):  # not open; or the process is gone
        return False


def _is_sealed(path: str) -> bool:
    import fcntl

    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:  # it has been written, and is closed
        return False
    try:
        return bool(fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE)
    except OSError:  # EINVAL: no memory that can be sealed
        return False
    finally:
        posix.close(fd)


def _open(pid: int) -> int:
    path = place(pid)
    if not path:
        raise NoStatusError(f"process {pid} publishes no status: it is no srvinit")
    try:
        return posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        raise NoStatusError(f"process {pid} is gone") from None
    except PermissionError:
        raise NoStatusError(_denied(pid)) from None


def _unpublished(pid: int) -> bytes:
    raise UnpublishedError(f"srvinit (pid {pid}) has not published its status yet: it starts")


def _denied(pid: int) -> str:
    """Say whose process it is."""
    try:
        owner, me = posix.stat(f"/proc/{pid}").st_uid, posix.geteuid()
    except OSError:
        return f"process {pid} is gone"
    if owner == me:
        return f"process {pid} may not be looked at: the kernel refuses it (ptrace(2), access mode)"
    return f"process {pid} belongs to user {owner}, and this is user {me}: run as the same user"
