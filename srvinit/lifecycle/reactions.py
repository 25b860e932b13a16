"""What the pool does about each event from outside, by its phase, as a table.

The same rules as for a worker's table: each pair of a phase and an event stands in exactly one of
REACTIONS, IGNORED (with the reason) and IMPOSSIBLE (srvinit has a bug). An event here is a type, or
the meaning that settings give to a signal. What happens to one worker is in `worker`.
"""

from __future__ import annotations

from srvinit.errors import LifecycleError
from srvinit.lifecycle import convergence, ending, steering
from srvinit.lifecycle.actions import Log, ReadConfig, Signal, StopSelf
from srvinit.lifecycle.ending import DONE, DRAINING, PHASES, SERVING, STOPPING, SWEEPING
from srvinit.lifecycle.events import (
    Announced,
    Begin,
    ConfigRead,
    ConfigRejected,
    OrphansGone,
    PathsChanged,
    QueueDrained,
    QueueEmptied,
    QueueStuck,
    SeatWaits,
    SignalArrived,
    TooLarge,
)
from srvinit.lifecycle.worker import KILLING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from srvinit.lifecycle.actions import Action
    from srvinit.lifecycle.events import Event
    from srvinit.lifecycle.pool import Pool

    Deed = Callable[[Pool, Any, float], list[Action]]
    Key = type[Event] | str

EVENTS: frozenset[type[Event]] = frozenset(
    (
        Announced,
        Begin,
        ConfigRead,
        ConfigRejected,
        OrphansGone,
        PathsChanged,
        QueueDrained,
        QueueEmptied,
        QueueStuck,
        SeatWaits,
        SignalArrived,
        TooLarge,
    )
)


def react(pool: Pool, event: Event, now: float) -> list[Action]:
    """Do what the table says. Raises LifecycleError where it has no room for the event."""
    key: Key = type(event)
    if isinstance(event, SignalArrived):
        key = meaning_of(pool, event)
        if key not in MEANINGS:  # the setting names another signal to send instead
            return _send_on(pool, key)
    deed = REACTIONS.get((pool.phase, key))
    if deed is not None:
        return deed(pool, event, now)
    if (pool.phase, key) in IGNORED:
        return []
    raise LifecycleError(f"{event!r} came while {pool.phase}")


def meaning_of(pool: Pool, event: SignalArrived) -> str:
    """Say what a signal means now: a key of the table, or the name of a signal to send instead."""
    if event.hangup:
        return "shutdown"
    if event.worker_has_terminal and event.name in {"TTIN", "TTOU"}:
        return "stop-self"  # they come from job control, not from somebody who scales
    return pool.options.signal.get(event.name, "forward")


# --- what is done --------------------------------------------------------------------------------


def begin(pool: Pool, event: Begin, now: float) -> list[Action]:
    """Want the workers: the rules start them."""
    pool.inherits_sockets = event.inherits_sockets
    steering.begin(pool, is_steered=event.is_steered)
    pool.resize(pool.count, now, "start")
    return []


def announce(pool: Pool, event: Announced, now: float) -> list[Action]:
    """Pass on what a worker says of itself."""
    worker = pool.workers.get(event.pid)
    names = worker.names() if worker is not None else {}
    return [Log("worker.status", names | {"text": event.text})] if names else []


def reconfigure(pool: Pool, event: ConfigRead, now: float) -> list[Action]:
    """Take the settings up and recycle. A count set by TTIN or TTOU stays until its own changes."""
    changed = pool.options.changed(event.options)
    pool.want(event.options, pool.count)
    pool.is_reading = False
    said = {"generation": pool.generation + 1, "changed": changed}
    orders: list[Action] = [Log("config.read", said)]
    if event.count != pool.configured_count:
        pool.configured_count = event.count
        why = f"worker.count: {event.count_why}" if event.count_why else "worker.count"
        orders += scale(pool, event.count, now, why)
    return orders + convergence.begin_recycle(pool, pool.recycle_why, now)


def keep_config(pool: Pool, event: ConfigRejected, now: float) -> list[Action]:
    """Recycle with the settings that are there: the code may be what has changed."""
    pool.is_reading = False
    rejected = Log("config.rejected", {"faults": event.faults})
    return [rejected, *convergence.begin_recycle(pool, pool.recycle_why, now)]


def recycle(pool: Pool, event: SignalArrived, now: float) -> list[Action]:
    """Recycle; during a recycle, once more after it, however often it is asked for."""
    pool.recycle_asks += 1
    pool.recycle_asked_at = now
    if pool.is_recycle_queued:
        return []
    said = {"signal": event.name, "sender_pid": event.sender_pid, "meaning": "recycle"}
    return [Log("signal.received", said), *_ask_recycle(pool, f"SIG{event.name}")]


def follow_paths(pool: Pool, event: PathsChanged, now: float) -> list[Action]:
    """Recycle, as for a SIGHUP: what has changed may be the settings file."""
    asked = Log("recycle.asked", {"paths": event.paths})
    return [asked] if pool.is_recycle_queued else [asked, *_ask_recycle(pool, "recycle.watch")]


def _ask_recycle(pool: Pool, why: str) -> list[Action]:
    """Begin a recycle with reading the settings; during one, have one more follow it."""
    if pool.recycle is None and not pool.is_reading:
        pool.is_reading, pool.recycle_why = True, why
        return [ReadConfig()]
    pool.is_recycle_queued, pool.queued_why = True, why
    return [Log("recycle.queued", {"generation": pool.generation + 1})]


def renew(pool: Pool, event: TooLarge, now: float) -> list[Action]:
    """Have a worker that has grown too large recycled."""
    from srvinit.lifecycle import renewal

    return renewal.note_large(pool, event, now)


