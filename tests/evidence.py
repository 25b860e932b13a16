"""What a line of the log tells of: what the supervisor told the core just before it was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from srvinit import words
from srvinit.lifecycle import events

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from srvinit.lifecycle.events import Event
    from srvinit.lifecycle.pool import Pool

    Fields = Mapping[str, Any]
    Told = list[Event]

EXEC_STATUSES = [127, 126]
FRAME = {"timestamp", "level", "event", "message"}


class Line(NamedTuple):
    """What one line says. `at` is seconds of any clock that does not jump."""

    at: float
    event: str
    fields: Mapping[str, Any]

    def __str__(self) -> str:
        """Say it for a complaint."""
        return f"{self.event} {dict(self.fields)}"


def line_of(parsed: Mapping[str, Any], at: float) -> Line:
    """Take a line of JSON apart. Its own time is its wall clock's, which may have jumped."""
    fields = {name: value for name, value in parsed.items() if name not in FRAME}
    return Line(at, parsed["event"], fields)


# --- from lines to events ------------------------------------------------------------------------


def _exited(_pool: Pool, its: Fields) -> Told:
    code, reason = its["status"], its["reason"]
    status = code << 8 if code >= 0 else -code | 0x80 * ("core dumped" in reason)
    detail = "" if reason == words.wait_status_reason(status) else reason
    if its["oom"] or not detail:
        return [events.Exited(its["pid"], status, 0, detail, its["oom"])]
    # It could not be executed; where it was killed before it said so itself, who knows which.
    statuses = [code] if code > 0 else EXEC_STATUSES
    return [events.Exited(its["pid"], status, exec_status, detail) for exec_status in statuses]


def _signalled(pool: Pool, its: Fields) -> Told:
    """Tell of a signal that was sent on: the settings may send another than came."""
    sent = its["signal"]
    came = next((name for name, to in pool.options.signal.items() if to == sent), sent)
    return [events.SignalArrived(came, worker_has_terminal=came == "WINCH")]


def _scaled(_pool: Pool, its: Fields) -> Told:
    name = its["why"].removeprefix("SIG")
    return [events.SignalArrived(name)] if name != its["why"] else []


def _stopped(_pool: Pool, its: Fields) -> Told:
    if its["why"] == "the terminal is gone":
        return [events.SignalArrived("HUP", its["sender_pid"], hangup=True)]
    name = its["why"].removeprefix("SIG")
    return [events.SignalArrived(name, its["sender_pid"])] if name != its["why"] else []


def _on_seat(pool: Pool, its: Fields) -> list[int]:
    worker = pool.workers.get(its["pid"])
    return [] if worker is None else [worker.seat]


TELLS: dict[str, Callable[[Pool, Fields], Told]] = {
    "worker.ready": lambda _, its: [events.BecameReady(its["pid"])],
    "worker.exited": _exited,
    "worker.status": lambda _, its: [events.Announced(its["pid"], its["text"])],
    "worker.queue_stuck": lambda pool, its: [
        events.QueueStuck(seat, its["waiting"]) for seat in _on_seat(pool, its)
    ],
    "worker.queue_drained": lambda pool, its: [
        events.QueueDrained(seat) for seat in _on_seat(pool, its)
    ],
    "worker.too_large": lambda _, its: [events.TooLarge(its["pid"], its["size"], its["limit"])],
    "signal.received": lambda _, its: [events.SignalArrived(its["signal"], its["sender_pid"])],
    "signal.forwarded": _signalled,
    "recycle.asked": lambda _, its: [events.PathsChanged(its["paths"])],
    "count.changed": _scaled,
    "shutdown.started": _stopped,
    "shutdown.hurried": lambda _, its: [events.SignalArrived(its["signal"])],
    "shutdown.impatient": lambda *_: [events.SignalArrived("INT", by_terminal=True)],
}
