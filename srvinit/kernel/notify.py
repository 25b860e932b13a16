"""sd_notify(3), both ways: what workers tell srvinit, and what srvinit tells its own manager.

Each worker start has a datagram socket of its own, so a message needs no pid inside to say whose it
is. What it rests on:

- The socket is a file. Abstract names ("@…") need no file system, but Puma and other clients that
  do not translate the "@" cannot reach them, so a name is the way out only where no directory can
  be written. /dev/shm can be with a read-only root and by any user. A file is reached from another
  network namespace, not after a chroot; with a name it is the other way round.
- With SO_PASSCRED the kernel states the sender's pid and uid with every message (unix(7)); only
  CAP_SYS_ADMIN and CAP_SETUID can lie there. The sender is often a grandchild.
- sd_notify_barrier(3) sends BARRIER=1 with a pipe end and waits until it is closed. So every
  descriptor that comes along is closed, once the messages before it are taken in.
"""

from __future__ import annotations

import _socket
import errno
import posix
import select

from srvinit.errors import KernelRefused
from srvinit.kernel import procfs
from srvinit.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

DIRECTORIES = ("/run", "/dev/shm", "/tmp")  # noqa: S108  the name is random, the sender checked
MESSAGE_BYTES = 4096
MOST_FDS = 253  # SCM_MAX_FD: unix(7)
BATCH = 256  # messages in one go, so that a worker that floods cannot hold srvinit up
UCRED_BYTES = 12  # pid, uid, gid
INT_BYTES = 4


class Notice(Record):
    """One message: the variables of sd_notify(3) that mean something to srvinit.

    `refused` says in words why it must not be believed; then nothing else is set. The rest of the
    variables (MAINPID, FDSTORE, …) mean nothing here and are left out.
    """

    sender_pid: int
    ready: bool = False
    stopping: bool = False
    reloading: bool = False
    pinged: bool = False  # WATCHDOG=1
    status: str | None = None  # any text a worker likes, control characters included
    refused: str = ""


class NotifySocket:
    """Where one worker says how it is; made before its fork, closed when it is reaped.

    `path` is the value of NOTIFY_SOCKET. `fd` belongs to srvinit alone and may be armed for SIGIO.
    """

    __slots__ = ("_sock", "fd", "path")

    def __init__(self, directories: Iterable[str] = DIRECTORIES) -> None:
        try:
            self._sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        except OSError as refused:
            raise KernelRefused("socket", "NOTIFY_SOCKET", refused.errno or 0) from refused
        self.fd = self._sock.fileno()
        self._sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
        self.path = self._bind(f"srvinit-{posix.urandom(8).hex()}", directories)

    def _bind(self, name: str, directories: Iterable[str]) -> str:
        """Bind in the first directory that can be written, else by an abstract name."""
        for directory in directories:
            path = f"{directory}/{name}"
            try:
                self._sock.bind(path)
            except OSError:
                continue  # not there, or not ours to write
            posix.chmod(path, 0o666)  # a worker may change its user; who sends is checked
            return path
        self._sock.bind(f"\0{name}")
        return f"@{name}"

    def receive(self, leader: int) -> list[Notice]:
        """Take in what came from the worker led by `leader`, `BATCH` messages at most; no wait.

        Nothing a sender can write raises. Ask `has_waiting` for more if the list is that long.
        """
        notices = []
        for _ in range(BATCH):
            notice = self._receive_one(leader)
            if notice is None:
                break
            notices.append(notice)
        return notices

    def has_waiting(self) -> bool:
        """Say whether a message waits."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close the socket and remove its file."""
        if self.fd < 0:
            return
        if self.path[:1] == "/":
            try:  # noqa: SIM105  contextlib costs 3 ms at start
                posix.unlink(self.path)
            except OSError:
                pass  # somebody cleaned up
        self._sock.close()
        self.fd = -1

    def _receive_one(self, leader: int) -> Notice | None:
        """Take in one message; None if none waits."""
        room = _socket.CMSG_SPACE(UCRED_BYTES) + _socket.CMSG_SPACE(MOST_FDS * INT_BYTES)
        flags = _socket.MSG_DONTWAIT | _socket.MSG_CMSG_CLOEXEC
        try:
            text, extras, got, _ = self._sock.recvmsg(MESSAGE_BYTES, room, flags)
        except BlockingIOError:
            return None
        pid, uid, fds = _read_extras(extras)
        try:
            refused = _why_refused(pid, uid, leader)
            if not refused and got & _socket.MSG_TRUNC:
                refused = f"longer than {MESSAGE_BYTES} bytes"
            # Judged before the barrier falls: its sender may end right after.
            return Notice(pid, refused=refused) if refused else parse(pid, text)
        finally:
            for fd in fds:
                posix.close(fd)


