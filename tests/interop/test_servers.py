"""Unmodified servers as workers, recycled under load, then stopped: what clients see of it."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
import proc
import pytest
from kinds import KINDS, Kind
from load import Load

if TYPE_CHECKING:
    from collections.abc import Callable

RECYCLES = {"shared": 10, "steered": 5}  # INTEROP_RECYCLES=20 for figures that say more
RATE = 600  # requests a second: two cores have to start servers beside it
CLIENTS = 8  # of each kind
STEADY = 100  # requests between two recycles
WORDS = "workers.log"  # what the servers say on stderr
OUTAGE_MS = 2000  # nobody is answered for so long: starting servers take the CPU, never the socket


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.test_id)
def test_recycles_under_load_lose_nothing_but_what_the_server_itself_cuts(
    srvinit: Callable[..., harness.Srvinit],
    port: int,
    tmp_path: Path,
    results: list[dict[str, Any]],
    kind: Kind,
) -> None:
    """Recycles cause no outage; what is lost is the server's own race, and within its bound."""
    recycles = int(os.environ.get("INTEROP_RECYCLES", RECYCLES[kind.mode]))
    row: dict[str, Any] = {"order": KINDS.index(kind), "server": kind.name, "mode": kind.mode}
    row |= {"version": kind.version(), "recycles": recycles}

    pool = start(srvinit, kind, tmp_path, port)
    ready = pool.wait_event("worker.ready", within=60, nth=2)
    with Load(port, new=CLIENTS, kept=CLIENTS, rate=RATE) as load:
        recycle(pool, load, recycles)
        figures = load.stop()
    pool.signal("TERM")
    row["exit_status"] = pool.exit_status(within=40)

    exits = Counter(event["status"] for event in pool.found("worker.exited"))
    killed = len(pool.found("worker.killed"))
    row |= {"ready_s": ready["after_s"], "exits": dict(exits), "killed": killed}
    row |= {"bound_new": kind.lost_new, "bound_kept": kind.lost_kept}
    row |= summary(figures)
    results.append(row)
    said = proc.read(tmp_path / WORDS).decode()
    print(*pool.lines, said, *figures["losses"], sep="\n")  # seen on failure

    assert figures["new"]["refused"] == figures["kept"]["refused"] == 0, "the socket was closed"
    assert row["longest_gap_ms"] < OUTAGE_MS, "an outage"
    assert row["status_5xx"] <= kind.errors
    assert row["status_other"] == 0
    assert row["lost_new"] <= scaled(kind.lost_new, recycles)
    assert row["lost_kept"] <= scaled(kind.lost_kept, recycles)
    assert row["workers_seen"] > recycles, "it was not recycled"
    assert pool.strays == [], "not every line of the log is JSON"
    assert exits.total() == 2 * (recycles + 1)
    assert len(pool.found("worker.quiescing")) >= (2 * recycles if kind.mode == "steered" else 0)
    assert pool.found("socket.unsteered") == pool.found("socket.order_lost") == []
    assert set(exits) <= kind.statuses
    assert killed <= kind.killed
    assert row["exit_status"] == 0
    proc.wait_until(lambda: not pool.everything(), 2, "every process to be gone")


def scaled(bound: int, recycles: int) -> float:
    """Return the bound for so many recycles: one stop may cut all clients there are."""
    return bound and max(CLIENTS, bound * recycles / 10)


def start(
    srvinit: Callable[..., harness.Srvinit], kind: Kind, folder: Path, port: int
) -> harness.Srvinit:
    """Start srvinit with two workers of that kind, or the program that does so itself."""
    options, command, _ = kind.prepare(folder, port)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"])
    how = {"environ": {"PATH": path} | dict(kind.environ), "cwd": folder, "pid1": kind.pid1}
    if not options:
        return srvinit(run=command, **how)
    options[options.index("-w") + 1] = "2"
    words = [*options, "--recycle-settle=200ms", *kind.options, "--"]
    return srvinit(*words, *harness.silenced(command, folder / WORDS), **how)


def recycle(pool: harness.Srvinit, load: Load, times: int) -> None:
    """Recycle again and again, with some steady requests before, between and after."""
    load.wait_requests(STEADY)
    for _ in range(times):
        seen = len(pool.events)
        load.phase("recycle")
        pool.signal("HUP")
        pool.wait_event("recycle.finished", within=90, since=seen)
        load.phase("steady")
        load.wait_requests(STEADY)


def summary(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of the table that the load generator knows."""
    phases, new, kept = figures["phases"], figures["new"], figures["kept"]
    return {
        "seconds": figures["seconds"],
        "requests": figures["requests"],
        "lost_new": new["lost"],
        "lost_kept": kept["lost"],
        "lost_kept_on_idle": kept["lost_on_idle"],
        "status_5xx": new["status_5xx"] + kept["status_5xx"],
        "status_other": new["status_other"] + kept["status_other"],
        "p50_steady_ms": phases["steady"]["p50_ms"],
        "p50_recycle_ms": phases["recycle"]["p50_ms"],
        "p99_steady_ms": phases["steady"]["p99_ms"],
        "p99_recycle_ms": phases["recycle"]["p99_ms"],
        "longest_gap_ms": figures["longest_gap_ms"],
        "workers_seen": len(figures["workers"]),
    }
