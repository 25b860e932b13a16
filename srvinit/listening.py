"""The shared sockets of this run: opened, gone over to new ones, given up; and the log of it.

Only who binds something pays for the import of what binds.
"""

from __future__ import annotations

from srvinit.kernel.environment import FIRST_SOCKET_FD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from srvinit.kernel.sockets import Inherited, Listener
    from srvinit.options import Options
    from srvinit.report.log import Log


class Listening:
    """What srvinit itself holds open, whatever its workers do with their copies."""

    def __init__(self, log: Log) -> None:
        self.listeners: list[Listener] = []
        self._released: list[Listener] = []  # no longer wanted, but old workers still serve them
        self._log = log

    def open(self, options: Options, inherited: list[Inherited]) -> None:
        """Open all sockets or none. Raises KernelRefused, which names the address."""
        if not options.bind and not inherited:
            return
        from srvinit.kernel import sockets

        self.listeners = sockets.open_listeners(
            options.bind,
            backlog=options.bind_backlog,
            nodelay=options.bind_nodelay,
            nonblocking=options.bind_nonblocking,
            inherited=inherited,
        )
        self._introduce(self.listeners)

    def go_over(self, options: Options) -> None:
        """Go over to what the settings name now; the new is bound before the old is given up.

        Raises KernelRefused and leaves everything as it was.
        """
        from srvinit.kernel import sockets

        before = self.listeners
        self.listeners, released = sockets.reopen(
            before,
            options.bind,
            backlog=options.bind_backlog,
            nodelay=options.bind_nodelay,
            nonblocking=options.bind_nonblocking,
        )
        self._released += released
        self._introduce(listener for listener in self.listeners if listener not in before)

    def _introduce(self, listeners: Iterable[Listener]) -> None:
        for listener in listeners:
            fd = FIRST_SOCKET_FD + self.listeners.index(listener)
            self._log.emit(
                "socket.bound", {"name": listener.name, "address": listener.address, "fd": fd}
            )

    def inodes(self) -> Iterator[int]:
        """Yield what /proc calls the sockets."""
        return (listener.inode for listener in self.listeners)

    def restore_backlog(self) -> None:
        """Set the backlogs again: a server that starts may have lowered them."""
        for listener in self.listeners:
            listener.restore_backlog()

    def release(self) -> None:
        """Close what is no longer wanted: nobody serves it any more."""
        self._close(self._released)

    def close(self) -> None:
        """Close everything; the workers that still serve have copies of their own."""
        self._close(self._released)
        self._close(self.listeners)

    def _close(self, listeners: list[Listener]) -> None:
        for listener in listeners:
            listener.close()
            self._log.emit("socket.closed", {"name": listener.name, "address": listener.address})
        listeners.clear()
