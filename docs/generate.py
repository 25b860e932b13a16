#!/usr/bin/env python3
"""Write the pages of docs/, and the tables of others, that are derived from code and figures.

`docs/generate.py` writes them; `docs/generate.py --check` says which differ, and exits 1. A test
does so. docs/interop.json is what `make interop` wrote, docs/rollout.json `make bench-rollout`; of
docs/steering.json steering_tables.py tells.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from pathlib import Path
from typing import Any

import pages  # beside this file, as the next
from steering_tables import STEERING_TABLES, modes_table

from srvinit.options import DEFAULT_MEANINGS, GROUPS, SETTINGS

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
RECIPES = HERE / "recipes.md"
FIGURES = HERE / "interop.json"
STEERING = HERE / "steering.md"
ROLLOUT = HERE / "rollout.json"

SETTINGS_HEAD = """\
# Settings

The command line goes over the environment, the environment over the TOML file (`--config FILE` or
`SRVINIT_CONFIG`), the file over the default. Each setting is taken whole from the highest source
that has it: lists are never mixed from two.

One name, four spellings, by rule:

| where | spelling |
| --- | --- |
| command line | `--recycle-timeout 15s`, `--recycle-timeout=15s` |
| environment | `SRVINIT_RECYCLE_TIMEOUT=15s` |
| TOML file | `[recycle]` and below it `timeout = "15s"` |
| Python | `Options(recycle_timeout="15s")`, `{"recycle": {"timeout": 15}}` |

* Durations: `1500ms`, `15s`, `2m`, `1h`; a bare number is seconds. At most a year.
* Switches: `--worker-signal-group`, `--no-worker-signal-group`, `--worker-signal-group=false`.
  They take no separate word: `--worker-signal-group false` is refused, since `false` is a program.
* Lists: repeat the flag; in the environment, separate the entries by commas or line ends, but those
  of `worker.env` by line ends alone; in the file, write an array. `worker.env` and `signal` may be
  tables there too: `[worker.env]` and `[signal]`.
* TOML cannot hold `bind = [":8080"]` and a table `[bind]` at once. With the table, the addresses
  are its `address`: `[bind]`, `address = [":8080"]`, `backlog = 511`.
* Options end at `--` or at the first word that is none: that word is the command.

Unknown names, bad values, duplicates and contradictions are refused before anything starts: exit
status 2, and on stderr one line a fault with its source (flag, variable, file and line), the value
and what is accepted. A value that a higher source overrides must be a good one all the same. On
SIGHUP the file is read again; if it is faulty, the running settings stay and `config.rejected`
logs those lines.

Variables that begin with `SRVINIT_` and come close to a setting's name, or begin as a group of
settings does (`SRVINIT_WORKER_...`), are taken for typing errors. What Kubernetes injects for a
Service called srvinit (`SRVINIT_PORT`, `SRVINIT_SERVICE_HOST`, ...) is left alone, and so are
`SRVINIT_WORKER` and `SRVINIT_GENERATION`, which srvinit gives to workers.
"""

SETTINGS_TAIL = """\

## What signals do by default

These, and `signal` changes them:

"""


def settings_page() -> str:
    """Return docs/settings.md: the rules, and the table of `srvinit/options.py` by groups."""
    parts = [SETTINGS_HEAD]
    for group, title in GROUPS.items():
        rows = [row for row in SETTINGS.values() if row.group == group]
        parts.append(f"\n## {title}\n\n| setting | default | meaning |\n| --- | --- | --- |\n")
        for row in rows:
            notes = [f"`{row.short}`"] if row.short else []
            notes += ["repeatable"] if row.gather else []
            name = f"`{row.name}`" + (f" ({', '.join(notes)})" if notes else "")
            parts.append(f"| {name} | {row.default_text} | {row.meaning} |\n")
    parts.append(SETTINGS_TAIL)
    named = {name: does for name, does in DEFAULT_MEANINGS.items() if does != "forward"}
    parts += ["| signal | meaning |\n| --- | --- |\n"]
    parts += [f"| {name} | {does} |\n" for name, does in named.items()]
    parts.append("| every other one that can be taken in | forward |\n")
    return "".join(parts)


def settings_table() -> str:
    """Return the README's table: each meaning up to its first ";" as --help has it."""
    lines = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for row in SETTINGS.values():
        name = f"`{row.name}`" + (f", `{row.short}`" if row.short else "")
        meaning = row.meaning.partition(";")[0]
        lines.append(f"| {name} | {row.default_text} | {meaning} |")
    return "\n".join(lines)


