"""The tables of docs/steering.md and of the README that show what each bind.mode costs.

docs/steering.json is what `bench/run.py steering --json docs/steering.json` wrote, or all of its
pieces did. Earlier runs are kept beside it: none is chosen for what it says.
"""  # noqa: INP001  docs is no package

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).parents[1] / "bench"))
from cases import interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HERE = Path(__file__).parent
FIGURES = HERE / "steering.json"
EARLIER = sorted(HERE.glob("steering-*.json"))
MODES = ("shared", "steered", "swapped")
DECIDES_AT = 0.6
SATURATION = 0.0


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return when and on what a run was made, and what it found."""
    run = json.loads(path.read_text(encoding="utf-8"))
    return run, run["steering"]


def name_of(case: dict[str, Any]) -> str:
    """Say which server, asked how."""
    slow = f", {case['slow_part']:.0%} slow" if case["slow_part"] else ""
    return f"{case['server']}, {case['connections']}{slow}"


def lost_of(counts: dict[str, int]) -> str:
    """Say how many were lost, and how, of how many."""
    kinds = [f"{n} {how.replace('_', ' ')}" for how, n in counts.items() if how != "requests"]
    return f"{', '.join(kinds) or '0'} of {counts['requests']}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose columns but the first are figures."""
    lines = [f"| {' | '.join(head)} |", "| --- " + "| ---: " * (len(head) - 1) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def modes_table() -> str:
    """Return the README's table: the figures that tell the modes apart."""
    run, found = read(FIGURES)
    rows = []
    for case in found["cases"]:
        if case["load"] == DECIDES_AT:
            ratios = {mode: case["modes"][mode]["ratio"] for mode in ("again", *MODES[1:])}
            shared = f"1 ({ratios['again']:.2f})"
            rows.append([f"p99: {name_of(case)}", shared, *(f"{ratios[m]:.2f}" for m in MODES[1:])])
    for row in found["losses"]:
        for kind in row["shared"]:
            cells = [lost_of(row[mode][kind]) for mode in MODES]
            rows.append([f"lost: {row['server']}, {kind}", *cells])
    for row in found["memory"]:
        cells = [f"{row[mode]['most_mib'] / row[mode]['steady_mib']:.2f}" for mode in MODES]
        rows.append([f"memory in a recycle: {row['server']}", *cells])
    return f"{table(['', *MODES], rows)}\n\nMeasured on {run['date']}: {run['machine']}."


def steady_table() -> str:
    """Return the page's table of latencies while nothing is recycled."""
    _, found = read(FIGURES)
    head = ["server, connections", "load", *MODES, "p99: steered", "swapped", "shared again"]
    rows = []
    for case in found["cases"]:
        if case["load"] == SATURATION:
            continue
        parts = ("p50_ms", "p99_ms", "p99.9_ms")
        modes = case["modes"]
        cells = [" / ".join(f"{modes[mode][part]:.1f}" for part in parts) for mode in MODES]
        ratios = [f"{modes[mode]['ratio']:.2f}" for mode in (*MODES[1:], "again")]
        rows.append([name_of(case), f"{case['load']:.0%}", *cells, *ratios])
    return table(head, rows)


def throughput_table() -> str:
    """Return the page's table of what each mode can serve."""
    _, found = read(FIGURES)
    rows = []
    for case in found["cases"]:
        if case["load"] == SATURATION:
            modes = case["modes"]
            ratios = [f"{modes[mode]['ratio']:.2f}" for mode in (*MODES[1:], "again")]
            rows.append([name_of(case), f"{modes['shared']['figure']:.0f}", *ratios])
    return table(["server, connections", "shared, a second", *MODES[1:], "shared again"], rows)


def recycles_table() -> str:
    """Return the page's table of what a recycle costs."""
    _, found = read(FIGURES)
    memory = {row["server"]: row for row in found["memory"]}
    rows = []
    for row in found["losses"]:
        for mode in MODES:
            weighed = memory[row["server"]][mode]
            lost = [
                lost_of(row[mode][kind]) if kind in row[mode] else "" for kind in ("new", "kept")
            ]
            p99 = f"{row['p99_ms'][mode]:.0f} ms"
            sizes = f"{weighed['steady_mib']:.0f} to {weighed['most_mib']:.0f} MiB"
            rows.append(
                [f"{row['server']}, {mode}", *lost, p99, sizes, f"{weighed['took_s']:.1f} s"]
            )
    head = ["server, mode", "lost: new", "lost: kept", "p99 meanwhile", "memory", "one recycle"]
    return table(head, rows)


def runs_table() -> str:
    """Return the page's table of each run that was made, and of all rounds together."""
    rows = []
    rounds: dict[str, dict[str, list[float]]] = {}  # ratios by case and mode
    seen = set()  # a run of which one piece was repeated has the others as they were
    for path in (*EARLIER, FIGURES):
        run, found = read(path)
        for case in found["cases"]:
            if not case["decides"] or (same := json.dumps(case["rounds"])) in seen:
                continue
            seen.add(same)
            name = name_of(case)
            told = f"[{run['date']}]({path.name})"
            rows.append([told, name, *row_of(ratios := ratios_of(case)), f"{case['others']:.0%}"])
            for mode, values in ratios.items():
                rounds.setdefault(name, {}).setdefault(mode, []).extend(values)
    rows += [["all", name, *row_of(ratios), ""] for name, ratios in rounds.items()]
    head = ["run", "server, connections", *MODES[1:], "shared again", "beside others"]
    return table(head, rows)


def ratios_of(case: dict[str, Any]) -> dict[str, list[float]]:
    """Return each round's p99 as a multiple of shared's, by mode."""
    rounds = case["rounds"]
    return {
        mode: [
            mine / theirs
            for mine, theirs in zip(rounds[mode]["p99_ms"], rounds["shared"]["p99_ms"], strict=True)
        ]
        for mode in COLUMNS
        if mode in rounds
    }


def row_of(ratios: dict[str, list[float]]) -> list[str]:
    """Say the median of each mode's ratios, between what the true one lies, and by how many."""
    cells = []
    for mode in COLUMNS:
        values = ratios.get(mode)
        if not values:
            cells.append("")
            continue
        low, high = interval(values)
        sure = f"{low:.2f} to {high:.2f} by {len(values)}"
        cells.append(f"{statistics.median(values):.2f} ({sure})")
    return cells


def verdicts() -> str:
    """Say what each run decides by itself."""
    said = []
    for path in (*EARLIER, FIGURES):
        _, found = read(path)
        by_mode = found.get("verdicts") or {"steered": found["verdict"]}
        told = [f"{mode}: {MEANS[verdict.partition(':')[0]]}" for mode, verdict in by_mode.items()]
        said.append(f"[{path.stem}]({path.name}): {'; '.join(told)}")
    return "\n".join(f"* {line}." for line in said)


COLUMNS = (*MODES[1:], "again")
MEANS = {
    "yes": "within 1.3 times shared for all event loops",
    "no": "not within 1.3 times shared for all event loops",
    "unfit": "not decided, since shared strayed beyond 1.3 times itself",
}
STEERING_TABLES = {
    "steady": steady_table,
    "throughput": throughput_table,
    "recycles": recycles_table,
    "runs": runs_table,
    "verdicts": verdicts,
}
