"""Draw what belongs to a pod as a whole: signals, troubles, recycles and the budget of a shutdown.

Labels that would stand on each other are left out, their marks stay; marks of one pixel are one.
"""

from __future__ import annotations

from srvinit.report.timeline.markup import element, hoverable, number, rect, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.report.timeline.scale import Scale
    from srvinit.report.timeline.story import Mark, Span

CHAR_WIDTH = 7.6  # of a flag's bold label
BAND_CHAR_WIDTH = 6.2
CLOSE = 3.0  # pixels: nearer marks are drawn as one
LONGEST_LABEL = 36
SAID_TOGETHER = 8
NARROWEST = 2.0
FAILED_WIDTH = 50.0  # of the word, beside a band that has no room for it
FLAG_HEIGHT = 15.0
BAND_HEIGHT = 16.0
BUDGET = {"drain", "stop", "margin"}
RULER_STEPS_S = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 3600)
MOST_RULER_LINES = 200
RULER_PX = 7.0  # at least, between two lines of it
WORST_FIRST = ("trouble", "end", "signal", "begin", "note")


def draw_marks(marks: list[Mark], scale: Scale, y: float, bottom: float) -> str:
    """Draw flags above the rows, and a line through the rows at each but the notes.

    Where there is no room for all labels, the worse mark has its own.
    """
    groups = [(_worst(near), near) for near in _near_each_other(marks, scale)]
    taken: list[tuple[float, float]] = []
    drawn: dict[int, str] = {}
    for place in sorted(range(len(groups)), key=lambda at: WORST_FIRST.index(groups[at][0].kind)):
        worst, near = groups[place]
        x, label = scale.x(worst.at), _label(worst, near)
        width = len(label) * CHAR_WIDTH + 8
        left = x - width if worst.kind == "end" or x + width > scale.right + 12 else x
        has_room = all(left >= end or left + width <= begin for begin, end in taken)
        if has_room:
            taken.append((left, left + width + 2))
        flag = _flag(label, left, width, y, worst.kind) if has_room else _pin(x, y, worst.kind)
        drawn[place] = hoverable(
            _said(near),
            _line(x, y, bottom, worst.kind),
            *flag,
            class_=f"mark {worst.kind}",
            data_label=label,
        )
    return "".join(drawn[place] for place in sorted(drawn))


def _worst(near: list[Mark]) -> Mark:
    return min(near, key=lambda mark: WORST_FIRST.index(mark.kind))


def _label(worst: Mark, near: list[Mark]) -> str:
    labels = list(dict.fromkeys(mark.label for mark in near if mark.kind != "note"))
    together = " · ".join(labels)
    if not labels or len(together) > LONGEST_LABEL:
        others = len({mark.label for mark in near}) - 1
        return worst.label[:LONGEST_LABEL] + (f" +{others}" if others else "")
    return together


def _said(near: list[Mark]) -> str:
    said = "\n".join(mark.said for mark in near[:SAID_TOGETHER])
    more = len(near) - SAID_TOGETHER
    return said + (f"\nand {more} more" if more > 0 else "")


def _near_each_other(marks: list[Mark], scale: Scale) -> list[list[Mark]]:
    groups: list[list[Mark]] = []
    began = 0.0
    for mark in sorted(marks, key=lambda mark: mark.at):
        x = scale.x(mark.at)
        if groups and x - began < CLOSE:
            groups[-1].append(mark)
        else:
            groups.append([mark])
            began = x
    return groups


def _flag(label: str, left: float, width: float, y: float, kind: str) -> list[str]:
    return [
        rect(left, y, width, FLAG_HEIGHT, f"flag {kind}", 2.0),
        text(left + width / 2, y + 11, label, f"label {kind}", "middle"),
    ]


def _line(x: float, y: float, bottom: float, kind: str) -> str:
    path = f"M{number(x)} {number(y)}V{number(bottom)}"
    return element("path", d=path, class_=f"line {kind}")


def _pin(x: float, y: float, kind: str) -> list[str]:
    path = f"M{number(x - 3)} {number(y + FLAG_HEIGHT)}h6l-3 5z"
    return [element("path", d=path, class_=f"flag {kind}")]


def draw_spans(spans: list[Span], scale: Scale, y: float) -> str:
    """Draw recycles and the shutdown's budget as bands."""
    drawn = []
    free_from = 0.0
    for span in sorted(spans, key=lambda span: span.since):
        left, right = scale.x(span.since), scale.x(span.until)
        right = max(right, left + NARROWEST)
        if right <= free_from:  # as narrow as this, and where another one is: it would cover it
            continue
        parts = [rect(left, y, right - left, BAND_HEIGHT, f"band {span.kind}", 2.0)]
        room, begin = scale.longest_piece(span.since, span.until)
        fits = (room - 4) / BAND_CHAR_WIDTH
        label = next((said for said in _shorter(span) if len(said) <= fits), "")
        if label:
            middle = begin + room / 2
            parts.append(text(middle, y + 11.7, label, f"label {span.kind}", "middle"))
        elif span.kind == "failed" and right + FAILED_WIDTH < scale.right:
            parts.append(text(right + 4, y + 11.7, "failed", "beside"))
        if span.kind in BUDGET:
            parts.append(_ruler(span, scale, y + BAND_HEIGHT))
        if span.kind == "stop":
            parts.append(rect(right - 2, y - 2, 2, BAND_HEIGHT + 5, "deadline"))
        said = f"{span.label}\n{span.said}"
        drawn.append(hoverable(said, *parts, class_="span", data_kind=span.kind))
        free_from = right
    return "".join(drawn)


def _shorter(span: Span) -> list[str]:
    """List what a band can be called, the longest first."""
    words = span.label.split(" ")
    if span.kind in BUDGET:
        return [span.label, words[0], " ".join(words[1:])]
    return [span.label, f"{words[0]} {words[-1]}", words[-1]]


def _ruler(span: Span, scale: Scale, y: float) -> str:
    """Draw the seconds of a budget below its band."""
    step = next((one for one in RULER_STEPS_S if one * scale.per_second >= RULER_PX), 0)
    lasts = span.until - span.since
    if not step or lasts / step > MOST_RULER_LINES:
        return ""
    instants = [span.since + step * number for number in range(int(lasts / step + 1.001))]
    places = [scale.x(at) for at in instants if not scale.is_squeezed(at)]
    path = "".join(f"M{number(x)} {number(y)}v3" for x in places)
    return element("path", d=path, class_="ruler")
