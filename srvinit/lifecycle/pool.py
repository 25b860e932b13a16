"""What is wanted against what is there: N slots, each holding one ready worker of the newest kind.

`Pool.handle` takes one event, then applies the rules of `convergence` until none has anything to
do. Start, crash, recycle, scaling and ageing differ only in what they change of what is wanted.
What each event from outside does is in `reactions`, the phases of the end are in `ending`. Nothing
here knows a clock: `now` is monotonic seconds.

Costs: an event touches its worker and its slot. Nothing walks all slots but what concerns them
all (a recycle's start, a new count), so a thousand workers cost a thousand times what one costs.
"""

from __future__ import annotations

from _heapq import heapify, heappop, heappush

from srvinit.errors import LifecycleError
from srvinit.lifecycle import convergence, ending, reactions, steering
from srvinit.lifecycle.actions import Log, Spawn
from srvinit.lifecycle.events import (
    Hung,
    KillNow,
    Overdue,
    Pinged,
    Quiesce,
    Retire,
    Spawned,
    SpawnFailed,
    Tick,
)
from srvinit.lifecycle.worker import COUNTED_STATES, PROVEN, QUIESCING, SERVING_STATES, Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from srvinit.lifecycle.actions import Action
    from srvinit.lifecycle.events import Event
    from srvinit.options import Options

# A Tick this much later than the deadline it stands for means that srvinit itself was suspended
# (SIGSTOP, a frozen cgroup): its workers were too, and sent no WATCHDOG=1 either.
SUSPENDED_S = 1.0
# Each rule moves a worker on; far more steps than workers are a loop without end.
STEPS_PER_WORKER = 16
# Timers that were set anew stay in the heap until they surface, and with them workers that are gone
# and their settings (two kB each); past this many the heap is swept.
TIMERS_KEPT = 16


class Slot:
    """A worker's place, 0 to count - 1. It outlives the worker."""

    __slots__ = (
        "holder",
        "index",
        "is_complete",
        "refill_at",
        "renew_after",
        "successor",
        "told_large",
        "why",
    )

    def __init__(self, index: int) -> None:
        self.index = index
        self.holder: Worker | None = None
        self.successor: Worker | None = None  # the replacement under way; never without a holder
        self.refill_at = 0.0  # no new worker here before
        self.renew_after = 0.0  # none here is recycled for its size before
        self.told_large = -1  # the worker, by number, of which it was last said that it stays so
        self.is_complete = False  # restart.policy wants no other worker here
        self.why = "start"  # what the next worker here is started for


