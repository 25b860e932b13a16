"""Recycling by itself: workers that have grown too old or too large, one slot after the other.

Each is a recycle like any other, of one worker (of all, with bind.mode=swapped): the next begins
when that one's replacement serves and it is gone, whatever recycle.max_surge would allow. SIGHUP
goes first. Imported when the first worker has grown so.
"""

from __future__ import annotations

from srvinit import words
from srvinit.lifecycle import convergence
from srvinit.lifecycle.actions import Log
from srvinit.lifecycle.worker import COUNTED_STATES, PROVEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.lifecycle.actions import Action
    from srvinit.lifecycle.events import TooLarge
    from srvinit.lifecycle.pool import Pool

# A program that needs more than it may have is too large again at once: it would be recycled for
# ever, and serve less than if it were left alone.
SIZE_PAUSE_S = 300.0


def note_large(pool: Pool, event: TooLarge, now: float) -> list[Action]:
    """Have a worker recycled for its size, unless one in its slot has been just now."""
    worker = pool.workers.get(event.pid)
    if worker is None or worker.is_stale or worker.state not in COUNTED_STATES:
        return []  # it is new, or on its way out
    slot, is_told = pool.slots[worker.slot], worker.number in pool.large
    following = ""
    if now >= slot.renew_after:
        pool.large[worker.number] = (event.size, worker)
    else:
        is_told = slot.told_large == worker.number
        slot.told_large = worker.number
        pause = words.duration(slot.renew_after - now)
        following = (
            f"the one before it was recycled for that too, so it stays for {pause}: "
            "does the program need more than worker.max_memory?"
        )
    if is_told:
        return []
    said = {"size": event.size, "limit": event.limit, "next": following}
    return [Log("worker.too_large", worker.names() | said, "warning" if following else "info")]


def begin(pool: Pool, now: float) -> list[Action] | None:
    """Recycle the worker that needs it most: the largest of the too large, else the oldest."""
    large = [found for found in pool.large.values() if found[1].state in COUNTED_STATES]
    if large:
        _, worker = max(large, key=lambda found: found[0])
        del pool.large[worker.number]
        replaced = [pool.slots[worker.slot]] if pool.seats.pair is None else pool.slots
        for slot in replaced:
            slot.renew_after = now + SIZE_PAUSE_S
        return convergence.begin_recycle(pool, "worker.max_memory", now, only=[worker])
    pool.large.clear()
    aged = [worker for worker in pool.aged.values() if worker.state == PROVEN]
    if aged:
        worker = min(aged, key=lambda worker: worker.started_at)
        del pool.aged[worker.number]
        return convergence.begin_recycle(pool, "worker.max_age", now, only=[worker])
    pool.aged.clear()
    return None
