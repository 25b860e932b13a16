"""The rules that move what is there towards what is wanted, one safe step after the other.

`step` applies the first rule that has something to do; the pool calls it until none has. The
order is the decision where two could act. All of them keep within

    live workers   <=  count + recycle.max_surge, after each `spawn` of a replacement; workers of
                       slots beyond count are left out where a slot without a holder is filled
    ready workers  >=  count - recycle.max_unavailable, after each `retire` of one that serves

and a slot without a holder keeps its room: a crash in the middle of a recycle is made good before
the recycle goes on.
"""

from __future__ import annotations

from _heapq import heappop, heappush

from srvinit.lifecycle import ending, steering, swapping
from srvinit.lifecycle.actions import Log, ReadConfig, ReleaseSockets, TellManager
from srvinit.lifecycle.worker import COUNTED_STATES, SERVING_STATES, SPAWNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from srvinit.lifecycle.actions import Action
    from srvinit.lifecycle.pool import Pool, Slot
    from srvinit.lifecycle.worker import Worker


class Recycle:
    """A pass that replaces workers: all that were live when it began, or one that is to go."""

    __slots__ = (
        "began_at",
        "failures",
        "generation",
        "last_failure",
        "last_status",  # its exit code, or minus its signal; None: there was no process
        "replaced",
    )

    def __init__(self, generation: int, now: float) -> None:
        self.generation = generation
        self.began_at = now
        self.failures = 0
        self.replaced = 0
        self.last_failure = ""
        self.last_status: int | None = None


def step(pool: Pool, now: float) -> list[Action] | None:
    """Take the next step towards what is wanted; None when there is none to take."""
    for rule in RULES:
        orders = rule(pool, now)
        if orders is not None:
            return orders
    return None


# --- the rules, in their order -------------------------------------------------------------------


def end_when_complete(pool: Pool, now: float) -> list[Action] | None:
    """End with the command's own status once restart.policy wants no worker in any slot."""
    if pool.complete < pool.count:
        return None
    status = next((status for status in pool.end.statuses if status), 0)
    return ending.end_by_itself(pool, status, "the command has ended", now)


def tell_manager_once(pool: Pool, now: float) -> list[Action] | None:
    """Tell the manager that srvinit is up: all workers are ready, for the first time."""
    if pool.was_all_ready or pool.serving < pool.count - pool.complete:
        return None
    if not all(slot.is_complete or _serves(slot) for slot in pool.slots[: pool.count]):
        return None
    pool.was_all_ready = True
    return [Log("srvinit.ready", {"workers": pool.count}), TellManager("READY=1")]


def give_up_recycle(pool: Pool, now: float) -> list[Action] | None:
    """Keep the old workers where the new ones failed too often. First: no new one more is tried.

    Not while a `Spawn` is unanswered: its worker could not be retired yet.
    """
    recycle = pool.recycle
    if recycle is None or pool.spawning or recycle.failures < pool.options.recycle_retries:
        return None
    kept = sum(
        worker.is_stale and worker.state in COUNTED_STATES for worker in pool.workers.values()
    )
    said = {
        "generation": recycle.generation,
        "failures": recycle.failures,
        "last": recycle.last_failure,
        "status": recycle.last_status,
        "kept": kept,
    }
    orders: list[Action] = [Log("recycle.failed", said)]
    for worker in pool.workers.values():
        worker.is_stale = False
    pool.stale_live = 0
    pool.stale.clear()
    pool.recycle = None
    # New workers do not start: who is too old or too large is told of again if it stays so.
    pool.aged.clear()
    pool.large.clear()
    steering.give_up_relief(pool, now)
    by = now + pool.options.recycle_timeout
    if pool.seats.pair is not None:
        return orders + swapping.give_up(pool, pool.seats.pair, by, now)
    for slot in pool.slots:
        if slot.successor is not None and may_retire(pool, slot.successor):
            orders += pool.retire(slot.successor, by, "the recycle was given up", now)
    return orders


