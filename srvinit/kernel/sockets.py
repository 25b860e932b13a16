"""The listening sockets: opened once, before any worker, and kept for srvinit's whole life.

The kernel facts this rests on:

- All holders of a socket share one description, so O_NONBLOCK set or cleared by one is set or
  cleared for all (open(2)). Sockets are created blocking, or not, as bind.nonblocking has it, and
  the flag is never touched again: event loops set it and keep it, and clearing it behind their back
  stops them from answering.
- A later listen(2) on a listening socket changes its backlog and nothing else. Several servers call
  it on the socket they are handed, with their own number, so it is set back (`restore_backlog`).
- listen(2) cuts any backlog to net.core.somaxconn of the network namespace.
- Accepted sockets inherit TCP_NODELAY from the listener (tcp(7)).
- close(2) does not remove the file of a Unix socket (unix(7)).

How a socket gets its address is in binding.py. Only C modules are imported: this runs before the
first worker's exec.

Where steered mode would come in: `_open` makes the one socket of a `bind`; there it would make the
SO_REUSEPORT group, one socket a slot, and `Listener.fd` would be asked for with a slot.
"""

from __future__ import annotations

import _socket
import errno
import posix
import select

from srvinit.errors import KernelRefused
from srvinit.kernel import descriptors
from srvinit.kernel.binding import (
    ask,
    bind_inet,
    bind_path,
    closed_on_error,
    identity,
    set_option,
)
from srvinit.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from srvinit.settings.addresses import Bind

FIRST_INHERITED_FD = 3  # SD_LISTEN_FDS_START: sd_listen_fds(3)
MOST_INHERITED_DIGITS = 4  # far beyond any use; a list of a billion would be our end
SOMAXCONN = 0x7FFFFFFF  # no limit of our own: the kernel cuts it to net.core.somaxconn


class Inherited(Record):
    """A descriptor that srvinit's own parent handed over, and the name it gave it."""

    fd: int
    name: str = ""


class Listener(Record):
    """One shared socket; owns its descriptor.

    `address` is the real one as people write it: ":8080" for both families, "[::1]:8080",
    "udp:127.0.0.1:53", "unix:/run/web.sock". `inode` is what /proc shows as socket:[inode].
    """

    name: str
    address: str
    fd: int
    kind: str  # "tcp", "udp" or "unix"
    inode: int
    bind: Bind | None  # None: handed over by our parent and asked for by no bind
    is_stream: bool
    backlog: int
    path: str = ""  # of a Unix socket in the file system
    own_file: tuple[int, int] | None = None  # device and inode of the file that is ours to remove
    is_inherited: bool = False

    def has_waiting(self) -> bool:
        """Say whether a connection (or datagram) waits that no worker has taken yet.

        True where the kernel does not tell (ENOMEM): who waits for the end has a deadline.
        """
        if self.fd < 0:
            return False
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        try:
            return any(happened & select.POLLIN for _, happened in poll.poll(0))
        except OSError:
            return True

    def restore_backlog(self) -> None:
        """Set the backlog again after a worker may have lowered it; nothing else changes."""
        if self.is_stream and self.fd >= 0:
            sock = _handle(self.fd)
            try:
                ask("listen", self.address, sock.listen, self.backlog)
            finally:
                sock.detach()

    def close(self, *, remove: bool = True) -> None:
        """Give up our copy; `remove` takes the Unix socket's file away if it is still ours."""
        if self.fd < 0:
            return
        if remove and self.own_file:
            # Before the close: as long as the socket is open its file's inode cannot be given to
            # another file, and another srvinit that looks finds it alive and leaves it alone.
            try:
                if identity(self.path) == self.own_file:
                    posix.unlink(self.path)
            except OSError:
                pass  # gone already, or a directory that is not ours to change any more
        descriptors.close_all((self.fd,))
        self.fd = -1


def inherited_fds(environ: Mapping[str, str]) -> list[Inherited]:
    """List what socket activation handed to this very process: sd_listen_fds(3).

    LISTEN_PID tells a hand-over from an environment that merely leaked through a parent.
    """
    count = environ.get("LISTEN_FDS", "")
    is_count = count.isascii() and count.isdigit() and len(count) <= MOST_INHERITED_DIGITS
    if environ.get("LISTEN_PID") != str(posix.getpid()) or not is_count:
        return []
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    return [
        Inherited(FIRST_INHERITED_FD + index, names[index] if index < len(names) else "")
        for index in range(int(count))
    ]


