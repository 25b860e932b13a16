"""Draw the workers of one slot: a bar for each life, beside each other where two live at once.

Lives that are too short to be told apart, as those of a program that ends at once, are drawn as one
bar that says how many they are: so no log makes more bars than the paper has pixels for.
"""

from __future__ import annotations

from srvinit import words
from srvinit.record import Record
from srvinit.report.timeline.markup import element, hoverable, number, rect, text
from srvinit.report.timeline.story import (
    CRASHED,
    KILLING,
    LEFT,
    READY,
    RUNNING,
    STARTING,
    STOPPED,
    UNSEEN,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.report.timeline.scale import Scale
    from srvinit.report.timeline.story import Life

NARROWEST = 2.5  # pixels: a narrower bar cannot be seen
CLOSE = 1.5  # pixels between bars that are drawn as one
CHAR_WIDTH = 6.2
LINES_SAID = 12  # of what the log says of one life
NAMES_SHOWN_FROM = 12  # pixels of a bar's height

END_WORDS = {
    CRASHED: "crashed",
    STOPPED: "stopped",
    LEFT: "ended by itself",
    UNSEEN: "its end is not in the log",
    RUNNING: "still there when the log ends",
}


class Bar(Record):
    """Lives drawn as one, with the place they take."""

    lives: list[Life]
    left: float
    right: float


def bars_of(lives: list[Life], scale: Scale) -> list[Bar]:
    """Return the bars of one slot's lives, from left to right."""
    bars: list[Bar] = []
    for life in sorted(lives, key=lambda life: life.began_at):
        left, right = scale.x(life.began_at), scale.x(life.ended_at)
        before = bars[-1] if bars else None
        is_narrow = right - left < NARROWEST
        right = max(right, left + NARROWEST)
        if (
            before is not None
            and is_narrow
            and left - before.right < CLOSE
            and (len(before.lives) > 1 or before.right - before.left <= NARROWEST)
        ):
            before.lives.append(life)
            before.right = max(before.right, right)
        else:
            bars.append(Bar([life], left, right))
    return bars


def lanes_of(bars: list[Bar]) -> list[list[Bar]]:
    """Share the bars out: those in one lane follow each other."""
    lanes: list[list[Bar]] = []
    for bar in bars:
        for lane in lanes:
            if lane[-1].right <= bar.left + CLOSE / 2:
                lane.append(bar)
                break
        else:
            lanes.append([bar])
    return lanes


def draw_lane(lane: list[Bar], scale: Scale, y: float, height: float) -> str:
    """Draw the bars of one lane, and a dotted line where a crashed worker's place was empty."""
    drawn = []
    for before, bar in zip([None, *lane], lane, strict=False):
        if before is not None and before.lives[-1].end in {CRASHED, LEFT}:
            middle = y + height / 2
            path = f"M{number(before.right)} {number(middle)}H{number(bar.left)}"
            drawn.append(element("path", d=path, class_="waiting"))
    for bar in lane:
        one = len(bar.lives) == 1
        draw = _draw_life(bar, scale, y, height) if one else _draw_crowd(bar, y, height)
        drawn.append(draw)
    return "".join(drawn)


# --- one life ------------------------------------------------------------------------------------


def _draw_life(bar: Bar, scale: Scale, y: float, height: float) -> str:
    life = bar.lives[0]
    parts = [*_phases(life, bar, scale, y, height), *_name(life, scale, y, height)]
    if life.settled_at is not None:
        at = scale.x(life.settled_at)
        parts.append(rect(at, y, 1.5, height / 4, "settled"))
    if not life.has_start:
        parts.append(_torn(bar.left, y, height, -1))
    if life.end in {RUNNING, UNSEEN}:
        parts.append(_torn(bar.right, y, height, 1))
    parts += _marks(life, bar, scale, y + height / 2, height)
    return hoverable(
        said_of(life),
        *parts,
        class_=f"life g{life.generation % 2}",
        data_slot=life.slot,
        data_pid=life.pid,
        data_generation=life.generation,
        data_states=" ".join(state for state, _ in life.phases),
        data_end=life.end,
    )


def _phases(life: Life, bar: Bar, scale: Scale, y: float, height: float) -> list[str]:
    ends = [since for _, since in life.phases[1:]] + [life.ended_at]
    drawn = []
    left = bar.left
    for (state, _), until in zip(life.phases, ends, strict=True):
        is_last = until == ends[-1]
        right = max(left, bar.right if is_last else min(scale.x(until), bar.right))
        if right - left > 0.05 or state == KILLING:  # noqa: PLR2004  pixels
            drawn.append(rect(left, y, max(right - left, 0.8), height, f"s {state}"))
        left = right
    return drawn


def _name(life: Life, scale: Scale, y: float, height: float) -> list[str]:
    """Write generation and pid into the longest part of the bar, where there is room."""
    if height < NAMES_SHOWN_FROM:
        return []
    ends = [since for _, since in life.phases[1:]] + [life.ended_at]
    pieces = [
        (*scale.longest_piece(since, until), "in" if state == READY else "in late")
        for (state, since), until in zip(life.phases, ends, strict=True)
        if state != STARTING  # its hatching would spoil the letters
    ]
    room, left, kind = max(pieces, default=(0.0, 0.0, ""))
    for said in (f"gen {life.generation} · pid {life.pid}", f"gen {life.generation}"):
        if len(said) * CHAR_WIDTH + 14 < room:
            return [text(left + 6, y + height / 2 + 3.7, said, kind)]
    return []


def _marks(life: Life, bar: Bar, scale: Scale, middle: float, height: float) -> list[str]:
    drawn = []
    size = min(5.0, height / 2)
    if life.killed_at is not None:
        x = scale.x(life.killed_at)
        path = f"M{number(x)} {number(middle - size - 2)}l{size} {size + 2}l-{size} {size + 2}l-"
        path += f"{size} -{size + 2}z"
        drawn.append(element("path", d=path, class_="kill"))
    if life.end == CRASHED:
        drawn.append(_cross(bar.right, middle, size))
    return drawn


def _cross(x: float, middle: float, size: float) -> str:
    left, top = number(x - size), number(middle - size)
    twice = number(2 * size)
    path = f"M{left} {top}l{twice} {twice}m0 -{twice}l-{twice} {twice}"
    return element("path", d=path, class_="halo") + element("path", d=path, class_="crash")


def _torn(x: float, y: float, height: float, direction: int) -> str:
    """Draw an edge that says: there was more, the log does not have it."""
    step = height / 4
    teeth = "".join(f"l{3 * direction * (-1) ** n} {number(step)}" for n in range(4))
    path = f"M{number(x)} {number(y)}{teeth}"
    return element("path", d=path, class_="torn")


def said_of(life: Life) -> str:
    """Say a life in words, a line for each thing that happened."""
    head = f"worker {life.slot} (pid {life.pid}), generation {life.generation}"
    lasted = words.duration(max(0.0, life.ended_at - life.began_at))
    end = f"{END_WORDS[life.end]}{': ' + life.reason if life.reason else ''}"
    if not life.has_start:
        end += "; its start is not in the log"
    said = [f"+{at - life.began_at:.3f} s  {sentence}" for at, sentence in life.said]
    if len(said) > LINES_SAID:
        said[LINES_SAID - 2 : -1] = ["…"]
    return "\n".join([f"{head}: {lasted}, {end}", *said])


# --- many ----------------------------------------------------------------------------------------


def _draw_crowd(bar: Bar, y: float, height: float) -> str:
    crashed = sum(life.end == CRASHED for life in bar.lives)
    last = bar.lives[-1]
    lasted = words.duration(max(0.0, last.ended_at - bar.lives[0].began_at))
    said = f"{len(bar.lives)} workers of slot {last.slot} within {lasted}, {crashed} crashed"
    if last.reason:
        said += f"; the last ended with {last.reason}"
    kind = "crashing" if crashed * 2 >= len(bar.lives) else "coming"
    return hoverable(
        said,
        rect(bar.left, y, bar.right - bar.left, height, f"s {kind}"),
        class_="crowd",
        data_slot=last.slot,
        data_lives=len(bar.lives),
        data_crashed=crashed,
    )