def fill_vacant_slots(pool: Pool, now: float) -> list[Action] | None:
    """Give each slot without a holder a worker, within max_surge. Before any replacement."""
    orders: list[Action] = []
    while pool.vacant and pool.live_here < pool.count + pool.surge:
        index = heappop(pool.vacant)
        if index >= pool.count:
            continue  # the slot is no longer wanted; a higher count offers it again
        slot = pool.slots[index]
        if slot.holder is None and not slot.is_complete and slot.refill_at <= now:
            orders += pool.spawn(slot, slot.why, now)
    return orders or None


def retire_surplus(pool: Pool, now: float) -> list[Action] | None:
    """Retire the workers of slots beyond count."""
    if not pool.surplus:
        return None
    orders: list[Action] = []
    by = now + pool.options.recycle_timeout
    for slot in list(pool.surplus.values()):
        for worker in (slot.successor, slot.holder):
            if worker is not None and may_retire(pool, worker):
                orders += pool.retire(worker, by, "fewer workers are wanted", now)
    return orders or None


def retire_replaced(pool: Pool, now: float) -> list[Action] | None:
    """Retire each stale worker whose successor counts as ready.

    After a recycle that was given up nobody is stale: then the successor goes, when it may.
    Where all share a queue, all are retired at once, and have another first.
    """
    if not pool.settled:
        return None
    pair = pool.seats.pair
    if pair is not None and pair.coming is not None:
        if not swapping.is_complete(pool, pair.coming):
            return None
        swapping.swap(pool, pair)
    orders: list[Action] = []
    by = now + pool.options.recycle_timeout
    for slot in list(pool.settled.values()):
        old, new = slot.holder, slot.successor
        if old is None or new is None or not may_retire(pool, old if old.is_stale else new):
            continue
        if not old.is_stale:
            orders += pool.retire(new, by, "the recycle was given up", now)
        else:
            if pool.recycle is not None:
                pool.recycle.replaced += 1
            why = f"pid {new.pid} of generation {new.generation} took its place"
            orders += pool.retire(old, by, why, now)
    return orders or None


def start_replacements(pool: Pool, now: float) -> list[Action] | None:
    """Start a successor beside a stale worker while there is room for one more live worker."""
    orders: list[Action] = []
    while pool.stale and pool.live - pool.held < pool.surge:
        slot = _next_stale(pool, now)
        if slot is not None:
            orders += pool.spawn(slot, "recycle", now)
    return orders or None


def retire_ahead(pool: Pool, now: float) -> list[Action] | None:
    """Retire a stale worker before its replacement starts, where max_unavailable allows it.

    Last: starting first costs nobody anything, so it is preferred as long as there is room.
    """
    orders: list[Action] = []
    by = now + pool.options.recycle_timeout
    if pool.stale and pool.seats.pair is not None:
        return swapping.retire_stranded(pool, pool.seats.pair, by, now)
    if not pool.unavailable:
        return None
    while pool.stale:
        slot = _next_stale(pool, now)
        if slot is None or slot.holder is None:
            continue
        if not may_retire(pool, slot.holder):
            heappush(pool.stale, slot.index)
            break
        if pool.recycle is not None:
            pool.recycle.replaced += 1
        orders += pool.retire(slot.holder, by, "its replacement needs its room", now)
        pool.refill_now(slot, "recycle")
    return orders or None


def end_recycle(pool: Pool, now: float) -> list[Action] | None:
    """Say that a recycle is over once no old worker lives and all new ones count as ready."""
    recycle = pool.recycle
    if recycle is None or pool.stale_live or pool.ready < pool.count - pool.complete:
        return None
    pool.recycle = None
    said = {
        "generation": recycle.generation,
        "seconds": round(now - recycle.began_at, 3),
        "replaced": recycle.replaced,
    }
    return [Log("recycle.finished", said), ReleaseSockets()]