def open_listeners(
    binds: Sequence[Bind],
    *,
    backlog: int | None = None,
    nodelay: bool = True,
    nonblocking: bool = False,
    inherited: Iterable[Inherited] = (),
) -> list[Listener]:
    """Open all of `binds` in their order, or none: KernelRefused names the address and the errno.

    `inherited` sockets take the place of binds: one with the bind's name; else one with its
    address; else the next of its kind, since whoever activates srvinit decides the address. What
    no bind asked for comes last: its opener waits for somebody to serve it.
    """
    adopted = [_adopt(one.fd, one.name, None) for one in inherited]
    opened: list[Listener] = []
    taken = v4_binds(binds)
    try:
        for bind, standin in zip(binds, _stand_ins(binds, adopted), strict=True):
            if standin is None:
                opened.append(_open(bind, taken, backlog or SOMAXCONN))
                if nonblocking and not opened[-1].is_inherited:
                    posix.set_blocking(opened[-1].fd, False)
            else:
                standin.bind = bind
                standin.name = bind.name or standin.name
                opened.append(standin)
        opened += [listener for listener in adopted if listener.bind is None]
        for listener in opened:
            _tune(listener, backlog, nodelay=nodelay)
    except BaseException:
        for listener in opened:
            if not listener.is_inherited:
                listener.close()
        raise
    return opened


def reopen(
    current: Sequence[Listener],
    binds: Sequence[Bind],
    *,
    backlog: int | None = None,
    nodelay: bool = True,
    nonblocking: bool = False,
) -> tuple[list[Listener], list[Listener]]:
    """Go over to new `binds`: (the listeners from now on, those to release when nobody needs them).

    A socket whose bind did not change is kept, with its queue. New ones are opened first, so a
    refusal leaves everything as it was.
    """
    spare = [listener for listener in current if listener.bind is not None]
    kept: dict[int, Listener] = {}
    for index, bind in enumerate(binds):
        for listener in spare:
            if listener.bind is not None and listener.bind.place == bind.place:
                kept[index] = listener
                spare.remove(listener)
                break
    missing = [bind for index, bind in enumerate(binds) if index not in kept]
    fresh = iter(open_listeners(missing, backlog=backlog, nodelay=nodelay, nonblocking=nonblocking))
    for index, listener in kept.items():
        listener.bind = binds[index]
        listener.name = binds[index].name or listener.name
        _tune(listener, backlog, nodelay=nodelay)
    wanted = [kept[index] if index in kept else next(fresh) for index in range(len(binds))]
    return wanted + [listener for listener in current if listener.bind is None], spare


def _open(bind: Bind, taken: set[tuple[str, int]], backlog: int) -> Listener:
    """Open the socket of one bind."""
    if bind.kind == "fd":
        return _adopt(bind.fd, bind.name, bind)
    own_file = None
    if bind.kind == "unix":
        sock, own_file = bind_path(bind, backlog)
    else:
        sock = bind_inet(bind, both_families=(bind.kind, bind.port) not in taken)
    with closed_on_error(sock):
        listener = _describe(sock, bind.name, bind)
    sock.detach()
    listener.own_file = own_file
    return listener


def _adopt(fd: int, name: str, bind: Bind | None) -> Listener:
    """Take an inherited descriptor as a listener: it must be one, and goes to no child by exec."""
    what = bind.text if bind else f"fd {fd} of LISTEN_FDS"
    sock = ask("getsockname", what, _borrowed, fd)
    try:
        listener = _describe(sock, name, bind)
        if listener.is_stream:
            is_listening = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN)
            if not is_listening:
                raise KernelRefused("accept", f"{what} (a socket, not listening)", errno.EINVAL)
        elif listener.kind == "unix":
            raise KernelRefused("accept", f"{what} (a Unix datagram socket)", errno.ESOCKTNOSUPPORT)
    finally:
        sock.detach()
    posix.set_inheritable(fd, False)  # noqa: FBT003  posix takes no keyword
    listener.is_inherited = True
    return listener