class Pool:
    """The whole state of srvinit's promises. `count` is worker.count, worked out."""

    def __init__(self, options: Options, count: int) -> None:
        self.configured_count = count
        self.want(options, count)
        self.phase = ending.SERVING
        self.generation = 1
        self.inherits_sockets = False
        self.is_steered = False
        self.seats = steering.Seats()
        self.quiescing = 0  # QUIESCING workers
        self.slots: list[Slot] = []
        self.workers: dict[int, Worker] = {}  # every unreaped one, by pid
        self.spawning: dict[int, Worker] = {}  # asked for, by number
        self.started = 0  # workers ever asked for: the next one's number

        # How many, kept as things happen. They are sums over the slots, not states; a test
        # holds them against a recount.
        self.live_here = 0  # live workers of slots below count, SPAWNING to KILLING
        self.held = 0  # slots below count that have a holder
        self.ready = 0  # SETTLED or PROVEN workers
        self.proven = 0  # PROVEN workers
        self.serving = 0  # READY, SETTLED or PROVEN workers
        self.complete = 0  # slots below count that are complete

        self.vacant: list[int] = []  # a heap of slots that may be filled; checked when taken
        self.stale: list[int] = []  # a heap of slots whose holder is stale; checked when taken
        self.settled: dict[int, Slot] = {}  # slots whose successor counts as ready
        self.surplus: dict[int, Slot] = {}  # slots beyond count that still hold a worker
        self.stale_live = 0  # stale workers not reaped yet

        self.recycle: convergence.Recycle | None = None
        self.is_recycle_queued = False  # SIGHUP came during a recycle: one more pass after it
        self.recycle_why = self.queued_why = ""  # what asked for this one, and for the next
        self.is_reading = False  # ReadConfig is not answered: the recycle it is for begins then
        self.recycle_asks = 0  # signals that asked for a recycle, those that changed nothing too
        self.recycle_asked_at = 0.0  # when the last of them was taken in
        self.changed: set[Worker] | None = None  # since somebody looked; None: nobody looks
        self.aged: dict[int, Worker] = {}  # grown old, by number; they wait for their recycle
        self.large: dict[int, tuple[int, Worker]] = {}  # too large, with their sizes, by number
        self.failures_in_row = 0
        self.has_run = False  # some worker got past its exec
        self.was_all_ready = False
        self.end = ending.End()

        self._timers: list[tuple[float, int, str, Any]] = []
        self._timers_set = 0
        self._timers_kept = TIMERS_KEPT

    # --- the two doors ---------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take one event in and say what is to be done, in this order.

        Raises LifecycleError on an event that cannot be: the caller has a bug, or the core has.
        """
        if self.phase == ending.DONE:
            return []
        orders = self._take(event, now)
        if type(event) is Pinged:
            return orders  # the commonest event of all moves nothing
        bound = STEPS_PER_WORKER * (len(self.workers) + len(self.slots) + self.count + 4)
        for _ in range(bound):
            step = steering.step(self, now)
            if step is None and self.phase == ending.SERVING:
                step = convergence.step(self, now)
            if step is None:
                step = ending.step(self, now)
            if step is None and type(event) is Tick and self._is_due(now):
                step = self._fire(now)  # what was set just now is due at once: recycle.timeout 0
            if step is None:
                return orders
            orders += step
        raise LifecycleError(f"the rules come to no end after {event!r}")

    def next_deadline(self) -> float | None:
        """Say when `Tick` is due, or None if nothing but an event can change anything."""
        while self._timers and not self._is_live(self._timers[0]):
            heappop(self._timers)
        dues = (self.end.deadline(self.phase), self.seats.deadline())
        by = min((due for due in dues if due is not None), default=None)
        if self._timers and (by is None or self._timers[0][0] < by):
            return self._timers[0][0]
        return by

    # --- taking events in ------------------------------------------------------------------------

    def _take(self, event: Event, now: float) -> list[Action]:
        kind = type(event)
        if kind is Spawned or kind is SpawnFailed:
            worker = self.spawning.pop(event.number)  # type: ignore[attr-defined]
            if kind is Spawned:
                self.workers[event.pid] = worker  # type: ignore[attr-defined]
            return self.tell(worker, event, now)
        if kind is Tick:
            return self._notice_suspension(now) + self._fire(now)
        if kind in reactions.EVENTS:
            return reactions.react(self, event, now)
        living = self.workers.get(event.pid)  # type: ignore[attr-defined]
        if living is None:
            raise LifecycleError(f"{event!r} names no worker")
        return self.tell(living, event, now)

    def tell(self, worker: Worker, event: Event, now: float) -> list[Action]:
        """Hand an event to a worker and keep the sums that its next state changes."""
        before, deadline, hang_by = worker.state, worker.deadline, worker.hang_by
        orders = worker.take(event, now)
        after = worker.state
        self.ready += (after in COUNTED_STATES) - (before in COUNTED_STATES)
        self.proven += (after == PROVEN) - (before == PROVEN)
        serves = (after in SERVING_STATES) - (before in SERVING_STATES)
        if serves:
            self.serving += serves
            self.seats.count(worker.seat, serves)
        self.quiescing += (after == QUIESCING) - (before == QUIESCING)
        if worker.deadline != deadline:
            self._set_timer(worker, worker.deadline, "state")
        if hang_by is None:  # else its timer runs, and is set on when it surfaces
            self._set_timer(worker, worker.hang_by, "watchdog")
        if after != before:
            if self.changed is not None:
                self.changed.add(worker)
            from srvinit.lifecycle import consequences  # none before the first worker's fork

            orders += consequences.moved(self, worker, event, before, now)
        elif after == PROVEN and type(event) is Overdue:
            self.aged[worker.number] = worker
        return orders

    def _fire(self, now: float) -> list[Action]:
        """Hand `Overdue` and `Hung` to those whose deadline has come."""
        orders: list[Action] = []
        while self._timers and self._timers[0][0] <= now:
            timer = heappop(self._timers)
            if not self._is_live(timer):
                continue
            _, _, kind, whose = timer
            if kind == "refill":
                heappush(self.vacant, whose.index)
                heappush(self.stale, whose.index)
            elif kind == "state":
                whose.deadline = None  # the next may be the same instant, and needs its own timer
                orders += self.tell(whose, Overdue(), now)
            elif whose.hang_by > now:
                self._set_timer(whose, whose.hang_by, kind)
            else:
                whose.hang_by = None
                orders += self.tell(whose, Hung(), now)
        return orders

    def _notice_suspension(self, now: float) -> list[Action]:
        due = self.next_deadline()
        if due is None or now - due <= SUSPENDED_S:
            return []
        watched = [worker for worker in self.workers.values() if worker.hang_by is not None]
        for worker in watched:
            worker.hang_by = now + worker.options.worker_watchdog
        return [Log("srvinit.suspended", {"late_s": round(now - due, 3)})] if watched else []

    # --- timers ----------------------------------------------------------------------------------

    def _set_timer(self, whose: Worker | Slot, by: float | None, kind: str) -> None:
        if by is None:
            return
        self._timers_set += 1
        heappush(self._timers, (by, self._timers_set, kind, whose))
        if len(self._timers) > self._timers_kept:
            # worker.max_age of those that crashed long ago, say: each would stay for days.
            # And one that was set twice for the same instant: by SIGHUP after SIGHUP, say.
            live = filter(self._is_live, self._timers)
            self._timers = list({(it[0], it[2], it[3]): it for it in live}.values())
            heapify(self._timers)
            self._timers_kept = TIMERS_KEPT + 2 * len(self._timers)

    def _is_due(self, now: float) -> bool:
        by = self.next_deadline()
        return by is not None and by <= now

    def refill_later(self, slot: Slot, by: float, why: str) -> None:
        """Let no new worker into the slot before `by`."""
        slot.refill_at = by
        slot.why = why
        self._set_timer(slot, by, "refill")

    def refill_now(self, slot: Slot, why: str) -> None:
        """Let the next worker into the slot as soon as there is room."""
        slot.why = why
        heappush(self.vacant, slot.index)
        heappush(self.stale, slot.index)

    @staticmethod
    def _is_live(timer: tuple[float, int, str, Any]) -> bool:
        """Tell a timer from one that was set again or called off: those stay until they surface."""
        by, _, kind, whose = timer
        if kind == "refill":
            return bool(whose.refill_at == by)
        return whose.hang_by is not None if kind == "watchdog" else bool(whose.deadline == by)

    # --- orders that several rules give ----------------------------------------------------------

    def spawn(self, slot: Slot, why: str, now: float) -> list[Action]:
        """Start a worker in this slot: its holder, or the successor of its holder."""
        seat = steering.seat_for(self)
        place = (slot.index, seat)
        worker = Worker(self.started, place, self.generation, self.options, why, now)
        self.started += 1
        self.live_here += 1
        if slot.holder is None:
            slot.holder = worker
            self.held += 1
        else:
            slot.successor = worker
        self.spawning[worker.number] = worker
        return [Spawn(worker.number, slot.index, worker.generation, seat)]

    def retire(self, worker: Worker, by: float, why: str, now: float) -> list[Action]:
        """Ask a worker to stop; its slot is free of it from here on, though it lives on."""
        if worker.asked_in is None:
            self.leave_slot(worker)
        if worker.state in SERVING_STATES and steering.is_cut_off(self, worker):
            return self.tell(worker, Quiesce(by, why), now)
        return self.tell(worker, Retire(by, why), now)

    def leave_slot(self, worker: Worker) -> None:
        """Take the worker out of its slot; a successor that stands there becomes the holder."""
        slot = self.slots[worker.slot]
        if slot.successor is worker:
            slot.successor = None
            self.settled.pop(slot.index, None)
        elif slot.holder is worker:
            slot.holder, slot.successor = slot.successor, None
            self.settled.pop(slot.index, None)
            if slot.holder is None:
                self.held -= slot.index < self.count
                self.surplus.pop(slot.index, None)
            elif slot.holder.is_stale:
                heappush(self.stale, slot.index)

    def kill_all(self, why: str, now: float) -> list[Action]:
        """Send SIGKILL to every worker's group."""
        orders: list[Action] = []
        for worker in list(self.workers.values()):
            self.leave_slot(worker)
            orders += self.tell(worker, KillNow(why), now)
        return orders

    def want(self, options: Options, count: int) -> None:
        """Take up settings and a count, and what they mean together."""
        self.options = options
        self.count = count
        self.surge = options.surge(count)
        self.unavailable = options.unavailable(count)

    def resize(self, count: int, now: float, why: str) -> None:
        """Want `count` workers from now on: walk the slots, and let the rules do the rest."""
        wanted_before = min(self.count, len(self.slots))  # none before Begin
        self.want(self.options, count)
        while len(self.slots) < count:
            self.slots.append(Slot(len(self.slots)))
        for slot in self.slots[count:]:
            if slot.holder is not None:
                self.surplus[slot.index] = slot
        here = self.slots[:count]
        for slot in here[wanted_before:]:
            self.surplus.pop(slot.index, None)
            slot.is_complete = False
            if slot.holder is not None:
                heappush(self.stale, slot.index)  # it may have been passed over as unwanted
            elif slot.refill_at <= now:
                self.refill_now(slot, why)
        self.held = sum(slot.holder is not None for slot in here)
        self.complete = sum(slot.is_complete for slot in here)
        self.live_here = sum(worker.slot < count for worker in self.everyone())

    @property
    def live(self) -> int:
        """Count all live workers, those that are asked for included."""
        return len(self.workers) + len(self.spawning)

    def everyone(self) -> Iterable[Worker]:
        """Walk all live workers, those that are asked for included."""
        yield from self.workers.values()
        yield from self.spawning.values()
