"""Turn an event into the bytes of its line: JSON through structlog's processors, or plain text.

Imports structlog, so nothing may import this module before the first worker's exec: report.log
does it in `start`. No global structlog setting is read or changed; in library use those belong to
the program.

A line can be forged by nothing that stands in a field: JSON escapes newlines and control
characters, and what JSON leaves as it is although a terminal or a log viewer obeys it (DEL, C1,
Unicode line ends, text direction) is escaped too, as are bytes that were no UTF-8.
"""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import structlog

from srvinit.report.catalogue import EVENTS
from srvinit.report.sentences import sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

# PIPE_BUF of Linux and one page: the most that goes into a pipe in one piece, pipe(7).
LINE_BYTES = 4096

# Tried in this order until the line fits: the most bytes any one value may take.
CAPS = (3072, 2048, 1024, 512, 256, 128, 64)

_BASE = ("timestamp", "level", "event", "message")
_OBEYED = "\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
_JSON_RISKS = re.compile(f"[{_OBEYED}]")
_TEXT_RISKS = re.compile(f"[\x00-\x1f{_OBEYED}]")
_COLOURS = {"debug": "\x1b[2m", "warning": "\x1b[33m", "error": "\x1b[31m"}


def timestamp(at: float) -> str:
    """Write wall-clock seconds as RFC 3339 in UTC, with microseconds."""
    seconds, micro = divmod(round(at * 1_000_000), 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{micro:06d}Z"


class Renderer:
    """Makes lines of one form, "json" or "console"; `colour` is for the console alone."""

    def __init__(self, form: str, *, colour: bool = False) -> None:
        if form == "json":
            fit = _Fit(structlog.processors.JSONRenderer(ensure_ascii=False), _escape_json)
        else:
            fit = _Fit(_Console(colour=colour), str)
        self._logger = structlog.wrap_logger(
            structlog.ReturnLogger(),
            processors=[_arrange, fit],
            wrapper_class=structlog.make_filtering_bound_logger(0),
            context_class=dict,
        ).bind()

    def __call__(self, level: str, event: str, fields: Mapping[str, Any], at: float) -> bytes:
        """Make the line of an event that happened at `at`, in wall-clock seconds."""
        line = getattr(self._logger, level)(event, fields=fields, at=at)
        assert isinstance(line, bytes)  # noqa: S101  _Fit is the last processor
        return line


def _arrange(_logger: Any, level: str, given: MutableMapping[str, Any]) -> dict[str, Any]:
    """Put time, level, name and sentence first, then the fields in the catalogue's order."""
    event, fields = given["event"], given["fields"]
    base = {
        "timestamp": timestamp(given["at"]),
        "level": level,
        "event": event,
        "message": sentence(event, fields),
    }
    known = EVENTS[event].names() if event in EVENTS else []
    ordered = {name: fields.get(name) for name in known} | dict(fields)
    return {key: _plain(value) for key, value in (base | ordered | base).items()}


def _plain(value: Any) -> Any:
    """Make a value that JSON knows. Fractions are rounded: nobody reads nanoseconds."""
    if isinstance(value, str):
        # Cut here what cannot fit anyway: escaping it all first would hold PID 1 up.
        return _shorten_text(value, CAPS[0]) if len(value) > LINE_BYTES else value
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return round(value, 6) if value - value == 0 else str(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return str(value)


class _Fit:
    """Render, and shorten the values until the line fits into LINE_BYTES."""

    def __init__(self, render: Callable[..., Any], escape: Callable[[str], str]) -> None:
        self._render = render
        self._escape = escape

    def __call__(self, logger: Any, level: str, line: MutableMapping[str, Any]) -> bytes:
        made = self._bytes(logger, level, line)
        for cap in CAPS:
            if len(made) <= LINE_BYTES:
                return made
            shorter = {key: _shorten(value, cap) for key, value in line.items()}
            made = self._bytes(logger, level, shorter)
        if len(made) > LINE_BYTES:  # too many fields: none of ours has so many
            made = self._bytes(logger, level, {key: shorter[key] for key in _BASE})
        return made

    def _bytes(self, logger: Any, level: str, line: Mapping[str, Any]) -> bytes:
        return (self._escape(self._render(logger, level, line)) + "\n").encode()


def _shorten(value: Any, cap: int) -> Any:
    """Bring a value down to `cap` bytes of JSON, with a mark where something is missing."""
    if isinstance(value, str):
        return _shorten_text(value, cap)
    if isinstance(value, list):
        while value and _size(value) > cap:
            value = value[: len(value) // 2]
    return value


def _shorten_text(text: str, cap: int) -> str:
    """Cut the middle out: both ends of a path, of a traceback, of a sentence tell the most."""
    if len(text) <= cap and _size(text) <= cap:
        return text
    keep = min(len(text), cap)
    size = _size(text[:keep]) + 1
    shorter = text
    while size > cap:
        keep = min(keep - 1, keep * (cap - 32) // size)
        half = max(0, keep // 2)
        gone = text[half : len(text) - half]
        mark = f"…(+{len(gone.encode('utf-8', 'surrogatepass'))} bytes)"
        shorter = text[:half] + mark + text[len(text) - half :]
        if not half:
            break
        size = _size(shorter)
    return shorter


def _size(value: Any) -> int:
    return len(_escape_json(json.dumps(value, ensure_ascii=False)).encode())


def _escape_json(text: str) -> str:
    """Escape in JSON text what JSON itself leaves alone; all of it can only stand in strings."""
    return _JSON_RISKS.sub(lambda found: _visible(found[0], "\\\\x"), text)


def _visible(char: str, byte_mark: str) -> str:
    """Escape one character. A byte that was no UTF-8 (PEP 383) is shown as that byte."""
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # noqa: PLR2004  PEP 383's range
        return f"{byte_mark}{code - 0xDC00:02x}"
    if 0xD800 <= code <= 0xDFFF:  # noqa: PLR2004  half a character; strict readers refuse it escaped
        return "\\ufffd"
    return f"\\u{code:04x}"


class _Console:
    """Lines for a person at a terminal: time, level, sentence; a traceback indented below it."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    def __call__(self, _logger: Any, level: str, line: dict[str, Any]) -> str:
        """Render one event; no value can begin a line of its own at the left edge."""
        clock = line["timestamp"][11:23]
        head = f"{clock} {level:7} {_visible_text(line['message'])}"
        start = _COLOURS.get(level, "") if self._colour else ""
        below = [f"    | {_visible_text(text)}" for text in _lines(line.get("traceback"))]
        return "\n".join([f"{start}{head}\x1b[0m" if start else head, *below])


def _lines(value: Any) -> list[str]:
    return value.rstrip("\n").split("\n") if isinstance(value, str) and value else []


def _visible_text(text: str) -> str:
    return _TEXT_RISKS.sub(lambda found: _visible(found[0], "\\x"), text)
