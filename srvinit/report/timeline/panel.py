"""Draw one pod: its name, its signals, its recycles, and below them a row for each slot."""

from __future__ import annotations

from srvinit import words
from srvinit.record import Record
from srvinit.report.timeline import bars, marks
from srvinit.report.timeline.markup import element, rect, text
from srvinit.report.timeline.story import CRASHED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.report.timeline.scale import Scale
    from srvinit.report.timeline.story import Life, Pod

LEFT = 72.0  # where the time begins; before it stand the slots' names
RIGHT = 16.0
WIDTH = 1160.0
HEAD = 42.0  # the pod's name and what it runs
# Lane heights by the number of slots: a pod of a thousand workers must fit on a screen or two.
HEIGHTS = ((24, 17.0), (80, 9.0), (400, 4.0))
LOWEST = 2.0
NAMED_EVERY_PX = 16.0


class Panel(Record):
    """A drawn pod: markup, and where its flags begin and its rows end."""

    drawn: str
    top: float
    bottom: float


def draw(pod: Pod, scale: Scale, y: float) -> Panel:
    """Draw a pod below `y`."""
    slots: dict[int, list[Life]] = {}
    for life in pod.lives:
        slots.setdefault(life.slot, []).append(life)
    height = next((lane for most, lane in HEIGHTS if len(slots) <= most), LOWEST)
    gap = max(1.0, height / 4)

    name = pod.name or "srvinit"
    parts = [
        text(LEFT, y + 14, name, "name"),
        text(LEFT, y + 30, summary(pod), "said"),
        text(scale.right, y + 14, pod.title, "said", "end"),
    ]
    flags_y = y + HEAD
    top = flags_y + marks.FLAG_HEIGHT + 5
    has_bands = bool(pod.spans)
    rows_y = top + (marks.BAND_HEIGHT + 6 if has_bands else 0)
    rows, at = [], rows_y
    named_below = 0.0
    for number, slot in enumerate(sorted(slots)):
        lanes = bars.lanes_of(bars.bars_of(slots[slot], scale))
        row = len(lanes) * (height + 1) - 1 + 2 * gap
        if number % 2 == 0:
            parts.append(rect(LEFT, at, scale.right - LEFT, row, "row"))
        if at >= named_below:
            parts.append(text(LEFT - 8, at + row / 2 + 3.5, f"slot {slot}", "slot", "end"))
            named_below = at + NAMED_EVERY_PX
        rows += [
            bars.draw_lane(lane, scale, at + gap + place * (height + 1), height)
            for place, lane in enumerate(lanes)
        ]
        at += row
    parts.append(marks.draw_marks(pod.marks, scale, flags_y, at))
    parts.append(marks.draw_spans(pod.spans, scale, top))
    drawn = element("g", *parts, *rows, class_="pod", data_pod=pod.name)
    return Panel(drawn, flags_y, at)


def summary(pod: Pod) -> str:
    """Say in one line what a pod's log holds."""
    kinds = [span.kind for span in pod.spans]
    crashed = sum(life.end == CRASHED for life in pod.lives)
    killed = sum(life.killed_at is not None for life in pod.lives)
    failed, done = kinds.count("failed"), kinds.count("recycle")
    exits = [mark.label for mark in pod.marks if mark.kind == "end"]
    parts = [
        words.counted(len(pod.lives), "worker"),
        words.counted(done, "recycle") if done else "",
        words.counted(failed, "failed recycle") if failed else "",
        f"{crashed} crashed" if crashed else "",
        f"{killed} killed" if killed else "",
        exits[-1] if exits else "running when the log ends",
    ]
    return f"{words.duration(pod.ends_at - pod.begins_at)}: {', '.join(filter(None, parts))}"
