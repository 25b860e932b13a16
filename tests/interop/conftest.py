"""Keeps the figures of all servers, prints them as a table and writes them where asked.

INTEROP_RESULTS names the file for the JSON; what it has of servers that this run left out is kept.
INTEROP_RECYCLES is the number of recycles. README.md and docs/recipes.md show such a file:
docs/interop.json.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
import pytest
import readme
from kind import SERVERS
from kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kind import Kind

LOAD_BEFORE = round(os.getloadavg()[0], 1)
ROWS = pytest.StashKey[list[dict[str, Any]]]()
LEFT_OUT = pytest.StashKey[list[Any]]()
ORDER = [(kind.name, kind.mode) for kind in KINDS]
COLUMNS = {
    "server": "server",
    "mode": "mode",
    "version": "version",
    "recycles": "recycles",
    "ready_s": "ready s",
    "requests": "requests",
    "lost_new": "lost new",
    "lost_kept": "lost kept",
    "p99_steady_ms": "p99 steady",
    "p99_recycle_ms": "p99 recycle",
    "longest_gap_ms": "longest gap",
    "exits": "worker exits",
    "killed": "killed",
    "exit_status": "srvinit",
}


@pytest.fixture
def results(pytestconfig: pytest.Config) -> list[dict[str, Any]]:
    """Return the list to which a test adds its server's row."""
    return pytestconfig.stash.setdefault(ROWS, [])


@pytest.fixture
def front() -> Iterator[Callable[[Kind, Path, int], int]]:
    """Start the nginx that stands before a server of another protocol; return its port."""
    with contextlib.ExitStack() as stack:

        def start(kind: Kind, folder: Path, port: int) -> int:
            own = harness.free_port()
            text = (SERVERS / kind.front).read_text().replace(readme.PORT, str(port))
            conf = folder / kind.front
            conf.write_text(text.replace("FRONT", str(own)).replace("FOLDER", str(folder)))
            nginx = subprocess.Popen([harness.program("nginx"), "-p", folder, "-c", conf])
            stack.callback(nginx.wait)
            stack.callback(nginx.terminate)
            return own

        yield start


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table, and write it to the file that INTEROP_RESULTS names."""
    left_out = sorted(item.callspec.id for item in config.stash.get(LEFT_OUT, []))
    if left_out:
        terminalreporter.section(f"{len(left_out)} servers NOT RUN: only `make interop` does")
        terminalreporter.line("; ".join(left_out))
    rows = config.stash.get(ROWS, [])
    if not rows:
        return
    rows.sort(key=_order)
    cells = [list(COLUMNS.values()), *[[str(row[key]) for key in COLUMNS] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    terminalreporter.section("interop: times in ms")
    for line in cells:
        padded = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        terminalreporter.line("  ".join(padded).rstrip())
    if path := os.environ.get("INTEROP_RESULTS"):
        _write(Path(path), rows)


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Note which servers are left out, so that it is said."""
    for item in items:
        if item.get_closest_marker("beyond_ci"):
            item.config.stash.setdefault(LEFT_OUT, []).append(item)


def _write(file: Path, rows: list[dict[str, Any]]) -> None:
    """Put the rows into the file, and leave those there that this run did not measure."""
    rows = [row | _run() for row in rows]
    run = {(row["server"], row["mode"]) for row in rows}
    before = json.loads(file.read_text())["servers"] if file.exists() else []
    rows += [row for row in before if (row["server"], row["mode"]) not in run]
    known = [row for row in rows if (row["server"], row["mode"]) in ORDER]
    file.write_text(json.dumps({"servers": sorted(known, key=_order)}, indent=1) + "\n")


def _order(row: dict[str, Any]) -> int:
    return ORDER.index((row["server"], row["mode"]))


def _run() -> dict[str, Any]:
    """Say when and on what: figures of another machine are not to be compared."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    release = ".".join(platform.release().split(".")[:2])
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} CPUs, {memory:.0f} GiB, Linux {release}",
        "load_before": LOAD_BEFORE,
    }
