"""`make bench`: srvinit beside its peers, in one report. Every figure that is judged is a ratio.

    bench/run.py                 all subjects but those below: a quarter of an hour on two cores
    bench/run.py --quick         all of it in less than one: does it run? It judges nothing
    bench/run.py start signals   some of it
    bench/run.py --json docs/costs.json    all, with the figures that docs/benchmarks.md shows
    bench/run.py growth --json docs/growth.json    100,000 crashes, 10,000 recycles: five minutes
    bench/run.py steering --json docs/steering.json    each bind.mode: twenty minutes more
    bench/run.py steady-node-new --add --json docs/steering.json    a piece of that: see --help
    bench/run.py reload deploys endings    beside those that reload: an hour more (report.py)

What a peer is not installed for is left out, and the report says so.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import forwarding
import frozen
import growth
import probing
import programs
import reaping
import report
import rivals
import scraping
import serving
import sleeping
import starting
import steering
import stopping
import workers
from measure import FULL, QUICK, Subject

SUBJECTS = {
    "start": starting.measure,
    "frozen": frozen.measure,
    "rivals": rivals.measure,
    "signals": forwarding.measure,
    "orphans": reaping.measure,
    "workers": workers.measure,
    "probe": probing.measure,
    "asleep": sleeping.measure,
    "term": stopping.measure_term,
    "readyz": stopping.measure_readyz,
    "scrapes": scraping.measure,
    "requests": serving.measure,
    "growth": growth.measure,
    "steering": steering.measure,
    **report.SUBJECTS,
}
PIECES = steering.pieces()  # of one subject, each in less than five minutes
#: Each takes longer than all the others together.
WHEN_ASKED = {"growth", "steering", *report.SUBJECTS}


def main() -> int:
    """Measure and print; 0 if everything ran, whatever came out."""
    parser = argparse.ArgumentParser(description="Measure srvinit beside its peers.")
    parser.add_argument("--quick", action="store_true", help="does it run? It judges nothing")
    parser.add_argument("--json", metavar="FILE", help="write raw figures there, if there are any")
    parser.add_argument("--add", action="store_true", help="to what is in the FILE of --json")
    known = {**SUBJECTS, **PIECES}
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=", ".join(known))
    options = parser.parse_args()
    unknown = [name for name in options.subjects if name not in known]
    if unknown:
        parser.error(f"no subject {', '.join(unknown)}: there are {', '.join(known)}")
    scale = QUICK if options.quick else FULL
    raw: dict[str, Any] = programs.machine()
    before: dict[str, Any] = {}
    if options.add and Path(options.json).exists():
        before = json.loads(Path(options.json).read_text(encoding="utf-8"))
    print("; ".join(programs.versions()), flush=True)
    with tempfile.TemporaryDirectory(prefix="srvinit-bench-") as folder:
        helpers = programs.compile_helpers(folder)
        for name in options.subjects or [name for name in SUBJECTS if name not in WHEN_ASKED]:
            began = time.monotonic()
            load = round(os.getloadavg()[0], 1)
            subject = known[name](scale, helpers)
            if name in PIECES:
                found = raw.get("steering", before.get("steering"))
                raw["steering"] = steering.combine(found, subject.raw) if found else subject.raw
            elif isinstance(subject, Subject):
                raw[name] = {"load_before": load} | subject.figures()
            print(f"\n{subject}")
            print(f"  ({time.monotonic() - began:.0f} s)", flush=True)
            if options.json:  # what is there so far: the next one takes long
                write(Path(options.json), before | raw)
    return 0


def write(path: Path, figures: dict[str, Any]) -> None:
    """Write figures as JSON; a list of numbers is one line."""
    text = json.dumps(figures, indent=1) + "\n"
    text = re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), text)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
