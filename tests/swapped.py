"""What must hold where all workers share a seat that a recycle swaps: bind.mode=swapped.

The same promises as in `seats`, but for who sits where. Which seat is in the rotation, and which is
to follow it, is known from the orders alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seats import (
    CLOSED_UNUSED,
    IN_ROTATION,
    LOOKED_AFTER,
    QUIESCED_FIRST,
    RELIEVED,
    Seats,
    is_serving,
)

from srvinit.lifecycle import events
from srvinit.lifecycle.ending import SERVING
from srvinit.lifecycle.worker import COUNTED_STATES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oracle import Life

    from srvinit.lifecycle import actions
    from srvinit.lifecycle.events import Event

ONE_QUEUE = "all workers share a seat; in a recycle all new ones share another"
JOINS_WHOLE = (
    "a seat joins the rotation only when its whole group has settled, or when nobody serves at the"
    " other"
)
LEAVES_OTHERS = (
    "who stops where newcomers come leaves somebody there who serves, unless max_unavailable allows"
    " that nobody is ready"
)
PROMISES = (ONE_QUEUE, JOINS_WHOLE, LEAVES_OTHERS)


class SwappedSeats(Seats):
    """The seat that all share, and the one that is to follow it."""

    current = 0
    following: int | None = None
    expected: frozenset[int] = frozenset()  # to be the following one; while nobody sits there
    is_recycling = False  # and the seats are not swapped yet
    replaced: tuple[Life, ...] = ()  # in this step, from `current`

    # --- events and orders ----------------------------------------------------------------------

    def see(self, event: Event) -> None:
        self.replaced = ()
        super().see(event)

    def _see_queue(self, event: Event) -> None:
        if type(event) is events.SeatWaits:
            super()._see_queue(event)

    def see_recycle(self) -> None:
        self.is_recycling = True
        self.expected = frozenset(self.waited or self.given_up)
        if not self.expected:
            self.given = max(self.given, 1)
            self.expected = frozenset((self.given,))
            self.given += 1

    def see_giving_up(self) -> None:
        super().see_giving_up()
        self._forget(self.following)
        self.following, self.is_recycling = None, False

    def see_spawn(self, order: actions.Spawn) -> None:
        seat = order.seat
        if not self.is_recycling:
            self.expected = frozenset((self.current,))
        elif self.following is None:
            self.following = seat
        else:
            self.expected = frozenset((self.following,))
        if seat not in self.expected:
            self._break(ONE_QUEUE, f"{order}, expected {set(self.expected)}")
        self.waited.discard(seat)
        self.given_up.pop(seat, None)
        self.given = max(self.given, seat + 1)
        self.coming[order.number] = (seat, order.slot, self.oracle.pool.options.worker_quiesce)

    def _leave(self, seat: int, *, is_served: bool) -> None:
        if seat in self._taken() or seat in {self.current, self.following}:
            return
        if self.kill_by is not None or is_served:
            self.left.add(seat)
        else:
            self.kept.append(seat)

    def _forget(self, seat: int | None) -> None:
        """See nobody be started at a seat any more."""
        if seat is None or seat in self._taken():
            return
        if self.kill_by is None:
            self.kept.append(seat)
        else:
            self.left.add(seat)

    def _vacancies(self) -> int:
        """Whoever is to come sits with the others: no seat is kept for anybody."""
        return 0

    def see_open(self, order: actions.OpenSeat) -> None:
        self._break(ONE_QUEUE, f"{order}")

    def see_steer(self, order: actions.Steer) -> None:
        super().see_steer(order)
        if self.following is None or self.following not in order.seats:
            return
        old = [life for life in self._at(self.current) if is_serving(life)]
        old += [life for life in self.replaced if life.seat == self.current]
        missing = self._unsettled(self.following)
        if old and missing:
            self._break(JOINS_WHOLE, f"{order} though slots {missing} are not, from {old}")
        before, self.current = self.current, self.following
        self.following, self.is_recycling = None, False
        self._forget(before)

    def _at(self, seat: int) -> Iterator[Life]:
        return (life for life in self.oracle.lives.values() if life.seat == seat)

    def _unsettled(self, seat: int) -> list[int]:
        settled = {life.slot for life in self._at(seat) if life.is_settled and is_serving(life)}
        slots = self.oracle.pool.slots[: self.oracle.pool.count]
        return [slot.index for slot in slots if not slot.is_complete and slot.index not in settled]

    def see_watch(self, order: actions.WatchSeat) -> None:
        """See that somebody's queue is looked at; once the door is shut, all have the same."""
        if self.kill_by is None:
            super().see_watch(order)
            return
        life = self.oracle.lives[order.pid]
        if order.seat != life.seat or not life.is_asked:
            self._break(LOOKED_AFTER, f"{order} of {life}")
        life.is_watched = True

    # --- log lines ------------------------------------------------------------------------------

    def is_spare(self, life: Life) -> bool:
        return life.seat != self.current

    def see_quiescing(self, life: Life, why: str) -> None:
        super().see_quiescing(life, why)
        if "took its place" in why:
            self.replaced += (life,)

    def see_stopping(self, life: Life, timeout_s: float) -> None:
        """See a worker get its stop signal: where newcomers come, another must be there."""
        is_ordinary = life.is_ready and life.quiescing_at is None and self.kill_by is None
        if not is_ordinary:
            super().see_stopping(life, timeout_s)
        elif life.seat == self.current and not any(map(is_serving, self._at(self.current))):
            pool = self.oracle.pool
            if pool.count - pool.complete > pool.options.unavailable(pool.count):
                self._break(LEAVES_OTHERS, f"{life} at {self.current}")
        elif life.seat not in {self.current, self.following}:
            self._break(QUIESCED_FIRST, f"{life} is not at {self.current} or {self.following}")

    # --- after the step -------------------------------------------------------------------------

    def _check_rotation(self) -> None:
        lives = self.oracle.lives.values()
        serving = {life.seat for life in lives if is_serving(life)}
        is_serving_on = self.oracle.pool.phase == SERVING
        rest = {self.current} & self.rotation if is_serving_on else serving
        expected = {self.current} if self.current in serving else rest
        if self.rotation != expected:
            how = f"steered to {set(self.rotation)}, {serving} serve, all are at {self.current}"
            self._break(IN_ROTATION, how)
        if self.following in serving and self.current not in serving:
            self._break(IN_ROTATION, f"{self.following} does not follow {self.current}")
        if self.oracle.pool.phase == SERVING and not self.oracle.generation:
            alone = [life for life in lives if not (life.is_asked or life.is_dying)]
            if any(life.seat != self.current for life in alone):
                self._break(ONE_QUEUE, f"{alone} at {self.current}")
        if self.kept:
            self._break(CLOSED_UNUSED, f"{self.kept} are kept for nobody")

    def _check_relief(self) -> None:
        pool = self.oracle.pool
        if not self.waited or pool.phase != SERVING or pool.is_reading or self.oracle.generation:
            return
        slots = pool.slots[: pool.count]
        holders = [slot.holder for slot in slots if slot.holder and not slot.successor]
        if any(holder.state in COUNTED_STATES for holder in holders):
            self._break(RELIEVED, f"{self.waited} wait, nobody is to come")
