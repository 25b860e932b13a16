"""Fixtures of all tests that run processes; `import harness` and `import load` work beside it."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING, Any

import harness
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def pytest_configure() -> None:
    """Have the signals as a terminal gives them: tests say what workers find ignored.

    nohup leaves SIGHUP ignored, and a script's `&` the other two.
    """
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def srvinit() -> Iterator[Callable[..., harness.Srvinit]]:
    """Start srvinit as often as the test calls it (see harness.Srvinit); kill it all afterwards."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str, **options: Any) -> harness.Srvinit:
            return stack.enter_context(harness.Srvinit(*arguments, **options))

        yield start


@pytest.fixture
def port() -> int:
    """Return a TCP port that is free on 127.0.0.1."""
    return harness.free_port()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say loudly, and counted, what was not tested for lack of a program."""
    skipped = terminalreporter.stats.get("skipped", [])
    lacking = [report for report in skipped if "MISSING: " in str(report.longrepr)]
    if lacking:
        terminalreporter.section(f"{len(lacking)} tests NOT RUN: programs are missing", red=True)
