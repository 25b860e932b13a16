"""Load by a schedule, as helpers/arrivals.c sends it, and what became of it.

The arrivals are a Poisson process of a fixed rate: independent clients. Arrivals at equal distances
would flatter one queue for all. The same seed gives the same arrivals, so two servers that are
compared get the same.
"""

from __future__ import annotations

import random
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from measure import quantile

NEW, KEPT = "new", "kept"
CLIENTS = 64  # kept connections; and clients at saturation
STAGGER_US = 2000  # between their first requests: whoever is up first would take them all
MOST_A_SECOND = 25_000  # at saturation
WARM_UP_S = 0.1


class Outcome(NamedTuple):
    """What became of one request, in microseconds; `took` counts from when it was due."""

    due: int
    late: int
    took: int
    is_slow: bool
    how: str


class Mix(NamedTuple):
    """What is asked for, whatever the rate."""

    kind: str  # NEW or KEPT
    slow_part: float = 0.0  # of the requests that go to /slow

    def path(self, dice: random.Random) -> str:
        """Pick the next request's."""
        return "/slow" if dice.random() < self.slow_part else "/"


@dataclass
class Stretch:
    """What became of one stretch of load. Times are of the answered requests that were not slow."""

    asked: float  # requests a second; 0: saturation
    seconds: float
    per_second: float  # answered
    took_ms: list[float] = field(repr=False)
    late_ms: list[float] = field(repr=False)
    lost: Counter[str]
    others: float = 0.0  # the part of all processors that other programs had meanwhile

    def at(self, part: float) -> float:
        """Return a quantile, in ms."""
        return quantile(self.took_ms, part)

    def summary(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "asked_per_second": round(self.asked, 1),
            "per_second": round(self.per_second, 1),
            "answered": len(self.took_ms),
            "p50_ms": round(self.at(0.5), 3),
            "p99_ms": round(self.at(0.99), 3),
            "p999_ms": round(self.at(0.999), 3),
            "begun_late_p99_ms": round(quantile(self.late_ms, 0.99), 3),
            "lost": dict(self.lost),
            "others": round(self.others, 3),
        }


class Generator:
    """The compiled helper."""

    def __init__(self, path: str) -> None:
        self._path = path

    def saturate(self, port: int, mix: Mix, seconds: float) -> Stretch:
        """Have CLIENTS clients ask as fast as they are answered."""
        warm_s = WARM_UP_S + CLIENTS * STAGGER_US / 1e6
        dice = random.Random(CLIENTS)  # noqa: S311  no secret
        count = int(MOST_A_SECOND * (warm_s + seconds))
        lines = [f"{i * STAGGER_US} {mix.path(dice)}" for i in range(count)]
        outcomes = self._run(port, mix.kind, lines, warm_s + seconds)
        return _judged(outcomes, 0.0, warm_s, seconds)

    def arrive(self, port: int, mix: Mix, rate: float, seconds: float, seed: int) -> Stretch:
        """Send `rate` requests a second, when they are due; the slow ones are scattered."""
        dice = random.Random(seed)  # noqa: S311  no secret
        warm_s = max(WARM_UP_S, 2 * CLIENTS / rate if mix.kind == KEPT else 0.0)
        lines = []
        due_s = 0.0
        while (due_s := due_s + dice.expovariate(rate)) < warm_s + seconds:
            lines.append(f"{due_s * 1e6:.0f} {mix.path(dice)}")
        return _judged(self._run(port, mix.kind, lines), rate, warm_s, seconds)

    def _run(self, port: int, kind: str, lines: list[str], end_s: float = 0.0) -> list[Outcome]:
        command = [self._path, str(port), kind, str(CLIENTS), f"{end_s * 1e6:.0f}"]
        told = subprocess.run(
            command, input="\n".join(lines), capture_output=True, check=True, text=True
        )
        outcomes = []
        for line in told.stdout.splitlines():
            due, late, took, path, how = line.split()
            outcomes.append(Outcome(int(due), int(late), int(took), path != "/", how))
        return outcomes


def _judged(outcomes: list[Outcome], rate: float, warm_s: float, seconds: float) -> Stretch:
    """Judge what was due after the warm-up; at saturation, what was answered after it."""
    begin, end = warm_s * 1e6, (warm_s + seconds) * 1e6
    judged = [it for it in outcomes if begin <= (it.due if rate else it.due + it.took) < end]
    answered = [it for it in judged if it.how == "ok"]
    # Until the last answer: past saturation that is later than the last arrival
    until = max((it.due + it.took for it in answered), default=end) if rate else end
    return Stretch(
        asked=rate,
        seconds=seconds,
        per_second=len(answered) / (max(until, end) - begin) * 1e6,
        took_ms=[it.took / 1000 for it in answered if not it.is_slow],
        late_ms=[it.late / 1000 for it in judged],
        lost=Counter(it.how for it in judged if it.how != "ok"),
    )
