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
    STOPPING  got the stop signal, once; the stop deadline runs
    ABORTING  hung: got SIGABRT for its stack dump; shutdown.margin runs
    KILLING   its group got SIGKILL; there is nothing left to wait for but its exit
    GONE      ended: its pid must never be signalled again
"""

from __future__ import annotations

from srvinit.errors import LifecycleError
from srvinit.lifecycle.actions import KillGroup, Log, Reap, RestoreBacklog, Signal
from srvinit.lifecycle.events import (
    BecameReady,
    Exited,
    Hung,
    KillNow,
    Overdue,
    Pinged,
    Retire,
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
STOPPING = "stopping"
ABORTING = "aborting"
KILLING = "killing"
GONE = "gone"

STATES = (SPAWNING, STARTING, READY, SETTLED, PROVEN, STOPPING, ABORTING, KILLING, GONE)
EVENTS = (Spawned, SpawnFailed, BecameReady, Overdue, Pinged, Hung, Retire, KillNow, Exited)
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
        "since",
        "slot",
        "started_at",
        "state",
        "why",  # what it was started for, then what it was asked to stop for
    )

    def __init__(  # noqa: PLR0913, PLR0917  a worker is born with all it keeps for life
        self, number: int, slot: int, generation: int, options: Options, why: str, now: float
    ) -> None:
        self.number = number
        self.slot = slot
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


def begin_start(worker: Worker, event: Spawned, now: float) -> list[Action]:
    """Give it worker.timeout to become ready."""
    worker.pid = event.pid
    worker.started_at = now
    worker.deadline = now + worker.options.worker_timeout
    return [Log("worker.started", worker.names() | {"why": worker.why})]


def report_no_process(worker: Worker, event: SpawnFailed, now: float) -> list[Action]:
    """Nothing to clean up: the pool decides when to try again, and says so."""
    return []


def begin_settling(worker: Worker, event: BecameReady, now: float) -> list[Action]:
    """Let it serve; whether it stays is seen after recycle.settle."""
    options = worker.options
    worker.ready_at = now
    worker.deadline = now + options.recycle_settle
    if options.worker_watchdog:
        worker.hang_by = now + options.worker_watchdog
    ready = {"after_s": round(now - worker.started_at, 6), "require": options.worker_require}
    return [Log("worker.ready", worker.names() | ready), RestoreBacklog()]


def begin_proving(worker: Worker, event: Overdue, now: float) -> list[Action]:
    """Count it as ready from here on: it stayed."""
    worker.deadline = now + max(0.0, worker.options.restart_reset - worker.options.recycle_settle)
    return [Log("worker.settled", worker.names())]


def begin_ageing(worker: Worker, event: Overdue, now: float) -> list[Action]:
    """Count worker.max_age, if there is one, from its start.

    The jitter takes off up to a tenth, in golden-ratio steps of the worker's number: workers that
    were started together grow old apart, and a run can still be replayed.
    """
    max_age = worker.options.worker_max_age
    if max_age:
        jitter = 0.1 * ((worker.number * 0.6180339887) % 1)
        worker.deadline = max(now, worker.started_at + max_age * (1 - jitter))
    return []


def grow_old(worker: Worker, event: Overdue, now: float) -> list[Action]:
    """Leave it to the pool. If its recycle is given up, it is old again after another max_age."""
    worker.deadline = now + worker.options.worker_max_age
    return []


def put_off_watchdog(worker: Worker, event: Pinged, now: float) -> list[Action]:
    """Count worker.watchdog anew."""
    if worker.hang_by is not None:
        worker.hang_by = now + worker.options.worker_watchdog
    return []


def ask_to_stop(worker: Worker, event: Retire, now: float) -> list[Action]:
    """Send the stop signal, once, and CONT after it: a stopped process would never see it."""
    worker.asked_in = worker.state
    worker.why = event.why
    worker.deadline = event.by
    name, to_group = worker.options.worker_stop_signal, worker.options.worker_signal_group
    said = {"signal": name, "timeout_s": round(max(0.0, event.by - now), 3), "why": event.why}
    return [
        Log("worker.stopping", worker.names() | said),
        Signal(worker.pid, name, to_group),
        Signal(worker.pid, "CONT", to_group),
    ]


def dismiss(worker: Worker, event: Retire, now: float) -> list[Action]:
    """Ask it to stop like any other, but in a hurry: it serves nobody yet."""
    by = min(event.by, now + worker.options.shutdown_margin)
    return ask_to_stop(worker, Retire(by, event.why), now)


def bring_deadline_forward(worker: Worker, event: Retire, now: float) -> list[Action]:
    """Leave it less time, never more: it got its stop signal, and gets it once."""
    if worker.deadline is not None:
        worker.deadline = min(worker.deadline, event.by)
    return []


def abort(worker: Worker, event: Hung, now: float) -> list[Action]:
    """Have it leave its stack dump; what hangs seldom ends by itself, so that is all it gets."""
    worker.deadline = now + worker.options.shutdown_margin
    said = {"watchdog_s": worker.options.worker_watchdog}
    return [
        Log("worker.hung", worker.names() | said),
        Signal(worker.pid, "ABRT", to_group=False),
        Signal(worker.pid, "CONT", to_group=False),
    ]


def _kill(worker: Worker, why: str, now: float, signal: str | None = None) -> list[Action]:
    said = {"why": why, "signal": signal, "waited_s": round(now - worker.since, 3)}
    return [Log("worker.killed", worker.names() | said), KillGroup(worker.pid)]


def kill_late_starter(worker: Worker, event: Overdue, now: float) -> list[Action]:
    """Kill it: it had its time to become ready."""
    return _kill(worker, f"it was not ready after {worker.options.worker_timeout:g} s", now)


def kill_stubborn(worker: Worker, event: Overdue, now: float) -> list[Action]:
    """Kill it: it had its time to stop."""
    signal = worker.options.worker_stop_signal
    return _kill(worker, f"it did not stop after SIG{signal}", now, signal)


def kill_hung(worker: Worker, event: Overdue, now: float) -> list[Action]:
    """Kill it: it had its time to dump its stack."""
    return _kill(worker, "it hung, and SIGABRT did not end it", now)


def kill_at_once(worker: Worker, event: KillNow, now: float) -> list[Action]:
    """Nobody waits for it any more."""
    if worker.asked_in is None:
        worker.asked_in = worker.state
    return _kill(worker, event.why, now)


def bury(worker: Worker, event: Exited, now: float) -> list[Action]:
    """Kill what is left of its group while the pid is still its own, then reap it.

    Children of a dead leader would go on accepting from the shared socket, with nobody to stop
    them. Once the leader is reaped its pid, and so the group's number, may be anybody's.
    """
    return [KillGroup(worker.pid), Reap(worker.pid)]


TRANSITIONS: dict[tuple[str, type[Event]], tuple[str, Deed]] = {
    (SPAWNING, Spawned): (STARTING, begin_start),
    (SPAWNING, SpawnFailed): (GONE, report_no_process),
    #
    (STARTING, BecameReady): (READY, begin_settling),
    (STARTING, Overdue): (KILLING, kill_late_starter),
    (STARTING, Retire): (STOPPING, dismiss),
    (STARTING, Exited): (GONE, bury),
    #
    (READY, Overdue): (SETTLED, begin_proving),
    (READY, Pinged): (READY, put_off_watchdog),
    (READY, Hung): (ABORTING, abort),
    (READY, Retire): (STOPPING, ask_to_stop),
    (READY, KillNow): (KILLING, kill_at_once),
    (READY, Exited): (GONE, bury),
    #
    (SETTLED, Overdue): (PROVEN, begin_ageing),
    (SETTLED, Pinged): (SETTLED, put_off_watchdog),
    (SETTLED, Hung): (ABORTING, abort),
    (SETTLED, Retire): (STOPPING, ask_to_stop),
    (SETTLED, KillNow): (KILLING, kill_at_once),
    (SETTLED, Exited): (GONE, bury),
    #
    (PROVEN, Overdue): (PROVEN, grow_old),
    (PROVEN, Pinged): (PROVEN, put_off_watchdog),
    (PROVEN, Hung): (ABORTING, abort),
    (PROVEN, Retire): (STOPPING, ask_to_stop),
    (PROVEN, KillNow): (KILLING, kill_at_once),
    (PROVEN, Exited): (GONE, bury),
    #
    (STOPPING, Retire): (STOPPING, bring_deadline_forward),
    (STOPPING, Overdue): (KILLING, kill_stubborn),
    (STOPPING, KillNow): (KILLING, kill_at_once),
    (STOPPING, Exited): (GONE, bury),
    #
    (ABORTING, Overdue): (KILLING, kill_hung),
    (ABORTING, KillNow): (KILLING, kill_at_once),
    (ABORTING, Exited): (GONE, bury),
    #
    (KILLING, Exited): (GONE, bury),
}

IGNORED: dict[tuple[str, type[Event]], str] = {
    (STARTING, Pinged): "the watchdog runs from ready",
    (READY, BecameReady): "programs may repeat READY=1",
    (SETTLED, BecameReady): "programs may repeat READY=1, after a reload of their own",
    (PROVEN, BecameReady): "programs may repeat READY=1, after a reload of their own",
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
    + [(state, Hung) for state in (STARTING, STOPPING, ABORTING, KILLING)]
    + [(KILLING, Overdue)]
    # KillNow comes in a shutdown, in which whatever starts is asked to stop at once
    + [(STARTING, KillNow)]
)
