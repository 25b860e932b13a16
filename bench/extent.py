"""What the subjects on rivals share: how much is measured, tables, medians that may be missing."""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from measure import Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@dataclass(frozen=True)
class Extent:
    """How much is measured of each rival."""

    rounds: int  # in each, every rival is started once, in turn
    reloads: int  # in each round
    rate: float  # requests a second
    within_s: float  # a reload, or an end, that takes longer is given up
    observed_s: float  # after a bad deployment
    ends: int  # of each kind
    at_once: int  # rivals beside each other where no latency is measured


FULL = Extent(5, 4, 200.0, 60.0, 15.0, 5, 2)
SHORT = Extent(2, 2, 200.0, 35.0, 8.0, 1, 6)
QUICK = Extent(1, 1, 100.0, 20.0, 2.0, 1, 2)


@dataclass
class Grid(Subject):
    """A subject whose figures are a table of words, with a way to repeat each row."""

    name: str = ""
    head: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        table = [self.head, *self.rows]
        widths = [max(len(row[number]) for row in table) for number in range(len(self.head))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            for row in table
        ]
        return "\n".join([self.title, *(f"  {line.rstrip()}" for line in [*lines, *self.notes])])


def attempt(measure: Callable[..., dict[str, Any]], *arguments: object) -> dict[str, Any] | None:
    """Measure, or say on stderr why that was not possible: one rival's trouble is not the others'.

    Any error of a rival that does not start, or does not do as it should, comes as one of these.
    """
    try:
        return measure(*arguments)
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        notes = " ".join(getattr(error, "__notes__", []))
        print(f"not measured: {arguments[0]}: {error!r} {notes}", file=sys.stderr, flush=True)
        return None


def median(values: Iterable[float | None], digits: int = 1) -> str:
    """Return the median with the least and the most, of those that are there; a dash if none is."""
    there = [value for value in values if value is not None]
    if not there:
        return "-"
    shown = f"{statistics.median(there):.{digits}f}"
    low, high = f"{min(there):.{digits}f}", f"{max(there):.{digits}f}"
    return shown if low == high else f"{shown} ({low} .. {high})"
