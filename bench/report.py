"""srvinit beside its rivals: reloads under load, bad deployments, ends at a bad moment.

    bench/report.py                              all of it, an hour: 20 reloads of each
    bench/report.py --short --write              ten minutes, and docs/benchmarks.md from that run
    bench/report.py reload --rival gunicorn --rival srvinit-gunicorn     one row, and ours beside it

`make peers` comes first; puma, unicorn, nginx and start_server (libserver-starter-perl) are
Debian's. What is not installed is left out, and the report says so.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import deploying
import ending
import extent
import page
import programs
import reloaders
import reloading

from srvinit import __version__

if TYPE_CHECKING:
    from extent import Grid
    from measure import Scale

MEASURES = {"reload": reloading.measure, "deploys": deploying.measure, "endings": ending.measure}
QUICK_RIVALS = ["srvinit-gunicorn", "gunicorn"]


def of_run(name: str, scale: Scale) -> Grid | str:
    """Return a subject for bench/run.py: all rivals, or in quick mode two."""
    found = reloaders.chosen([] if scale.judges else QUICK_RIVALS)
    if not found:
        return f"{name}: left out: no rivals are installed (make peers)"
    return MEASURES[name](found, extent.FULL if scale.judges else extent.QUICK)


SUBJECTS = {
    name: lambda scale, _helpers, name=name: of_run(name, scale)  # type: ignore[misc]
    for name in MEASURES
}


def machine(found: list[reloaders.Rival]) -> dict[str, Any]:
    """Say what was measured, on what."""
    cpus = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", cpus)
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "cpus": os.cpu_count(),
        "model": model[1] if model else platform.machine(),
        "memory_gib": round(int(memory[1]) / 2**20) if memory else None,
        "linux": ".".join(platform.release().split(".")[:2]),
        "python": platform.python_version(),
        "srvinit": __version__,
        "load_before": round(os.getloadavg()[0], 1),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "rivals": {
            rival.key: {
                "family": rival.family,
                "version": rival.version_number(),
                "command": rival.shown,
                "reload": rival.how,
                "stop": rival.stop,
            }
            for rival in found
        },
        "left_out": [rival.key for rival in reloaders.RIVALS if not rival.is_installed()],
    }


def main() -> int:
    """Measure and print, and write the page if asked; 0 if everything ran, whatever came out."""
    parser = argparse.ArgumentParser(description="Measure srvinit beside its rivals.")
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument("--short", action="store_true", help="ten minutes for all of it")
    scale.add_argument("--quick", action="store_true", help="does it run? It says nothing")
    parser.add_argument("--rival", action="append", default=[], metavar="KEY", help="only this one")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md and .json")
    parser.add_argument("--rewrite", action="store_true", help="the page anew, from its .json")
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=", ".join(MEASURES))
    options = parser.parse_args()
    docs = programs.ROOT / "docs"
    if options.rewrite:
        rewrite(docs / "benchmarks.json", docs)
        return 0
    names = options.subjects or list(MEASURES)
    if unknown := [name for name in names if name not in MEASURES]:
        parser.error(f"no subject {', '.join(unknown)}: there are {', '.join(MEASURES)}")
    try:
        found = reloaders.chosen(options.rival)
    except LookupError as error:
        parser.error(str(error))
    if not found:
        parser.error("none of them is installed: make peers")
    how = extent.QUICK if options.quick else extent.SHORT if options.short else extent.FULL
    told = machine(found)
    grids: list[Grid] = []
    for name in names:
        began = time.monotonic()
        grids.append(MEASURES[name](found, how))
        print(f"\n{grids[-1]}\n  ({time.monotonic() - began:.0f} s)", flush=True)
        told["load_after"] = round(os.getloadavg()[0], 1)
        if options.write:  # what is there so far: the next one takes long
            page.write(docs, told, how, grids)
    return 0


def rewrite(figures: Path, docs: Path) -> None:
    """Write the page into a folder from the figures of a run: for a change of words alone."""
    kept = json.loads(figures.read_text())
    how = extent.Extent(**kept["extent"])
    known = {rival.key: rival for rival in reloaders.RIVALS}
    reports = {
        "reload": reloading.report,
        "deploys": deploying.report,
        "endings": ending.report,
    }
    grids = [
        reports[name]([known[key] for key in results], results, how)
        for name, results in kept["results"].items()
    ]
    page.write(docs, kept["machine"], how, grids)


if __name__ == "__main__":
    sys.exit(main())
