"""docs/benchmarks.md, its pictures and its raw figures, from one run of report.py."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any

import costs
import deploying
import drawing
import growth
import programs
import reloading

if TYPE_CHECKING:
    from pathlib import Path

    from extent import Extent, Grid

HEAD = """\
# Benchmarks

srvinit beside what people use instead, with the same servers, from one run of `bench/report.py`;
the programs took turns, and who began changed from round to round. Two workers each. The clients
never send anything twice: what browsers and proxies hide by a retry is counted here.

{machine}

**Read it with care.** {care} Where a number stands as `a (b .. c)` it is the median, with the
least and the most. Losses are counts, and small ones are chance: between 0 and 3 there is no
difference.
Raw figures: [benchmarks.json](benchmarks.json). A row again, with ours beside it:
`make peers`, then `.venv/bin/python bench/report.py SUBJECT --rival KEY --rival KEY`.
"""
BUSY = (
    "The machine was shared with other work all the time (a load of {load_before} at the start and "
    "{load_after} at the end, on {cpus} CPUs{priority}), so absolute times are worth less than "
    "the differences within a table."
)
QUIET = "Load beside it: {load_before} at the start, {load_after} at the end, its own included."
PREFERRED = "; all that was measured, on both sides, ran at nice {nice}"

# From a run of its own, whichever page it goes into.
GROWTH = programs.ROOT / "docs" / "growth.json"
LONG_LIVES = """\
## A long life

What the frozen srvinit has after many crashes (of four workers, each replaced at once) and many
recycles (of one). Looked at {looks} times on the way, asleep; "written" is memory of its own, the
rest of RSS is shared with whoever runs the same files. The slope is the line that fits best, with
its standard error, in bytes for 1,000 lives. Pages are counted, so the least step is 4,096 bytes.
Measured on {date}: {machine}.
Again: `make freeze install`, then `.venv/bin/python bench/run.py growth --json docs/growth.json`,
five minutes, and `.venv/bin/python bench/report.py --rewrite` for this page. Raw figures:
[growth.json](growth.json).
"""

WHAT_RAN = """\
## What ran

The programs and their files are in [bench/sites](../bench/sites), the list is
[bench/reloaders.py](../bench/reloaders.py). The version is the server's or the manager's.
"""

SECTIONS = {
    "reload": """\
## Reload under load

{reloads} reloads of each, {rate:g} requests a second from four clients with a connection a request
(new) and four on kept connections (kept). A reload is over when all old workers have gone and as
many new ones run. Extra memory is the most that all processes of it had, beyond what they had
before (PSS, looked at every 50 ms: what is over sooner is not seen). Latencies are those of
answered requests during reloads.

Where srvinit is worse: it waits `recycle.settle` (1 s) for each new worker to prove itself and
goes one at a time, so its reloads take longer than those of most; it has one worker more
meanwhile; and each of its workers is a whole program started anew, where the masters of gunicorn,
puma and nginx only fork. That is what `took` and `extra MB` show.
""",
    "deploys": """\
## A bad deployment

Each serves a good release, gets a bad one and is asked to reload, once for each kind. The table
has the part of the requests that was answered in the {observed_s:g} s from then on (50 a second,
each given up after 2 s), of those that were over by then. Some recover, and some fail, only
later than that: this is not measured. nginx has no program to hang: its bad release is a
configuration it does not understand. unicorn's configuration has the hook of its own example,
which lets the old master go before the new program has been loaded; who sends that signal by
hand keeps the old one.
""",
    "endings": """\
## TERM at a bad moment

The graceful signal goes to the process that was started, which is PID 1 in a container. Time
until it has ended; its exit status (negative: a signal); processes left at that moment, which a
container's end kills; requests sent and lost, and in which way, on new and on kept connections.
Refused ones stand by themselves: the door is shut, and nothing was sent. (A run before 2026-11-26
kept the sum alone, without those.)
{ends} of each; {within_s:g} s is where waiting was given up. Kubernetes waits 30 s, then kills.

