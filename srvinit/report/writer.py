"""Puts log lines where stderr leads without ever waiting for whoever reads there.

A stalled, slow or closed reader costs lines, which are counted and told (`log.dropped`), never a
signal, a reap or a request. Each kind of descriptor has its own way not to wait, because O_NONBLOCK
is out of the question: it belongs to the open file description, which the workers share.

- pipe: splice(2) with SPLICE_F_NONBLOCK from a pipe of our own. It moves whole pipe buffers, a
  page each, under the target's lock: a chunk of whole lines, written to our empty pipe in one
  piece, arrives in one piece or not at all, whoever else writes. Lines that wait go out together,
  for each splice takes one of the pipe's 16 slots. (pwritev2(2) with RWF_NOWAIT does the same in
  one call and shares slots, but for pipes only since Linux 6.4.)
- socket: send(2) with MSG_DONTWAIT, which is a flag of the call.
- terminal: opened anew through /proc, so that O_NONBLOCK is on a description of our own. Where
  that is refused (another user's terminal): poll(2), and pieces that fit into the room POLLOUT
  promises. A worker that fills this very room in between can still make us wait.
- anything else (file, /dev/null): write(2). It waits for a disk, not for a reader.

SIGPIPE is ignored, as Python has it; EINTR cannot be: srvinit's signals are blocked.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import posix
import select
import stat
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

# One page: what splice moves, and what write(2) puts into a pipe, in one piece (pipe(7), PIPE_BUF).
CHUNK_BYTES = 4096

# Half for the first lines that had to wait, half for the latest: how it began, how it ended.
BACKLOG_BYTES = 65536

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0

# A pty promises room in steps of 256 characters; a newline may become two and is sent by itself.
TERMINAL_PIECE = 255

# Not the reader's doing, and it passes.
_NO_ROOM = {errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE}

# How a sandbox says that it has no splice(2) for us.
_NO_SPLICE = {errno.ENOSYS, errno.EINVAL, errno.EPERM}


class Writer:
    """Writes lines to `fd` in their order, as far as there is room.

    `gap_line(n)` makes the line that stands where n lines are missing. `fd` stays its owner's.
    """

    def __init__(
        self, fd: int, gap_line: Callable[[int], bytes], backlog_bytes: int = BACKLOG_BYTES
    ) -> None:
        self._fd = fd
        self._sink = _sink_for(fd)
        self._gap_line = gap_line
        self._half = backlog_bytes // 2
        self._cut = b""  # the rest of a chunk that went out in part: nothing may come before it
        self._early = _Lines()
        self._missing = 0  # lines lost between _early and _late that nobody was told of yet
        self._late = _Lines()
        self._pause = FIRST_PAUSE_S
        self._retry_at: float | None = None
        self.lost = 0

    def write(self, line: bytes) -> None:
        """Write a whole line, newline included and CHUNK_BYTES at most; or keep it; or count it."""
        if not self._missing and not self._late and self._early.size + len(line) <= self._half:
            self._early.add(line)
        else:
            self._late.add(line)
            while self._late.size > self._half:
                self._late.drop(1)
                self.count_lost(1)
        self.flush()

    def count_lost(self, lines: int) -> None:
        """Count lines that will never be written; they are told of as soon as there is room."""
        self._missing += lines
        self.lost += lines

    def flush(self) -> None:
        """Write what waits, as far as there is room."""
        try:
            while self.backlog:
                self._write_chunk()
        except OSError as error:
            if error.errno in _NO_ROOM:
                self._wait_longer()
                return
            # EPIPE, ECONNRESET: nobody reads. ENOSPC, EDQUOT, EFBIG, EIO: the device. The line is
            # lost, and the next one tries again: readers of a FIFO and free space come back.
            self._give_up(error.errno)
        self._pause = FIRST_PAUSE_S
        self._retry_at = None

    @property
    def backlog(self) -> bool:
        """Whether lines wait."""
        return bool(self._cut or self._early or self._late)

    def retry_in(self) -> float | None:
        """Say in how many seconds `flush` is worth a try; None when nothing waits."""
        return None if self._retry_at is None else max(0.0, self._retry_at - monotonic())

    def close(self) -> None:
        """Write the last words. Where a pipe is full, it is made larger for them."""
        self.flush()
        if self.backlog:
            waiting = len(self._cut) + self._early.size + self._late.size
            self._sink.enlarge(2 * waiting + CHUNK_BYTES)  # a chunk is at least half full
            self.flush()
        self._sink.close()
        self._sink = _Closed(self._fd)

    def _write_chunk(self) -> None:
        if self._cut:
            self._cut = self._cut[self._sink.send(self._cut) :]
            return
        if not self._early and not self._missing:
            self._early, self._late = self._late, self._early
        if self._early:
            lines, told, source = self._early.first(CHUNK_BYTES), 0, self._early
        else:
            told, source = self._missing, self._late
            gap = self._gap_line(told)
            lines = [gap, *source.first(CHUNK_BYTES - len(gap))]
        chunk = b"".join(lines)
        sent = self._sink.send(chunk)
        self._cut = chunk[sent:]
        source.drop(len(lines) - bool(told))
        self._missing -= told

    def _wait_longer(self) -> None:
        now = monotonic()
        if self._retry_at is None:
            self._retry_at = now + self._pause
        elif now >= self._retry_at:
            self._pause = min(2 * self._pause, LONGEST_PAUSE_S)
            self._retry_at = now + self._pause

    def _give_up(self, number: int | None) -> None:
        self.count_lost(len(self._early) + len(self._late))
        self._early, self._late = _Lines(), _Lines()
        if number == errno.EBADF:
            # Somebody closed it. The number may be a worker's socket by the next line.
            self._cut, self._sink = b"", _Closed(self._fd)


class _Lines:
    """Lines in their order, and their size."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self.size = 0

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, line: bytes) -> None:
        self._lines.append(line)
        self.size += len(line)

    def first(self, size: int) -> list[bytes]:
        """List as many of the first lines as fit into `size` bytes together, but at least none."""
        taken = []
        for line in self._lines:
            size -= len(line)
            if size < 0:
                break
            taken.append(line)
        return taken

    def drop(self, count: int) -> None:
        self.size -= sum(len(line) for line in self._lines[:count])
        del self._lines[:count]


