"""What all subjects share: taking turns, medians, tables, and the time a process had on a CPU.

Every figure that is judged is a ratio to a peer measured in the same run, taking turns: on a
machine that others use too, absolute times move by half from one minute to the next.
"""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    rounds: int  # turns of each program
    signals: int  # in each turn
    orphans: int
    pools: tuple[int, ...]  # numbers of workers
    idle_s: float
    load_s: float  # of each stretch of load
    recycles: int
    crashes: int  # to look for growth
    long_recycles: int
    saturation_s: float
    slices: int  # of load at a fixed rate, in each turn of a server
    steering_s: float  # for all turns of one server and one kind of connection
    steering_recycles: int
    judges: bool  # whether there is enough of it to judge by


FULL = Scale(
    *(9, 100, 10_000, (10, 100, 1000, 4000), 30.0, 4.0, 6, 100_000, 10_000),
    *(0.3, 3, 120.0, 20),
    judges=True,
)
QUICK = Scale(
    *(2, 10, 1_000, (2, 10, 20), 1.0, 0.5, 1, 200, 20),
    *(0.2, 1, 0.0, 1),
    judges=False,
)


def take_turns(
    programs: Mapping[str, Callable[[], float | Iterable[float]]], rounds: int
) -> dict[str, list[float]]:
    """Call each in turn, `rounds` times; return what each gave. Who begins changes every round."""
    names = list(programs)
    given: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            one = programs[name]()
            given[name] += [one] if isinstance(one, (int, float)) else one
    return given


@dataclass
class Subject:
    """One part of the report: a table of figures, and what they say about the targets."""

    title: str
    lines: list[str] = field(default_factory=list)
    judges: bool = True
    raw: dict[str, Any] = field(
        default_factory=dict
    )  # for JSON, beside what tables and targets say
    tables: list[dict[str, Any]] = field(default_factory=list)
    targets: list[dict[str, Any]] = field(default_factory=list)

    def table(
        self, unit: str, samples: Mapping[str, list[float]], base: str, scale: float = 1.0
    ) -> None:
        """Show median, n, spread and the ratio to `base` of each program."""
        shown = {
            name: [round(value * scale, 4) for value in values] for name, values in samples.items()
        }
        self.tables.append({"unit": unit, "base": base, "samples": shown})
        width = max(map(len, samples))
        head = f"{'':{width}}  {'n':>4}  {'median':>9}  {'10 % .. 90 %':>19}  {'least':>9}  ratio"
        self.lines.append(f"{head}    ({unit})")
        for name, values in shown.items():
            low, high = quantile(values, 0.1), quantile(values, 0.9)
            compares = statistics.median(shown.get(base, [0])) != 0
            ratio = f"{ratio_of(values, shown[base]):5.2f}" if compares else "    -"
            self.lines.append(
                f"{name:{width}}  {len(values):4}  {statistics.median(values):9.3f}  "
                f"{low:9.3f} {high:9.3f}  {min(values):9.3f}  {ratio}"
            )

    def note(self, text: str) -> None:
        """Say something about the figures."""
        self.lines.append(text)

    def target(self, text: str, *, met: bool) -> None:
        """Say whether a target was met; in quick mode there is too little to tell."""
        verdict = ("met" if met else "MISSED") if self.judges else "not judged"
        self.targets.append({"target": text, "verdict": verdict})
        self.lines.append(f"target: {text}: {verdict}")

    def figures(self) -> dict[str, Any]:
        """Return all that there is of it, for JSON."""
        told = {"title": self.title, "tables": self.tables, "targets": self.targets}
        return self.raw | {name: value for name, value in told.items() if value}

    def __str__(self) -> str:
        return "\n".join([self.title, *(f"  {line}" for line in self.lines)])


def ratio_of(values: list[float], base: list[float]) -> float:
    """Return the ratio of two medians."""
    return statistics.median(values) / statistics.median(base)


def quantile(values: list[float], part: float) -> float:
    """Return the value below which that part of all lies."""
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)]


def cpu_seconds(pid: int) -> float:
    """Return the time a process, without its children, was on a CPU; a zombie's too.

    From schedstat, in nanoseconds: utime and stime are counted in ticks of 10 ms.
    """
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def busy_seconds() -> float:
    """Return the time all processors together were busy: with programs, or stolen by the host."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()
    user, nice, system, steal = (int(fields[number]) for number in (1, 2, 3, 8))
    return (user + nice + system + steal) / os.sysconf("SC_CLK_TCK")


def switches(pid: int) -> int:
    """Return how often the threads of a process went to sleep: as often they woke, but once."""
    said = [status.read_text() for status in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(text.split("\nvoluntary_ctxt_switches:")[1].split()[0]) for text in said)


def wait_until(question: Callable[[], bool], within: float, what: str) -> None:
    """Ask until the answer is yes."""
    deadline = time.monotonic() + within
    while not question():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {within:g} s for {what}")
        time.sleep(0.005)
