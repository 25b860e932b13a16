"""Make an event's sentence out of its template and its fields: see catalogue.py for the templates.

Never raises: a line with a poor sentence is worth more than no line. What does not fit its template
is our own bug, and tests/unit/test_catalogue.py looks for it.
"""

from __future__ import annotations

from srvinit import words
from srvinit.report.catalogue import EVENTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def sentence(event: str, fields: Mapping[str, Any]) -> str:
    """Say what happened, for people; an event that is not in the catalogue is said by its name."""
    known = EVENTS.get(event)
    if known is None:
        return event
    try:
        return fill(known.message, fields)
    except (AttributeError, IndexError, TypeError, ValueError):
        return event


def fill(template: str, fields: Mapping[str, Any]) -> str:
    """Fill a template. Raises what str.format raises where a value does not suit its place."""
    said = _Said(fields, strict=False)
    parts = []
    rest = template
    while rest:
        plain, _, rest = rest.partition("[")
        parts.append(plain.format_map(said))
        optional, _, rest = rest.partition("]")
        parts.append(_first_filled(optional, fields))
    return "".join(parts)


def _first_filled(choices: str, fields: Mapping[str, Any]) -> str:
    """Fill the first of the choices whose fields are all there."""
    said = _Said(fields, strict=True)
    for choice in choices.split("|"):
        try:
            return choice.format_map(said)
        except KeyError:
            continue
    return ""


class _Number(int):
    """A number that can be said with its noun: `{workers:worker}`; as memory: `{size:memory}`."""

    def __format__(self, noun: str) -> str:
        if noun == "memory":
            return words.size(int(self))
        return words.counted(int(self), noun) if noun else str(int(self))


class _Said:
    """The fields as people read them. With `strict`, one with nothing in it is a KeyError."""

    def __init__(self, fields: Mapping[str, Any], *, strict: bool) -> None:
        self._fields = fields
        self._strict = strict

    def __getitem__(self, name: str) -> Any:
        value = self._fields.get(name)
        # Pid 0 sends a signal where its sender is outside of our PID namespace: nobody to name.
        if value is None or value in ("", [], ()) or (name == "sender_pid" and value == 0):
            if self._strict:
                raise KeyError(name)
            return "?" if value is None else "none"
        if name.endswith("_s") or name == "seconds":
            return _duration(value)
        if isinstance(value, (list, tuple)):
            return ", ".join(str(item) for item in value)
        if isinstance(value, int) and not isinstance(value, bool):
            return _Number(value)
        return value


def _duration(value: Any) -> str:
    try:
        return words.duration(value)
    except (TypeError, ValueError):  # a clock that was read in the wrong order: show it as it is
        return f"{value} s"
