"""What was measured of one server under one load, in all modes; and what follows from it."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from measure import quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arrivals import Mix, Stretch

#: "again" is shared once more: what differs there is noise.
SHARED, AGAIN, STEERED, SWAPPED = MODES = ("shared", "again", "steered", "swapped")
CANDIDATES = (STEERED, SWAPPED)
COMPARED = (SHARED, *CANDIDATES)
FULL_LOAD = 0.0  # saturation: no arrivals, but clients that ask as fast as they are answered
DECIDES_AT = 0.6
MOST_P99 = 1.3
LEAST_ROUNDS = 12  # fewer say nothing about a median


@dataclass(frozen=True)
class Round:
    """What each mode gave, in turns."""

    given: dict[str, Stretch]
    others: float  # the part of all processors that other programs had meanwhile


@dataclass
class Case:
    """One server, one kind of connection, one load: what each round gave, by mode."""

    server: str
    mix: Mix
    level: float  # part of what the server can serve, or FULL_LOAD
    decides: bool = False  # what may be the default
    rounds: list[Round] = field(default_factory=list)

    def ratio(self, mode: str) -> float:
        """Return the median of the rounds' ratios."""
        return statistics.median(self.ratios(mode))

    def quieter_half(self, mode: str) -> float:
        """Return the median ratio of those rounds in which other programs ran least."""
        others = [one.others for one in self.rounds]
        found = sorted(zip(others, self.ratios(mode), strict=True))
        return statistics.median(ratio for _, ratio in found[: (len(found) + 1) // 2])

    def ratios(self, mode: str) -> list[float]:
        """Return each round's ratio to `shared`: of the p99, or of the rate at saturation."""
        return [
            figure(self, one.given[mode]) / figure(self, one.given[SHARED]) for one in self.rounds
        ]

    def pooled(self, mode: str, part: float) -> float:
        """Return a quantile over all rounds together, in ms."""
        return quantile([took for one in self.rounds for took in one.given[mode].took_ms], part)

    def lost(self, mode: str) -> Counter[str]:
        """Count what got no good answer, in all rounds; nothing was recycled."""
        return sum((one.given[mode].lost for one in self.rounds), Counter())

    def summary(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        by_mode = {}
        for mode in MODES:
            parts = {f"p{part * 100:g}_ms": self.pooled(mode, part) for part in (0.5, 0.99, 0.999)}
            by_mode[mode] = {name: round(value, 3) for name, value in parts.items()}
            figures = [figure(self, one.given[mode]) for one in self.rounds]
            low, high = interval(self.ratios(mode))
            by_mode[mode] |= {
                "figure": round(statistics.median(figures), 3),
                "ratio": round(self.ratio(mode), 3),
                "ratio_95": [round(low, 3), round(high, 3)],
                "ratio_quieter_half": round(self.quieter_half(mode), 3),
                "lost": dict(self.lost(mode)),
            }
        return {
            "server": self.server,
            "connections": self.mix.kind,
            "load": self.level,
            "slow_part": self.mix.slow_part,
            "decides": self.decides,
            "others": round(statistics.median(one.others for one in self.rounds), 3),
            "modes": by_mode,
            "rounds": {
                "others": [round(one.others, 2) for one in self.rounds],
                **{mode: columns([one.given[mode] for one in self.rounds]) for mode in MODES},
            },
        }


def columns(stretches: list[Stretch]) -> dict[str, list[float]]:
    """Return the figures of each round."""
    return {
        "asked_per_second": [round(one.asked) for one in stretches],
        "per_second": [round(one.per_second) for one in stretches],
        "p50_ms": [round(one.at(0.5), 2) for one in stretches],
        "p99_ms": [round(one.at(0.99), 2) for one in stretches],
        "late_p99_ms": [round(quantile(one.late_ms, 0.99), 2) for one in stretches],
    }


def figure(case: Case, stretch: Stretch) -> float:
    """Return what is compared: the p99, or at saturation the requests answered in a second."""
    return stretch.per_second if case.level == FULL_LOAD else stretch.at(0.99)


def interval(values: list[float]) -> tuple[float, float]:
    """Return the order statistics between which the true median lies, 19 times in 20.

    By signs alone (binomial, normal approximation): nothing is supposed of how the values spread.
    """
    ordered = sorted(values)
    off = int(max(0.0, len(ordered) / 2 - 0.98 * len(ordered) ** 0.5))
    return ordered[off], ordered[-1 - off]


def decide(found: Sequence[dict[str, Any]], mode: str) -> str:
    """Say of summaries whether a mode may be the default: "yes", "no", or "unfit" and why."""
    unfit, over = [], []
    if not any(case["decides"] for case in found):
        unfit.append("no server that decides is installed")
    for case in found:
        if not case["decides"]:
            continue
        name = f"{case['server']}, {case['connections']}"
        control = case["modes"][AGAIN]["ratio"]
        rounds = len(case["rounds"]["others"])
        if rounds < LEAST_ROUNDS:
            unfit.append(f"{name}: {rounds} rounds alone")
        if not 1 / MOST_P99 <= control <= MOST_P99:
            unfit.append(f"{name}: shared beside itself has {control:.2f}")
        if (ratio := case["modes"][mode]["ratio"]) > MOST_P99:
            over.append(f"{name} {ratio:.2f}")
    if unfit:
        return f"unfit: {'; '.join(unfit)}"
    return f"no: {'; '.join(over)}" if over else "yes"
