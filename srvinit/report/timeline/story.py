"""Tell what became of each worker of a pod, out of its events.

Nothing here knows how it will be drawn. Instants are wall-clock seconds, as `clock` has put them
right. A log may begin late, end early and lack lines: a life whose start or end it does not have
says so, and lasts as long as the log knows of it.
"""

from __future__ import annotations

from srvinit.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from srvinit.report.timeline.clock import Step
    from srvinit.report.timeline.lines import Event

STARTING, READY, QUIESCING, STOPPING, KILLING = STATES = (
    "starting",
    "ready",
    "quiescing",
    "stopping",
    "killing",
)
STATE_AFTER = {
    "worker.ready": READY,
    "worker.quiescing": QUIESCING,
    "worker.stopping": STOPPING,
    "worker.killed": KILLING,
}
# What ends a life, as far as the log knows.
CRASHED, STOPPED, LEFT, UNSEEN, RUNNING = "crashed", "stopped", "left", "unseen", "running"
# A state a worker must have been in where the log begins with its end.
WAS = {"settled": READY, **{state: state for state in STATES}}


class Life:
    """One worker: the states it went through, each with its beginning, and its end."""

    __slots__ = (
        "began_at",
        "end",  # CRASHED, STOPPED (as asked), LEFT (by itself, with 0), UNSEEN or RUNNING
        "ended_at",
        "generation",
        "has_start",  # whether the log has it
        "killed_at",
        "phases",  # [(state, since)]
        "pid",
        "reason",  # how it ended, in words
        "said",  # what the log says of it: [(instant, sentence)]
        "settled_at",
        "slot",
        "why",  # it was started
    )

    def __init__(self, slot: int, generation: int, pid: int, at: float, *, has_start: bool) -> None:
        self.slot, self.generation, self.pid = slot, generation, pid
        self.began_at = self.ended_at = at
        self.has_start = has_start
        self.phases: list[tuple[str, float]] = []
        self.end = RUNNING
        self.killed_at: float | None = None
        self.settled_at: float | None = None
        self.why = self.reason = ""
        self.said: list[tuple[float, str]] = []

    @property
    def is_over(self) -> bool:
        """Whether the log has its end, or that of the srvinit it belonged to."""
        return self.end != RUNNING


class Span(Record):
    """Something that lasts: a recycle, a shutdown's budget."""

    since: float
    until: float
    kind: str  # recycle, failed, abandoned, running; drain, stop, margin
    label: str
    said: str


class Mark(Record):
    """Something at one instant. `kind`: signal, begin, end, trouble, note."""

    at: float
    kind: str
    label: str
    said: str


class Pod:
    """All that one pod's log tells. `title` says what srvinit ran there, where that is known."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.title = ""
        self.lives: list[Life] = []
        self.spans: list[Span] = []
        self.marks: list[Mark] = []
        self.busy: list[tuple[float, float]] = []
        self.said: list[tuple[float, str, str]] = []  # instant, level, sentence: what to look at
        self.begins_at = self.ends_at = 0.0

    @property
    def budget_ends_at(self) -> float:
        """When the last shutdown's budget was over, or the log where it is later."""
        return max([self.ends_at, *(span.until for span in self.spans)])


# Everything else at info is on the picture already, or of the start.
TOLD = {"signal.received", "recycle.started", "recycle.finished", "shutdown.started"}
TOLD |= {"count.changed", "srvinit.exiting", "srvinit.started", "recycle.abandoned"}
NOTES = {"count.changed", "signal.forwarded", "shutdown.hurried", "shutdown.sweeping"}


