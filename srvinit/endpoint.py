"""The probes' and metrics' endpoint, as PID 1 sees it: a socket, and a helper that answers there.

The socket is PID 1's, so it stays when the helper dies, and who connects meanwhile waits. PID 1
never talks to the helper, reads nothing from it while it lives and waits for it nowhere: it may be
slow, stopped, flooded or dead. What it tells is in the published status (report/status.py).

It is no worker: a crash of it is logged and made good after a moment, and counts for nothing. It
lives through a shutdown, to tell of it, and is ended when nobody else is left.
"""

from __future__ import annotations

import posix
import select
import time

from srvinit.errors import KernelRefused
from srvinit.kernel import descriptors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.kernel.helper import Helper
    from srvinit.kernel.sockets import Listener
    from srvinit.settings.addresses import Bind
    from srvinit.watch import Emit

# Whom the queue has no place for tries again after a second, which is all that a probe has. The
# helper empties it every 60 ms or so; the kernel has its own limit (somaxconn, 4096 since 5.4).
BACKLOG = 4096
RETRY_FIRST_S = 0.2
RETRY_LAST_S = 30.0
RETRY_GROWTH = 2.0
# A helper that lived this long had no fault of its own.
PROVEN_S = 60.0
# How long the end of one that got SIGKILL is waited for; it takes 1 to 3 ms.
END_MS = 500


class Endpoint:
    """Starts the helper, again and again if need be, and ends it."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._listener: Listener | None = None
        self._helper: Helper | None = None
        self._is_lack_told = False
        self._started_at = 0.0
        self._start_at: float | None = None  # when the next one is due; None while one lives
        self._retry_s = RETRY_FIRST_S

    @property
    def pid(self) -> int:
        """The helper's pid, 0 if there is none."""
        return 0 if self._helper is None else self._helper.pid

    @property
    def fds(self) -> list[int]:
        """The descriptors that are no worker's business."""
        held = [] if self._listener is None else [self._listener.fd]
        return held if self._helper is None else [*held, self._helper.lifeline_fd]

    def open(self, bind: Bind | None) -> Listener | None:
        """Open the socket of an address that is not answered at yet. Raises KernelRefused."""
        was = self._listener.bind if self._listener is not None else None
        if bind is None or (was is not None and bind.place == was.place):
            return None
        from srvinit.kernel.sockets import open_listeners

        return open_listeners([bind], backlog=BACKLOG, nonblocking=True)[0]

    def go_over(self, listener: Listener | None) -> None:
        """Answer there from now on and nowhere else; the socket is ours from here on."""
        if listener is None and self._listener is not None:
            self._emit("endpoint.closed", {"address": self._listener.address})
        self.end()
        self._listener = listener
        self._start_at = None if listener is None else 0.0

    def due(self) -> float | None:
        """Say when `tend` is worth a call; None: never."""
        return self._start_at

    def tend(self) -> None:
        """Start the helper if it is time to. Only once the first workers run: it costs a fork."""
        now, listener = time.monotonic(), self._listener
        if listener is None or self._start_at is None or now < self._start_at:
            return
        self._start_at = now + RETRY_LAST_S  # whatever fails here must not fail at every turn
        try:
            lack = self._lack()
            self._helper = _start(listener)
        except (KernelRefused, OSError, ImportError) as error:  # no descriptor to import with, say
            self._retry(0, str(error))
            return
        self._started_at, self._start_at = now, None
        said = {"address": listener.address, "pid": self._helper.pid, "next": lack}
        self._emit("endpoint.started", said)

    def _lack(self) -> str | None:
        """Say what will not be answered, once."""
        from srvinit.report import exposition

        if self._is_lack_told or exposition.is_installed():
            return None
        self._is_lack_told = True
        return f"/metrics is answered with 501: {exposition.NOT_INSTALLED}"

    def note_end(self, pid: int, status: int) -> bool:
        """Take note of a child's end, already reaped; False if it was not the helper."""
        if self._helper is None or pid != self._helper.pid:
            return False
        from srvinit import words
        from srvinit.kernel import helper

        told = helper.last_words(self._helper.lifeline_fd)
        self._let_go()
        if time.monotonic() - self._started_at >= PROVEN_S:
            self._retry_s = RETRY_FIRST_S
        self._retry(pid, words.wait_status_reason(status), told)
        return True

    def end(self) -> None:
        """End the helper and close the socket; waits for it for half a second at most."""
        if self._helper is not None:
            from srvinit.kernel import reap, signals

            signals.send(self._helper.pid, "KILL")
            poll = select.poll()
            poll.register(self._helper.lifeline_fd, 0)  # for POLLHUP: its end closes as it exits
            by = time.monotonic() + END_MS / 1000
            if poll.poll(END_MS):
                reap.await_end(self._helper.pid, by)
            self._let_go()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._start_at = None

    def _let_go(self) -> None:
        if self._helper is not None:
            descriptors.close_all((self._helper.lifeline_fd,))
            self._helper = None

    def _retry(self, pid: int, why: str, traceback: str = "") -> None:
        said = {
            "pid": pid or None,
            "reason": why,
            "retry_s": self._retry_s,
            "traceback": traceback or None,
        }
        self._emit("endpoint.died", said)
        self._start_at = time.monotonic() + self._retry_s
        self._retry_s = min(self._retry_s * RETRY_GROWTH, RETRY_LAST_S)


def _start(listener: Listener) -> Helper:
    """Fork the helper that answers there."""
    from srvinit.kernel import helper

    parent = posix.getpid()

    def answer(lifeline_fd: int) -> None:
        from srvinit import answering  # in the helper: PID 1 has no use for what it imports

        answering.run(listener.fd, lifeline_fd, parent)

    return helper.start(
        answer,
        title=f"srvinit: probes and metrics at {listener.address}",
        comm="srvinit-http",
        keep=(listener.fd,),
    )
