"""Who waits in a queue is answered, though the worker crashes, is one too many, or all stop.

With real servers, unmodified; tests/process/test_steered*.py has the worst that there is. A worker
that stands still has accepted nobody: so whoever waits is srvinit's to save, without an exception.
With one queue for all (bind.mode=swapped) recycles are run here too, under load.

In CI three of them, once each; INTEROP_ROUNDS=10 does it ten times, with all that CI installs.
"""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import proc
import pytest
from kinds import KINDS
from load import Load
from test_servers import start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Srvinit
    from kind import Kind

ROUNDS = int(os.environ.get("INTEROP_ROUNDS", "1"))
CLIENTS = 24
HELLO = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
STEERED = [kind for kind in KINDS if kind.mode == "steered" and kind.ci]
SWAPPED = [
    replace(kind, mode="swapped", options=("--bind-mode=swapped",))
    for kind in STEERED
    if ROUNDS > 1 or kind.recipe == "uvicorn"
]
if ROUNDS == 1:
    STEERED = [kind for kind in STEERED if kind.recipe in {"hypercorn", "waitress"}]
QUICK = ("--restart-delay=50ms", "--restart-limit=0")


@pytest.mark.parametrize("kind", STEERED, ids=lambda kind: kind.test_id)
def test_crashes_scaling_down_and_a_shutdown_lose_nobody_who_waits(
    srvinit: Callable[..., Srvinit], port: int, tmp_path: Path, kind: Kind
) -> None:
    for _ in range(ROUNDS):
        pool = started(srvinit, kind, tmp_path, port)
        crash(pool, port)
        scale_down(pool, port)
        shut_down(pool, port)


@pytest.mark.parametrize("kind", SWAPPED, ids=lambda kind: kind.test_id)
def test_with_one_queue_for_all_a_crash_and_a_shutdown_lose_nobody_who_waits(
    srvinit: Callable[..., Srvinit], port: int, tmp_path: Path, kind: Kind
) -> None:
    """Who is one too many leaves that queue as with shared sockets: without such a promise."""
    for _ in range(ROUNDS):
        pool = started(srvinit, kind, tmp_path, port)
        crash(pool, port)
        shut_down(pool, port)


@pytest.mark.parametrize("kind", SWAPPED, ids=lambda kind: kind.test_id)
def test_with_one_queue_for_all_recycles_lose_no_new_connection(
    srvinit: Callable[..., Srvinit], port: int, tmp_path: Path, kind: Kind
) -> None:
    pool = started(srvinit, kind, tmp_path, port)
    with Load(port, new=8, kept=0, rate=300) as load:
        load.wait_requests(100)
        for turn in range(1, ROUNDS + 1):
            pool.signal("HUP")
            pool.wait_event("recycle.finished", within=60, generation=turn + 1)
        load.wait_requests(100)
        figures = load.stop()
    print(kind.name, figures["new"])
    assert figures["losses"] == []
    assert len(pool.found("worker.quiescing")) == 2 * ROUNDS
    pool.signal("TERM")
    assert pool.exit_status(within=40) == 0


def started(srvinit: Callable[..., Srvinit], kind: Kind, folder: Path, port: int) -> Srvinit:
    pool = start(srvinit, replace(kind, options=(*kind.options, *QUICK)), folder, port)
    pool.wait_event("srvinit.ready", within=60)
    return pool


def crash(pool: Srvinit, port: int) -> None:
    """Kill one with a queue, and have another in its place."""
    seen = len(pool.events)
    victim = freeze(pool, slot=0)
    waiting = queue_up(port)
    os.killpg(victim, signal.SIGKILL)
    pool.wait_event("worker.ready", within=60, since=seen, slot=0)
    assert_answered(pool, waiting)


def scale_down(pool: Srvinit, port: int) -> None:
    """Retire one that has a queue."""
    seen = len(pool.events)
    surplus = freeze(pool, slot=1)
    waiting = queue_up(port)
    pool.signal("TTOU")
    pool.wait_event("worker.quiescing", since=seen, slot=1)
    os.killpg(surplus, signal.SIGCONT)
    assert_answered(pool, waiting)
    pool.wait_event("worker.exited", within=20, since=seen, slot=1)


def shut_down(pool: Srvinit, port: int) -> None:
    """Stop while all who are left have a queue."""
    seen = len(pool.events)
    frozen = [freeze(pool, event["slot"]) for event in serving(pool)]
    waiting = queue_up(port)
    pool.signal("TERM")
    pool.wait_event("worker.quiescing", since=seen)
    for group in frozen:
        os.killpg(group, signal.SIGCONT)
    assert_answered(pool, waiting)
    assert pool.exit_status(within=40) == 0
    assert pool.found("worker.killed") == pool.found("socket.unsteered") == []


def serving(pool: Srvinit) -> list[dict[str, int]]:
    """Return the worker.ready of those that have not ended, nor been asked to."""
    gone = {event["pid"] for event in pool.found("worker.exited")}
    return [event for event in pool.found("worker.ready") if event["pid"] not in gone]


def freeze(pool: Srvinit, slot: int) -> int:
    """Stop a worker that nobody has asked anything, with its children (hypercorn has one).

    Returns its process group, as a pid seen from outside.
    """
    (pid,) = (event["pid"] for event in serving(pool) if event["slot"] == slot)
    group = pool.outside(pid)
    os.killpg(group, signal.SIGSTOP)
    members = [pid for pid in pool.everything() if proc.group(pid) == group]
    assert group in members
    for member in members:
        proc.wait_until(lambda: proc.state(member) == "T", 5, "all of a worker to stand still")  # noqa: B023
    return group


def queue_up(port: int) -> list[socket.socket]:
    """Ask, on a connection each."""
    made = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(CLIENTS)]
    for connection in made:
        connection.sendall(HELLO)
    return made


def assert_answered(pool: Srvinit, connections: list[socket.socket]) -> None:
    """Read the answers: one is what it must be, and ends."""
    found = []
    for connection in connections:
        with connection:
            try:
                found.append(b"".join(iter(lambda: connection.recv(65536), b""))[:12])  # noqa: B023
            except OSError as error:
                found.append(repr(error).encode())
    assert found == [b"HTTP/1.1 200"] * CLIENTS, "\n".join(pool.lines)
