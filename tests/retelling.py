"""Hold a log against the core: told what its lines say has happened, it must say all the others.

    retell(lines, beginning)  ->  "", or what nothing explains

A log does not tell everything: a timer, an empty queue or a watchdog's ping leaves no line of its
own. So before each line there may be several things that have just happened, and the search goes on
with one after the other until one of them explains the rest of the log. The core is a whole `Pool`
each time. Nobody carries out what it orders; it is only checked, above all that each worker it
starts is one of the log's, and that it signals nobody who is not there.

Lines that the core has no part in (of sockets, probes, orphans) are passed over. A log that lacks
lines cannot be told again.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from evidence import TELLS, Line

import srvinit.lifecycle
from srvinit.errors import LifecycleError
from srvinit.lifecycle import actions, ending, events
from srvinit.lifecycle.pool import Pool
from srvinit.lifecycle.worker import QUIESCING
from srvinit.report.catalogue import EVENTS, LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from srvinit.lifecycle.actions import Action
    from srvinit.lifecycle.events import Event
    from srvinit.lifecycle.worker import Worker
    from srvinit.options import Options

# What srvinit measured against what the times of its lines make of it: it may have been stopped
# between its look at the clock and the line.
MEASURED_WITHIN_S = 2.0
# A deadline may be so much later than the line that it leads to: times of lines are rounded.
EARLY_S = 0.02
# A line so much later than a deadline is not what came of it.
LATE_S = 0.5
# Tries for each line: a log that is true needs one or two.
TRIES_PER_LINE = 30

#: The events that the core says, from its source; the last line is said of its `Exit`.
SAID_BY_CORE = frozenset(
    name
    for path in Path(srvinit.lifecycle.__path__[0]).glob("*.py")
    for name in re.findall(r'\bLog\(\s*"([a-z_.]+)"', path.read_text())
) | {"srvinit.exiting"}


class Beginning(NamedTuple):
    """What the log does not say: the settings, worker.count, and whether the kernel is steered.

    `written_late_s` is how much later than what it tells of a line may be written.
    `settings`, with a worker.count each, are those that can have been read: config.read names those
    that have changed, and not what they have become.
    """

    options: Options
    count: int
    is_steered: bool
    settings: Sequence[tuple[Options, int]] = ()
    written_late_s: tuple[float, ...] = ()


def retell(lines: Iterable[Line], beginning: Beginning) -> str:
    """Return "" for a log that the core can tell too, else the first line that it cannot tell."""
    lowest = LEVELS[beginning.options.log_level]
    told = [
        line
        for line in lines
        if line.event in SAID_BY_CORE and LEVELS[EVENTS[line.event].level] >= lowest
    ]
    first = Tale(beginning, told)
    first.waiting.append(events.Begin(is_steered=beginning.is_steered))
    trail = [_continued(first)]
    furthest = (-1, "nothing was said")
    tries = TRIES_PER_LINE * (1 + len(beginning.written_late_s)) * (len(told) + 10)
    for _ in range(tries):
        if not trail:
            break
        tale = next(trail[-1], None)
        if tale is None:
            trail.pop()
        elif isinstance(tale, UnlikeError):
            furthest = max(furthest, (tale.place, str(tale)), key=lambda it: it[0])
        elif tale.is_told:
            return ""
        else:
            trail.append(_continued(tale))
    place, why = furthest
    line = told[place] if place < len(told) else "no line"
    before = told[place - 1] if place else "nothing"
    return f"line {place} of {len(told)}: {line}, where {why}; before it: {before}"


def _continued(tale: Tale) -> Iterator[Tale | UnlikeError]:
    """Yield the tale with each thing that may have come next, the likeliest first."""
    possible = list(tale.possible())
    if not possible:
        yield UnlikeError(tale.place, "nothing leads on")
    for number, (event, now) in enumerate(possible):
        following = tale.copied() if number < len(possible) - 1 else tale
        before = tale.progress
        try:
            following.live(event, now)
        except UnlikeError as unlike:
            yield unlike
        except LifecycleError as impossible:
            yield UnlikeError(tale.place, f"the core cannot take it: {impossible}")
        else:
            leaves_trace = type(event) in LEAVES_A_TRACE and event != FIRST_INTERRUPT
            if leaves_trace and before == following.progress:
                yield UnlikeError(tale.place, f"{event!r} changes nothing")
            else:
                yield following


def _readable(
    lines: Sequence[Line], settings: Sequence[tuple[Options, int]]
) -> dict[int, list[tuple[Options, int]]]:
    """Say, by the place of each config.read, what can have been read for the later ones' sake.

    Two files may differ from what was before in the same settings; only the next reading tells
    which of them it was, and the search would find that out too late.
    """
    readable: dict[int, list[tuple[Options, int]]] = {}
    following = changed = None
    for place in range(len(lines) - 1, -1, -1):
        if lines[place].event == "config.read":
            readable[place] = [
                (options, count)
                for options, count in settings
                if following is None
                or any(options.changed(later) == changed for later, _ in following)
            ]
            following, changed = readable[place], lines[place].fields["changed"]
    return readable


class UnlikeError(Exception):
    """What was tried does not lead to the line at `place`."""

    def __init__(self, place: int, text: str) -> None:
        super().__init__(text)
        self.place = place


class Tale:
    """A pool that has lived through the first `place` lines."""

    def __init__(self, beginning: Beginning, lines: Sequence[Line]) -> None:
        self.beginning = beginning
        self.lines = lines
        self.readable = _readable(lines, beginning.settings)
        self.pool = Pool(beginning.options, beginning.count)
        self.place = 0
        self.now = lines[0].at if lines else 0.0
        #: What comes before everything else: events, and orders that an event is the answer to.
        self.waiting: list[Event | Action] = []
        self.unanswered: list[Action] = []  # watches that may be answered at any time
        self.living: set[int] = set()  # not reaped

    def copied(self) -> Tale:
        """Return one that can be led elsewhere. Settings do not change, and are shared."""
        new = copy.copy(self)
        known = (self.beginning.options, *(options for options, _ in self.beginning.settings))
        new.pool = copy.deepcopy(self.pool, {id(options): options for options in known})
        new.waiting, new.unanswered = list(self.waiting), list(self.unanswered)
        new.living = set(self.living)
        return new

    @property
    def progress(self) -> tuple[int, float | None]:
        """Where this is: what changes neither the place nor the next deadline did not happen."""
        return self.place, self.pool.next_deadline()

    @property
    def is_told(self) -> bool:
        """Whether this is the end, of the log and of srvinit."""
        return self.place == len(self.lines) and self.pool.phase == ending.DONE

    # --- what may have happened ------------------------------------------------------------------

    def possible(self) -> Iterator[tuple[Event, float]]:
        """List what may come next, and when."""
        if self.waiting:
            for event in self._answers(self.waiting[0]):
                yield event, self._line.at if self._line is not None else self.now
            return
        line = self._line
        if line is None:
            return
        due, is_late = self.pool.next_deadline(), False
        is_due = due is not None and due <= line.at + EARLY_S
        if due is not None and is_due:
            is_late = line.at > due + LATE_S and line.event != "srvinit.suspended"
            yield events.Tick(), due if is_late else max(line.at, due)
        for event in self._told_of(line):
            yield event, line.at
        yield from self._untold(line)
        if due is not None and is_due and due < line.at:
            # And nothing that fell due meanwhile; or srvinit itself was stopped.
            yield events.Tick(), line.at if is_late else due
        yield from self._unlikely(line)

    def _unlikely(self, line: Line) -> Iterator[tuple[Event, float]]:
        """List what nobody would think of, but that nothing else explains the rest of the log."""
        dues = {by for by, *_ in self.pool._timers if by < line.at}
        for due in sorted(dues)[1:]:  # srvinit was stopped until then, and went on a bit late
            yield events.Tick(), due
        if line.event in SETS_TIMER:
            for late_s in self.beginning.written_late_s:
                for event in self._told_of(line):  # so that its timer comes before another's
                    yield event, line.at - late_s
        if line.event not in TELLS:
            for order in self.unanswered:
                if isinstance(order, actions.CloseSeat):
                    yield events.SeatWaits(order.seat), line.at

    @property
    def _line(self) -> Line | None:
        return self.lines[self.place] if self.place < len(self.lines) else None

    def _answers(self, waiting: Event | Action) -> Iterator[Event]:
        line = self._line
        if isinstance(waiting, events.Event):
            yield waiting
        elif line is not None and isinstance(waiting, actions.Spawn):
            if (line.fields.get("slot"), line.fields.get("generation")) != (
                waiting.slot,
                waiting.generation,
            ):
                return
            if line.event == "worker.started" and line.fields["pid"] not in self.living:
                yield events.Spawned(waiting.number, line.fields["pid"])
            elif line.event == "worker.spawn_failed":
                yield events.SpawnFailed(waiting.number, line.fields["error"])
        elif line is not None and line.event == "config.rejected":
            yield events.ConfigRejected(line.fields["faults"])
        elif line is not None and line.event == "config.read":
            for options, count in self.readable[self.place]:
                if self.pool.options.changed(options) == line.fields["changed"]:
                    yield events.ConfigRead(options, count)

    def _told_of(self, line: Line) -> list[Event]:
        """Return what this line can tell of, as the supervisor told it to the core."""
        tells = TELLS.get(line.event)
        return [] if tells is None else tells(self.pool, line.fields)

    def _untold(self, line: Line) -> Iterator[tuple[Event, float]]:
        """List what leaves no line, as late as it can have been: it is tried for what follows."""
        pid = line.fields.get("pid")
        for worker in self.pool.workers.values():
            if worker.hang_by is not None and worker.hang_by <= line.at + EARLY_S:
                is_hung = line.event == "worker.hung" and worker.pid == pid
                pinged_at = line.at - is_hung * worker.options.worker_watchdog
                if pinged_at + worker.options.worker_watchdog > worker.hang_by:
                    yield events.Pinged(worker.pid), pinged_at
        watched = {it.pid for it in self.unanswered if isinstance(it, actions.WatchSeat)}
        for stopping in filter(watched.__contains__, self._stopping()):
            quiesce = self.pool.workers[stopping].options.worker_quiesce
            yield events.SeatEmptied(stopping), line.at - quiesce
        for order in self.unanswered:
            if isinstance(order, actions.WatchQueue) and line.event not in TELLS:
                yield events.QueueEmptied(), line.at
            elif isinstance(order, actions.Sweep) and line.event == "srvinit.exiting":
                yield events.OrphansGone(), line.at
        if line.event == "shutdown.impatient" and self.pool.end.interrupted_at is None:
            yield FIRST_INTERRUPT, line.at - ending.IMPATIENCE_S

    def _stopping(self) -> Iterator[int]:
        """List who is asked to stop now: several may be at once, and before what else is due."""
        for line in self.lines[self.place :]:
            if line.event != "worker.stopping":
                return
            yield line.fields["pid"]

    # --- what the core makes of it ---------------------------------------------------------------

    def live(self, event: Event, now: float) -> None:
        """Go on with what happened. Raises UnlikeError where the log does not say what follows."""
        answered = self.waiting.pop(0) if self.waiting else self._watch_of(event)
        if answered in self.unanswered:
            self.unanswered.remove(answered)
        seen_at, now = now, self._forwards(event, now)
        if isinstance(event, events.Spawned):
            self.living.add(event.pid)
        answers: list[Event | Action] = []
        for order in self.pool.handle(event, now):
            if isinstance(order, (actions.Spawn, actions.ReadConfig)):
                answers.append(order)
            elif type(order) in ANSWERED_BY.values() and getattr(order, "by", None) is None:
                self.unanswered.append(order)
            else:
                self._see(order)
        self.waiting = answers + self.waiting
        if isinstance(event, events.SeatEmptied) and now > seen_at:
            self._set_back(self.pool.workers[event.pid], now - seen_at)

    def _see(self, order: Action) -> None:
        if isinstance(order, actions.Log):
            self._hear(order.event, order.fields, order.level)
        elif isinstance(order, actions.Exit):
            self._hear("srvinit.exiting", {"status": order.status, "reason": order.reason})
        elif isinstance(order, (actions.Signal, actions.KillGroup, actions.Reap)):
            self._reach(order)

    def _forwards(self, event: Event, now: float) -> float:
        """Say at what time an event is told: where rules follow from it, none before the last's."""
        if type(event) in {events.Tick, events.Pinged} or event == FIRST_INTERRUPT:
            return now
        self.now = max(self.now, now)
        return self.now

    def _set_back(self, worker: Worker, by_s: float) -> None:
        """Let worker.quiesce run from when its queue was empty, which was some time ago."""
        if worker.state == QUIESCING and worker.deadline is not None:
            worker.deadline -= by_s
            self.pool._set_timer(worker, worker.deadline, "state")

    def _watch_of(self, event: Event) -> Action | None:
        """Return the order that this event is the answer to."""
        asked = ANSWERED_BY.get(type(event))
        for order in self.unanswered:
            if isinstance(order, actions.WatchSeat) and asked is actions.WatchSeat:
                if order.pid == event.pid:  # type: ignore[attr-defined]
                    return order
            elif isinstance(order, actions.CloseSeat) and asked is actions.CloseSeat:
                if order.seat == event.seat:  # type: ignore[attr-defined]
                    return order
            elif type(order) is asked:
                return order
        return None

    def _reach(self, order: actions.Signal | actions.KillGroup | actions.Reap) -> None:
        if order.pid not in self.living:
            raise UnlikeError(self.place, f"{order} reaches nobody")
        if isinstance(order, actions.Reap):
            self.living.remove(order.pid)
            watch = (actions.WatchSeat,)
            self.unanswered = [
                it for it in self.unanswered if not (isinstance(it, watch) and it.pid == order.pid)
            ]

    def _hear(self, event: str, fields: Mapping[str, Any], level: str = "") -> None:
        """Find what the core says in the log: it must be the next line."""
        if LEVELS[level or EVENTS[event].level] < LEVELS[self.beginning.options.log_level]:
            return
        line = self._line
        if line is None or line.event != event or not _are_alike(fields, line.fields):
            raise UnlikeError(self.place, f"the core says {event} {dict(fields)}")
        self.place += 1


#: One that comes when srvinit is stopping already: it says nothing, and waits for the next.
FIRST_INTERRUPT = events.SignalArrived("INT")
SETS_TIMER = {"worker.ready", "worker.exited"}
#: What is tried again and again: it did not happen if it leaves everything as it is.
LEAVES_A_TRACE = {events.Tick, events.SignalArrived, events.BecameReady, events.PathsChanged}
#: Answers that may come at any time, and what they are answers to.
ANSWERED_BY: dict[type[Event], type[Action]] = {
    events.SeatEmptied: actions.WatchSeat,
    events.QueueEmptied: actions.WatchQueue,
    events.SeatWaits: actions.CloseSeat,
    events.OrphansGone: actions.Sweep,
}


def _are_alike(said: Mapping[str, Any], told: Mapping[str, Any]) -> bool:
    """Compare fields; what srvinit measured may differ, and uptime_s is no business of the core."""
    for name in (said.keys() | told.keys()) - {"uptime_s"}:
        ours, its = said.get(name), told.get(name)
        if ours == its:
            continue
        is_measured = name.endswith("_s") or name == "seconds"
        if not is_measured or ours is None or its is None or abs(ours - its) > MEASURED_WITHIN_S:
            return False
    return True
