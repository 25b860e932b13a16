"""Bring instants onto the paper: one second is the same width everywhere, but for quiet stretches.

A log of a day holds a minute in which something happened. A stretch in which nothing starts, stops
or is marked in any pod is squeezed into a narrow break that says how long it was, where such
stretches stand out: where each is several times as long as any that is kept.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime

from srvinit.record import Record

STANDS_OUT = 4  # times the next longest
SHORTEST_BREAK_S = 10.0
SHARE = 0.08  # of what is kept: a shorter stretch is in nobody's way
MOST_BREAKS = 12
BREAK_WIDTH = 44.0
BREAK_EDGE = 12.0  # of it, on both sides, what it shows of what goes on through it
PAD = 0.03  # of what is kept: shown of a quiet stretch at both of its ends
SHORTEST_PAD_S = 0.01  # where nothing else is kept, there is something to see
STEPS_S = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300),
    *(600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 7 * 86400, 28 * 86400, 364 * 86400),
)
LABEL_WIDTH = 88.0  # a tick's label and the space beside it


class Break(Record):
    """A quiet stretch that was squeezed to the place from `x` to `x + BREAK_WIDTH`."""

    x: float
    since: float
    until: float


class Scale:
    """The common axis: `x(instant)`; from `left`, `width` wide."""

    def __init__(
        self,
        since: float,
        until: float,
        quiet: list[tuple[float, float]],
        left: float,
        width: float,
    ) -> None:
        self.since, self.until = since, max(until, since + 0.001)
        self.left, self.right = left, left + width
        squeezed = stretches_to_squeeze(quiet, self.until - self.since)
        lasts = sum(end - begin for begin, end in squeezed)
        room = width - BREAK_WIDTH * len(squeezed)
        self.per_second = room / (self.until - self.since - lasts)
        self.breaks: list[Break] = []
        self._from: list[float] = []
        self._pieces: list[tuple[float, float, float, float]] = []  # since, until, x, per second
        self._lay_out(squeezed)

    def _lay_out(self, squeezed: list[tuple[float, float]]) -> None:
        at, x = self.since, self.left
        for begin, end in [*squeezed, (self.until, self.until)]:
            self._pieces.append((at, begin, x, self.per_second))
            x += (begin - at) * self.per_second
            if end > begin:
                self.breaks.append(Break(x, begin, end))
                self._pieces.append((begin, end, x, BREAK_WIDTH / (end - begin)))
                x += BREAK_WIDTH
            at = end
        self._from = [piece[0] for piece in self._pieces]

    def x(self, at: float) -> float:
        """Say where an instant is; one beside the paper is at its edge."""
        at = min(max(at, self.since), self.until)
        place = max(0, bisect_right(self._from, at) - 1)
        since, _, x, per_second = self._pieces[place]
        return x + (at - since) * per_second

    def is_squeezed(self, at: float) -> bool:
        """Tell whether an instant is in a break."""
        return any(one.since < at < one.until for one in self.breaks)

    def longest_piece(self, since: float, until: float) -> tuple[float, float]:
        """Return width and beginning of the widest place between two instants without a break."""
        pieces = []
        left, right = self.x(since), self.x(until)
        for one in self.breaks:
            if left < one.x + BREAK_WIDTH and one.x < right:
                pieces.append((one.x + BREAK_EDGE - left, left))
                left = one.x + BREAK_WIDTH - BREAK_EDGE
        return max([*pieces, (right - left, left)], key=lambda piece: piece[0])

    def ticks(self) -> list[tuple[float, str]]:
        """Return the places of round times, and what the clock said: UTC."""
        step = next((s for s in STEPS_S if s * self.per_second >= LABEL_WIDTH), STEPS_S[-1])
        found: list[tuple[float, str]] = []
        last = self.left - LABEL_WIDTH
        for since, until, x, per_second in self._pieces:
            if per_second != self.per_second:
                continue
            number = -(-since // step)
            while number * step <= until:
                place = x + (number * step - since) * per_second
                if place - last >= LABEL_WIDTH and place <= self.right:
                    found.append((place, clock(number * step, step)))
                    last = place
                number += 1
        return found


def clock(at: float, step: float = 1.0) -> str:
    """Write an instant as a clock shows it, as precise as `step` seconds ask for."""
    when = datetime.fromtimestamp(round(at, 3), UTC)
    if step >= 86400:  # noqa: PLR2004  a day
        return when.strftime("%Y-%m-%d")
    if step > 3600:  # noqa: PLR2004  an hour
        return when.strftime("%m-%d %H:%M")
    if step >= 1:
        return when.strftime("%H:%M:%S")
    digits = 1 if step >= 0.1 else 2 if step >= 0.01 else 3  # noqa: PLR2004
    return when.strftime("%H:%M:%S.") + f"{when.microsecond // 1000:03d}"[:digits]


def quiet_stretches(
    busy: list[tuple[float, float]], since: float, until: float
) -> list[tuple[float, float]]:
    """Return what no busy stretch covers."""
    found = []
    at = since
    for begin, end in sorted(busy):
        if begin > at:
            found.append((at, begin))
        at = max(at, end)
    if until > at:
        found.append((at, until))
    return found


def stretches_to_squeeze(
    quiet: list[tuple[float, float]], whole_s: float
) -> list[tuple[float, float]]:
    """Choose the stretches that stand out, with a little left of both ends of each."""
    lasts = sorted((end - begin for begin, end in quiet), reverse=True)
    lasts.append(0.0)
    count = 0
    for number in range(1, min(MOST_BREAKS, len(quiet)) + 1):
        shortest = lasts[number - 1]
        kept = whole_s - sum(lasts[:number])
        is_worth_it = shortest >= max(SHORTEST_BREAK_S, SHARE * kept)
        if is_worth_it and shortest >= STANDS_OUT * lasts[number]:
            count = number
    if not count:
        return []
    least = lasts[count - 1]
    kept = whole_s - sum(lasts[:count])
    pad = min(max(PAD * kept, SHORTEST_PAD_S), least / 4)
    chosen = [(begin, end) for begin, end in quiet if end - begin >= least]
    return [(begin + pad, end - pad) for begin, end in chosen[:MOST_BREAKS]]
