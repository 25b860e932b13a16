"""One address, several sockets: new connections go to those that are in the rotation, evenly.

A group has one listening socket per seat. A seat is held by one worker at a time: while a recycle
has two workers in a slot, each has a seat of its own, or the kernel could not tell them apart. All
sockets are srvinit's, so a worker's end closes none, and what waits in its queue waits for whoever
gets the seat next. Nothing here decides; nothing here must ever close a queue with somebody in it
unless told to. The kernel facts this rests on (net/core/sock_reuseport.c, net/ipv4/):

- A TCP socket joins the group at listen(2), not at bind(2), behind all others; when one leaves, the
  last takes its place (socket(7), SO_ATTACH_REUSEPORT_CBPF; for TCP since 4.6). Since 5.14, with
  net.ipv4.tcp_migrate_req=1, those that left are remembered, but behind the living ones. To join,
  it must be of the same user.
- close(2) in srvinit takes a socket out of nothing while a worker has a copy. shutdown(2) does, for
  all copies; a later listen(2) on one of them puts it back, as the last.
- Whoever binds with SO_REUSEPORT as the same user is in the group. The first socket is bound
  without, so that an address that somebody else serves is refused, and says so before listen(2).
- A connection belongs to a socket from its SYN on: steering decides about SYNs alone. Until its
  handshake is complete it is in no queue (TCP_INFO's tcpi_unacked), and a close refuses it all the
  same. But it holds a reference on its listener until it is accepted, and /proc/net/tcp shows those
  (inet_reqsk_alloc): one reference is the socket's own, each further one is somebody on the way.
- SYN cookies keep no such state: their last packet is steered like a SYN, and any socket of the
  group takes it.
- A SYN that another processor is steering while the program is replaced may still follow the old
  one: microseconds (RCU). It too is on the way, then in the queue.

Only C modules are imported: a group is opened before the first worker's exec.
"""

from __future__ import annotations

import _socket
import errno

from srvinit.errors import KernelRefused
from srvinit.kernel import bpf
from srvinit.kernel.binding import ask, bind_inet, closed_on_error, set_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from srvinit.kernel.door import Door
    from srvinit.settings.addresses import Bind

STRANGER = -1  # in the order: a socket that is not ours


