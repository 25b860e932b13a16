"""The catalogue holds together, srvinit logs nothing outside of it, and docs/ says the same."""

from __future__ import annotations

import ast
import json
import re
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from srvinit.report.catalogue import EVENTS, LEVELS
from srvinit.report.fields import FIELDS
from srvinit.report.render import Renderer
from srvinit.report.sentences import fill, sentence

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
PACKAGE = HERE.parents[1] / "srvinit"

SAMPLES = {
    "integer": 3,
    "number": 1.5,
    "string": "TERM",
    "boolean": True,
    "strings": ["a", "b"],
    "integers": [41, 42],
}


def samples(name: str) -> dict[str, Any]:
    return {field: SAMPLES[FIELDS[field][0]] for field in EVENTS[name].names()}


def line(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(Renderer("json")(EVENTS[name].level, name, fields, 0.0))
    return made


# --- the table --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_named_level_and_fields_are_known(name: str) -> None:
    event = EVENTS[name]
    assert re.fullmatch(r"[a-z]+\.[a-z_]+", name)
    assert event.level in LEVELS
    assert set(event.names()) <= set(FIELDS)
    assert len(event.names()) == len(set(event.names()))


@pytest.mark.parametrize("name", EVENTS)
def test_a_sentence_uses_fields_of_its_event_alone(name: str) -> None:
    used = set(re.findall(r"\{(\w+)", EVENTS[name].message))
    assert used <= set(EVENTS[name].names())


@pytest.mark.parametrize("name", EVENTS)
def test_a_sentence_needs_no_field_that_may_be_null(name: str) -> None:
    """It must not say "?" to anybody at night."""
    nullable = set(EVENTS[name].nullable())
    fields = {field: value for field, value in samples(name).items() if field not in nullable}
    for said in (fill(EVENTS[name].message, samples(name)), fill(EVENTS[name].message, fields)):
        assert "?" not in said
        assert not re.search(r"[{}\[\]|]", said)
        assert said == said.strip()
        assert "  " not in said


def test_every_field_is_used() -> None:
    used = {field for event in EVENTS.values() for field in event.names()}
    assert used == set(FIELDS)


def test_no_field_may_hold_arguments_or_environment() -> None:
    """They carry secrets."""
    assert not {"argv", "args", "arguments", "env", "environ", "environment"} & set(FIELDS)


@pytest.mark.parametrize("name", [name for name in EVENTS if name.startswith("worker.")])
def test_every_event_of_a_worker_says_which(name: str) -> None:
    who = EVENTS[name].names()[:3]
    if name == "worker.spawn_failed":  # there is no process
        assert who[:2] == ["slot", "generation"]
    else:
        assert who == ["slot", "generation", "pid"]


# --- its sentences ----------------------------------------------------------------------------


def test_a_killed_worker_is_said_with_what_it_ignored() -> None:
    fields = {"slot": 2, "pid": 41, "why": "-", "signal": "TERM", "waited_s": 15.0}
    assert sentence("worker.killed", fields) == (
        "worker 2 (pid 41) ignored SIGTERM for 15 s; killing its group"
    )


def test_a_killed_worker_that_ignored_nothing_is_said_with_the_reason() -> None:
    fields = {"slot": 2, "pid": 41, "why": "it was not ready after 2 s", "waited_s": 2.0}
    assert sentence("worker.killed", fields) == (
        "killing the group of worker 2 (pid 41): it was not ready after 2 s"
    )


@pytest.mark.parametrize(
    ("sender", "said"),
    [
        (7, "received SIGHUP from pid 7: recycle"),
        (0, "received SIGHUP: recycle"),
        (None, "received SIGHUP: recycle"),
    ],
)
def test_a_sender_outside_of_the_container_is_not_called_pid_0(
    sender: int | None, said: str
) -> None:
    fields = {"signal": "HUP", "sender_pid": sender, "meaning": "recycle"}
    assert sentence("signal.received", fields) == said


def test_numbers_have_their_nouns() -> None:
    fields = {"generation": 2, "seconds": 0.25, "replaced": 1}
    said = sentence("recycle.finished", fields)
    assert said == "recycled to generation 2 in 250 ms: 1 worker replaced"


def test_values_are_no_templates() -> None:
    """What a worker says is shown, not read."""
    fields = {"slot": 0, "pid": 2, "text": "[{slot}|{0.__class__}]"}
    assert sentence("worker.status", fields) == "worker 0 (pid 2) says: [{slot}|{0.__class__}]"


@pytest.mark.parametrize("fields", [{}, {"lived_s": -1.0}, {"lived_s": "x", "slot": [], "pid": {}}])
def test_a_sentence_never_raises(fields: dict[str, Any]) -> None:
    for name in EVENTS:
        assert isinstance(sentence(name, fields), str)
    assert sentence("no.such", fields) == "no.such"


# --- what the code logs -----------------------------------------------------------------------


def logged() -> Iterator[tuple[str, str, set[str]]]:
    """Find each event the code names: where, its name, and the fields written beside it."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for scope in ast.walk(tree):
            if not isinstance(scope, ast.FunctionDef):
                continue
            for call in ast.walk(scope):
                if isinstance(call, ast.Call) and (name := event_name(call)):
                    where = f"{path.relative_to(PACKAGE)}:{call.lineno}"
                    yield where, name, set(field_names(call.args[1:2], scope))


def event_name(call: ast.Call) -> str | None:
    to = call.func
    called = to.id if isinstance(to, ast.Name) else to.attr if isinstance(to, ast.Attribute) else ""
    first = call.args[0] if call.args else None
    if called not in {"Log", "emit", "_emit"} or not isinstance(first, ast.Constant):
        return None
    return first.value if isinstance(first.value, str) else None


def field_names(given: list[ast.expr], scope: ast.FunctionDef) -> Iterator[str]:
    for node in (part for whole in given for part in ast.walk(whole)):
        if isinstance(node, ast.Dict):
            yield from keys(node)
        elif isinstance(node, ast.Name):
            for step in ast.walk(scope):
                if (
                    isinstance(step, ast.Assign)
                    and isinstance(step.value, ast.Dict)
                    and any(isinstance(to, ast.Name) and to.id == node.id for to in step.targets)
                ):
                    yield from keys(step.value)


def keys(node: ast.Dict) -> Iterator[str]:
    for key in node.keys:
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield key.value


def test_the_code_logs_no_event_and_no_field_that_the_catalogue_does_not_know() -> None:
    strange = []
    for where, name, fields in logged():
        if name not in EVENTS:
            strange.append(f"{where}: {name}")
        elif unknown := fields - set(EVENTS[name].names()):
            strange.append(f"{where}: {name} with {', '.join(sorted(unknown))}")
    assert strange == []


# --- the documents ----------------------------------------------------------------------------


def test_docs_are_generated_from_the_catalogue() -> None:
    """Run `python docs/generate_events.py` when this fails."""
    generated = runpy.run_path(str(DOCS / "generate_events.py"))["files"]()
    for path, text in generated.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is old"


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads((DOCS / "events.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", EVENTS)
def test_the_schema_takes_each_event_as_it_is_rendered(
    name: str, validator: jsonschema.Draft202012Validator
) -> None:
    full = samples(name)
    validator.validate(line(name, full))
    bare = {field: full[field] for field in full if field not in EVENTS[name].nullable()}
    validator.validate(line(name, bare))


@pytest.mark.parametrize("name", EVENTS)
def test_the_schema_refuses_unknown_missing_and_wrong_fields(
    name: str, validator: jsonschema.Draft202012Validator
) -> None:
    right = line(name, samples(name))
    assert not validator.is_valid(right | {"unheard_of": 1})
    for field in EVENTS[name].names():
        assert not validator.is_valid(right | {field: {}})
        assert not validator.is_valid({key: right[key] for key in right if key != field})


def test_the_schema_refuses_an_unknown_event(validator: jsonschema.Draft202012Validator) -> None:
    right = line("srvinit.ready", samples("srvinit.ready"))
    assert not validator.is_valid(right | {"event": "no.such"})
