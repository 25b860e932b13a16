"""Bad deployments: the new code exits at start, hangs at start, or dies 300 ms after it is ready.

Each rival serves a good release, gets a bad one and is asked to reload. What counts is who still
serves: which part of the requests is answered from then on, and whether any is at the end.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import programs
from extent import Extent, Grid, attempt
from site_of import Site

sys.path.insert(0, str(programs.ROOT / "tests"))
from load import Load

if TYPE_CHECKING:
    from reloaders import Rival

RATE = 50.0
TIMEOUT_S = 2.0
LONG_GAP_S = 1.0  # is told
AT_THE_END_S = 1.5  # of the time in which it is watched
BAD = {
    "exits": "exits at start",
    "hangs": "hangs at start",
    "dies": "dies 300 ms after it has loaded",
}


def measure(rivals: list[Rival], extent: Extent) -> Grid:
    """Give each rival each bad release, some of them side by side: no latency is measured."""
    cases = [(rival, release) for rival in rivals for release in BAD if release in rival.bad]
    with ThreadPoolExecutor(extent.at_once) as pool:
        answers = list(pool.map(lambda case: attempt(one_case, *case, extent), cases))
    results: dict[str, dict[str, Any]] = {rival.key: {} for rival in rivals}
    for (rival, release), answer in zip(cases, answers, strict=True):
        results[rival.key] |= {release: answer} if answer else {}
    return report(rivals, results, extent)


def one_case(rival: Rival, release: str, extent: Extent) -> dict[str, Any]:
    """Deploy a bad release to a rival that serves; return who was answered afterwards."""
    with Site(rival) as site, Load(site.port, new=4, kept=4, rate=RATE, timeout=TIMEOUT_S) as load:
        load.wait_requests(int(RATE))
        before = load.figures()
        load.phase("after")
        site.deploy(release)
        site.reload()
        time.sleep(extent.observed_s - min(AT_THE_END_S, extent.observed_s / 2))
        late = load.figures()
        time.sleep(min(AT_THE_END_S, extent.observed_s / 2))
        after = load.stop()
        lives = bool(site.processes())
    return {
        "requests": _sum(after, "requests") - _sum(before, "requests"),
        "answered": _sum(after, "ok") - _sum(before, "ok"),
        "answered_at_the_end": _sum(after, "ok") - _sum(late, "ok"),
        "requests_at_the_end": _sum(after, "requests") - _sum(late, "requests"),
        "longest_gap_ms": after["phases"]["after"]["longest_gap_ms"],
        "lives": lives,
    }


def report(rivals: list[Rival], results: dict[str, dict[str, Any]], extent: Extent) -> Grid:
    """Return the table of these results."""
    title = f"a bad deployment: the part of requests answered in the {extent.observed_s:g} s after"
    grid = Grid(title, name="deploys", raw=results)
    grid.head = ("server", "managed by", *(f"the new code {meaning}" for meaning in BAD.values()))
    for rival in rivals:
        cells = (verdict(results[rival.key].get(release)) for release in BAD)
        grid.rows.append((rival.family, rival.key, *cells))
    return grid


def part(case: dict[str, Any]) -> float:
    """Return the part of requests that was answered, in percent; of those that ended."""
    return 100.0 * float(case["answered"]) / max(1, int(case["requests"]))


def verdict(case: dict[str, Any] | None) -> str:
    """Say in a few words who still serves."""
    if case is None:
        return "-"
    shown = f"{part(case):.1f} %"
    if not case["lives"]:
        return f"{shown}; all processes gone"
    at_the_end = case["answered_at_the_end"] / max(1, case["requests_at_the_end"])
    if at_the_end < 0.01:
        return f"{shown}; nobody serves at the end"
    gap_s = case["longest_gap_ms"] / 1000
    shown += f"; nobody answered for {gap_s:.1f} s" if gap_s >= LONG_GAP_S else ""
    return shown if at_the_end > 0.99 else f"{shown}; {100 * at_the_end:.0f} % at the end"


def _sum(figures: dict[str, Any], name: str) -> int:
    return int(figures["new"][name]) + int(figures["kept"][name])
