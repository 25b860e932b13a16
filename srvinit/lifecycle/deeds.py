"""What is done when a worker goes from one state to the next: the right column of its table.

A deed touches this one worker and returns orders. It asks for no state: that would be a hidden row
of the table in `worker`, where each deed is named beside the state and the event that call for it.
"""

from __future__ import annotations

from srvinit.lifecycle.actions import KillGroup, Log, Reap, RestoreBacklog, Signal
from srvinit.lifecycle.events import Retire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.lifecycle.actions import Action
    from srvinit.lifecycle.events import (
        BecameReady,
        Exited,
        Hung,
        KillNow,
        Overdue,
        Pinged,
        Quiesce,
        SeatEmptied,
        Spawned,
        SpawnFailed,
    )
    from srvinit.lifecycle.worker import Worker


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


def begin_quiescing(worker: Worker, event: Quiesce, now: float) -> list[Action]:
    """Let it serve what it has, out of the rotation: the pool steers the kernel away from it.

    A connection is its own from the first packet on, so some may still be on their way: the pool
    has its seat watched. One that takes nobody any more must have time to stop, too: half of the
    time, and no more.
    """
    worker.asked_in = worker.state
    worker.why = event.why
    worker.stop_by = event.by
    worker.deadline = (now + event.by) / 2
    said = {"why": event.why, "quiesce_s": worker.options.worker_quiesce}
    return [Log("worker.quiescing", worker.names() | said)]


def await_last_reads(worker: Worker, event: SeatEmptied, now: float) -> list[Action]:
    """Give it worker.quiesce to read what it has just accepted: unread, it would be cut off.

    Half of its time is the limit here too; whoever hurried it may have left it more than that.
    """
    half_by = (worker.since + worker.stop_by) / 2
    worker.deadline = min(now + worker.options.worker_quiesce, max(half_by, worker.deadline or now))
    return []


def hurry_quiescing(worker: Worker, event: Retire, now: float) -> list[Action]:
    """Leave it less time, never more: it is on its way out already."""
    worker.stop_by = min(worker.stop_by, event.by)
    if worker.deadline is not None:
        worker.deadline = min(worker.deadline, (now + worker.stop_by) / 2)
    return []


def ask_quiesced(worker: Worker, event: Overdue, now: float) -> list[Action]:
    """Ask it to stop, now that nobody's request can be lost by it."""
    return ask_to_stop(worker, Retire(worker.stop_by, worker.why), now)


def ask_to_stop(worker: Worker, event: Retire, now: float) -> list[Action]:
    """Send the stop signal, once, and CONT after it: a stopped process would never see it."""
    worker.asked_in = worker.asked_in or worker.state
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
