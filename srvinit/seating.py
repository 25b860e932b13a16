"""Steered sockets of this run: one group per address, one seat per worker in each.

What `listening` is for shared sockets. The kernel's side is `kernel/steering`; here is kept which
groups there are, which seats are to be closed, and what is said of it in the log.
"""

from __future__ import annotations

import posix

from srvinit.errors import KernelRefused
from srvinit.kernel import steering

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from srvinit.kernel.steering import Group
    from srvinit.options import Options
    from srvinit.settings.addresses import Bind
    from srvinit.watch import Emit

    Key = tuple[tuple[object, ...], int]

# A seat opened before anybody is to sit there: an address that came with SIGHUP is bound at once.
NOBODYS = -1
# Asking the kernel for its order costs about 0.15 ms for each seat, while PID 1 does nothing else.
MOST_SEATS_ASKED = 64


class Seating:
    """The groups, in the order of `bind`; one that is no longer wanted is kept apart."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._groups: dict[Key, Group] = {}
        self._released: list[Group] = []
        self._closing: dict[int, float | None] = {}  # seats to be closed; by when, whoever waits
        self.steered_to: frozenset[int] = frozenset()
        self._doors: list[Group] = []  # given up, but for their doors: workers listen still
        self._is_nonblocking = False

    def open(self, options: Options, seats: Iterable[int]) -> None:
        """Open the groups of these settings that are not open yet; the seats are for its workers.

        Raises KernelRefused and leaves what was open before as it was.
        """
        from srvinit.kernel.sockets import SOMAXCONN, v4_binds

        self._is_nonblocking = options.bind_nonblocking
        backlog = options.bind_backlog or SOMAXCONN
        taken = v4_binds(options.bind)
        wanted = dict(_keyed(options.bind))
        opened: dict[Key, Group] = {}
        try:
            for key, bind in wanted.items():
                if key in self._groups:
                    continue
                both = (bind.kind, bind.port) not in taken
                opened[key] = steering.open_group(
                    bind, seats, backlog=backlog, nodelay=options.bind_nodelay, both_families=both
                )
                self._set_blocking(opened[key])
        except BaseException:
            for group in opened.values():
                group.close()
            raise
        self._released += [group for key, group in self._groups.items() if key not in wanted]
        kept = {key: group for key, group in self._groups.items() if key in wanted}
        for group in kept.values():
            group.tune(backlog=backlog, nodelay=options.bind_nodelay)
        self._groups = {key: (kept | opened)[key] for key in wanted}

    @property
    def groups(self) -> list[Group]:
        """The groups that are wanted, in the order of their binds."""
        return list(self._groups.values())

    def fd_for(self, group: Group, seat: int) -> int:
        """Say which descriptor a worker on this seat gets of a group; open it if need be."""
        if seat in group.sockets:
            return group.sockets[seat].fileno()
        if NOBODYS in group.sockets:
            group.give_seat(NOBODYS, seat)
        else:
            group.open_seat(seat)
            self._set_blocking(group)
            self._check_order(group)
        return group.sockets[seat].fileno()

    def open_seat(self, seat: int) -> None:
        """Open a seat before its worker is there: newcomers shall wait for it."""
        for group in self.groups:
            self.fd_for(group, seat)

    def inodes(self, seat: int) -> list[int]:
        """List what /proc calls the sockets of a seat."""
        return [posix.fstat(fd).st_ino for fd in self._fds(seat)]

    def describe(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """List the sockets of all groups, which have these names; a nobody's has no seat."""
        return [
            {
                "address": address,
                "name": name,
                "kind": "tcp",
                "inode": posix.fstat(sock.fileno()).st_ino,
                "seat": None if seat == NOBODYS else seat,
            }
            for name, group in zip(names, self._groups.values(), strict=True)
            for address in [group.address]
            for seat, sock in group.sockets.items()
        ]

    def other_fds(self, seat: int) -> list[int]:
        """List the descriptors of everybody else's seats."""
        return [
            sock.fileno()
            for group in self._all()
            for other, sock in group.sockets.items()
            if other != seat
        ]

    def steer(self, seats: frozenset[int]) -> None:
        """Have new connections go to these seats, as far as a group has them.

        A group that has none of them, as its address is new or no longer wanted, has newcomers
        wait where they can: not on a seat that is to be closed, if there is another.
        """
        self.steered_to = seats
        for group in self._all():
            have = group.sockets.keys()
            group.rotate(seats & have or have - self._closing.keys())

    def is_empty(self, seat: int, *, awaits_handshakes: bool) -> bool:
        """Tell whether nobody waits on a seat, and nobody is on the way there if that counts."""
        for group in self._all():
            # The second look reads a table of /proc: it is worth it only where the first says no.
            if seat in group.sockets and (
                group.has_waiting(seat) or (awaits_handshakes and group.on_the_way(seat))
            ):
                return False
        return True

    def queue_lengths(self) -> dict[int, int]:
        """Count who waits to be accepted, by seat; the longest queue of a seat counts."""
        lengths: dict[int, int] = {}
        for group in self._groups.values():
            for seat in group.sockets:
                lengths[seat] = max(lengths.get(seat, 0), group.queue_length(seat))
        return lengths

    def close_later(self, seat: int, by: float | None) -> None:
        """Close a seat once nobody waits there, at `by` anyway; `None`: not while somebody does."""
        self._closing[seat] = by
        for group in self._all():
            if seat in group.rotation:
                rest = group.rotation - {seat}
                group.rotate(rest or group.sockets.keys() - self._closing.keys())

    @property
    def has_closing(self) -> bool:
        """Whether some seat, or a door, is still to be closed."""
        return bool(self._closing or self._doors)

    def close_seats(self, now: float) -> list[int]:
        """Close the seats that can be closed by now; return those that stay open for who waits."""
        waited = []
        for seat, by in list(self._closing.items()):
            groups = [group for group in self._all() if seat in group.sockets]
            if by is None and any(group.has_waiting(seat) for group in groups):
                del self._closing[seat]
                waited.append(seat)
                continue
            is_due = by is not None and now >= by
            closed = [self._close_seat(group, seat, is_due=is_due) for group in groups]
            if all(closed):
                del self._closing[seat]
        self._doors = [group for group in self._doors if not group.close_door()]
        return waited

    def _close_seat(self, group: Group, seat: int, *, is_due: bool) -> bool:
        # A group's last socket is its address: it stays until there is another.
        if len(group.sockets) == 1 or not group.close_seat(seat, whoever_waits=is_due):
            return False
        self._check_order(group)
        return True

    def shut_door(self) -> None:
        """Let nobody new in: newcomers would come until the end, and keep queues from emptying."""
        for group in self._all():
            try:
                group.shut_door()
            except KernelRefused as refused:
                said = {"address": group.address, "error": str(refused)}
                self._emit("socket.door_open", said)

    def restore_backlog(self) -> None:
        """Set the backlogs again: a server that starts may have lowered them."""
        for group in self._all():
            group.restore_backlog()

    def release(self) -> None:
        """Close what is no longer wanted: nobody serves it any more."""
        for group in self._released:
            self._close(group)
        self._released.clear()

    def close(self) -> None:
        """Close everything; the workers that still serve have copies of their own."""
        for group in self._all():
            self._close(group)
        self._doors = [group for group in self._all() if not group.close_door()]
        self._groups.clear()
        self._released.clear()
        self._closing.clear()

    def _close(self, group: Group) -> None:
        address = group.address
        group.close()
        self._emit("socket.closed", {"address": address})

    def _all(self) -> list[Group]:
        return [*self._groups.values(), *self._released]

    def _fds(self, seat: int) -> list[int]:
        return [
            group.sockets[seat].fileno() for group in self._groups.values() if seat in group.sockets
        ]

    def _set_blocking(self, group: Group) -> None:
        if self._is_nonblocking:
            for sock in group.sockets.values():
                posix.set_blocking(sock.fileno(), False)

    def _check_order(self, group: Group) -> None:
        """Hold our idea of the kernel's order against the kernel's own: steering rests on it."""
        if group.is_door_shut:
            return  # nobody is steered to any more
        if len(group.sockets) <= MOST_SEATS_ASKED and group.is_order_true() is False:
            learnt = group.learn_order()
            self._emit("socket.order_lost", {"address": group.address, "learnt": learnt})


def _keyed(binds: Iterable[Bind]) -> Iterator[tuple[Key, Bind]]:
    """Tell the binds that are steered apart: ports of the kernel's choice look the same."""
    counted: dict[tuple[object, ...], int] = {}
    for bind in filter(is_steerable, binds):
        counted[bind.place] = counted.get(bind.place, 0) + 1
        yield (bind.place, counted[bind.place]), bind


def is_steerable(bind: Bind) -> bool:
    """Tell whether a bind gets a socket for each worker: Unix and UDP sockets are shared always."""
    return bind.kind == "tcp"
