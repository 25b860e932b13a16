"""Make every system call fail, in turn, and write the table of docs/reliability.md: `make faults`.

report.py
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [os.fspath(HERE.parent), os.fspath(HERE.parent / "process")]

import inject  # noqa: E402

BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
PAGE = HERE.parents[1] / "docs" / "reliability.md"


def main() -> int:
    """Run them all; return 1 if something was wrong."""
    outcomes: dict[inject.Fault, inject.Outcome] = {}
    with tempfile.TemporaryDirectory() as folder:
        every = list(inject.faults(inject.record(Path(folder))))
        for number, fault in enumerate(every, 1):
            outcomes[fault] = outcome = inject.run(fault, Path(folder))
            told = "; ".join(outcome.wrong) or outcome.words
            print(f"{number}/{len(every)} {fault}: {told[:300]}", flush=True)
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{table(outcomes)}{END}{after}", encoding="utf-8")
    return int(any(outcome.wrong for outcome in outcomes.values()))


def table(outcomes: dict[inject.Fault, inject.Outcome]) -> str:
    """Return the page's table: a row a call, what was tried, and what became of it."""
    hit = {fault: outcome for fault, outcome in outcomes.items() if outcome.was_hit}
    rows: dict[str, list[tuple[inject.Fault, inject.Outcome]]] = defaultdict(list)
    for fault, outcome in hit.items():
        rows[fault.call].append((fault, outcome))
    wrong = sum(bool(outcome.wrong) for outcome in hit.values())
    today = dt.datetime.now(dt.UTC).date().isoformat()
    where = f"Linux {platform.release()}, Python {platform.python_version()}"
    lines = [
        f"{len(hit)} faults in {len(rows)} calls, {today}, {where}: {wrong} went wrong.\n",
        "| call | errnos | phases | what becomes of it |",
        "| --- | --- | --- | --- |",
    ]
    for call, tried in sorted(rows.items()):
        errors = ", ".join(sorted({fault.error for fault, _ in tried}))
        phases = ", ".join(
            phase for phase in inject.PHASES if phase in {one.phase for one, _ in tried}
        )
        lines.append(f"| `{call}` | {errors} | {phases} | {_summary(tried)} |")
    return "\n".join(lines) + "\n"


def _summary(tried: list[tuple[inject.Fault, inject.Outcome]]) -> str:
    kinds = Counter(_kind(outcome) for _, outcome in tried)
    return ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common())


def _kind(outcome: inject.Outcome) -> str:
    if outcome.wrong:
        return "WRONG"
    if "srvinit: " in outcome.words:
        return "start refused in one line"
    return "survived" if outcome.words == inject.NOTHING else f"told and survived: {outcome.words}"


if __name__ == "__main__":
    sys.exit(main())