def interop_table() -> str:
    """Return the README's table of what tests/interop measured, of the servers it names."""
    text = README.read_text(encoding="utf-8").partition("<!-- recipes:")[2]
    named = re.findall(r"^\| ([^|]+) \| `", text.partition("\n\n#")[0], re.MULTILINE)
    shown = [row for row in figures() if row["server"].partition(", as")[0] in named]
    lines = [
        "| server | version | requests | new | kept | steered: requests | new | kept |",
        "| --- | --- " + "| ---: " * 6 + "|",
        *(f"| {row['server']} | {row['version']} | {losses_of(row)} |" for row in shown),
    ]
    return "\n".join([*lines, "", measured(shown)])


def recipes_table() -> str:
    """Return the table of docs/recipes.md: of all servers, and how they are stopped."""
    text = RECIPES.read_text(encoding="utf-8")
    columns = "| requests | new | kept"
    lines = [
        f"| server | version | stop | exits {columns} | steered: requests | new | kept | in CI |",
        "| --- | --- | --- | --- " + "| ---: " * 6 + "| --- |",
    ]
    for row in figures():
        heading = row["server"].partition(", as")[0]
        anchor = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        recipe = text.partition(f"\n### {heading}\n")[2].partition("\n### ")[0]
        stop = re.search(r"--worker-stop-signal=(\w+)", recipe)
        killed = f", {row['killed']} killed" if row["killed"] else ""
        exits = ", ".join(status for status in row["exits"] if not (killed and status == "-9"))
        cells = [f"[{row['server']}](#{anchor})", row["version"], stop[1] if stop else "TERM"]
        cells += [exits + killed, losses_of(row), "yes" if row["in_ci"] else "no"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", measured(figures())])


def figures() -> list[dict[str, Any]]:
    """Return the rows of a run of tests/interop in shared mode, each with its `steered` one."""
    rows = json.loads(FIGURES.read_text(encoding="utf-8"))["servers"]
    steered = {row["server"]: row for row in rows if row["mode"] == "steered"}
    return [
        row | {"steered": steered.get(row["server"], {})} for row in rows if row["mode"] == "shared"
    ]


def losses_of(row: dict[str, Any]) -> str:
    """Return six cells: the requests and those lost, of each kind of client, in both modes."""
    columns = ("requests", "lost_new", "lost_kept")
    return " | ".join(str(run.get(name, "")) for run in (row, row["steered"]) for name in columns)


def measured(rows: list[dict[str, Any]]) -> str:
    """Say when and where rows were measured, and beside what."""
    dates = sorted({row["date"] for row in rows})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    loads = sorted({row["load_before"] for row in rows})
    beside = f"{loads[0]}" if len(loads) == 1 else f"{loads[0]} to {loads[-1]}"
    recycles = " or ".join(str(number) for number in sorted({row["recycles"] for row in rows}))
    where = ", or ".join(sorted({row["machine"] for row in rows}))
    return f"Measured {when}, {recycles} recycles each: {where}, a load of {beside} beside it."


def rollout_table() -> str:
    """Return the README's table of what bench/rollout.py measured."""
    forms = json.loads(ROLLOUT.read_text(encoding="utf-8"))["forms"]
    names = {
        "srvinit": "srvinit, by the chart",
        "tini": "tini",
        "tini-prestop": "tini, `preStop: sleep 8`",
    }
    lines = ["| under | roll-outs | requests | lost |", "| --- | ---: | ---: | ---: |"]
    for form, name in names.items():
        row = forms[form]
        cells = [name, str(row["roll_outs"]), f"{row['requests']:,}", f"{row['lost']:,}"]
        lines.append(f"| {' | '.join(cells)} |")
    dates = " and ".join(sorted({row["date"] for row in forms.values()}))
    machines = ", or ".join(sorted({row["machine"] for row in forms.values()}))
    versions = ", ".join(forms["srvinit"]["versions"])
    lines += ["", f"Measured on {dates}: {machines}; {versions}. [All figures](docs/rollout.json)."]
    return "\n".join(lines)


TABLES = {
    README: {
        "settings": settings_table,
        "interop": interop_table,
        "modes": modes_table,
        "rollout": rollout_table,
    },
    RECIPES: {"figures": recipes_table},
    STEERING: STEERING_TABLES,
}


def with_tables(path: Path) -> str:
    """Return a page with its tables anew, between their markers."""
    text = path.read_text(encoding="utf-8")
    for name, table in TABLES[path].items():
        head, begin, rest = text.partition(f"<!-- {name}: generated by docs/generate.py")
        mark, end_of_mark, rest = rest.partition(" -->\n")
        _, end, tail = rest.partition(f"<!-- end of {name} -->")
        if not end:
            raise LookupError(f"{path.name} has no place for the table of {name}")
        text = f"{head}{begin}{mark}{end_of_mark}\n{table()}\n\n{end}{tail}"
    return text


PAGES = {HERE / "settings.md": settings_page} | {
    path: functools.partial(with_tables, path) for path in TABLES
}


if __name__ == "__main__":
    sys.exit(pages.main(PAGES))