Where srvinit is worse: with requests waiting it lets the last worker serve them, and so takes
longer than those who drop them. Its limit is `shutdown.timeout`, 15 s, plus a margin; 124 says that
something had to be killed. In the middle of a reload, under load, its shared queue costs some
servers' clients as much as their own managers do: one request a client, of eight. And a server
whose event loop is blocked for longer than `worker.quiesce`, as uvicorn's is here by requests of
0.2 s one after the other, may have accepted what it has not read when its stop signal comes, and
cut it off. With `worker.quiesce=4s` in place of 0.3 s nobody was, in 20 such ends (600 requests).
""",
}


def write(docs: Path, machine: dict[str, Any], extent: Extent, grids: list[Grid]) -> None:
    """Write the page, the pictures and the JSON into that folder."""
    raw = {
        "machine": machine,
        "extent": dataclasses.asdict(extent),
        "results": {grid.name: grid.raw for grid in grids},
    }
    text = json.dumps(raw, indent=1)
    # A list of numbers is one line
    text = re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), text)
    (docs / "benchmarks.json").write_text(text + "\n", encoding="utf-8")
    parts = [HEAD.format(machine=described(machine), care=care(machine))]
    values = dataclasses.asdict(extent) | {"reloads": extent.rounds * extent.reloads}
    for grid in grids:
        parts.append(SECTIONS[grid.name].format(**values))
        for name, picture in pictures(grid, extent).items():
            (docs / f"benchmarks-{name}.svg").write_text(picture, encoding="utf-8")
            parts.append(f"![{title_of(picture)}](benchmarks-{name}.svg)\n")
        parts.append(table(grid.head, [bold(row) for row in grid.rows]))
    costed = json.loads(costs.FIGURES.read_text(encoding="utf-8"))
    parts.append(costs.section(costed))
    (docs / "benchmarks-start.svg").write_text(costs.picture(costed), encoding="utf-8")
    parts.append(of_long_lives(json.loads(GROWTH.read_text(encoding="utf-8"))))
    parts.append(commands(machine))
    (docs / "benchmarks.md").write_text("\n".join(parts), encoding="utf-8")


def of_long_lives(run: dict[str, Any]) -> str:
    """Return the section on growth, from what bench/run.py growth wrote."""
    head = ("", "lives", "RSS kB", "written kB", "descriptors", "slope, all", "slope, second half")
    rows = []
    for what in ("crashes", "recycles"):
        samples = run["growth"][what]["samples"]
        changes = zip(samples[0], samples[-1], strict=True)
        slopes = map(growth.slope_of, growth.parts_of(samples).values())
        rows.append(
            (
                what,
                *(f"{first:,} to {last:,}" for first, last in changes),
                *(f"{slope:+,.0f} (± {error:,.0f})" for slope, error in slopes),
            )
        )
    words = LONG_LIVES.format(looks=growth.SAMPLES + 1, date=run["date"], machine=run["machine"])
    return f"{words}\n{table(head, rows)}"


def described(machine: dict[str, Any]) -> str:
    """Say on what it was measured, and when."""
    return (
        f"Measured on {machine['date']}: {machine['cpus']} CPUs ({machine['model']}), "
        f"{machine['memory_gib']} GiB, Linux {machine['linux']}, Python {machine['python']}, "
        f"srvinit {machine['srvinit']}."
    )


def care(machine: dict[str, Any]) -> str:
    """Say how busy the machine was."""
    busy = machine["load_before"] > machine["cpus"]
    preferred = PREFERRED.format(**machine) if machine["nice"] < 0 else ""
    return (BUSY if busy else QUIET).format(**machine, priority=preferred)


def commands(machine: dict[str, Any]) -> str:
    """Return the last section: what each row ran."""
    rows = [
        (f"`{key}`", one["version"], f"`{one['command']}`", one["reload"], one["stop"])
        for key, one in machine["rivals"].items()
    ]
    left_out = ", ".join(machine["left_out"])
    parts = [
        WHAT_RAN,
        table(("key", "version", "command", "reload", "stop"), rows),
    ]
    parts += [f"Not installed, and so left out: {left_out}.\n"] if left_out else []
    return "\n".join(parts)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells) + "\n"


def bold(row: tuple[str, ...]) -> tuple[str, ...]:
    """Return a row with its program's name set off, where it is srvinit."""
    family, key, *rest = row
    return (family, f"**{key}**" if key.startswith("srvinit") else key, *rest)


def title_of(picture: str) -> str:
    """Return what a picture says it shows."""
    found = re.search(r"<title>(.*?)</title>", picture)
    return found[1] if found else ""


def pictures(grid: Grid, extent: Extent) -> dict[str, str]:
    """Return the pictures of a subject by name."""
    draw = {"reload": of_reloads, "deploys": of_deploys, "endings": of_ends}[grid.name]
    return draw(grid.raw, extent)


def of_reloads(raw: dict[str, Any], extent: Extent) -> dict[str, str]:
    """Draw what was lost, and the longest time without an answer."""
    lost, gaps = [], []
    for key, turns in raw.items():
        counts = [
            float(sum(turn["lost"][kind].get(name, 0) for turn in turns for kind in turn["lost"]))
            for name in reloading.LOST
        ]
        lost.append((key, counts, f"{sum(counts):.0f}"))
        gap = max(turn["reload"]["longest_gap_ms"] for turn in turns)
        gaps.append((key, [gap], f"{gap:.0f} ms"))
    reloads = extent.rounds * extent.reloads
    return {
        "lost": drawing.bars(
            f"Requests lost in {reloads} reloads under load",
            list(reloading.LOST.values()),
            lost,
            20,
        ),
        "gap": drawing.bars("Longest time without any answer", ["reload"], gaps),
    }


def of_deploys(raw: dict[str, Any], _extent: Extent) -> dict[str, str]:
    """Draw what was not answered after each kind of bad release."""
    rows = []
    for key, cases in raw.items():
        missed = [
            100.0 - deploying.part(cases[name]) if name in cases else 0.0 for name in deploying.BAD
        ]
        rows.append((key, missed, " / ".join(f"{value:.0f}" for value in missed)))
    parts = [f"new code {meaning}" for meaning in deploying.BAD.values()]
    return {"deploys": drawing.bars("Percent not answered after a bad deployment", parts, rows)}


def of_ends(raw: dict[str, Any], extent: Extent) -> dict[str, str]:
    """Draw how long a stop takes with a deaf worker."""
    rows = []
    for key, cases in raw.items():
        took = [case["took_s"] for case in cases.get("deaf", [])]
        if took:
            longest = max(extent.within_s if one is None else one for one in took)
            words = f"not over after {longest:g} s" if None in took else f"{longest:.1f} s"
            rows.append((key, [longest], words))
    return {
        "deaf": drawing.bars("Seconds from TERM to the end, one worker deaf", ["longest"], rows)
    }
