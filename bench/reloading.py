"""Reloads under load: what srvinit and its rivals lose, and what it costs.

Each rival is started in turn, once a round, and reloaded several times while clients send requests:
half of them a connection a request, half on a kept one, none of them ever sent twice. A reload is
over when all workers of before have gone and as many new ones run.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import programs
from extent import Extent, Grid, attempt, median
from site_of import Peak, Site

sys.path.insert(0, str(programs.ROOT / "tests"))
from figures import HOW_LOST
from load import Load

if TYPE_CHECKING:
    from reloaders import Rival

CLIENTS = 4  # of each kind
LOOK_S = 0.02
LOST = {name: name.replace("_", " ") for name in (*HOW_LOST, "status_5xx")}
LATENCIES = ("p50_ms", "p99_ms", "p999_ms")


def measure(rivals: list[Rival], extent: Extent) -> Grid:
    """Measure all of them, taking turns."""
    results: dict[str, list[dict[str, Any]]] = {rival.key: [] for rival in rivals}
    for number in range(extent.rounds):
        shift = number % len(rivals)
        for rival in rivals[shift:] + rivals[:shift]:
            turn = attempt(one_turn, rival, extent)
            results[rival.key] += [turn] if turn else []
    results = {key: turns for key, turns in results.items() if turns}
    return report(rivals, results, extent)


def one_turn(rival: Rival, extent: Extent) -> dict[str, Any]:
    """Start a rival, reload it several times under load; return what became of the requests."""
    options = {"new": CLIENTS, "kept": CLIENTS, "rate": extent.rate}
    half_a_second = max(1, int(extent.rate / 2))
    took: list[float | None] = []
    extra: list[float] = []
    with Site(rival) as site, Load(site.port, **options) as load:
        load.phase("steady")
        load.wait_requests(2 * half_a_second)
        for _ in range(extent.reloads):
            before = site.memory_mb()
            load.phase("reload")
            with Peak(site) as peak:
                took.append(one_reload(site, extent.within_s))
                load.wait_requests(half_a_second)  # what its end has yet to cost
            extra.append(peak.peak_mb - before)
            load.phase("steady")
            load.wait_requests(half_a_second)
        figures = load.stop()
    return {
        "requests": figures["requests"],
        "lost": lost_of(figures),
        "reload": figures["phases"]["reload"],
        "steady": figures["phases"]["steady"],
        "took_s": took,
        "extra_mb": [round(one, 1) for one in extra],
    }


def lost_of(figures: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Return how many requests were lost, by the kind of connection and the way."""
    return {
        kind: {name: figures[kind][name] for name in LOST if figures[kind][name]}
        for kind in ("new", "kept")
    }


def one_reload(site: Site, within_s: float) -> float | None:
    """Reload it; return the seconds that took, or None if it is not over by then."""
    old = site.workers()
    site.deploy("good")
    began = time.monotonic()
    site.reload()
    while not site.replaced(old):
        if time.monotonic() - began > within_s or not site.processes():
            return None
        time.sleep(LOOK_S)
    return round(time.monotonic() - began, 3)


def report(rivals: list[Rival], results: dict[str, list[dict[str, Any]]], extent: Extent) -> Grid:
    """Return the table of these results."""
    reloads = extent.rounds * extent.reloads
    title = f"reload under load: {reloads} of each, {extent.rate:g}/s"
    grid = Grid(title, name="reload", raw=results)
    grid.head = (
        "server", "managed by", "reloaded by", "requests", "lost new", "lost kept", "how",
        "p50 ms", "p99 ms", "p99.9 ms", "longest gap ms", "took s", "extra MB",
    )  # fmt: skip
    for rival in rivals:
        turns = results.get(rival.key, [])
        if not turns:
            grid.notes.append(f"{rival.key} could not be measured")
            continue
        phases = [turn["reload"] for turn in turns]
        took = [one for turn in turns for one in turn["took_s"]]
        unfinished = sum(one is None for one in took)
        grid.rows.append((
            rival.family,
            rival.key,
            rival.how,
            str(sum(turn["requests"] for turn in turns)),
            *(str(sum(sum(turn["lost"][kind].values()) for turn in turns))
              for kind in ("new", "kept")),
            how_lost(turns),
            *(median(phase[name] for phase in phases) for name in LATENCIES),
            f"{max(phase['longest_gap_ms'] for phase in phases):.0f}",
            median(took) + (f", {unfinished} unfinished" if unfinished else ""),
            median((one for turn in turns for one in turn["extra_mb"]), 0),
        ))  # fmt: skip
    return grid


def how_lost(turns: list[dict[str, Any]]) -> str:
    """Say how many were lost in which way."""
    counts = {
        name: sum(turn["lost"][kind].get(name, 0) for turn in turns for kind in ("new", "kept"))
        for name in LOST
    }
    return ", ".join(f"{count} {LOST[name]}" for name, count in counts.items() if count) or "-"
