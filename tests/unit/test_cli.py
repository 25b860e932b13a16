"""The command line's ends: what is said, where, and with which exit status."""

from __future__ import annotations

import ast
import os
import posix
from pathlib import Path

import pytest

import srvinit
from srvinit.cli import environment, main, say
from srvinit.helptext import help_text
from srvinit.settings.table import SETTINGS

PACKAGE = Path(srvinit.__file__).parent

# This room's part of the way from a command line to the first worker's exec.
ON_THE_WAY = [
    "__main__",
    "cli",
    "errors",
    "settings/meanings",
    "options",
    "record",
    "settings/table",
    "settings/sources",
    "settings/values",
]

# Built into the interpreter, or without a line of Python: DESIGN, the first fifteen milliseconds.
BUILT_IN = {"__future__", "_signal", "posix", "errno", "sys", "time", "select", "fcntl"}

NO_SIGNALS: set[int] = set()  # the mask that a process usually starts with


def test_help_goes_to_stdout_with_status_0(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"], NO_SIGNALS) == 0

    out, err = capfd.readouterr()
    assert out == help_text()
    assert err == ""


def test_help_is_short_and_shows_every_setting_that_works() -> None:
    lines = help_text().splitlines()

    assert len(lines) <= 52
    assert max(map(len, lines)) <= 100
    for row in SETTINGS.values():
        spelt = f"--[no-]{row.flag[2:]} " if row.is_boolean else f"{row.flag} "
        assert any(spelt in line for line in lines)


def test_help_wins_over_faults(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--no-such-thing", "-w", "x", "--help"], NO_SIGNALS) == 0
    assert capfd.readouterr().err == ""


def test_the_version_is_that_of_the_package(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"], NO_SIGNALS) == 0

    assert capfd.readouterr().out == f"srvinit {srvinit.__version__}\n"


def test_faults_go_to_stderr_one_a_line_with_status_2(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--bind-backlog=0", "--bnid", ":80", "--", "web"], NO_SIGNALS) == 2

    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "srvinit: --bnid: unknown option, did you mean --bind?",
        "srvinit: --bind-backlog '0': expected a whole number from 1 to 2147483647",
    ]


def test_no_command_is_a_fault(capfd: pytest.CaptureFixture[str]) -> None:
    assert main([], NO_SIGNALS) == 2

    assert capfd.readouterr().err == (
        "srvinit: no command: expected srvinit [options] -- COMMAND [ARG...]\n"
    )


def test_a_reader_that_has_gone_away_changes_nothing() -> None:
    """`srvinit --help | head -1` ends with 0; with stderr closed faults still end with 2."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert say(writing, "x" * 100_000) == 0
    finally:
        os.close(writing)


def test_the_environment_is_that_of_os() -> None:
    at_start = {os.fsdecode(name): os.fsdecode(value) for name, value in posix.environ.items()}

    assert environment() == at_start


def imported_at_the_top(module: str) -> set[str]:
    """Return what importing `module` imports, but for type checkers."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    statements: list[ast.stmt] = []
    for statement in tree.body:
        is_typing = isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING"
        statements += statement.orelse if is_typing else [statement]  # type: ignore[attr-defined]
    names: set[str] = set()
    for statement in statements:
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            names.add(str(statement.module))
    return names


@pytest.mark.parametrize("module", ON_THE_WAY)
def test_the_way_to_the_first_exec_imports_nothing_written_in_python(module: str) -> None:
    """Each of argparse, enum, typing, re costs a good part of CPython's own start."""
    others = {name for name in imported_at_the_top(module) if name.split(".")[0] != "srvinit"}

    assert others <= BUILT_IN
