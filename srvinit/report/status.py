"""The status: one JSON document about the whole of srvinit, made anew whenever something changed.

docs/status.md has it field by field. What is counted is heard from the same events as the log's;
what is there now is handed in by who publishes it. Nothing here touches the kernel.

Its first line is for readers that may import nothing (`srvinitctl ready`): the same fields in the
same order and form, always. All of it together is one JSON object.

Costs: a worker's line is kept until the worker changes, so that a document of a thousand workers
costs little more than its bytes.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

SCHEMA = 1
# How many recycles that have ended are told of: who waits for one may look late.
ENDED_RECYCLES = 8
OUTCOMES = ("finished", "failed", "abandoned")
# What a worker is started for without anybody having asked: Worker.why.
RESTARTS = ("crash", "clean-exit")
# Events after which the facts that are handed in differ.
TOLD_BY_FACTS = frozenset(
    (
        "count.changed",
        "shutdown.hurried",
        "shutdown.started",
        "socket.bound",
        "socket.closed",
        "srvinit.ready",
    )
)
# From the settings: what a reader needs to judge the rest by.
SETTINGS = (
    "worker_require",
    "worker_timeout",
    "worker_stop_signal",
    "recycle_timeout",
    "recycle_settle",
    "recycle_retries",
    "bind_backlog",
    "restart_delay",
    "restart_policy",
    "restart_limit",
    "shutdown_delay",
    "shutdown_timeout",
    "shutdown_margin",
    "shutdown_grace_period",
)


class Status:
    """What has happened so far, and the document of it. `about` stands in each document."""

    def __init__(self, pid: int, about: Mapping[str, Any]) -> None:
        self._pid = pid
        self._about = dict(about)
        self._serial = 0
        self._offset = 0.0  # what makes unix seconds of the core's
        self._lines: dict[int, str] = {}  # of each worker, by its number
        self._passes = 0
        self._running: dict[str, Any] | None = None
        self._rejected: str | None = None  # the settings of the recycle that begins next
        self._queued = False
        self._ended: list[dict[str, Any]] = []
        self._counters: dict[str, Any] = {
            "workers_started": 0,
            "restarts": dict.fromkeys(RESTARTS, 0),
            "recycles": dict.fromkeys(OUTCOMES, 0),
            "recycle_seconds": 0.0,
            "spawn_failures": 0,
            "kills": 0,
            "oom_kills": 0,
            "orphans_reaped": 0,
        }
        self._hears: dict[str, Callable[[Mapping[str, Any]], object]] = {
            "worker.started": self._worker_started,
            "worker.killed": lambda _: self._count("kills"),
            "worker.exited": self._worker_exited,
            "worker.spawn_failed": lambda _: self._count("spawn_failures"),
            "orphan.reaped": lambda _: self._count("orphans_reaped"),
            "config.read": lambda _: self._config(None),
            "config.rejected": lambda fields: self._config("; ".join(fields["faults"])),
            "recycle.queued": self._recycle_queued,
            "recycle.started": self._recycle_started,
            "recycle.finished": lambda fields: self._recycle_ended("finished", fields),
            "recycle.failed": lambda fields: self._recycle_ended("failed", fields),
            "recycle.abandoned": lambda fields: self._recycle_ended("abandoned", fields),
        }

    def hear(self, event: str, fields: Mapping[str, Any]) -> bool:
        """Take in an event of the catalogue; True if the document differs now."""
        if event in TOLD_BY_FACTS:
            return True
        hear = self._hears.get(event)
        if hear is None:
            return False
        hear(fields)
        return True

    # --- what is heard -------------------------------------------------------------------------

    def _count(self, what: str) -> None:
        self._counters[what] += 1

    def _worker_started(self, fields: Mapping[str, Any]) -> None:
        self._counters["workers_started"] += 1
        if fields["why"] in RESTARTS:
            self._counters["restarts"][fields["why"]] += 1

    def _worker_exited(self, fields: Mapping[str, Any]) -> None:
        self._counters["oom_kills"] += fields["oom"]

    def _config(self, rejected: str | None) -> None:
        self._rejected = rejected

    def _recycle_queued(self, _fields: Mapping[str, Any]) -> None:
        self._queued = True

    def _recycle_started(self, fields: Mapping[str, Any]) -> None:
        self._passes += 1
        self._queued = False
        self._running = {
            "pass": self._passes,
            "generation": fields["generation"],
            "why": fields["why"],
            "workers": fields["workers"],
            "rejected": self._rejected,
        }
        self._rejected = None

    def _recycle_ended(self, outcome: str, fields: Mapping[str, Any]) -> None:
        self._counters["recycles"][outcome] += 1
        took_s = self._counters["recycle_seconds"] + fields.get("seconds", 0.0)
        self._counters["recycle_seconds"] = round(took_s, 3)
        running, self._running = self._running or {}, None
        self._ended.append(
            {
                **running,
                "outcome": outcome,
                "seconds": fields.get("seconds"),
                "replaced": fields.get("replaced"),
                "last_failure": fields.get("last"),
                "last_status": fields.get("status"),
            }
        )
        del self._ended[:-ENDED_RECYCLES]

    # --- the document --------------------------------------------------------------------------

    def document(
        self,
        head: tuple[bool, str, str],
        now: tuple[float, float],
        facts: Mapping[str, Any],
        workers: Iterable[tuple[int, dict[str, Any] | None]],
    ) -> bytes:
        """Make the document; `workers` are those that changed (number; None: it is gone).

        `head` is whether traffic should come, why in words without a quote or a backslash, and the
        phase. `now` is the time, once monotonic and once in unix seconds: times in `facts` and
        `workers` are monotonic.
        """
        self._serial += 1
        self._set_clock(*now)
        for number, worker in workers:
            if worker is None:
                self._lines.pop(number, None)
            else:
                self._lines[number] = self._worker_line(worker)
        return "".join(
            (
                first_line(self._pid, *head),
                self._body(now[1], facts),
                ',\n"workers": [\n',
                ",\n".join(self._lines.values()),
                "\n]}\n",
            )
        ).encode()

    def forget_workers(self) -> None:
        """Forget all workers' lines: the next document is handed every worker there is."""
        self._lines.clear()

    def is_clock_set(self, monotonic: float, unix: float) -> bool:
        """Tell whether the lines that are kept are right: False after the clock was set."""
        return abs(unix - monotonic - self._offset) < _SAME_CLOCK_S

    def _set_clock(self, monotonic: float, unix: float) -> None:
        if not self.is_clock_set(monotonic, unix):
            self._offset = unix - monotonic

    def _unix(self, at: float | None) -> float | None:
        return None if at is None else round(at + self._offset, 3)

    def _worker_line(self, worker: dict[str, Any]) -> str:
        import json

        times = {name: self._unix(worker[name]) for name in ("started_at", "ready_at")}
        return json.dumps(worker | times)

    def _body(self, unix: float, facts: Mapping[str, Any]) -> str:
        """Write what stands between the first line and the workers."""
        import json

        shutdown, running = facts["shutdown"], facts["recycle"]
        if shutdown is not None:
            names = ("began_at", "stop_at", "kill_by", "by")
            shutdown = shutdown | {name: self._unix(shutdown[name]) for name in names}
        if running is not None and self._running is not None:
            began_at = self._unix(running["began_at"])
            running = {**self._running, **running, "began_at": began_at}
        recycles = {
            "requests": facts["asks"],
            "requested_monotonic": facts["asked_at"],
            "asked": self._passes + self._queued,
            "begun": self._passes,
            "queued": self._queued,
            "running": running,
            "ended": self._ended,
        }
        counters = self._counters | {"log_lines_dropped": facts["log_lines_dropped"]}
        body = {
            **self._about,
            "serial": self._serial,
            "published_at": round(unix, 3),
            "started_at": self._unix(facts["began_at"]),
            **facts["overview"],
            "shutdown": shutdown,
            "settings": facts["settings"],
            "signals": facts["signals"],
            "recycles": recycles,
            "counters": counters,
            "sockets": facts["sockets"],
        }
        return json.dumps(body)[1:-1]


# The wall clock runs a little faster or slower than the other while it is being set right.
_SAME_CLOCK_S = 0.1


def first_line(pid: int, is_ready: bool, why: str, phase: str) -> str:  # noqa: FBT001  of a head
    """Write the first line, whose form never changes."""
    return (
        f'{{"schema": {SCHEMA}, "pid": {pid}, "live": true, "ready": {str(is_ready).lower()}, '
        f'"phase": "{phase}", "why": "{why}",\n'
    )


def settings_view(options: Any) -> dict[str, Any]:
    """Pick what readers need of the settings, by their names; durations in seconds."""
    return {name.replace("_", ".", 1): getattr(options, name) for name in SETTINGS}


def signals_view(meanings: Mapping[str, str]) -> dict[str, str | None]:
    """Say which signal asks for what; None where the settings leave no signal for it."""
    wanted = ("recycle", "shutdown", "scale-up", "scale-down")
    return {
        does: next((name for name, meaning in meanings.items() if meaning == does), None)
        for does in wanted
    }
