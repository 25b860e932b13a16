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
    """Have SIGHUP as a shell gives it, below nohup too: tests say what workers find ignored."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


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
