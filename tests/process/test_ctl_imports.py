"""`srvinitctl ready` imports next to nothing: a probe runs it every few seconds for years.

Pinned as the modules before the first worker's exec are (test_start_imports): each of Python's own
that is written in Python costs more than all of it (bench/run.py probe).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import harness
import pytest
from asking import wait_status
from scenes import as_root

ROOT = Path(__file__).parents[2]
OWN = {"", "ctl", "report", "report.reading"}
#: Where srvinit is not PID 1 there is a search.
SEARCH = {"control", "control.finding"}
TELL = (
    "import sys\n"
    "begun = set(sys.modules)\n"
    f"sys.path.append({str(ROOT)!r})\n"
    "from srvinit.ctl import main\n"
    "status = main(sys.argv[1:])\n"
    "print(*sorted(set(sys.modules) - begun))\n"
    "sys.exit(status)\n"
)


def imported_by(pool: harness.Srvinit, word: str) -> set[str]:
    """Run a probe beside srvinit in a bare interpreter; return what it has imported."""
    enter = [harness.program("nsenter"), f"--target={pool.pid}", "--pid", "--mount", "--"]
    command = [*enter, sys.executable, "-I", "-S", "-c", TELL, word]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    answer, names = told.stdout.splitlines()
    assert answer == f"{word}: 1 of 1 workers serve"
    return set(names.split())


@as_root
@pytest.mark.parametrize("word", ["ready", "live"])
def test_a_probe_imports_nothing_but_where_the_status_is_read(srvinit, word: str) -> None:
    pool = srvinit("-w1", "--", "sleep", "1000", pid1=True)
    wait_status(pool, lambda one: one["ready"])

    found = imported_by(pool, word)

    own = {name.removeprefix("srvinit").removeprefix(".") for name in found if "srvinit" in name}
    assert own == OWN
    assert {name for name in found if "srvinit" not in name} == {"__future__"}


@as_root
def test_a_search_imports_no_library_either(srvinit) -> None:
    one = '"$@" -w1 --log-level=debug -- sleep 1000 & wait'
    pool = srvinit(run=["sh", "-c", one, "sh", *harness.PROGRAM], pid1=True)
    pool.wait_event("worker.settled", within=20)

    found = imported_by(pool, "ready")

    own = {name.removeprefix("srvinit").removeprefix(".") for name in found if "srvinit" in name}
    assert own == OWN | SEARCH
    assert {name for name in found if "srvinit" not in name} == {"__future__"}
