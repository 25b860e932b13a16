"""Write docs/metrics.md from the table in srvinit/report/metrics.py.

Run it with `python docs/generate_metrics.py` after a change there. A test fails when the file
differs from what is generated here.
"""  # noqa: INP001  docs is no package

from __future__ import annotations

from pathlib import Path

from srvinit.report.metrics import METRICS, PHASES, STATES

HERE = Path(__file__).parent
PAGE = HERE / "metrics.md"
SUFFIX = {"counter": "_total", "info": "_info"}

INTRODUCTION = """\
# Metrics

What `/metrics` of the setting `http` tells, in Prometheus' text format or as OpenMetrics, as the
scraper asks. It needs `prometheus_client` (`pip install 'srvinit[metrics]'`; the frozen bundle has
it). Who asks again within 100 ms, or ten times as long as the last answer took, gets that again;
PSS is read every 15 s at most.

What is not known is left out: a platform that hides `/proc` tells nothing of memory, CPU and
queues; Unix sockets tell no queue. Counters begin at nought when srvinit starts, those of CPU by
slot when the process that answers does.
"""


def markdown() -> str:
    """Describe all metrics as a page."""
    rows = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    for name, row in METRICS.items():
        labels = ", ".join(f"`{label}`" for label in row.labels.split())
        full = name + SUFFIX.get(row.kind, "")
        rows.append(f"| `{full}` | {row.kind} | {labels} | {row.meaning} |")
    values = f"`state` is one of {', '.join(STATES)}; `phase` of {', '.join(PHASES)}."
    generated = "This page is generated from `srvinit/report/metrics.py`."
    return "\n".join([INTRODUCTION, *rows, "", values, "", generated, ""])


if __name__ == "__main__":
    PAGE.write_text(markdown())