def begin_next_recycle(pool: Pool, now: float) -> list[Action] | None:
    """Begin the one pass for all the SIGHUPs that came during the last; else renew the old."""
    if pool.recycle is not None or pool.is_reading:
        return None
    if pool.is_recycle_queued:
        pool.is_recycle_queued = False
        pool.is_reading, pool.recycle_why = True, pool.queued_why
        return [ReadConfig()]
    if not pool.aged and not pool.large:
        return None
    from srvinit.lifecycle import renewal

    return renewal.begin(pool, now)


def serve_waited_seats(pool: Pool, now: float) -> list[Action] | None:
    """Replace one worker where somebody waits on a seat that none has: its successor gets that.

    Only where nobody is to be started anyway: whoever is started next gets the seat. And only one
    that has settled: one that starts may have somebody waiting too, and they would change places
    without end.
    """
    if not pool.seats.waited or pool.is_reading:
        return None
    # Where all share a seat, they get this one in the next recycle.
    if steering.vacancies(pool) if pool.seats.pair is None else pool.recycle is not None:
        return None
    alone = [slot.holder for slot in pool.slots[: pool.count] if slot.successor is None]
    holders = [holder for holder in alone if holder is not None]
    if any(holder.is_stale for holder in holders):
        return None
    settled = [holder for holder in holders if holder.state in COUNTED_STATES]
    if not settled:
        return None
    oldest = min(settled, key=lambda holder: holder.number)
    if pool.recycle is None:
        return begin_recycle(pool, "connections wait, and no worker has them", now, only=[oldest])
    oldest.is_stale = True
    pool.stale_live += 1
    heappush(pool.stale, oldest.slot)
    return []


RULES = (
    end_when_complete,
    tell_manager_once,
    give_up_recycle,
    fill_vacant_slots,
    retire_surplus,
    retire_replaced,
    start_replacements,
    retire_ahead,
    end_recycle,
    begin_next_recycle,
    serve_waited_seats,
)


# --- what the rules share ------------------------------------------------------------------------


def may_retire(pool: Pool, worker: Worker) -> bool:
    """Tell whether enough ready workers are left without this one."""
    if worker.state == SPAWNING:
        return False  # it has no pid yet; the next event brings it
    if worker.state not in SERVING_STATES:
        return True
    # One that serves and has not settled counts for nothing yet, but clients would miss it.
    wanted = pool.count - pool.complete - pool.unavailable
    if wanted > 0 and swapping.is_last(pool, worker):
        return False  # others may be ready, but newcomers do not come to them
    return pool.ready - (worker.state in COUNTED_STATES) >= wanted


def _serves(slot: Slot) -> bool:
    return any(
        worker is not None and worker.state in SERVING_STATES
        for worker in (slot.holder, slot.successor)
    )


def _next_stale(pool: Pool, now: float) -> Slot | None:
    """Take a slot off the heap; None if its holder needs no replacement, or not yet."""
    index = heappop(pool.stale)
    if index >= pool.count:
        return None
    slot = pool.slots[index]
    if slot.holder is None or not slot.holder.is_stale or slot.successor is not None:
        return None
    # A replacement that failed is tried again after restart.delay: its timer offers the slot again.
    return slot if slot.refill_at <= now else None


def begin_recycle(
    pool: Pool, why: str, now: float, only: Iterable[Worker] | None = None
) -> list[Action]:
    """Want every worker replaced (or `only` those) by one of the next generation."""
    pool.generation += 1
    pool.recycle = Recycle(pool.generation, now)
    if only is None:
        steering.take_up_relief(pool)
    steering.begin_recycle(pool)
    if only is None:
        pool.failures_in_row = 0
        for slot in pool.slots[: pool.count]:
            slot.refill_at = now  # whatever failed, this is a fresh start
            if slot.holder is None:
                pool.refill_now(slot, "recycle")
    if only is None or pool.seats.pair is not None:
        only = pool.everyone()  # those who share a queue are replaced together
    chosen = [worker for worker in only if worker.asked_in is None]
    for worker in chosen:
        worker.is_stale = True
        heappush(pool.stale, worker.slot)
    pool.stale_live = len(chosen)
    said = {"generation": pool.generation, "workers": len(chosen), "why": why}
    return [Log("recycle.started", said)]