class Group:
    """The sockets of one address, and which of them get new connections.

    `sockets` (by seat) may be read, and passed on by fd; only the methods change it. `rotation` is
    what was asked for last.
    """

    __slots__ = (
        "_bind",
        "_door",
        "_name",
        "_order",
        "_settings",
        "_v6_only",
        "rotation",
        "sockets",
        "what",
    )

    def __init__(self, bind: Bind, *, backlog: int, nodelay: bool) -> None:
        self.sockets: dict[int, _socket.socket] = {}
        self.rotation: frozenset[int] = frozenset()
        self.what = bind.text
        self._bind = bind
        self._door: Door | None = None  # once it is shut
        self._settings = (backlog, int(nodelay))
        self._order: list[int] = []  # place -> seat
        self._name: tuple[str, int] = ("", 0)
        self._v6_only = 0

    # --- seats -----------------------------------------------------------------------------------

    def open_seat(self, seat: int) -> int:
        """Open a socket that gets no connections yet; return its fd, which stays the group's.

        But while the rotation is empty each socket gets some, a new one too: `rotate`.
        Raises KernelRefused and leaves the group as it was.
        """
        if seat in self.sockets:
            raise ValueError(f"seat {seat} is open")
        sock = self._further()
        with closed_on_error(sock):
            self._tune(sock)  # it listens, and so is in the group, as the last
            self.sockets[seat] = sock
            self._order.append(seat)
            try:
                self.rotate(self.rotation)
            except KernelRefused:
                self._order.pop()
                del self.sockets[seat]
                raise
        return sock.fileno()

    def close_seat(self, seat: int, *, whoever_waits: bool = False) -> bool:
        """Close a socket that is out of the rotation and has nobody on the way to it.

        False: not yet. `whoever_waits` closes it in any case; who waits gets a reset.
        """
        if not whoever_waits and (seat in self.rotation or self.on_the_way(seat)):
            return False
        place = self._order.index(seat)
        self._avoid(place)
        # Looked at again: with an empty rotation it got connections until this moment.
        if not whoever_waits and self.on_the_way(seat):
            self.rotate(self.rotation)
            return False
        self.rotation -= {seat}
        was_there = self._leave(self.sockets.pop(seat))
        self._order[place] = self._order[-1]
        self._order.pop()
        if self.sockets:
            if not (was_there or self._door):  # a door stays where it is
                self.learn_order()
            self.rotate(self.rotation)
        return True

    def give_seat(self, seat: int, other: int) -> None:
        """Call a seat by another number from now on; nothing changes for who waits there."""
        self.sockets[other] = self.sockets.pop(seat)
        self._order[self._order.index(seat)] = other
        if seat in self.rotation:
            self.rotation = self.rotation - {seat} | {other}

    @property
    def address(self) -> str:
        """The real address, as people write it."""
        from srvinit.kernel.sockets import inet_text

        sock = next(iter(self.sockets.values()), None)
        return self.what if sock is None else inet_text(sock, *self._name[:2])

    def close(self) -> None:
        """Give up our copies; workers that still serve have their own. A shut door stays."""
        for sock in self.sockets.values():
            sock.close()
        self.sockets.clear()
        self._order.clear()
        self.rotation = frozenset()

    def close_door(self) -> bool:
        """Close the door, after `close`, if there is one and nobody else listens any more."""
        if self._door is not None and self._door.is_alone():
            self._door.close()
            self._door = None
        return self._door is None

    # --- who gets new connections ----------------------------------------------------------------

    def rotate(self, seats: Iterable[int]) -> None:
        """Have new connections go to these seats, evenly, and to no others.

        To none: each open seat gets some, so that they wait for whoever is started next. Raises
        KernelRefused where the kernel has no such programs; the old one stays.
        """
        wanted = frozenset(seats)
        if not wanted <= self.sockets.keys():
            raise ValueError(f"no such seats: {sorted(wanted - self.sockets.keys())}")
        before, self.rotation = self.rotation, wanted
        try:
            self._attach(self._places())
        except KernelRefused:
            self.rotation = before
            raise

    def shut_door(self) -> None:
        """Have all SYNs dropped from now on, while who is on the way still gets in: see `door`.

        For the very end, when nobody is left to steer to. There is no way back: whatever `rotate`
        is told from here on, no worker gets anybody. Raises KernelRefused, and is open as before.
        """
        from srvinit.kernel.door import Door

        program = bpf.choose_among(self._places())
        try:
            self._door = Door(self._further, len(self._order), program, self.what)
        except KernelRefused:
            self._attach(self._places())
            raise
        self._order += [STRANGER] * self._door.size
        self._attach(self._places())

    @property
    def is_door_shut(self) -> bool:
        """Whether nobody new gets in."""
        return self._door is not None

    def is_order_true(self) -> bool | None:
        """Ask the kernel whether it numbers the sockets as we do; None: it cannot be asked.

        False where a program of the same user joined the group, or a worker shut its socket down:
        then `learn_order`. Meant for after a change, not for each turn: it costs several changes
        of the rotation for each socket.
        """
        from srvinit.kernel import ordering

        size = self._size()
        if size < len(self._order):
            return False
        program = bpf.choose_among(self._places())
        try:
            for place, seat in enumerate(self._order):
                # Only the expected one is watched: watching all takes time in the square.
                asked = self.sockets if seat == STRANGER else {seat: self.sockets[seat]}
                if ordering.ask_for(place, asked, program) != (None if seat == STRANGER else seat):
                    return False
            # One more has our address. If it is in the group, it is nobody of ours that answers.
            beyond = len(self._order)
            return size == beyond or ordering.ask_for(beyond, self.sockets, program) is not None
        except ordering.UntoldError:
            return None
        finally:
            self._attach(self._places())

    def learn_order(self) -> bool:
        """Take the order from the kernel, and steer by it; False if it cannot be found out."""
        from srvinit.kernel import ordering

        program = bpf.choose_among(self._places())
        order: list[int] = []
        try:
            # Not further: beyond the end the kernel picks by hash, so the answer says nothing.
            for place in range(self._size()):
                seat = ordering.ask_for(place, self.sockets, program)
                if seat in order:
                    break  # the rest has our address, but is not in our group
                order.append(STRANGER if seat is None else seat)
        except ordering.UntoldError:
            return False
        finally:
            if self.sockets.keys() <= set(order):
                self._order = order
            self._attach(self._places())
        return self._order is order

    # --- who waits -------------------------------------------------------------------------------

    def queue_length(self, seat: int) -> int:
        """Count the connections that wait to be accepted."""
        from srvinit.kernel import queues

        return queues.length(self.sockets[seat])

    def queue_limit(self, seat: int) -> int:
        """Say how many may wait: what listen(2) said last, whoever called it."""
        from srvinit.kernel import queues

        return queues.limit(self.sockets[seat])

    def has_waiting(self, seat: int) -> bool:
        """Say whether a connection waits that no worker has taken yet."""
        return self.queue_length(seat) > 0

    def on_the_way(self, seat: int) -> int:
        """Count those that wait and those whose handshake is not complete yet."""
        from srvinit.kernel import queues

        return queues.on_the_way(self.sockets[seat])

    def restore_backlog(self) -> None:
        """Set the backlogs again after a worker may have lowered one; nothing else changes."""
        for sock in self.sockets.values():
            ask("listen", self.what, sock.listen, self._settings[0])

    def tune(self, *, backlog: int, nodelay: bool) -> None:
        """Go over to other settings, for the open sockets and for later ones."""
        self._settings = (backlog, int(nodelay))
        for sock in self.sockets.values():
            self._tune(sock)

    # --- how -------------------------------------------------------------------------------------

    def _further(self) -> _socket.socket:
        """Bind a further socket to the address of the first; the first refuses to share it."""
        first = next(iter(self.sockets.values()))
        sock = ask("socket", self.what, _socket.socket, first.family, _socket.SOCK_STREAM)
        with closed_on_error(sock):
            for option in (_socket.SO_REUSEADDR, _socket.SO_REUSEPORT):
                set_option(sock, self.what, _socket.SOL_SOCKET, option, 1)
            if first.family == _socket.AF_INET6:
                set_option(
                    sock, self.what, _socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, self._v6_only
                )
            ask("bind", self.what, sock.bind, self._name)
        return sock

    def _take_first(self, sock: _socket.socket, seat: int) -> None:
        """Begin the group with a socket that is bound, alone, to the address."""
        set_option(sock, self.what, _socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)
        self._name = sock.getsockname()
        if sock.family == _socket.AF_INET6:
            self._v6_only = sock.getsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY)
        self._tune(sock)
        self.sockets[seat] = sock
        self._order.append(seat)

    def _tune(self, sock: _socket.socket) -> None:
        backlog, nodelay = self._settings
        set_option(sock, self.what, _socket.IPPROTO_TCP, _socket.TCP_NODELAY, nodelay)
        ask("listen", self.what, sock.listen, backlog)

    def _avoid(self, place: int) -> None:
        """Get ready for a socket's leaving, when the last one takes its place.

        A program that chooses neither of the two is right before and after. Where there is no
        third one to choose, the kernel picks by hash among those left, until the next program.
        """
        places = self._places()
        moving = (place, len(self._order) - 1)
        sure = [at for at in places if at not in moving]
        self._attach(sure or [at for at in places if at != place] or places)

    def _leave(self, sock: _socket.socket) -> bool:
        """Take a socket out of the group, in all its copies; say whether it was still in it."""
        try:
            sock.shutdown(_socket.SHUT_RDWR)
        except OSError as refused:
            if refused.errno != errno.ENOTCONN:
                raise KernelRefused("shutdown", self.what, refused.errno or 0) from refused
            return False  # a worker shut it down before us
        finally:
            sock.close()
        return True

    def _places(self) -> list[int]:
        """Say where in the group the rotation's sockets stand; all of ours if there is none."""
        if self._door is not None:
            return [self._door.place]
        chosen = self.rotation or self.sockets.keys()
        return [place for place, seat in enumerate(self._order) if seat in chosen]

    def _size(self) -> int:
        """Count who listens on our address; without /proc, ourselves."""
        from srvinit.kernel import queues

        return queues.sharers(next(iter(self.sockets.values()))) or len(self._order)

    def _attach(self, places: Iterable[int]) -> None:
        program = bpf.choose_among(places)
        bpf.attach_to_group(next(iter(self.sockets.values())), program, self.what)


