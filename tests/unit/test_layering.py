"""Imports run downward only, and the core knows no kernel, no clock and no log library.

STYLE section 1: `__main__ -> cli -> supervisor -> {lifecycle, kernel, report} -> options`.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[2] / "srvinit"

# From the bottom up; rooms of one floor never import each other.
FLOORS = (
    {"record", "errors", "words"},
    {"options"},
    {"lifecycle", "kernel", "report"},
    {"supervisor", "ctl"},
    {"cli", "library"},
    {"__main__", "__init__", "checking"},  # the last: what srvinit would do, and never a start
)
# What stands beside a room's own file and belongs to it.
ROOM_OF = {"settings": "options", "control": "ctl"}
DEFAULT_ROOM = "supervisor"  # the loop and what it was split into: watch, setup, jobs, ...
FLOOR_OF = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}

IN_LIFECYCLE = {"__future__", "_heapq"}
TYPES_IN_LIFECYCLE = IN_LIFECYCLE | {"typing", "collections.abc"}
FLOOR_TYPES = {"options"}
BASEMENT = {"record", "errors", "words", "lifecycle"}


def room_of(module: str) -> str:
    """Tell the room of a module's dotted name below the package: "kernel.reap" is in kernel."""
    name = module.partition(".")[0]
    room = ROOM_OF.get(name, name)
    return room if room in FLOOR_OF else DEFAULT_ROOM


class Import:
    """One import: from where, of what, and whether it is for type checkers alone."""

    def __init__(self, at: str, module: str, target: str, *, is_for_types: bool) -> None:
        self.at = at
        self.module = module
        self.target = target
        self.is_for_types = is_for_types

    def __repr__(self) -> str:
        return f"{self.at} imports {self.target}"


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports_of(path: Path) -> Iterator[Import]:
    """Find all imports of a file, in functions too."""
    module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    tree = ast.parse(path.read_text())
    for_types = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and is_type_checking(branch)
        for statement in branch.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide their arrow"
            base = node.module or ""
            inner = PACKAGE.parent.joinpath(*base.split("."))
            targets = [
                f"{base}.{name.name}" if is_module(inner, name.name) else base
                for name in node.names
            ]
        else:
            continue
        for target in targets:
            at = f"{path.relative_to(PACKAGE.parent)}:{node.lineno}"
            yield Import(at, module, target, is_for_types=id(node) in for_types)


def is_module(folder: Path, name: str) -> bool:
    return (folder / f"{name}.py").exists() or (folder / name).is_dir()


ALL = [one for path in sorted(PACKAGE.rglob("*.py")) for one in imports_of(path)]
OWN = [one for one in ALL if one.target.split(".")[0] == "srvinit" and one.target != "srvinit"]


def goes_wrong(one: Import) -> bool:
    source = room_of(one.module)
    target = room_of(one.target.removeprefix("srvinit."))
    return source != target and FLOOR_OF[target] >= FLOOR_OF[source]


def test_imports_run_downward_only() -> None:
    assert [one for one in OWN if goes_wrong(one)] == []


def lifecycle_allows(one: Import) -> bool:
    if one.target.startswith("srvinit"):
        room = room_of(one.target.removeprefix("srvinit."))
        return room in BASEMENT or (one.is_for_types and room in FLOOR_TYPES)
    return one.target in (TYPES_IN_LIFECYCLE if one.is_for_types else IN_LIFECYCLE)


def test_the_core_knows_no_kernel_no_clock_and_no_log_library() -> None:
    core = [one for one in ALL if one.module.startswith("lifecycle.")]

    assert len(core) > 20, "the core was not found"
    assert [one for one in core if not lifecycle_allows(one)] == []


@pytest.mark.parametrize(
    "name", ["os", "time", "signal", "random", "structlog", "posix", "_signal"]
)
def test_a_forbidden_import_in_the_core_would_be_found(name: str) -> None:
    assert not lifecycle_allows(Import("here", "lifecycle.pool", name, is_for_types=False))


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("lifecycle.pool", "srvinit.kernel.reap"),
        ("lifecycle.steering", "srvinit.kernel.steering"),
        ("lifecycle.steering", "srvinit.seating"),
        ("kernel.steering", "srvinit.lifecycle.steering"),
        ("kernel.reap", "srvinit.report.log"),
        ("options", "srvinit.lifecycle.pool"),
        ("report.log", "srvinit.supervisor"),
        ("kernel.spawn", "srvinit.watch"),
        ("supervisor", "srvinit.cli"),
        ("record", "srvinit.options"),
    ],
)
def test_a_wrong_arrow_would_be_found(module: str, target: str) -> None:
    assert goes_wrong(Import("here", module, target, is_for_types=True))


# The core's own arrows: what a worker does knows no pool, and the nouns know nothing.
NOUNS = {"events", "actions"}
INSIDE = {
    "events": set(),
    "actions": set(),
    "deeds": NOUNS,
    "worker": NOUNS | {"deeds"},
    "steering": NOUNS | {"swapping"},
    "swapping": {"worker"},
}


@pytest.mark.parametrize("module", INSIDE)
def test_a_workers_table_and_its_deeds_know_no_pool(module: str) -> None:
    core = "srvinit.lifecycle."
    inside = {
        one.target.removeprefix(core)
        for one in ALL
        if one.module == f"lifecycle.{module}" and one.target.startswith(core)
        if not one.is_for_types
    }

    assert inside <= INSIDE[module]


@pytest.mark.parametrize("path", sorted((PACKAGE / "lifecycle").glob("*.py")), ids=lambda p: p.name)
def test_files_and_functions_of_the_core_stay_small(path: Path) -> None:
    text = path.read_text()
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]

    assert len(text.splitlines()) < 400
    for function in functions:
        assert (function.end_lineno or 0) - function.lineno < 50, function.name
