"""Who takes no connections any more, though they wait: a look at each seat's queue, now and then.

The kernel tells nobody that a worker has stopped to accept. It could raise SIGIO for a listening
socket, but for each connection that comes, which would have srvinit run as often as its workers. So
the queues are looked at, once a second and only where `worker.max_queue` is set: about 1 µs a seat.

A queue is stuck if at two looks in a row as many waited as the setting says, or more, and not fewer
at the second than at the first, while another worker's queue was empty. If everybody's queue is
long, all have too much to do, and to leave one of them out would help nobody.
"""

from __future__ import annotations

from srvinit.lifecycle import events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from srvinit.seating import Seating

LOOK_S = 1.0


class Backlogs:
    """What the last look at the queues has shown."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}
        self._told: set[int] = set()  # as stuck, and not yet as drained

    def look(self, seating: Seating, limit: int) -> Iterator[events.Event]:
        """Tell, at each look, whose queue is stuck, and once that it has drained."""
        lengths = seating.queue_lengths()
        for seat in sorted(self._told):
            if not lengths.get(seat):
                self._told.discard(seat)
                yield events.QueueDrained(seat)
        last, self._last = self._last, lengths
        steered = {seat: lengths[seat] for seat in seating.steered_to if seat in lengths}
        if len(steered) > 1 and all(steered.values()):
            return
        for seat, length in steered.items():
            if limit <= last.get(seat, 0) <= length:
                self._told.add(seat)
                yield events.QueueStuck(seat, length)
