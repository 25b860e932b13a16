"""How srvinit ends: DRAINING, STOPPING, SWEEPING, DONE, all within one budget.

The budget is fixed when the first request to stop arrives; whatever happens later spends from it:

    now .. stop_at     shutdown.delay: everything still serves; a worker not ready yet is let go
    .. kill_by         shutdown.timeout: the stop signal, to the last worker once the queue is empty
    .. done_by         shutdown.margin: SIGKILL, then the orphans: SIGTERM, a moment, SIGKILL
"""

from __future__ import annotations

from srvinit.lifecycle import steering
from srvinit.lifecycle.actions import (
    CloseSockets,
    Exit,
    Log,
    ShutDoor,
    Sweep,
    TellManager,
    WatchQueue,
)
from srvinit.lifecycle.worker import SERVING_STATES, STARTING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.lifecycle.actions import Action
    from srvinit.lifecycle.events import Event, SignalArrived
    from srvinit.lifecycle.pool import Pool
    from srvinit.lifecycle.worker import Worker

SERVING = "serving"  # everything is as it should be, or on its way; a recycle is SERVING too
DRAINING = "draining"  # asked to stop; everything that serves still serves
STOPPING = "stopping"  # the workers are asked to stop
SWEEPING = "sweeping"  # no worker is left; the orphans are asked to stop
DONE = "done"  # srvinit has said how it ends
PHASES = (SERVING, DRAINING, STOPPING, SWEEPING, DONE)

FORCED_STATUS = 124
SHUTTING_DOWN = "srvinit is shutting down"  # the reason itself is said once, in shutdown.started
# A second Ctrl-C within this time is the same impatience, or a key that bounced.
IMPATIENCE_S = 1.0
# The last part of the margin is for reaping what got SIGKILL in the sweep.
SWEEP_SHARE = 0.75


class End:
    """What is known of the end: nothing, until it begins. Instants are monotonic seconds."""

    __slots__ = (
        "began_at",
        "done_by",
        "half_by",  # when the last worker is asked to stop though connections wait
        "interrupted_at",
        "is_closed",  # srvinit's sockets: there is nothing to steer any more
        "kill_at",  # when what is left gets SIGKILL; None once it has
        "kill_by",
        "last",  # the worker that still serves the queue while the others stop
        "own_status",  # the exit status, where nobody asked srvinit to stop
        "reason",
        "statuses",  # of workers that ended, as a shell would say them, in that order
        "stop_at",
        "sweep_by",  # when the orphans get SIGKILL; None before and after
        "was_forced",  # something that served had to be killed
    )

    def __init__(self) -> None:
        self.began_at = self.stop_at = self.kill_by = self.done_by = 0.0
        self.half_by: float | None = None
        self.kill_at: float | None = None
        self.sweep_by: float | None = None
        self.interrupted_at: float | None = None
        self.last: Worker | None = None
        self.own_status: int | None = None
        self.statuses: list[int] = []
        self.was_forced = False
        self.is_closed = False
        self.reason = ""

    def deadline(self, phase: str) -> float | None:
        """Say when `step` has something to do because of the time alone."""
        if phase == DRAINING:
            return self.stop_at
        if phase == STOPPING:
            if self.half_by is not None:
                return self.half_by
            return self._stuck_by() if self.kill_at is None else self.kill_at
        if phase == SWEEPING:
            return self.done_by if self.sweep_by is None else self.sweep_by
        return None

    @property
    def has_begun(self) -> bool:
        """Whether srvinit is on its way out."""
        return bool(self.reason)

    def _stuck_by(self) -> float:
        """Say until when the kernel may take to end what got SIGKILL, before the sweep begins."""
        return self.kill_by + (self.done_by - self.kill_by) / 2

    def is_stuck(self, now: float) -> bool:
        """Tell whether SIGKILL has not ended everyone: waiting longer will not either."""
        return self.kill_at is None and now >= self._stuck_by()


