"""The controlling terminal: who is in its foreground, its settings, and whether it is still there.

It owns facts and orders about the terminal that srvinit was started on, for a single worker that
somebody talks to; what to do when is the core's. It must never take the terminal from a shell that
has sent us to the background, and never wait for output to drain: a terminal held by Ctrl-S would
hold PID 1. What it rests on:

- /dev/tty is the controlling terminal of whoever opens it; ENXIO: there is none (tty(4)). Where a
  container lacks it, one of 0, 1, 2 may be it: tcgetpgrp(3) answers for no other terminal.
- Keys send their signals (INT, QUIT, TSTP) to the foreground group alone, and so does a change of
  the window's size (WINCH). Reading from the background stops the reader's group by TTIN, changing
  settings by TTOU; while TTOU is blocked or ignored they are changed instead (tcsetpgrp(3)).
- A group is orphaned when no member has a parent in another group of the same session. In such
  a group TSTP, TTIN and TTOU do not stop, reading gives EIO (setpgid(2), credentials(7)). A worker
  is not orphaned as long as srvinit is in its session and in another group.
- When the terminal goes away its descriptors give POLLHUP, and everything about it fails with EIO;
  HUP goes to the session's leader only, and shells pass it on with kill (setsid(2), bash(1)).
- A group that we cannot see, from outside our PID namespace, has the number 0 (pid_namespaces(7)).
  A PID 1 that was started without a session of its own (unshare -pf) is itself in such a group.
- PID 1 ignores SIGSTOP, even its own (pid_namespaces(7)).
"""

from __future__ import annotations

import errno
import posix
import select

from srvinit.kernel import reap

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from typing import Any
else:
    import _signal

# Not our controlling terminal (any more), or it has hung up: tcgetpgrp(3), tty_ioctl(4).
_NO_TERMINAL = {errno.ENOTTY, errno.EIO, errno.ENXIO, errno.EBADF}
# The group is gone, in another session, or out of sight.
_NO_GROUP = {errno.EPERM, errno.ESRCH, errno.EINVAL}