def parse(sender_pid: int, text: bytes) -> Notice:
    """Read a message: lines of NAME=value. Unknown ones, and bytes that are no text, do no harm."""
    notice = Notice(sender_pid)
    for line in text.split(b"\n"):
        if line == b"READY=1":
            notice.ready = True
        elif line == b"STOPPING=1":
            notice.stopping = True
        elif line == b"RELOADING=1":
            notice.reloading = True
        elif line == b"WATCHDOG=1":
            notice.pinged = True
        elif line.startswith(b"STATUS="):
            notice.status = line.removeprefix(b"STATUS=").decode("utf-8", "replace")
    return notice


def _read_extras(extras: list[tuple[int, int, bytes]]) -> tuple[int, int, list[int]]:
    """Read the control messages: the sender's pid (0: none told) and uid, the fds it sent along."""
    pid, uid = 0, -1
    fds: list[int] = []
    for level, kind, raw in extras:
        numbers = memoryview(raw[: len(raw) // INT_BYTES * INT_BYTES]).cast("i").tolist()
        if level != _socket.SOL_SOCKET:
            continue
        if kind == _socket.SCM_RIGHTS:
            fds += numbers
        elif kind == _socket.SCM_CREDENTIALS:
            pid, uid = numbers[0], numbers[1]
    return pid, uid, fds


def _why_refused(pid: int, uid: int, leader: int) -> str:
    """Say why a sender is not to be believed, or nothing.

    One that has ended already (`systemd-notify` without a barrier) cannot be looked up any more. It
    is believed if it ran as our user: whoever does could as well kill the worker.
    """
    if pid == 0:
        return "its sender is outside this PID namespace"
    belongs = procfs.is_of_family(pid, leader)
    if belongs or (belongs is None and uid == posix.geteuid()):
        return ""
    if belongs is None:
        return f"its sender (pid {pid}, user {uid}) is gone and ran as another user"
    return f"its sender (pid {pid}) is no process of this worker"


def tell_manager(text: str, address: str | None = None) -> str | None:
    """Tell our own manager something ("READY=1"); return why it could not be told, None if it was.

    `address` is NOTIFY_SOCKET as found in our environment if not given. Without a manager there is
    nobody to tell, and that is fine. Never blocks: a manager that does not read loses the message.
    """
    if address is None:
        address = posix.environ.get(b"NOTIFY_SOCKET", b"").decode("utf-8", "surrogateescape")
    if not address:
        return None
    if address[0] not in "/@":
        return f"NOTIFY_SOCKET={address} is neither a path nor an abstract name"
    where = f"\0{address[1:]}" if address[0] == "@" else address
    try:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        try:
            sock.sendto(text.encode("utf-8", "replace"), _socket.MSG_DONTWAIT, where)
        finally:
            sock.close()
    except OSError as refused:  # EAGAIN: its queue is full; ENOENT, ECONNREFUSED: nobody is there
        return f"{address}: {posix.strerror(refused.errno or errno.ENAMETOOLONG)}"
    return None
