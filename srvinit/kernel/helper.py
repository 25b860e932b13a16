"""fork(2) of a helper: a child that is no worker, and runs a part of srvinit beside it.

It owns what such a child keeps: its own group, the descriptors it is given, and a lifeline, over
which a traceback goes too: stderr is the log's. It must never return into its parent's stack. No
exec: frozen or not, it shares the parent's pages. What it rests on:

- The lifeline is a socket pair. When the parent is gone, whatever it died of, the helper's end
  tells so; what the helper says there at last can still be read when it is gone (unix(7)).
- Blocked signals stay blocked over a fork: but for KILL, STOP and its own faults a helper takes
  none, neither a terminal's nor those that are sent to every process at once.
- /proc/PID/cmdline is read out of the process's own memory, from arg_start to arg_end of
  /proc/PID/stat, and may be written there; /proc/PID/comm may be written (proc(5)).
"""

from __future__ import annotations

import _socket
import posix

from srvinit.errors import KernelRefused
from srvinit.kernel import descriptors
from srvinit.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

LAST_WORDS_BYTES = 4_000
FAULT_STATUS = 70  # EX_SOFTWARE of sysexits.h
_ARG_START, _ARG_END = 45, 46  # of the fields of /proc/PID/stat behind the name


class Helper(Record):
    """A helper just forked. The lifeline's end is the caller's; to close it ends the helper."""

    pid: int
    lifeline_fd: int


def start(run: Callable[[int], None], *, title: str, comm: str, keep: tuple[int, ...]) -> Helper:
    """Fork a helper that calls `run` with its end of the lifeline, and ends when that returns.

    `keep` are the descriptors it keeps. `title` is what ps shows, `comm` its name of 15 bytes.
    All signals must be blocked. Raises KernelRefused for no descriptor or no process left.
    """
    try:
        ours, theirs = _socket.socketpair()
    except OSError as error:  # EMFILE, ENFILE
        raise KernelRefused("socketpair", "for a helper", error.errno or 0) from error
    try:
        pid = posix.fork()
    except OSError as error:  # EAGAIN, ENOMEM
        ours.close()
        theirs.close()
        raise KernelRefused("fork", "a helper", error.errno or 0) from error
    if pid == 0:
        _become_helper(run, theirs.detach(), keep, (title, comm))
    theirs.close()
    return Helper(pid, ours.detach())


def last_words(lifeline_fd: int) -> str:
    """Read what a helper that has ended said of its fault; nothing where it was killed."""
    sock = _socket.socket(fileno=lifeline_fd)
    try:
        sock.settimeout(0)
        return sock.recv(LAST_WORDS_BYTES).decode("utf-8", "replace")
    except OSError:  # EAGAIN, ECONNRESET: it said nothing
        return ""
    finally:
        sock.detach()


def _become_helper(
    run: Callable[[int], None], lifeline_fd: int, keep: tuple[int, ...], names: tuple[str, str]
) -> NoReturn:
    status = FAULT_STATUS
    try:
        posix.setpgid(0, 0)
        descriptors.close_others((*keep, lifeline_fd))
        _name(*names)
        run(lifeline_fd)
        status = 0
    except BaseException as fault:  # noqa: BLE001  nothing may return into the parent's stack
        import traceback

        told = "".join(traceback.format_exception(fault))[-LAST_WORDS_BYTES:]
        posix.write(lifeline_fd, told.encode("utf-8", "backslashreplace"))
    finally:
        posix._exit(status)  # noqa: SLF001  the call's name; os has the same


def _name(title: str, comm: str) -> None:
    """Have ps and top show what this is; where /proc forbids it, it is shown as its parent."""
    try:
        _write("/proc/self/comm", comm.encode(), 0)
        stat = posix.open("/proc/self/stat", posix.O_RDONLY | posix.O_CLOEXEC)
        fields = posix.read(stat, 4096).rpartition(b") ")[2].split()
        posix.close(stat)
        start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
        # The last byte stays NUL: it tells the kernel that the area is not longer than it was.
        if start:
            _write(
                "/proc/self/mem", title.encode()[: end - start - 1].ljust(end - start, b"\0"), start
            )
    except (OSError, IndexError, ValueError):
        return


def _write(path: str, content: bytes, offset: int) -> None:
    fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
    try:
        if offset:
            posix.lseek(fd, offset, 0)
        posix.write(fd, content)  # pwrite(2) is refused for comm
    finally:
        posix.close(fd)
