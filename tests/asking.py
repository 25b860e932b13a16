"""Runs srvinitctl beside a running srvinit, as `docker exec` and `kubectl exec` do: no terminal.

It enters the PID and the mount namespace of a pool that is the PID 1 of its own, so that it finds
srvinit as it would in a container. TESTED_CTL names the frozen one.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import harness
import proc

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness import Srvinit

CTL = shlex.split(os.environ.get("TESTED_CTL", "")) or [sys.executable, "-m", "srvinit.ctl"]
LINK = "/memfd:srvinit-status (deleted)"


def start_ctl(
    pool: Srvinit, *words: str, user: int = 0, inside: bool = True
) -> subprocess.Popen[str]:
    """Start srvinitctl with these words; beside an ordinary process, `inside` has to be False."""
    enter = [harness.program("nsenter"), f"--target={pool.pid}", "--pid", "--mount", "--"]
    return subprocess.Popen(
        [*(enter if inside else []), *(harness.as_user(user) if user else ()), *CTL, *words],
        env=harness.clean_environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Answer:
    """What srvinitctl said: its exit status, and both outputs."""

    def __init__(self, process: subprocess.Popen[str], within: float) -> None:
        try:
            self.out, self.error = process.communicate(timeout=within)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        self.status = process.returncode

    def __repr__(self) -> str:
        return f"Answer({self.status}, {self.out!r}, {self.error!r})"


def ask_ctl(pool: Srvinit, *words: str, within: float = 30, **how: Any) -> Answer:
    """Run srvinitctl to its end."""
    return Answer(start_ctl(pool, *words, **how), within)


def place(pid: int) -> str:
    """Return the path of a process's status, "" if it has none."""
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)  # noqa: PTH208  names alone
    except OSError:
        return ""
    return next((f"{folder}/{fd}" for fd in names if proc.link(f"{folder}/{fd}") == LINK), "")


def status_of(pool: Srvinit) -> dict[str, Any]:
    """Return a pool's status as it is now; empty while there is none."""
    text = proc.read(place(pool.pid)) if place(pool.pid) else b""
    return json.loads(text) if text else {}


def wait_status(
    pool: Srvinit, question: Callable[[dict[str, Any]], object], within: float = 10
) -> dict[str, Any]:
    """Return the first status of which that is so."""

    def look() -> dict[str, Any]:
        status = status_of(pool)
        return status if status and question(status) else {}

    return proc.wait_until(look, within, "a status of which it is so")
