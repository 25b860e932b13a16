"""The rules that move what is there towards what is wanted, one safe step after the other.

`step` applies the first rule that has something to do; the pool calls it until none has. The
order is the decision where two could act. All of them keep within

    live workers of slots below count  <=  count + recycle.max_surge
    ready workers                      >=  count - recycle.max_unavailable, after each `retire`

and a slot without a holder keeps its room: a crash in the middle of a recycle is made good before
the recycle goes on.
"""

from __future__ import annotations

from _heapq import heappop, heappush

from srvinit import words
from srvinit.lifecycle import ending
from srvinit.lifecycle.actions import Log, ReadConfig, ReleaseSockets, TellManager
from srvinit.lifecycle.events import Exited, SpawnFailed
from srvinit.lifecycle.worker import (
    COUNTED_STATES,
    GONE,
    PROVEN,
    READY,
    SETTLED,
    SPAWNING,
    STARTING,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from srvinit.lifecycle.actions import Action
    from srvinit.lifecycle.events import Event
    from srvinit.lifecycle.pool import Pool, Slot
    from srvinit.lifecycle.worker import Worker

# fork(2) failed: the machine is full, and hammering it helps nobody, whatever restart.delay says.
SPAWN_RETRY_S = 1.0


class Recycle:
    """A pass that replaces workers: all that were live when it began, or those that grew old."""

    __slots__ = ("began_at", "failures", "generation", "last_failure", "replaced")

    def __init__(self, generation: int, now: float) -> None:
        self.generation = generation
        self.began_at = now
        self.failures = 0
        self.replaced = 0
        self.last_failure = ""


def step(pool: Pool, now: float) -> list[Action] | None:
    """Take the next step towards what is wanted; None when there is none to take."""
    for rule in RULES:
        orders = rule(pool, now)
        if orders is not None:
            return orders
    return None


# --- the rules, in their order -------------------------------------------------------------------


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
        "kept": kept,
    }
    orders: list[Action] = [Log("recycle.failed", said)]
    for worker in pool.workers.values():
        worker.is_stale = False
    pool.stale_live = 0
    pool.stale.clear()
    pool.recycle = None
    by = now + pool.options.recycle_timeout
    for slot in pool.slots:
        if slot.successor is not None:
            orders += pool.retire(slot.successor, by, "the recycle was given up", now)
    return orders


def fill_vacant_slots(pool: Pool, now: float) -> list[Action] | None:
    """Give each slot without a holder a worker, within max_surge. Before any replacement."""
    orders: list[Action] = []
    room = pool.count + pool.options.surge(pool.count)
    while pool.vacant and pool.live_here < room:
        index = heappop(pool.vacant)
        if index >= pool.count:
            continue  # the slot is no longer wanted; a higher count offers it again
        slot = pool.slots[index]
        if slot.holder is None and not slot.is_complete and slot.refill_at <= now:
            orders += pool.spawn(slot, slot.why, now)
    return orders or None


def retire_surplus(pool: Pool, now: float) -> list[Action] | None:
    """Retire the workers of slots beyond count."""
    orders: list[Action] = []
    by = now + pool.options.recycle_timeout
    for slot in list(pool.surplus.values()):
        for worker in (slot.successor, slot.holder):
            if worker is not None and may_retire(pool, worker):
                orders += pool.retire(worker, by, "fewer workers are wanted", now)
    return orders or None


def retire_replaced(pool: Pool, now: float) -> list[Action] | None:
    """Retire each stale worker whose successor counts as ready."""
    orders: list[Action] = []
    by = now + pool.options.recycle_timeout
    for slot in list(pool.settled.values()):
        old, new = slot.holder, slot.successor
        if old is not None and new is not None and may_retire(pool, old):
            if pool.recycle is not None:
                pool.recycle.replaced += 1
            orders += pool.retire(old, by, f"worker {new.pid} of generation {new.generation} "
                                  "took its place", now)  # fmt: skip
    return orders or None


