"""One queue for all workers, recycled as a whole: bind.mode=swapped.

All workers share a seat, `current`, and new connections go there: one queue, as with shared
sockets. A recycle opens another, `coming`. Whoever is started meanwhile sits there, beside the old
ones, and gets nobody yet. When each slot has a worker there that counts as ready the two are
swapped, and all the old ones quiesce: out of the rotation, with a queue that they empty together.

So no worker has to stop while newcomers may still come to it, but where only some of those who
share a queue are to go: scaling down is what it is with shared sockets.

Where nobody serves at `current` and somebody does at `coming`, they are swapped at once.
"""

from __future__ import annotations

from srvinit.lifecycle.worker import COUNTED_STATES, SERVING_STATES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.lifecycle.actions import Action
    from srvinit.lifecycle.pool import Pool
    from srvinit.lifecycle.worker import Worker


class Pair:
    """The seat that all share and the one that is to follow it, by number."""

    __slots__ = ("coming", "current", "is_waited_on", "members")

    def __init__(self, current: int) -> None:
        self.current = current
        self.coming: int | None = None  # from a recycle's beginning until its swap
        self.is_waited_on = False  # the coming one: somebody waits, and nobody has sat down yet
        self.members: dict[int, int] = {}  # live workers by seat, SPAWNING to KILLING


def sit_down(pair: Pair) -> int:
    """Give the next worker its seat."""
    seat = pair.current if pair.coming is None else pair.coming
    pair.is_waited_on = False
    pair.members[seat] = pair.members.get(seat, 0) + 1
    return seat


def is_given_up(pair: Pair, seat: int) -> bool:
    """See a worker leave its seat; tell whether it was the last one there, and nobody follows."""
    pair.members[seat] -= 1
    if pair.members[seat]:
        return False
    del pair.members[seat]
    return seat not in {pair.current, pair.coming}


def rotation(pool: Pool, pair: Pair) -> frozenset[int]:
    """Say where newcomers are to go. While nobody serves they wait for those who are to come."""
    serving = pool.seats.serving
    if pair.current not in serving and pair.coming in serving:
        swap(pool, pair)
    if pair.current in serving:
        return frozenset((pair.current,))
    if pool.end.has_begun:
        return frozenset(serving)  # old ones: nobody else comes
    return frozenset((pair.current,)) if pool.seats.steered_to else frozenset()


def is_cut_off(pool: Pool, pair: Pair, worker: Worker) -> bool:
    """Tell whether newcomers have come to a worker that is to stop, and come no more.

    Then its queue empties. They never came to one at `coming`. From the last one at `current` they
    are kept if there is anybody at `coming`.
    """
    serving = pool.seats.serving
    is_last = worker.seat == pair.current and serving[pair.current] == 1
    if is_last and pair.coming in serving:
        swap(pool, pair)
    return pool.end.has_begun or worker.seat not in {pair.current, pair.coming}


def is_last(pool: Pool, worker: Worker) -> bool:
    """Tell whether a worker is the only one that newcomers come to, and nobody is to follow."""
    pair, serving = pool.seats.pair, pool.seats.serving
    if pair is None or worker.seat != pair.current:
        return False
    return serving[pair.current] == 1 and pair.coming not in serving


def is_complete(pool: Pool, coming: int) -> bool:
    """Tell whether each slot has a worker at `coming` that counts as ready.

    From the last slot on: those that were started last settle last, and one is enough to say no.
    """
    if pool.seats.serving.get(coming, 0) < pool.count - pool.complete:
        return False
    for slot in reversed(pool.slots[: pool.count]):
        newest = slot.successor or slot.holder
        if newest is None:
            if not slot.is_complete:
                return False
        elif newest.seat != coming or newest.state not in COUNTED_STATES:
            return False
    return True


def swap(pool: Pool, pair: Pair) -> None:
    """Have newcomers go to `coming` from now on."""
    assert pair.coming is not None  # noqa: S101  a recycle is on
    old, pair.current, pair.coming = pair.current, pair.coming, None
    if old not in pair.members:  # all have crashed: somebody may wait there
        (pool.seats.left if pool.end.has_begun else pool.seats.kept).append(old)


def retire_stranded(pool: Pool, pair: Pair, by: float, now: float) -> list[Action] | None:
    """Retire old ones that nobody comes to any more, for there is no room to start others first.

    Those who share the queue of newcomers go together. But one that began so late that all others
    of its group had crashed is left at a queue that was swapped away.
    """
    orders: list[Action] = []
    for slot in pool.slots[: pool.count]:
        old = slot.holder
        if old is None or not old.is_stale or old.seat in {pair.current, pair.coming}:
            continue
        if slot.successor is None and old.state in SERVING_STATES:
            if pool.recycle is not None:
                pool.recycle.replaced += 1
            orders += pool.retire(old, by, "its replacement needs its room", now)
            pool.refill_now(slot, "recycle")
    return orders or None


def give_up(pool: Pool, pair: Pair, by: float, now: float) -> list[Action]:
    """Retire whoever is not at `current`: of two groups one stays, or each would get half.

    Newcomers never came to them, so they may go however few are ready. Some took the slot of one
    that crashed: another follows there.
    """
    coming, pair.coming = pair.coming, None
    if coming is not None and coming not in pair.members:
        pool.seats.kept.append(coming)
    orders: list[Action] = []
    for worker in list(pool.workers.values()):
        if worker.seat == pair.current or worker.asked_in is not None:
            continue
        orders += pool.retire(worker, by, "the recycle was given up", now)
        slot = pool.slots[worker.slot]
        if slot.holder is None:
            pool.refill_now(slot, "recycle")
    return orders
