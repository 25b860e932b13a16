"""Steered sockets, as far as the core is concerned: who sits where, and who is in the rotation.

A seat is a set of sockets that one worker has at a time. It is a number here. A worker's seat is in
the rotation while the worker serves and is not on its way out, so nobody is cut off when it stops.
What a crashed worker leaves in its queue waits for the next worker of its slot.
"""

from __future__ import annotations

from srvinit.lifecycle.actions import CloseSeat, Steer, WatchSeat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.lifecycle.actions import Action
    from srvinit.lifecycle.pool import Pool, Slot
    from srvinit.lifecycle.worker import Worker


def step(pool: Pool, now: float) -> list[Action] | None:
    """Steer the kernel to those who serve now, and let go of seats that nobody will have again."""
    if not pool.is_steered or pool.end.is_closed:
        return None
    orders: list[Action] = []
    if pool.rotation != pool.steered_to:
        pool.steered_to = frozenset(pool.rotation)
        orders.append(Steer(pool.steered_to))
    if pool.unwatched:
        # After Steer: until then somebody may have come, and an empty queue would prove nothing.
        orders += [WatchSeat(worker.pid, worker.seat) for worker in pool.unwatched]
        pool.unwatched.clear()
    if pool.left_seats:
        by = now + pool.options.recycle_timeout
        orders += [CloseSeat(seat, by) for seat in pool.left_seats]
        pool.left_seats.clear()
    return orders or None


def seat_for(pool: Pool, slot: Slot) -> int:
    """Give the slot's next worker a seat: the one that a crashed worker left, or a new one."""
    if slot.seat is not None:
        seat, slot.seat = slot.seat, None
        return seat
    pool.seats += 1
    return pool.seats - 1


def leave_seat(pool: Pool, worker: Worker, slot: Slot, *, is_crash: bool) -> None:
    """Keep a crashed worker's seat for its slot's next worker; let go of any other.

    Where the replacement is there already it has a seat of its own: who waits on the old one is
    lost, as they would be without a replacement.
    """
    is_vacant = slot.holder is None and slot.seat is None
    is_wanted = slot.index < pool.count and not slot.is_complete
    if is_crash and is_vacant and is_wanted:
        slot.seat = worker.seat
    elif pool.is_steered:  # shared sockets have no seats to close
        pool.left_seats.append(worker.seat)


def leave_seat_of(pool: Pool, slot: Slot) -> None:
    """Let go of what was kept for a slot that gets no other worker."""
    if slot.seat is not None and pool.is_steered:
        pool.left_seats.append(slot.seat)
    slot.seat = None
