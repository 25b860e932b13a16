"""Write docs/events.md and docs/events.schema.json from the catalogue.

Run it with `python docs/generate_events.py` after a change there. A test fails when either file
differs from what is generated here.
"""  # noqa: INP001  docs is no package

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from srvinit.report.catalogue import EVENTS, Event
from srvinit.report.fields import FIELDS

HERE = Path(__file__).parent

LEVELS = ["debug", "info", "warning", "error"]
BASE = {
    "timestamp": {
        "type": "string",
        "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z$",
        "description": "when it happened: RFC 3339, UTC, microseconds",
    },
    "level": {"enum": LEVELS, "description": "how much it matters"},
    "event": {"enum": sorted(EVENTS), "description": "what happened, for programs"},
    "message": {"type": "string", "description": "what happened, for people"},
}

INTRODUCTION = """\
# Log events

srvinit writes one JSON object a line to stderr, 4096 bytes at most. Each has `timestamp` (RFC 3339,
UTC, microseconds), `level`, `event` (one of the names below), `message` (a sentence for people) and
the fields of its event. A value that is too long is shortened in the middle, where it says
`…(+N bytes)`; an array that is too long is cut at its end.

Programs should look at `event` and the fields; the sentences may be reworded. The fields of an
event are all in each of its lines; one marked `?` is null where it is not known or does not apply.
[events.schema.json](events.schema.json) is the same as a JSON Schema.

This page is generated from `srvinit/report/catalogue.py`. In the sentences, `[...]` is left out
where a field in it has nothing to say, and `[first|second]` is the first that can be said.
"""


def markdown() -> str:
    """Describe all events and fields as a page."""
    parts = [INTRODUCTION]
    room = ""
    for name, event in EVENTS.items():
        if name.split(".")[0] != room:
            room = name.split(".")[0]
            parts.append(f"## {room}\n")
        parts.append(_event_text(name, event))
    parts.append("## Fields\n")
    rows = [f"| `{name}` | {kind} | {meaning} |" for name, (kind, meaning) in FIELDS.items()]
    parts.append("\n".join(["| field | type | meaning |", "| --- | --- | --- |", *rows]) + "\n")
    return "\n".join(parts)


def _event_text(name: str, event: Event) -> str:
    fields = ", ".join(f"`{field}`" for field in event.fields.split()) or "none"
    lines = [f"**{name}** ({event.level}): `{event.message}`  ", f"Fields: {fields}."]
    if event.then:
        lines[-1] += "  "
        lines.append(f"Next: {event.then}")
    return "\n".join(lines) + "\n"


def schema() -> dict[str, Any]:
    """Describe a line as a JSON Schema: what all lines have, then each event by its name."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of srvinit's log",
        "type": "object",
        "required": list(BASE),
        "properties": BASE,
        "allOf": [
            {
                "if": {"properties": {"event": {"const": name}}},
                "then": {"$ref": f"#/$defs/{name}"},
            }
            for name in EVENTS
        ],
        "$defs": {name: _event_schema(event) for name, event in EVENTS.items()},
    }


def _event_schema(event: Event) -> dict[str, Any]:
    nullable = event.nullable()
    return {
        "description": event.message,
        "required": event.names(),
        "properties": dict.fromkeys(BASE, True)
        | {name: _field_schema(name, may_be_null=name in nullable) for name in event.names()},
        "additionalProperties": False,
    }


def _field_schema(name: str, *, may_be_null: bool) -> dict[str, Any]:
    kind, meaning = FIELDS[name]
    items = {"strings": "string", "integers": "integer"}.get(kind)
    types: Any = "array" if items else kind
    made: dict[str, Any] = {
        "description": meaning,
        "type": [types, "null"] if may_be_null else types,
    }
    if items:
        made["items"] = {"type": items}
    return made


def files() -> dict[Path, str]:
    """Map each generated file to what it should hold."""
    return {
        HERE / "events.md": markdown(),
        HERE / "events.schema.json": json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