# --- how it begins -------------------------------------------------------------------------------


def shut_down(pool: Pool, event: SignalArrived, now: float) -> list[Action]:
    """Stop as asked."""
    why = "the terminal is gone" if event.hangup else f"SIG{event.name}"
    return _begin(pool, pool.options.shutdown_delay, why, now, event)


def interrupt(pool: Pool, event: SignalArrived, now: float) -> list[Action]:
    """Stop without shutdown.delay: a person is waiting."""
    pool.end.interrupted_at = now
    return _begin(pool, 0.0, f"SIG{event.name}", now, event)


def hurry(pool: Pool, event: SignalArrived, now: float) -> list[Action]:
    """Leave out what is left of shutdown.delay: now a person is waiting."""
    end = pool.end
    end.interrupted_at = now
    saved = max(0.0, end.stop_at - now)  # the time may be over, and its Tick still to come
    end.stop_at -= saved
    end.kill_by -= saved
    end.done_by -= saved
    orders: list[Action] = [
        Log("shutdown.hurried", {"signal": event.name, "saved_s": round(saved, 3)})
    ]
    return orders + _hurry_leavers(pool, now)


def insist(pool: Pool, event: SignalArrived, now: float) -> list[Action]:
    """Kill at once when somebody presses Ctrl-C again. A script's second INT changes nothing."""
    end = pool.end
    if end.interrupted_at is None:
        end.interrupted_at = now
    if not event.by_terminal or now - end.interrupted_at < IMPATIENCE_S:
        return []
    orders: list[Action] = [Log("shutdown.impatient", {"workers": len(pool.workers)})]
    orders += pool.kill_all("somebody pressed Ctrl-C again", now)
    if pool.phase == SWEEPING:
        end.sweep_by = None
        end.was_forced = True
        orders.append(Sweep("KILL"))
    return orders


def end_by_itself(pool: Pool, status: int, why: str, now: float) -> list[Action]:
    """Stop though nobody asked: there is nothing left to do, or no sense in going on."""
    pool.end.own_status = status
    return _begin(pool, 0.0, why, now, None)


def _begin(
    pool: Pool, delay: float, why: str, now: float, event: SignalArrived | None
) -> list[Action]:
    end, options = pool.end, pool.options
    pool.phase = DRAINING
    end.reason = why
    end.began_at = now
    end.stop_at = now + delay
    end.kill_by = end.stop_at + options.shutdown_timeout
    end.done_by = end.kill_by + options.shutdown_margin
    said = {
        "why": why,
        "sender_pid": event.sender_pid if event is not None else None,
        "workers": len(pool.workers),
        "delay_s": delay,
        "timeout_s": options.shutdown_timeout,
        "margin_s": options.shutdown_margin,
        "deadline_s": round(end.done_by - now, 3),
    }
    orders: list[Action] = [Log("shutdown.started", said), TellManager("STOPPING=1")]
    if pool.recycle is not None:
        orders.append(Log("recycle.abandoned", {"generation": pool.recycle.generation}))
        pool.recycle = None
    steering.let_go_of_all_seats(pool)
    for worker in list(pool.workers.values()):
        if worker.state == STARTING:
            orders += pool.retire(worker, end.kill_by, SHUTTING_DOWN, now)
    return orders + _hurry_leavers(pool, now)


def _hurry_leavers(pool: Pool, now: float) -> list[Action]:
    """Tell those on their way out already that there may be less time."""
    orders: list[Action] = []
    for worker in list(pool.workers.values()):
        if worker.asked_in is not None:
            orders += pool.retire(worker, pool.end.kill_by, SHUTTING_DOWN, now)
    return orders


# --- how it goes on ------------------------------------------------------------------------------


