"""What the tests of steered pools share: the worst server there is, and clients of it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import proc
from listening import deafen
from scenes import python, start_web, stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Srvinit
    from scenes import Start

STEERED = "--bind-mode=steered"
RATE = 400
CLIENTS = 8
HELLO = b"GET / HTTP/1.0\r\n\r\n"


def start(
    srvinit: Start,
    *options: str,
    takes_s: float = 0,
    pid1: bool = True,
    before: list[str] | None = None,
    command: list[str] | None = None,
    **how: Any,
) -> Srvinit:
    """Start a pool of bare servers, each with a socket of its own; `before` begins the command."""
    command = [*(before or ()), *(command or python("bare.py", f"{takes_s:g}"))]
    return start_web(srvinit, STEERED, *options, command=command, pid1=pid1, **how)


def finish(pool: Srvinit) -> None:
    """Stop it: well, and without a word about the kernel being other than thought."""
    assert stop(pool) == 0
    wrong = ("socket.unsteered", "socket.order_lost", "socket.door_open", "kernel.refused")
    wrong += ("worker.killed",)
    assert [event for name in wrong for event in pool.found(name)] == []


def lost(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the losses, one by one; each line of the log can be held against them."""
    assert figures["new"]["ok"] > RATE / 10
    assert figures["new"]["lost"] == len(figures["losses"])
    return list(figures["losses"])


def serving(pool: Srvinit) -> list[dict[str, Any]]:
    """Return the worker.ready of all that have not ended."""
    ended = {event["pid"] for event in pool.found("worker.exited")}
    return [event for event in pool.found("worker.ready") if event["pid"] not in ended]


def hello(port: int, times: int) -> list[socket.socket]:
    """Make so many connections and send a request on each."""
    made = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(times)]
    for connection in made:
        connection.sendall(HELLO)
    return made


def answers(connections: list[socket.socket]) -> Counter[int]:
    """Return how many each worker answers; an unanswered one is an error."""
    counted: Counter[int] = Counter()
    with contextlib.ExitStack() as closing:
        for connection in connections:
            closing.enter_context(connection)
        for connection in connections:
            answer = b"".join(iter(lambda: connection.recv(65536), b""))  # noqa: B023
            counted[int(answer.rpartition(b"\r\n\r\n")[2])] += 1
    return counted


@contextlib.contextmanager
def half_open(port: int) -> Iterator[socket.socket]:
    """Send a SYN and be deaf to its answer: a client that is gone."""
    with socket.socket() as client:
        deafen(client)
        client.settimeout(0)
        client.connect_ex(("127.0.0.1", port))
        yield client


def freeze(pool: Srvinit, pid: int) -> int:
    """Stop a worker that is waiting for a connection; return its pid seen from outside."""
    outside = pool.outside(pid)
    os.kill(outside, signal.SIGSTOP)
    proc.wait_until(lambda: proc.state(outside) == "T", 5, "the worker to stand still")
    return outside


def wait_for_queue(port: int, least: int) -> None:
    """Wait until so many wait, on one of the sockets of a port, for somebody to accept them."""

    def longest() -> bool:
        rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        mine = (row for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}"))
        return max((int(row[4].partition(":")[2], 16) for row in mine), default=0) >= least

    proc.wait_until(longest, 10, f"{least} connections in one queue")
