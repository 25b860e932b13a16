"""Publishes the status, and holds what only that needs: cheap, late, and never in the way.

At the end of a turn of the loop, never for each event, and only if something changed. Whether
traffic should come, and the phase, are told at once. The rest waits until publishing has taken a
twentieth of the time at most: a thousand workers that start would else be told of a thousand
times, each time all of them. What waits is due at a known time, and a quiet srvinit has nothing
due.

No fault here stops anything: it is logged once. A status that says that traffic should come, and
cannot be replaced by one that says that it should not, is taken away.
"""

from __future__ import annotations

import errno
import posix
import time

from srvinit import STATUS_FD, STATUS_NAME, __version__
from srvinit.errors import KernelRefused
from srvinit.kernel import descriptors, memfd
from srvinit.lifecycle import snapshot
from srvinit.report.status import Status, settings_view, signals_view

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvinit.lifecycle.pool import Pool
    from srvinit.listening import Listening
    from srvinit.watch import Emit

SHARE = 0.05
# However long one took (the machine was busy, say), the next one is not put off for longer.
LONGEST_PAUSE_S = 0.2
RETRY_S = 1.0
# No later try would fare better: a filter of system calls forbids it, or the kernel has none.
FINAL = {errno.EPERM, errno.EACCES, errno.ENOSYS}


class Publisher:
    """Keeps the status published. `fd` is where; -1: there is no place yet."""

    def __init__(self, fd: int, began_at: float, emit: Emit) -> None:
        self.fd = fd
        self._began_at = began_at
        self._emit = emit
        self._status = Status(posix.getpid(), {"version": __version__})
        self._is_dirty = True
        self._is_off = False
        self._is_told = False  # that there was a fault
        self._not_before = 0.0
        self._is_failing = False
        self._shown: tuple[bool, str] = (False, "")
        self._sums: tuple[int, int] = (0, 0)
        self._options: object = None
        self._settings: dict[str, Any] = {}
        self._signals: dict[str, str | None] = {}

    def hear(self, event: str, fields: dict[str, Any]) -> None:
        """Take in what happened."""
        self._is_dirty |= self._status.hear(event, fields)

    def due(self) -> float | None:
        """Say when `publish` has something to do though nothing happens; None: never."""
        return self._not_before if self._is_dirty and not self._is_off else None

    def publish(self, pool: Pool, listening: Listening, log_lines_dropped: int) -> None:
        """Publish what changed, at once or when it is due."""
        if self._is_off:
            return
        is_ready, _ = snapshot.readiness(pool)
        shown, sums = (is_ready, pool.phase), (pool.recycle_asks, log_lines_dropped)
        self._is_dirty |= bool(pool.changed) or shown != self._shown or sums != self._sums
        now = time.monotonic()
        waits = now < self._not_before and (shown == self._shown or self._is_failing)
        if not self._is_dirty or waits:
            return
        try:
            self._put(self.compose(pool, listening, log_lines_dropped, (now, time.time())))
        except KernelRefused as refused:
            if self._fail(refused, is_ready=is_ready):
                pool.changed = None
            return
        except Exception as error:  # noqa: BLE001  a bug here is no reason to stop serving
            self._give_up(repr(error))
            pool.changed = None
            return
        self._is_dirty = self._is_failing = False
        self._shown, self._sums = shown, sums
        took_s = time.monotonic() - now
        self._not_before = now + took_s + min(took_s / SHARE, LONGEST_PAUSE_S)

    def compose(
        self, pool: Pool, listening: Listening, log_lines_dropped: int, now: tuple[float, float]
    ) -> bytes:
        """Make the document; `now` is the time, monotonic and in unix seconds."""
        head = (*snapshot.readiness(pool), pool.phase)
        facts = self._facts(pool, listening, log_lines_dropped)
        return self._status.document(head, now, facts, self._changed(pool, now))

    def withdraw(self) -> None:
        """Take the status away: what it says is not true any more, and there is no other."""
        if self.fd >= 0:
            descriptors.close_all((self.fd,))
            self.fd = -1

    def _changed(
        self, pool: Pool, now: tuple[float, float]
    ) -> list[tuple[int, dict[str, Any] | None]]:
        """List the workers that are to be told of anew; those that are gone without anything."""
        changed = pool.changed
        if changed is None or not self._status.is_clock_set(*now):
            self._status.forget_workers()
            changed = set(pool.workers.values())
        pool.changed = set()
        return [
            (
                worker.number,
                snapshot.worker_view(pool, worker) if snapshot.is_shown(pool, worker) else None,
            )
            for worker in sorted(changed, key=lambda worker: worker.number)
        ]

    def _facts(self, pool: Pool, listening: Listening, log_lines_dropped: int) -> dict[str, Any]:
        options = pool.options
        if options is not self._options:
            self._options = options
            self._settings, self._signals = settings_view(options), signals_view(options.signal)
        portions = {"recycle.max_surge": pool.surge, "recycle.max_unavailable": pool.unavailable}
        return {
            "began_at": self._began_at,
            "overview": snapshot.overview(pool),
            "shutdown": snapshot.shutdown(pool),
            "recycle": snapshot.recycle(pool),
            "asks": pool.recycle_asks,
            "asked_at": pool.recycle_asked_at or None,
            "log_lines_dropped": log_lines_dropped,
            "sockets": listening.describe(),
            "settings": self._settings | portions,
            "signals": self._signals,
        }

    def _put(self, document: bytes) -> None:
        if self.fd < 0:
            self.fd = descriptors.move_up(descriptors.open_memory(STATUS_NAME), STATUS_FD)
        memfd.replace(self.fd, STATUS_NAME, document)

    def _fail(self, refused: KernelRefused, *, is_ready: bool) -> bool:
        """Say so once, and try again later; True if that cannot help."""
        if refused.number in FINAL:
            self._give_up(str(refused))
            return True
        self._not_before = time.monotonic() + RETRY_S
        self._is_dirty = self._is_failing = True
        if self._shown[0] and not is_ready:
            self.withdraw()
            self._shown = (False, "")
        self._tell(str(refused), "see the last one until it can be replaced")
        return False

    def _give_up(self, error: str) -> None:
        self._is_off = True
        self.withdraw()
        self._tell(error, "have none")

    def _tell(self, error: str, following: str) -> None:
        if not self._is_told:
            self._is_told = True
            self._emit("status.unavailable", {"error": error, "next": following})
