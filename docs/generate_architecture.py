"""Write docs/architecture.md: what stands where, by the modules' own first lines.

Run it with `python docs/generate_architecture.py` after a change there. A test fails when the page
differs from what is generated here.
"""  # noqa: INP001  docs is no package

from __future__ import annotations

import ast
from pathlib import Path

HERE = Path(__file__).parent
PACKAGE = HERE.parent / "srvinit"
PAGE = HERE / "architecture.md"

HEAD = """\
# Architecture

srvinit does for processes what a Deployment's controller does for pods: it compares what is
wanted with what is there, and takes the next safe step. One loop, in one thread, without a
signal handler:

```text
              wait: sigwaitinfo(2), all signals blocked
                 |
   facts of the kernel -> events -> Pool.handle(event, now) -> actions -> system calls
                                    the core: pure
```

- **The core** (`srvinit/lifecycle/`) knows no kernel, no clock and no log: events and the time
  go in, actions come out, and nothing else. So a run can be replayed from its events, and a
  simulated day takes a moment. Its tables are on [a page of their own](lifecycle.md); what it
  promises is checked after each step of random histories (`tests/model`).
- **The loop** (`supervisor.py`) is the only place that holds both sides. It decides nothing.
- **The wrappers** (`srvinit/kernel/`) are each over one facility of the kernel; a call that
  fails is a `KernelRefused` with the call, what it was for and the errno ([what happens
  then](reliability.md)).
- **The settings** (`options.py`, `srvinit/settings/`): one table from which the command line,
  the environment, the file, the help and [settings.md](settings.md) are derived.
- **What people and machines see** (`srvinit/report/`): the log, the status, the metrics, the
  pictures. Who is asked over HTTP is a child of its own that only reads the status: slow, dead
  or flooded, PID 1 does not notice.

Dependencies run downward only: `__main__`, `cli`, `supervisor`, then `lifecycle`, `kernel` and
`report`, which do not know each other, then `options`; `tests/unit/test_layering.py` reads the
imports.

## Why it is so

- **Signals are waited for, not handled.** All are blocked by one call before anything else
  happens. What comes is kept by the kernel until the loop takes it in, with its sender; no
  handler runs in the middle of something, and no wake-up pipe can fill up. A worker gets back
  the mask and the dispositions that srvinit was given.
- **Exits are looked at before they are reaped.** While an ended worker is unreaped nobody else
  can get its pid or its group: the rest of the group is killed without a race.
- **Nothing is imported before the first workers run** but what their start needs: an import is
  the dearest thing that a start does. Even the core and the loop come after it: the core's first
  orders are one worker in each slot whatever the settings are, so they are carried out ahead, and
  what came of them is the answer when they are given. From source the first worker runs after
  1.6 times what a bare Python takes to become it (`bench/run.py start`). The log library comes
  last, and what happened until then is logged with its true time.
- **A log line is never waited for.** A reader that stalls costs lines, which are counted.
- **The status is memory, not a socket**: sealed, and replaced as a whole
  ([status.md](status.md)). It needs no port, no writable disk and no right, and cannot be
  written to.

"""

ROOMS = (
    ("", "The loop and what belongs to a run"),
    ("lifecycle", "The core: pure"),
    ("kernel", "Each over one facility of the kernel"),
    ("settings", "Settings"),
    ("report", "What people and machines see"),
    ("report/timeline", "The log as a picture"),
    ("control", "srvinitctl"),
)


def page() -> str:
    """Return the page."""
    return HEAD + "\n".join(_table(folder, title) for folder, title in ROOMS)


def _table(folder: str, title: str) -> str:
    where = f" (`srvinit/{folder}/`)" if folder else ""
    rows = [
        f"| `{path.stem}` | {_first_line(path)} |"
        for path in sorted((PACKAGE / folder).glob("*.py"))
        if path.stem != "__init__"
    ]
    return "\n".join([f"## {title}{where}", "", "| module | |", "| --- | --- |", *rows]) + "\n"


def _first_line(path: Path) -> str:
    told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return told.partition("\n")[0].replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
