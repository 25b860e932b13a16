"""Looks how large the workers are, where worker.max_memory is set: a wake-up every five seconds.

A worker that is too large for a moment (a large request, a garbage collector about to run) is none
of our business: it has to be so in several looks in a row.
"""

from __future__ import annotations

import time

from srvinit.kernel import footprint
from srvinit.lifecycle import events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

LOOK_S = 5.0
IN_A_ROW = 3
# A walk reads a file for each process in sight: where there are thousands, walk less often.
MOST_SHARE = 0.02


class Sizes:
    """Tells by TooLarge who has more than `limit` bytes; again after as many looks, if it stays."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.due = time.monotonic() + LOOK_S
        self.known: dict[int, int] = {}  # the last look's, in bytes, by the group's leader
        self._above: dict[int, int] = {}  # looks in a row in which it was too large, by pid

    def look(self, pids: Collection[int]) -> Iterator[events.Event]:
        """Look at these workers, each the leader of a group, if it is time. Raises OSError."""
        began = time.monotonic()
        if began < self.due:
            return
        self.due = began + LOOK_S  # whatever comes of this one
        self.known = footprint.group_sizes()
        took_s = time.monotonic() - began
        self.due = began + max(LOOK_S, took_s / MOST_SHARE)
        self._above = {
            pid: self._above.get(pid, 0) + 1 for pid in pids if self.known.get(pid, 0) > self.limit
        }
        due = [pid for pid, looks in self._above.items() if looks % IN_A_ROW == 0]
        for pid in sorted(due, key=self.known.__getitem__, reverse=True):  # the largest goes first
            yield events.TooLarge(pid, self.known[pid], self.limit)