def scale(pool: Pool, count: int, now: float, why: str) -> list[Action]:
    """Want `count` workers, and say so."""
    before = pool.count
    if count == before:
        return []
    pool.resize(count, now, "scale-up")
    return [Log("count.changed", {"before": before, "after": count, "why": why})]


def scale_up(pool: Pool, event: SignalArrived, now: float) -> list[Action]:
    """Want one worker more."""
    return scale(pool, pool.count + 1, now, f"SIG{event.name}")


def scale_down(pool: Pool, event: SignalArrived, now: float) -> list[Action]:
    """Want one worker fewer; never none."""
    return scale(pool, max(1, pool.count - 1), now, f"SIG{event.name}")


def _send_on(pool: Pool, name: str) -> list[Action]:
    reached = [
        worker
        for worker in pool.workers.values()
        # its stop signal is sent once to a worker, whoever sends it
        if worker.state != KILLING
        and (worker.asked_in is None or name != worker.options.worker_stop_signal)
    ]
    orders: list[Action] = [
        Signal(worker.pid, name, worker.options.worker_signal_group) for worker in reached
    ]
    return [*orders, Log("signal.forwarded", {"signal": name, "workers": len(reached)})]


def forward(pool: Pool, event: SignalArrived, now: float) -> list[Action]:
    """Send the signal on to every live worker."""
    return _send_on(pool, event.name)


def forward_window(pool: Pool, event: SignalArrived, now: float) -> list[Action]:
    """Send WINCH to a worker that owns the terminal, alone: some servers take it as a stop."""
    return _send_on(pool, event.name) if event.worker_has_terminal else []


def stop_self(pool: Pool, event: SignalArrived, now: float) -> list[Action]:
    """Stop like any job of a shell."""
    return [StopSelf()]


def ignore(pool: Pool, event: SignalArrived, now: float) -> list[Action]:
    """Do nothing: the settings say so."""
    return []


# --- the table -----------------------------------------------------------------------------------

MEANINGS = (
    "shutdown",
    "interrupt",
    "recycle",
    "scale-up",
    "scale-down",
    "forward",
    "window",
    "stop-self",
    "continue",
    "ignore",
)
# DONE takes no event: `Pool.handle` has said how srvinit ends.
LASTING = tuple(phase for phase in PHASES if phase != DONE)
KEYS: tuple[Key, ...] = (*MEANINGS, *(kind for kind in EVENTS if kind is not SignalArrived))

REACTIONS: dict[tuple[str, Key], Deed] = {
    (SERVING, Begin): begin,
    (SERVING, ConfigRead): reconfigure,
    (SERVING, ConfigRejected): keep_config,
    (SERVING, SeatWaits): steering.keep_waited_seat,
    (SERVING, PathsChanged): follow_paths,
    (SERVING, TooLarge): renew,
    (SERVING, "shutdown"): ending.shut_down,
    (SERVING, "interrupt"): ending.interrupt,
    (SERVING, "recycle"): recycle,
    (SERVING, "scale-up"): scale_up,
    (SERVING, "scale-down"): scale_down,
    #
    **{(phase, QueueStuck): steering.leave_out for phase in (SERVING, DRAINING)},
    **{(phase, QueueDrained): steering.take_back for phase in (SERVING, DRAINING)},
    #
    (DRAINING, "interrupt"): ending.hurry,
    #
    (STOPPING, QueueEmptied): ending.retire_last,
    (STOPPING, "interrupt"): ending.insist,
    #
    (SWEEPING, OrphansGone): ending.orphans_gone,
    (SWEEPING, "interrupt"): ending.insist,
    #
    **{(phase, Announced): announce for phase in LASTING},
    **{(phase, "forward"): forward for phase in LASTING},
    **{(phase, "continue"): forward for phase in LASTING},
    **{(phase, "window"): forward_window for phase in LASTING},
    **{(phase, "stop-self"): stop_self for phase in LASTING},
    **{(phase, "ignore"): ignore for phase in LASTING},
}

_LATER = (DRAINING, STOPPING, SWEEPING)
IGNORED: dict[tuple[str, Key], str] = {
    **{(phase, "shutdown"): "the budget is fixed by the first request" for phase in _LATER},
    **{(phase, "recycle"): "nothing is spawned in a shutdown" for phase in _LATER},
    **{(phase, "scale-up"): "nothing is spawned in a shutdown" for phase in _LATER},
    **{(phase, "scale-down"): "all workers are stopped anyway" for phase in _LATER},
    **{(phase, Begin): "it was asked to stop before it began" for phase in _LATER},
    **{(phase, QueueStuck): "nobody new is let in" for phase in (STOPPING, SWEEPING)},
    **{(phase, QueueDrained): "nobody new is let in" for phase in (STOPPING, SWEEPING)},
    **{(phase, SeatWaits): "no worker comes any more" for phase in _LATER},
    **{(phase, PathsChanged): "nothing is spawned in a shutdown" for phase in _LATER},
    **{(phase, TooLarge): "all workers are stopped anyway" for phase in _LATER},
    (SWEEPING, QueueEmptied): "the workers are gone already",
}

IMPOSSIBLE: frozenset[tuple[str, Key]] = frozenset(
    # answers come before anything else that could change the phase
    [(phase, answer) for phase in _LATER for answer in (ConfigRead, ConfigRejected)]
    # nobody asked
    + [(phase, QueueEmptied) for phase in (SERVING, DRAINING)]
    + [(phase, OrphansGone) for phase in (SERVING, DRAINING, STOPPING)]
)