def open_group(
    bind: Bind,
    seats: Iterable[int],
    *,
    backlog: int,
    nodelay: bool = True,
    both_families: bool = True,
) -> Group:
    """Open the sockets of one TCP address, one per seat; all get connections until `rotate`.

    Raises KernelRefused and leaves nothing open: EADDRINUSE and the like as for any socket; what
    `is_no_steering` knows, where this kernel cannot steer and a single socket can still be had.
    """
    first, *others = seats
    group = Group(bind, backlog=backlog, nodelay=nodelay)
    sock = bind_inet(bind, both_families=both_families)
    try:
        with closed_on_error(sock):
            group._take_first(sock, first)  # noqa: SLF001  our own
            group.rotate(())
        for seat in others:
            group.open_seat(seat)
    except BaseException:
        group.close()
        raise
    return group


def is_no_steering(refused: KernelRefused) -> bool:
    """Say whether a refusal is about steering as such, not about the address or our means.

    ENOPROTOOPT: gVisor, an old Linux. EPERM, EACCES, ENOSYS: a seccomp profile. EINVAL,
    EFAULT: a kernel that reads the program in another way.
    """
    return refused.call == "setsockopt" and refused.number in {
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.EACCES,
        errno.ENOSYS,
        errno.EINVAL,
        errno.EFAULT,
        errno.ENOMEM,
    }
