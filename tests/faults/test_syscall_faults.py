"""Every system call that srvinit makes fails: it says so clearly or lives on (see inject.py).

All of them are some 450 runs, half an hour: `make faults` runs those and writes the table of
docs/reliability.md. Here are FAULTS_ROUND of them (25 by default), other ones each day in CI's
life: FAULTS_SEED picks them, and is said with a failure.
"""

from __future__ import annotations

import datetime as dt
import os
import random
from typing import TYPE_CHECKING

import inject
import pytest
import syscalls

if TYPE_CHECKING:
    from pathlib import Path

ROUND = int(os.environ.get("FAULTS_ROUND", "25"))
SEED = os.environ.get("FAULTS_SEED") or dt.datetime.now(dt.UTC).date().isoformat()


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> inject.Calls:
    return inject.record(tmp_path_factory.mktemp("record"))


def test_no_system_call_is_made_that_the_tables_do_not_know(calls: inject.Calls) -> None:
    made = {call for called in calls.values() for call in called}
    assert made - set(syscalls.FAILING) - syscalls.NEVER == set()
    assert not set(syscalls.FAILING) & syscalls.NEVER
    for phase in inject.PHASES:  # strace did see srvinit at work
        assert {"rt_sigtimedwait", "waitid"} <= calls[phase, "srvinit"]
    assert "execve" in calls["start", "child"]


@pytest.mark.parametrize("number", range(ROUND))
def test_a_system_call_that_fails_is_survived_or_told(
    calls: inject.Calls, number: int, tmp_path: Path
) -> None:
    every = list(inject.faults(calls))
    random.Random(SEED).shuffle(every)  # noqa: S311  no secret
    fault = every[number % len(every)]
    outcome = inject.run(fault, tmp_path)
    assert not outcome.wrong, f"{fault} (FAULTS_SEED={SEED}): {outcome.wrong}"


def test_the_instrument_sees_what_is_wrong(tmp_path: Path) -> None:
    """A worker that cannot be exec'd for good is told, and a lie about it would be seen."""
    fault = inject.Fault("crash", "execve", "ENOENT", "child", "1")
    outcome = inject.run(fault, tmp_path)
    assert outcome.was_hit
    assert outcome.wrong == []
    never = inject.Fault("crash", "bind", "EACCES", "srvinit", "1")
    assert not inject.run(never, tmp_path).was_hit
