"""One worker's life, as a table.

Rules of the table:
- A row is (state, event) -> (next state, what to do). Each pair of a state and an event stands in
  exactly one of three places: TRANSITIONS; IGNORED, with the reason; or IMPOSSIBLE, which means
  that srvinit has a bug. A test holds that nothing is missing and nothing stands twice.
- What a row does touches this worker alone and returns orders. It asks for no state: that would
  be a hidden row.
- Each state has one deadline at most, `Worker.deadline`, set when the state is entered.

    SPAWNING  asked for; the kernel has not answered yet (it answers before anything else happens)
    STARTING  the process exists and does not fulfil worker.require; the start deadline runs
    READY     fulfils worker.require, and serves; recycle.settle runs
    SETTLED   has been ready for recycle.settle, and counts as ready; restart.reset runs
    PROVEN    has been ready for restart.reset: what crashes beside it is no crash loop
    QUIESCING steered: gets no new connections; its queue empties, then worker.quiesce runs
    STOPPING  got the stop signal, once; the stop deadline runs
    ABORTING  hung: got SIGABRT for its stack dump; shutdown.margin runs
    KILLING   its group got SIGKILL; there is nothing left to wait for but its exit
    GONE      ended: its pid must never be signalled again
"""

from __future__ import annotations

from srvinit.errors import LifecycleError
from srvinit.lifecycle import deeds
from srvinit.lifecycle.events import (
    BecameReady,
    Exited,
    Hung,
    KillNow,
    Overdue,
    Pinged,
    Quiesce,
    Retire,
    SeatEmptied,
    Spawned,
    SpawnFailed,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from srvinit.lifecycle.actions import Action
    from srvinit.lifecycle.events import Event
    from srvinit.options import Options

    Deed = Callable[["Worker", Any, float], list[Action]]

SPAWNING = "spawning"
STARTING = "starting"
READY = "ready"
SETTLED = "settled"
PROVEN = "proven"
QUIESCING = "quiescing"
STOPPING = "stopping"
ABORTING = "aborting"
KILLING = "killing"
GONE = "gone"

STATES = (
    SPAWNING,
    STARTING,
    READY,
    SETTLED,
    PROVEN,
    QUIESCING,
    STOPPING,
    ABORTING,
    KILLING,
    GONE,
)
EVENTS = (
    Spawned,
    SpawnFailed,
    BecameReady,
    Overdue,
    Pinged,
    Hung,
    Quiesce,
    SeatEmptied,
    Retire,
    KillNow,
    Exited,
)
SERVING_STATES = frozenset((READY, SETTLED, PROVEN))
COUNTED_STATES = frozenset((SETTLED, PROVEN))  # "ready", in every promise about how many are


class Worker:
    """One process running the command, from the order to start it to its last trace."""

    __slots__ = (
        "asked_in",  # the state it was in when it was asked to stop; None: its end is its own
        "deadline",
        "generation",
        "hang_by",  # when it counts as hung; None: no watchdog runs
        "is_stale",  # the running recycle wants it replaced
        "number",
        "options",  # those it was started under
        "pid",
        "ready_at",
        "seat",  # which sockets it has, where sockets are steered
        "since",
        "slot",
        "started_at",
        "state",
        "stop_by",  # until when it has to stop, from when it is asked to
        "why",  # what it was started for, then what it was asked to stop for
    )

    def __init__(  # noqa: PLR0913, PLR0917  a worker is born with all it keeps for life
        self,
        number: int,
        place: tuple[int, int],
        generation: int,
        options: Options,
        why: str,
        now: float,
    ) -> None:
        self.number = number
        self.slot, self.seat = place
        self.generation = generation
        self.options = options
        self.why = why
        self.state = SPAWNING
        self.pid = 0
        self.started_at = self.since = now
        self.ready_at: float | None = None
        self.deadline: float | None = None
        self.hang_by: float | None = None
        self.asked_in: str | None = None
        self.is_stale = False
        self.stop_by = now

    def take(self, event: Event, now: float) -> list[Action]:
        """Live through one event. Raises LifecycleError where the table has no room for it."""
        row = TRANSITIONS.get((self.state, type(event)))
        if row is None:
            if (self.state, type(event)) in IGNORED:
                return []
            raise LifecycleError(f"{event!r} came to {self!r}")
        state, deed = row
        if state != self.state:
            self.deadline = None
            if state not in SERVING_STATES:
                self.hang_by = None
        orders = deed(self, event, now)
        if state != self.state:
            self.state = state
            self.since = now
        return orders

    def names(self) -> dict[str, Any]:
        """Say who it is, as the first fields of each of its log lines."""
        return {"slot": self.slot, "generation": self.generation, "pid": self.pid}

    def __repr__(self) -> str:
        return (
            f"<worker {self.number}: slot {self.slot}, generation {self.generation}, "
            f"pid {self.pid}, {self.state}>"
        )


TRANSITIONS: dict[tuple[str, type[Event]], tuple[str, Deed]] = {
    (SPAWNING, Spawned): (STARTING, deeds.begin_start),
    (SPAWNING, SpawnFailed): (GONE, deeds.report_no_process),
    #
    (STARTING, BecameReady): (READY, deeds.begin_settling),
    (STARTING, Overdue): (KILLING, deeds.kill_late_starter),
    (STARTING, Retire): (STOPPING, deeds.dismiss),
    (STARTING, Exited): (GONE, deeds.bury),
    #
    (READY, Overdue): (SETTLED, deeds.begin_proving),
    (READY, Pinged): (READY, deeds.put_off_watchdog),
    (READY, Hung): (ABORTING, deeds.abort),
    (READY, Quiesce): (QUIESCING, deeds.begin_quiescing),
    (READY, Retire): (STOPPING, deeds.ask_to_stop),
    (READY, KillNow): (KILLING, deeds.kill_at_once),
    (READY, Exited): (GONE, deeds.bury),
    #
    (SETTLED, Overdue): (PROVEN, deeds.begin_ageing),
    (SETTLED, Pinged): (SETTLED, deeds.put_off_watchdog),
    (SETTLED, Hung): (ABORTING, deeds.abort),
    (SETTLED, Quiesce): (QUIESCING, deeds.begin_quiescing),
    (SETTLED, Retire): (STOPPING, deeds.ask_to_stop),
    (SETTLED, KillNow): (KILLING, deeds.kill_at_once),
    (SETTLED, Exited): (GONE, deeds.bury),
    #
    (PROVEN, Overdue): (PROVEN, deeds.grow_old),
    (PROVEN, Pinged): (PROVEN, deeds.put_off_watchdog),
    (PROVEN, Hung): (ABORTING, deeds.abort),
    (PROVEN, Quiesce): (QUIESCING, deeds.begin_quiescing),
    (PROVEN, Retire): (STOPPING, deeds.ask_to_stop),
    (PROVEN, KillNow): (KILLING, deeds.kill_at_once),
    (PROVEN, Exited): (GONE, deeds.bury),
    #
    (QUIESCING, SeatEmptied): (QUIESCING, deeds.await_last_reads),
    (QUIESCING, Overdue): (STOPPING, deeds.ask_quiesced),
    (QUIESCING, Retire): (QUIESCING, deeds.hurry_quiescing),
    (QUIESCING, KillNow): (KILLING, deeds.kill_at_once),
    (QUIESCING, Exited): (GONE, deeds.bury),
    #
    (STOPPING, Retire): (STOPPING, deeds.bring_deadline_forward),
    (STOPPING, Overdue): (KILLING, deeds.kill_stubborn),
    (STOPPING, KillNow): (KILLING, deeds.kill_at_once),
    (STOPPING, Exited): (GONE, deeds.bury),
    #
    (ABORTING, Overdue): (KILLING, deeds.kill_hung),
    (ABORTING, KillNow): (KILLING, deeds.kill_at_once),
    (ABORTING, Exited): (GONE, deeds.bury),
    #
    (KILLING, Exited): (GONE, deeds.bury),
}

IGNORED: dict[tuple[str, type[Event]], str] = {
    (STARTING, Pinged): "the watchdog runs from ready",
    (READY, BecameReady): "programs may repeat READY=1",
    (SETTLED, BecameReady): "programs may repeat READY=1, after a reload of their own",
    (PROVEN, BecameReady): "programs may repeat READY=1, after a reload of their own",
    (QUIESCING, BecameReady): "it is on its way out",
    (QUIESCING, Pinged): "no watchdog runs on the way out",
    (STOPPING, SeatEmptied): "the deadline had come first",
    (KILLING, SeatEmptied): "too late",
    (STOPPING, BecameReady): "it was asked to stop before it got there",
    (STOPPING, Pinged): "a deadline runs already",
    (ABORTING, BecameReady): "too late",
    (ABORTING, Pinged): "too late",
    (ABORTING, Retire): "it has got SIGABRT; a deadline runs already",
    (KILLING, BecameReady): "too late",
    (KILLING, Pinged): "too late",
    (KILLING, Retire): "it has got SIGKILL",
    (KILLING, KillNow): "it has got SIGKILL",
}

_ANSWERS = (Spawned, SpawnFailed)
IMPOSSIBLE: frozenset[tuple[str, type[Event]]] = frozenset(
    [(state, answer) for state in STATES if state != SPAWNING for answer in _ANSWERS]
    # the answer to Spawn comes before anything else, and there is no pid to hear of
    + [(SPAWNING, event) for event in EVENTS if event not in _ANSWERS]
    # nobody hears of a pid that is reaped
    + [(GONE, event) for event in EVENTS if event not in _ANSWERS]
    # no watchdog runs outside SERVING_STATES, and no deadline in KILLING
    + [(state, Hung) for state in (STARTING, QUIESCING, STOPPING, ABORTING, KILLING)]
    + [(KILLING, Overdue)]
    # KillNow comes in a shutdown, in which whatever starts is asked to stop at once
    + [(STARTING, KillNow)]
    # only who serves is quiesced, and only then its seat is watched
    + [(state, Quiesce) for state in (STARTING, QUIESCING, STOPPING, ABORTING, KILLING)]
    + [(state, SeatEmptied) for state in (STARTING, READY, SETTLED, PROVEN, ABORTING)]
)
