"""`srvinitctl status [--json]`: what runs, for a person or for a program."""

from __future__ import annotations

import time

from srvinit import ctl, words
from srvinit.control.arguments import parser_of
from srvinit.control.target import Target
from srvinit.report import reading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

COLUMNS = ("SLOT", "PID", "GENERATION", "STATE", "AGE", "READY AFTER", "WHY")
RIGHT_ALIGNED = {"SLOT", "PID", "GENERATION"}


def main(arguments: list[str]) -> int:
    """Show the status."""
    parser = parser_of("status")
    parser.add_argument("--json", action="store_true", help="all of it, as docs/status.md has it")
    options = parser.parse_args(arguments)
    target = Target(options.pid)
    if options.json:
        ctl.say(ctl.OUT, reading.read(target.pid).decode())
    else:
        ctl.say(ctl.OUT, "\n".join(render(target.read(), time.time())) + "\n")
    return 0


def render(status: dict[str, Any], now: float) -> Iterator[str]:
    """Yield the lines of the table; `now` is the time in unix seconds."""
    name = "ready" if status["ready"] else "not ready"
    up = _since(status["started_at"], now)
    yield f"srvinit {status['version']} (pid {status['pid']}) is {name}: {status['why']}"
    yield (
        f"up {up}, generation {status['generation']}, {status['count']} wanted, "
        f"{status['serving']} serving, {status['settled']} settled"
    )
    if status["shutdown"]:
        left = words.duration(max(0.0, status["shutdown"]["by"] - now))
        yield f"shutting down ({status['shutdown']['why']}): over within {left}"
    yield from _recycle_lines(status["recycles"], now)
    yield _counter_line(status)
    for address in dict.fromkeys(socket["address"] for socket in status["sockets"]):
        yield f"listens on {address}"
    yield ""
    yield from _table([COLUMNS, *_rows(status["workers"], now)])


def _recycle_lines(recycles: dict[str, Any], now: float) -> Iterator[str]:
    running = recycles["running"]
    if running:
        line = (
            f"recycling to generation {running['generation']} ({running['why']}) for "
            f"{_since(running['began_at'], now)}: {running['replaced']} of {running['workers']} "
            f"replaced"
        )
        if running["last_failure"]:
            failed = words.counted(running["failures"], "failure")
            line += f", {failed}, the last: {running['last_failure']}"
        yield line + (", one more follows" if recycles["queued"] else "")
    if recycles["ended"]:
        last = recycles["ended"][-1]
        line = f"the last recycle, to generation {last['generation']}, {last['outcome']}"
        if last["outcome"] == "finished":
            line += f" in {words.duration(last['seconds'])}"
        elif last["last_failure"]:
            line += f": {last['last_failure']}"
        yield line
        if last["rejected"]:
            yield f"its settings were refused: {last['rejected']}"


def _counter_line(status: dict[str, Any]) -> str:
    counters = status["counters"]
    parts = [
        words.counted(counters["workers_started"], "worker") + " started",
        words.counted(sum(counters["restarts"].values()), "restart"),
        words.counted(counters["kills"], "kill"),
        words.counted(counters["orphans_reaped"], "orphan") + " reaped",
    ]
    if counters["log_lines_dropped"]:
        parts.append(words.counted(counters["log_lines_dropped"], "log line") + " dropped")
    return ", ".join(parts)


def _rows(workers: list[dict[str, Any]], now: float) -> Iterator[tuple[str, ...]]:
    for worker in sorted(workers, key=lambda one: (one["slot"], one["started_at"])):
        began, ready_at = worker["started_at"], worker["ready_at"]
        yield (
            str(worker["slot"]),
            str(worker["pid"]),
            str(worker["generation"]),
            worker["state"],
            _since(began, now),
            "-" if ready_at is None else words.duration(max(0.0, ready_at - began)),
            worker["why"],
        )


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if name in RIGHT_ALIGNED else cell.ljust(width)
            for name, cell, width in zip(COLUMNS, row, widths, strict=True)
        ]
        yield "  ".join(cells).rstrip()


def _since(began: float, now: float) -> str:
    """Say how long ago that was; clocks that were set meanwhile make no negative age."""
    return words.duration(float(round(max(0.0, now - began), 1)))
