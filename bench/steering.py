"""Shared, steered, swapped: what each bind.mode costs while all is well, and at recycles.

Each server runs once in each mode, and once more in the first. They take turns within a round, with
the same arrivals, and what is judged are ratios to `shared` in the same round. "Again" is the
control: what differs there is noise, and where it differs much nothing is judged.

A queue per worker suffers more than one queue for all when something else keeps a worker from its
processor: what runs beside the measurement is no mere noise. So the report says how much that was,
and what the quieter half of the rounds has.

All of it takes twenty minutes and more. Each of PIECES takes less than five, and `--add` puts what
it found into the file that has the others'.
"""

from __future__ import annotations

import contextlib
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import recycled
import rotation
from arrivals import NEW, Generator, Mix
from cases import (
    AGAIN,
    CANDIDATES,
    COMPARED,
    DECIDES_AT,
    FULL_LOAD,
    MODES,
    MOST_P99,
    SHARED,
    Case,
    Round,
    decide,
)
from fleet import WORKERS, Pool, Server, nicer, servers
from measure import Scale, Subject, busy_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from arrivals import Stretch

LEVELS = (0.3, DECIDES_AT, 0.9)
SLOW_PART = 0.01
SLOW_SHARE = 1.5  # of the time, where slow requests are measured too
WHOLE_ROUND = 6  # each sixth has all levels; the others only the one that decides


def measure(scale: Scale, helpers: dict[str, str]) -> Subject:
    """Measure the rotation, then each server."""
    subject = begun(scale)
    with nicer(subject):
        rotation.measure_rotation(subject, scale.signals * 20)
        for server in servers():
            for kind in server.kinds:
                steady(subject, server, kind, scale, helpers)
            recycles(subject, server, scale)
    report(subject)
    return subject


def begun(scale: Scale) -> Subject:
    """Return a subject with nothing in it yet."""
    subject = Subject(f"steering: {WORKERS} workers, {', '.join(COMPARED)}", judges=scale.judges)
    subject.raw |= {"cases": [], "losses": [], "memory": []}
    return subject


def steady(
    subject: Subject, server: Server, kind: str, scale: Scale, helpers: Mapping[str, str]
) -> None:
    """Measure one server while nothing is recycled."""
    with contextlib.ExitStack() as stack:
        fleet = {mode: stack.enter_context(Pool(server, mode)) for mode in MODES}
        rounds = Rounds(server, fleet, helpers["arrivals"], scale)
        rounds.run(kind)
    subject.raw["cases"] += [case.summary() for case in rounds.cases.values() if case.rounds]


def recycles(subject: Subject, server: Server, scale: Scale) -> None:
    """Measure one server's recycles."""
    subject.raw["losses"].append(recycled.lose(server, scale))
    subject.raw["memory"].append(recycled.weigh(server))


def pieces() -> dict[str, Callable[[Scale, dict[str, str]], Subject]]:
    """Return all of `measure` by name, piece by piece."""

    def piece(
        part: Callable[[Subject, Scale, dict[str, str]], None],
        scale: Scale,
        helpers: dict[str, str],
    ) -> Subject:
        subject = begun(scale)
        with nicer(subject):
            part(subject, scale, helpers)
        report(subject)
        return subject

    found = {
        "rotation": lambda subject, scale, _: rotation.measure_rotation(subject, scale.signals * 20)
    }
    for server in servers():
        short = server.name.partition(" ")[0]
        for kind in server.kinds:
            found[f"steady-{short}-{kind}"] = lambda subject, scale, helpers, of=(server, kind): (
                steady(subject, *of, scale, helpers)
            )
        found[f"recycled-{short}"] = lambda subject, scale, _, of=server: recycles(
            subject, of, scale
        )
    return {name: partial(piece, part) for name, part in found.items()}