class _Teller:
    def __init__(self, pod: Pod) -> None:
        self.pod = pod
        self.alive: dict[int, Life] = {}
        self.recycle: Span | None = None
        self.shutdown: list[Span] = []
        self.tells = {
            "srvinit.started": self._begin,
            "srvinit.exiting": self._exit,
            "worker.started": self._start,
            "worker.exited": self._end,
            "recycle.started": self._recycle,
            "recycle.finished": self._recycle_ends,
            "recycle.failed": self._recycle_ends,
            "recycle.abandoned": self._recycle_ends,
            "shutdown.started": self._shut_down,
            "shutdown.hurried": self._hurry,
            "signal.received": self._signal,
        }

    def tell(self, event: Event) -> None:
        pod = self.pod
        is_bad = event.level in {"warning", "error"}
        if event.name.startswith("worker."):
            is_bad = is_bad or event.name == "worker.killed"
        if is_bad or event.name in TOLD:
            pod.said.append((event.at, event.level, event.message))
        tell = self.tells.get(event.name)
        if tell is not None:
            tell(event)
        elif not self._of_worker(event) and (is_bad or event.name in NOTES):
            self._mark(event, "trouble" if is_bad else "note", _label(event))
        pod.ends_at = event.at

    # -- workers ----------------------------------------------------------------------------------

    def _life(self, event: Event) -> Life | None:
        """Find the worker an event is about; one that was never heard of began before the log."""
        slot, pid = event.fields.get("slot"), event.fields.get("pid")
        if not isinstance(slot, int) or not isinstance(pid, int):
            return None
        life = self.alive.get(pid)
        if life is None:
            generation = event.fields.get("generation", 0)
            life = Life(slot, generation, pid, self.pod.begins_at, has_start=False)
            took = event.fields.get("lived_s", event.fields.get("after_s"))
            if isinstance(took, (int, float)) and took >= 0:
                life.began_at = max(event.at - took, life.began_at)
            life.phases.append((_state_before(event), life.began_at))
            self._add(life)
        return life

    def _add(self, life: Life) -> None:
        self.alive[life.pid] = life
        self.pod.lives.append(life)

    def _start(self, event: Event) -> None:
        fields = event.fields
        slot, pid = fields.get("slot"), fields.get("pid")
        if not isinstance(slot, int) or not isinstance(pid, int):
            return
        if pid in self.alive:  # its end is missing
            self._close(self.alive.pop(pid), event.at, UNSEEN)
        life = Life(slot, fields.get("generation", 0), pid, event.at, has_start=True)
        life.why = fields.get("why", "")
        life.phases.append((STARTING, event.at))
        life.said.append((event.at, event.message))
        self._add(life)

    def _of_worker(self, event: Event) -> bool:
        life = self._life(event) if event.name.startswith("worker.") else None
        if life is None:
            return False
        life.said.append((event.at, event.message))
        state = STATE_AFTER.get(event.name)
        if state is not None and life.phases[-1][0] != state:
            if life.phases[-1][0] == STARTING:
                self.pod.busy.append((life.phases[-1][1], event.at))
            life.phases.append((state, event.at))
        if event.name == "worker.settled":
            life.settled_at = event.at
        elif event.name == "worker.killed":
            life.killed_at = event.at
        return True

    def _end(self, event: Event) -> None:
        life = self._life(event)
        if life is None:
            return
        fields = event.fields
        life.said.append((event.at, event.message))
        life.reason = fields.get("reason", "")
        is_asked = fields.get("asked", life.phases[-1][0] not in {STARTING, READY})
        end = STOPPED if is_asked else LEFT if fields.get("status") == 0 else CRASHED
        self._close(self.alive.pop(life.pid), event.at, end)

    def _close(self, life: Life, at: float, end: str) -> None:
        life.ended_at, life.end = at, end
        leaving = [since for state, since in life.phases if state not in {STARTING, READY}]
        self.pod.busy.append((min(leaving, default=at), at))

    # -- srvinit ----------------------------------------------------------------------------------

    def _begin(self, event: Event) -> None:
        self._stop_knowing(self.pod.ends_at)
        for span in self.pod.spans:  # the budget of the one before us was not spent
            span.until = min(span.until, event.at)
            span.since = min(span.since, event.at)
        fields = event.fields
        runs = f"{fields.get('workers', '?')} x {fields.get('command', '?')}"
        bind = ", ".join(str(one) for one in fields.get("bind", []))
        version = fields.get("version", "")
        parts = [runs + (f" on {bind}" if bind else ""), f"srvinit {version}".strip()]
        if "require" in fields:
            parts.insert(1, f"ready means {fields['require']}")
        self.pod.title = " · ".join(parts)
        self._mark(event, "begin", "start")

    def _exit(self, event: Event) -> None:
        status = event.fields.get("status", "?")
        self._mark(event, "end", f"exit {status}")
        self._stop_knowing(event.at)

    def _stop_knowing(self, at: float) -> None:
        """No more is heard of this srvinit: it exited, or somebody ended it and the next began."""
        for life in self.alive.values():
            self._close(life, at, UNSEEN)
        self.alive.clear()
        if self.recycle is not None:
            self.recycle.until = at
            self.recycle = None
        if self.shutdown:
            self.pod.busy.append((self.shutdown[0].since, at))
            self.shutdown = []

    def _signal(self, event: Event) -> None:
        self._mark(event, "signal", event.fields.get("signal", "?"))

    def _mark(self, event: Event, kind: str, label: str) -> None:
        self.pod.marks.append(Mark(event.at, kind, label, event.message))
        self.pod.busy.append((event.at, event.at))

    # -- recycle and shutdown ---------------------------------------------------------------------

    def _recycle(self, event: Event) -> None:
        generation = event.fields.get("generation", "?")
        label = f"recycle to generation {generation}"
        self.recycle = Span(event.at, event.at, "running", label, event.message)
        self.pod.spans.append(self.recycle)

    def _recycle_ends(self, event: Event) -> None:
        if self.recycle is None:  # the log begins in it
            self.recycle = Span(self.pod.begins_at, event.at, "running", "recycle", "")
            self.pod.spans.append(self.recycle)
        kind = event.name.partition(".")[2]
        self.recycle.kind = "recycle" if kind == "finished" else kind
        self.recycle.label += "" if kind == "finished" else f" {kind}"
        self.recycle.said = event.message
        self.recycle.until = event.at
        self.pod.busy.append((self.recycle.since, event.at))
        self.recycle = None

    def _shut_down(self, event: Event) -> None:
        why = event.fields.get("why", "")
        label = why.removeprefix("SIG") if why.startswith("SIG") else "shutdown"
        self._mark(event, "signal", label)
        at = event.at
        for kind in ("drain", "stop", "margin"):
            seconds = _duration(event.fields, {"drain": "delay", "stop": "timeout"}.get(kind, kind))
            if seconds:
                said = f"{kind} {seconds:g} s"
                self.shutdown.append(Span(at, at + seconds, kind, said, event.message))
                at += seconds
        self.pod.spans += self.shutdown

    def _hurry(self, event: Event) -> None:
        saved = _duration(event.fields, "saved")
        for span in self.shutdown:
            if span.kind == "drain":
                span.until -= saved
            else:
                span.since -= saved
                span.until -= saved
        self._mark(event, "signal", event.fields.get("signal", "INT"))


