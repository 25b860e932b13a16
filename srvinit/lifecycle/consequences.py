"""What a worker's new state means for the pool; above all, what follows its end.

Here alone an exit is judged: asked for, complete (restart.policy), clean (max-requests, say), or a
failure, which belongs to the recycle that brought the worker, or else to the row of restart.limit.
"""

from __future__ import annotations

from srvinit import words
from srvinit.lifecycle import ending, steering
from srvinit.lifecycle.actions import Log
from srvinit.lifecycle.events import SpawnFailed
from srvinit.lifecycle.worker import (
    GONE,
    KILLING,
    PROVEN,
    QUIESCING,
    READY,
    SERVING_STATES,
    SETTLED,
    STARTING,
)
from srvinit.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.lifecycle.actions import Action
    from srvinit.lifecycle.events import Event, Exited
    from srvinit.lifecycle.pool import Pool, Slot
    from srvinit.lifecycle.worker import Worker

# fork(2) failed: the machine is full, and hammering it helps nobody, whatever restart.delay says.
SPAWN_RETRY_S = 1.0
# However short recycle.settle is: a command that ends at once is a mistake, even if it ends with 0,
# and would be started without end.
SHORTEST_STAY_S = 0.1


class Parting(Record):
    """A worker's end: how it came, and what place the worker leaves empty."""

    worker: Worker
    event: Exited
    before: str  # the state it ended in
    slot: Slot
    was_in_slot: bool  # else its place was given away before
    was_successor: bool

    def has_stayed(self, now: float) -> bool:
        """Tell whether it had been ready long enough to be no failure to start."""
        ready_at, settle = self.worker.ready_at, self.worker.options.recycle_settle
        return ready_at is not None and now - ready_at >= max(settle, SHORTEST_STAY_S)

    def reason(self) -> str:
        """Say in words how it ended."""
        return self.event.detail or words.wait_status_reason(self.event.status)

    def status(self) -> int:
        """Say how it ended as a shell would: 0 to 255."""
        code = words.exit_code(self.event.status)
        return self.event.exec_status or (code if code >= 0 else 128 - code)


def moved(pool: Pool, worker: Worker, event: Event, before: str, now: float) -> list[Action]:
    """Draw the pool's conclusions from a worker's new state."""
    if worker.state == STARTING and pool.phase != ending.SERVING:
        return pool.retire(worker, pool.end.kill_by, ending.SHUTTING_DOWN, now)
    if worker.state == READY:
        pool.has_run = True
    elif worker.state == SETTLED:
        steering.take_up_relief(pool)
        slot = pool.slots[worker.slot]
        if slot.successor is worker:
            pool.settled[slot.index] = slot
    elif worker.state == PROVEN:
        pool.failures_in_row = 0
    elif worker.state == QUIESCING:
        pool.seats.unwatched.append(worker)
    elif worker.state == KILLING and pool.phase != ending.SERVING:
        pool.end.was_forced |= worker.asked_in not in {None, STARTING}
    elif worker.state == GONE:
        return _part(pool, worker, event, before, now)
    return []


