"""Unmodified servers as workers, recycled under load, then stopped: what clients see of it."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import harness
import proc
import pytest
from kind import path_of_workers
from kinds import PARAMETERS
from load import Load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kind import Kind

RECYCLES = 5  # INTEROP_RECYCLES=20 for figures that say more
RATE = 600  # requests a second: two cores have to start servers beside it
CLIENTS = 8  # of each kind
STEADY = 100  # requests between two recycles
WORDS = "workers.log"  # what the servers say on stderr
OUTAGE_MS = 2000  # nobody is answered for so long: starting servers take the CPU, never the socket


class Served(NamedTuple):
    """A server under srvinit that has answered, at `port`."""

    pool: harness.Srvinit
    port: int
    version: str
    ready_s: float


@pytest.fixture
def served(
    kind: Kind,
    srvinit: Callable[..., harness.Srvinit],
    front: Callable[[Kind, Path, int], int],
    tmp_path: Path,
    port: int,
) -> Served:
    version = kind.version()
    pool = start(srvinit, kind, tmp_path, port)
    ready = pool.wait_event("worker.ready", within=60, nth=kind.workers)
    if kind.front:
        port = front(kind, tmp_path, port)
    # Where srvinit has no socket, ready says less
    proc.wait_until(lambda: answers(port), 60, "the first answer")
    return Served(pool, port, version, ready["after_s"])


@pytest.mark.parametrize("kind", PARAMETERS)
def test_recycles_under_load_lose_nothing_but_what_the_server_itself_cuts(
    kind: Kind, served: Served, results: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Recycles cause no outage; what is lost is the server's own race, and within its bound."""
    recycles = int(os.environ.get("INTEROP_RECYCLES", RECYCLES))
    stops = kind.workers * recycles
    row: dict[str, Any] = {"server": kind.name, "mode": kind.mode, "version": served.version}
    row |= {"in_ci": kind.ci, "recycles": recycles, "ready_s": served.ready_s}
    pool = served.pool

    with Load(served.port, new=CLIENTS, kept=CLIENTS, rate=RATE) as load:
        recycle(pool, load, recycles)
        figures = load.stop()
    pool.signal("TERM")
    row["exit_status"] = pool.exit_status(within=40)

    exits = Counter(event["status"] for event in pool.found("worker.exited"))
    killed = len(pool.found("worker.killed"))
    row |= {"exits": dict(exits), "killed": killed}
    row |= summary(figures)
    results.append(row)
    said = proc.read(tmp_path / WORDS).decode()
    print(*pool.lines, said, *figures["losses"], sep="\n")  # seen on failure

    refused = figures["new"]["refused"] + figures["kept"]["refused"]
    assert not refused or kind.gap, "the socket was closed"
    assert row["longest_gap_ms"] < OUTAGE_MS, "an outage"
    assert row["status_5xx"] <= kind.errors * stops
    assert row["status_other"] == 0
    assert row["lost_new"] <= kind.lost_new * stops
    assert row["lost_kept"] <= kind.lost_kept * stops
    assert row["workers_seen"] > recycles or not kind.tells_pid, "it was not recycled"
    assert pool.strays == [], "not every line of the log is JSON"
    assert exits.total() == stops + kind.workers
    assert len(pool.found("worker.quiescing")) >= (stops if kind.mode == "steered" else 0)
    assert pool.found("socket.unsteered") == pool.found("socket.order_lost") == []
    assert set(exits) <= kind.statuses
    assert killed <= kind.killed * stops
    assert row["exit_status"] == 0
    proc.wait_until(lambda: not pool.everything(), 2, "every process to be gone")


def start(
    srvinit: Callable[..., harness.Srvinit], kind: Kind, folder: Path, port: int
) -> harness.Srvinit:
    """Start srvinit with workers of that kind, or the program that does so itself."""
    options, command, _ = kind.prepare(folder, port)
    environ = {"PATH": path_of_workers(folder)} | dict(kind.environ)
    how = {"environ": environ, "cwd": folder, "pid1": kind.pid1}
    if not options:
        return srvinit(run=command, **how)
    options[options.index("-w") + 1] = str(kind.workers)
    if not any(option.startswith("--recycle-settle") for option in options):
        options.append("--recycle-settle=200ms")
    words = [*options, *kind.options, "--"]
    return srvinit(*words, *harness.silenced(command, folder / WORDS), **how)


def answers(port: int) -> bool:
    """Tell whether somebody answers."""
    try:
        harness.ask(port)
    except OSError:
        return False
    return True


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