def combine(before: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Put what a piece found beside what others did; where both have a row the later one stays."""
    whole = before | more
    for name, keys in ROWS.items():
        new = {tuple(row[key] for key in keys) for row in more[name]}
        old = [row for row in before[name] if tuple(row[key] for key in keys) not in new]
        whole[name] = old + more[name]
    return whole | {"verdicts": {mode: decide(whole["cases"], mode) for mode in CANDIDATES}}


ROWS = {
    "cases": ("server", "connections", "slow_part", "load"),
    "losses": ("server",),
    "memory": ("server",),
}


class Rounds:
    """The rounds of one server."""

    def __init__(
        self, server: Server, fleet: Mapping[str, Pool], helper: str, scale: Scale
    ) -> None:
        self.cases: dict[tuple[Mix, float], Case] = {}
        self._server = server
        self._fleet = fleet
        self._generator = Generator(helper, {mode: pool.port for mode, pool in fleet.items()})
        self._scale = scale
        self._number = 0

    def run(self, kind: str) -> None:
        """Go round until the time is over; the first round is a whole one."""
        has_slow = kind == NEW and self._server.blocks
        seconds = self._scale.steering_s * (SLOW_SHARE if has_slow else 1)
        until = time.monotonic() + seconds
        while not self._number or time.monotonic() < until:
            is_whole = self._number % WHOLE_ROUND == 0
            self._one_mix(Mix(kind), is_whole=is_whole)
            if is_whole and has_slow:
                self._one_mix(Mix(NEW, SLOW_PART), is_whole=True)
            self._number += 1

    def _one_mix(self, mix: Mix, *, is_whole: bool) -> None:
        shift = self._number % len(MODES)
        generator = self._generator
        order = [*MODES[shift:], *MODES[:shift]]  # who begins changes every round
        # Anew each round: what a server can do changes with what runs beside it
        with self._round(mix, FULL_LOAD, keep=is_whole) as given:
            for mode in order if is_whole else (SHARED,):
                given[mode] = generator.saturate(mode, mix, self._scale.saturation_s)
        if not (capacity := given[SHARED].per_second):
            return  # the machine stood still meanwhile
        levels: tuple[float, ...] = LEVELS if is_whole else (DECIDES_AT,)
        slices = self._scale.slices
        if mix.slow_part:
            slices *= 3  # or hardly one would be slow
            levels = LEVELS[:-1]
        for level in levels:
            rate = level * capacity
            with self._round(mix, level) as given:
                given.update(generator.take_turns(order, mix, rate, slices, self._number))

    @contextlib.contextmanager
    def _round(self, mix: Mix, level: float, *, keep: bool = True) -> Iterator[dict[str, Stretch]]:
        """Take what each mode gave in this round, and what else the machine did meanwhile."""
        server = self._server
        decides = server.decides and not mix.slow_part and level == DECIDES_AT
        case = self.cases.setdefault((mix, level), Case(server.name, mix, level, decides))
        given: dict[str, Stretch] = {}
        at, before = time.monotonic(), busy_seconds() - self._our_cpu_s()
        yield given
        others_s = busy_seconds() - self._our_cpu_s() - before
        share = others_s / (time.monotonic() - at) / (os.cpu_count() or 1)
        if keep and all(stretch.ok for stretch in given.values()):
            case.rounds.append(Round(given, others=max(0.0, share)))

    def _our_cpu_s(self) -> float:
        """Return the CPU time of the workers, of the load, and of this process."""
        return sum(os.times()[:4]) + sum(pool.cpu_s() for pool in self._fleet.values())


def report(subject: Subject) -> None:
    """Say it all in tables, and what follows for the default."""
    cases = subject.raw["cases"]
    if cases:
        subject.note("p99 in ms, at saturation requests a second: medians; ratios to shared in the")
        subject.note("same round, between what the true median lies 19 times in 20, [the quieter")
        subject.note("half]; then p50 and p99.9 in ms, of all rounds together")
    for case in cases:
        for line in lines_of(case):
            subject.note(line)
    for row in subject.raw["losses"]:
        for line in lines_of_losses(row):
            subject.note(line)
    for row in subject.raw["memory"]:
        for mode in COMPARED:
            subject.note(f"{row['server']}, {mode}, one recycle by default settings: {row[mode]}")
    if any(case["decides"] for case in cases):
        judge(subject)


def judge(subject: Subject) -> None:
    """Say what follows for the default."""
    subject.raw["verdicts"] = {mode: decide(subject.raw["cases"], mode) for mode in CANDIDATES}
    for mode, verdict in subject.raw["verdicts"].items():
        if verdict.startswith("unfit"):
            subject.note(f"This run cannot decide whether {mode} may be the default: {verdict}")
            continue
        subject.target(
            f"{mode}, event loops at {DECIDES_AT:.0%}: p99 at most {MOST_P99:g} times shared "
            f"({verdict})",
            met=verdict == "yes",
        )


def lines_of(case: Mapping[str, Any]) -> Iterator[str]:
    """Say what was found of one case."""
    load = "saturation" if case["load"] == FULL_LOAD else f"{case['load']:.0%}"
    slow = f", {case['slow_part']:.0%} slow" if case["slow_part"] else ""
    rounds = f"{len(case['rounds']['others'])} rounds, others had {case['others']:.0%}"
    yield f"{case['server']}, {case['connections']}{slow}, {load}: {rounds}"
    for mode in (SHARED, AGAIN, *CANDIDATES):
        row = case["modes"][mode]
        low, high = row["ratio_95"]
        ratio = f"{row['ratio']:6.2f} ({low:.2f}..{high:.2f}) [{row['ratio_quieter_half']:.2f}]"
        more = f"{row['p50_ms']:8.1f} {row['p99.9_ms']:8.1f}"
        yield f"  {mode:8} {row['figure']:9.1f} {ratio:28} {more}"


def lines_of_losses(row: Mapping[str, Any]) -> Iterator[str]:
    """Say what was lost at one server's recycles."""
    yield f"{row['server']}, {row['recycles']} recycles at {row['per_second']} requests a second"
    for mode in COMPARED:
        for kind, counts in row[mode].items():
            lost = [f"{count} {how}" for how, count in counts.items() if how != "requests"]
            told = f"{counts['requests']:6} requests; lost: {', '.join(lost) or 'none'}"
            yield f"  {mode:8}{kind:5}{told}; p99 {row['p99_ms'][mode]:.0f} ms"