def _part(pool: Pool, worker: Worker, event: Event, before: str, now: float) -> list[Action]:
    """Forget a worker that is gone, and say what comes next in its slot."""
    pool.workers.pop(worker.pid, None)
    pool.aged.pop(worker.number, None)
    pool.large.pop(worker.number, None)
    pool.live_here -= worker.slot < pool.count
    pool.stale_live -= worker.is_stale
    slot = pool.slots[worker.slot]
    was_in_slot = worker is slot.holder or worker is slot.successor
    was_successor = worker is slot.successor
    pool.leave_slot(worker)
    # Whoever waits on a quiescing worker is no better off when it dies before its stop signal; and
    # one that took nobody, or was asked to stop while it started, has served nobody who waits.
    is_unserved = worker.asked_in in {None, STARTING} or before == QUIESCING
    is_unserved |= worker.seat in pool.seats.stuck
    steering.leave_seat(pool, worker, is_handed_on=is_unserved and pool.phase == ending.SERVING)
    if isinstance(event, SpawnFailed):
        return _retry_spawn(pool, worker, slot, event, now)
    ended: Exited = event  # type: ignore[assignment]  # the table has no other way to GONE
    parting = Parting(worker, ended, before, slot, was_in_slot, was_successor)
    if not ended.exec_status:
        pool.has_run = True
    following = ""
    orders: list[Action] = []
    if pool.phase != ending.SERVING:
        pool.end.statuses.append(parting.status())
    elif worker.asked_in is None:
        following, orders = _follow(pool, parting, now)
    code = words.exit_code(ended.status)
    said = {
        "status": code,
        "reason": parting.reason(),
        "was": before,
        "asked": worker.asked_in is not None,
        "oom": ended.is_oom,
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
        pool.recycle.last_failure, pool.recycle.last_status = event.error, None
    said = {
        "slot": worker.slot,
        "generation": worker.generation,
        "error": event.error,
        "retry_s": retry_s,
    }
    return [Log("worker.spawn_failed", said)]


def _follow(pool: Pool, parting: Parting, now: float) -> tuple[str, list[Action]]:
    """Decide what follows an exit that nobody asked for: in words, and in orders."""
    status, slot, policy = parting.status(), parting.slot, pool.options.restart_policy
    if parting.event.exec_status and not pool.has_run:
        why = f"the command cannot be executed: {parting.event.detail}"
        return "srvinit exits", ending.end_by_itself(pool, status, why, now)
    if not parting.was_in_slot or slot.index >= pool.count:
        return "no other is wanted in its place", []
    # A replacement that ends by itself has failed, whatever the policy: it was to take over.
    ends_well = policy == "never" or (policy == "on-failure" and not status)
    if ends_well and not parting.was_successor:
        return _complete(pool, slot, status), []
    if not status and parting.before in SERVING_STATES and parting.has_stayed(now):
        pool.refill_now(slot, "clean-exit")
        return "a new one starts at once", []
    return _fail(pool, parting, now)


def _complete(pool: Pool, slot: Slot, status: int) -> str:
    """Want no other worker here. The rules end srvinit once that is so everywhere."""
    pool.end.statuses.append(status)
    if slot.holder is not None:
        return "its replacement is there already"
    pool.complete += not slot.is_complete
    slot.is_complete = True
    return "srvinit exits" if pool.complete >= pool.count else "restart.policy starts no other"


def _fail(pool: Pool, parting: Parting, now: float) -> tuple[str, list[Action]]:
    """Count a failure where it belongs, and start another worker after restart.delay."""
    options, worker, delay = pool.options, parting.worker, pool.options.restart_delay
    pool.refill_later(parting.slot, now + delay, "crash")
    following = f"a new one starts in {words.duration(delay)}" if delay else "a new one starts"
    if parting.slot.holder is not None and not parting.was_successor:
        following = "its replacement is there already"
    recycle = pool.recycle
    if recycle is not None and worker.generation == recycle.generation:
        recycle.failures += 1
        recycle.last_failure = f"worker {worker.slot} (pid {worker.pid}): {parting.reason()}"
        recycle.last_status = words.exit_code(parting.event.status)
        if recycle.failures >= options.recycle_retries:
            following = "the recycle is given up"
        return following, []
    # While a proven worker serves, what fails beside it is no reason to stop serving.
    pool.failures_in_row = 0 if pool.proven else pool.failures_in_row + 1
    if not options.restart_limit or pool.failures_in_row < options.restart_limit:
        return following, []
    status, count = parting.status() or 1, pool.failures_in_row
    said = {"failures": count, "reason": parting.reason(), "status": status}
    end = ending.end_by_itself(pool, status, f"{count} workers failed in a row", now)
    return "srvinit gives up", [Log("restart.gave_up", said), *end]
