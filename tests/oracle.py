"""What must hold whatever happens: DESIGN section 4's promises, checked after every step.

Those about steered sockets are in `seats`, and what is other where all share one in `swapped`.

The oracle keeps books of its own out of the events and orders that pass by, and never asks the pool
what it could count itself; the sums that the pool keeps are held against a recount.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seats import PROMISES as SEAT_PROMISES
from seats import Seats
from swapped import PROMISES as SWAP_PROMISES
from swapped import SwappedSeats

from srvinit.lifecycle import actions, events
from srvinit.lifecycle.ending import DONE, SERVING
from srvinit.lifecycle.worker import COUNTED_STATES, PROVEN, SERVING_STATES

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulated import World

    from srvinit.lifecycle.actions import Action
    from srvinit.lifecycle.events import Event

READY_FLOOR = "a recycle never takes ready workers below count - max_unavailable"
LIVE_CEILING = "a recycle never takes live workers above count + max_surge"
GIVES_UP = "a recycle whose new workers fail recycle.retries times is given up: old workers stay"
ONE_MORE_RECYCLE = "any number of SIGHUPs during a recycle causes exactly one further pass"
ONE_REPLACEMENT = "a slot has at most one replacement under way"
UNREAPED_ONLY = "a pid is signalled only while it is unreaped"
ONE_STOP_SIGNAL = "each stop signal is sent once to a worker"
NO_SPAWN = "once shutting down, nothing is spawned"
DONE_IN_TIME = "the pool is DONE by its deadline whatever the workers do"
LOGGED_ONCE = "every worker ever spawned is logged once as started and once as exited"
READY_ONCE = "the manager is told READY=1 once, when all workers are ready"
HONEST_STATUS = "the exit status is 124 only if something that had served had to be killed"
NO_BUSY_LOOP = "after a Tick nothing is due before time passes"
SUMS = "the pool's sums are what a recount finds"
BOUNDED = "what the pool remembers is bounded by what it has"
PROMISES = (
    READY_FLOOR,
    LIVE_CEILING,
    GIVES_UP,
    ONE_MORE_RECYCLE,
    ONE_REPLACEMENT,
    UNREAPED_ONLY,
    ONE_STOP_SIGNAL,
    NO_SPAWN,
    DONE_IN_TIME,
    LOGGED_ONCE,
    READY_ONCE,
    HONEST_STATUS,
    NO_BUSY_LOOP,
    SUMS,
    BOUNDED,
    *SEAT_PROMISES,
    *SWAP_PROMISES,
)


class Life:
    """What the oracle knows of one worker."""

    __slots__ = (
        "at_latest",  # half of its time: when its stop signal is due, if it is quiescing
        "emptied_at",
        "generation",
        "is_asked",  # to go: it is quiescing, or has its stop signal
        "is_dying",
        "is_ready",
        "is_settled",
        "is_signalled",
        "is_watched",  # its queue is looked at
        "quiesce_s",
        "quiescing_at",
        "seat",
        "slot",
        "stop_by",
    )

    def __init__(self, slot: int, generation: int) -> None:
        self.slot = slot
        self.generation = generation
        self.is_ready = self.is_settled = self.is_asked = self.is_dying = False
        self.is_signalled = self.is_watched = False
        self.seat = -1
        self.quiesce_s = self.at_latest = 0.0
        self.quiescing_at: float | None = None
        self.emptied_at: float | None = None
        self.stop_by: float | None = None

    def __repr__(self) -> str:
        return str({name: getattr(self, name) for name in self.__slots__})


class Oracle:
    """Watches a world. `broken` holds what was promised and did not hold, by promise."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.pool = world.pool
        self.broken: dict[str, list[str]] = {}
        self.asked_for: dict[int, tuple[int, int]] = {}  # slot and generation, by number
        self.lives: dict[int, Life] = {}  # unreaped workers, by pid
        self.unlogged: set[int] = set()  # spawned, and not yet logged as exited
        self.is_hup_open = False  # a SIGHUP whose recycle has not begun
        self.failures = 0  # of new workers, in this recycle
        self.generation = 0  # of this recycle; 0: none
        self.done_by: float | None = None
        self.kill_by = 0.0
        self.was_forced = False
        self.lives_ended = 0
        is_swapped = world.is_steered and world.options.bind_mode == "swapped"
        self.seats = seats = SwappedSeats(self) if is_swapped else Seats(self)
        self._orders: dict[type[Action], Callable[[Any], None]] = {
            actions.Spawn: self._see_spawn,
            actions.Signal: self._see_signal,
            actions.KillGroup: self._see_kill,
            actions.Reap: self._see_reap,
            actions.Log: self._see_log,
            actions.ReadConfig: self._see_read,
            actions.OpenSeat: seats.see_open,
            actions.Steer: seats.see_steer,
            actions.WatchSeat: seats.see_watch,
            actions.CloseSeat: seats.see_close,
            actions.ShutDoor: seats.see_door,
            actions.CloseSockets: seats.see_end_of_sockets,
            actions.Sweep: self._see_sweep,
            actions.TellManager: self._see_telling,
            actions.Exit: self._see_exit,
        }
        self._logs: dict[str, Callable[[dict[str, Any]], None]] = {
            "worker.started": self._see_start,
            "worker.ready": self._see_ready,
            "worker.settled": self._see_settled,
            "worker.quiescing": self._see_quiescing,
            "worker.stopping": self._see_stopping,
            "worker.hung": self._see_dying,
            "worker.killed": self._see_dying,
            "worker.exited": self._see_end,
            "worker.spawn_failed": self._see_no_spawn,
            "recycle.started": self._see_recycle,
            "recycle.failed": self._see_giving_up,
            "recycle.finished": self._see_recycle_end,
            "recycle.abandoned": self._see_recycle_end,
            "shutdown.started": self._see_shutdown,
            "shutdown.hurried": self._see_hurry,
        }
        world.witness = self.see

    def see(self, event: Event, orders: list[Action]) -> None:
        """Take in one step and check all promises."""
        if type(event) is events.SignalArrived and event.name == "HUP" and not event.hangup:
            self.is_hup_open |= self.done_by is None
        if type(event) is events.PathsChanged:
            self.is_hup_open |= self.done_by is None
        if type(event) is events.Spawned:
            slot, generation = self.asked_for.pop(event.number)
            self.lives[event.pid] = Life(slot, generation)
        elif type(event) is events.SpawnFailed:
            self.asked_for.pop(event.number)
        self.seats.see(event)
        for order in orders:
            see = self._orders.get(type(order))
            if see is not None:
                see(order)
        self._check_after(event)
        if type(event) is not events.Pinged:
            self._recount()
            self.seats.check_after(event)

    def break_promise(self, promise: str, how: str) -> None:
        self.broken.setdefault(promise, []).append(f"at {self.world.now}: {how}")

    # --- orders -------------------------------------------------------------------------------

    def _see_spawn(self, order: actions.Spawn) -> None:
        pool = self.pool
        if self.done_by is not None:
            self.break_promise(NO_SPAWN, f"{order}")
        slots = [life.slot for life in self.lives.values()]
        slots += [slot for slot, _ in self.asked_for.values()]
        beside = [life for life in self.lives.values() if life.slot == order.slot]
        current = sum(not (life.is_asked or life.is_dying) for life in beside)
        current += sum(slot == order.slot for slot, _ in self.asked_for.values())
        if current > 1:
            self.break_promise(ONE_REPLACEMENT, f"{order} beside {current}")
        if not current:  # the slot is empty: those beyond count are no reason to leave it so
            slots = [slot for slot in slots if slot < pool.count]
        ceiling = pool.count + pool.options.surge(pool.count)
        if len(slots) + 1 > ceiling:
            self.break_promise(LIVE_CEILING, f"{order} makes {len(slots) + 1} live of {ceiling}")
        self.asked_for[order.number] = (order.slot, order.generation)
        self.seats.see_spawn(order)

    def _see_signal(self, order: actions.Signal) -> None:
        if order.pid not in self.lives:
            self.break_promise(UNREAPED_ONLY, f"{order}")
        elif order.name == "TERM" and self.world.process(order.pid).signals.count("TERM") > 1:
            self.break_promise(ONE_STOP_SIGNAL, f"{order}")

    def _see_kill(self, order: actions.KillGroup) -> None:
        life = self.lives.get(order.pid)
        if life is None:
            self.break_promise(UNREAPED_ONLY, f"{order}")

    def _see_reap(self, order: actions.Reap) -> None:
        life = self.lives.pop(order.pid, None)
        if life is None:
            self.break_promise(UNREAPED_ONLY, f"{order}")
        else:
            self.seats.see_reap(life)
        self.lives_ended += 1

    def _see_read(self, _order: actions.ReadConfig) -> None:
        if not self.is_hup_open or self.generation:
            self.break_promise(ONE_MORE_RECYCLE, "a pass that nobody asked for")
        self.is_hup_open = False

    def _see_sweep(self, order: actions.Sweep) -> None:
        self.was_forced |= order.name == "KILL"

    def _see_telling(self, order: actions.TellManager) -> None:
        if order.text != "READY=1":
            return
        ready = {life.slot for life in self.lives.values() if life.is_ready and not life.is_asked}
        slots = self.pool.slots[: self.pool.count]
        missing = [slot.index for slot in slots if not slot.is_complete and slot.index not in ready]
        if missing or self.world.told.count("READY=1") > 1:
            self.break_promise(READY_ONCE, f"said again, or without slots {missing}")

    def _see_exit(self, order: actions.Exit) -> None:
        stuck = set(self.lives)
        if self.unlogged != stuck:
            self.break_promise(LOGGED_ONCE, f"unlogged {self.unlogged}, stuck {stuck}")
        if order.status == 124 and not (self.was_forced or stuck):
            self.break_promise(HONEST_STATUS, "124, and nothing was killed")
        asked_to = self.pool.end.own_status is None and self.pool.options.restart_policy != "never"
        if asked_to and order.status != (124 if self.was_forced or stuck else 0):
            self.break_promise(
                HONEST_STATUS, f"{order} after being asked to, forced {self.was_forced}"
            )

    # --- log lines ----------------------------------------------------------------------------

    def _see_log(self, order: actions.Log) -> None:
        see = self._logs.get(order.event)
        if see is not None:
            see(order.fields)

    def _see_start(self, said: dict[str, Any]) -> None:
        if said["pid"] in self.unlogged or said["pid"] not in self.lives:
            self.break_promise(LOGGED_ONCE, f"started again: {said}")
        self.unlogged.add(said["pid"])

    def _see_ready(self, said: dict[str, Any]) -> None:
        self.lives[said["pid"]].is_ready = True

    def _see_settled(self, said: dict[str, Any]) -> None:
        self.lives[said["pid"]].is_settled = True
        self.seats.see_success()

    def _see_dying(self, said: dict[str, Any]) -> None:
        life = self.lives[said["pid"]]
        life.is_dying = True
        if self.done_by is not None and life.is_ready:
            self.was_forced |= life.is_asked or said.get("why") in KILLING_ALL

    def _see_quiescing(self, said: dict[str, Any]) -> None:
        life = self.lives[said["pid"]]
        if life.is_asked:
            self.break_promise(ONE_STOP_SIGNAL, f"{said}")
        self._see_retired(life, said)
        self.seats.see_quiescing(life, said["why"])

    def _see_stopping(self, said: dict[str, Any]) -> None:
        life = self.lives[said["pid"]]
        if life.is_signalled:
            self.break_promise(ONE_STOP_SIGNAL, f"{said}")
        if not life.is_asked:
            self._see_retired(life, said)
        self.seats.see_stopping(life, said["timeout_s"])
        life.is_signalled = True

    def _see_retired(self, life: Life, said: dict[str, Any]) -> None:
        """See who serves no newcomers from here on."""
        pool = self.pool
        life.is_asked = True
        if self.done_by is not None or not life.is_ready or self.seats.is_spare(life):
            return
        left = sum(
            one.is_settled and not one.is_asked and not one.is_dying for one in self.lives.values()
        )
        complete = sum(slot.is_complete for slot in pool.slots[: pool.count])
        floor = pool.count - complete - pool.options.unavailable(pool.count)
        if left < floor:
            self.break_promise(READY_FLOOR, f"{said} leaves {left} of {floor}")

    def _see_end(self, said: dict[str, Any]) -> None:
        pid = said["pid"]
        if pid not in self.unlogged:
            self.break_promise(LOGGED_ONCE, f"exited again: {said}")
        self.unlogged.discard(pid)
        after_failures = ("a new one starts in", "the recycle is given")
        is_failure = said["next"].startswith(after_failures) or said["next"] == "a new one starts"
        if said["next"] == "its replacement is there already":  # it was to serve who waits
            policy = self.pool.options.restart_policy
            is_failure = not (policy == "never" or (policy == "on-failure" and not said["status"]))
        if self.generation and said["generation"] == self.generation:
            self.failures += is_failure

    def _see_no_spawn(self, _said: dict[str, Any]) -> None:
        self.failures += 1

    def _see_recycle(self, said: dict[str, Any]) -> None:
        if self.generation:
            self.break_promise(ONE_MORE_RECYCLE, "a recycle inside a recycle")
        self.generation = said["generation"]
        self.failures = 0
        self.seats.see_recycle()
        if said["why"] in {"SIGHUP", "recycle.watch"}:
            self.seats.see_success()

    def _see_giving_up(self, said: dict[str, Any]) -> None:
        if (
            said["failures"] != self.failures
            or said["failures"] < self.pool.options.recycle_retries
        ):
            self.break_promise(GIVES_UP, f"{said} after {self.failures}")
        self.seats.see_giving_up()
        self.generation = 0

    def _see_recycle_end(self, _said: dict[str, Any]) -> None:
        self.generation = 0

    def _see_shutdown(self, said: dict[str, Any]) -> None:
        if self.done_by is not None:
            self.break_promise(DONE_IN_TIME, "a second shutdown")
        budget = said["delay_s"] + said["timeout_s"] + said["margin_s"]
        self.done_by = self.world.now + budget
        self.kill_by = self.done_by - said["margin_s"]
        self.seats.see_shutdown(self.kill_by)

    def _see_hurry(self, said: dict[str, Any]) -> None:
        assert self.done_by is not None
        self.done_by -= said["saved_s"] - 0.001  # it is rounded
        self.kill_by -= said["saved_s"]
        self.seats.see_shutdown(self.kill_by)

    # --- after the step -----------------------------------------------------------------------

    def _check_after(self, event: Event) -> None:
        pool, now = self.pool, self.world.now
        if self.asked_for or type(event) is events.Pinged:
            return  # the answers come before anything else, and a ping moves nothing
        if self.done_by is not None and now > self.done_by + 1e-6 and pool.phase != DONE:
            self.break_promise(DONE_IN_TIME, f"{pool.phase} after {self.done_by}")
        if type(event) is events.Tick:
            due = pool.next_deadline()
            if due is not None and due <= now:
                self.break_promise(NO_BUSY_LOOP, f"{due} is due")
        if pool.phase != SERVING:
            return
        if self.generation and self.failures >= pool.options.recycle_retries:
            self.break_promise(GIVES_UP, f"goes on after {self.failures}")
        if self.is_hup_open and not self.generation and not pool.is_reading:
            self.break_promise(ONE_MORE_RECYCLE, "a SIGHUP without a pass")

    def _recount(self) -> None:
        pool = self.pool
        if pool.phase == DONE:
            return
        here = pool.slots[: pool.count]
        live_here = held = stale = ready = proven = serving = complete = 0
        for worker in pool.everyone():
            live_here += worker.slot < pool.count
            stale += worker.is_stale
            serving += worker.state in SERVING_STATES
            ready += worker.state in COUNTED_STATES
            proven += worker.state == PROVEN
        for slot in here:
            held += slot.holder is not None
            complete += slot.is_complete
        found = (live_here, held, ready, proven, serving, complete, stale)
        kept = (
            pool.live_here,
            pool.held,
            pool.ready,
            pool.proven,
            pool.serving,
            pool.complete,
            pool.stale_live,
        )
        if found != kept:
            self.break_promise(SUMS, f"kept {kept}, found {found}")
        if pool.workers.keys() != self.lives.keys():
            self.break_promise(SUMS, f"workers {list(pool.workers)} of {list(self.lives)}")
        self._check_bounds(pool.live + len(pool.slots))

    def _check_bounds(self, size: int) -> None:
        pool = self.pool
        sizes = [
            len(pool._timers),
            len(pool.vacant),
            len(pool.stale),
            len(pool.aged),
            len(pool.large),
        ]
        sizes += [len(pool.seats.serving), len(pool.seats.unwatched), len(pool.seats.left)]
        sizes += [len(pool.seats.kept), len(pool.seats.waited), len(pool.seats.stuck)]
        sizes += [len(pool.seats.given_up)]
        if max(sizes) > 200 + 8 * size:
            self.break_promise(BOUNDED, f"{sizes} for {size}")


KILLING_ALL = frozenset({"somebody pressed Ctrl-C again", "the time for the shutdown is over"})
