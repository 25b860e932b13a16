"""fork(2): make a worker out of a copy of srvinit, and give it what it is owed and nothing else.

It owns the order of steps in the child and everything a worker inherits. It must never change the
blocking mode of a shared socket (the flag belongs to all holders of the open description), never
return into the parent's stack in the child, and never let a child go without an answer on its exec
pipe. What it rests on:

- Between fork and setpgid the child is in the parent's group: both set it, whoever comes first, so
  that neither ever sees it elsewhere. The loser gets EACCES (it has exec'd) or ESRCH (setpgid(2)).
- A pending signal is not inherited by a fork, the mask and the dispositions are (fork(2)). With all
  blocked until the dispositions are right, what comes for the child in between waits.
- dup2 clears close-on-exec, except onto itself, where it does nothing (dup(2)).
- A background process may give the terminal away while TTOU is blocked (tcsetpgrp(3)).
- A process may raise its own oom_score_adj, up to 1000, and lower it again to where the last one
  with CAP_SYS_RESOURCE had put it: never above where it was found (fs/proc/base.c, __set_oom_adj).
  A child has its parent's. It adds so many thousandths of the memory that ran out (the cgroup's,
  or the machine's) to what a process has.
- LISTEN_PID, WATCHDOG_PID are the pid of who runs the server: known only in the child
  (sd_listen_fds(3), sd_watchdog_enabled(3)).
"""

from __future__ import annotations

import errno
import fcntl
import posix

from srvinit.errors import KernelRefused
from srvinit.kernel import descriptors, environment, signals
from srvinit.kernel import exec as execing
from srvinit.kernel.environment import FIRST_SOCKET_FD
from srvinit.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

# Not to be the controlling terminal's, or not to have one, is no reason not to start: the worker
# then finds itself in the background, as it would have without srvinit.
_NO_FOREGROUND = {errno.ENOTTY, errno.EPERM, errno.EIO, errno.ENXIO, errno.ESRCH}

# A tenth of the limit ahead of srvinit, whose end is the end of all: enough for any worker that is
# not far smaller than srvinit, and little, as a machine that runs out compares whole pods by it.
_OOM_SCORE_STEP = 100
_OOM_SCORE_MOST = 1000


class Launch(Record):
    """How workers are started: everything that is the same for all of them.

    `mask` is the one that signals.block() returned. `sockets` are (name, address, fd), in the
    order of `bind`; the fds stay the caller's. `environ` is what srvinit itself was given.
    `func` makes library mode: it is called with slot and generation instead of an exec.
    """

    argv: tuple[str, ...]
    environ: dict[bytes, bytes]
    mask: set[int]
    cwd: bytes | str | None = None
    sockets: tuple[tuple[str, str, int], ...] = ()
    stdin_is_shared: bool = False
    terminal_fd: int | None = None
    ignore_sigint: bool = True
    extra_env: tuple[tuple[str, str], ...] = ()
    watchdog_s: float = 0.0
    func: Callable[[int, int], object] | None = None


class _Newcomer(Record):
    """What a worker has for itself, made before its fork; `paths` may lead to its command."""

    slot: int
    generation: int
    environ: dict[bytes, bytes]
    paths: list[str]


class Child(Record):
    """A process just forked. `exec_fd` is the caller's to read (exec.read_result) and close."""

    pid: int
    exec_fd: int


def spawn(
    launch: Launch,
    slot: int,
    generation: int,
    notify_path: str | None = None,
    private_fds: tuple[int, ...] = (),
) -> Child:
    """Fork a worker. It runs when its exec pipe ends; that pipe wakes signals.wait().

    All signals must be blocked. `private_fds` are srvinit's own descriptors, which a callable's
    child closes by hand (a command's child loses them by close-on-exec).
    Raises KernelRefused for a fork that fails (EAGAIN: pids limit; ENOMEM) or no descriptor left.
    """
    newcomer = _prepare_newcomer(launch, slot, generation, notify_path)
    try:
        read_fd, write_fd = posix.pipe2(posix.O_CLOEXEC)
    except OSError as error:  # EMFILE, ENFILE
        raise KernelRefused("pipe2", f"for worker {slot}", error.errno or 0) from error
    signals.arm(read_fd)
    if launch.func is not None:
        from srvinit.kernel import calling

        calling.flush()  # or the child would write out a copy of what is buffered here
    try:
        pid = _fork()
    except OSError as error:  # EAGAIN, ENOMEM
        descriptors.close_all((read_fd, write_fd))
        raise KernelRefused("fork", f"worker {slot}", error.errno or 0) from error
    if pid == 0:
        _become_worker(launch, newcomer, (write_fd, read_fd, *private_fds))
    descriptors.close_all((write_fd,))  # an EIO would be raised, and the child forgotten
    _make_leader(pid)
    return Child(pid, read_fd)


def _fork() -> int:
    """Fork a child that the kernel kills rather than srvinit, where memory runs out.

    By srvinit's own score, raised for the moment: a child that raises its own touches so many pages
    of its copy first that it starts 0.15 ms later.
    """
    fd, found = _raise_own_score()
    if fd < 0:
        return posix.fork()
    pid = -1
    try:
        pid = posix.fork()
    finally:
        if pid:
            _set_score(fd, found)
        descriptors.close_all((fd,))
    return pid


def _set_score(fd: int, score: bytes) -> None:
    """Set our oom_score_adj back; nothing may be raised any more, for there is a child by now."""
    try:
        posix.write(fd, score)
    except OSError:  # never, by what is said above; if it were, srvinit is as killable as a worker
        return


