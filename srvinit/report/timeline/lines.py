"""Find srvinit's events in a stream of lines, and tell whose they are.

A line may begin with what others put there (`kubectl logs --prefix --timestamps`, docker compose,
the CRI's and Docker's log files), with a worker's unfinished words, or in the middle of a value; it
may end early, cut by whoever collected it. What can be read of it is used.

A worker's own lines are no events: they are told apart by the name of the event, which must be one
of the catalogue, and by the types of what belongs to it. One that writes exactly what srvinit
writes cannot be told apart; all it gains is a wrong picture, never markup: see `markup`.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from srvinit.record import Record
from srvinit.report.catalogue import EVENTS
from srvinit.report.fields import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BEGIN = '{"timestamp": "'  # how structlog's JSON begins; never inside of a JSON string: \" there
DOCKER = '{"log":"'  # a line of Docker's json-file
LONGEST_LINE = 65536  # ours are 4096 bytes at most; what stands before one may be a worker's
YEAR_3000 = 32503680000.0  # no clock is that wrong, and every date up to it can be written
MOST = 2.0**53  # beyond it a number of JSON is not exact, and no time or pid of ours

_POD = re.compile(r"\[pod/([^/\]\s]+)/([^/\]\s]+)\] ")
_COMPOSE = re.compile(r"([\w.-]+)\s+\| ")
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:?\d\d)")

_scan = json.JSONDecoder().raw_decode
_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "strings": list,
    "integers": list,
}


class Event(Record):
    """One event of a log: `at` in wall-clock seconds, `fields` those of the catalogue."""

    at: float
    name: str
    level: str
    message: str
    fields: dict[str, Any]


def read(lines: Iterable[str], name: str) -> Iterator[tuple[str, Event]]:
    """Give the events of a stream, in its order, each with the pod it is from.

    That is what `kubectl logs --prefix` or docker compose put before it, else `name`.
    """
    for line in lines:
        if BEGIN in line:
            yield from _read_line(line[:LONGEST_LINE], name)
        elif line.startswith(DOCKER):
            inner = _docker_line(line[:LONGEST_LINE])
            if BEGIN in inner:
                yield from _read_line(inner, name)


def _read_line(line: str, name: str) -> Iterator[tuple[str, Event]]:
    first = line.find(BEGIN)
    pod = pod_of(line[:first]) or name
    while first >= 0:
        following = line.find(BEGIN, first + len(BEGIN))
        found = _object(line, first)
        event = event_of(found)
        if event is not None:
            yield pod, event
        first = following


def pod_of(prefix: str) -> str:
    """Say which pod a line is from, by what stands before the event; "" where nothing says so."""
    pod = _POD.match(prefix)
    if pod is not None:
        return f"{pod[1]}/{pod[2]}"
    service = _COMPOSE.match(prefix)
    return service[1] if service is not None else ""


def event_of(found: dict[str, Any]) -> Event | None:
    """Make an event of a line's object, None if it is none of srvinit's."""
    name, message = found.get("event"), found.get("message")
    at = seconds(found.get("timestamp"))
    if not isinstance(name, str) or name not in EVENTS or at is None:
        return None
    fields = {
        field: found[field]
        for field in EVENTS[name].names()
        if field in found and _suits(found[field], FIELDS[field][0])
    }
    said = message if isinstance(message, str) else name
    level = found.get("level")
    is_known = isinstance(level, str) and level in {"debug", "info", "warning", "error"}
    return Event(at, name, str(level) if is_known else EVENTS[name].level, said, fields)


def seconds(timestamp: object) -> float | None:
    """Read RFC 3339 as wall-clock seconds; None where it is no time."""
    found = _TIME.fullmatch(timestamp) if isinstance(timestamp, str) else None
    if found is None:
        return None
    try:
        whole = datetime.fromisoformat(found[1] + found[3].replace("Z", "+00:00"))
        at = whole.astimezone(UTC).timestamp() + float(f"0.{found[2] or 0}")
    except (ValueError, OverflowError):  # a 31st of February, the year 0
        return None
    return at if 0 <= at < YEAR_3000 else None


def _suits(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if isinstance(value, (int, float)) and not abs(value) <= MOST:  # NaN is not, either
        return False
    return isinstance(value, _TYPES[kind])


def _object(line: str, begin: int) -> dict[str, Any]:
    """Read an object of one line; where it was cut, the fields that are whole."""
    try:
        found, _ = _scan(line, begin)
    except (ValueError, RecursionError):
        return _cut_object(line, begin + 1)
    return found if isinstance(found, dict) else {}


def _cut_object(line: str, place: int) -> dict[str, Any]:
    """Read `"name": value, ...` as far as it goes."""
    found: dict[str, Any] = {}
    try:
        while True:
            name, place = _scan(line, place)
            if line[place : place + 2] != ": " or not isinstance(name, str):
                return found
            value, place = _scan(line, place + 2)
            if line[place : place + 1] not in {",", "}"}:
                return found  # a number may have lost its end
            found[name] = value
            place += 2
    except (ValueError, IndexError, RecursionError):
        return found


def _docker_line(line: str) -> str:
    found = _object(line, 0).get("log")
    return found if isinstance(found, str) else ""
