"""What srvinit costs beside others: its section of docs/benchmarks.md, from docs/costs.json."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import drawing
import programs
from measure import quantile

if TYPE_CHECKING:
    from collections.abc import Mapping

# From a run of its own, whichever page it goes into.
FIGURES = programs.ROOT / "docs" / "costs.json"
HEAD = """\
## What it costs

Measured on {date}: {machine}; {versions}. The programs took turns, and who began changed from
round to round. `n` is how often each was measured, a ratio is that of two medians, and the spread
leaves out a tenth at either end. A target is what srvinit set itself; what missed it says so.
Again: `make peers freeze install`, then `.venv/bin/python bench/run.py --json docs/costs.json`, a
quarter of an hour, or with `--add` and the names of some subjects, and
`.venv/bin/python bench/report.py --rewrite` for this page. Raw figures: [costs.json](costs.json).
"""
#: The subjects of bench/run.py in their order here, and what is to be said of each.
SUBJECTS = {
    "rivals": """\
### The first worker

From the exec of the manager to the first instruction of its first worker's own. tini, dumb-init and
catatonit become that worker's parent and do nothing else; s6-svscan is what s6-overlay runs;
supervisord begins with its first tick, after a second; the last five are servers with a manager
of their own, which load the server first.
""",
    "frozen": """\
### The frozen program

As installed in an image. "Bare Python" is the same interpreter that does nothing but become the
worker.
""",
    "start": """\
### The program from pip

The same from its source, in two interpreters, each beside itself doing nothing.
""",
    "signals": """\
### A signal on its way

From kill(srvinit, USR1) to its arrival in the worker, and an answer over a pipe.
""",
    "orphans": """\
### Orphans

A storm of processes whose parents end before them, which PID 1 has to reap.
""",
    "asleep": """\
### Asleep

The process that was started, without its workers, while nothing happens: PID 1 of an idle
container.
""",
    "workers": """\
### Many workers

Workers that do nothing, from one to thousands: what each costs srvinit, and how long it takes.
Memory is what a start of so many had written to, beyond that of one worker.
""",
    "probe": """\
### A probe

A readiness probe that is executed in the container.
""",
    "requests": """\
### Requests

The same server under srvinit and under a manager of its own.
""",
    "term": """\
### TERM in the middle of a recycle

From kill(srvinit, TERM) to what its workers get.
""",
    "readyz": """\
### Readiness at the end

From a TERM to the first answer of /readyz that is 503, with that many workers to stop.
""",
    "scrapes": """\
### Scrapes

What /metrics costs PID 1, and the child that answers, when it is asked 100 times a second.
""",
}


def section(run: Mapping[str, Any]) -> str:
    """Return the section, from what bench/run.py wrote."""
    found = [name for name in SUBJECTS if name in run]
    words = {name: run[name] for name in ("date", "machine")}
    parts = [HEAD.format(**words, versions=", ".join(run["versions"][2:]))]
    for name in found:
        parts.append(SUBJECTS[name])
        if name == "rivals":
            parts.append("![Milliseconds until the first worker runs](benchmarks-start.svg)\n")
        parts += [table(one) for one in run[name]["tables"]]
        verdicts = [
            f"- {one['target']}: **{one['verdict']}**" for one in run[name].get("targets", ())
        ]
        parts += ["\n".join([*verdicts, ""])] if verdicts else []
    return "\n".join(parts)


def table(one: Mapping[str, Any]) -> str:
    """Return a table of bench/measure.py in Markdown."""
    base = statistics.median(one["samples"].get(one["base"], [0.0]))
    lines = [f"| {one['unit']} | n | median | spread | ratio |", "| --- | --- | --- | --- | --- |"]
    for name, values in one["samples"].items():
        middle = statistics.median(values)
        low, high = quantile(values, 0.1), quantile(values, 0.9)
        spread = f"{shown(low)} .. {shown(high)}" if len(values) > 1 else ""
        ratio = f"{middle / base:.2f}" if base else ""
        label = f"**{name}**" if name.startswith("srvinit") else name
        lines.append(f"| {label} | {len(values)} | {shown(middle)} | {spread} | {ratio} |")
    return "\n".join([*lines, ""])


def shown(value: float) -> str:
    """Return a figure with three digits that say something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def picture(run: Mapping[str, Any]) -> str:
    """Draw how long each takes to its first worker."""
    samples = run["rivals"]["tables"][0]["samples"]
    medians = {name: statistics.median(values) for name, values in samples.items()}
    rows = [
        (name, [value], f"{shown(value)} ms")
        for name, value in sorted(medians.items(), key=lambda item: item[1])
    ]
    return drawing.bars("Milliseconds until the first worker runs", ["median"], rows)
