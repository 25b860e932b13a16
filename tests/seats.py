"""What must hold where sockets are steered: DESIGN section 7a's promises, after every step.

Books of seats beside the oracle's books of workers. Who is ready and who is asked to stop the
oracle knows from the log; who sits where, and where the kernel steers to, is written down here.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from srvinit.lifecycle import actions, events
from srvinit.lifecycle.ending import DONE, DRAINING, SERVING, STOPPING
from srvinit.lifecycle.worker import COUNTED_STATES

if TYPE_CHECKING:
    from oracle import Life, Oracle

    from srvinit.lifecycle.events import Event

QUIESCED_FIRST = (
    "a worker gets its stop signal only after its queue was seen empty and worker.quiesce has"
    " passed, or its time forces it"
)
LESS_TIME = "a worker that is quiescing may get less time, never more"
LOOKED_AFTER = "each queue that is to empty is looked at, once the rotation avoids it"
IN_ROTATION = (
    "every ready, unretired worker is in the rotation and nobody else, but one that takes nobody,"
    " while there is another"
)
NEVER_EMPTY = "the rotation is never empty while anyone is ready and not retired"
WHERE_SOMEBODY_READS = (
    "with nobody ready, newcomers wait on the seats of those who are to be, never of those who go"
)
ONE_AT_A_TIME = (
    "a seat is held by one live worker at a time, and never used again but after a crash"
)
HANDED_ON = (
    "a crashed worker's seat goes to the next worker that is started, if a slot is vacant or"
    " somebody waits there, and is avoided until then"
)
TOLD_IN_TIME = (
    "who waits on a seat that no worker has is told once recycle.timeout has passed since a recycle"
    " was given up, and not before"
)
RELIEVED = "where somebody waits on a seat that no worker has, a worker is to be started"
CLOSED_UNUSED = "a seat is closed once no living or coming worker has it, and then always"
SOCKETS_LAST = "the sockets are closed only after no worker is quiescing, and at once then"
DOOR = "the door is shut when the workers are asked to stop, and not before"
UNSTEERED = "shared sockets have no seats, nobody to steer, and no door"
PROMISES = (
    QUIESCED_FIRST,
    LESS_TIME,
    LOOKED_AFTER,
    IN_ROTATION,
    NEVER_EMPTY,
    WHERE_SOMEBODY_READS,
    ONE_AT_A_TIME,
    HANDED_ON,
    TOLD_IN_TIME,
    RELIEVED,
    CLOSED_UNUSED,
    SOCKETS_LAST,
    DOOR,
    UNSTEERED,
)

ROUNDED_S = 1e-3  # what the log says of time is rounded


class Seats:
    """Who sits where, who sat there, and where new connections go."""

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self.world = oracle.world
        self.coming: dict[int, tuple[int, int, float]] = {}  # seat, slot, quiesce of Spawns
        self.kept: list[int] = []  # seats that crashed workers left
        self.waited: set[int] = set()  # those of them that somebody is known to wait on
        self.given_up: dict[int, float] = {}  # such that nobody is started for; until when
        self.offered: set[int] = set()  # those to be closed, unless somebody waits
        self.left: set[int] = set()  # seats to be closed, whoever waits
        self.stuck: set[int] = set()  # those whose worker takes nobody
        self.is_hopeless = False  # a recycle was given up: nobody else is tried for who waits
        self.given = 0  # seats ever given
        self.rotation: frozenset[int] = frozenset()
        self.kill_by: float | None = None  # of the shutdown
        self.is_closed = False

    def _break(self, promise: str, how: str) -> None:
        self.oracle.break_promise(promise, how)

    # --- events ---------------------------------------------------------------------------------

    def see(self, event: Event) -> None:
        """Take in what has happened, before the orders that it led to."""
        lives = self.oracle.lives
        if not self.world.is_steered:
            return
        if type(event) is events.Spawned:
            life = lives[event.pid]
            life.seat, _, life.quiesce_s = self.coming.pop(event.number)
        elif type(event) is events.SpawnFailed:
            seat, _, _ = self.coming.pop(event.number)
            self._leave(seat, is_served=False)
        elif type(event) is events.SeatEmptied:
            lives[event.pid].emptied_at = self.world.now
        else:
            self._see_queue(event)

    def _see_queue(self, event: Event) -> None:
        pool, lives = self.oracle.pool, self.oracle.lives.values()
        if type(event) is events.QueueStuck and pool.phase in {SERVING, DRAINING}:
            self.stuck |= {event.seat} & {life.seat for life in lives if is_serving(life)}
        elif type(event) is events.QueueDrained and pool.phase in {SERVING, DRAINING}:
            self.stuck.discard(event.seat)
        elif type(event) is events.SeatWaits:
            self.offered.remove(event.seat)
            if self.kill_by is not None:
                pass  # it is closed with all others
            elif pool.options.restart_policy == "never":
                self.left.add(event.seat)
            elif self.is_hopeless:
                self.given_up[event.seat] = self.world.now + pool.options.recycle_timeout
            else:
                self.waited.add(event.seat)

    # --- orders ---------------------------------------------------------------------------------

    def see_spawn(self, order: actions.Spawn) -> None:
        """See who is to sit where."""
        seat, slot = order.seat, order.slot
        if not self.world.is_steered:
            return
        if self.waited or self.given_up or self.kept:
            if seat not in (self.waited or self.given_up or self.kept):
                self._break(HANDED_ON, f"{order} leaves who waits behind")
            self.waited.discard(seat)
            self.given_up.pop(seat, None)
            self.kept = [kept for kept in self.kept if kept != seat]
        elif seat < self.given:
            self._break(ONE_AT_A_TIME, f"{order} after {self.given} seats")
        self.given = max(self.given, seat + 1)
        if seat in self._taken():
            self._break(ONE_AT_A_TIME, f"{order} is taken")
        quiesce_s = self.oracle.pool.options.worker_quiesce
        self.coming[order.number] = (seat, slot, quiesce_s)
        if seat in self.rotation and any(map(is_serving, self.oracle.lives.values())):
            self._break(HANDED_ON, f"{order} is in the rotation")

    def see_reap(self, life: Life) -> None:
        """See a worker leave its seat."""
        self._leave(life.seat, is_served=life.is_signalled and life.is_ready)

    def _taken(self) -> list[int]:
        lives = [life.seat for life in self.oracle.lives.values()]
        return lives + [seat for seat, _, _ in self.coming.values()]

    def _leave(self, seat: int, *, is_served: bool) -> None:
        if not self.world.is_steered:
            return
        is_stuck = seat in self.stuck
        self.stuck.discard(seat)
        if self.kill_by is not None or (is_served and not is_stuck):
            self.left.add(seat)
        else:
            self.kept.append(seat)

    def _vacancies(self) -> int:
        pool = self.oracle.pool
        slots = pool.slots[: pool.count]
        return sum(slot.holder is None and not slot.is_complete for slot in slots)

    def see_open(self, order: actions.OpenSeat) -> None:
        """See a seat opened for newcomers before its worker is there."""
        self._check_is_steered(order)
        if order.seat < self.given or self.kept or self.waited or self.given_up:
            self._break(ONE_AT_A_TIME, f"{order} after {self.given} seats")
        self.given = max(self.given, order.seat + 1)
        self.kept.append(order.seat)

    def see_giving_up(self) -> None:
        """See a recycle given up: those who wait are told, later."""
        by = self.world.now + self.oracle.pool.options.recycle_timeout
        self.given_up |= dict.fromkeys(self.waited, by)
        self.waited.clear()
        self.is_hopeless = True

    def see_success(self) -> None:
        """See a new worker stay, or somebody ask for another try."""
        self.waited |= self.given_up.keys()
        self.given_up.clear()
        self.is_hopeless = False

    def see_steer(self, order: actions.Steer) -> None:
        """See where new connections go from here on."""
        self._check_is_steered(order)
        self.rotation = order.seats
        if not order.seats and any(map(is_serving, self.oracle.lives.values())):
            self._break(NEVER_EMPTY, f"{order}")

    def see_watch(self, order: actions.WatchSeat) -> None:
        """See that somebody's queue is looked at."""
        self._check_is_steered(order)
        life = self.oracle.lives[order.pid]
        if order.seat != life.seat or order.seat in self.rotation or not life.is_asked:
            self._break(LOOKED_AFTER, f"{order} while steered to {set(self.rotation)}")
        life.is_watched = True

    def see_close(self, order: actions.CloseSeat) -> None:
        """See a seat closed that nobody has, whoever waits there only where nobody is to come."""
        self._check_is_steered(order)
        if order.seat in self._taken() or order.seat in self.rotation:
            self._break(CLOSED_UNUSED, f"{order} is taken")
        if order.seat in self.given_up:
            if order.by is None or not self.given_up.pop(order.seat) <= order.by <= self.world.now:
                self._break(TOLD_IN_TIME, f"{order}")
        elif order.by is not None:
            if order.seat not in self.left:
                self._break(HANDED_ON, f"{order}, kept {self.kept}, waited {self.waited}")
            self.left.discard(order.seat)
        elif order.seat in self.kept:
            self.offered.add(order.seat)
            if self.world.waits_on(order.seat) is None:
                self.offered.discard(order.seat)
        else:
            self._break(CLOSED_UNUSED, f"{order}, kept {self.kept}")
        self.kept = [kept for kept in self.kept if kept != order.seat]

    def see_door(self, order: actions.ShutDoor) -> None:
        """See that nobody new is let in."""
        self._check_is_steered(order)
        if self.kill_by is None:
            self._break(DOOR, f"{order} while it serves")

    def see_end_of_sockets(self, order: actions.CloseSockets) -> None:
        """See all of them closed."""
        self.is_closed = True
        if any(is_quiescing(life) for life in self.oracle.lives.values()):
            self._break(SOCKETS_LAST, f"{order}")

    def _check_is_steered(self, order: actions.Action) -> None:
        if not self.world.is_steered:
            self._break(UNSTEERED, f"{order}")

    # --- log lines ------------------------------------------------------------------------------

    def see_recycle(self) -> None:
        """See a recycle begin."""

    def is_spare(self, _life: Life) -> bool:
        """Tell whether a worker that counts as ready is nobody that newcomers come to."""
        return False

    def see_quiescing(self, life: Life, _why: str) -> None:
        """See a worker that shall get no new connections."""
        now = self.world.now
        if not self.world.is_steered:
            self._break(UNSTEERED, f"pid {life} is quiescing")
        life.quiescing_at = now
        life.stop_by = self.kill_by
        if life.stop_by is None:
            life.stop_by = now + self.oracle.pool.options.recycle_timeout
        life.at_latest = (now + life.stop_by) / 2

    def see_stopping(self, life: Life, timeout_s: float) -> None:
        """See a worker get its stop signal: whoever has served must have quiesced."""
        now, began_at = self.world.now + ROUNDED_S, life.quiescing_at
        if not (self.world.is_steered and life.is_ready):
            return
        if began_at is None:
            self._break(QUIESCED_FIRST, f"{life} never was quiescing")
            return
        stop_by = life.stop_by or 0.0
        if timeout_s > max(0.0, stop_by - self.world.now) + ROUNDED_S:
            self._break(LESS_TIME, f"{life} has {timeout_s} s")
        if now >= (began_at + stop_by) / 2:
            pass
        elif life.emptied_at is None:
            self._break(QUIESCED_FIRST, f"{life} was not seen empty")
        elif now < life.emptied_at + life.quiesce_s:
            self._break(QUIESCED_FIRST, f"{life} was seen empty at {life.emptied_at}")

    def see_shutdown(self, kill_by: float) -> None:
        """See a shutdown begin: who quiesces already has less time from here on."""
        self.kill_by = kill_by
        self.left |= {*self.kept, *self.waited, *self.given_up}
        self.kept.clear()
        self.waited.clear()
        self.given_up.clear()
        for life in filter(is_quiescing, self.oracle.lives.values()):
            life.stop_by = min(life.stop_by or kill_by, kill_by)
            life.at_latest = min(life.at_latest, (self.world.now + life.stop_by) / 2)

    # --- after the step -------------------------------------------------------------------------

    def check_after(self, event: Event) -> None:
        """Check what holds between two steps."""
        pool = self.oracle.pool
        seats = [*pool.seats.left, *pool.seats.kept, *pool.seats.waited, *pool.seats.given_up]
        if not self.world.is_steered and (seats or pool.seats.is_relief_off):
            self._break(UNSTEERED, f"kept {seats}")
        if not self.world.is_steered or pool.phase == DONE or self.coming:
            return  # the answers come before anything else
        if self.left and not self.is_closed:
            self._break(CLOSED_UNUSED, f"{self.left} stay open")
        if (
            type(event) is events.Tick
            and min(self.given_up.values(), default=inf) <= self.world.now
        ):
            self._break(TOLD_IN_TIME, f"{self.given_up} stay open")
        if len(self.kept) > self._vacancies() and not self.is_closed:
            self._break(CLOSED_UNUSED, f"{self.kept} for {self._vacancies()} vacant slots")
        self._check_rotation()
        self._check_relief()
        self._check_quiescing(event)
        if pool.phase == STOPPING:
            self._check_stopping()

    def _check_rotation(self) -> None:
        lives = self.oracle.lives.values()
        serving = {life.seat for life in lives if is_serving(life)}
        if not self.oracle.pool.options.worker_max_queue:
            self.stuck.clear()
        if serving:
            if self.rotation != (serving - self.stuck or serving):
                how = f"steered to {set(self.rotation)}, {serving} serve, {self.stuck} are stuck"
                self._break(IN_ROTATION, how)
        elif self.oracle.pool.phase == SERVING:
            staying = {life.seat for life in lives if not life.is_asked}
            if not self.rotation <= staying | {*self.kept, *self.waited, *self.given_up}:
                self._break(WHERE_SOMEBODY_READS, f"steered to {set(self.rotation)}")
        elif self.rotation & {life.seat for life in lives if life.is_asked}:
            self._break(IN_ROTATION, f"steered to {set(self.rotation)}, nobody serves")

    def _check_relief(self) -> None:
        pool = self.oracle.pool
        if not self.waited or pool.phase != SERVING or pool.is_reading or self._vacancies():
            return
        slots = [slot for slot in pool.slots[: pool.count] if slot.holder is not None]
        alone = [slot.holder for slot in slots if slot.successor is None]
        settled = any(holder.state in COUNTED_STATES for holder in alone)
        if settled and not any(holder.is_stale for holder in alone):
            self._break(RELIEVED, f"{self.waited} wait, nobody is to come")

    def _check_quiescing(self, event: Event) -> None:
        for life in filter(is_quiescing, self.oracle.lives.values()):
            if not life.is_watched:
                self._break(LOOKED_AFTER, f"{life} is not looked at")
            # A late Tick comes late.
            if type(event) is events.Tick and self.world.now > life.at_latest + ROUNDED_S:
                self._break(QUIESCED_FIRST, f"{life} quiesces for longer than it may")

    def _check_stopping(self) -> None:
        if not self.world.is_door_shut:
            self._break(DOOR, "open while they stop")
        is_needed = self.oracle.pool.end.last is not None
        is_needed |= any(map(is_quiescing, self.oracle.lives.values()))
        if not (is_needed or self.is_closed):
            self._break(SOCKETS_LAST, "open, and nobody needs them")


def is_serving(life: Life) -> bool:
    """Tell whether new connections are to go there."""
    return life.is_ready and not (life.is_asked or life.is_dying)


def is_quiescing(life: Life) -> bool:
    """Tell whether it waits for its stop signal."""
    return life.quiescing_at is not None and not (life.is_signalled or life.is_dying)
