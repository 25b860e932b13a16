"""Load by a schedule, as helpers/arrivals.c sends it, and what became of it.

The arrivals are a Poisson process of a fixed rate, as of many independent clients; at equal
distances they would flatter one queue for all. Servers that are compared get the same arrivals, in
short slices by turns: what else the machine does meanwhile comes to all of them alike.
"""

from __future__ import annotations

import random
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from measure import quantile

if TYPE_CHECKING:
    from collections.abc import Mapping

NEW, KEPT = "new", "kept"
CLIENTS = 64  # kept connections; and clients at saturation
STAGGER_US = 2000  # between their first requests: whoever is up first would take them all
MOST_A_SECOND = 25_000  # at saturation
WARM_UP_US = 50_000  # of each slice: a queue is empty at first
SLICE_US = 250_000


class Mix(NamedTuple):
    """What is asked for, whatever the rate."""

    kind: str  # NEW or KEPT
    slow_part: float = 0.0  # of the requests that go to /slow

    def path(self, dice: random.Random) -> str:
        """Pick the next request's."""
        return "/slow" if dice.random() < self.slow_part else "/"


class Request(NamedTuple):
    """One line of a schedule."""

    due: int  # us since the slice began
    where: int
    path: str
    counts: bool = True


@dataclass
class Stretch:
    """What became of some load on one server."""

    asked: float  # requests a second; 0: saturation
    seconds: float
    ok: int = 0
    took_ms: list[float] = field(default_factory=list)  # since due; answered, and not to /slow
    late_ms: list[float] = field(default_factory=list)  # begun later than due
    lost: Counter[str] = field(default_factory=Counter)

    def add(self, request: Request, late: int, took: int, how: str) -> None:
        """Count one request; times in microseconds."""
        self.late_ms.append(late / 1000)
        if how != "ok":
            self.lost[how] += 1
            return
        self.ok += 1
        if request.path == "/":
            self.took_ms.append(took / 1000)

    @property
    def per_second(self) -> float:
        """Requests answered in a second."""
        return self.ok / self.seconds

    def at(self, part: float) -> float:
        """Return a quantile, in ms."""
        return quantile(self.took_ms, part)


class Generator:
    """The compiled helper, for servers by name and port."""

    def __init__(self, path: str, ports: Mapping[str, int]) -> None:
        self._path = path
        self._ports = ports

    def saturate(self, name: str, mix: Mix, seconds: float) -> Stretch:
        """Have CLIENTS clients ask one server as fast as they are answered."""
        dice = random.Random(CLIENTS)  # noqa: S311  no secret
        begin = WARM_UP_US + CLIENTS * STAGGER_US
        end = begin + int(seconds * 1e6)
        count = MOST_A_SECOND * end // 1_000_000
        schedule = [Request(i * STAGGER_US, 0, mix.path(dice)) for i in range(count)]
        given = Stretch(0.0, seconds)
        for request, (due, late, took, how) in self._run([name], mix.kind, schedule, end):
            if begin <= due + took < end:
                given.add(request, late, took, how)
        return given

    def take_turns(
        self, names: list[str], mix: Mix, rate: float, slices: int, seed: int
    ) -> dict[str, Stretch]:
        """Send each `rate` requests a second, in slices by turns; the slow ones are scattered."""
        dice = random.Random(seed)  # noqa: S311  no secret
        schedule: list[Request] = []
        # Kept connections are made in a first slice, which does not count
        for number in range(-1 if mix.kind == KEPT else 0, slices):
            once = _one_slice(dice, mix, rate)
            for where in range(len(names)):
                for due, path in once:
                    counts = number >= 0 and due >= WARM_UP_US
                    schedule.append(Request(due, where, path, counts))
        seconds = slices * (SLICE_US - WARM_UP_US) / 1e6
        given = {name: Stretch(rate, seconds) for name in names}
        for request, (_, late, took, how) in self._run(names, mix.kind, schedule):
            if request.counts:
                given[names[request.where]].add(request, late, took, how)
        return given

    def _run(
        self, names: list[str], kind: str, schedule: list[Request], end_us: int = 0
    ) -> list[tuple[Request, tuple[int, int, int, str]]]:
        """Return each request with when it was due, how late it was, how long it took, and how."""
        ports = ",".join(str(self._ports[name]) for name in names)
        lines = [f"{it.due} {it.where} {it.path}" for it in schedule]
        command = [self._path, ports, kind, str(CLIENTS), str(end_us)]
        told = subprocess.run(
            command, input="\n".join(lines), capture_output=True, check=True, text=True
        )
        found = []
        for request, line in zip(schedule, told.stdout.splitlines(), strict=False):
            due, late, took, how = line.split()
            found.append((request, (int(due), int(late), int(took), how)))
        return found


def _one_slice(dice: random.Random, mix: Mix, rate: float) -> list[tuple[int, str]]:
    """Return when requests are due, and for what."""
    found = []
    due_us = 0.0
    while (due_us := due_us + dice.expovariate(rate) * 1e6) < SLICE_US:
        found.append((int(due_us), mix.path(dice)))
    return found