def _raise_own_score() -> tuple[int, bytes]:
    """Raise our oom_score_adj; return its file and what was found there, or -1 if it stays so."""
    try:
        fd = posix.open("/proc/self/oom_score_adj", posix.O_RDWR | posix.O_CLOEXEC)
    except OSError:  # ENOENT: no /proc. EACCES, EROFS: not for us to write
        return -1, b""
    try:
        found = posix.read(fd, 16)
        posix.write(fd, b"%d" % min(int(found) + _OOM_SCORE_STEP, _OOM_SCORE_MOST))
    except (OSError, ValueError):  # some sandboxes have a file that takes nothing, or says nothing
        posix.close(fd)
        return -1, b""
    return fd, found


def _prepare_newcomer(
    launch: Launch, slot: int, generation: int, notify_path: str | None
) -> _Newcomer:
    """Make here what would cost the child a copy of each page that is touched for it."""
    fds = tuple(fd for _, _, fd in launch.sockets)  # a callable's stay where they are
    if launch.func is None:
        fds = tuple(range(FIRST_SOCKET_FD, FIRST_SOCKET_FD + len(fds)))
    try:
        environ = environment.for_worker(launch, slot, generation, notify_path, fds)
    except UnicodeEncodeError as error:  # worker.env has what the locale's encoding has not
        raise KernelRefused("execve", f"environment of worker {slot}", errno.EILSEQ) from error
    paths = [] if launch.func is not None else execing.candidates(launch.argv[0], environ)
    return _Newcomer(slot, generation, environ, paths)


def _make_leader(pid: int) -> None:
    """Set the child's own group from the parent's side, if the child was not there first."""
    try:
        posix.setpgid(pid, pid)
    except (PermissionError, ProcessLookupError):
        return  # EACCES: it has exec'd, and had set its group before. ESRCH: it has ended


def _become_worker(launch: Launch, newcomer: _Newcomer, own_fds: tuple[int, ...]) -> NoReturn:
    """Turn the forked copy into the worker; never return.

    `own_fds` begins with the write end of the exec pipe. Every failure is reported there; what is
    no failure of a system call is our bug: Python shows it, and the child ends with 126.
    """
    status = 126
    try:
        pipe_fd = _above_sockets(own_fds[0], launch)
        failed = _prepare(launch)
        environment.tell_pid(newcomer.environ)
        if failed is None and launch.func is None:
            failed = _run_command(launch, newcomer)
        if failed is None and launch.func is not None:
            descriptors.close_all((pipe_fd, *own_fds[1:]))  # the end of the pipe: it runs
            status = _run_callable(launch.func, launch, newcomer)
        elif failed is not None:
            execing.report(pipe_fd, failed)
            status = execing.exit_status_for(failed.number)
    finally:
        posix._exit(status)  # noqa: SLF001  the call's name; os has the same


def _prepare(launch: Launch) -> execing.Failed | None:
    """Take the steps that a command and a callable have in common, in the order of the design."""
    step = "process group"
    path: bytes | str = ""
    try:
        posix.setpgid(0, 0)
        if launch.terminal_fd is not None:
            _take_foreground(launch.terminal_fd)
        if not launch.stdin_is_shared:
            step, path = "stdin", "/dev/null"
            null_fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
            posix.dup2(null_fd, 0)
            posix.close(null_fd)
        if launch.func is None and launch.sockets:
            step, path = "sockets", "at descriptors 3 and up"
            _place([fd for _, _, fd in launch.sockets])
        if launch.cwd is not None:
            step, path = "worker.cwd", launch.cwd
            posix.chdir(path)
    except OSError as error:
        return execing.examine(error.errno or errno.EINVAL, step, execing.text(path))
    return None


def _take_foreground(terminal_fd: int) -> None:
    """Make the child's own group the foreground group of its terminal, if it has one."""
    try:
        posix.tcsetpgrp(terminal_fd, posix.getpid())
    except OSError as error:
        if error.errno not in _NO_FOREGROUND:
            raise


def _above_sockets(fd: int, launch: Launch) -> int:
    """Move the exec pipe out of the way of the sockets' places."""
    end = FIRST_SOCKET_FD + len(launch.sockets)
    return fd if fd >= end else int(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, end))


def _place(fds: list[int]) -> None:
    """Put the sockets at 3, 4, … without a gap, inheritable, whatever numbers they have now.

    A source that stands where another one belongs is moved above all places first.
    """
    end = FIRST_SOCKET_FD + len(fds)
    sources = [
        fd if fd >= end or fd == place else int(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, end))
        for place, fd in enumerate(fds, FIRST_SOCKET_FD)
    ]
    for place, fd in enumerate(sources, FIRST_SOCKET_FD):
        if fd == place:
            posix.set_inheritable(fd, True)  # noqa: FBT003  the call has no other form
        else:
            posix.dup2(fd, place)


def _run_command(launch: Launch, newcomer: _Newcomer) -> execing.Failed:
    """Become the command; return only the failure to do so."""
    signals.restore_for_exec(ignore_sigint=launch.ignore_sigint)
    signals.restore_mask(launch.mask)
    return execing.run(newcomer.paths, launch.argv, newcomer.environ)


def _run_callable(func: Callable[[int, int], object], launch: Launch, newcomer: _Newcomer) -> int:
    """Call the user's function; return the exit status that CPython would end with."""
    from srvinit.kernel import calling  # imported before the fork

    def call() -> object:
        signals.restore_for_callable(ignore_sigint=launch.ignore_sigint)
        signals.restore_mask(launch.mask)  # a SIGINT that waits is raised here, not in func
        return func(newcomer.slot, newcomer.generation)

    return calling.run(call, newcomer.environ)