def step(pool: Pool, now: float) -> list[Action] | None:  # noqa: PLR0911  a list of rules
    """Take the next step of the end; None when there is none to take yet."""
    end = pool.end
    if pool.phase == DRAINING and (now >= end.stop_at or not pool.workers):
        return _ask_workers(pool, now)
    if pool.phase == STOPPING:
        if not (end.is_closed or end.last or pool.quiescing):
            return _close_sockets(pool)
        if not (pool.workers or pool.spawning) or end.is_stuck(now):
            return _sweep(pool, now)
        if end.half_by is not None and now >= end.half_by:
            return retire_last(pool, None, now)
        if end.kill_at is not None and now >= end.kill_at:
            end.kill_at = None
            return pool.kill_all("the time for the shutdown is over", now)
    if pool.phase == SWEEPING:
        if end.sweep_by is not None and now >= end.sweep_by:
            end.sweep_by = None
            end.was_forced = True
            return [Log("shutdown.sweep_killed", {}), Sweep("KILL")]
        if now >= end.done_by:
            return _finish(pool)
    return None


def _ask_workers(pool: Pool, now: float) -> list[Action]:
    """Ask all to stop but one, which serves what waits in the queue: nobody in it is reset."""
    end = pool.end
    pool.phase = STOPPING
    end.kill_at = end.kill_by
    left = [worker for worker in pool.workers.values() if worker.asked_in is None]
    if pool.options.bind or pool.inherits_sockets:
        end.last = next((worker for worker in left if worker.state in SERVING_STATES), None)
    orders: list[Action] = []
    for worker in left:
        if worker is not end.last:
            orders += pool.retire(worker, end.kill_by, SHUTTING_DOWN, now)
    # The door first: else newcomers would keep the last one's queue from emptying.
    door: list[Action] = [ShutDoor()] if pool.is_steered else []
    if end.last is None:
        return [*door, *_close_sockets(pool), *orders]
    end.half_by = now + (end.kill_by - now) / 2  # a late Tick leaves less than the setting
    return [*door, *orders, WatchQueue()]


def retire_last(pool: Pool, _event: Event | None, now: float) -> list[Action]:
    """Ask the last worker to stop: the queue is empty, or half the time is gone.

    srvinit's own copies of the sockets go first: from then on the worker alone keeps them open, and
    whoever comes after it has closed them is refused instead of left hanging.
    """
    last, pool.end.last = pool.end.last, None
    pool.end.half_by = None
    if last is None:
        return []
    orders: list[Action] = []
    if pool.workers.get(last.pid) is last:
        orders = pool.retire(last, pool.end.kill_by, SHUTTING_DOWN, now)
    return [*_close_sockets(pool), *orders]


def _close_sockets(pool: Pool) -> list[Action]:
    """Close srvinit's copies, once, but not while a quiescing worker's queue is seen by them."""
    if pool.end.is_closed or pool.quiescing:
        return []
    pool.end.is_closed = True
    return [CloseSockets()]


def _sweep(pool: Pool, now: float) -> list[Action]:
    """Ask the orphans to stop. Where there are none, the answer comes at once."""
    end = pool.end
    pool.phase = SWEEPING
    share = (end.done_by - end.kill_by) * SWEEP_SHARE
    end.sweep_by = min(now + share, end.kill_by + share)
    return [*_close_sockets(pool), Sweep("TERM")]


def orphans_gone(pool: Pool, _event: Event, _now: float) -> list[Action]:
    """End, now that srvinit has no child left."""
    return _finish(pool) if pool.phase == SWEEPING and not pool.workers else []


def _finish(pool: Pool) -> list[Action]:
    end = pool.end
    orders: list[Action] = []
    if pool.workers:
        end.was_forced = True
        orders.append(Log("shutdown.stuck", {"pids": sorted(pool.workers)}))
    pool.phase = DONE
    if end.own_status is not None:
        status = end.own_status
    elif pool.options.restart_policy == "never":
        none = FORCED_STATUS if pool.workers else 0
        status = next((status for status in end.statuses if status), none)
    else:
        status = FORCED_STATUS if end.was_forced else 0
    return [*orders, Exit(status, end.reason)]
