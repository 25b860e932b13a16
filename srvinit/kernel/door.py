"""The door of a group: while it is shut nobody new gets in, and who is on the way still does.

It is a socket of the group whose queue is full, and all newcomers are steered to it. The kernel
drops a SYN to a full queue and says nothing (tcp_conn_request), so the client repeats it after a
second, and is refused once the group's sockets are closed: it may try elsewhere. In the queue of a
worker that stops it would have been reset. It needs no right. (A filter that drops SYNs would do
as well, but Linux 6.18 keeps SO_ATTACH_FILTER from who has no CAP_NET_ADMIN.) What it rests on:

- A queue is full when more wait in it than the backlog says (sk_acceptq_is_full): with a backlog of
  1 it takes two. A backlog of 0 would not do: the kernel takes each SYN for a flood, says so in its
  log, and lets none in without SYN cookies (inet_csk_reqsk_queue_is_full).
- Those two are srvinit's own: the group's program gives them, by address and port, to the door
  alone, while all others still come to the workers.
- When a socket leaves a group the last takes its place. Workers close theirs unseen by us, so as
  many sockets stand behind the door as before it: it is never the last, and its place stays right.
"""

from __future__ import annotations

import _socket
import errno
import select

from srvinit.errors import KernelRefused
from srvinit.kernel import bpf, queues
from srvinit.kernel.binding import ask, closed_on_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

BACKLOG = 1
FILLING = BACKLOG + 1
# On the loopback device a handshake is over when connect(2) returns, but for a busy ksoftirqd.
PATIENCE_MS = 50


class Door:
    """A shut door. `place` is where in the group it stands, now and as long as it exists."""

    def __init__(
        self, further_socket: Callable[[], _socket.socket], size: int, program: bytes, what: str
    ) -> None:
        """Shut it: put it behind the `size` sockets of a group, and fill it.

        `further_socket` binds another one to the group's address, and `program` is the group's;
        the caller then steers to `place`. Raises KernelRefused, and leaves nothing open.
        """
        self.place = size
        self._what = what
        self._sockets: list[_socket.socket] = []
        self._own: list[_socket.socket] = []
        try:
            while len(self._sockets) <= size:
                sock = further_socket()
                with closed_on_error(sock):
                    ask("listen", what, sock.listen, BACKLOG)
                self._sockets.append(sock)
            for _ in range(FILLING):
                self._fill(program)
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int:
        """How many sockets of the group are the door's."""
        return len(self._sockets)

    def is_alone(self) -> bool:
        """Tell whether nobody else listens on the address any more; without /proc, yes."""
        return queues.sharers(self._sockets[0]) <= self.size

    def close(self) -> None:
        """Open the door, or what is left of it: who knocked is refused if nobody else listens."""
        for sock in self._own + self._sockets:
            sock.close()
        self._own.clear()
        self._sockets.clear()

    def _fill(self, program: bytes) -> None:
        """Put one connection of our own into its queue."""
        door = self._sockets[0]
        before = queues.length(door)
        target, packed = _way_to(door)
        own = ask("socket", self._what, _socket.socket, door.family)
        self._own.append(own)
        own.setblocking(False)  # noqa: FBT003  the call has no other form
        ask("bind", self._what, own.bind, (target[0], 0, *target[2:]))
        steered = bpf.place_for(packed, own.getsockname()[1], self.place)
        bpf.attach_to_group(door, steered + program, self._what)
        number = own.connect_ex(target)
        if number not in {0, errno.EINPROGRESS}:
            raise KernelRefused("connect", self._what, number)
        for _ in range(PATIENCE_MS):
            if queues.length(door) > before:
                return
            select.poll().poll(1)
        raise KernelRefused("connect", self._what, errno.ETIMEDOUT)


def _way_to(sock: _socket.socket) -> tuple[tuple[str, int], bytes]:
    """Say how this machine reaches a listener, and its own address then, as packets have it.

    Where IPv4 comes to an IPv6 socket it is taken: containers often have no ::1.
    """
    host, *rest = sock.getsockname()
    if host == "0.0.0.0":  # noqa: S104  compared
        host = "127.0.0.1"
    elif host == "::":
        v6_only = sock.getsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY)
        host = "::1" if v6_only else "::ffff:127.0.0.1"
    packed = _socket.inet_pton(sock.family, host.partition("%")[0])
    return (host, *rest), packed[-4:] if host.startswith("::ffff:") else packed