def _describe(sock: _socket.socket, name: str, bind: Bind | None) -> Listener:
    """Say what a bound socket is."""
    is_stream = sock.type != _socket.SOCK_DGRAM
    what = bind.text if bind else f"fd {sock.fileno()}"
    address = ask("getsockname", what, sock.getsockname)
    path = ""
    if sock.family == _socket.AF_UNIX:
        kind = "unix"
        if isinstance(address, bytes):  # an abstract name
            text = "unix:@" + address[1:].decode(errors="replace")
        else:
            path = address
            text = f"unix:{path}"
    elif sock.family in {_socket.AF_INET, _socket.AF_INET6}:
        kind = "tcp" if is_stream else "udp"
        text = (
            inet_text(sock, *address[:2]) if is_stream else "udp:" + inet_text(sock, *address[:2])
        )
    else:
        raise KernelRefused("bind", f"fd {sock.fileno()} (family)", errno.EAFNOSUPPORT)
    inode = posix.fstat(sock.fileno()).st_ino
    return Listener(name, text, sock.fileno(), kind, inode, bind, is_stream, SOMAXCONN, path)


def inet_text(sock: _socket.socket, host: str, port: int) -> str:
    """Write an address as people do: ":8080" if it is every address of both families."""
    if sock.family == _socket.AF_INET:
        return f"{host}:{port}"
    if host == "::":
        v6_only = (_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY)
        if not ask("getsockopt", f"[{host}]:{port}", sock.getsockopt, *v6_only):
            return f":{port}"
    return f"[{host}]:{port}"


def _stand_ins(binds: Sequence[Bind], adopted: Sequence[Listener]) -> list[Listener | None]:
    """Find the inherited socket that takes each bind's place, by name, address, then kind."""
    free = list(adopted)
    found: list[Listener | None] = [None] * len(binds)
    for is_match in (_has_name, _has_address, _has_kind):
        for index, bind in enumerate(binds):
            standin = next((one for one in free if is_match(bind, one)), None)
            if found[index] is None and standin is not None:
                found[index] = standin
                free.remove(standin)
    return found


def _has_name(bind: Bind, listener: Listener) -> bool:
    return bool(bind.name) and bind.name == listener.name


def _has_address(bind: Bind, listener: Listener) -> bool:
    if bind.kind == "fd":
        return bind.fd == listener.fd
    if bind.kind == "unix":
        return bind.path == listener.path
    prefix = "udp:" if bind.kind == "udp" else ""
    hosts = ("", "[::]", "0.0.0.0") if not bind.host else (bind.host, f"[{bind.host}]")  # noqa: S104  compared, not bound
    return listener.address in {f"{prefix}{host}:{bind.port}" for host in hosts}


def _has_kind(bind: Bind, listener: Listener) -> bool:
    return bind.kind == listener.kind


def _tune(listener: Listener, backlog: int | None, *, nodelay: bool) -> None:
    """Bring a listener to the settings of now; neither changes anything for its holders' calls."""
    listener.backlog = backlog or SOMAXCONN
    sock = _handle(listener.fd)
    try:
        if listener.kind == "tcp":
            set_option(
                sock, listener.address, _socket.IPPROTO_TCP, _socket.TCP_NODELAY, int(nodelay)
            )
        if listener.is_stream:
            ask("listen", listener.address, sock.listen, listener.backlog)
    finally:
        sock.detach()


def v4_binds(binds: Iterable[Bind]) -> set[tuple[str, int]]:
    """Name the (kind, port) pairs that have an IPv4 bind of their own."""
    return {(bind.kind, bind.port) for bind in binds if bind.host and ":" not in bind.host}


def _borrowed(fd: int) -> _socket.socket:
    """Wrap a descriptor; the caller must detach() it, or it is closed with the wrapper."""
    return _socket.socket(fileno=fd)


def _handle(fd: int) -> _socket.socket:
    """Wrap a descriptor for listen and setsockopt, as `_borrowed` does, but ask the kernel nothing.

    Without a family, type and protocol the wrapper asks for them, and each answer could be refused.
    """
    return _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0, fd)