def start_replacements(pool: Pool, now: float) -> list[Action] | None:
    """Start a successor beside a stale worker while there is room for one more live worker."""
    orders: list[Action] = []
    while pool.stale and pool.live_here - pool.held < pool.options.surge(pool.count):
        slot = _next_stale(pool, now)
        if slot is not None:
            orders += pool.spawn(slot, "recycle", now)
    return orders or None


def retire_ahead(pool: Pool, now: float) -> list[Action] | None:
    """Retire a stale worker before its replacement starts, where max_unavailable allows it.

    Last: starting first costs nobody anything, so it is preferred as long as there is room.
    """
    spare = pool.options.unavailable(pool.count)
    if not spare:
        return None
    orders: list[Action] = []
    by = now + pool.options.recycle_timeout
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
    if pool.recycle is not None:
        return None
    if pool.is_recycle_queued:
        pool.is_recycle_queued = False
        return [ReadConfig()]
    aged = [worker for worker in pool.aged if worker.state == PROVEN]
    pool.aged.clear()
    if aged:
        return begin_recycle(pool, "worker.max_age", now, only=aged)
    return None


RULES = (
    give_up_recycle,
    fill_vacant_slots,
    retire_surplus,
    retire_replaced,
    start_replacements,
    retire_ahead,
    end_recycle,
    begin_next_recycle,
)


# --- what the rules share ------------------------------------------------------------------------


def may_retire(pool: Pool, worker: Worker) -> bool:
    """Tell whether enough ready workers are left without this one."""
    if worker.state == SPAWNING:
        return False  # it has no pid yet; the next event brings it
    if worker.state not in COUNTED_STATES:
        return True
    wanted = pool.count - pool.complete - pool.options.unavailable(pool.count)
    return pool.ready - 1 >= wanted


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
        pool.failures_in_row = 0
        for slot in pool.slots[: pool.count]:
            slot.refill_at = now  # whatever failed, this is a fresh start
            if slot.holder is None:
                pool.refill_now(slot, "recycle")
        only = pool.everyone()
    chosen = [worker for worker in only if worker.asked_in is None]
    for worker in chosen:
        worker.is_stale = True
        heappush(pool.stale, worker.slot)
    pool.stale_live = len(chosen)
    said = {"generation": pool.generation, "workers": len(chosen), "why": why}
    return [Log("recycle.started", said)]


# --- what a worker's new state means for the pool ------------------------------------------------


def moved(pool: Pool, worker: Worker, event: Event, before: str, now: float) -> list[Action]:
    """Draw the pool's conclusions from a worker's new state."""
    if worker.state == STARTING and pool.phase != ending.SERVING:
        return pool.retire(worker, pool.end.kill_by, "srvinit is shutting down", now)
    if worker.state == READY:
        return _greet(pool)
    if worker.state == SETTLED:
        slot = pool.slots[worker.slot]
        if slot.successor is worker:
            pool.settled[slot.index] = slot
    elif worker.state == PROVEN:
        pool.failures_in_row = 0
    elif worker.state == GONE:
        return _part(pool, worker, event, before, now)
    return []


def _greet(pool: Pool) -> list[Action]:
    """Tell the manager once that srvinit is up: when all workers are ready for the first time."""
    pool.has_run = True
    pool.serving += 1
    if pool.was_all_ready or pool.serving < pool.count:
        return []
    pool.was_all_ready = True
    return [Log("srvinit.ready", {"workers": pool.count}), TellManager("READY=1")]


def _part(pool: Pool, worker: Worker, event: Event, before: str, now: float) -> list[Action]:
    """Forget a worker that is gone, and say what comes next in its slot."""
    pool.workers.pop(worker.pid, None)
    pool.live_here -= worker.slot < pool.count
    pool.stale_live -= worker.is_stale
    pool.serving -= worker.ready_at is not None
    slot = pool.slots[worker.slot]
    pool.leave_slot(worker)
    if isinstance(event, SpawnFailed):
        return _retry_spawn(pool, worker, slot, event, now)
    assert isinstance(event, Exited)  # noqa: S101  the table has no other way to GONE
    code = words.exit_code(event.status)
    if not event.exec_status:
        pool.has_run = True
    no_orders: list[Action] = []
    if pool.phase != ending.SERVING or worker.asked_in is not None:
        ending.note_exit(pool, worker, code, before)
        following, orders = "", no_orders
    else:
        following, orders = _follow(pool, worker, slot, event, before, now)
    said = {
        "status": code,
        "reason": event.detail or words.wait_status_reason(event.status),
        "was": before,
        "asked": worker.asked_in is not None,
        "lived_s": round(now - worker.started_at, 3),
        "next": following,
    }
    level = "info" if worker.asked_in is not None or code == 0 else "warning"
    return [Log("worker.exited", worker.names() | said, level), *orders]


