"""Chaos with ever new seeds for SRVINIT_SOAK_S seconds, an hour if that is not set: `make soak`.

    soak.py [SEED...]    these instead, once each

A run that goes wrong is told with its seed, its plan and the folder that holds its log; the end of
the hour tells how many did.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).parent
sys.path[:0] = [os.fspath(HERE.parent), os.fspath(HERE.parent / "process")]

from plan import plan  # noqa: E402
from verdict import judge  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

SOAK_S = float(os.environ.get("SRVINIT_SOAK_S", "3600"))
SECONDS = float(os.environ.get("CHAOS_S", "5"))


def seeds(until: float) -> Iterator[str]:
    """Yield those that were asked for, or new ones until the time is up."""
    yield from sys.argv[1:]
    while not sys.argv[1:] and time.monotonic() < until:
        yield os.urandom(4).hex()


def main() -> int:
    """Run them; return 1 if one went wrong."""
    runs = failures = 0
    total: Counter[str] = Counter()
    began = time.monotonic()
    for seed in seeds(began + SOAK_S):
        folder = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-"))
        chosen = plan(seed, SECONDS)
        wrong = judge(chosen, folder)
        runs += 1
        told = json.loads((folder / "done.json").read_text())
        total.update(told["deeds"])
        total.update({"workers' lives": told["lives"], "workers killed": told["kills"]})
        total.update({"lines of log": told["lines"], "lines dropped": told["dropped"]})
        total.update({"logs told again": not told["dropped"]})
        for figures in told["requests"].values():
            total.update({"requests": figures["requests"], "requests lost": figures["lost"]})
        if not wrong:
            shutil.rmtree(folder)
            print(f"{runs}: seed {seed}, {len(chosen.steps)} steps: well", flush=True)
            continue
        failures += 1
        again = f"CHAOS_SEED={seed} CHAOS_S={SECONDS:g} pytest tests/chaos"
        print(f"{runs}: WRONG in {folder}; again: {again}", *wrong, chosen, sep="\n", flush=True)
    print(*(f"{number:7} {what}" for what, number in sorted(total.items())), sep="\n")
    minutes = (time.monotonic() - began) / 60
    print(f"{runs} runs in {minutes:.0f} min, {failures} of them went wrong")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
