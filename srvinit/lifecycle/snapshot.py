"""What is to be seen of the pool from outside, as plain values: nothing here changes anything.

Instants are monotonic seconds, as everywhere in the core. Who publishes a snapshot asks for the
workers that changed alone (`Pool.changed`): a thousand workers must not cost a thousand times as
much at every step.
"""

from __future__ import annotations

from srvinit.lifecycle import ending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvinit.lifecycle.pool import Pool
    from srvinit.lifecycle.worker import Worker


def readiness(pool: Pool) -> tuple[bool, str]:
    """Say whether traffic should come here, and why (or why not), in words without a quote.

    At the start not before all workers have been ready at once: a quarter of what was ordered is
    no pod to send a quarter of the users to. From then on while one serves at all: a pod whose
    other workers crash serves better than none, and where each pod has the same fault, taking all
    of them away would be an outage. From the first request to stop on, never.
    """
    if pool.phase != ending.SERVING:
        return False, f"{pool.phase}: srvinit is shutting down"
    if not pool.was_all_ready:
        return False, f"starting: {pool.serving} of {pool.count} workers ready so far"
    if not pool.serving:
        return False, f"none of {pool.count} workers serves"
    return True, f"{pool.serving} of {pool.count} workers serve"


def overview(pool: Pool) -> dict[str, Any]:
    """Say what there is to say of the pool as a whole."""
    return {
        "generation": pool.generation,
        "count": pool.count,
        "serving": pool.serving,
        "settled": pool.ready,
        "failures_in_row": pool.failures_in_row,
    }


def shutdown(pool: Pool) -> dict[str, Any] | None:
    """Say why srvinit stops, and when it will be over; None while it does not."""
    if pool.phase == ending.SERVING:
        return None
    end = pool.end
    return {
        "why": end.reason,
        "began_at": end.began_at,
        "stop_at": end.stop_at,
        "kill_by": end.kill_by,
        "by": end.done_by,
    }


def recycle(pool: Pool) -> dict[str, Any] | None:
    """Say how far the running recycle has come; None if none is running."""
    running = pool.recycle
    if running is None:
        return None
    return {
        "generation": running.generation,
        "replaced": running.replaced,
        "failures": running.failures,
        "last_failure": running.last_failure or None,
        "last_status": running.last_status,
        "began_at": running.began_at,
    }


def is_shown(pool: Pool, worker: Worker) -> bool:
    """Tell whether this worker is to be seen: it has a pid, and is not reaped."""
    return pool.workers.get(worker.pid) is worker


def worker_view(pool: Pool, worker: Worker) -> dict[str, Any]:
    """Say what there is to say of a worker; it changes with its state alone."""
    return {
        "slot": worker.slot,
        "pid": worker.pid,
        "generation": worker.generation,
        "state": worker.state,
        "why": worker.why,
        "seat": worker.seat if pool.is_steered else None,
        "started_at": worker.started_at,
        "ready_at": worker.ready_at,
    }
