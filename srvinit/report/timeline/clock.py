"""Put the times of a pod's events into an order that can be true.

Timestamps are of the wall clock, which may be set while srvinit runs. Its lines come in the order
in which things happened, and several say how long something took by a clock that cannot be set
(`after_s`, `lived_s`, `uptime_s`). So a step back is seen at once; a step ahead is seen once a
worker that lived through it ends, and is put into the longest silence of its life.

What is shown after a step is the time by the clock as it was before.
"""

from __future__ import annotations

from srvinit.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.report.timeline.lines import Event

STEP_S = 1.0  # less is the clock being slewed, or lines of one moment in another order
SHARE = 0.01  # a slewed clock runs 0.05 % off; a coarse `lived_s` more
MOST_CORRECTIONS = 32  # a log that contradicts itself at each line is left as it is from there on


class Step(Record):
    """The clock was set: by `seconds` (positive: ahead) at `at`, in the time that is shown."""

    at: float
    seconds: float


class _Straightener:
    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self.steps: list[tuple[int, float]] = []  # the event before which the clock was set
        self.began: dict[int, int] = {}  # by pid, where its start stands
        self.start: int | None = None
        self.corrections = 0

    def run(self) -> list[Step]:
        offset = 0.0
        for place, event in enumerate(self.events):
            event.at += offset
            if place:
                before = self.events[place - 1].at
                if event.at < before:
                    if before - event.at >= STEP_S:
                        self.steps.append((place, event.at - before))
                        offset += before - event.at
                    event.at = before
            moved = self._compare(place, event)
            offset -= moved
        return [
            Step(self.events[place].at, seconds)
            for place, seconds in sorted(self.steps)
            if abs(seconds) >= STEP_S
        ]

    def _compare(self, place: int, event: Event) -> float:
        """Compare with what the event says it took; return by how much the clock is ahead."""
        since, took = self._told(place, event)
        if since is None or took is None or self.corrections >= MOST_CORRECTIONS:
            return 0.0
        ahead = event.at - self.events[since].at - took
        if abs(ahead) < max(STEP_S, SHARE * took):
            return 0.0
        self.corrections += 1
        at = self._likely_place(since, place, ahead)
        room = self.events[at].at - self.events[at - 1].at
        ahead = min(ahead, room)  # never before what came before
        for later in self.events[at : place + 1]:
            later.at -= ahead
        self._note(at, ahead)
        return ahead

    def _note(self, at: int, ahead: float) -> None:
        for number, (place, seconds) in enumerate(self.steps):
            if place == at:
                self.steps[number] = (place, seconds + ahead)
                return
        self.steps.append((at, ahead))

    def _told(self, place: int, event: Event) -> tuple[int | None, float | None]:
        pid, fields = event.fields.get("pid", 0), event.fields
        if event.name == "srvinit.started":
            self.start = place
            self.began.clear()
        elif event.name == "worker.started":
            self.began[pid] = place
        elif event.name == "worker.ready":
            return self.began.get(pid), fields.get("after_s")
        elif event.name == "worker.exited":
            return self.began.pop(pid, None), fields.get("lived_s")
        elif event.name == "srvinit.exiting":
            return self.start, fields.get("uptime_s")
        return None, None

    def _likely_place(self, since: int, until: int, ahead: float) -> int:
        """Say before which event the clock was set: where it was seen to be, or in a silence."""
        if ahead < 0:
            known = [place for place, _ in self.steps if since < place <= until]
            if known:
                return known[-1]
        events = self.events
        return max(range(since + 1, until + 1), key=lambda at: events[at].at - events[at - 1].at)


def straighten(events: list[Event]) -> list[Step]:
    """Correct `at` of a pod's events, which are in the order of its log; return the clock's steps.

    Afterwards no event is earlier than the one before it.
    """
    return _Straightener(events).run()
