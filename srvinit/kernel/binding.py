"""How one socket gets its address: TCP and UDP on one or both families, Unix sockets on a path.

All of it either works or raises KernelRefused and leaves nothing behind. What it rests on:

- A v6 socket on "::" takes IPv4 connections too unless IPV6_V6ONLY; what it is when nobody says
  so is net.ipv6.bindv6only's to decide (ipv6(7)).
- SO_REUSEADDR lets a port be bound again whose old connections are in TIME_WAIT, never one that
  somebody listens on (socket(7)).
- bind(2) makes the file of a Unix socket and refuses any that exists, dead or alive; connect(2) to
  one that nobody listens on gives ECONNREFUSED (unix(7)).

Only C modules are imported: this runs before the first worker's exec.
"""

from __future__ import annotations

import _socket
import _stat
import errno
import fcntl
import posix
import select

from srvinit.errors import KernelRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from srvinit.settings.addresses import Bind

    T = TypeVar("T")

LOCK_TRIES = 100
LOCK_PAUSE_MS = 10


def bind_inet(bind: Bind, *, both_families: bool) -> _socket.socket:
    """Bind a TCP or UDP socket: one per bind, since the order of binds is that of fds.

    So of the addresses a name has, the first is taken that this machine has. One that is busy is
    refused at once: passing over to ::1 would hide that somebody else serves 127.0.0.1.
    """
    candidates = _candidates(bind)
    while True:
        family, address = candidates.pop(0)
        try:
            return _bind_inet(bind, family, address, both_families=both_families)
        except KernelRefused as refused:
            not_here = refused.number in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
            # socket() failing says nothing of the address: IPv6 may be compiled out, or forbidden
            # by a seccomp filter with any errno. If descriptors ran out, IPv4 fails alike.
            if not candidates or not (not_here or refused.call == "socket"):
                raise


def _candidates(bind: Bind) -> list[tuple[int, Any]]:
    """List the socket addresses that could serve a bind, the best first."""
    if not bind.host:
        return [(_socket.AF_INET6, ("::", bind.port)), (_socket.AF_INET, ("", bind.port))]
    # Bytes, since str would import the idna codec, and re with it.
    host = bind.host.encode("ascii") if bind.host.isascii() else bind.host.encode("idna")
    try:
        found = _socket.getaddrinfo(host, bind.port, 0, _socket.SOCK_STREAM, 0, _socket.AI_PASSIVE)
    except _socket.gaierror as unknown:
        what = f"{bind.text} ({unknown.args[-1]})"
        raise KernelRefused("getaddrinfo", what, errno.EADDRNOTAVAIL) from unknown
    except OSError as refused:
        raise KernelRefused("getaddrinfo", bind.text, refused.errno or errno.EINVAL) from refused
    # IPv4 first: "localhost" means 127.0.0.1 to gunicorn, nginx and most health checks.
    found.sort(key=lambda one: one[0] != _socket.AF_INET)
    return [(int(family), address) for family, _, _, _, address in found]


