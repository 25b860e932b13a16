"""The sockets of this run: opened, gone over to new ones, given up; and the log of it.

Shared ones are kept here, steered ones in `seating`. Only who binds something pays for the import
of what binds.
"""

from __future__ import annotations

from srvinit.errors import KernelRefused, UsageError
from srvinit.kernel.environment import FIRST_SOCKET_FD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable
    from typing import Any

    from srvinit.endpoint import Endpoint
    from srvinit.kernel.sockets import Inherited, Listener
    from srvinit.lifecycle import actions
    from srvinit.options import Options
    from srvinit.seating import Seating
    from srvinit.settings.addresses import Bind
    from srvinit.watch import Emit


class Listening:
    """What srvinit itself holds open, whatever its workers do with their copies."""

    def __init__(self, emit: Emit) -> None:
        self.listeners: list[Listener] = []
        self.seating: Seating | None = None  # set where sockets are steered
        self.endpoint: Endpoint | None = None  # set where `http` is
        self._binds: tuple[Bind, ...] = ()
        self._released: list[Listener] = []  # no longer wanted, but old workers still serve them
        self._emit = emit

    def performs(self) -> dict[type[actions.Action], Callable[[Any], None]]:
        """Say how the orders that are about sockets alone are carried out."""
        from srvinit.lifecycle import actions  # the core's, which comes after the first worker

        return {
            actions.OpenSeat: lambda order: self._seats.open_seat(order.seat),
            actions.Steer: lambda order: self._seats.steer(order.seats),
            actions.CloseSeat: lambda order: self._seats.close_later(order.seat, order.by),
            actions.ShutDoor: lambda _: self._seats.shut_door(),
            actions.CloseSockets: lambda _: self.close(),
            actions.ReleaseSockets: lambda _: self.release(),
            actions.RestoreBacklog: lambda _: self.restore_backlog(),
        }

    @property
    def _seats(self) -> Seating:
        assert self.seating is not None  # noqa: S101  the core was told whether it is steered
        return self.seating

    def open(self, options: Options, inherited: list[Inherited], count: int) -> None:
        """Open all sockets or none, for `count` workers to start with.

        Raises KernelRefused, which names the address. Sockets that srvinit's parent handed over
        are shared: their number is the parent's.
        """
        fresh = self._fresh_endpoint(options)
        try:
            if options.bind or inherited:
                self._open_sockets(options, inherited, count)
        except KernelRefused:
            if fresh is not None:
                fresh.close()
            raise
        self._move_endpoint(options, fresh)

    def _open_sockets(self, options: Options, inherited: list[Inherited], count: int) -> None:
        if options.bind_mode != "shared" and not inherited:
            self._open_seats(options, range(1 if options.bind_mode == "swapped" else count))
        from srvinit.kernel import sockets

        try:
            self.listeners = sockets.open_listeners(
                self._shared(options),
                backlog=options.bind_backlog,
                nodelay=options.bind_nodelay,
                nonblocking=options.bind_nonblocking,
                inherited=inherited,
            )
        except KernelRefused:
            if self.seating is not None:
                self.seating.close()
            raise
        self._binds = options.bind
        self._introduce(())

    def _open_seats(self, options: Options, seats: Iterable[int]) -> None:
        """Open the steered sockets; where the kernel has none, the shared ones serve as well."""
        from srvinit.kernel.steering import is_no_steering
        from srvinit.seating import Seating

        seating = Seating(self._emit)
        try:
            seating.open(options, seats)
        except KernelRefused as refused:
            if not is_no_steering(refused):
                raise
            self._emit("socket.unsteered", {"error": str(refused)})
        else:
            self.seating = seating

    def _shared(self, options: Options) -> list[Bind]:
        return [bind for bind in options.bind if not self._is_steered(bind)]

    def _is_steered(self, bind: Bind) -> bool:
        return self.seating is not None and bind.kind == "tcp"

    def go_over(self, options: Options, was: Options) -> None:
        """Go over to what the settings name now; the new is bound before the old is given up.

        Raises KernelRefused, or UsageError, and leaves everything as it was.
        """
        if options.bind_mode != was.bind_mode:
            raise UsageError(
                [f"bind.mode {options.bind_mode}: it cannot change while srvinit runs; start anew"]
            )
        fresh = self._fresh_endpoint(options)
        try:
            self._reopen(options)
        except KernelRefused:
            if fresh is not None:
                fresh.close()
            raise
        self._move_endpoint(options, fresh)

    def _fresh_endpoint(self, options: Options) -> Listener | None:
        """Open the socket of `http` where it is a new one. Raises KernelRefused."""
        if self.endpoint is None and options.http is not None:
            from srvinit.endpoint import Endpoint

            self.endpoint = Endpoint(self._emit)
        return None if self.endpoint is None else self.endpoint.open(options.http)

    def _move_endpoint(self, options: Options, fresh: Listener | None) -> None:
        if self.endpoint is not None and (fresh is not None or options.http is None):
            self.endpoint.go_over(fresh)

    def _reopen(self, options: Options) -> None:
        from srvinit.kernel import sockets

        known = [address for _, address, _ in self.sockets(None)]
        before = self.listeners
        listeners, released = sockets.reopen(
            before,
            self._shared(options),
            backlog=options.bind_backlog,
            nodelay=options.bind_nodelay,
            nonblocking=options.bind_nonblocking,
        )
        if self.seating is not None:
            from srvinit.seating import NOBODYS

            try:
                self.seating.open(options, [NOBODYS])
            except KernelRefused:
                for listener in listeners:
                    if listener not in before:
                        listener.close()
                raise
        self.listeners = listeners
        self._released += released
        self._binds = options.bind
        self._introduce(known)

    def _introduce(self, known: Container[str]) -> None:
        for fd, (name, address, _) in enumerate(self.sockets(None), FIRST_SOCKET_FD):
            if address not in known:
                self._emit("socket.bound", {"name": name, "address": address, "fd": fd})

    def sockets(self, seat: int | None) -> tuple[tuple[str, str, int], ...]:
        """List name, address and descriptor of a worker's sockets, in the order of `bind`.

        With a seat, opens what is missing (KernelRefused); without, steered ones have -1.
        """
        shared = iter(self.listeners)
        groups = iter(self.seating.groups if self.seating is not None else ())
        found = []
        for bind in self._binds:
            if self.seating is not None and self._is_steered(bind):
                group = next(groups)
                fd = -1 if seat is None else self.seating.fd_for(group, seat)
                found.append((bind.name, group.address, fd))
            else:
                one = next(shared)
                found.append((one.name, one.address, one.fd))
        return (*found, *((one.name, one.address, one.fd) for one in shared))

    def inodes(self, seat: int) -> list[int]:
        """List what /proc calls the sockets that a worker on this seat has."""
        shared = [listener.inode for listener in self.listeners]
        return shared if self.seating is None else shared + self.seating.inodes(seat)

    def describe(self) -> list[dict[str, Any]]:
        """List the open sockets that the settings name, for the status."""
        shared = [
            {
                "address": one.address,
                "name": one.name,
                "kind": one.kind,
                "inode": one.inode,
                "seat": None,
            }
            for one in self.listeners
        ]
        if self.seating is None:
            return shared
        names = [bind.name for bind in self._binds if self._is_steered(bind)]
        return shared + self.seating.describe(names if self.seating.groups else ())

    def other_fds(self, seat: int) -> list[int]:
        """List the descriptors of sockets that are not for a worker on this seat."""
        others = [] if self.seating is None else self.seating.other_fds(seat)
        return others if self.endpoint is None else others + self.endpoint.fds

    def due(self) -> float | None:
        """Say when `tend` is worth a call; None: never."""
        return None if self.endpoint is None else self.endpoint.due()

    def tend(self) -> None:
        """Start the endpoint's helper if it is time to; the first workers must run by now."""
        if self.endpoint is not None:
            self.endpoint.tend()

    def end(self) -> None:
        """End the endpoint: the last thing to go."""
        if self.endpoint is not None:
            self.endpoint.end()

    def restore_backlog(self) -> None:
        """Set the backlogs again: a server that starts may have lowered them."""
        for listener in self.listeners:
            listener.restore_backlog()
        if self.seating is not None:
            self.seating.restore_backlog()

    def release(self) -> None:
        """Close what is no longer wanted: nobody serves it any more."""
        self._close(self._released)
        if self.seating is not None:
            self.seating.release()

    def close(self) -> None:
        """Close everything; the workers that still serve have copies of their own."""
        self._close(self._released)
        self._close(self.listeners)
        if self.seating is not None:
            self.seating.close()

    def _close(self, listeners: list[Listener]) -> None:
        for listener in listeners:
            listener.close()
            self._emit("socket.closed", {"name": listener.name, "address": listener.address})
        listeners.clear()
