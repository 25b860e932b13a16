"""Write docs/lifecycle.md from the tables of srvinit/lifecycle.

Run it with `python docs/generate_lifecycle.py` after a change there. A test fails when the page
differs from what is generated here.
"""  # noqa: INP001  docs is no package

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srvinit.lifecycle import convergence, ending, reactions, steering, worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PAGE = Path(__file__).parent / "lifecycle.md"

INTRODUCTION = """\
# Lifecycle

What srvinit does is in four tables, and nowhere else. This page is generated from
`srvinit/lifecycle/`; a test fails when it differs.

- A **row** says: in this state, when this happens, do that, and go to the next state.
- What is **ignored** is ignored for a reason.
- Every other pair of a state and an event is **impossible**: if it comes, srvinit has a bug, says
  so, stops its workers and exits with 1.
"""

WORKER = """\
## A worker

{states}

```mermaid
{diagram}
```

{rows}

Ignored:

{ignored}
"""

POOL = """\
## The pool

One loop compares what is wanted, `worker.count` slots that each hold one ready worker of the newest
generation, with what is there. After every event it applies the first of these rules that has
something to do, until none has:

{rules}

Before each of them, where sockets are steered (`bind.mode` steered or swapped): {steering}

A shutdown takes the pool through its phases:

{phases}

```mermaid
{diagram}
```

What signals and facts from outside do, by phase. A signal is named by what the setting `signal`
makes of it. DONE takes nothing in any more.

{rows}

Ignored:

{ignored}
"""

# Where a phase is left: by the rules of `ending.step`, not by a row.
PHASE_ARROWS = (
    (ending.SERVING, ending.DRAINING, "asked to stop, or nothing left to do"),
    (ending.DRAINING, ending.STOPPING, "shutdown.delay is over"),
    (ending.STOPPING, ending.SWEEPING, "no worker is left, or the kernel cannot end it"),
    (ending.SWEEPING, ending.DONE, "no orphan is left, or the time is over"),
)


def table(heads: list[str], rows: Iterable[Iterable[str]]) -> str:
    """Lay rows out as a Markdown table."""
    lines = [heads, ["---"] * len(heads), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def key(event: Any) -> str:
    """Name an event, or what a signal means."""
    return f"`{event.__name__}`" if isinstance(event, type) else f"signal: {event}"


def deed(do: Callable[..., Any]) -> str:
    """Say in the words of its docstring what a row does."""
    first = (inspect.getdoc(do) or "").split("\n\n")[0].replace("\n", " ")
    return f"{first} (`{do.__name__}`)"


def inline(sentence: str) -> str:
    """Go on with a sentence after a colon."""
    return sentence[:1].lower() + sentence[1:]


def states() -> str:
    """List the states with the words of the module that has them."""
    found = re.findall(r"^    ([A-Z]+) +(\S.*)$", worker.__doc__ or "", re.MULTILINE)
    if {name for name, _ in found} != {state.upper() for state in worker.STATES}:
        raise ValueError("the docstring of worker.py does not tell each state")
    return table(["state", "what it is"], ((name, meaning) for name, meaning in found))


def phases() -> str:
    """List the phases with the words of the module that has them."""
    source = inspect.getsource(ending)
    found = re.findall(r'^([A-Z]+) = "[a-z]+"  # (.*)$', source, re.MULTILINE)
    if {name for name, _ in found} != {phase.upper() for phase in ending.PHASES}:
        raise ValueError("ending.py does not tell each phase")
    return table(["phase", "what it is"], found)


def worker_diagram() -> str:
    """Draw a worker's life: one arrow for each pair of states, with all events that lead along."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (state, event), (following, _) in worker.TRANSITIONS.items():
        if following != state:
            arrows.setdefault((state, following), []).append(event.__name__)
    lines = ["stateDiagram-v2", f"    [*] --> {worker.SPAWNING.upper()}: Spawn"]
    for (state, following), events in arrows.items():
        to = "[*]" if following == worker.GONE else following.upper()
        lines.append(f"    {state.upper()} --> {to}: {', '.join(events)}")
    return "\n".join(lines)


def phase_diagram() -> str:
    """Draw the phases of the pool."""
    lines = ["stateDiagram-v2", f"    [*] --> {ending.SERVING.upper()}"]
    lines += [f"    {one.upper()} --> {two.upper()}: {why}" for one, two, why in PHASE_ARROWS]
    return "\n".join([*lines, f"    {ending.DONE.upper()} --> [*]"])


def reaction_rows() -> list[list[str]]:
    """Fold what is done alike in several phases into one row."""
    found: dict[tuple[str, str], list[str]] = {}
    for (phase, event), do in reactions.REACTIONS.items():
        found.setdefault((key(event), deed(do)), []).append(phase.upper())
    return [[", ".join(where), event, what] for (event, what), where in found.items()]


def ignored(pairs: dict[Any, str]) -> str:
    """Fold what is ignored for one reason into one row."""
    found: dict[tuple[str, str], list[str]] = {}
    for (state, event), reason in pairs.items():
        found.setdefault((key(event), reason), []).append(state.upper())
    rows = [[", ".join(where), event, reason] for (event, reason), where in found.items()]
    return table(["in", "event", "because"], rows)


def page() -> str:
    """Write the whole page."""
    rows = [
        [state.upper(), key(event), following.upper(), deed(do)]
        for (state, event), (following, do) in worker.TRANSITIONS.items()
    ]
    rules = "\n".join(
        f"{place}. {deed(rule)}" for place, rule in enumerate(convergence.RULES, start=1)
    )
    return "\n".join(
        [
            INTRODUCTION,
            WORKER.format(
                states=states(),
                diagram=worker_diagram(),
                rows=table(["state", "event", "next", "what is done"], rows),
                ignored=ignored(worker.IGNORED),
            ),
            POOL.format(
                rules=rules,
                steering=inline(deed(steering.step)),
                phases=phases(),
                diagram=phase_diagram(),
                rows=table(["in", "event", "what is done"], reaction_rows()),
                ignored=ignored(reactions.IGNORED),
            ),
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page())