def _state_before(event: Event) -> str:
    """Say in which state a worker must have been when the log began."""
    if event.name == "worker.exited":
        return WAS.get(str(event.fields.get("was")), READY)
    if event.name == "worker.ready":
        return STARTING
    return READY


def _duration(fields: dict[str, Any], name: str) -> float:
    seconds = fields.get(f"{name}_s", 0.0)
    return float(seconds) if 0 < seconds < 1e9 else 0.0  # noqa: PLR2004  some thirty years


def _label(event: Event) -> str:
    if event.name == "signal.forwarded":
        return str(event.fields.get("signal", ""))
    if event.name == "count.changed":
        return f"{event.fields.get('before', '?')} → {event.fields.get('after', '?')}"
    return event.name


def tell(name: str, events: list[Event], steps: list[Step]) -> Pod:
    """Tell a pod's story. There must be an event; their times must not go back."""
    pod = Pod(name)
    pod.begins_at = pod.ends_at = events[0].at
    teller = _Teller(pod)
    for event in events:
        teller.tell(event)
    for life in teller.alive.values():
        life.ended_at = pod.ends_at
        if life.phases[-1][0] != READY:
            pod.busy.append((life.phases[-1][1], pod.ends_at))
    if teller.recycle is not None:
        teller.recycle.until = pod.ends_at
        pod.busy.append((teller.recycle.since, pod.ends_at))
    if teller.shutdown:
        pod.busy.append((teller.shutdown[0].since, pod.ends_at))
    for step in steps:
        direction = "ahead" if step.seconds > 0 else "back"
        said = f"the clock was set {direction} by {abs(step.seconds):g} s (or the machine slept)"
        pod.marks.append(Mark(step.at, "trouble", f"clock {direction}", said))
    return pod