class Terminal:
    """The controlling terminal. `fd` is its own, close-on-exec; give it to Launch.terminal_fd."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.own_pgid = posix.getpgrp()
        self._session = posix.getsid(0)  # 0 if its leader is out of sight
        self.is_session_leader = self._session == posix.getpid()
        self._lent_to = self.own_pgid
        self._settings: list[Any] | None = None

    @classmethod
    def find(cls) -> Terminal | None:
        """Open the controlling terminal; None if there is none."""
        fd = _open_tty()
        if fd is None:
            return None
        terminal = cls(fd)
        if terminal.foreground() is None:
            terminal.close()
            return None
        return terminal

    def close(self) -> None:
        """Give the descriptor up; the terminal stays whose it is."""
        posix.close(self.fd)

    # --- facts ---------------------------------------------------------------------------------

    def foreground(self) -> int | None:
        """Return the foreground process group: 0 if out of sight, None if the terminal is gone."""
        try:
            return posix.tcgetpgrp(self.fd)
        except OSError as error:
            if error.errno in _NO_TERMINAL:
                return None
            raise

    def is_ours(self) -> bool:
        """Say whether srvinit's own group is in the foreground: keys reach srvinit.

        Two groups out of sight are taken for the same one: whoever starts a namespace by hand
        starts it in the foreground.
        """
        return self.foreground() == self.own_pgid

    def is_lent_to(self, pgid: int) -> bool:
        """Say whether this worker's group is in the foreground: keys reach the worker."""
        return self.foreground() == pgid

    def can_lend(self) -> bool:
        """Say whether the foreground is srvinit's to give: no shell has it, or it is lent out."""
        return self.is_session_leader or self.foreground() in {self.own_pgid, self._lent_to}

    def hung_up(self) -> bool:
        """Say whether the terminal has gone away: the window closed, the connection lost."""
        poll = select.poll()
        poll.register(self.fd, 0)  # POLLHUP comes unasked
        return any(happened & select.POLLHUP for _, happened in poll.poll(0))

    def is_hangup(self, sender_pid: int, *, from_terminal: bool) -> bool:
        """Say whether a HUP tells of the lost terminal and is no order to recycle.

        From the kernel it always does. From a process it does if the terminal is gone and the
        sender is the session's leader: a shell that passes on what it got. Anybody else's HUP, to a
        srvinit that has outlived its terminal, means what it says.
        """
        return from_terminal or (sender_pid == self._session and self.hung_up())

    def can_suspend(self) -> bool:
        """Say whether somebody would continue us if we stopped: a shell with job control.

        True if our group is not orphaned. Of its members only our own ancestors are asked: a
        shell starts a job's members itself or through each other.
        """
        if self.is_session_leader or posix.getpid() == 1:
            return False
        parent = posix.getppid()
        while parent > 0:  # a shell may be PID 1; beyond our namespace is 0
            try:
                if posix.getsid(parent) != self._session:
                    return False
                if posix.getpgid(parent) != self.own_pgid:
                    return True
            except ProcessLookupError:  # ESRCH: ended just now
                return False
            parent = reap.parent_of(parent)
        return False

    # --- orders --------------------------------------------------------------------------------

    def lend(self, pgid: int) -> bool:
        """Put a worker's group into the foreground; False if it is not ours to give.

        It is not while a shell has us in the background, or when the group has just ended.
        """
        if self.foreground() == pgid or (self.can_lend() and self._set_foreground(pgid)):
            self._lent_to = pgid
            return True
        return False

    def note_lent(self, pgid: int) -> None:
        """Remember that a worker took the foreground itself, at its start.

        It does so with Launch.terminal_fd, unasked: set that only if can_lend().
        """
        self._lent_to = pgid

    def take_back(self) -> bool:
        """Put srvinit's own group into the foreground; False if somebody else's has it now.

        Taken from the group that it was lent to, from one that has ended, and, where no shell is
        above us, from any: a worker that is a shell lends the terminal on to its own jobs.
        """
        holder = self.foreground()
        if holder == self.own_pgid:
            return True
        if holder is None or not (
            self.is_session_leader or holder == self._lent_to or not _group_exists(holder)
        ):
            return False
        self._lent_to = self.own_pgid
        if self.own_pgid == 0:  # our group is out of sight: nobody can name it, so leave it
            posix.setpgid(0, 0)
            self.own_pgid = posix.getpgrp()
        return self._set_foreground(self.own_pgid)

    def suspend(self) -> bool:
        """Stop srvinit until somebody continues it; then say whether it is in the foreground.

        The rest of our group (a pipeline, `sh -c`) gets TSTP, as from the terminal: the shell sees
        the job as stopped only when all of it is. Our own TSTP is blocked and wiped out by the CONT
        that continues us; that CONT is still taken in afterwards. To be called after take_back(),
        only if can_suspend(); afterwards lend() the terminal and continue the worker.
        """
        posix.kill(0, _signal.SIGTSTP)
        posix.kill(posix.getpid(), _signal.SIGSTOP)
        return self.is_ours()

    def save_settings(self) -> None:
        """Remember the terminal's settings (echo, line editing, keys), to restore at the end."""
        import termios

        try:
            self._settings = termios.tcgetattr(self.fd)
        except termios.error:  # EIO: gone already
            self._settings = None

    def restore_settings(self) -> bool:
        """Set the terminal as it was found; False if it is gone or not ours to set.

        At once (TCSANOW): waiting for output would wait for whoever holds it. In the background
        nothing is touched: the settings are then those of the shell, which is editing a line.
        """
        import termios

        if self._settings is None or not (self.is_session_leader or self.is_ours()):
            return False
        try:
            _with_ttou_blocked(termios.tcsetattr, self.fd, termios.TCSANOW, self._settings)
        except termios.error:  # EIO: gone. EINTR cannot be: TCSANOW does not wait
            return False
        return True

    def _set_foreground(self, pgid: int) -> bool:
        try:
            _with_ttou_blocked(posix.tcsetpgrp, self.fd, pgid)
        except OSError as error:
            if error.errno in _NO_TERMINAL | _NO_GROUP:
                return False
            raise
        return True


def _with_ttou_blocked(call: Any, *arguments: Any) -> None:
    """Change the terminal from the background without being stopped for it."""
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, {_signal.SIGTTOU})
    try:
        call(*arguments)
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)


def _open_tty() -> int | None:
    """Open the controlling terminal by its name, or copy the first of 0, 1, 2 that is it."""
    try:
        return posix.open("/dev/tty", posix.O_RDWR | posix.O_NOCTTY | posix.O_CLOEXEC)
    except OSError:  # ENXIO: none. ENOENT, EACCES: no such device in this container
        pass
    for fd in (0, 1, 2):
        try:
            posix.tcgetpgrp(fd)
            return posix.dup(fd)
        except OSError:  # ENOTTY: another terminal, or none. EBADF: closed
            continue
    return None


def _group_exists(pgid: int) -> bool:
    """Say whether a process group has a member that we can see."""
    if pgid == 0:
        return True  # out of sight, from outside our PID namespace: somebody's
    try:
        posix.killpg(pgid, 0)
    except ProcessLookupError:  # ESRCH
        return False
    except PermissionError:  # EPERM: there is one, of another user
        return True
    return True