class _Sink:
    """The way to a file or device that does not keep writers waiting for a reader."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def send(self, chunk: bytes) -> int:
        """Write, and say how many bytes went out. BlockingIOError: no room now. OSError: gone."""
        return posix.write(self._fd, chunk)

    def enlarge(self, by: int) -> None:
        """Make room for `by` bytes more, where there is a way to."""

    def close(self) -> None:
        """Close what is our own."""


class _Closed(_Sink):
    """No way."""

    def send(self, chunk: bytes) -> int:
        raise OSError(errno.EBADF, f"closed: {len(chunk)} bytes lost")


class _Pipe(_Sink):
    """The way into a pipe whose reader may be stalled."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._own: tuple[int, int] | None = None
        self._polled: _Polled | None = None

    def send(self, chunk: bytes) -> int:
        if self._polled is not None:
            return self._polled.send(chunk)
        if self._own is None:
            self._own = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)
        back, front = self._own
        posix.write(front, chunk)
        sent = 0
        try:
            sent = posix.splice(back, self._fd, len(chunk), flags=posix.SPLICE_F_NONBLOCK)
        except OSError as error:
            if error.errno not in _NO_SPLICE:
                raise
            self._polled = _Polled(self._fd, CHUNK_BYTES)  # nothing is sent yet: flush goes on
        finally:
            if sent < len(chunk):  # our own pipe is empty between calls
                posix.read(back, len(chunk) - sent)
        return sent

    def enlarge(self, by: int) -> None:
        try:
            size = fcntl.fcntl(self._fd, fcntl.F_GETPIPE_SZ)
            fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, size + by)
        except OSError:
            return  # pipe-max-size, pipe(7): the last words are lost like the words before them

    def close(self) -> None:
        for end in self._own or ():
            posix.close(end)
        self._own = None


class _Socket(_Sink):
    """The way into a socket. On a descriptor of its own, for the socket object closes it."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self._socket: socket | None = None

    def send(self, chunk: bytes) -> int:
        if self._socket is None:
            own = fcntl.fcntl(self._fd, fcntl.F_DUPFD_CLOEXEC, 3)
            self._socket = _socket.socket(fileno=own)
        return self._socket.send(chunk, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()


class _Terminal(_Sink):
    """The way to a terminal that could be opened anew; `fd` is our own."""

    def close(self) -> None:
        posix.close(self._fd)


class _Polled(_Sink):
    """The way where nothing better is to be had: ask for room, then write what surely fits."""

    def __init__(self, fd: int, piece: int) -> None:
        super().__init__(fd)
        self._piece = piece
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def send(self, chunk: bytes) -> int:
        sent = 0
        while sent < len(chunk) and self._has_room():
            sent += posix.write(self._fd, self._next(chunk, sent))
        if not sent:
            raise BlockingIOError(errno.EAGAIN, "no room")
        return sent

    def _has_room(self) -> bool:
        # An error is room too: write(2) says which it is.
        return any(events & (select.POLLOUT | select.POLLERR) for _, events in self._poll.poll(0))

    def _next(self, chunk: bytes, start: int) -> bytes:
        piece = chunk[start : start + self._piece]
        if self._piece == CHUNK_BYTES:
            return piece
        newline = piece.find(b"\n")
        return piece if newline < 0 else piece[: newline or 1]


def _sink_for(fd: int) -> _Sink:
    """Choose the way for what `fd` is now. Once: the number may come to mean something else."""
    try:
        mode = posix.fstat(fd).st_mode
    except OSError:
        return _Closed(fd)
    if stat.S_ISFIFO(mode):
        return _Pipe(fd)
    if stat.S_ISSOCK(mode):
        return _Socket(fd)
    if stat.S_ISCHR(mode) and posix.isatty(fd):
        return _terminal_sink(fd)
    return _Sink(fd)


def _terminal_sink(fd: int) -> _Sink:
    flags = posix.O_WRONLY | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC
    try:
        return _Terminal(posix.open(f"/proc/self/fd/{fd}", flags))
    except OSError:  # no /proc, or the terminal is another user's
        return _Polled(fd, TERMINAL_PIECE)