def _retry_spawn(
    pool: Pool, worker: Worker, slot: Slot, event: SpawnFailed, now: float
) -> list[Action]:
    """Try again later. No worker has failed, so restart.limit does not count it."""
    retry_s = max(pool.options.restart_delay, SPAWN_RETRY_S)
    pool.refill_later(slot, now + retry_s, worker.why)
    if pool.recycle is not None:
        pool.recycle.failures += 1
        pool.recycle.last_failure = event.error
    said = {
        "slot": worker.slot,
        "generation": worker.generation,
        "error": event.error,
        "retry_s": retry_s,
    }
    return [Log("worker.spawn_failed", said)]


def _follow(  # noqa: PLR0913, PLR0917  what follows depends on all of it
    pool: Pool, worker: Worker, slot: Slot, event: Exited, before: str, now: float
) -> tuple[str, list[Action]]:
    """Decide what follows an exit that nobody asked for: in words, and in orders."""
    options = pool.options
    code = words.exit_code(event.status)
    status = event.exec_status or (code if code >= 0 else 128 - code)
    if event.exec_status and not pool.has_run:
        why = f"the command cannot be executed: {event.detail}"
        return "srvinit exits", ending.end_by_itself(pool, status, why, now)
    if options.restart_policy == "never" or (options.restart_policy == "on-failure" and not status):
        return _complete(pool, slot, status, now)
    if status == 0 and before in COUNTED_STATES:
        # max-requests, say. One that ends before it settled would be started without end.
        pool.refill_now(slot, "clean-exit")
        return "a new one starts at once", []
    return _fail(pool, worker, slot, status, event, now)


def _complete(pool: Pool, slot: Slot, status: int, now: float) -> tuple[str, list[Action]]:
    if slot.holder is None and not slot.is_complete:
        slot.is_complete = True
        pool.complete += slot.index < pool.count
    pool.end.statuses.append(status)
    if pool.complete < pool.count:
        return "restart.policy starts no other", []
    first = next((status for status in pool.end.statuses if status), 0)
    return "srvinit exits", ending.end_by_itself(pool, first, "the command has ended", now)


def _fail(  # noqa: PLR0913, PLR0917  what follows depends on all of it
    pool: Pool, worker: Worker, slot: Slot, status: int, event: Exited, now: float
) -> tuple[str, list[Action]]:
    """Count a failure where it belongs, and start another worker after restart.delay."""
    options = pool.options
    delay = options.restart_delay
    pool.refill_later(slot, now + delay, "crash")
    reason = event.detail or words.wait_status_reason(event.status)
    following = f"a new one starts in {delay:g} s" if delay else "a new one starts at once"
    recycle = pool.recycle
    if recycle is not None and worker.generation == recycle.generation:
        recycle.failures += 1
        recycle.last_failure = f"worker {worker.slot} (pid {worker.pid}): {reason}"
        if recycle.failures >= options.recycle_retries:
            following = "the recycle is given up"
        return following, []
    # While a proven worker serves, what fails beside it is no reason to stop serving.
    pool.failures_in_row = 0 if pool.proven else pool.failures_in_row + 1
    if not options.restart_limit or pool.failures_in_row < options.restart_limit:
        return following, []
    said = {"failures": pool.failures_in_row, "reason": reason, "status": status or 1}
    why = f"{pool.failures_in_row} workers failed in a row"
    end = ending.end_by_itself(pool, status or 1, why, now)
    return "srvinit gives up", [Log("restart.gave_up", said), *end]
