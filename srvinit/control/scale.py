"""`srvinitctl scale N`: one signal for each worker more or fewer.

One at a time, since signals of one number that wait are one: the next is sent once the status tells
that the last was taken in.
"""

from __future__ import annotations

import argparse
import time

from srvinit import ctl, words
from srvinit.control import FailedError
from srvinit.control.arguments import parser_of
from srvinit.control.target import Target, check_serving, signal_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# How long srvinit may take over one signal: it answers in a millisecond unless it is stopped.
PATIENCE_S = 10.0


def _count(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number of workers: 1 at least")


def main(arguments: list[str]) -> int:
    """Ask for one more, or one fewer, until the number is right."""
    parser = parser_of("scale")
    parser.add_argument("count", type=_count, metavar="N", help="workers, 1 at least")
    options = parser.parse_args(arguments)
    target = Target(options.pid)
    status = target.read()
    before = status["count"]
    while status["count"] != options.count:
        check_serving(status)
        more = options.count > status["count"]
        name = signal_for(status, "scale-up" if more else "scale-down")
        target.send(name)
        status = _next_count(target, status["count"], name)
    wanted = words.counted(options.count, "worker")
    text = f"{wanted} wanted instead of {before}" if before != options.count else f"{wanted} wanted"
    ctl.say(ctl.OUT, f"{text}\n")
    return 0


def _next_count(target: Target, count: int, name: str) -> dict[str, Any]:
    """Wait until another number of workers is wanted."""
    by = time.monotonic() + PATIENCE_S
    while (status := target.next(by)) is not None:
        if status["count"] != count:
            return status
        check_serving(status)
    raise FailedError(
        f"srvinit (pid {target.pid}) still wants {words.counted(count, 'worker')} "
        f"{words.duration(PATIENCE_S)} after SIG{name}: is it stopped, or at a terminal?"
    )