def _bind_inet(bind: Bind, family: int, address: Any, *, both_families: bool) -> _socket.socket:
    """Make one TCP or UDP socket and bind it.

    IPV6_V6ONLY is set either way, so that net.ipv6.bindv6only decides nothing. "[::]:8080" serves
    both families as ":8080" does (so do gunicorn and Go), unless an IPv4 bind has its port too.
    """
    is_stream = bind.kind == "tcp"
    kind = _socket.SOCK_STREAM if is_stream else _socket.SOCK_DGRAM
    sock = ask("socket", bind.text, _socket.socket, family, kind)
    with closed_on_error(sock):
        if is_stream:  # for UDP it would let a second program bind the same port unnoticed
            set_option(sock, bind.text, _socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        if family == _socket.AF_INET6 and address[0] == "::":
            set_option(
                sock, bind.text, _socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, int(not both_families)
            )
        ask("bind", bind.text, sock.bind, address)
    return sock


def bind_path(bind: Bind, backlog: int) -> tuple[_socket.socket, tuple[int, int]]:
    """Listen on a path, in place of a file nobody listens on; return the file's identity too.

    Between bind(2) and listen(2) a socket looks abandoned, and between looking and unlink(2) it
    may come to life: the lock on its directory keeps other srvinits out meanwhile. (Binding beside
    it and renaming would need no lock, but getsockname(2) would tell servers the wrong path.)
    """
    sock = ask("socket", bind.text, _socket.socket, _socket.AF_UNIX, _socket.SOCK_STREAM)
    lock = _lock_directory(bind.path.rpartition("/")[0] or ("/" if bind.path[:1] == "/" else "."))
    try:
        with closed_on_error(sock):
            try:
                sock.bind(bind.path)
            except OSError as refused:
                if refused.errno != errno.EADDRINUSE:  # no number: "AF_UNIX path too long"
                    number = refused.errno or errno.ENAMETOOLONG
                    raise KernelRefused("bind", bind.text, number) from refused
                _refuse_unless_abandoned(bind)
                ask("unlink", bind.text, posix.unlink, bind.path)
                ask("bind", bind.text, sock.bind, bind.path)
            own_file = ask("stat", bind.text, identity, bind.path)
            try:
                ask("listen", bind.text, sock.listen, backlog)
            except KernelRefused:  # a security module may forbid it
                posix.unlink(bind.path)
                raise
    finally:
        if lock is not None:
            posix.close(lock)
    return sock, own_file


def _lock_directory(path: str) -> int | None:
    """Lock a directory against other srvinits; None where that cannot be.

    No wait without an end: signals are blocked here, and the lock only guards against a second
    srvinit that takes the same path within the same few microseconds.
    """
    try:
        lock = posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError:
        return None  # may be entered, not read. Or missing: bind will say so
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            select.poll().poll(LOCK_PAUSE_MS)
        except OSError:
            break  # a file system without locks
        else:
            return lock
    posix.close(lock)
    return None


def _refuse_unless_abandoned(bind: Bind) -> None:
    """Raise unless the path is a socket that nobody listens on."""
    mode = ask("stat", bind.text, posix.lstat, bind.path).st_mode
    if not _stat.S_ISSOCK(mode):
        raise KernelRefused("bind", f"{bind.text} (not a socket, left alone)", errno.EADDRINUSE)
    probe = ask("socket", bind.text, _socket.socket, _socket.AF_UNIX, _socket.SOCK_STREAM)
    probe.settimeout(0)  # its own description; a full queue answers EAGAIN and is alive
    try:
        number = probe.connect_ex(bind.path)
    finally:
        probe.close()
    if number in {0, errno.EAGAIN, errno.EPROTOTYPE}:  # EPROTOTYPE: a live datagram socket
        raise KernelRefused("bind", f"{bind.text} (somebody serves it)", errno.EADDRINUSE)
    if number != errno.ECONNREFUSED:
        raise KernelRefused("connect", bind.text, number)


def identity(path: str) -> tuple[int, int]:
    """Tell one file from another: st_dev and st_ino."""
    status = posix.lstat(path)
    return status.st_dev, status.st_ino


def set_option(sock: _socket.socket, what: str, level: int, option: int, value: int) -> None:
    """Set a socket option."""
    ask("setsockopt", what, sock.setsockopt, level, option, value)


def ask(call: str, what: str, function: Callable[..., T], *arguments: Any) -> T:
    """Make a system call; its refusal names the call and the address."""
    try:
        return function(*arguments)
    except OSError as refused:
        raise KernelRefused(call, what, refused.errno or errno.EINVAL) from refused


class closed_on_error:  # noqa: N801  reads as a statement; contextlib costs 3 ms at start
    """Close a socket if the block ends by an exception."""

    __slots__ = ("sock",)

    def __init__(self, sock: _socket.socket) -> None:
        self.sock = sock

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.sock.close()
