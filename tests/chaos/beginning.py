"""How srvinit begins in a run, and what it may be told to go on with."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import scenes
from plan import CONFIGS
from retelling import Beginning

from srvinit.errors import UsageError
from srvinit.settings.sources import Sources
from srvinit.setup import worker_count

if TYPE_CHECKING:
    from pathlib import Path

    from plan import Plan

    from srvinit.options import Options

SHUTDOWN_S, MARGIN_S = 5.0, 1.0
LAST_CONFIG = b"[worker]\ncount = %d\n"
LAST_COUNTS = (5, 3)  # wanted at the end; no file of the plan says the first
WRITTEN_LATE_S = (0.02, 0.1)  # after what a line tells of: the machine is busy
OPTIONS = (
    scenes.BIND,
    "--worker-require=listen",
    "--worker-timeout=30s",
    scenes.QUICK,
    "--restart-delay=100ms",
    "--restart-limit=0",
    "--recycle-timeout=10s",
    f"--shutdown-timeout={SHUTDOWN_S:g}s",
    f"--shutdown-margin={MARGIN_S:g}s",
)


def beginning_of(plan: Plan, file: Path) -> Beginning:
    """Work out what srvinit begins with, and what it may read later."""

    def read(content: bytes) -> tuple[Options, int]:
        file.write_bytes(content)
        argv = [*OPTIONS, f"--config={file}", f"--bind-mode={plan.mode}"]
        options = Sources([*argv, "--", "true"], {}).load()
        return options, worker_count(options)[0]

    settings = []
    for content in [*CONFIGS, *(LAST_CONFIG % count for count in LAST_COUNTS)]:
        with contextlib.suppress(UsageError):  # one of them does not go with bind.mode=swapped
            settings.append(read(content))
    return Beginning(*read(CONFIGS[1]), plan.mode != "shared", settings, WRITTEN_LATE_S)
