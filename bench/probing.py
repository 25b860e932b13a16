"""`srvinitctl ready`, a readiness probe, beside a Python that starts and ends.

It is measured where it runs: beside a srvinit that is the PID 1 of a PID namespace, whose worker is
this file, which takes the times and writes them to stdout.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import programs
import starting
from measure import Scale, Subject, ratio_of, take_turns, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST = 2.5
FROZEN = Path("/opt/srvinit/srvinitctl")
BARE = "python -I -S -c pass"
WHEEL = "srvinitctl ready, as pip installs it"
#: What pip makes of an entry point.
SCRIPT = "#!{python}\nimport sys\nfrom srvinit.ctl import main\nsys.exit(main())\n"


def measure(scale: Scale, _helpers: dict[str, str]) -> Subject:
    """Measure the frozen and the unfrozen one."""
    subject = Subject("probe: the life of srvinitctl ready", judges=scale.judges)
    python = starting.DEBIAN if Path(starting.DEBIAN).exists() else sys.executable
    with tempfile.TemporaryDirectory(prefix="srvinit-bench-") as folder:
        commands = {
            BARE: [python, "-I", "-S", "-c", "pass"],
            WHEEL: [install(python, Path(folder)), "ready"],
        }
        if FROZEN.exists():
            commands["srvinitctl ready, frozen"] = [str(FROZEN), "ready"]
        samples = take_inside(commands, scale.rounds * 5)
    subject.table("ms", samples, BARE)
    for name in list(samples)[1:]:
        ratio = ratio_of(samples[name], samples[BARE])
        subject.target(f"{name}: {ratio:.2f} times, at most {MOST:g}", met=ratio <= MOST)
    return subject


def install(python: str, folder: Path) -> str:
    """Make a virtual environment with srvinit in it, without what an editable install adds."""
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
    site = next((folder / "lib").glob("python3*/site-packages"))
    shutil.copytree(programs.ROOT / "srvinit", site / "srvinit")
    script = folder / "bin" / "srvinitctl"
    script.write_text(SCRIPT.format(python=folder / "bin" / "python"))
    script.chmod(0o755)
    return str(script)


def take_inside(commands: Mapping[str, list[str]], rounds: int) -> dict[str, list[float]]:
    """Have the commands run, in turns, beside a srvinit that is PID 1; return milliseconds."""
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    space = ["unshare", *as_root, "--pid", "--fork", "--mount-proc", "--kill-child"]
    once = ["-w1", "--restart-policy=never", "--"]
    inside = [sys.executable, __file__, json.dumps([commands, rounds])]
    line = [*space, *programs.SRVINIT, *once, *inside]
    told = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    found: dict[str, list[float]] = json.loads(told.stdout)
    return found


def main() -> None:
    """Be the worker: take the times and write them."""
    commands, rounds = json.loads(sys.argv[1])
    ready = commands[WHEEL]
    wait_until(
        lambda: subprocess.call(ready, stdout=subprocess.DEVNULL) == 0, 30, "srvinit's status"
    )
    runs = {name: lambda line=line: one_life(line) for name, line in commands.items()}
    take_turns(runs, 2)  # what is not in the page cache yet, or not compiled
    json.dump(take_turns(runs, rounds), os.fdopen(os.dup(1), "w"))


def one_life(command: list[str]) -> float:
    """Run a program to its end; return milliseconds."""
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
