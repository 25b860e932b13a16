"""Draw for a terminal where the time of a shutdown and of a recycle goes.

Plain ASCII, at most COLUMNS wide: it is read through `kubectl exec`, in build logs and in the
locale "C". Instants are seconds from the signal.
"""

from __future__ import annotations

from srvinit.record import Record
from srvinit.words import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.options import Options

COLUMNS = 100
NAME_COLUMNS = 22  # what stands before a bar
BAR_COLUMNS = 40
STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
LABEL_COLUMNS = 8  # between two labels of the scale, at least


class Stage(Record):
    """A stretch of time: drawn with `ink`, and `end` at its end where something happens there."""

    name: str
    since: float
    until: float
    ink: str
    said: str
    end: str = ""


def shutdown(options: Options) -> list[Stage]:
    """Return the stages of a shutdown that needs all of its time."""
    stop_at = options.shutdown_delay
    kill_by = stop_at + options.shutdown_timeout
    done_by = kill_by + options.shutdown_margin
    asked = f"SIG{options.worker_stop_signal} to workers; K: SIGKILL"
    stages = [
        Stage("delay", 0, stop_at, ".", "unready, everything still serves"),
        Stage("timeout", stop_at, kill_by, "=", asked, "K"),
        Stage("margin", kill_by, done_by, "#", "what got SIGKILL, orphans, exit"),
    ]
    if options.shutdown_grace_period is not None:
        whole = options.shutdown_grace_period
        stages.append(Stage("grace", 0, whole, "-", "X: the platform's SIGKILL", "X"))
    return stages


def recycle(options: Options) -> list[Stage]:
    """Return the stages of one worker's replacement that needs all of its time."""
    ready_by = options.worker_timeout
    settled_at = ready_by + options.recycle_settle
    gone_by = settled_at + options.recycle_timeout
    stages = [
        Stage("start", 0, ready_by, "+", f"a new one: ready ({options.worker_require}), or K", "K"),
        Stage("settle", ready_by, settled_at, ":", "it must stay ready"),
        Stage("stop", settled_at, gone_by, "=", "the old one: it served until now", "K"),
    ]
    if options.bind_mode != "shared" and options.worker_quiesce:
        quiet = min(settled_at + options.worker_quiesce, gone_by)
        stages[2:] = [
            Stage("quiesce", settled_at, quiet, "~", "the old one: no new connections"),
            Stage("stop", quiet, gone_by, "=", "the old one: its stop signal", "K"),
        ]
    return stages


def draw(stages: list[Stage]) -> list[str]:
    """Draw stages below a scale of seconds."""
    until = max([0.001, *(stage.until for stage in stages)])
    per_second = BAR_COLUMNS / until
    lines = [line.rstrip() for line in _scale(until, per_second)]
    for stage in stages:
        lasts = stage.until - stage.since
        first, last = round(stage.since * per_second), round(stage.until * per_second)
        if lasts > 0 and last == first:  # too short to be seen, but it is there
            first, last = min(first, BAR_COLUMNS - 1), min(first, BAR_COLUMNS - 1) + 1
        bar = " " * first + stage.ink * (last - first)
        if stage.end:
            bar = bar[: max(last - 1, 0)] + stage.end
        name = f"  {stage.name:7} {duration(lasts):>11} "
        lines.append(f"{name:{NAME_COLUMNS}}{bar:{BAR_COLUMNS}} {stage.said}".rstrip())
    return lines


def _scale(until: float, per_second: float) -> tuple[str, str]:
    """Return the labels of the scale, and below them its line."""
    step = next((one for one in STEPS_S if one * per_second >= LABEL_COLUMNS), until)
    labels, line = "", "-" * (BAR_COLUMNS + 1)
    for number in range(int(until / step + 1e-9) + 1):
        column = round(number * step * per_second)
        said = duration(number * step)
        labels = f"{labels:{column}}{said}" if len(labels) <= column else labels
        line = f"{line[:column]}|{line[column + 1 :]}"
    before = " " * NAME_COLUMNS
    return before + labels, before + line[:BAR_COLUMNS]
